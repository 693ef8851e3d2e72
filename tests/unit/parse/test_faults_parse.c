/* the small parsers and writers without memory: a sentence or nothing, never a half. */
#include <errno.h>
#include <setjmp.h>
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
#include "clashsup/report.h"
#include "clashsup/settings.h"
#include "failing.h"

/* cJSON allocates within its own library: its hooks lead it here. */
static int lead_cjson(void **state)
{
	cJSON_Hooks hooks = { malloc, free };
	(void)state;

	cJSON_InitHooks(&hooks);
	return 0;
}

struct told {
	int times;
	char text[512];
};

static void on_problem(void *ctx, const char *text)
{
	struct told *told = ctx;

	told->times++;
	snprintf(told->text, sizeof(told->text), "%s", text);
}

static void settings_without_memory_are_the_defaults_and_the_line_is_named(void **state)
{
	static const char bytes[] = "[probe]\nfall = 9\n[mihomo]\nargs = -a -b -c\n";
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct told told = { 0 };
		struct settings s;
		int r;

		fail_allocation(n);
		r = settings_parse(&s, "F", bytes, sizeof(bytes) - 1, on_problem, &told);
		failed = allocations_work();
		assert_int_equal(r, failed ? -EINVAL : 0);
		assert_int_equal(told.times, failed);
		assert_string_equal(told.text, failed ? "F:4: args = -a -b -c: not enough memory" : "");
		assert_int_equal(s.probe.fall, failed ? 3 : 9);
		assert_true(failed ? !s.mihomo.args[0] : !strcmp(s.mihomo.args[2], "-c"));
		settings_free(&s);
		assert_true(n < 10);
	}
}

#define LIST_FILE "/tmp/test_faults_parse.list"

static void lists_without_memory_are_empty_and_told_once(void **state)
{
	static const char bytes[] = "[probe]\nfall = 9\n[tproxy]\nlan_ifaces = a b\ninclude_src = 192.0.2.1 "
				    "02:00:00:00:00:01\nexclude_ips = 1.1.1.1 @" LIST_FILE "\nexclude_ports = 1-9\n"
				    "proxy_cidrs = ::/0\n[mihomo]\nargs = @" LIST_FILE "\n";
	FILE *f = fopen(LIST_FILE, "w");
	bool failed = true;
	long n;
	(void)state;

	assert_non_null(f);
	assert_true(fputs("2.2.2.2 3.3.3.3\n4.4.4.4\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	for (n = 0; failed; n++) {
		struct told told = { 0 };
		struct settings s;
		int r;

		fail_allocation(n);
		r = settings_parse(&s, "F", bytes, sizeof(bytes) - 1, on_problem, &told);
		failed = allocations_work();
		assert_int_equal(r, failed ? -EINVAL : 0);
		assert_int_equal(told.times, failed);
		assert_true(!failed || strstr(told.text, ": not enough memory"));
		assert_int_equal(s.probe.fall, failed ? 3 : 9);
		assert_int_equal(s.tproxy.selection.skip_dst.n, failed ? 0 : 4);
		assert_int_equal(s.tproxy.selection.only_mac.n, failed ? 0 : 1);
		assert_true(!failed == !!s.tproxy.list_text[LIST_EXCLUDE_IPS]);
		assert_true(!failed == !!s.mihomo.args[0]);
		settings_free(&s);
		assert_true(n < 60);
	}
	assert_true(n > 20);
	unlink(LIST_FILE);
}

static void a_file_of_a_list_that_cannot_be_opened_is_told_with_the_reason(void **state)
{
	static const char bytes[] = "[tproxy]\nexclude_ips = @/etc/passwd\n";
	struct told told = { 0 };
	struct settings s;
	(void)state;

	fail_call(CALL_OPEN, 0, EMFILE);
	assert_int_equal(settings_parse(&s, "F", bytes, sizeof(bytes) - 1, on_problem, &told), -EINVAL);
	assert_true(call_works(CALL_OPEN));
	assert_int_equal(told.times, 1);
	assert_string_equal(told.text, "F:2: exclude_ips: cannot read /etc/passwd: Too many open files; make it "
				       "readable, or take it out of the list");
}

static void a_settings_file_that_cannot_be_read_is_named(void **state)
{
	char file[] = "/tmp/test_faults_parse.XXXXXX";
	int fd = mkstemp(file);
	struct told told = { 0 };
	struct settings s;
	(void)state;

	assert_true(fd >= 0);
	assert_int_equal(io_write_all(fd, "[probe]\nfall = 9\n", 17), 0);
	close(fd);
	fail_call(CALL_OPEN, 0, EMFILE);
	assert_int_equal(settings_load(&s, file, true, on_problem, &told), -EMFILE);
	assert_true(call_works(CALL_OPEN));
	assert_non_null(strstr(told.text, "Too many open files"));
	fail_allocation(0);
	assert_int_equal(settings_load(&s, file, true, on_problem, &told), -ENOMEM);
	assert_true(allocations_work());
	assert_int_equal(told.times, 2);
	assert_int_equal(s.probe.fall, 3);
	assert_int_equal(settings_load(&s, file, true, on_problem, &told), 0);
	assert_int_equal(s.probe.fall, 9);
	unlink(file);
}

static void a_report_is_whole_or_not_at_all(void **state)
{
	struct report r = { .state = "armed", .child = "ready", .net = "armed", .mode = "tproxy", .full = true };
	cleanup_free char *whole = NULL;
	bool failed = true;
	long n;
	(void)state;

	r.since = (struct report_time){ 1700000000123, 5000 };
	r.mihomo.exited = true;
	r.ipset.name = "set";
	strcpy(r.warnings[0], "first");
	strcpy(r.warnings[1], "second");
	r.n_warnings = 2;
	whole = report_json(&r);
	assert_non_null(whole);
	for (n = 0; failed; n++) {
		cleanup_free char *text = NULL;

		fail_allocation(n);
		text = report_json(&r);
		failed = allocations_work();
		if (failed)
			assert_null(text);
		else
			assert_string_equal(text, whole);
	}
	assert_true(n > 100);
}

static void a_request_without_memory_is_refused_and_changes_nothing(void **state)
{
	static const char line[] = "{\"version\":1,\"cmd\":\"mode\",\"mode\":\"mixed\"}";
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct ctl_request request = { .cmd = CTL_CMDS };
		struct err e = ERR_INIT;
		int r;

		fail_allocation(n);
		r = ctl_parse(line, sizeof(line) - 1, &request, &e);
		failed = allocations_work();
		assert_int_equal(r, failed ? -EINVAL : 0);
		assert_int_equal(request.cmd, failed ? CTL_CMDS : CTL_MODE);
		assert_true(failed == (e.msg[0] != '\0'));
	}
}

static void an_answer_is_whole_or_not_at_all(void **state)
{
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		cleanup_free char *text = NULL;

		fail_allocation(n);
		text = ctl_answer_error("a sentence");
		failed = allocations_work();
		if (failed)
			assert_null(text);
		else
			assert_string_equal(text, "{\"version\":1,\"ok\":false,\"error\":\"a sentence\"}");
	}
	fail_allocations_after(0);
	assert_null(ctl_answer_ok());
	assert_true(allocations_work());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_without_memory_are_the_defaults_and_the_line_is_named),
		cmocka_unit_test(lists_without_memory_are_empty_and_told_once),
		cmocka_unit_test(a_file_of_a_list_that_cannot_be_opened_is_told_with_the_reason),
		cmocka_unit_test(a_settings_file_that_cannot_be_read_is_named),
		cmocka_unit_test(a_report_is_whole_or_not_at_all),
		cmocka_unit_test(a_request_without_memory_is_refused_and_changes_nothing),
		cmocka_unit_test(an_answer_is_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, lead_cjson, NULL);
}
