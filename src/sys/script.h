/*
 * script: one run of the user's script: `SCRIPT apply` or `SCRIPT remove`, as a
 * job of at most SCRIPT_DEADLINE_MS. An apply that fails, is cut off or aborted
 * may be half in: it is followed by `SCRIPT remove`, and `done` comes after that.
 */
#ifndef SYS_SCRIPT_H
#define SYS_SCRIPT_H

#include "clashsup/job.h"

#define SCRIPT_DEADLINE_MS 30000

struct script_run;

struct script_spec {
	const char *path;
	char *const *envp;   /* of script_env; the run's own from a start that succeeded, and freed by it */
	bool apply;	     /* else remove */
	int64_t deadline_ms; /* 0 = SCRIPT_DEADLINE_MS */
};

/* code: 0, -ECANCELED after an abort, -ETIMEDOUT, -EIO; with the sentence in `why`, which has the script's first line.
 */
typedef void (*script_done_fn)(void *ctx, int code, const struct err *why);

/* 0, or -errno and nothing was started (envp stays the caller's). `done` is called from the loop. */
int script_start(struct script_run **out, struct reaper *r, const struct script_spec *spec, script_done_fn done,
		 void *ctx, struct err *e);

/* Kills an apply as a group; a removal goes on, it is what an abort asks for. `done` is still called. */
void script_abort(struct script_run *run);

/* Kills the group and forgets the owner: `done` is not called. NULL-safe. */
void script_abandon(struct script_run *run);

#endif
