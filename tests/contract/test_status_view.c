/* status for people, and the client's exit statuses against a real socket. */
#include <ev.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "clashsup/ctl.h"
#include "clashsup/io.h"
#include "clashsup/report.h"
#include "daemon/client.h"
#include "daemon/status_view.h"

static char *view(const cJSON *o, bool colour)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	status_view(o, colour, 308000, f);
	fclose(f);
	return text;
}

static char *view_of(const struct report *r, bool colour)
{
	cleanup_free char *json = report_json(r);
	cJSON *o = cJSON_Parse(json);
	char *text = view(o, colour);

	cJSON_Delete(o);
	return text;
}

static struct report armed(void)
{
	struct report r = { .state = "armed", .child = "ready", .net = "armed", .mode = "tproxy", .full = true };

	r.backend = "iptables";
	r.on_death = "open";
	r.since = (struct report_time){ 1700000000123, 5000 };
	r.mihomo.pid = 42;
	r.mihomo.since = (struct report_time){ 1700000000009, 4000 };
	r.mihomo.restarts = 1;
	r.mihomo.exited = true;
	r.mihomo.exit_signal = 9;
	r.mihomo.exit_at = (struct report_time){ 1700000000009, 3900 };
	r.probe.ok = true;
	r.probe.latency_us = 1250;
	r.tproxy.port = 7893;
	strcpy(r.tproxy.family[0], "armed");
	strcpy(r.tproxy.family[1], "ip6tables is not here");
	r.tproxy.armed_in_us = 12540;
	r.tproxy.last_disarm_us = -1;
	r.ipset.name = "clash_proxy_ips";
	r.ipset.count[0] = 12;
	r.ipset.count[1] = 1;
	r.ipset.updated = r.since;
	r.extract.last = r.since;
	r.extract.endpoints = 13;
	r.extract.names = 9;
	r.extract.unresolved = 2;
	r.extract.missed = 3;
	strcpy(r.direct_path, "none (net.ipv4.ip_forward is 0)");
	strcpy(r.dns, "on, port 1053");
	strcpy(r.delta, "none");
	r.repairs.count = 2;
	strcpy(r.repairs.last, "rules put back");
	r.repairs.at = r.since;
	strcpy(r.warnings[0], "n1.example does not resolve");
	r.n_warnings = 1;
	return r;
}

static void an_armed_supervisor_looks_like_this(void **state)
{
	struct report r = armed();
	cleanup_free char *text = view_of(&r, false);
	(void)state;

	assert_string_equal(text, "state       armed  traffic goes through Mihomo\n"
				  "since       2023-11-14T22:13:20.123Z  (5m 3s)\n"
				  "Mihomo      ready, pid 42, up 5m 4s, 1 restart\n"
				  "last exit   killed by signal 9: Killed, 5m 4s ago\n"
				  "probe       answers in 1.2 ms\n"
				  "tproxy      armed, iptables, port 7893, armed in 12.5 ms\n"
				  "            IPv4: armed\n"
				  "            IPv6: ip6tables is not here\n"
				  "direct path none (net.ipv4.ip_forward is 0)\n"
				  "dns         on, port 1053\n"
				  "kernel      as wanted\n"
				  "repairs     2 repairs, last: rules put back, 5m 3s ago\n"
				  "ipset       clash_proxy_ips: 12 IPv4 addresses, 1 IPv6 address, changed 5m 3s ago\n"
				  "extract     13 endpoints, 9 names (2 unresolved), 0 skipped, 3 missed, 5m 3s ago\n"
				  "warning     n1.example does not resolve\n");
}

static void a_waiting_one_looks_like_this(void **state)
{
	struct report r = { .state = "waiting", .child = "waiting", .net = "direct", .mode = "tproxy", .full = true };
	cleanup_free char *text = NULL;
	(void)state;

	r.on_death = "closed";
	r.closed = true;
	strcpy(r.direct_path, "ok");
	r.tproxy.armed_in_us = r.tproxy.last_disarm_us = -1;
	r.ipset.name = "clash_proxy_ips";
	r.mihomo.exited = true;
	r.mihomo.exit_code = 1;
	strcpy(r.waiting_for, "/etc/clash/config.yaml:3: wrong");
	text = view_of(&r, false);
	assert_string_equal(text, "state       waiting  LAN closed, Mihomo cannot be started yet\n"
				  "Mihomo      waiting, 0 restarts\n"
				  "last exit   failed with code 1\n"
				  "probe       nothing to ask\n"
				  "tproxy      direct, no backend\n"
				  "            IPv4: unknown\n"
				  "            IPv6: unknown\n"
				  "direct path ok (closed without Mihomo)\n"
				  "dns         not known yet\n"
				  "ipset       clash_proxy_ips: 0 IPv4 addresses, 0 IPv6 addresses\n"
				  "extract     has not run yet\n"
				  "waiting for /etc/clash/config.yaml:3: wrong\n");
}

static void the_three_latest_deaths_are_shown(void **state)
{
	static const struct history history = {
		.list = { { .at_ms = 1, .pid = 1, .code = 7 },
			  { .at_ms = 1700000000009, .lived_ms = 3723000, .pid = 40, .code = 0, .by_us = true },
			  { .code = 126 },
			  { .at_ms = 1700000000123, .lived_ms = 70, .pid = 41, .code = -1, .signal = 9, .oom = true } },
		.count = 4,
	};
	struct report r = armed();
	cleanup_free char *text = NULL;
	(void)state;

	r.mihomo.history = &history;
	text = view_of(&r, false);
	assert_non_null(strstr(text,
			       "\nlast exit   killed by the kernel: out of memory, 5m 4s ago\n"
			       "deaths      2023-11-14T22:13:20.123Z  killed by the kernel: out of memory after 0s\n"
			       "            at an unknown time  could not be started\n"
			       "            2023-11-14T22:13:20.009Z  ended as asked after 1h 2m\n"
			       "probe "));
}

static void colours_are_only_there_when_wanted(void **state)
{
	struct report r = armed();
	cleanup_free char *plain = view_of(&r, false), *coloured = view_of(&r, true);
	(void)state;

	assert_null(strchr(plain, '\033'));
	assert_non_null(strstr(coloured, "state       \033[32marmed\033[0m  traffic"));
	assert_non_null(strstr(coloured, "IPv6: \033[33mip6tables is not here\033[0m\n"));
}

static void an_answer_with_members_missing_or_of_other_types_is_shown_as_unknown(void **state)
{
	static const char *const answers[] = {
		"null",
		"{}",
		"[1]",
		"7",
		"\"x\"",
		"{\"state\":5,\"mihomo\":[],\"probe\":1,\"tproxy\":\"x\",\"warnings\":{}}",
		"{\"mihomo\":{\"pid\":1e300,\"last_exit\":{\"signal\":-5}}}",
		"{\"warnings\":[1,null]}"
	};
	(void)state;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		cJSON *o = cJSON_Parse(answers[i]);
		cleanup_free char *text = view(o, false);

		assert_non_null(strstr(text, "state       unknown"));
		assert_non_null(strstr(text, "ipset       unknown: ? IPv4 addresses, ? IPv6 addresses\n"));
		cJSON_Delete(o);
	}
}

static void nothing_in_an_answer_can_steer_the_terminal(void **state)
{
	cJSON *o = cJSON_Parse("{\"state\":\"\\u001b]0;x\\u0007\",\"child\":\"\\u001b[2J\",\"backend\":\"\\n\"}");
	cleanup_free char *text = view(o, false);
	(void)state;

	assert_null(strchr(text, '\033'));
	assert_null(strchr(text, '\a'));
	assert_non_null(strstr(text, "state       ?]0;x?"));
	cJSON_Delete(o);
}

/* ---- the client, against a server in a child process ---- */

#define STATUS_ANSWER "{\"version\":1,\"ok\":true,\"status\":{\"version\":1,\"state\":\"%s\",\"child\":\"%s\"}}"

struct server {
	struct settings settings;
	char dir[32];
	pid_t pid;
	const char *state, *child;
	bool silent;
};

static char *serve(void *ctx, const struct ctl_request *r, size_t *cursor)
{
	const struct server *s = ctx;
	char *text = NULL;
	(void)cursor;

	if (s->silent)
		return NULL;
	switch (r->cmd) {
	case CTL_STATUS:
		return asprintf(&text, STATUS_ANSWER, s->state, s->child) < 0 ? NULL : text;
	case CTL_IPS:
		return strdup("{\"version\":1,\"ok\":true,\"ips\":[\"192.0.2.1\",\"2001:db8::1\"]}");
	case CTL_MODE:
		return r->mixed ? ctl_answer_ok() : ctl_answer_error("tproxy cannot work here");
	case CTL_START:
	case CTL_STOP:
	case CTL_RESTART:
	case CTL_SHUTDOWN:
	case CTL_REFRESH:
	case CTL_RELOAD:
	case CTL_REEXEC:
	case CTL_SIGNAL:
	case CTL_LOGS:
	case CTL_EVENTS:
	case CTL_CMDS:
		break;
	}
	return ctl_answer_ok();
}

static void server_start(struct server *s)
{
	int ready[2];
	char byte;

	strcpy(s->dir, "/tmp/test_view.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	settings_default(&s->settings);
	snprintf(s->settings.state.run, sizeof(s->settings.state.run), "%s", s->dir);
	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	s->pid = fork();
	if (s->pid == 0) {
		struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
		char path[64];
		struct ctl *c;

		snprintf(path, sizeof(path), "%s/control.sock", s->dir);
		if (ctl_open(&c, loop, path, -1, serve, s, NULL) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		ev_run(loop, 0);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void server_stop(struct server *s)
{
	char path[64];

	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/control.sock", s->dir);
	unlink(path);
	rmdir(s->dir);
}

/* Runs a command with its output caught; returns the exit status. */
static int run(const struct server *s, const char *cmd, const char *arg, char *out, size_t cap)
{
	char *argv[] = { (char *)(uintptr_t)arg, NULL };
	int saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO), r;
	FILE *f = tmpfile();
	ssize_t n;

	fflush(NULL);
	dup2(fileno(f), STDOUT_FILENO);
	dup2(fileno(f), STDERR_FILENO);
	r = client_run(&s->settings, cmd, arg ? 1 : 0, argv);
	fflush(NULL);
	dup2(saved_out, STDOUT_FILENO);
	dup2(saved_err, STDERR_FILENO);
	close(saved_out);
	close(saved_err);
	n = pread(fileno(f), out, cap - 1, 0);
	out[n > 0 ? n : 0] = '\0';
	fclose(f);
	return r;
}

static void the_exit_status_of_status_tells_the_state(void **state)
{
	static const struct {
		const char *state, *child;
		int code;
	} rows[] = {
		{ "armed", "ready", 0 },       { "mixed", "ready", 0 },	    { "mixed", "unhealthy", 1 },
		{ "starting", "starting", 1 }, { "stopped", "stopped", 1 }, { "failed", "failed", 1 },
	};
	char out[4096], json[256];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server s = { .state = rows[i].state, .child = rows[i].child };

		server_start(&s);
		assert_int_equal(run(&s, "status", NULL, out, sizeof(out)), rows[i].code);
		assert_non_null(strstr(out, rows[i].state));
		assert_int_equal(run(&s, "status", "--json", out, sizeof(out)), rows[i].code);
		snprintf(json, sizeof(json), "{\"version\":1,\"state\":\"%s\",\"child\":\"%s\"}\n", rows[i].state,
			 rows[i].child);
		assert_string_equal(out, json);
		assert_int_equal(run(&s, "status", "--live", out, sizeof(out)), 0);
		assert_string_equal(out, "");
		server_stop(&s);
	}
}

static void other_commands_are_done_refused_or_wrong(void **state)
{
	static const char *const plain[] = { "start", "stop", "restart", "shutdown", "refresh", "off" };
	struct server s = { .state = "armed", .child = "ready" };
	char out[4096];
	(void)state;

	server_start(&s);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		assert_int_equal(run(&s, plain[i], NULL, out, sizeof(out)), 0);
		assert_string_equal(out, "");
	}
	assert_int_equal(run(&s, "mode", "mixed", out, sizeof(out)), 0);
	assert_int_equal(run(&s, "on", NULL, out, sizeof(out)), 1);
	assert_string_equal(out, "clashsup: tproxy cannot work here\n");
	assert_int_equal(run(&s, "ips", NULL, out, sizeof(out)), 0);
	assert_string_equal(out, "192.0.2.1\n2001:db8::1\n");
	assert_int_equal(run(&s, "mode", NULL, out, sizeof(out)), 2);
	assert_string_equal(out, "clashsup: usage: clashsup mode tproxy|mixed\n");
	assert_int_equal(run(&s, "mode", "both", out, sizeof(out)), 2);
	assert_int_equal(run(&s, "stop", "now", out, sizeof(out)), 2);
	assert_int_equal(run(&s, "dance", NULL, out, sizeof(out)), 2);
	server_stop(&s);
}

static void nobody_there_or_no_answer_is_three(void **state)
{
	struct server s = { .silent = true };
	char out[4096];
	(void)state;

	server_start(&s);
	assert_int_equal(run(&s, "status", "--live", out, sizeof(out)), 3);
	assert_string_equal(out, "clashsup: the supervisor closed the connection\n");
	server_stop(&s);
	assert_int_equal(run(&s, "status", NULL, out, sizeof(out)), 3);
	assert_non_null(strstr(out, "control.sock: No such file or directory\n"));
	assert_int_equal(run(&s, "stop", NULL, out, sizeof(out)), 3);
}

static void a_supervisor_that_is_stuck_is_given_up_after_five_seconds(void **state)
{
	struct server s = { .state = "armed", .child = "ready" };
	char out[4096];
	(void)state;

	server_start(&s);
	kill(s.pid, SIGSTOP);
	assert_int_equal(run(&s, "status", "--live", out, sizeof(out)), 3);
	assert_string_equal(out, "clashsup: the supervisor did not answer: Connection timed out\n");
	server_stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_armed_supervisor_looks_like_this),
		cmocka_unit_test(a_waiting_one_looks_like_this),
		cmocka_unit_test(the_three_latest_deaths_are_shown),
		cmocka_unit_test(colours_are_only_there_when_wanted),
		cmocka_unit_test(an_answer_with_members_missing_or_of_other_types_is_shown_as_unknown),
		cmocka_unit_test(nothing_in_an_answer_can_steer_the_terminal),
		cmocka_unit_test(the_exit_status_of_status_tells_the_state),
		cmocka_unit_test(other_commands_are_done_refused_or_wrong),
		cmocka_unit_test(nobody_there_or_no_answer_is_three),
		cmocka_unit_test(a_supervisor_that_is_stuck_is_given_up_after_five_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
