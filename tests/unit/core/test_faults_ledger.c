/* ledger without memory: nothing enters by half, nothing leaves by mistake, and it goes on afterwards. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "clashsup/ledger.h"
#include "failing.h"

#define MANY 200

enum { FILE_A = 11 };

static struct addr numbered(int i)
{
	char text[ADDR_TEXT];
	struct addr a;

	snprintf(text, sizeof(text), "45.0.%d.%d", i / 256, i % 256);
	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void count(void *ctx, const struct addr *a, bool enters)
{
	(void)a;
	(void)enters;
	++*(size_t *)ctx;
}

/* Adds the addresses from..to; how many were taken before memory ran out. */
static int add_range(struct ledger *l, int from, int to)
{
	for (int i = from; i < to; i++) {
		struct addr a = numbered(i);
		int r = ledger_add(l, &a, FILE_A, 0, 1);

		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			return i - from;
		}
	}
	return to - from;
}

static void an_add_that_finds_no_memory_changes_nothing_and_works_later(void **state)
{
	int taken = 0;
	(void)state;

	for (long n = 0; taken < MANY; n++) {
		struct ledger *l = ledger_new();

		assert_non_null(l);
		ledger_begin(l);
		fail_allocations_after(n);
		taken = add_range(l, 0, MANY);
		allocations_work();
		assert_int_equal(ledger_count(l, IP_V4), taken);
		assert_int_equal(add_range(l, taken, MANY), MANY - taken);
		assert_int_equal(ledger_count(l, IP_V4), MANY);
		ledger_free(l);
	}
	assert_true(taken == MANY);
}

static void an_end_that_finds_no_memory_lets_nothing_leave_and_the_next_one_does(void **state)
{
	size_t left = 0;
	(void)state;

	for (long n = 0; left == 0; n++) {
		struct ledger *l = ledger_new();
		size_t told = 0;

		ledger_begin(l);
		add_range(l, 0, MANY);
		ledger_begin(l);
		add_range(l, 0, 1);
		assert_int_equal(ledger_source(l, FILE_A, true), 0);
		fail_allocations_after(n);
		left = ledger_end(l, true, 2, 0, count, &told);
		allocations_work();
		assert_int_equal(told, left);
		assert_int_equal(ledger_count(l, IP_V4), (size_t)MANY - left);
		if (left == 0) {
			assert_int_equal(ledger_end(l, true, 2, 0, count, &told), MANY - 1);
			assert_int_equal(ledger_count(l, IP_V4), 1);
		}
		ledger_free(l);
	}
	assert_int_equal(left, MANY - 1);
}

static void marks_and_lists_that_find_no_memory_say_so(void **state)
{
	struct ledger *l;
	size_t told = 0;
	(void)state;

	fail_allocations_after(0);
	assert_null(ledger_new());
	allocations_work();
	l = ledger_new();
	ledger_begin(l);
	add_range(l, 0, 3);
	fail_allocations_after(0);
	assert_int_equal(ledger_source(l, FILE_A, true), -ENOMEM);
	assert_int_equal(ledger_unresolved(l, FILE_A, 7), -ENOMEM);
	assert_int_equal(ledger_each(l, count, &told), 0);
	assert_int_equal(told, 0);
	allocations_work();
	assert_int_equal(ledger_each(l, count, &told), 3);
	ledger_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_add_that_finds_no_memory_changes_nothing_and_works_later),
		cmocka_unit_test(an_end_that_finds_no_memory_lets_nothing_leave_and_the_next_one_does),
		cmocka_unit_test(marks_and_lists_that_find_no_memory_say_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
