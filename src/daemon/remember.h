/*
 * remember: the last good addresses on disk, STATE_DIR/addresses (the format is
 * lastgood's). Read once at start. Written by a child, since a disk may hang and
 * the supervisor may not: our own program as `clashsup remember PATH` with the
 * file on its stdin, which replaces the old file in one step or leaves it. What
 * fails is told once; nothing depends on it.
 */
#ifndef DAEMON_REMEMBER_H
#define DAEMON_REMEMBER_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/job.h"
#include "clashsup/lastgood.h"
#include "clashsup/ledger.h"

#define REMEMBER_GAP_MS 5000 /* between the starts of two saves */
#define REMEMBER_ANEW_MS                                                                                               \
	(60 * 60 * 1000) /* so old a file is written anew without a change: its times count for grace */
#define REMEMBER_DEADLINE_MS 10000

enum remember_state { REMEMBER_IDLE, REMEMBER_WAITS, REMEMBER_GATHERS, REMEMBER_WRITES };

struct remember {
	struct reaper *reaper;
	const struct ledger *ledger;
	const char *program; /* ours: procfs_program() */
	char path[PATH_MAX];
	int64_t gap_ms;

	enum remember_state state;
	bool wanted;   /* a save, behind the one in hand */
	ev_timer next; /* the gap's end, or the next slice */
	int64_t began_ms, saved_ms;
	size_t cursor;	    /* of the ledger */
	int64_t to_wall_ms; /* from the ledger's clock */
	struct lastgood file;
	bool short_of_memory;
	struct job *job;
	char warning[256]; /* why the last save failed; "" */
};

/* The ledger and the reaper are the caller's and outlive it. 0 or -ENAMETOOLONG. */
int remember_init(struct remember *r, struct reaper *reaper, const struct ledger *l, const char *state_dir,
		  struct err *e);
void remember_deinit(struct remember *r); /* a save in hand is killed: the old file stays */

typedef void (*remember_fn)(void *ctx, const struct addr *a, uint32_t source, uint32_t host, int64_t seen_ms);

/*
 * Tells every address that was seen less than `grace_ms` ago; seen_ms is of clock_ms
 * and may be negative. Whatever is wrong with the file: one line in the log.
 */
void remember_load(const struct remember *r, int64_t grace_ms, remember_fn each, void *ctx);

/* The same by the bytes of a file. 0, or -EINVAL and why, and nothing was told. */
int remember_decode(const void *bytes, size_t len, int64_t grace_ms, remember_fn each, void *ctx, struct err *e);

/* All that the ledger knows, as the bytes of a file: the caller's, by lastgood_free. 0 or -ENOMEM. */
int remember_encode(const struct ledger *l, struct lastgood *out);

/* A save is being made just now; one that waits for its turn is none. */
bool remember_writing(const struct remember *r);

/* After a run. Saves if something has changed, or if what is on disk is old; in a while, not now. */
void remember_save(struct remember *r, bool changed);

/* The end is near: from now on no save waits for the gap. */
void remember_hurry(struct remember *r);

/* A save is in hand, or waits for its turn. */
bool remember_busy(const struct remember *r);

/* The child's part: stdin, if it is a good file of addresses or a history, becomes `path`. */
int remember_write(const char *path, struct err *e);

#endif
