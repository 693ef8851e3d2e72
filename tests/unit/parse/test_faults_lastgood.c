/* lastgood without memory: it says so, and what was written before is as it was. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clashsup/lastgood.h"
#include "failing.h"

#define MANY 1000

static int make(struct lastgood *f)
{
	struct lastgood_entry entry = { .addr = { IP_V4, { 45 } } };
	int r = 0;

	*f = (struct lastgood){ 0 };
	for (uint32_t i = 0; r == 0 && i < MANY; i++) {
		entry.source = i;
		r = lastgood_put(f, &entry);
	}
	return r == 0 ? lastgood_finish(f) : r;
}

static void a_file_for_which_memory_ran_out_can_be_finished_later_with_what_it_has(void **state)
{
	bool failed = true;
	long n = 0;
	(void)state;

	for (; failed; n++) {
		struct lastgood f;
		int r;

		fail_allocation(n);
		r = make(&f);
		failed = allocations_work();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		if (failed)
			assert_int_equal(lastgood_finish(&f), 0);
		assert_int_equal(lastgood_decode(f.bytes, f.len, NULL, NULL, NULL), 0);
		assert_in_range(f.count, 0, failed ? MANY - 1 : MANY);
		lastgood_free(&f);
	}
	assert_true(n > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_for_which_memory_ran_out_can_be_finished_later_with_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
