/* exec_options: each option, both spellings, and each way to be wrong. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/exec_options.h"

#define WORDS 20

static struct exec_options o;
static struct err e;
static char words[WORDS][32], *argv[WORDS + 1];

/* Blanks separate the words. */
static int read_words(const char *line)
{
	int argc = 0;

	while (*line && argc < WORDS) {
		size_t len = strcspn(line, " ");

		memcpy(words[argc], line, len);
		words[argc][len] = '\0';
		argv[argc] = words[argc];
		argc++;
		line += len + (line[len] == ' ');
	}
	argv[argc] = NULL;
	return exec_options_read(&o, argc, argv, &e);
}

static void without_options_signals_are_themselves_and_nothing_else_is_on(void **state)
{
	(void)state;
	assert_int_equal(read_words("exec true"), 0);
	for (int sig = 0; sig < EXEC_SIGNALS; sig++) {
		assert_int_equal(o.rewrite[sig], sig);
		assert_false(o.rewritten[sig]);
	}
	for (int code = 0; code < 256; code++)
		assert_false(o.forgive[code]);
	assert_false(o.single || o.subreaper || o.wait_all || o.verbose || o.help || o.version);
	assert_int_equal(o.parent_death, 0);
	assert_int_equal(o.stop_ms, 0);
	assert_string_equal(o.command[0], "true");
	assert_null(o.command[1]);
}

static void each_option_has_two_spellings(void **state)
{
	static const char *const lines[] = {
		"exec -r 15:2 -c -e 7 -s -p HUP -t 1500ms -w -v -- a -b",
		"exec --rewrite=TERM:INT --single-child --remap-exit 7 --subreaper --parent-death=1 --stop-timeout "
		"1500ms",
	};
	(void)state;

	for (int i = 0; i < 2; i++) {
		char line[200];

		snprintf(line, sizeof(line), "%s%s", lines[i], i ? " --wait-all --verbose a -b" : "");
		assert_int_equal(read_words(line), 0);
		assert_int_equal(o.rewrite[15], 2);
		assert_true(o.rewritten[15] && !o.rewritten[2]);
		assert_true(o.single && o.subreaper && o.wait_all && o.verbose && o.forgive[7] && !o.forgive[8]);
		assert_int_equal(o.parent_death, SIGHUP);
		assert_int_equal(o.stop_ms, 1500);
		assert_string_equal(o.command[0], "a");
		assert_string_equal(o.command[1], "-b");
	}
}

static void a_bare_number_of_the_time_out_is_seconds(void **state)
{
	(void)state;
	assert_int_equal(read_words("exec -t 3 a"), 0);
	assert_int_equal(o.stop_ms, 3000);
	assert_int_equal(read_words("exec -t 2m a"), 0);
	assert_int_equal(o.stop_ms, 120000);
	assert_int_equal(read_words("exec -t 0 a"), 0);
	assert_int_equal(o.stop_ms, 0);
}

static void what_is_wrong_is_named(void **state)
{
	static const char *const rows[][2] = {
		{ "exec", "no command was given" },
		{ "exec -v", "no command was given" },
		{ "exec --", "no command was given" },
		{ "exec -x a", "unknown option: -x" },
		{ "exec --dance a", "unknown option: --dance" },
		{ "exec -r", "-r needs a value" },
		{ "exec -r 15 a", "-r takes FROM:TO" },
		{ "exec -r 0:1 a", "-r: no such signal" },
		{ "exec -r 65:1 a", "-r: no such signal" },
		{ "exec -r 1:65 a", "-r: no such signal" },
		{ "exec -r 1:DANCE a", "-r: no such signal" },
		{ "exec -r 12345678901234567890:1 a", "-r takes FROM:TO" },
		{ "exec -e 256 a", "-e takes an exit status" },
		{ "exec -e -1 a", "-e takes an exit status" },
		{ "exec -p 0 a", "-p takes a signal" },
		{ "exec -t 1x a", "-t takes seconds" },
		{ "exec -t -1 a", "-t takes seconds" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(read_words(rows[i][0]), -EINVAL);
		if (strncmp(e.msg, rows[i][1], strlen(rows[i][1])) != 0)
			fail_msg("\"%s\" says \"%s\"", rows[i][0], e.msg);
	}
}

static void help_and_version_need_no_command(void **state)
{
	(void)state;
	assert_int_equal(read_words("exec -h"), 0);
	assert_true(o.help);
	assert_int_equal(read_words("exec --version"), 0);
	assert_true(o.version);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_options_signals_are_themselves_and_nothing_else_is_on),
		cmocka_unit_test(each_option_has_two_spellings),
		cmocka_unit_test(a_bare_number_of_the_time_out_is_seconds),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(help_and_version_need_no_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
