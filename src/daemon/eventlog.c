#include "daemon/eventlog.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "clashsup/report.h"
#include "daemon/clock.h"

static const char *const names[ANNOUNCEMENTS] = {
	[ANNOUNCE_MOVED] = "moved",	    [ANNOUNCE_STARTED] = "started",   [ANNOUNCE_ARMED] = "armed",
	[ANNOUNCE_RECOVERED] = "recovered", [ANNOUNCE_CRASHED] = "crashed",   [ANNOUNCE_DISARMED] = "disarmed",
	[ANNOUNCE_EXITED] = "exited",	    [ANNOUNCE_GIVE_UP] = "give-up",   [ANNOUNCE_RELOADED] = "reloaded",
	[ANNOUNCE_REFUSED] = "refused",	    [ANNOUNCE_REEXECED] = "reexeced", [ANNOUNCE_STOPPING] = "stopping",
};

static void put_number(cJSON *o, const char *name, double value)
{
	cJSON_AddNumberToObject(o, name, value);
}

/* From, to, and how long the former state lasted. */
static void put_move(cJSON *o, const char *what, const char *from, const char *to, int64_t *since_ms)
{
	cJSON *move = cJSON_AddObjectToObject(o, what);

	cJSON_AddStringToObject(move, "from", from);
	cJSON_AddStringToObject(move, "to", to);
	put_number(move, "lasted_ms", (double)(clock_ms() - *since_ms));
	*since_ms = clock_ms();
}

static void put_end(cJSON *o, const struct announcement *a)
{
	if (WIFEXITED(a->status))
		put_number(o, "code", WEXITSTATUS(a->status));
	else if (WIFSIGNALED(a->status))
		put_number(o, "signal", WTERMSIG(a->status));
}

static void put_details(struct eventlog *e, cJSON *o, const struct announcement *a, const struct lifecycle *now)
{
	if (a->from && a->from->child != now->child)
		put_move(o, "child", child_state_name(a->from->child), child_state_name(now->child),
			 &e->child_since_ms);
	if (a->from && a->from->net != now->net)
		put_move(o, "net", net_state_name(a->from->net), net_state_name(now->net), &e->net_since_ms);
	if (a->from)
		cJSON_AddStringToObject(o, "cause", lifecycle_event_name(a->event));
	if (a->kind == ANNOUNCE_EXITED || a->kind == ANNOUNCE_GIVE_UP)
		put_end(o, a);
	if (a->kind == ANNOUNCE_EXITED) {
		put_number(o, "lived_ms", (double)a->lived_ms);
		cJSON_AddBoolToObject(o, "by_us", a->by_us);
	}
	if (a->took_us > 0)
		put_number(o, "took_ms", (double)a->took_us / 1000.0);
	if (a->pid)
		put_number(o, "pid", a->pid);
	if (a->reason && a->reason[0])
		cJSON_AddStringToObject(o, "reason", a->reason);
}

/* A step that changed no state is nobody's news. */
static bool is_news(const struct announcement *a, const struct lifecycle *now)
{
	return a->kind != ANNOUNCE_MOVED || a->from->child != now->child || a->from->net != now->net;
}

void eventlog_add(struct eventlog *e, const struct announcement *a, const struct lifecycle *now)
{
	char at[REPORT_TIME_TEXT];
	cJSON *o;
	char *text;

	if (!is_news(a, now) || !(o = cJSON_CreateObject()))
		return;
	cJSON_AddStringToObject(o, "at", report_wall(clock_wall_ms(), at) ? at : "");
	put_number(o, "mono_ms", (double)clock_ms());
	cJSON_AddStringToObject(o, "event", names[a->kind]);
	put_details(e, o, a, now);
	text = cJSON_PrintUnformatted(o); /* one that lacks a member for want of memory is still one */
	if (text)
		ring_add(&e->ring, text, strlen(text));
	cJSON_free(text);
	cJSON_Delete(o);
}

void eventlog_init(struct eventlog *e)
{
	ring_init(&e->ring, EVENTS_KEPT, EVENTS_BYTES);
	e->child_since_ms = e->net_since_ms = clock_ms();
}
