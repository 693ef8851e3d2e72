/* sysctl with calls that fail: nothing is changed that is not in the journal, and all of it can be put back later. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/sysctl.h"
#include "failing.h"
#include "netns.h"

#define FORWARD "net.ipv4.ip_forward"
#define RP_FILTER "net.ipv4.conf.all.rp_filter"

static const struct sysctl_want want[] = { { FORWARD, 1 }, { RP_FILTER, 2 } };
static char dir[] = "/tmp/test_faults_sysctl.XXXXXX", journal[64], half[64];

static int set_up(void **state)
{
	if (netns_enter(state) < 0 || !mkdtemp(dir))
		return -1;
	snprintf(journal, sizeof(journal), "%s/sysctl", dir);
	snprintf(half, sizeof(half), "%s/sysctl.new", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(dir);
}

static int start(void **state)
{
	return !*state || sh("echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter")
		       ? 0
		       : -1;
}

static int get(const char *name)
{
	int value = -1;

	assert_int_equal(sysctl_read_int(name, &value, NULL), 0);
	return value;
}

static bool is_journaled(void)
{
	return access(journal, F_OK) == 0;
}

/* How many calls it took until none failed. */
static long walk_fix(enum failing_call call, int errnum)
{
	bool failed = true;
	long n;

	for (n = 0; failed; n++) {
		struct err e = ERR_INIT;
		size_t restored = 0;
		int r, before = descriptors(), changed;

		fail_call(call, n, errnum);
		r = sysctl_fix(journal, want, 2, &e);
		failed = call_works(call);
		assert_int_equal(r, failed ? -errnum : 0);
		assert_true(failed == (e.msg[0] != '\0'));
		assert_int_equal(access(half, F_OK), -1);
		assert_int_equal(descriptors(), before);
		changed = (get(FORWARD) == 1) + (get(RP_FILTER) == 2);
		assert_true(changed == 0 || is_journaled());
		assert_true(failed || changed == 2);
		assert_int_equal(sysctl_restore(journal, &restored, &e), 0);
		assert_int_equal(restored, changed);
		assert_int_equal(get(FORWARD) + get(RP_FILTER), 0);
		assert_false(is_journaled());
	}
	return n;
}

static void a_change_is_journaled_or_not_made(void **state)
{
	NEED_NETNS(state);

	assert_true(walk_fix(CALL_OPEN, EMFILE) > 6);
	assert_int_equal(walk_fix(CALL_WRITE, ENOSPC), 4); /* the journal, the two values, none */
	assert_int_equal(walk_fix(CALL_RENAME, EROFS), 2);
}

static void a_journal_that_cannot_be_written_is_named(void **state)
{
	char text[128];
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	fail_call(CALL_RENAME, 0, EROFS);
	assert_int_equal(sysctl_fix(journal, want, 2, &e), -EROFS);
	assert_true(call_works(CALL_RENAME));
	snprintf(text, sizeof(text), "%s: Read-only file system", journal);
	assert_string_equal(e.msg, text);
	assert_int_equal(sysctl_fix("/nonexistent/sysctl", want, 2, &e), -ENOENT);
	assert_int_equal(get(FORWARD), 0);
}

static void what_could_not_be_put_back_stays_in_the_journal(void **state)
{
	bool failed = true;
	long n;
	NEED_NETNS(state);

	for (n = 0; failed; n++) {
		struct err e = ERR_INIT;
		size_t first = 0, second = 0;
		int r;

		assert_int_equal(sysctl_fix(journal, want, 2, &e), 0);
		fail_call(CALL_OPEN, n, EMFILE);
		r = sysctl_restore(journal, &first, &e);
		failed = call_works(CALL_OPEN);
		assert_int_equal(r, failed ? -EMFILE : 0);
		assert_true(failed == (e.msg[0] != '\0'));
		assert_true(is_journaled() == failed);
		assert_int_equal(sysctl_restore(journal, &second, &e), 0);
		assert_int_equal(first + second, 2);
		assert_int_equal(get(FORWARD) + get(RP_FILTER), 0);
	}
	assert_int_equal(n, 7); /* the boot's name, the journal, each value twice, none */
}

static void a_journal_without_memory_is_an_error_and_stays(void **state)
{
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	assert_int_equal(sysctl_fix(journal, want, 2, &e), 0);
	fail_allocation(0);
	assert_int_equal(sysctl_restore(journal, NULL, &e), -ENOMEM);
	assert_true(allocations_work());
	assert_true(is_journaled());
	assert_int_equal(sysctl_restore(journal, NULL, &e), 0);
	assert_int_equal(get(FORWARD) + get(RP_FILTER), 0);
}

#define CASE(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_change_is_journaled_or_not_made),
		CASE(a_journal_that_cannot_be_written_is_named),
		CASE(what_could_not_be_put_back_stays_in_the_journal),
		CASE(a_journal_without_memory_is_an_error_and_stays),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
