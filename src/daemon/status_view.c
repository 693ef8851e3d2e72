#include "daemon/status_view.h"

#include <inttypes.h>
#include <string.h>

#define LABEL_WIDTH 12
#define DEATHS_SHOWN 3
#define GOOD "\033[32m"
#define UNSETTLED "\033[33m"
#define BAD "\033[31m"

struct view {
	FILE *out;
	bool colour;
	int64_t now_ms;
};

static const cJSON *member(const cJSON *o, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(o, name); /* takes NULL and other types for "none" */
}

static const char *text(const cJSON *o, const char *name)
{
	return cJSON_GetStringValue(member(o, name));
}

/* INT64_MIN for what is no number, or none that is usable. */
static int64_t number(const cJSON *o, const char *name)
{
	const cJSON *n = member(o, name);

	if (!cJSON_IsNumber(n) || !(n->valuedouble > -9e15 && n->valuedouble < 9e15))
		return INT64_MIN;
	return (int64_t)n->valuedouble;
}

static void label(const struct view *v, const char *name)
{
	fprintf(v->out, "%-*s", LABEL_WIDTH, name);
}

/* Texts come from files and other programs: nothing in them may steer a terminal. */
static void put(const struct view *v, const char *s)
{
	for (; s && *s; s++)
		fputc((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, v->out);
}

static void put_coloured(const struct view *v, const char *colour, const char *s)
{
	if (v->colour)
		fputs(colour, v->out);
	put(v, s ? s : "unknown");
	if (v->colour)
		fputs("\033[0m", v->out);
}

/* A count with its noun: "1 restart", "2 restarts"; `plural` is what is put behind the noun. */
static void put_count(const struct view *v, const cJSON *o, const char *name, const char *noun, const char *plural)
{
	int64_t n = number(o, name);

	if (n == INT64_MIN)
		fprintf(v->out, "? %s%s", noun, plural);
	else
		fprintf(v->out, "%" PRId64 " %s%s", n, noun, n == 1 ? "" : plural);
}

/* The two largest units: "3d 4h", "5m 3s", "12s". */
static void put_span(const struct view *v, int64_t ms)
{
	static const struct {
		int64_t seconds;
		char name;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	int64_t s = ms < 0 ? 0 : ms / 1000;
	size_t i = 0;

	while (i < 3 && s < units[i].seconds)
		i++;
	fprintf(v->out, "%" PRId64 "%c", s / units[i].seconds, units[i].name);
	if (i < 3 && s % units[i].seconds / units[i + 1].seconds)
		fprintf(v->out, " %" PRId64 "%c", s % units[i].seconds / units[i + 1].seconds, units[i + 1].name);
}

/* "before 5m 3s after", or nothing when the time is unknown. */
static void put_age(const struct view *v, const cJSON *o, const char *mono_name, const char *before, const char *after)
{
	int64_t then = number(o, mono_name);

	if (then == INT64_MIN)
		return;
	fputs(before, v->out);
	put_span(v, v->now_ms - then);
	fputs(after, v->out);
}

static const char *state_colour(const char *state)
{
	if (!state || !strcmp(state, "failed") || !strcmp(state, "stopped"))
		return BAD;
	return !strcmp(state, "armed") || !strcmp(state, "mixed") ? GOOD : UNSETTLED;
}

static const char *state_meaning(const char *state)
{
	static const char *const rows[][2] = {
		{ "waiting", "Mihomo cannot be started yet" },
		{ "starting", "not armed yet" },
		{ "armed", "traffic goes through Mihomo" },
		{ "direct", "Mihomo is alive, not armed" },
		{ "mixed", "no transparent proxying, by request" },
		{ "stopped", "Mihomo is down by request" },
		{ "failed", "Mihomo was given up" },
	};

	for (size_t i = 0; state && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i][0], state) == 0)
			return rows[i][1];
	return "";
}

static void view_state(const struct view *v, const cJSON *s)
{
	const char *state = text(s, "state"), *since = text(s, "since"), *meaning = state_meaning(state);
	bool armed = state && strcmp(state, "armed") == 0, closed = cJSON_IsTrue(member(s, "closed"));

	label(v, "state");
	put_coloured(v, state_colour(state), state);
	fprintf(v->out, "  %s%s\n", !*meaning || armed ? "" : closed ? "LAN closed, " : "network direct, ", meaning);
	if (!since)
		return;
	label(v, "since");
	put(v, since);
	put_age(v, s, "since_mono_ms", "  (", ")");
	fputc('\n', v->out);
}

static void view_mihomo(const struct view *v, const cJSON *s)
{
	const cJSON *m = member(s, "mihomo");
	const char *child = text(s, "child");
	int64_t pid = number(m, "pid");

	label(v, "Mihomo");
	put(v, child ? child : "unknown");
	if (pid != INT64_MIN) {
		fprintf(v->out, ", pid %" PRId64, pid);
		put_age(v, m, "since_mono_ms", ", up ", "");
	}
	fputs(", ", v->out);
	put_count(v, m, "restarts", "restart", "s");
	fputc('\n', v->out);
}

/* `death` is its place in the history, which knows more. */
static void put_end(const struct view *v, const cJSON *end, const cJSON *death)
{
	bool asked = cJSON_IsTrue(member(death, "by_us"));
	int64_t code = number(end, "code"), sig = number(end, "signal");
	const char *words = sig > 0 && sig < 65 ? strsignal((int)sig) : "";

	if (cJSON_IsTrue(member(death, "oom")))
		fputs("killed by the kernel: out of memory", v->out);
	else if (sig != INT64_MIN)
		fprintf(v->out, "killed by signal %" PRId64 "%s%s", sig, *words ? ": " : "", words);
	else if (code == 0)
		fputs(asked ? "ended as asked" : "ended by itself, without an error", v->out);
	else if (code != INT64_MIN)
		fprintf(v->out, "failed with code %" PRId64, code);
	else
		fputs("unknown", v->out);
}

static void view_last_exit(const struct view *v, const cJSON *s)
{
	const cJSON *last = member(member(s, "mihomo"), "last_exit");

	if (!cJSON_IsObject(last))
		return;
	label(v, "last exit");
	put_end(v, last, cJSON_GetArrayItem(member(s, "history"), 0));
	put_age(v, last, "at_mono_ms", ", ", " ago");
	fputc('\n', v->out);
}

static void view_death(const struct view *v, const cJSON *death)
{
	put(v, text(death, "at") ? text(death, "at") : "at an unknown time");
	fputs("  ", v->out);
	if (cJSON_IsNull(member(death, "pid"))) {
		fputs("could not be started\n", v->out);
		return;
	}
	put_end(v, death, death);
	if (number(death, "lived_ms") != INT64_MIN) {
		fputs(" after ", v->out);
		put_span(v, number(death, "lived_ms"));
	}
	fputc('\n', v->out);
}

/* The latest ones, also of former supervisors. */
static void view_deaths(const struct view *v, const cJSON *s)
{
	const cJSON *death = cJSON_GetArrayItem(member(s, "history"), 0);

	for (int n = 0; n < DEATHS_SHOWN && death; n++, death = death->next) {
		label(v, n ? "" : "deaths");
		view_death(v, death);
	}
}

static void view_probe(const struct view *v, const cJSON *s)
{
	const cJSON *p = member(s, "probe"), *latency = member(p, "latency_ms");
	bool ok = cJSON_IsTrue(member(p, "ok"));

	label(v, "probe");
	if (number(member(s, "mihomo"), "pid") == INT64_MIN) {
		fputs("nothing to ask\n", v->out);
		return;
	}
	put_coloured(v, ok ? GOOD : BAD, ok ? "answers" : "no answer");
	if (cJSON_IsNumber(latency))
		fprintf(v->out, ok ? " in %.1f ms" : ", the last one took %.1f ms", latency->valuedouble);
	if (number(p, "fails") > 0)
		fprintf(v->out, ", %" PRId64 " without one in a row", number(p, "fails"));
	fputc('\n', v->out);
}

static void view_family(const struct view *v, const cJSON *tproxy, const char *name, const char *title)
{
	const char *is = text(tproxy, name);

	label(v, "");
	fprintf(v->out, "%s: ", title);
	put_coloured(v, is && strcmp(is, "armed") == 0 ? GOOD : UNSETTLED, is);
	fputc('\n', v->out);
}

static void put_ms(const struct view *v, const cJSON *o, const char *name, const char *before)
{
	const cJSON *n = member(o, name);

	if (cJSON_IsNumber(n))
		fprintf(v->out, "%s%.1f ms", before, n->valuedouble);
}

static void view_tproxy(const struct view *v, const cJSON *s)
{
	const cJSON *t = member(s, "tproxy");

	label(v, "tproxy");
	put(v, text(s, "net") ? text(s, "net") : "unknown");
	fputs(", ", v->out);
	put(v, text(s, "backend") ? text(s, "backend") : "no backend");
	if (number(t, "port") != INT64_MIN)
		fprintf(v->out, ", port %" PRId64, number(t, "port"));
	put_ms(v, t, "armed_in_ms", ", armed in ");
	put_ms(v, t, "last_disarm_ms", ", last switch-off took ");
	fputc('\n', v->out);
	view_family(v, t, "ipv4", "IPv4");
	view_family(v, t, "ipv6", "IPv6");
}

static void view_network(const struct view *v, const cJSON *s)
{
	const cJSON *repairs = member(s, "repairs");
	const char *path = text(s, "direct_path"), *last = text(repairs, "last"), *delta = text(s, "delta");
	bool none = delta && strcmp(delta, "none") == 0;

	label(v, "direct path");
	put_coloured(v, path && strcmp(path, "ok") == 0 ? GOOD : UNSETTLED, path);
	fputs(strcmp(text(s, "on_death") ? text(s, "on_death") : "", "closed") == 0 ? " (closed without Mihomo)\n"
										    : "\n",
	      v->out);
	label(v, "dns");
	put(v, text(s, "dns") ? text(s, "dns") : "not known yet");
	fputc('\n', v->out);
	if (delta) {
		label(v, "kernel");
		put_coloured(v, none ? GOOD : UNSETTLED, none ? "as wanted" : delta);
		fputc('\n', v->out);
	}
	if (number(repairs, "count") <= 0)
		return;
	label(v, "repairs");
	put_count(v, repairs, "count", "repair", "s");
	fputs(last ? ", last: " : "", v->out);
	put(v, last);
	put_age(v, repairs, "at_mono_ms", ", ", " ago");
	fputc('\n', v->out);
}

static void view_ipset(const struct view *v, const cJSON *s)
{
	const cJSON *set = member(s, "ipset");

	label(v, "ipset");
	put(v, text(set, "name") ? text(set, "name") : "unknown");
	fputs(": ", v->out);
	put_count(v, set, "ipv4", "IPv4 address", "es");
	fputs(", ", v->out);
	put_count(v, set, "ipv6", "IPv6 address", "es");
	put_age(v, set, "updated_mono_ms", ", changed ", " ago");
	fputc('\n', v->out);
}

static void view_extract(const struct view *v, const cJSON *s)
{
	const cJSON *x = member(s, "extract");
	bool running = cJSON_IsTrue(member(x, "running"));

	label(v, "extract");
	if (number(x, "endpoints") == INT64_MIN) {
		fputs(running ? "running for the first time\n" : "has not run yet\n", v->out);
		return;
	}
	put_count(v, x, "endpoints", "endpoint", "s");
	fputs(", ", v->out);
	put_count(v, x, "names", "name", "s");
	fputs(" (", v->out);
	put_count(v, x, "unresolved", "unresolved", "");
	fputs("), ", v->out);
	put_count(v, x, "skipped", "skipped", "");
	if (number(x, "missed") > 0) {
		fputs(", ", v->out);
		put_count(v, x, "missed", "missed", "");
	}
	put_age(v, x, "last_mono_ms", ", ", " ago");
	fputs(running ? ", running again\n" : "\n", v->out);
}

static void view_warnings(const struct view *v, const cJSON *list)
{
	const cJSON *w;

	cJSON_ArrayForEach(w, list)
	{
		label(v, "warning");
		put_coloured(v, UNSETTLED, cJSON_GetStringValue(w));
		fputc('\n', v->out);
	}
}

static void view_texts(const struct view *v, const cJSON *s)
{
	const cJSON *warnings = member(s, "warnings");

	if (text(s, "waiting_for")) {
		label(v, "waiting for");
		put_coloured(v, UNSETTLED, text(s, "waiting_for"));
		fputc('\n', v->out);
	}
	view_warnings(v, warnings);
	view_warnings(v, member(s, "surroundings"));
	if (!cJSON_IsArray(warnings)) {
		label(v, "");
		fputs("(what it waits for and warnings are shown to root and control_group)\n", v->out);
	}
}

void status_view(const cJSON *status, bool colour, int64_t mono_now_ms, FILE *out)
{
	struct view v = { .out = out, .colour = colour, .now_ms = mono_now_ms };

	view_state(&v, status);
	view_mihomo(&v, status);
	view_last_exit(&v, status);
	view_deaths(&v, status);
	view_probe(&v, status);
	view_tproxy(&v, status);
	view_network(&v, status);
	view_ipset(&v, status);
	view_extract(&v, status);
	view_texts(&v, status);
}
