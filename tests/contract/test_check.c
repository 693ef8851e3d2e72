/* check: whatever goes wrong on the way, it is told once and the copy in force stays. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "daemon/check.h"

#define FORMER "former: good\n"

struct fixture {
	struct ev_loop *loop;
	struct reaper reaper;
	struct settings settings;
	struct check_setup setup;
	struct check *check;
	char dir[64], config[128], run[128], final[160], tester[128];
	int told;
	char why[512];
	bool good, patch_port;
	uint16_t port;
};

static void on_done(void *ctx, const struct config_facts *facts, const char *why)
{
	struct fixture *f = ctx;

	f->told++;
	f->good = facts != NULL;
	f->port = facts ? facts->port : 0;
	f->patch_port = facts && facts->patch_port;
	snprintf(f->why, sizeof(f->why), "%s", why);
	ev_break(f->loop, EVBREAK_ALL);
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static bool holds(const char *path, const char *what)
{
	cleanup_free char *text = NULL;
	size_t len;

	return io_slurp_path(path, 65536, &text, &len, NULL) == 0 && strstr(text, what);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	snprintf(f->dir, sizeof(f->dir), "/tmp/clashsup-check-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->config, sizeof(f->config), "%s/config.yaml", f->dir);
	snprintf(f->run, sizeof(f->run), "%s/run", f->dir);
	snprintf(f->final, sizeof(f->final), "%s/config.yaml", f->run);
	snprintf(f->tester, sizeof(f->tester), "%s/tester", f->dir);
	mkdir(f->run, 0700);
	put(f->final, FORMER, 0600);
	put(f->config, "mode: rule\nproxies: []\n", 0644);
	put(f->tester, "#!/bin/sh\nexit 0\n", 0755);
	settings_default(&f->settings);
	snprintf(f->settings.mihomo.binary, sizeof(f->settings.mihomo.binary), "%s", f->tester);
	f->loop = ev_default_loop(EVFLAG_NOENV);
	reaper_start(&f->reaper, f->loop);
	f->setup = (struct check_setup){ .reaper = &f->reaper,
					 .settings = &f->settings,
					 .config = f->config,
					 .home = f->dir,
					 .run_dir = f->run,
					 .helper_fd = open(BUILD_DIR "/clashsup-helper", O_PATH | O_CLOEXEC),
					 .helper_path = BUILD_DIR "/clashsup-helper",
					 .ids = { geteuid(), getegid(), geteuid() == 0, 0 } };
	return check_new(&f->check, &f->setup, on_done, f, NULL);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[192];

	check_free(f->check);
	reaper_stop(&f->reaper);
	ev_loop_destroy(f->loop);
	close(f->setup.helper_fd);
	settings_free(&f->settings);
	snprintf(path, sizeof(path), "%s/config.yaml.new", f->run);
	unlink(path);
	unlink(f->final);
	rmdir(f->final);
	rmdir(f->run);
	unlink(f->config);
	unlink(f->tester);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void run(struct fixture *f)
{
	f->told = 0;
	check_start(f->check);
	while (!f->told)
		ev_run(f->loop, EVRUN_ONCE);
	assert_int_equal(f->told, 1);
}

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
	assert_true(holds(f->final, "mode: rule\nproxies: []\n"));
	assert_true(holds(f->final, "type: tproxy, port: 7893"));
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
	refused_with(f, "/config.yaml: yaml: line 3: did not find \"x\"");
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
		ev_run(f->loop, EVRUN_NOWAIT);
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
