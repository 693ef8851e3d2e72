/*
 * mihomo: the process itself: starts it, drains it, ends it, and watches the
 * three signs of its life that need no question: the life pipe, the ready FIFO
 * and an idle connection to its API socket.
 *
 * Ready = it lives; each port of its TPROXY listener is bound by it; and it has
 * said so since its last exec: -post-up writes to a FIFO when the providers are
 * loaded and traffic flows. (/version answers 20 s too early with a provider
 * that is silent: Mihomo 1.19.30, hub/executor/executor.go.)
 */
#ifndef DAEMON_MIHOMO_H
#define DAEMON_MIHOMO_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/proc.h"
#include "clashsup/sandbox.h"
#include "clashsup/settings.h"
#include "clashsup/sockdiag.h"
#include "daemon/output.h"

struct cJSON;

enum mihomo_event {
	MIHOMO_STARTED,
	MIHOMO_READY,
	MIHOMO_UNREADY,	 /* lives, but its listener is gone or it was restarted in place */
	MIHOMO_DYING,	 /* the life pipe closed */
	MIHOMO_EXITED,	 /* reaped: last_status, lived_ms */
	MIHOMO_NO_START, /* could not be forked; why is in `waiting_for` */
};

typedef void (*mihomo_fn)(void *ctx, enum mihomo_event event);

struct mihomo {
	struct ev_loop *loop;
	struct reaper *reaper;
	const struct settings *settings;
	const char *run_dir; /* RUN/mihomo */
	const char *home;
	struct sandbox_ids ids;
	char cgroup[PATH_MAX]; /* the leaf it is started in; ids.cgroup points here or nowhere */
	mihomo_fn tell;
	void *ctx;
	struct lines *lines; /* what it prints */

	/* what the config in force says */
	uint16_t port;	 /* of the TPROXY listener */
	bool patch_port; /* the listener is not in the file: ask for it by the API after the start */
	void (*ask_for_port)(void *ctx, uint16_t port);

	struct proc proc;
	struct output out, err;
	ev_io life, fifo, api;
	ev_timer start, look, stop;
	ev_timer hup;	/* a reload that waits for its handlers */
	bool has_shell; /* what -post-up needs is there */
	pid_t group;

	bool told_ready;
	uint64_t said_up;				 /* exec mark at the last word of the FIFO, 0 = none yet */
	int64_t said_ms;				 /* when that was */
	uint32_t looks;					 /* since the last change: how fast to look again */
	struct sockdiag_socket listener[IP_FAMILIES][2]; /* tcp, udp; inode 0 = none */
	int64_t started_ms, lived_ms;
	int last_status;
	uint32_t ups;		    /* how often this process has said so: once an exec */
	uint32_t restarts_in_place; /* by its API: same pid */
	char waiting_for[256];
	char family_note[IP_FAMILIES][160]; /* "" = its listener is good */
};

int mihomo_init(struct mihomo *m, struct err *e); /* with the fields above the blank line filled; makes the FIFO */
void mihomo_deinit(struct mihomo *m);

/*
 * Over a reexec: the process and the signs of its life go on. mihomo_resume is in
 * the place of mihomo_init, behind reaper_start and ahead of the loop's first turn.
 */
void mihomo_save(const struct mihomo *m, struct cJSON *to, struct cJSON *fds);
int mihomo_resume(struct mihomo *m, const struct cJSON *from, const struct cJSON *fds, struct err *e);

/* ... when the rest goes on, too: a process that could not be started yet is, one that is gone or deaf is told. */
void mihomo_go_on(struct mihomo *m);

/* Starts it as soon as its port is free. Outcomes come through `tell`, perhaps before this returns. */
void mihomo_start(struct mihomo *m);

/* mihomo_env.c: what it and its tests get as environment, ours and [mihomo] env. As environment_make. */
char **mihomo_environment(const struct settings *s);

/* In that environment; says so when it cannot. */
bool mihomo_can_run_scripts(char *const *env);
#define MIHOMO_NO_SHELL_MS 21000 /* then no FIFO is written: providers take at most 20 s */

/* TERM and CONT to its group, KILL after `stop_timeout`. Tells EXITED even when nothing runs. */
void mihomo_stop(struct mihomo *m);
void mihomo_kill(struct mihomo *m);
void mihomo_hangup(struct mihomo *m);	       /* reload: as soon as its handlers are in */
void mihomo_signal(struct mihomo *m, int sig); /* by request of a user: to it alone, not to its group */

/* Other ids from the next start on; the FIFO becomes the user's. */
int mihomo_give(struct mihomo *m, const struct sandbox_ids *ids, struct err *e);

/* Looks for readiness anew (a restart in place). */
void mihomo_watch_ready(struct mihomo *m);

/* Its listener may go from now on (mode mixed): that is no loss of readiness. */
void mihomo_forget_listener(struct mihomo *m);

/* Once a second while ready: are listeners and process still the ones that were found? */
void mihomo_still_there(struct mihomo *m);

#endif
