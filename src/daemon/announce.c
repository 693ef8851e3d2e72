#include "daemon/announce.h"

#include <stdio.h>
#include <sys/wait.h>

#include "daemon/supervisor.h"

/* NULL = no hook is run for it. */
static const char *hook_name(const struct supervisor *s, enum announcement_kind kind)
{
	switch (kind) {
	case ANNOUNCE_ARMED:
		return "armed";
	case ANNOUNCE_DISARMED:
		return s->net.armed_before ? "disarmed" : NULL; /* the sweep at the start is no turn of life */
	case ANNOUNCE_CRASHED:
		return "crashed";
	case ANNOUNCE_RECOVERED:
		return "recovered";
	case ANNOUNCE_GIVE_UP:
		return "give-up";
	case ANNOUNCE_MOVED:
	case ANNOUNCE_STARTED:
	case ANNOUNCE_EXITED:
	case ANNOUNCE_RELOADED:
	case ANNOUNCE_REFUSED:
	case ANNOUNCE_REEXECED:
	case ANNOUNCE_STOPPING:
	case ANNOUNCEMENTS:
		break;
	}
	return NULL;
}

static void run_hooks(struct supervisor *s, const struct announcement *a)
{
	bool ended = a->kind == ANNOUNCE_GIVE_UP || (a->kind == ANNOUNCE_CRASHED && s->exited && !s->mihomo.proc.pid);
	struct hook_event event = { .name = hook_name(s, a->kind), .code = -1, .pid = s->mihomo.proc.pid };

	if (!event.name)
		return;
	event.state = supervisor_state(s);
	snprintf(event.reason, sizeof(event.reason), "%s", a->reason ? a->reason : "");
	event.code = ended && WIFEXITED(a->status) ? WEXITSTATUS(a->status) : -1;
	event.signal = ended && WIFSIGNALED(a->status) ? WTERMSIG(a->status) : 0;
	event.servers = servers_known(&s->servers);
	hooks_run(&s->hooks, &event);
}

void announce(struct supervisor *s, const struct announcement *a)
{
	if (a->kind == ANNOUNCE_STOPPING)
		service_stopping(&s->service);
	eventlog_add(&s->eventlog, a, &s->machine.life);
	ctl_wake(s->ctl);
	service_look(s);
	run_hooks(s, a);
}
