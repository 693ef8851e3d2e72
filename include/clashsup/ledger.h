/*
 * ledger: which server addresses are known, from which source, and when they
 * may leave. Pure: time is an argument, nothing is read or written.
 *
 * An entry is (address, source, host): `source` and `host` are hashes which the
 * extractor makes (source is never 0; host 0 = the address stood there literally).
 * The set of the kernel is the union of all entries' addresses.
 *
 * A run grows the ledger at once. Entries leave only when their source was read
 * completely in that run and did not name them: literals at once; resolved ones
 * at once if their host is gone or answered otherwise, after `grace_ms` if their
 * host did not resolve this time, and not at all if it was not asked. Entries of
 * a source that the run did not meet leave when the run as a whole was complete.
 * What Mihomo was seen to dial has an entry of source 0, which no run tells: it
 * leaves when a source names the address too, or `grace_ms` after it was last seen.
 *
 * No call takes longer than about 2 ms with LEDGER_MAX entries: what may be
 * long is done slice by slice, a call each.
 */
#ifndef CLASHSUP_LEDGER_H
#define CLASHSUP_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"

#define LEDGER_MAX 131072 /* entries; more are refused with -ENOSPC */

struct ledger;

struct ledger_entry {
	struct addr addr;
	uint32_t source, host;
	int64_t seen_ms; /* when it was told last */
	int64_t due_ms;	 /* when its host's answer ends; 0 = literal or not known */
};

/* Told of each address that enters or leaves the union. */
typedef void (*ledger_change_fn)(void *ctx, const struct addr *a, bool enters);
typedef void (*ledger_entry_fn)(void *ctx, const struct ledger_entry *entry);
typedef void (*ledger_host_fn)(void *ctx, uint32_t source, uint32_t host);

/* NULL: out of memory. `secret`: a random number; who does not know it cannot choose addresses that collide. */
struct ledger *ledger_new(uint64_t secret);
void ledger_free(struct ledger *l); /* NULL-safe */

/* Starts a run; one that was open is abandoned, and the rest of a sweep too: nothing leaves because of them. */
void ledger_begin(struct ledger *l);

/* One address: 1 when it is new to the union, 0 when known, -ENOMEM, -ENOSPC. */
int ledger_add(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, int64_t now_ms, int64_t due_ms);

/*
 * An entry remembered from before this ledger, as if an earlier run had told it;
 * an entry that is there stays as it is. As ledger_add.
 */
int ledger_restore(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, int64_t seen_ms);

/* Mihomo dials this address: an entry of source 0, unless a source names it. As ledger_add. */
int ledger_dialled(struct ledger *l, const struct addr *a, int64_t now_ms);

/* Does a source name it? */
bool ledger_named(const struct ledger *l, const struct addr *a);

/* This host of this source did not resolve in this run. 0, -ENOMEM, -ENOSPC. */
int ledger_unresolved(struct ledger *l, uint32_t source, uint32_t host);

/* This source still names this host, which was not asked again in this run. 0, -ENOMEM, -ENOSPC. */
int ledger_fresh(struct ledger *l, uint32_t source, uint32_t host);

/* The source was met: read whole and without a fault, or only partly. 0, -ENOMEM, -ENOSPC. */
int ledger_source(struct ledger *l, uint32_t source, bool whole);

/*
 * Ends the run: what has to leave does so in ledger_sweep. `complete`: the
 * extractor finished by itself. Nothing leaves when memory was out while the run
 * told something.
 */
void ledger_end(struct ledger *l, bool complete, int64_t now_ms, int64_t grace_ms);

/* Ends the run as one whose helper is not to be trusted: what entered in it leaves, in ledger_sweep. */
void ledger_rollback(struct ledger *l);

/*
 * One slice of what ledger_end or ledger_rollback has decided; true while there
 * is more. `changed` is told of each address that leaves, with enters = false;
 * it must not call the ledger. Addresses may be added between slices.
 */
bool ledger_sweep(struct ledger *l, ledger_change_fn changed, void *ctx);

/*
 * One slice of all addresses of the union, or of all entries, in no order; true
 * while there is more. *cursor is 0 at first. What stays while the slices last
 * is told exactly once, what comes or goes meanwhile may be told or not.
 */
bool ledger_each(const struct ledger *l, size_t *cursor, ledger_change_fn each, void *ctx);
bool ledger_entries(const struct ledger *l, size_t *cursor, ledger_entry_fn each, void *ctx);

/* Each (source, host) whose answer has not ended; once for each of its addresses. */
void ledger_each_fresh(const struct ledger *l, int64_t now_ms, ledger_host_fn each, void *ctx);

/*
 * When the next answer ends later than `after_ms`, INT64_MAX = none does. With the
 * time when the last run began, answers that it could not renew do not count.
 */
int64_t ledger_next_due(const struct ledger *l, int64_t after_ms);

size_t ledger_count(const struct ledger *l, enum ip_family family);
void ledger_clear(struct ledger *l);

#endif
