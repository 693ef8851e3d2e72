#include "daemon/commands.h"

#include <signal.h>
#include <stdio.h>

/* Behind "Mihomo" or "it". */
static const char *what_it_does(enum child_state s)
{
	static const char *const words[CHILD_STATES] = {
		[CHILD_STOPPED] = "is stopped",
		[CHILD_WAITING] = "waits for a good config or its port",
		[CHILD_CHECKING] = "has its config checked first",
		[CHILD_STARTING] = "is starting",
		[CHILD_READY] = "is ready",
		[CHILD_UNHEALTHY] = "does not answer",
		[CHILD_STOPPING] = "is being ended",
		[CHILD_RESTARTING] = "is being restarted",
		[CHILD_BACKOFF] = "died and waits for its next start",
		[CHILD_FAILED] = "died too often",
	};

	return words[s];
}

static const char *refresh_refusal(const struct command_state *s, char *buf)
{
	static const char what[] = "there is no set to refresh";

	if (s->set)
		return NULL;
	if (!s->life.tproxy)
		snprintf(buf, COMMAND_SENTENCE, "%s: the mode is mixed", what);
	else if (s->life.child != CHILD_READY)
		snprintf(buf, COMMAND_SENTENCE, "%s: Mihomo %s", what, what_it_does(s->life.child));
	else
		snprintf(buf, COMMAND_SENTENCE, "%s: the network is %s", what, net_state_name(s->life.net));
	return buf;
}

/*
 * Mihomo installs its handlers last: before that a SIGHUP, which shall make it
 * reload, kills it (1.19.30, main.go). What shall end it may do so at any time.
 */
static const char *signal_refusal(int sig, const struct command_state *s, char *buf)
{
	const char *does = what_it_does(s->life.child);
	bool has_handlers = s->life.child == CHILD_READY || s->life.child == CHILD_UNHEALTHY;

	if (!s->process || !lifecycle_has_process(s->life.child))
		snprintf(buf, COMMAND_SENTENCE, "there is no Mihomo to signal: it %s", does);
	else if (sig == SIGHUP && !has_handlers)
		snprintf(buf, COMMAND_SENTENCE, "SIGHUP would end Mihomo now: it %s; try again when it is ready", does);
	else
		return NULL;
	return buf;
}

/* What only tells something is done to the end. */
static bool only_tells(enum ctl_cmd cmd)
{
	return cmd == CTL_STATUS || cmd == CTL_IPS || cmd == CTL_LOGS || cmd == CTL_EVENTS;
}

const char *command_refusal(const struct ctl_request *r, const struct command_state *s, char buf[COMMAND_SENTENCE])
{
	if (s->shutting_down && !only_tells(r->cmd) && r->cmd != CTL_SHUTDOWN)
		return "clashsup is shutting down";
	if (r->cmd == CTL_REFRESH)
		return refresh_refusal(s, buf);
	if (r->cmd == CTL_SIGNAL)
		return signal_refusal(r->signal, s, buf);
	return NULL;
}
