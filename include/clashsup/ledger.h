/*
 * ledger: which server addresses are known, from which source, and when they
 * may leave. Pure: time is an argument, nothing is read or written.
 *
 * An entry is (address, source, host): `source` and `host` are hashes which the
 * extractor makes (host 0 = the address stood there literally). The set of the
 * kernel is the union of all entries' addresses.
 *
 * A run grows the ledger at once. Entries leave only when their source was read
 * completely in that run and did not name them: literals at once; resolved ones
 * at once if their host is gone or answered otherwise, and after `grace_ms` if
 * their host did not resolve this time. Entries of a source that the run did
 * not meet at all leave when the run as a whole was complete.
 */
#ifndef CLASHSUP_LEDGER_H
#define CLASHSUP_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"

#define LEDGER_MAX 131072 /* entries; more are refused with -ENOSPC */

struct ledger;

/* Told of each address that enters or leaves the union. */
typedef void (*ledger_change_fn)(void *ctx, const struct addr *a, bool enters);

struct ledger *ledger_new(void);    /* NULL: out of memory */
void ledger_free(struct ledger *l); /* NULL-safe */

/* Starts a run; a run that was open is abandoned (nothing leaves because of it). */
void ledger_begin(struct ledger *l);

/* One address: 1 when it is new to the union, 0 when known, -ENOMEM, -ENOSPC. */
int ledger_add(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, int64_t now_ms);

/* This host of this source did not resolve in this run. 0, -ENOMEM, -ENOSPC. */
int ledger_unresolved(struct ledger *l, uint32_t source, uint32_t host);

/* The source was met: read whole and without a fault, or only partly. 0, -ENOMEM, -ENOSPC. */
int ledger_source(struct ledger *l, uint32_t source, bool whole);

/*
 * Ends the run. `complete`: the extractor finished by itself. Nothing leaves when
 * memory is out, or was out when the run told something. Calls `changed`
 * with enters = false for each address that leaves. Returns how many left.
 */
size_t ledger_end(struct ledger *l, bool complete, int64_t now_ms, int64_t grace_ms, ledger_change_fn changed,
		  void *ctx);

/* Takes back what entered in this run: its helper is not to be trusted. Returns how many left. */
size_t ledger_rollback(struct ledger *l, ledger_change_fn changed, void *ctx);

/* All addresses of the union, each once, in order (in any when memory is out). Returns how many. */
size_t ledger_each(const struct ledger *l, ledger_change_fn each, void *ctx);
size_t ledger_count(const struct ledger *l, enum ip_family family);
void ledger_clear(struct ledger *l);

#endif
