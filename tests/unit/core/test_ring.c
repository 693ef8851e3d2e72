/* ring: against a plain list that keeps everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/ring.h"

static void it_keeps_what_a_list_says_it_must(void **state)
{
	enum { LINES = 3000, MOST = 50, BYTES = 600 };
	static char all[LINES][40];
	struct ring r;
	(void)state;

	srand(7);
	ring_init(&r, MOST, BYTES);
	for (uint64_t n = 0; n < LINES; n++) {
		uint64_t first = n + 1;
		size_t bytes = 0;

		memset(all[n], 'a' + (int)(n % 26), (size_t)rand() % 39);
		ring_add(&r, all[n], strlen(all[n]));
		while (first > 0 && n + 2 - first <= MOST && bytes + strlen(all[first - 1]) <= BYTES)
			bytes += strlen(all[--first]);
		assert_int_equal(r.next, n + 1);
		assert_int_equal(r.first, first);
		for (uint64_t i = first; i <= n; i++)
			assert_string_equal(ring_get(&r, i), all[i]);
		assert_null(ring_get(&r, n + 1));
		if (first > 0)
			assert_null(ring_get(&r, first - 1));
	}
	ring_free(&r);
}

static void the_latest_are_counted_from_the_end(void **state)
{
	struct ring r;
	(void)state;

	ring_init(&r, 10, 1000);
	assert_int_equal(ring_latest(&r, 5), 0);
	for (int i = 0; i < 25; i++)
		ring_add(&r, "x", 1);
	assert_int_equal(ring_latest(&r, 5), 20);
	assert_int_equal(ring_latest(&r, 0), 25);
	assert_int_equal(ring_latest(&r, 10), 15);
	assert_int_equal(ring_latest(&r, UINT32_MAX), 15);
	ring_free(&r);
}

static void a_line_larger_than_all_is_cut(void **state)
{
	struct ring r;
	(void)state;

	ring_init(&r, 10, 4);
	ring_add(&r, "abc", 3);
	ring_add(&r, "0123456789", 10);
	assert_string_equal(ring_get(&r, 1), "0123");
	assert_null(ring_get(&r, 0));
	ring_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_keeps_what_a_list_says_it_must),
		cmocka_unit_test(the_latest_are_counted_from_the_end),
		cmocka_unit_test(a_line_larger_than_all_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
