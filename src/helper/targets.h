/*
 * targets: the hosts that files name, from their endpoints to the records for the
 * resolver: literals, names that `hosts` answers, names to ask for.
 */
#ifndef HELPER_TARGETS_H
#define HELPER_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helper/name_rules.h"
#include "parse/feed/dialer.h"
#include "parse/feed/endpoint.h"

#define TARGETS_MAX 131072 /* each once a source */

/* A host as one source names it: a literal, or a name to resolve. */
struct target {
	char *host;   /* NULL = literal */
	char *dialer; /* that is not judged yet; NULL = none: it is dialled from here */
	struct addr addr;
	uint32_t source, proxy;
	uint8_t families;
};

/* Out of memory ends the program (check_memory). All 0 at first. */
struct targets {
	struct target *list;
	size_t n, cap;
	size_t first; /* of the source that is being read */
};

/* False: there are too many. */
bool targets_add(struct targets *t, const struct endpoint *ep, uint32_t source);

/* At the end of a source: keeps those that are dialled from here, or none, where the source does not count. */
void targets_judge(struct targets *t, const struct dialers *d, bool counts);

/* A sentence about a literal that is not told. */
typedef void (*targets_note_fn)(void *ctx, const char *text);

/* Tells the literals from `first` on, and keeps the names there: `first` is then behind them. */
void targets_tell_literals(struct targets *t, const struct name_rules *r, targets_note_fn note, void *ctx);

/* Is the answer for this target good yet, so that it is told as fresh and not asked for? */
typedef bool (*targets_fresh_fn)(void *ctx, const struct target *t);

/* Behind all sources: tells the names. How many there are; each once. */
uint32_t targets_tell_names(struct targets *t, const struct name_rules *r, targets_fresh_fn fresh, void *ctx);

void targets_deinit(struct targets *t);

#endif
