/*
 * announce: what the supervisor tells the world about a turn of its life, once:
 * to the event log, to the service manager and to the hooks.
 */
#ifndef DAEMON_ANNOUNCE_H
#define DAEMON_ANNOUNCE_H

#include <stdbool.h>
#include <stdint.h>

#include "clashsup/lifecycle.h"

struct supervisor;

enum announcement_kind {
	ANNOUNCE_MOVED,	    /* child or net went from one state to another */
	ANNOUNCE_STARTED,   /* a process of Mihomo's: pid */
	ANNOUNCE_ARMED,	    /* took_us: since its cause was known */
	ANNOUNCE_RECOVERED, /* armed again after a death or a hang; follows ARMED */
	ANNOUNCE_CRASHED,   /* the network is being taken back because Mihomo died or hangs: reason */
	ANNOUNCE_DISARMED,  /* rules and sets are out; took_us */
	ANNOUNCE_EXITED,    /* reaped: status, lived_ms; `by_us` when it was asked for */
	ANNOUNCE_GIVE_UP,   /* no further start: status, reason */
	ANNOUNCE_RELOADED,  /* clashsup's or Mihomo's config: reason says which */
	ANNOUNCE_REFUSED,   /* a config: reason */
	ANNOUNCE_REEXECED,
	ANNOUNCE_STOPPING,
	ANNOUNCEMENTS
};

struct announcement {
	enum announcement_kind kind;
	const struct lifecycle *from; /* of MOVED; else NULL */
	enum lifecycle_event event;   /* of MOVED */
	const char *reason;	      /* one sentence, or NULL */
	int status;		      /* of waitpid(2) */
	int64_t took_us, lived_ms;
	int pid;
	bool by_us;
};

#define TELL(...) (&(const struct announcement){ __VA_ARGS__ })
void announce(struct supervisor *s, const struct announcement *a);

#endif
