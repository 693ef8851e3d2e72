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

static void what_is_taken_away_is_put_back_until_it_is_a_quarrel(void **state)
{
	struct policy_repair p = { 0 };
	(void)state;

	assert_true(policy_repair_quiet(&p, 0));
	for (int i = 0; i < REPAIR_BURST; i++)
		assert_true(policy_repair(&p, 1000 + i * 100));
	assert_false(policy_repair(&p, 1600));
	assert_false(policy_repair(&p, 1000 + REPAIR_WINDOW_MS - 1));
	assert_true(policy_repair(&p, 1000 + REPAIR_WINDOW_MS));
	assert_false(policy_repair(&p, 1000 + REPAIR_WINDOW_MS));
	assert_int_equal(p.count, REPAIR_BURST + 1);
}

static void a_refused_repair_does_not_prolong_the_quarrel(void **state)
{
	struct policy_repair p = { 0 };
	(void)state;

	for (int i = 0; i < REPAIR_BURST; i++)
		policy_repair(&p, 5000);
	for (int64_t now = 5100; now < 5000 + REPAIR_WINDOW_MS; now += 100)
		assert_false(policy_repair(&p, now));
	assert_false(policy_repair_quiet(&p, 5000 + REPAIR_QUIET_MS - 1));
	assert_true(policy_repair_quiet(&p, 5000 + REPAIR_QUIET_MS));
}

static void chosen_connections_that_never_go_on_are_no_working_proxy(void **state)
{
	struct policy_proof p = { 0 };
	(void)state;

	assert_int_equal(policy_proof(&p, 0, 0, 0), PROOF_OPEN);
	assert_int_equal(policy_proof(&p, 0, 0, 60000), PROOF_OPEN);
	assert_int_equal(policy_proof(&p, 2, 0, 61000), PROOF_OPEN);
	assert_int_equal(policy_proof(&p, 5, 0, 61000 + PROOF_MS - 1), PROOF_OPEN);
	assert_int_equal(policy_proof(&p, 2, 0, 61000 + PROOF_MS), PROOF_OPEN); /* one that gave up is no proof */
	assert_int_equal(policy_proof(&p, 3, 0, 61000 + PROOF_MS), PROOF_BROKEN);
	assert_int_equal(policy_proof(&p, 3, 1, 61000 + PROOF_MS), PROOF_WORKS);
	policy_proof_reset(&p);
	assert_int_equal(policy_proof(&p, 9, 0, 70000), PROOF_OPEN);
	assert_int_equal(policy_proof(&p, 1, 0, 70000 + PROOF_MS), PROOF_OPEN); /* counted anew */
	assert_int_equal(policy_proof(&p, 2, 0, 70000 + PROOF_MS), PROOF_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_death_is_followed_by_a_start_at_once_however_young_it_was),
		cmocka_unit_test(the_wait_doubles_to_the_cap_and_jitters_below_it),
		cmocka_unit_test(a_stable_run_heals),
		cmocka_unit_test(fall_silences_in_a_row_are_a_hang_told_once),
		cmocka_unit_test(rise_answers_in_a_row_end_it),
		cmocka_unit_test(what_is_taken_away_is_put_back_until_it_is_a_quarrel),
		cmocka_unit_test(a_refused_repair_does_not_prolong_the_quarrel),
		cmocka_unit_test(chosen_connections_that_never_go_on_are_no_working_proxy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
