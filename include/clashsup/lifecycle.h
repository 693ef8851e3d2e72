/*
 * lifecycle: what happens when. Two state x event tables, one for the child
 * (Mihomo), one for the network. Pure: no clock, no I/O, no memory. The states
 * and their arrows are drawn in docs/ARCHITECTURE.md; a test compares.
 *
 * Guards are decided before the tables: policy says whether a death is
 * EV_EXIT_AGAIN (start at once), EV_EXIT_BACKOFF or EV_EXIT_GIVE_UP, and
 * whether failed probes amount to EV_HANG.
 *
 * The network follows by itself: it is wanted armed while the child is READY
 * and the mode is tproxy. A change of that wish is fed to the net table within
 * the same step, so that its actions stand first: the way out is never behind
 * something slower.
 */
#ifndef CLASHSUP_LIFECYCLE_H
#define CLASHSUP_LIFECYCLE_H

#include <stdbool.h>
#include <stdint.h>

enum child_state {
	CHILD_STOPPED,	  /* by request; no process */
	CHILD_WAITING,	  /* no usable config, or its port is taken; no process */
	CHILD_CHECKING,	  /* the config is copied and tested; no process */
	CHILD_STARTING,	  /* a process that is not ready yet (or not any more: restarted in place) */
	CHILD_READY,	  /* listeners bound, providers loaded */
	CHILD_UNHEALTHY,  /* a process that does not answer */
	CHILD_STOPPING,	  /* asked to end, for good */
	CHILD_RESTARTING, /* asked to end, to be started anew */
	CHILD_BACKOFF,	  /* died; the next start is a timer away */
	CHILD_FAILED,	  /* gave up */
	CHILD_STATES
};

enum net_state {
	NET_DIRECT,    /* nothing of ours decides about a packet */
	NET_ARMING,    /* sets, routes and rules are going in; the lease is off */
	NET_ARMED,     /* the lease is on */
	NET_DISARMING, /* the lease is off; rules and sets are going out */
	NET_STATES
};

enum lifecycle_event {
	/* of the child */
	EV_START,	 /* wish: run */
	EV_STOP,	 /* wish: do not run */
	EV_RESTART,	 /* wish: run anew */
	EV_CONFIG,	 /* Mihomo's config changed on disk */
	EV_CHECK_OK,	 /* a checked copy is in force */
	EV_CHECK_BAD,	 /* the config is missing, refused or wrong */
	EV_READY,	 /* ready as docs/ARCHITECTURE.md defines it */
	EV_UNREADY,	 /* its listener or its API connection is gone though it lives */
	EV_HANG,	 /* `fall` probes without an answer */
	EV_ANSWER,	 /* `rise` probes with an answer */
	EV_HANG_LIMIT,	 /* did not answer for hang_kill */
	EV_DYING,	 /* its life pipe closed: it is dead, the status is not known yet */
	EV_EXIT_AGAIN,	 /* reaped; start at once */
	EV_EXIT_BACKOFF, /* reaped, or could not be started; start later */
	EV_EXIT_GIVE_UP, /* reaped; start no more */
	EV_BACKOFF_OVER, /* the timer of EV_EXIT_BACKOFF */
	EV_STOP_LIMIT,	 /* did not end within stop_timeout */
	CHILD_EVENTS,

	/* of the network */
	EV_WANT = CHILD_EVENTS, /* it is wanted armed */
	EV_UNWANT,		/* it is wanted direct */
	EV_ARMED,		/* rules, routes and lease are in */
	EV_ARM_FAILED,		/* they are not */
	EV_REMOVED,		/* rules and sets are out */
	EV_REMOVE_FAILED,	/* they are not */
	EV_RETRY,		/* the timer of a failed step */
	LIFECYCLE_EVENTS
};

/* In the order in which they are carried out: safety first. */
enum lifecycle_action {
	ACT_SWITCH_OFF,	   /* lease empty, flows with our mark forgotten */
	ACT_ABORT_ARM,	   /* kill the jobs that put rules in */
	ACT_REMOVE,	   /* take rules and sets out; ends in EV_REMOVED or EV_REMOVE_FAILED */
	ACT_RETRY_LATER,   /* start the net's retry timer; ends in EV_RETRY */
	ACT_CANCEL_TIMERS, /* stop, backoff and hang timers are meaningless now */
	ACT_KILL,	   /* SIGKILL to the group */
	ACT_TERM,	   /* TERM and CONT to the group, start the stop timer */
	ACT_CHECK,	   /* copy, inspect and test the config; ends in EV_CHECK_OK or EV_CHECK_BAD */
	ACT_CANCEL_CHECK,  /* forget a running check */
	ACT_SPAWN,	   /* start the process and watch for readiness */
	ACT_WATCH_READY,   /* watch for readiness anew: the process lives */
	ACT_RELOAD,	   /* SIGHUP: re-read the new copy */
	ACT_BACKOFF,	   /* start the backoff timer */
	ACT_HANG_TIMER,	   /* start the timer of hang_kill */
	ACT_ARM,	   /* sets, routes, rules, lease; ends in EV_ARMED or EV_ARM_FAILED */
	ACT_EXTRACT,	   /* look for server addresses now */
	LIFECYCLE_ACTIONS
};

struct lifecycle {
	enum child_state child;
	enum net_state net;
	bool tproxy; /* mode */
};

/* One bit an action: 1u << enum lifecycle_action. */
typedef uint32_t lifecycle_actions;

/*
 * Nothing runs; the network is DISARMING, because a former life may have left
 * something: the first removal (ended by EV_REMOVED) is the start-up sweep.
 */
void lifecycle_init(struct lifecycle *l, bool tproxy);

/* One event in; the new state is in `l`, what to do is returned. An event that is no event does nothing. */
lifecycle_actions lifecycle_step(struct lifecycle *l, enum lifecycle_event event);

/* Changes the mode; as lifecycle_step. */
lifecycle_actions lifecycle_mode(struct lifecycle *l, bool tproxy);

/* True while a process of the child may exist. */
bool lifecycle_has_process(enum child_state s);

/* Names as `status` prints them. */
const char *child_state_name(enum child_state s);
const char *net_state_name(enum net_state s);
const char *lifecycle_event_name(enum lifecycle_event e);
const char *lifecycle_action_name(enum lifecycle_action a);

/*
 * For tests: the table cell, so that holes can be found and the diagrams
 * compared. False when the cell was never written.
 */
bool lifecycle_cell(bool net, unsigned state, enum lifecycle_event event, unsigned *next_out,
		    lifecycle_actions *actions_out);

#endif
