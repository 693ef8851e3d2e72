/* report: the machine-readable status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "clashsup/io.h"
#include "clashsup/report.h"

static struct report nothing_known(void)
{
	struct report r = { .state = "waiting", .child = "waiting", .net = "direct", .mode = "tproxy", .full = true };

	r.backend = "iptables";
	r.on_death = "open";
	r.ipset.name = "clash_proxy_ips";
	r.tproxy.armed_in_us = r.tproxy.last_disarm_us = -1;
	return r;
}

static const struct history two_deaths = {
	.list = { { .code = 126, .by_us = true },
		  { .at_ms = 1700000000123, .lived_ms = 70, .pid = 41, .code = -1, .signal = 9, .oom = true } },
	.count = 2,
};

static struct report all_known(void)
{
	struct report r = nothing_known();

	r.state = "armed";
	r.child = "ready";
	r.net = "armed";
	r.since = (struct report_time){ .wall_ms = 1700000000123, .mono_ms = 5000 };
	r.mihomo.pid = 42;
	r.mihomo.since = (struct report_time){ .wall_ms = 1700000000009, .mono_ms = 4886 };
	r.mihomo.restarts = 2;
	r.mihomo.exited = true;
	r.mihomo.exit_signal = 9;
	r.mihomo.exit_at = (struct report_time){ .wall_ms = 951782399999, .mono_ms = 4000 };
	r.mihomo.history = &two_deaths;
	r.probe.ok = true;
	r.probe.latency_us = 1250;
	r.tproxy.port = 7893;
	strcpy(r.tproxy.family[0], "armed");
	strcpy(r.tproxy.family[1], "no IPv6 here");
	r.tproxy.armed_in_us = 12500;
	r.tproxy.last_disarm_us = 0;
	r.ipset.count[0] = 3;
	r.ipset.count[1] = 1;
	r.ipset.updated = r.since;
	r.extract.running = true;
	r.extract.last = r.since;
	r.extract.duration_ms = 1500;
	r.extract.endpoints = 5;
	r.extract.names = 4;
	r.extract.unresolved = 1;
	r.extract.missed = 2;
	strcpy(r.waiting_for, "/etc/clash/config.yaml");
	strcpy(r.warnings[0], "one");
	strcpy(r.warnings[1], "two");
	r.n_warnings = 2;
	strcpy(r.backends[0], "ok");
	strcpy(r.backends[1], "not needed");
	strcpy(r.direct_path, "ok");
	strcpy(r.dns, "on, port 1053");
	strcpy(r.delta, "none");
	r.repairs.count = 2;
	strcpy(r.repairs.last, "rules put back");
	r.repairs.at = r.since;
	return r;
}

static void a_full_report_is_this_line(void **state)
{
	struct report r = all_known();
	cleanup_free char *json = report_json(&r);
	(void)state;

	assert_string_equal(
		json,
		"{\"version\":1,\"state\":\"armed\",\"since\":\"2023-11-14T22:13:20.123Z\",\"since_mono_ms\":5000,"
		"\"child\":\"ready\",\"net\":\"armed\",\"mode\":\"tproxy\",\"backend\":\"iptables\",\"on_death\":"
		"\"open\","
		"\"mihomo\":{\"pid\":42,\"since\":\"2023-11-14T22:13:20.009Z\",\"since_mono_ms\":4886,\"restarts\":2,"
		"\"last_exit\":{\"code\":null,\"signal\":9,\"at\":\"2000-02-28T23:59:59.999Z\",\"at_mono_ms\":4000}},"
		"\"probe\":{\"ok\":true,\"latency_ms\":1.25,\"fails\":0},"
		"\"tproxy\":{\"port\":7893,\"ipv4\":\"armed\",\"ipv6\":\"no IPv6 here\",\"armed_in_ms\":12.5,"
		"\"last_disarm_ms\":0},"
		"\"ipset\":{\"name\":\"clash_proxy_ips\",\"ipv4\":3,\"ipv6\":1,\"updated\":\"2023-11-14T22:13:20."
		"123Z\","
		"\"updated_mono_ms\":5000},"
		"\"extract\":{\"running\":true,\"last\":\"2023-11-14T22:13:20.123Z\",\"last_mono_ms\":5000,"
		"\"duration_ms\":1500,\"endpoints\":5,\"names\":4,\"unresolved\":1,\"skipped\":0,\"missed\":2},"
		"\"waiting_for\":\"/etc/clash/config.yaml\",\"warnings\":[\"one\",\"two\"],\"surroundings\":[],"
		"\"backends\":{\"iptables\":\"ok\",\"nft\":\"not needed\"},\"direct_path\":\"ok\","
		"\"dns\":\"on, port "
		"1053\",\"closed\":false,\"delta\":\"none\",\"repairs\":{\"count\":2,\"last\":\"rules put back\","
		"\"at\":\"2023-11-14T22:13:20.123Z\",\"at_mono_ms\":5000},\"deaths\":2,\"history\":["
		"{\"at\":\"2023-11-14T22:13:20.123Z\",\"pid\":41,\"code\":null,\"signal\":9,\"core\":false,\"oom\":"
		"true,"
		"\"lived_ms\":70,\"by_us\":false},"
		"{\"at\":null,\"pid\":null,\"code\":126,\"signal\":null,\"core\":false,\"oom\":false,\"lived_ms\":0,"
		"\"by_us\":true}]}");
}

static void what_is_not_known_is_null_and_no_member_is_missing(void **state)
{
	struct report r = nothing_known();
	cleanup_free char *json = report_json(&r);
	(void)state;

	assert_string_equal(
		json,
		"{\"version\":1,\"state\":\"waiting\",\"since\":null,\"since_mono_ms\":null,"
		"\"child\":\"waiting\",\"net\":\"direct\",\"mode\":\"tproxy\",\"backend\":\"iptables\",\"on_death\":"
		"\"open\","
		"\"mihomo\":{\"pid\":null,\"since\":null,\"since_mono_ms\":null,\"restarts\":0,\"last_exit\":null},"
		"\"probe\":{\"ok\":false,\"latency_ms\":null,\"fails\":0},"
		"\"tproxy\":{\"port\":null,\"ipv4\":null,\"ipv6\":null,\"armed_in_ms\":null,\"last_disarm_ms\":null},"
		"\"ipset\":{\"name\":\"clash_proxy_ips\",\"ipv4\":0,\"ipv6\":0,\"updated\":null,\"updated_mono_ms\":"
		"null},"
		"\"extract\":{\"running\":false,\"last\":null,\"last_mono_ms\":null,\"duration_ms\":null,"
		"\"endpoints\":null,\"names\":null,\"unresolved\":null,\"skipped\":null,\"missed\":0},"
		"\"waiting_for\":null,\"warnings\":[],\"surroundings\":[],\"backends\":{\"iptables\":null,\"nft\":null}"
		","
		"\"direct_path\":null,\"dns\":null,\"closed\":false,\"delta\":null,\"repairs\":{\"count\":0,\"last\":"
		"null,\"at\":null,"
		"\"at_mono_ms\":"
		"null},\"deaths\":0,\"history\":[]}");
}

static void file_names_are_only_for_those_with_control(void **state)
{
	struct report r = all_known();
	cleanup_free char *json = NULL;
	(void)state;

	r.full = false;
	json = report_json(&r);
	assert_non_null(strstr(json, "\"waiting_for\":null,\"warnings\":null"));
	assert_null(strstr(json, "/etc/clash"));
}

static void bytes_that_are_no_utf8_and_control_characters_become_question_marks(void **state)
{
	static const char *const rows[][2] = {
		{ "caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x90\xb1", "caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x90\xb1" },
		{ "a\xff\x62", "a?b" },
		{ "cut \xf0\x9f\x90", "cut ???" },
		{ "overlong \xc0\xaf", "overlong ??" },
		{ "surrogate \xed\xa0\x80", "surrogate ???" },
		{ "too high \xf4\x90\x80\x80", "too high ????" },
		{ "line\n\033[31m\x7f", "line??[31m?" },
		{ "\"quoted\\\"", "\"quoted\\\"" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct report r = nothing_known();
		cleanup_free char *json = NULL;
		cJSON *o;

		strcpy(r.waiting_for, rows[i][0]);
		json = report_json(&r);
		o = cJSON_Parse(json);
		assert_non_null(o);
		assert_string_equal(cJSON_GetObjectItem(o, "waiting_for")->valuestring, rows[i][1]);
		cJSON_Delete(o);
	}
}

static void the_state_follows_from_child_net_and_mode(void **state)
{
	static const char *const rows[][4] = {
		{ "stopped", "direct", "tproxy", "stopped" },  { "stopping", "disarming", "tproxy", "direct" },
		{ "waiting", "direct", "tproxy", "waiting" },  { "waiting", "direct", "mixed", "waiting" },
		{ "failed", "direct", "tproxy", "failed" },    { "checking", "direct", "tproxy", "starting" },
		{ "starting", "direct", "mixed", "starting" }, { "restarting", "disarming", "tproxy", "starting" },
		{ "backoff", "direct", "tproxy", "starting" }, { "ready", "armed", "tproxy", "armed" },
		{ "ready", "arming", "tproxy", "starting" },   { "ready", "disarming", "tproxy", "direct" },
		{ "ready", "direct", "tproxy", "direct" },     { "ready", "direct", "mixed", "mixed" },
		{ "ready", "disarming", "mixed", "direct" },   { "unhealthy", "disarming", "tproxy", "direct" },
		{ "unhealthy", "direct", "mixed", "mixed" },   { "stopped", "disarming", "tproxy", "direct" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(report_state(rows[i][0], rows[i][1], rows[i][2]), rows[i][3]);
}

static size_t allocations_left;

static void *failing_malloc(size_t len)
{
	return allocations_left && allocations_left-- ? malloc(len) : NULL;
}

static void out_of_memory_anywhere_ends_in_null(void **state)
{
	cJSON_Hooks hooks = { .malloc_fn = failing_malloc, .free_fn = free };
	struct report r = all_known();
	char *json = NULL;
	size_t n = 0;
	(void)state;

	cJSON_InitHooks(&hooks);
	for (; !json && n < 1000; n++) {
		allocations_left = n;
		json = report_json(&r);
	}
	cJSON_InitHooks(NULL);
	assert_non_null(json);
	assert_true(n > 100);
	free(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_report_is_this_line),
		cmocka_unit_test(what_is_not_known_is_null_and_no_member_is_missing),
		cmocka_unit_test(file_names_are_only_for_those_with_control),
		cmocka_unit_test(bytes_that_are_no_utf8_and_control_characters_become_question_marks),
		cmocka_unit_test(the_state_follows_from_child_net_and_mode),
		cmocka_unit_test(out_of_memory_anywhere_ends_in_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
