/* history: the ring, the file, and files that are none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/history.h"

static struct death death_of(int pid)
{
	return (struct death){ .at_ms = 1700000000000 + pid,
			       .lived_ms = pid * 3,
			       .pid = pid,
			       .code = pid % 2 ? -1 : pid % 256,
			       .signal = pid % 2 ? 1 + pid % 64 : 0,
			       .core = pid % 3 == 0,
			       .oom = pid % 5 == 0,
			       .by_us = pid % 7 == 0 };
}

static struct history history_of(int n)
{
	struct history h = { 0 };

	for (int pid = 1; pid <= n; pid++) {
		struct death d = death_of(pid);

		history_add(&h, &d);
	}
	return h;
}

static void assert_same(const struct death *d, const struct death *wanted)
{
	assert_non_null(d);
	assert_int_equal(d->at_ms, wanted->at_ms);
	assert_int_equal(d->lived_ms, wanted->lived_ms);
	assert_int_equal(d->pid, wanted->pid);
	assert_int_equal(d->code, wanted->code);
	assert_int_equal(d->signal, wanted->signal);
	assert_int_equal(d->core, wanted->core);
	assert_int_equal(d->oom, wanted->oom);
	assert_int_equal(d->by_us, wanted->by_us);
}

static void assert_death(const struct death *d, int pid)
{
	struct death wanted = death_of(pid);

	assert_same(d, &wanted);
}

static void the_latest_sixty_four_are_kept(void **state)
{
	(void)state;
	for (int n = 0; n <= 200; n += 25) {
		struct history h = history_of(n);

		assert_int_equal(h.count, n);
		for (int i = 0; i < n && i < HISTORY_MAX; i++)
			assert_death(history_at(&h, (uint32_t)i), n - i);
		assert_null(history_at(&h, (uint32_t)n));
		assert_null(history_at(&h, HISTORY_MAX));
	}
}

static void a_count_that_is_full_keeps_the_order(void **state)
{
	struct history h = { .count = UINT32_MAX - 3 };
	(void)state;

	for (int pid = 1; pid <= 100; pid++) {
		struct death d = death_of(pid);

		history_add(&h, &d);
		for (int i = 0; i < pid && i < HISTORY_MAX; i++)
			assert_death(history_at(&h, (uint32_t)i), pid - i);
	}
}

static void what_was_written_is_read_back(void **state)
{
	char text[HISTORY_FILE_MAX];
	(void)state;

	for (int n = 0; n <= 130; n++) {
		struct history h = history_of(n), back = { 0 };
		size_t len = history_encode(&h, text);

		assert_true(len < sizeof(text));
		assert_int_equal(history_decode(text, len, &back, NULL), 0);
		assert_int_equal(back.count, n < HISTORY_MAX ? n : HISTORY_MAX);
		for (uint32_t i = 0; i < back.count; i++)
			assert_death(history_at(&back, i), n - (int)i);
	}
}

static void the_largest_numbers_fit(void **state)
{
	struct death d = { INT64_C(1000000000000000), INT64_C(1000000000000000), INT32_MAX, -1, 64, true, true, true };
	struct history h = { 0 }, back;
	char text[HISTORY_FILE_MAX];
	(void)state;

	for (int i = 0; i < HISTORY_MAX; i++)
		history_add(&h, &d);
	assert_int_equal(history_decode(text, history_encode(&h, text), &back, NULL), 0);
	assert_int_equal(back.count, HISTORY_MAX);
	assert_same(&back.list[9], &d);
}

static void a_file_that_is_none_is_refused_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"",
		"end 0\n",
		"clashsup-history 2\nend 0\n",
		"clashsup-history 1\n",
		"clashsup-history 1\nend 1\n",
		"clashsup-history 1\nend 0",
		"clashsup-history 1\nend 0\nend 0\n",
		"clashsup-history 1\n1 2 3 4 0 -\n",
		"clashsup-history 1\n1 2 3 4 0\nend 1\n",
		"clashsup-history 1\n1 2 3 4 0 x\nend 1\n",
		"clashsup-history 1\n1 2 3 -1 0 -\nend 1\n",
		"clashsup-history 1\n1 2 3 0 9 -\nend 1\n",
		"clashsup-history 1\n1 2 3 256 0 -\nend 1\n",
		"clashsup-history 1\n1 2 3 -1 65 -\nend 1\n",
		"clashsup-history 1\n-1 2 3 0 0 -\nend 1\n",
		"clashsup-history 1\n99999999999999999999 2 3 0 0 -\nend 1\n",
		"clashsup-history 1\n\nend 1\n",
	};
	struct history h = history_of(5);
	struct err e;
	(void)state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(history_decode(wrong[i], strlen(wrong[i]), &h, &e), -EINVAL);
		assert_true(e.msg[0] != '\0');
		assert_int_equal(h.count, 5);
		for (int n = 0; n < 5; n++)
			assert_death(history_at(&h, (uint32_t)n), 5 - n);
	}
}

static void any_bytes_are_judged_without_harm(void **state)
{
	char text[HISTORY_FILE_MAX];
	struct history h = history_of(64);
	size_t len = history_encode(&h, text);
	(void)state;

	srand(1);
	for (int round = 0; round < 20000; round++) {
		char copy[HISTORY_FILE_MAX];
		size_t cut = (size_t)rand() % (len + 1);

		memcpy(copy, text, len);
		for (int i = rand() % 4; i >= 0; i--)
			copy[(size_t)rand() % len] = (char)rand();
		(void)history_decode(copy, cut, &h, NULL);
		assert_true(h.count <= HISTORY_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_latest_sixty_four_are_kept),
		cmocka_unit_test(a_count_that_is_full_keeps_the_order),
		cmocka_unit_test(what_was_written_is_read_back),
		cmocka_unit_test(the_largest_numbers_fit),
		cmocka_unit_test(a_file_that_is_none_is_refused_and_changes_nothing),
		cmocka_unit_test(any_bytes_are_judged_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
