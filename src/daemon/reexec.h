/*
 * reexec: the supervisor is replaced by the program that is now at its path, in
 * the same process: Mihomo, the rules, the sets and what is known go on.
 *
 *	asked → the new program says that it understands our state (a job)
 *	      → nothing is on its way any more; helpers are ended
 *	      → execve, with the state in a memfd
 *
 * What does not come to that point within REEXEC_LIMIT_MS, or is refused, leaves
 * everything as it was.
 */
#ifndef DAEMON_REEXEC_H
#define DAEMON_REEXEC_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/err.h"

#define REEXEC_LIMIT_MS 4000 /* a client waits for 5 s */
#define REEXEC_TEXT 320

struct job;
struct reexec_state;
struct supervisor;

struct reexec {
	char program[PATH_MAX]; /* where ours was found when it started; "" = nowhere */
	bool asked;		/* and not decided yet */
	struct job *check;
	ev_timer look; /* is anything on its way? */
	int64_t began_ms;
	char refusal[REEXEC_TEXT]; /* of the last one */
};

void reexec_init(struct supervisor *s);
void reexec_deinit(struct supervisor *s);

/* SIGUSR2. One that is asked for meanwhile is the same one. */
void reexec_start(struct supervisor *s);

/* CTL_REEXEC: the answer comes with its refusal, or from the new program. As a ctl_handler_fn. */
char *reexec_answer(struct supervisor *s, size_t *cursor);

/* ---- in the new program ---- */

/* What the former program left, as a descriptor; -1 = we were started in another way. Once. */
int reexec_handed(void);

/* In the place of a start: everything goes on from where it was. The parts are there. */
void reexec_go_on(struct supervisor *s, const struct reexec_state *state);

/* The job's part: `clashsup resume-check`, with the state on stdin. The exit status. */
int reexec_check_main(void);

#endif
