/* policy: when to start again, when a probe's silence is a hang. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clashsup/policy.h"

static void the_first_death_is_followed_by_a_start_at_once_however_young_it_was(void **state)
{
	struct policy_restart p = { 500, 30000, 60000, 0 };
	(void)state;

	assert_int_equal(policy_death(&p, 1, 7), 0);
	assert_true(policy_death(&p, 1, 7) > 0);
	policy_restart_reset(&p);
	assert_int_equal(policy_death(&p, 1, 7), 0);
}

static void the_wait_doubles_to_the_cap_and_jitters_below_it(void **state)
{
	struct policy_restart p = { 500, 30000, 60000, 0 };
	int64_t ceiling = 500;
	(void)state;

	policy_death(&p, 1, 0);
	for (int i = 0; i < 40; i++) {
		int64_t wait = policy_death(&p, 1, 0xffffffffu - (uint32_t)i * 977);

		assert_true(wait >= 500);
		assert_true(wait <= ceiling);
		ceiling = ceiling * 2 > 30000 ? 30000 : ceiling * 2;
	}
	assert_int_equal(policy_death(&p, 1, 29500), 30000);
	assert_int_equal(policy_death(&p, 1, 0), 500);
}

static void a_stable_run_heals(void **state)
{
	struct policy_restart p = { 500, 30000, 60000, 9 };
	(void)state;

	assert_int_equal(policy_death(&p, 60000, 3), 0);
	assert_int_equal(policy_death(&p, 59999, 3), 500);
}

static void fall_silences_in_a_row_are_a_hang_told_once(void **state)
{
	struct policy_probe p = { 3, 2, 0, 0 };
	(void)state;

	assert_int_equal(policy_probe(&p, false), PROBE_SAME);
	assert_int_equal(policy_probe(&p, false), PROBE_SAME);
	assert_int_equal(policy_probe(&p, true), PROBE_SAME);
	assert_int_equal(policy_probe(&p, false), PROBE_SAME);
	assert_int_equal(policy_probe(&p, false), PROBE_SAME);
	assert_int_equal(policy_probe(&p, false), PROBE_HANG);
	assert_int_equal(policy_probe(&p, false), PROBE_SAME);
}

static void rise_answers_in_a_row_end_it(void **state)
{
	struct policy_probe p = { 3, 2, 5, 0 };
	(void)state;

	assert_int_equal(policy_probe(&p, true), PROBE_SAME);
	assert_int_equal(policy_probe(&p, false), PROBE_SAME);
	assert_int_equal(policy_probe(&p, true), PROBE_SAME);
	assert_int_equal(policy_probe(&p, true), PROBE_ANSWERS);
	assert_int_equal(policy_probe(&p, true), PROBE_SAME);
	policy_probe_reset(&p);
	assert_int_equal(p.answers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_death_is_followed_by_a_start_at_once_however_young_it_was),
		cmocka_unit_test(the_wait_doubles_to_the_cap_and_jitters_below_it),
		cmocka_unit_test(a_stable_run_heals),
		cmocka_unit_test(fall_silences_in_a_row_are_a_hang_told_once),
		cmocka_unit_test(rise_answers_in_a_row_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
