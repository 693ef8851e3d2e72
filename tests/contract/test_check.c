/* check: whatever goes wrong on the way, it is told once and the copy in force stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "check_fixture.h"

static void refused_with(struct fixture *f, const char *sentence)
{
	run(f);
	assert_false(f->good);
	if (!strstr(f->why, sentence))
		fail_msg("\"%s\" does not say \"%s\"", f->why, sentence);
	assert_true(holds(f->final, FORMER));
}

static void a_good_config_comes_into_force_with_a_listener_appended(void **state)
{
	struct fixture *f = *state;

	run(f);
	assert_string_equal(f->why, "");
	assert_true(f->good);
	assert_int_equal(f->port, 7893);
	assert_true(holds(f->final, CONFIG));
	assert_true(holds(f->final, APPENDED));
	assert_false(holds(f->config, "tproxy"));
}

static void a_listener_of_the_users_own_is_adopted(void **state)
{
	struct fixture *f = *state;

	put(f->config, "tproxy-port: 9898\n", 0644);
	run(f);
	assert_int_equal(f->port, 9898);
	assert_false(holds(f->final, "listeners"));
}

static void where_no_line_can_be_appended_the_api_is_to_be_asked(void **state)
{
	struct fixture *f = *state;

	put(f->config, "{mode: rule}\n", 0644);
	run(f);
	assert_true(f->good);
	assert_true(f->patch_port);
	assert_false(holds(f->final, "listeners"));
}

static void a_missing_config_is_named(void **state)
{
	struct fixture *f = *state;

	unlink(f->config);
	refused_with(f, "config.yaml: No such file");
}

static void an_empty_config_is_named(void **state)
{
	struct fixture *f = *state;

	put(f->config, "", 0644);
	refused_with(f, "config.yaml is empty");
}

static void a_fifo_instead_of_a_config_is_refused_and_does_not_hang(void **state)
{
	struct fixture *f = *state;

	unlink(f->config);
	assert_int_equal(mkfifo(f->config, 0644), 0);
	refused_with(f, "not a regular file");
}

static void what_mihomo_says_is_told_with_the_users_file(void **state)
{
	struct fixture *f = *state;

	put(f->tester,
	    "#!/bin/sh\necho 'time=\"x\" level=error msg=\"yaml: line 3: did not find \\\"x\\\"\"'\nexit 1\n", 0755);
	refused_with(f, "/config.yaml:3: did not find \"x\"");
}

static void a_mihomo_that_is_not_there_is_told(void **state)
{
	struct fixture *f = *state;

	unlink(f->tester);
	refused_with(f, "No such file or directory");
}

static void a_mihomo_killed_while_testing_is_told(void **state)
{
	struct fixture *f = *state;

	put(f->tester, "#!/bin/sh\nkill -9 $$\n", 0755);
	refused_with(f, "killed by signal 9");
}

static void a_run_directory_that_is_gone_is_told(void **state)
{
	struct fixture *f = *state;

	unlink(f->final);
	rmdir(f->run);
	run(f);
	assert_false(f->good);
	assert_non_null(strstr(f->why, "cannot make"));
}

static void a_rename_that_fails_is_told_and_works_the_next_time(void **state)
{
	struct fixture *f = *state;

	unlink(f->final);
	assert_int_equal(mkdir(f->final, 0700), 0);
	run(f);
	assert_false(f->good);
	assert_non_null(strstr(f->why, "cannot put the checked copy in force"));
	rmdir(f->final);
	run(f);
	assert_true(f->good);
}

static void a_refused_tun_is_named_with_its_line_but_not_in_mode_mixed(void **state)
{
	struct fixture *f = *state;

	put(f->config, "mode: rule\ntun:\n  enable: true\n", 0644);
	refused_with(f, "config.yaml:3: tun.enable is true");
	f->settings.tproxy.mode = MODE_MIXED;
	run(f);
	assert_true(f->good);
}

static void a_routing_mark_equal_to_ours_is_named_with_its_line(void **state)
{
	struct fixture *f = *state;

	put(f->config, "mode: rule\nrouting-mark: 1\n", 0644);
	refused_with(f, "config.yaml:2: routing-mark 1");
}

static void a_cancelled_check_says_nothing_and_a_new_one_does(void **state)
{
	struct fixture *f = *state;

	f->told = 0;
	check_start(f->check);
	check_cancel(f->check);
	for (int i = 0; i < 20; i++) {
		ev_run(f->reaper.loop, EVRUN_NOWAIT);
		usleep(5000);
	}
	assert_int_equal(f->told, 0);
	run(f);
	assert_true(f->good);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_good_config_comes_into_force_with_a_listener_appended),
		CASE(a_listener_of_the_users_own_is_adopted),
		CASE(where_no_line_can_be_appended_the_api_is_to_be_asked),
		CASE(a_missing_config_is_named),
		CASE(an_empty_config_is_named),
		CASE(a_fifo_instead_of_a_config_is_refused_and_does_not_hang),
		CASE(what_mihomo_says_is_told_with_the_users_file),
		CASE(a_mihomo_that_is_not_there_is_told),
		CASE(a_mihomo_killed_while_testing_is_told),
		CASE(a_run_directory_that_is_gone_is_told),
		CASE(a_rename_that_fails_is_told_and_works_the_next_time),
		CASE(a_refused_tun_is_named_with_its_line_but_not_in_mode_mixed),
		CASE(a_routing_mark_equal_to_ours_is_named_with_its_line),
		CASE(a_cancelled_check_says_nothing_and_a_new_one_does),
	};

	proc_clean_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
