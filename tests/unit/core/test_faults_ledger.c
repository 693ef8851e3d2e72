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
#define FULL 48 /* three quarters of the smallest table: one more makes it grow */

enum { FILE_A = 11, FILE_B = 12, HOST_X = 21, HOST_Y = 22 };

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

static void marks_that_find_no_memory_say_so_and_a_list_goes_without_its_order(void **state)
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
	assert_int_equal(ledger_each(l, count, &told), 3);
	assert_int_equal(told, 3);
	allocations_work();
	assert_int_equal(ledger_each(l, count, &told), 3);
	ledger_free(l);
}

/* A run that sees the one address of before, whose host did not resolve, and a new one. */
static void tell_run(struct ledger *l)
{
	struct addr old = numbered(0), new = numbered(1);

	ledger_begin(l);
	(void)ledger_add(l, &old, FILE_A, 0, 2);
	(void)ledger_add(l, &new, FILE_A, HOST_Y, 2);
	(void)ledger_unresolved(l, FILE_A, HOST_X);
	(void)ledger_source(l, FILE_A, true);
	(void)ledger_source(l, FILE_B, false);
}

static void what_a_run_could_not_note_makes_nothing_leave(void **state)
{
	const struct addr of_name = numbered(2), of_b = numbered(3), old = numbered(0);
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct ledger *l = ledger_new();
		size_t told = 0;

		ledger_begin(l);
		assert_int_equal(ledger_add(l, &old, FILE_A, 0, 1), 1);
		assert_int_equal(ledger_add(l, &of_name, FILE_A, HOST_X, 1), 1);
		assert_int_equal(ledger_add(l, &of_b, FILE_B, 0, 1), 1);
		fail_allocation(n);
		tell_run(l);
		failed = allocations_work();
		assert_int_equal(ledger_end(l, true, 3, 1000, count, &told), 0);
		assert_int_equal(told, 0);
		assert_int_equal(ledger_count(l, IP_V4), 4);
		ledger_free(l);
	}
}

static void what_is_known_is_seen_again_without_memory(void **state)
{
	struct ledger *l = ledger_new();
	size_t told = 0;
	(void)state;

	ledger_begin(l);
	add_range(l, 0, FULL);
	ledger_begin(l);
	fail_allocations_after(0);
	assert_int_equal(add_range(l, 0, MANY), FULL); /* the next one needs room */
	assert_true(allocations_work());
	assert_int_equal(ledger_source(l, FILE_A, true), 0);
	assert_int_equal(ledger_end(l, true, 3, 0, count, &told), 0);
	assert_int_equal(ledger_count(l, IP_V4), FULL);
	ledger_free(l);
}

static void a_rollback_that_finds_no_memory_takes_nothing_and_breaks_nothing(void **state)
{
	size_t left = 0;
	(void)state;

	for (long n = 0; left == 0; n++) {
		struct ledger *l = ledger_new();
		size_t told = 0;

		ledger_begin(l);
		add_range(l, 0, 1);
		ledger_begin(l);
		add_range(l, 0, 3);
		fail_allocation(n);
		left = ledger_rollback(l, count, &told);
		assert_int_equal(allocations_work(), left == 0);
		assert_int_equal(told, left);
		assert_int_equal(ledger_count(l, IP_V4), 3 - left);
		assert_int_equal(ledger_rollback(l, count, &told), 2 - left);
		assert_int_equal(ledger_count(l, IP_V4), 1);
		ledger_free(l);
	}
	assert_int_equal(left, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_add_that_finds_no_memory_changes_nothing_and_works_later),
		cmocka_unit_test(an_end_that_finds_no_memory_lets_nothing_leave_and_the_next_one_does),
		cmocka_unit_test(marks_that_find_no_memory_say_so_and_a_list_goes_without_its_order),
		cmocka_unit_test(what_a_run_could_not_note_makes_nothing_leave),
		cmocka_unit_test(what_is_known_is_seen_again_without_memory),
		cmocka_unit_test(a_rollback_that_finds_no_memory_takes_nothing_and_breaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
