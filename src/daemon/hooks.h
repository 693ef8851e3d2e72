/*
 * hooks: the user's programs in [hooks] dir, run at turns of our life: armed,
 * disarmed, crashed, recovered, give-up. One at a time, in the order of the
 * events and of their names, each with a deadline; what they print goes to the
 * log. They have our rights, so only files count that nobody else can write.
 * Nothing waits for them but, for a moment, the end.
 */
#ifndef DAEMON_HOOKS_H
#define DAEMON_HOOKS_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/job.h"
#include "clashsup/settings.h"

#define HOOKS_WAITING 16 /* events; beyond, the oldest is dropped and told */
#define HOOKS_FILES 32	 /* of the directory */

struct hook_event {
	const char *name;  /* static */
	const char *state; /* likewise */
	char reason[160];
	int code, signal; /* -1, 0 = none */
	int pid;	  /* Mihomo's, 0 = none */
	size_t servers;
};

struct hooks {
	struct reaper *reaper;
	const struct settings *settings;

	struct hook_event queue[HOOKS_WAITING];
	unsigned first, waiting;  /* the first is the one in hand, when there are files */
	char *files[HOOKS_FILES]; /* of the event in hand, names; owned */
	unsigned n_files, next_file;
	struct job *job;
	ev_timer soon;		 /* what is done about an event comes first: a fork is a millisecond */
	char told[NAME_MAX + 1]; /* the file whose rights were complained about last */
};

void hooks_init(struct hooks *h, struct reaper *reaper, const struct settings *settings);
void hooks_deinit(struct hooks *h); /* kills what runs */

/* From the next turn of the loop on. */
void hooks_run(struct hooks *h, const struct hook_event *event);

bool hooks_busy(const struct hooks *h);

#endif
