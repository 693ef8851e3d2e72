/* the check of the config while memory, descriptors, processes or the disk are out: told once, the copy stays. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "check_fixture.h"
#include "failing.h"

#define ROUNDS_MAX 64

/* Good with the new bytes in force, or bad with a sentence and the former ones. */
static void one_or_the_other(struct fixture *f)
{
	if (f->good != (f->why[0] == '\0'))
		fail_msg("good %d, but \"%s\"", f->good, f->why);
	assert_true(holds(f->final, f->good ? CONFIG : FORMER));
	assert_true(!f->good || f->patch_port != holds(f->final, APPENDED));
	check_cancel(f->check); /* at the latest now nothing is open any more */
}

static void good_again(struct fixture *f)
{
	put(f->final, FORMER, 0600);
	run(f);
	assert_true(f->good);
	assert_true(holds(f->final, APPENDED));
}

static void each_allocation_may_fail(void **state)
{
	struct fixture *f = *state;
	int open_before = descriptors();
	bool failed = true;
	long n;

	for (n = 0; failed && n < ROUNDS_MAX; n++) {
		put(f->final, FORMER, 0600);
		fail_allocation(n);
		run(f);
		failed = allocations_work();
		one_or_the_other(f);
		assert_true(failed || f->good);
		assert_int_equal(descriptors(), open_before);
	}
	assert_true(n > 5 && n < ROUNDS_MAX);
	good_again(f);
}

static void each_system_call_may_fail(void **state)
{
	static const struct {
		enum failing_call call;
		int errnum;
	} faults[] = {
		{ CALL_OPEN, EMFILE },	{ CALL_PIPE2, EMFILE }, { CALL_FORK, EAGAIN },	{ CALL_FCNTL, EINVAL },
		{ CALL_WRITE, ENOSPC }, { CALL_RENAME, EROFS }, { CALL_FCHOWN, EPERM },
	};
	struct fixture *f = *state;
	int open_before = descriptors();

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		bool failed = true;
		long n;

		for (n = 0; failed && n < ROUNDS_MAX; n++) {
			put(f->final, FORMER, 0600);
			fail_call(faults[i].call, n, faults[i].errnum);
			run(f);
			failed = call_works(faults[i].call);
			one_or_the_other(f);
			assert_true(failed || f->good);
			assert_int_equal(descriptors(), open_before);
		}
		assert_true(n > 1 && n < ROUNDS_MAX);
	}
	good_again(f);
}

static void refused_with(struct fixture *f, enum failing_call call, long n, int errnum, const char *sentence)
{
	put(f->final, FORMER, 0600);
	fail_call(call, n, errnum);
	run(f);
	assert_true(call_works(call));
	assert_false(f->good);
	if (!strstr(f->why, sentence))
		fail_msg("\"%s\" does not say \"%s\"", f->why, sentence);
	assert_true(holds(f->final, FORMER));
}

static void the_sentence_says_what_failed_and_why(void **state)
{
	struct fixture *f = *state;

	refused_with(f, CALL_OPEN, 0, EACCES, "config.yaml: Permission denied");
	refused_with(f, CALL_OPEN, 1, EROFS, "config.yaml.new: Read-only file system");
	refused_with(f, CALL_FCHOWN, 0, EPERM, "to Mihomo's user: Operation not permitted");
	refused_with(f, CALL_WRITE, 0, ENOSPC, "config.yaml.new: No space left on device");
	refused_with(f, CALL_FORK, 1, EAGAIN, "cannot test the config: cannot start");
	refused_with(f, CALL_RENAME, 0, EROFS, "cannot put the checked copy in force: Read-only file system");
	good_again(f);
}

static void without_an_inspector_the_config_comes_into_force_and_the_api_is_to_be_asked(void **state)
{
	struct fixture *f = *state;

	put(f->final, FORMER, 0600);
	fail_call(CALL_FORK, 0, EAGAIN);
	run(f);
	assert_true(call_works(CALL_FORK));
	assert_true(f->good);
	assert_true(f->patch_port);
	good_again(f);
	assert_false(f->patch_port);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(each_allocation_may_fail),
		CASE(each_system_call_may_fail),
		CASE(the_sentence_says_what_failed_and_why),
		CASE(without_an_inspector_the_config_comes_into_force_and_the_api_is_to_be_asked),
	};

	proc_clean_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
