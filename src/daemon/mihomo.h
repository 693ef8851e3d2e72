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
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/proc.h"
#include "clashsup/sandbox.h"
#include "clashsup/settings.h"
#include "clashsup/sockdiag.h"
#include "daemon/output.h"

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
	mihomo_fn tell;
	void *ctx;

	/* what the config in force says */
	uint16_t port;	 /* of the TPROXY listener */
	bool patch_port; /* the listener is not in the file: ask for it by the API after the start */
	void (*ask_for_port)(void *ctx, uint16_t port);

	struct proc proc;
	struct output out, err;
	ev_io life, fifo, api;
	ev_timer start, look, stop;
	bool has_shell; /* -post-up needs one */
	pid_t group;

	bool told_ready;
	uint64_t said_up;				 /* exec mark at the last word of the FIFO, 0 = none yet */
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

/* Starts it as soon as its port is free. Outcomes come through `tell`. */
void mihomo_start(struct mihomo *m);

/* TERM and CONT to its group, KILL after `stop_timeout`. Tells EXITED even when nothing runs. */
void mihomo_stop(struct mihomo *m);
void mihomo_kill(struct mihomo *m);
void mihomo_hangup(struct mihomo *m);

/* Looks for readiness anew (a restart in place). */
void mihomo_watch_ready(struct mihomo *m);

/* Its listener may go from now on (mode mixed): that is no loss of readiness. */
void mihomo_forget_listener(struct mihomo *m);

/* Once a second while ready: are listeners and process still the ones that were found? */
void mihomo_still_there(struct mihomo *m);

#endif
