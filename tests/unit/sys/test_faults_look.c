/* survey: memory that runs out and calls that fail. It says what it does not know, or that it could not start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <ev.h>

#include "clashsup/survey.h"
#include "failing.h"
#include "netns.h"

static struct survey_facts facts;
static struct reaper reaper;
static unsigned told;

static void on_done(void *ctx, const struct survey_facts *f)
{
	(void)ctx;
	facts = *f;
	told++;
	ev_break(reaper.loop, EVBREAK_ONE);
}

/* 1 = looked, 0 = could not start */
static int look(void)
{
	struct iface lan = { "lan" };
	const struct iface_list list = { &lan, 1 };
	const struct survey_ask ask = { .port = 7893, .mark = 1, .table = 100, .pref = 100, .lan_ifaces = &list };
	struct err e = ERR_INIT;
	struct survey *s;
	int r;

	told = 0;
	r = survey_start(&s, &reaper, &ask, on_done, NULL, &e);
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_true(e.msg[0]);
		assert_int_equal(told, 0);
		return 0;
	}
	ev_run(reaper.loop, 0);
	assert_int_equal(told, 1);
	return 1;
}

static void test_without_memory(void **state)
{
	unsigned refused = 0, half_blind = 0;
	int open_before;

	NEED_NETNS(state);
	assert_int_equal(look(), 1);
	open_before = descriptors();
	for (long n = 0;; n++) {
		int looked;

		fail_allocation(n);
		looked = look();
		if (!allocations_work()) {
			assert_int_equal(looked, 1);
			assert_string_equal(facts.unknown, "");
			break;
		}
		refused += !looked;
		half_blind += looked && facts.unknown[0];
	}
	assert_int_equal(refused, 2); /* itself, the names of interfaces */
	assert_true(half_blind >= 6); /* each listing's job, its output, its text */
	assert_int_equal(descriptors(), open_before);
}

static void walk_call(enum failing_call call)
{
	int open_before = descriptors();
	unsigned half_blind = 0;

	for (long n = 0; n < 200; n++) {
		fail_call(call, n, EMFILE);
		assert_int_equal(look(), 1);
		if (!call_works(call)) {
			assert_true(call == CALL_OPEN || half_blind > 0);
			assert_int_equal(descriptors(), open_before);
			return;
		}
		half_blind += facts.unknown[0] != '\0';
	}
	fail_msg("there is always one more");
}

static void test_without_pipes(void **state)
{
	NEED_NETNS(state);
	walk_call(CALL_PIPE2);
}

static void test_without_processes(void **state)
{
	NEED_NETNS(state);
	walk_call(CALL_FORK);
}

static void test_without_descriptors_for_files(void **state)
{
	NEED_NETNS(state);
	walk_call(CALL_OPEN);
}

static int set_up(void **state)
{
	int r = netns_enter(state);

	proc_clean_start();
	reaper_start(&reaper, ev_default_loop(0));
	return r;
}

static int tear_down(void **state)
{
	(void)state;
	reaper_stop(&reaper);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_memory),
		cmocka_unit_test(test_without_pipes),
		cmocka_unit_test(test_without_processes),
		cmocka_unit_test(test_without_descriptors_for_files),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
