#include <string.h>

#include "clashsup/log.h"
#include "daemon/supervisor.h"

void narrate_action(const struct supervisor *s, enum lifecycle_action action)
{
	const char *set = s->settings->ipset.name;

	if (action == ACT_SPAWN && s->machine.life.tproxy && !s->recovering)
		log_info(LOG_CLASH, "Waiting for Mihomo to become healthy before applying TProxy "
				    "(no timeout - will wait indefinitely)...");
	if (action != ACT_ARM || net_is_held_up(&s->net))
		return;
	if (s->recovering) {
		log_info(LOG_MONITOR, "Mihomo recovered, reapplying TProxy");
		log_info(LOG_MONITOR, "Re-initializing proxy IP ipset...");
		log_info(LOG_MONITOR, "Creating empty ipset %s", set);
		return;
	}
	log_info(LOG_CLASH, "Initializing proxy IP ipset...");
	log_info(LOG_CLASH, "Creating empty ipset %s", set);
}

/* Why the network leaves ARMING or ARMED. */
static void narrate_way_out(const struct lifecycle *to, enum lifecycle_event event)
{
	switch (event) {
	case EV_DYING:
	case EV_EXIT_AGAIN:
	case EV_EXIT_BACKOFF:
	case EV_EXIT_GIVE_UP:
		log_warn(LOG_MONITOR, "Mihomo crashed, removing TProxy");
		break;
	case EV_HANG:
		log_warn(LOG_MONITOR, "Mihomo does not answer, removing TProxy");
		break;
	case EV_UNREADY:
		log_warn(LOG_MONITOR, "Mihomo restarted in place or lost its listener, removing TProxy");
		break;
	case EV_ARM_FAILED:
		break; /* the reason has been logged where it arose */
	default:
		log_info(LOG_CLASH, "Removing TProxy (%s)", to->tproxy ? lifecycle_event_name(event) : "mode mixed");
	}
}

void narrate_move(const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event)
{
	bool was_in = from->net == NET_ARMING || from->net == NET_ARMED;

	if (event == EV_ANSWER && from->child == CHILD_UNHEALTHY)
		log_info(LOG_MONITOR, "Mihomo answers again");
	if (was_in && to->net == NET_DISARMING)
		narrate_way_out(to, event);
}

void narrate_removed(const struct supervisor *s)
{
	if (s->crashed)
		log_info(LOG_MONITOR, "TProxy and ipset removed due to crash");
}

void narrate_armed(const struct supervisor *s)
{
	log_info(s->recovering ? LOG_MONITOR : LOG_CLASH, "TProxy %s successfully (%.1f ms)",
		 s->recovering ? "reapplied" : "applied", (double)s->armed_in_us / 1000.0);
}

void narrate_exit(const struct death *d)
{
	char how[DEATH_TEXT];

	log_warn(LOG_MONITOR, "Mihomo %s after %.1f s", death_text(d, how), (double)d->lived_ms / 1000.0);
	if (d->oom)
		log_warn(LOG_MONITOR, "give this machine or its container more memory, or Mihomo less to do: "
				      "geodata-loader: memconservative, fewer and smaller rule providers");
}
