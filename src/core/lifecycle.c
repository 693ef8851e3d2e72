#include "clashsup/lifecycle.h"

#include <stddef.h>

#define A(name) (1u << ACT_##name)

struct cell {
	bool written; /* false = a hole in the table, which a test finds */
	uint8_t next;
	lifecycle_actions actions;
};

/* clang-format off */
#define GO(state, actions) { true, (state), (actions) }

/* Rows: what the child is; in each row every event, also those that change nothing. */
static const struct cell child_table[CHILD_STATES][CHILD_EVENTS] = {
	[CHILD_STOPPED] = {
		[EV_START]        = GO(CHILD_CHECKING, A(CHECK)),
		[EV_STOP]         = GO(CHILD_STOPPED, 0),
		[EV_RESTART]      = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CONFIG]       = GO(CHILD_STOPPED, 0),
		[EV_CHECK_OK]     = GO(CHILD_STOPPED, 0),
		[EV_CHECK_BAD]    = GO(CHILD_STOPPED, 0),
		[EV_READY]        = GO(CHILD_STOPPED, 0),
		[EV_UNREADY]      = GO(CHILD_STOPPED, 0),
		[EV_HANG]         = GO(CHILD_STOPPED, 0),
		[EV_ANSWER]       = GO(CHILD_STOPPED, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_STOPPED, 0),
		[EV_DYING]        = GO(CHILD_STOPPED, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_STOPPED, 0),
		[EV_EXIT_BACKOFF] = GO(CHILD_STOPPED, 0),
		[EV_EXIT_GIVE_UP] = GO(CHILD_STOPPED, 0),
		[EV_BACKOFF_OVER] = GO(CHILD_STOPPED, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_STOPPED, 0),
	},
	[CHILD_WAITING] = {
		[EV_START]        = GO(CHILD_CHECKING, A(CHECK)),
		[EV_STOP]         = GO(CHILD_STOPPED, A(CANCEL_CHECK)),
		[EV_RESTART]      = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CONFIG]       = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_WAITING, 0),
		[EV_CHECK_BAD]    = GO(CHILD_WAITING, 0),
		[EV_READY]        = GO(CHILD_WAITING, 0),
		[EV_UNREADY]      = GO(CHILD_WAITING, 0),
		[EV_HANG]         = GO(CHILD_WAITING, 0),
		[EV_ANSWER]       = GO(CHILD_WAITING, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_WAITING, 0),
		[EV_DYING]        = GO(CHILD_WAITING, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_WAITING, 0),
		[EV_EXIT_BACKOFF] = GO(CHILD_WAITING, 0),
		[EV_EXIT_GIVE_UP] = GO(CHILD_WAITING, 0),
		[EV_BACKOFF_OVER] = GO(CHILD_WAITING, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_WAITING, 0),
	},
	[CHILD_CHECKING] = {
		[EV_START]        = GO(CHILD_CHECKING, 0),
		[EV_STOP]         = GO(CHILD_STOPPED, A(CANCEL_CHECK)),
		[EV_RESTART]      = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CONFIG]       = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_STARTING, A(SPAWN)),
		[EV_CHECK_BAD]    = GO(CHILD_WAITING, 0),
		[EV_READY]        = GO(CHILD_CHECKING, 0),
		[EV_UNREADY]      = GO(CHILD_CHECKING, 0),
		[EV_HANG]         = GO(CHILD_CHECKING, 0),
		[EV_ANSWER]       = GO(CHILD_CHECKING, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_CHECKING, 0),
		[EV_DYING]        = GO(CHILD_CHECKING, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_CHECKING, 0),
		[EV_EXIT_BACKOFF] = GO(CHILD_CHECKING, 0),
		[EV_EXIT_GIVE_UP] = GO(CHILD_CHECKING, 0),
		[EV_BACKOFF_OVER] = GO(CHILD_CHECKING, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_CHECKING, 0),
	},
	[CHILD_STARTING] = {
		[EV_START]        = GO(CHILD_STARTING, 0),
		[EV_STOP]         = GO(CHILD_STOPPING, A(CANCEL_TIMERS) | A(CANCEL_CHECK) | A(TERM)),
		[EV_RESTART]      = GO(CHILD_RESTARTING, A(CANCEL_TIMERS) | A(TERM)),
		[EV_CONFIG]       = GO(CHILD_STARTING, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_RESTARTING, A(TERM)), /* SIGHUP kills it before its handlers are in */
		[EV_CHECK_BAD]    = GO(CHILD_STARTING, 0),
		[EV_READY]        = GO(CHILD_READY, A(CANCEL_TIMERS)),
		[EV_UNREADY]      = GO(CHILD_STARTING, 0),
		[EV_HANG]         = GO(CHILD_STARTING, 0), /* there is no time-out on waiting */
		[EV_ANSWER]       = GO(CHILD_STARTING, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_STARTING, 0),
		[EV_DYING]        = GO(CHILD_STARTING, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_EXIT_BACKOFF] = GO(CHILD_BACKOFF, A(CANCEL_TIMERS) | A(BACKOFF)),
		[EV_EXIT_GIVE_UP] = GO(CHILD_FAILED, A(CANCEL_TIMERS)),
		[EV_BACKOFF_OVER] = GO(CHILD_STARTING, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_STARTING, 0),
	},
	[CHILD_READY] = {
		[EV_START]        = GO(CHILD_READY, 0),
		[EV_STOP]         = GO(CHILD_STOPPING, A(CANCEL_TIMERS) | A(CANCEL_CHECK) | A(TERM)),
		[EV_RESTART]      = GO(CHILD_RESTARTING, A(CANCEL_TIMERS) | A(TERM)),
		[EV_CONFIG]       = GO(CHILD_READY, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_READY, A(RELOAD) | A(EXTRACT)),
		[EV_CHECK_BAD]    = GO(CHILD_READY, 0), /* the last good copy stays in force */
		[EV_READY]        = GO(CHILD_READY, 0),
		[EV_UNREADY]      = GO(CHILD_STARTING, A(WATCH_READY)),
		[EV_HANG]         = GO(CHILD_UNHEALTHY, A(HANG_TIMER)),
		[EV_ANSWER]       = GO(CHILD_READY, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_READY, 0),
		[EV_DYING]        = GO(CHILD_UNHEALTHY, A(HANG_TIMER)),
		[EV_EXIT_AGAIN]   = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_EXIT_BACKOFF] = GO(CHILD_BACKOFF, A(CANCEL_TIMERS) | A(BACKOFF)),
		[EV_EXIT_GIVE_UP] = GO(CHILD_FAILED, A(CANCEL_TIMERS)),
		[EV_BACKOFF_OVER] = GO(CHILD_READY, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_READY, 0),
	},
	[CHILD_UNHEALTHY] = {
		[EV_START]        = GO(CHILD_UNHEALTHY, 0),
		[EV_STOP]         = GO(CHILD_STOPPING, A(CANCEL_TIMERS) | A(CANCEL_CHECK) | A(TERM)),
		[EV_RESTART]      = GO(CHILD_RESTARTING, A(CANCEL_TIMERS) | A(TERM)),
		[EV_CONFIG]       = GO(CHILD_UNHEALTHY, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_RESTARTING, A(CANCEL_TIMERS) | A(TERM)),
		[EV_CHECK_BAD]    = GO(CHILD_UNHEALTHY, 0),
		[EV_READY]        = GO(CHILD_UNHEALTHY, 0),
		[EV_UNREADY]      = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(WATCH_READY)),
		[EV_HANG]         = GO(CHILD_UNHEALTHY, 0),
		[EV_ANSWER]       = GO(CHILD_READY, A(CANCEL_TIMERS)),
		[EV_HANG_LIMIT]   = GO(CHILD_RESTARTING, A(CANCEL_TIMERS) | A(KILL)),
		[EV_DYING]        = GO(CHILD_UNHEALTHY, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_EXIT_BACKOFF] = GO(CHILD_BACKOFF, A(CANCEL_TIMERS) | A(BACKOFF)),
		[EV_EXIT_GIVE_UP] = GO(CHILD_FAILED, A(CANCEL_TIMERS)),
		[EV_BACKOFF_OVER] = GO(CHILD_UNHEALTHY, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_UNHEALTHY, 0),
	},
	[CHILD_STOPPING] = {
		[EV_START]        = GO(CHILD_RESTARTING, A(CHECK)),
		[EV_STOP]         = GO(CHILD_STOPPING, 0),
		[EV_RESTART]      = GO(CHILD_RESTARTING, A(CHECK)),
		[EV_CONFIG]       = GO(CHILD_STOPPING, 0),
		[EV_CHECK_OK]     = GO(CHILD_STOPPING, 0),
		[EV_CHECK_BAD]    = GO(CHILD_STOPPING, 0),
		[EV_READY]        = GO(CHILD_STOPPING, 0),
		[EV_UNREADY]      = GO(CHILD_STOPPING, 0),
		[EV_HANG]         = GO(CHILD_STOPPING, 0),
		[EV_ANSWER]       = GO(CHILD_STOPPING, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_STOPPING, 0),
		[EV_DYING]        = GO(CHILD_STOPPING, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_STOPPED, A(CANCEL_TIMERS)),
		[EV_EXIT_BACKOFF] = GO(CHILD_STOPPED, A(CANCEL_TIMERS)),
		[EV_EXIT_GIVE_UP] = GO(CHILD_STOPPED, A(CANCEL_TIMERS)),
		[EV_BACKOFF_OVER] = GO(CHILD_STOPPING, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_STOPPING, A(KILL)),
	},
	[CHILD_RESTARTING] = {
		[EV_START]        = GO(CHILD_RESTARTING, 0),
		[EV_STOP]         = GO(CHILD_STOPPING, A(CANCEL_CHECK)),
		[EV_RESTART]      = GO(CHILD_RESTARTING, 0),
		[EV_CONFIG]       = GO(CHILD_RESTARTING, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_RESTARTING, 0), /* the copy in force is what starts next */
		[EV_CHECK_BAD]    = GO(CHILD_RESTARTING, 0),
		[EV_READY]        = GO(CHILD_RESTARTING, 0),
		[EV_UNREADY]      = GO(CHILD_RESTARTING, 0),
		[EV_HANG]         = GO(CHILD_RESTARTING, 0),
		[EV_ANSWER]       = GO(CHILD_RESTARTING, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_RESTARTING, 0),
		[EV_DYING]        = GO(CHILD_RESTARTING, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_EXIT_BACKOFF] = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_EXIT_GIVE_UP] = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_BACKOFF_OVER] = GO(CHILD_RESTARTING, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_RESTARTING, A(KILL)),
	},
	[CHILD_BACKOFF] = {
		[EV_START]        = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_STOP]         = GO(CHILD_STOPPED, A(CANCEL_TIMERS) | A(CANCEL_CHECK)),
		[EV_RESTART]      = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)),
		[EV_CONFIG]       = GO(CHILD_BACKOFF, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_STARTING, A(CANCEL_TIMERS) | A(SPAWN)), /* a new config deserves a try now */
		[EV_CHECK_BAD]    = GO(CHILD_BACKOFF, 0),
		[EV_READY]        = GO(CHILD_BACKOFF, 0),
		[EV_UNREADY]      = GO(CHILD_BACKOFF, 0),
		[EV_HANG]         = GO(CHILD_BACKOFF, 0),
		[EV_ANSWER]       = GO(CHILD_BACKOFF, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_BACKOFF, 0),
		[EV_DYING]        = GO(CHILD_BACKOFF, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_BACKOFF, 0),
		[EV_EXIT_BACKOFF] = GO(CHILD_BACKOFF, 0),
		[EV_EXIT_GIVE_UP] = GO(CHILD_BACKOFF, 0),
		[EV_BACKOFF_OVER] = GO(CHILD_STARTING, A(SPAWN)),
		[EV_STOP_LIMIT]   = GO(CHILD_BACKOFF, 0),
	},
	[CHILD_FAILED] = {
		[EV_START]        = GO(CHILD_CHECKING, A(CHECK)),
		[EV_STOP]         = GO(CHILD_STOPPED, 0),
		[EV_RESTART]      = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CONFIG]       = GO(CHILD_CHECKING, A(CHECK)),
		[EV_CHECK_OK]     = GO(CHILD_FAILED, 0),
		[EV_CHECK_BAD]    = GO(CHILD_FAILED, 0),
		[EV_READY]        = GO(CHILD_FAILED, 0),
		[EV_UNREADY]      = GO(CHILD_FAILED, 0),
		[EV_HANG]         = GO(CHILD_FAILED, 0),
		[EV_ANSWER]       = GO(CHILD_FAILED, 0),
		[EV_HANG_LIMIT]   = GO(CHILD_FAILED, 0),
		[EV_DYING]        = GO(CHILD_FAILED, 0),
		[EV_EXIT_AGAIN]   = GO(CHILD_FAILED, 0),
		[EV_EXIT_BACKOFF] = GO(CHILD_FAILED, 0),
		[EV_EXIT_GIVE_UP] = GO(CHILD_FAILED, 0),
		[EV_BACKOFF_OVER] = GO(CHILD_FAILED, 0),
		[EV_STOP_LIMIT]   = GO(CHILD_FAILED, 0),
	},
};

#define NET(event) [(event) - CHILD_EVENTS]

/* Every way out of ARMING and ARMED begins with SWITCH_OFF; ARMING waits until DIRECT is reached. */
static const struct cell net_table[NET_STATES][LIFECYCLE_EVENTS - CHILD_EVENTS] = {
	[NET_DIRECT] = {
		NET(EV_WANT)          = GO(NET_ARMING, A(ARM)),
		NET(EV_UNWANT)        = GO(NET_DIRECT, 0),
		NET(EV_ARMED)         = GO(NET_DIRECT, 0),
		NET(EV_ARM_FAILED)    = GO(NET_DIRECT, 0),
		NET(EV_REMOVED)       = GO(NET_DIRECT, 0),
		NET(EV_REMOVE_FAILED) = GO(NET_DIRECT, 0),
		NET(EV_RETRY)         = GO(NET_DIRECT, 0),
	},
	[NET_ARMING] = {
		NET(EV_WANT)          = GO(NET_ARMING, 0),
		NET(EV_UNWANT)        = GO(NET_DISARMING, A(SWITCH_OFF) | A(ABORT_ARM) | A(REMOVE)),
		NET(EV_ARMED)         = GO(NET_ARMED, A(EXTRACT)),
		NET(EV_ARM_FAILED)    = GO(NET_DISARMING, A(SWITCH_OFF) | A(REMOVE)),
		NET(EV_REMOVED)       = GO(NET_ARMING, 0),
		NET(EV_REMOVE_FAILED) = GO(NET_ARMING, 0),
		NET(EV_RETRY)         = GO(NET_ARMING, 0),
	},
	[NET_ARMED] = {
		NET(EV_WANT)          = GO(NET_ARMED, 0),
		NET(EV_UNWANT)        = GO(NET_DISARMING, A(SWITCH_OFF) | A(REMOVE)),
		NET(EV_ARMED)         = GO(NET_ARMED, 0),
		NET(EV_ARM_FAILED)    = GO(NET_DISARMING, A(SWITCH_OFF) | A(REMOVE)),
		NET(EV_REMOVED)       = GO(NET_ARMED, 0),
		NET(EV_REMOVE_FAILED) = GO(NET_ARMED, 0),
		NET(EV_RETRY)         = GO(NET_ARMED, 0),
	},
	[NET_DISARMING] = {
		NET(EV_WANT)          = GO(NET_DISARMING, 0), /* looked at again when DIRECT is reached */
		NET(EV_UNWANT)        = GO(NET_DISARMING, 0),
		NET(EV_ARMED)         = GO(NET_DISARMING, 0),
		NET(EV_ARM_FAILED)    = GO(NET_DISARMING, 0),
		NET(EV_REMOVED)       = GO(NET_DIRECT, 0),
		NET(EV_REMOVE_FAILED) = GO(NET_DISARMING, A(RETRY_LATER)),
		NET(EV_RETRY)         = GO(NET_DISARMING, A(REMOVE)),
	},
};
/* clang-format on */

void lifecycle_init(struct lifecycle *l, bool tproxy)
{
	l->child = CHILD_STOPPED;
	l->net = NET_DISARMING;
	l->tproxy = tproxy;
}

static bool wanted_armed(const struct lifecycle *l)
{
	return l->tproxy && l->child == CHILD_READY;
}

static lifecycle_actions net_step(struct lifecycle *l, enum lifecycle_event event)
{
	const struct cell *c = &net_table[l->net][event - CHILD_EVENTS];

	l->net = (enum net_state)c->next;
	return c->actions;
}

/* The net after a change of the wish, or on reaching a state in which the wish was not fulfilled. */
static lifecycle_actions follow(struct lifecycle *l)
{
	return net_step(l, wanted_armed(l) ? EV_WANT : EV_UNWANT);
}

lifecycle_actions lifecycle_step(struct lifecycle *l, enum lifecycle_event event)
{
	lifecycle_actions actions;

	if (event >= LIFECYCLE_EVENTS)
		return 0;
	if (event >= CHILD_EVENTS) {
		actions = net_step(l, event);
	} else {
		const struct cell *c = &child_table[l->child][event];

		l->child = (enum child_state)c->next;
		actions = c->actions;
	}
	return actions | follow(l);
}

lifecycle_actions lifecycle_mode(struct lifecycle *l, bool tproxy)
{
	l->tproxy = tproxy;
	return follow(l);
}

bool lifecycle_has_process(enum child_state s)
{
	return s == CHILD_STARTING || s == CHILD_READY || s == CHILD_UNHEALTHY || s == CHILD_STOPPING ||
	       s == CHILD_RESTARTING;
}

const char *child_state_name(enum child_state s)
{
	static const char *const names[CHILD_STATES] = {
		[CHILD_STOPPED] = "stopped",   [CHILD_WAITING] = "waiting",	  [CHILD_CHECKING] = "checking",
		[CHILD_STARTING] = "starting", [CHILD_READY] = "ready",		  [CHILD_UNHEALTHY] = "unhealthy",
		[CHILD_STOPPING] = "stopping", [CHILD_RESTARTING] = "restarting", [CHILD_BACKOFF] = "backoff",
		[CHILD_FAILED] = "failed",
	};

	return s < CHILD_STATES ? names[s] : "?";
}

const char *net_state_name(enum net_state s)
{
	static const char *const names[NET_STATES] = {
		[NET_DIRECT] = "direct",
		[NET_ARMING] = "arming",
		[NET_ARMED] = "armed",
		[NET_DISARMING] = "disarming",
	};

	return s < NET_STATES ? names[s] : "?";
}

const char *lifecycle_event_name(enum lifecycle_event e)
{
	static const char *const names[LIFECYCLE_EVENTS] = {
		[EV_START] = "start",
		[EV_STOP] = "stop",
		[EV_RESTART] = "restart",
		[EV_CONFIG] = "config changed",
		[EV_CHECK_OK] = "config good",
		[EV_CHECK_BAD] = "config bad",
		[EV_READY] = "ready",
		[EV_UNREADY] = "not ready any more",
		[EV_HANG] = "hang",
		[EV_ANSWER] = "answers again",
		[EV_HANG_LIMIT] = "hang limit",
		[EV_DYING] = "life pipe closed",
		[EV_EXIT_AGAIN] = "exit, again at once",
		[EV_EXIT_BACKOFF] = "exit, back off",
		[EV_EXIT_GIVE_UP] = "exit, give up",
		[EV_BACKOFF_OVER] = "backoff over",
		[EV_STOP_LIMIT] = "stop limit",
		[EV_WANT] = "wanted",
		[EV_UNWANT] = "not wanted",
		[EV_ARMED] = "armed",
		[EV_ARM_FAILED] = "arming failed",
		[EV_REMOVED] = "removed",
		[EV_REMOVE_FAILED] = "removal failed",
		[EV_RETRY] = "retry",
	};

	return e < LIFECYCLE_EVENTS ? names[e] : "?";
}

const char *lifecycle_action_name(enum lifecycle_action a)
{
	static const char *const names[LIFECYCLE_ACTIONS] = {
		[ACT_SWITCH_OFF] = "switch off",
		[ACT_ABORT_ARM] = "abort arming",
		[ACT_REMOVE] = "remove",
		[ACT_RETRY_LATER] = "retry later",
		[ACT_KILL] = "kill",
		[ACT_TERM] = "terminate",
		[ACT_CHECK] = "check",
		[ACT_CANCEL_CHECK] = "cancel check",
		[ACT_SPAWN] = "spawn",
		[ACT_WATCH_READY] = "watch for readiness",
		[ACT_RELOAD] = "reload",
		[ACT_BACKOFF] = "back off",
		[ACT_CANCEL_TIMERS] = "cancel timers",
		[ACT_HANG_TIMER] = "hang timer",
		[ACT_ARM] = "arm",
		[ACT_EXTRACT] = "extract",
	};

	return a < LIFECYCLE_ACTIONS ? names[a] : "?";
}

bool lifecycle_cell(bool net, unsigned state, enum lifecycle_event event, unsigned *next_out,
		    lifecycle_actions *actions_out)
{
	const struct cell *c = net ? &net_table[state][event - CHILD_EVENTS] : &child_table[state][event];

	*next_out = c->next;
	*actions_out = c->actions;
	return c->written;
}
