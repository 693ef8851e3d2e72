/* script: the user's script as a job: what it gets, how it fails, what an abort does. No rights needed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/script_env.h"
#include "sys/script.h"
#include "with_reaper.h"

struct outcome {
	struct reaper *reaper;
	char dir[64], path[80], log[80];
	int done, code;
	struct err why;
};

static void on_done(void *ctx, int code, const struct err *why)
{
	struct outcome *o = ctx;

	o->done++;
	o->code = code;
	o->why = *why;
	ev_break(o->reaper->loop, EVBREAK_ALL);
}

/* A script; $LOG in it is a file. */
static struct outcome with_script(void **state, const char *body)
{
	struct outcome o = { .reaper = *state, .dir = "/tmp/test_script.XXXXXX" };
	FILE *f;

	assert_non_null(mkdtemp(o.dir));
	snprintf(o.path, sizeof(o.path), "%s/s", o.dir);
	snprintf(o.log, sizeof(o.log), "%s/log", o.dir);
	f = fopen(o.path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\nLOG=%s\n%s\n", o.log, body);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(o.path, 0755), 0);
	return o;
}

static char **env(void)
{
	const struct script_values v = { .server_set = "s",
					 .lease_set = "l",
					 .port = 7893,
					 .mark = 1,
					 .table = 100,
					 .core_gid = 5,
					 .family = { true, true } };
	struct err e = ERR_INIT;
	char **envp = NULL;

	assert_int_equal(script_env(&v, "/usr/bin:/bin", &envp, &e), 0);
	return envp;
}

static struct script_run *start(struct outcome *o, bool apply, int64_t deadline_ms)
{
	struct script_spec spec = { .path = o->path, .envp = env(), .apply = apply, .deadline_ms = deadline_ms };
	struct script_run *run = NULL;
	struct err e = ERR_INIT;

	o->done = 0;
	assert_int_equal(script_start(&run, o->reaper, &spec, on_done, o, &e), 0);
	return run;
}

static void finish(struct outcome *o)
{
	while (!o->done)
		ev_run(o->reaper->loop, EVRUN_ONCE);
	assert_int_equal(o->done, 1);
}

/* What the script has written so far; then all is cleaned up. */
static void assert_log(struct outcome *o, const char *expected)
{
	cleanup_free char *text = NULL;
	size_t len;

	assert_int_equal(io_slurp_path(o->log, 65536, &text, &len, NULL), 0);
	assert_string_equal(text, expected);
	unlink(o->log);
	unlink(o->path);
	rmdir(o->dir);
}

static void wait_for_log(const struct outcome *o)
{
	struct timespec a_bit = { 0, 5000000 };
	struct stat st = { .st_size = 0 };

	for (int i = 0; i < 2000 && (stat(o->log, &st) < 0 || st.st_size == 0); i++)
		nanosleep(&a_bit, NULL);
	assert_true(st.st_size > 0);
}

/* A zombie that nobody has reaped yet does not. */
static bool lives(long pid)
{
	char path[32], stat[512] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(stat, sizeof(stat), f))
		stat[0] = '\0';
	fclose(f);
	return stat[0] != '\0' && !strstr(stat, ") Z ");
}

static void it_gets_a_verb_and_the_environment_and_nothing_else(void **state)
{
	struct outcome o = with_script(state, "echo \"$# $1 $TPROXY_PORT $MARK $TABLE ${HOME-none}\" >>$LOG");

	setenv("HOME", "/root", 1);
	start(&o, true, 0);
	finish(&o);
	assert_int_equal(o.code, 0);
	start(&o, false, 0);
	finish(&o);
	assert_int_equal(o.code, 0);
	assert_log(&o, "1 apply 7893 0x1 100 none\n1 remove 7893 0x1 100 none\n");
}

static void an_apply_that_fails_is_undone_and_told_by_its_first_line(void **state)
{
	struct outcome o = with_script(state, "echo $1 >>$LOG; [ $1 = remove ] || { echo no such set >&2; exit 3; }");
	char expected[160];

	start(&o, true, 0);
	finish(&o);
	assert_int_equal(o.code, -EIO);
	snprintf(expected, sizeof(expected), "%s apply: exit status 3: no such set", o.path);
	assert_string_equal(o.why.msg, expected);
	assert_log(&o, "apply\nremove\n");
}

static void when_the_undoing_fails_too_both_are_told(void **state)
{
	struct outcome o = with_script(state, "echo $1 >>$LOG; echo bad $1; exit 1");

	start(&o, true, 0);
	finish(&o);
	assert_int_equal(o.code, -EIO);
	assert_non_null(strstr(o.why.msg, "apply: exit status 1: bad apply; and then "));
	assert_non_null(strstr(o.why.msg, "remove: exit status 1: bad remove"));
	assert_log(&o, "apply\nremove\n");
}

static void a_removal_that_fails_is_not_repeated(void **state)
{
	struct outcome o = with_script(state, "echo $1 >>$LOG; exit 1");

	start(&o, false, 0);
	finish(&o);
	assert_int_equal(o.code, -EIO);
	assert_log(&o, "remove\n");
}

static void an_apply_that_hangs_is_killed_as_a_group_and_undone(void **state)
{
	struct outcome o =
		with_script(state, "echo $1 >>$LOG; [ $1 = remove ] || { sleep 60 & echo $! >>$LOG.pid; wait; }");
	char pid_path[96];
	cleanup_free char *pid = NULL;
	size_t len;

	start(&o, true, 500);
	finish(&o);
	assert_int_equal(o.code, -ETIMEDOUT);
	assert_non_null(strstr(o.why.msg, "apply: no end within 500 ms"));
	snprintf(pid_path, sizeof(pid_path), "%s.pid", o.log);
	assert_int_equal(io_slurp_path(pid_path, 64, &pid, &len, NULL), 0);
	unlink(pid_path);
	for (int i = 0; i < 2000 && lives(atol(pid)); i++)
		usleep(1000);
	assert_false(lives(atol(pid)));
	assert_log(&o, "apply\nremove\n");
}

static void an_aborted_apply_is_undone(void **state)
{
	struct outcome o = with_script(state, "echo $1 >>$LOG; [ $1 = remove ] || exec sleep 60");
	struct script_run *run = start(&o, true, 0);

	wait_for_log(&o);
	script_abort(run);
	script_abort(run);
	finish(&o);
	assert_int_equal(o.code, -ECANCELED);
	assert_string_equal(o.why.msg, "aborted");
	assert_log(&o, "apply\nremove\n");
}

static void an_abort_lets_a_removal_end(void **state)
{
	struct outcome o = with_script(state, "echo $1 >>$LOG; sleep 0.2; echo end >>$LOG");
	struct script_run *run = start(&o, false, 0);

	wait_for_log(&o);
	script_abort(run);
	finish(&o);
	assert_int_equal(o.code, 0);
	assert_log(&o, "remove\nend\n");
}

static void an_abandoned_run_calls_nobody(void **state)
{
	struct outcome o = with_script(state, "echo $1 >>$LOG; exec sleep 60");
	struct script_run *run = start(&o, true, 0);

	wait_for_log(&o);
	script_abandon(run);
	script_abandon(NULL);
	while (o.reaper->list)
		ev_run(o.reaper->loop, EVRUN_ONCE);
	assert_int_equal(o.done, 0);
	assert_log(&o, "apply\n");
}

static void a_script_that_is_not_there_is_told(void **state)
{
	struct outcome o = { .reaper = *state, .path = "/nowhere/tproxy.sh" };

	start(&o, false, 0);
	finish(&o);
	assert_int_equal(o.code, -EIO);
	assert_non_null(strstr(o.why.msg, "/nowhere/tproxy.sh remove: exit status 127"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_gets_a_verb_and_the_environment_and_nothing_else),
		cmocka_unit_test(an_apply_that_fails_is_undone_and_told_by_its_first_line),
		cmocka_unit_test(when_the_undoing_fails_too_both_are_told),
		cmocka_unit_test(a_removal_that_fails_is_not_repeated),
		cmocka_unit_test(an_apply_that_hangs_is_killed_as_a_group_and_undone),
		cmocka_unit_test(an_aborted_apply_is_undone),
		cmocka_unit_test(an_abort_lets_a_removal_end),
		cmocka_unit_test(an_abandoned_run_calls_nobody),
		cmocka_unit_test(a_script_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, with_reaper, without_reaper);
}
