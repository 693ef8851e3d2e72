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
		int r = ledger_add(l, &a, FILE_A, 0, 1, 0);

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
		struct ledger *l = ledger_new(1);

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

/* How many leave. */
static size_t swept(struct ledger *l)
{
	size_t told = 0;

	while (ledger_sweep(l, count, &told))
		;
	return told;
}

static void an_end_and_a_rollback_need_no_memory(void **state)
{
	struct ledger *l = ledger_new(1);
	(void)state;

	ledger_begin(l);
	add_range(l, 0, 3 * MANY);
	ledger_begin(l);
	add_range(l, 0, 2);
	assert_int_equal(ledger_source(l, FILE_A, true), 0);
	fail_allocations_after(0);
	ledger_end(l, true, 2, 0);
	assert_int_equal(swept(l), 3 * MANY - 2);
	assert_true(allocations_work()); /* it would have made its tables smaller */
	assert_int_equal(ledger_count(l, IP_V4), 2);
	ledger_begin(l);
	add_range(l, 0, MANY);
	fail_allocations_after(0);
	ledger_rollback(l);
	assert_int_equal(swept(l), MANY - 2);
	allocations_work();
	assert_int_equal(ledger_count(l, IP_V4), 2);
	assert_int_equal(add_range(l, 0, 3 * MANY), 3 * MANY);
	assert_int_equal(ledger_count(l, IP_V4), 3 * MANY);
	ledger_free(l);
}

static void marks_that_find_no_memory_say_so_and_a_list_needs_none(void **state)
{
	struct ledger *l;
	size_t told = 0, cursor = 0;
	(void)state;

	fail_allocations_after(0);
	assert_null(ledger_new(1));
	allocations_work();
	l = ledger_new(1);
	ledger_begin(l);
	add_range(l, 0, 3);
	fail_allocations_after(0);
	assert_int_equal(ledger_source(l, FILE_A, true), -ENOMEM);
	assert_int_equal(ledger_unresolved(l, FILE_A, 7), -ENOMEM);
	assert_int_equal(ledger_fresh(l, FILE_A, 7), -ENOMEM);
	while (ledger_each(l, &cursor, count, &told))
		;
	assert_int_equal(told, 3);
	allocations_work();
	ledger_free(l);
}

/* A run that sees the one address of before, whose host did not resolve, and a new one. */
static void tell_run(struct ledger *l)
{
	struct addr old = numbered(0), new = numbered(1);

	ledger_begin(l);
	(void)ledger_add(l, &old, FILE_A, 0, 2, 0);
	(void)ledger_add(l, &new, FILE_A, HOST_Y, 2, 0);
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
		struct ledger *l = ledger_new(1);

		ledger_begin(l);
		assert_int_equal(ledger_add(l, &old, FILE_A, 0, 1, 0), 1);
		assert_int_equal(ledger_add(l, &of_name, FILE_A, HOST_X, 1, 0), 1);
		assert_int_equal(ledger_add(l, &of_b, FILE_B, 0, 1, 0), 1);
		fail_allocation(n);
		tell_run(l);
		failed = allocations_work();
		ledger_end(l, true, 3, 1000);
		assert_int_equal(swept(l), 0);
		assert_in_range(ledger_count(l, IP_V4), failed ? 3 : 4, 4);
		ledger_free(l);
	}
}

static void what_is_known_is_seen_again_without_memory(void **state)
{
	struct ledger *l = ledger_new(1);
	(void)state;

	ledger_begin(l);
	add_range(l, 0, MANY);
	ledger_begin(l);
	fail_allocations_after(0);
	assert_int_equal(add_range(l, 0, MANY - 1), MANY - 1);
	assert_false(allocations_work());
	assert_int_equal(ledger_source(l, FILE_A, true), 0);
	ledger_end(l, true, 3, 0);
	assert_int_equal(swept(l), 1);
	assert_int_equal(ledger_count(l, IP_V4), MANY - 1);
	ledger_free(l);
}

static void what_cannot_be_restored_is_not_there_and_takes_nothing_with_it(void **state)
{
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct ledger *l = ledger_new(1);
		struct addr a = numbered(1);
		int r;

		fail_allocation(n);
		r = ledger_restore(l, &a, FILE_A, HOST_X, 1);
		failed = allocations_work();
		assert_int_equal(r, failed ? -ENOMEM : 1);
		assert_int_equal(ledger_count(l, IP_V4), !failed);
		ledger_begin(l);
		ledger_end(l, true, 1, 1000);
		assert_int_equal(swept(l), !failed);
		ledger_free(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_add_that_finds_no_memory_changes_nothing_and_works_later),
		cmocka_unit_test(an_end_and_a_rollback_need_no_memory),
		cmocka_unit_test(marks_that_find_no_memory_say_so_and_a_list_needs_none),
		cmocka_unit_test(what_a_run_could_not_note_makes_nothing_leave),
		cmocka_unit_test(what_is_known_is_seen_again_without_memory),
		cmocka_unit_test(what_cannot_be_restored_is_not_there_and_takes_nothing_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
