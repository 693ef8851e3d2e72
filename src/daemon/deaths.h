/*
 * deaths: what becomes of the news that Mihomo is dead: its place in the history,
 * which is kept in STATE_DIR/history over our own lives, and what the log says.
 */
#ifndef DAEMON_DEATHS_H
#define DAEMON_DEATHS_H

#include <limits.h>

#include "clashsup/history.h"
#include "clashsup/job.h"
#include "clashsup/oom.h"

struct deaths {
	struct reaper *reaper;
	char path[PATH_MAX];
	struct history history;
	struct oom_watch oom;
	unsigned ticks;
	ev_timer later;
	struct job *job;   /* the save in hand */
	bool again;	   /* and another one behind it */
	char warning[256]; /* why the last save failed; "" */
};

/* Reads the file; whatever is wrong with it is one line in the log, and the history begins anew. 0 or -ENAMETOOLONG. */
int deaths_init(struct deaths *d, struct reaper *reaper, const char *state_dir, struct err *e);
void deaths_deinit(struct deaths *d); /* a save in hand is killed: the old file stays */

/* A process of Mihomo's lives. */
void deaths_born(struct deaths *d, pid_t pid);
void deaths_tick(struct deaths *d); /* each second of its life */

/* `status` of waitpid(2); pid 0: it could not be started. The entry, valid until the next. */
const struct death *deaths_add(struct deaths *d, int pid, int status, int64_t lived_ms, bool by_us);

/* "was killed by the kernel: out of memory", "ended with exit status 1". */
#define DEATH_TEXT 96
const char *death_text(const struct death *d, char buf[DEATH_TEXT]);

bool deaths_saving(const struct deaths *d);

#endif
