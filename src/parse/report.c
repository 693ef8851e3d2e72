#include "clashsup/report.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "parse/json_text.h"

bool report_wall(int64_t wall_ms, char out[REPORT_TIME_TEXT])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	char date[32];
	struct tm tm;

	if (wall_ms <= 0 || !gmtime_r(&seconds, &tm) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm))
		return false;
	snprintf(out, REPORT_TIME_TEXT, "%s.%03dZ", date, (int)(wall_ms % 1000));
	return true;
}

/* The writers below return false when memory is out; cJSON frees what it could not add. */

static bool add_null(cJSON *to, const char *name)
{
	return cJSON_AddNullToObject(to, name) != NULL;
}

static bool add_text(cJSON *to, const char *name, const char *text)
{
	char clean[JSON_TEXT_MAX];

	if (!text || !text[0])
		return add_null(to, name);
	return cJSON_AddStringToObject(to, name, json_text(text, clean)) != NULL;
}

static bool add_bool(cJSON *to, const char *name, bool value)
{
	return cJSON_AddBoolToObject(to, name, value) != NULL;
}

static bool add_number(cJSON *to, const char *name, double value, bool known)
{
	return known ? cJSON_AddNumberToObject(to, name, value) != NULL : add_null(to, name);
}

static bool add_count(cJSON *to, const char *name, size_t n)
{
	return add_number(to, name, (double)n, true);
}

/* Milliseconds of RFC 3339 in UTC; null for "never". */
static bool add_wall(cJSON *to, const char *name, int64_t wall_ms)
{
	char text[REPORT_TIME_TEXT];

	return report_wall(wall_ms, text) ? add_text(to, name, text) : add_null(to, name);
}

/* With the twin that no clock change moves. */
static bool add_time(cJSON *to, const char *name, const char *mono_name, const struct report_time *t)
{
	return add_wall(to, name, t->wall_ms) && add_number(to, mono_name, (double)t->mono_ms, t->wall_ms > 0);
}

static bool add_mihomo(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "mihomo"), *last;

	if (!o || !add_number(o, "pid", r->mihomo.pid, r->mihomo.pid > 0) ||
	    !add_time(o, "since", "since_mono_ms", &r->mihomo.since) || !add_count(o, "restarts", r->mihomo.restarts))
		return false;
	if (!r->mihomo.exited)
		return add_null(o, "last_exit");
	last = cJSON_AddObjectToObject(o, "last_exit");
	return last && add_number(last, "code", r->mihomo.exit_code, r->mihomo.exit_signal == 0) &&
	       add_number(last, "signal", r->mihomo.exit_signal, r->mihomo.exit_signal != 0) &&
	       add_time(last, "at", "at_mono_ms", &r->mihomo.exit_at);
}

static bool add_death(cJSON *list, const struct death *d)
{
	cJSON *o = cJSON_CreateObject();

	if (!cJSON_AddItemToArray(list, o)) /* takes NULL for a failure */
		return false;
	return add_wall(o, "at", d->at_ms) && add_number(o, "pid", d->pid, d->pid > 0) &&
	       add_number(o, "code", d->code, d->signal == 0) && add_number(o, "signal", d->signal, d->signal != 0) &&
	       add_bool(o, "core", d->core) && add_bool(o, "oom", d->oom) &&
	       add_number(o, "lived_ms", (double)d->lived_ms, true) && add_bool(o, "by_us", d->by_us);
}

/* The latest first; for everybody how many there were. */
static bool add_history(cJSON *root, const struct report *r)
{
	const struct history *h = r->mihomo.history;
	const struct death *d;
	cJSON *list;

	if (!add_count(root, "deaths", h ? h->count : 0))
		return false;
	if (!r->full)
		return add_null(root, "history");
	list = cJSON_AddArrayToObject(root, "history");
	for (uint32_t n = 0; list && h && (d = history_at(h, n)); n++) {
		if (!add_death(list, d))
			return false;
	}
	return list != NULL;
}

static bool add_probe(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "probe");

	return o && add_bool(o, "ok", r->probe.ok) &&
	       add_number(o, "latency_ms", r->probe.latency_us / 1e3, r->probe.latency_us > 0) &&
	       add_count(o, "fails", r->probe.fails);
}

static bool add_tproxy(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "tproxy");

	return o && add_number(o, "port", r->tproxy.port, r->tproxy.port != 0) &&
	       add_text(o, "ipv4", r->tproxy.family[0]) && add_text(o, "ipv6", r->tproxy.family[1]) &&
	       add_number(o, "armed_in_ms", (double)r->tproxy.armed_in_us / 1e3, r->tproxy.armed_in_us >= 0) &&
	       add_number(o, "last_disarm_ms", (double)r->tproxy.last_disarm_us / 1e3, r->tproxy.last_disarm_us >= 0);
}

static bool add_ipset(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "ipset");

	return o && add_text(o, "name", r->ipset.name) && add_count(o, "ipv4", r->ipset.count[0]) &&
	       add_count(o, "ipv6", r->ipset.count[1]) && add_time(o, "updated", "updated_mono_ms", &r->ipset.updated);
}

/* Counts of a run that never was are unknown, not 0. */
static bool add_extract(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "extract");
	bool ran = r->extract.last.wall_ms > 0;

	return o && add_bool(o, "running", r->extract.running) &&
	       add_time(o, "last", "last_mono_ms", &r->extract.last) &&
	       add_number(o, "duration_ms", (double)r->extract.duration_ms, ran) &&
	       add_number(o, "endpoints", r->extract.endpoints, ran) && add_number(o, "names", r->extract.names, ran) &&
	       add_number(o, "unresolved", r->extract.unresolved, ran) &&
	       add_number(o, "skipped", r->extract.skipped, ran) && add_count(o, "missed", r->extract.missed);
}

static bool add_list(cJSON *to, const char *name, const char texts[][REPORT_TEXT], size_t n)
{
	cJSON *list = cJSON_AddArrayToObject(to, name);

	for (size_t i = 0; list && i < n && i < REPORT_WARNINGS; i++) {
		char clean[JSON_TEXT_MAX];
		cJSON *item = cJSON_CreateString(json_text(texts[i], clean));

		if (!cJSON_AddItemToArray(list, item)) /* takes NULL for a failure */
			return false;
	}
	return list != NULL;
}

/* These may name files: null for those without control. */
static bool add_texts(cJSON *root, const struct report *r)
{
	if (!r->full)
		return add_null(root, "waiting_for") && add_null(root, "warnings") && add_null(root, "surroundings");
	return add_text(root, "waiting_for", r->waiting_for) &&
	       add_list(root, "warnings", r->warnings, r->n_warnings) &&
	       add_list(root, "surroundings", r->surroundings, r->n_surroundings);
}

static bool add_backends(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "backends");

	return o && add_text(o, "iptables", r->backends[0]) && add_text(o, "nft", r->backends[1]);
}

/* Who took rules away may be another user's program: not for everybody. */
static bool add_repairs(cJSON *root, const struct report *r)
{
	cJSON *o = cJSON_AddObjectToObject(root, "repairs");

	return o && add_count(o, "count", r->repairs.count) && add_text(o, "last", r->full ? r->repairs.last : NULL) &&
	       add_time(o, "at", "at_mono_ms", &r->repairs.at);
}

static bool add_all(cJSON *root, const struct report *r)
{
	return root && add_count(root, "version", 1) && add_text(root, "state", r->state) &&
	       add_time(root, "since", "since_mono_ms", &r->since) && add_text(root, "child", r->child) &&
	       add_text(root, "net", r->net) && add_text(root, "mode", r->mode) &&
	       add_text(root, "backend", r->backend) && add_text(root, "on_death", r->on_death) &&
	       add_mihomo(root, r) && add_probe(root, r) && add_tproxy(root, r) && add_ipset(root, r) &&
	       add_extract(root, r) && add_texts(root, r) && add_backends(root, r) &&
	       add_text(root, "direct_path", r->direct_path) && add_text(root, "dns", r->dns) &&
	       add_bool(root, "closed", r->closed) && add_text(root, "delta", r->delta) && add_repairs(root, r) &&
	       add_history(root, r);
}

char *report_json(const struct report *r)
{
	cJSON *root = cJSON_CreateObject();
	char *text = add_all(root, r) ? cJSON_PrintUnformatted(root) : NULL;

	cJSON_Delete(root);
	return text;
}

const char *report_state(const char *child, const char *net, const char *mode)
{
	static const struct {
		const char *child, *state;
	} alone[] = {
		{ "waiting", "waiting" },   { "failed", "failed" },	  { "checking", "starting" },
		{ "starting", "starting" }, { "restarting", "starting" }, { "backoff", "starting" },
	};
	bool settled = strcmp(net, "direct") == 0;

	for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++)
		if (strcmp(alone[i].child, child) == 0)
			return alone[i].state;
	/* "stopped" and "mixed" are said when nothing of ours is left in the kernel; on the way there it is "direct".
	 */
	if (strcmp(child, "stopping") == 0 || strcmp(child, "stopped") == 0)
		return settled && strcmp(child, "stopped") == 0 ? "stopped" : "direct";
	if (strcmp(mode, "mixed") == 0)
		return settled ? "mixed" : "direct";
	if (strcmp(net, "armed") == 0)
		return "armed";
	return strcmp(child, "ready") == 0 && strcmp(net, "arming") == 0 ? "starting" : "direct";
}
