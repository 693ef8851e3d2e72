/* ctl: lines of the control socket. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "clashsup/ctl.h"
#include "clashsup/io.h"

static void every_command_has_a_name_and_is_parsed_by_it(void **state)
{
	(void)state;

	for (int cmd = 0; cmd < CTL_CMDS; cmd++) {
		struct ctl_request r = { .cmd = CTL_CMDS, .privileged = true };
		char line[128];
		int n = snprintf(line, sizeof(line),
				 "{\"version\":1,\"cmd\":\"%s\",\"mode\":\"mixed\",\"signal\":\"HUP\"} \r",
				 ctl_cmd_name((enum ctl_cmd)cmd));

		assert_int_equal(ctl_parse(line, (size_t)n, &r, NULL), 0);
		assert_int_equal(r.cmd, cmd);
		assert_int_equal(r.mixed, cmd == CTL_MODE);
		assert_false(r.privileged); /* never from the line */
	}
	assert_string_equal(ctl_cmd_name(CTL_STATUS), "status");
	assert_null(ctl_cmd_name(CTL_CMDS));
}

static struct ctl_request parsed(const char *line)
{
	struct ctl_request r = { .cmd = CTL_CMDS };

	assert_int_equal(ctl_parse(line, strlen(line), &r, NULL), 0);
	return r;
}

static void a_range_of_lines_is_told_by_count_and_follow(void **state)
{
	struct ctl_request r = parsed("{\"version\":1,\"cmd\":\"logs\"}");
	(void)state;

	assert_int_equal(r.count, UINT32_MAX);
	assert_false(r.follow);
	r = parsed("{\"version\":1,\"cmd\":\"events\",\"count\":12,\"follow\":true}");
	assert_int_equal(r.count, 12);
	assert_true(r.follow);
}

static void a_signal_is_told_by_name_or_number(void **state)
{
	(void)state;
	assert_int_equal(parsed("{\"version\":1,\"cmd\":\"signal\",\"signal\":\"SIGUSR1\"}").signal, SIGUSR1);
	assert_int_equal(parsed("{\"version\":1,\"cmd\":\"signal\",\"signal\":\"15\"}").signal, SIGTERM);
}

static void a_wrong_request_is_refused_with_a_sentence(void **state)
{
	static const char *const rows[][2] = {
		{ "", "a request is one line of JSON" },
		{ "status", "a request is one line of JSON" },
		{ "{\"version\":1,\"cmd\":\"status\"", "a request is one line of JSON" },
		{ "[]", "a request is a JSON object" },
		{ "null", "a request is a JSON object" },
		{ "{}", "a request needs \"version\": 1" },
		{ "{\"version\":\"1\",\"cmd\":\"status\"}", "a request needs \"version\": 1" },
		{ "{\"version\":2,\"cmd\":\"status\"}", "a request needs \"version\": 1" },
		{ "{\"version\":1.5,\"cmd\":\"status\"}", "a request needs \"version\": 1" },
		{ "{\"Version\":1,\"cmd\":\"status\"}", "a request needs \"version\": 1" },
		{ "{\"version\":1}", "a request needs \"cmd\": a command's name" },
		{ "{\"version\":1,\"cmd\":7}", "a request needs \"cmd\": a command's name" },
		{ "{\"version\":1,\"cmd\":\"dance\"}", "unknown command \"dance\"" },
		{ "{\"version\":1,\"cmd\":\"Status\"}", "unknown command \"Status\"" },
		{ "{\"version\":1,\"cmd\":\"\\n\\u001b[2J\"}", "unknown command \"??[2J\"" },
		{ "{\"version\":1,\"cmd\":\"0123456789012345678901234567890123456789abc\"}",
		  "unknown command \"0123456789012345678901234567890123456789\"" },
		{ "{\"version\":1,\"cmd\":\"status\\u0000x\"}", "a NUL byte in a request" },
		{ "{\"version\":1,\"cmd\":\"mode\"}", "the command mode needs \"mode\": \"tproxy\" or \"mixed\"" },
		{ "{\"version\":1,\"cmd\":\"mode\",\"mode\":\"off\"}",
		  "the command mode needs \"mode\": \"tproxy\" or \"mixed\"" },
		{ "{\"version\":1,\"cmd\":\"signal\",\"signal\":\"DANCE\"}",
		  "the command signal needs \"signal\": a name or a number" },
		{ "{\"version\":1,\"cmd\":\"logs\",\"count\":-1}", "\"count\" is a number from 0 to 4294967295" },
		{ "{\"version\":1,\"cmd\":\"logs\",\"follow\":1}", "\"follow\" is true or false" },
		{ "{\"version\":1,\"cmd\":\"status\"}{}", "more than one value in a line" },
		{ "{\"version\":1,\"cmd\":\"status\"} x", "more than one value in a line" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ctl_request r = { .cmd = CTL_IPS };
		struct err e = ERR_INIT;
		size_t len = strlen(rows[i][0]);
		cleanup_free char *exact = malloc(len ? len : 1);

		memcpy(exact, rows[i][0], len);
		assert_int_equal(ctl_parse(exact, len, &r, &e), -EINVAL);
		assert_string_equal(e.msg, rows[i][1]);
		assert_int_equal(r.cmd, CTL_IPS);
	}
}

static void deep_nesting_long_lines_and_nul_bytes_are_refused(void **state)
{
	static char line[CTL_REQUEST_MAX + 1];
	struct ctl_request r;
	(void)state;

	memset(line, '[', sizeof(line));
	assert_int_equal(ctl_parse(line, CTL_REQUEST_MAX, &r, NULL), -EINVAL);
	memset(line, ' ', sizeof(line));
	memcpy(line, "{\"version\":1,\"cmd\":\"ips\"}", 25);
	assert_int_equal(ctl_parse(line, CTL_REQUEST_MAX, &r, NULL), 0);
	assert_int_equal(ctl_parse(line, CTL_REQUEST_MAX + 1, &r, NULL), -EINVAL);
	line[CTL_REQUEST_MAX - 1] = '\0';
	assert_int_equal(ctl_parse(line, CTL_REQUEST_MAX, &r, NULL), -EINVAL);
}

static void members_of_a_later_version_are_ignored(void **state)
{
	static const char line[] = "{\"cmd\":\"stop\",\"why\":{\"a\":[1,2]},\"version\":1.0}";
	struct ctl_request r;
	(void)state;

	assert_int_equal(ctl_parse(line, sizeof(line) - 1, &r, NULL), 0);
	assert_int_equal(r.cmd, CTL_STOP);
}

static void answers_are_single_lines(void **state)
{
	cleanup_free char *ok = ctl_answer_ok(), *error = ctl_answer_error("no \"such\"\nthing\xff");
	cleanup_free char *did = ctl_answer_did("changed: [probe] fall");
	(void)state;

	assert_string_equal(ok, "{\"version\":1,\"ok\":true}");
	assert_string_equal(did, "{\"version\":1,\"ok\":true,\"did\":\"changed: [probe] fall\"}");
	assert_string_equal(error, "{\"version\":1,\"ok\":false,\"error\":\"no \\\"such\\\"?thing?\"}");
}

static size_t allocations_left;

static void *failing_malloc(size_t len)
{
	return allocations_left && allocations_left-- ? malloc(len) : NULL;
}

static void out_of_memory_is_null_or_a_refusal_never_a_crash(void **state)
{
	static const char line[] = "{\"version\":1,\"cmd\":\"mode\",\"mode\":\"mixed\"}";
	cJSON_Hooks hooks = { .malloc_fn = failing_malloc, .free_fn = free };
	size_t n_ok = 0, n_error = 0, n_parse = 0;
	char *text = NULL;
	struct ctl_request r;
	(void)state;

	cJSON_InitHooks(&hooks);
	for (; !text && n_ok < 100; n_ok++) {
		allocations_left = n_ok;
		text = ctl_answer_ok();
	}
	free(text);
	for (text = NULL; !text && n_error < 100; n_error++) {
		allocations_left = n_error;
		text = ctl_answer_error("sentence");
	}
	free(text);
	for (; n_parse < 100; n_parse++) {
		allocations_left = n_parse;
		if (ctl_parse(line, sizeof(line) - 1, &r, NULL) == 0)
			break;
	}
	cJSON_InitHooks(NULL);
	assert_in_range(n_ok, 5, 99);
	assert_in_range(n_error, 7, 99);
	assert_in_range(n_parse, 7, 99);
}

static void any_bytes_are_judged_without_harm(void **state)
{
	static const char good[] = "{\"version\":1,\"cmd\":\"mode\",\"mode\":\"mixed\",\"x\":[1,{\"y\":null}]}";
	unsigned seed = 3;
	(void)state;

	for (int round = 0; round < 100000; round++) {
		struct ctl_request r = { .cmd = CTL_CMDS };
		char line[sizeof(good)];

		memcpy(line, good, sizeof(line));
		for (int i = 0; i < 1 + round % 3; i++) {
			seed = seed * 1103515245u + 12345u;
			line[(seed >> 8) % sizeof(line)] = (char)(seed >> 20);
		}
		if (ctl_parse(line, sizeof(line) - 1 - (seed >> 16) % 3, &r, NULL) == 0)
			assert_true(r.cmd < CTL_CMDS);
		else
			assert_int_equal(r.cmd, CTL_CMDS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_has_a_name_and_is_parsed_by_it),
		cmocka_unit_test(a_range_of_lines_is_told_by_count_and_follow),
		cmocka_unit_test(a_signal_is_told_by_name_or_number),
		cmocka_unit_test(a_wrong_request_is_refused_with_a_sentence),
		cmocka_unit_test(deep_nesting_long_lines_and_nul_bytes_are_refused),
		cmocka_unit_test(members_of_a_later_version_are_ignored),
		cmocka_unit_test(answers_are_single_lines),
		cmocka_unit_test(out_of_memory_is_null_or_a_refusal_never_a_crash),
		cmocka_unit_test(any_bytes_are_judged_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
