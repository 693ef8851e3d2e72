/* lifecycle: the tables have no holes, are safe on every way out, and are what the diagrams show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/lifecycle.h"

#define BIT(action) (1u << (action))

static void no_cell_is_unwritten_and_none_leads_nowhere(void **state)
{
	unsigned next;
	lifecycle_actions actions;
	(void)state;

	for (unsigned s = 0; s < CHILD_STATES; s++) {
		for (unsigned e = 0; e < CHILD_EVENTS; e++) {
			assert_true(lifecycle_cell(false, s, e, &next, &actions));
			assert_true(next < CHILD_STATES);
			assert_true(actions < BIT(LIFECYCLE_ACTIONS));
		}
	}
	for (unsigned s = 0; s < NET_STATES; s++) {
		for (unsigned e = CHILD_EVENTS; e < LIFECYCLE_EVENTS; e++) {
			assert_true(lifecycle_cell(true, s, e, &next, &actions));
			assert_true(next < NET_STATES);
		}
	}
}

static void every_way_out_of_arming_and_armed_switches_off_first(void **state)
{
	(void)state;
	for (unsigned s = NET_ARMING; s <= NET_ARMED; s++) {
		for (unsigned e = CHILD_EVENTS; e < LIFECYCLE_EVENTS; e++) {
			lifecycle_actions actions;
			unsigned next;

			lifecycle_cell(true, s, e, &next, &actions);
			if (next != NET_ARMING && next != NET_ARMED)
				assert_true(actions & BIT(ACT_SWITCH_OFF));
		}
	}
}

static void the_network_is_never_armed_beside_a_child_that_is_not_ready(void **state)
{
	unsigned seed = 1;
	struct lifecycle l;
	(void)state;

	lifecycle_init(&l, true);
	for (int i = 0; i < 200000; i++) {
		bool was_on = l.net == NET_ARMED || l.net == NET_ARMING, on;
		lifecycle_actions actions;

		seed = seed * 1103515245 + 12345;
		if ((seed >> 16) % 50 == 0)
			actions = lifecycle_mode(&l, (seed >> 24) & 1);
		else
			actions = lifecycle_step(&l, (enum lifecycle_event)((seed >> 16) % LIFECYCLE_EVENTS));
		on = l.net == NET_ARMED || l.net == NET_ARMING;
		assert_true(!on || (l.child == CHILD_READY && l.tproxy));
		if (was_on && !on)
			assert_true(actions & BIT(ACT_SWITCH_OFF));
	}
}

static void a_death_while_armed_switches_off_and_starts_again_at_once(void **state)
{
	struct lifecycle l = { CHILD_READY, NET_ARMED, true };
	lifecycle_actions actions = lifecycle_step(&l, EV_DYING);
	(void)state;

	assert_int_equal(actions, BIT(ACT_SWITCH_OFF) | BIT(ACT_REMOVE) | BIT(ACT_HANG_TIMER));
	assert_int_equal(l.net, NET_DISARMING);
	actions = lifecycle_step(&l, EV_EXIT_AGAIN);
	assert_int_equal(actions, BIT(ACT_SPAWN) | BIT(ACT_CANCEL_TIMERS));
	assert_int_equal(l.child, CHILD_STARTING);
	assert_int_equal(lifecycle_step(&l, EV_READY), BIT(ACT_CANCEL_TIMERS));
	assert_int_equal(l.net, NET_DISARMING);
	assert_int_equal(lifecycle_step(&l, EV_REMOVED), BIT(ACT_ARM));
	assert_int_equal(l.net, NET_ARMING);
	assert_int_equal(lifecycle_step(&l, EV_ARMED), BIT(ACT_EXTRACT));
}

static void a_death_while_arming_aborts_the_arming_before_the_removal(void **state)
{
	struct lifecycle l = { CHILD_READY, NET_ARMING, true };
	(void)state;

	assert_int_equal(lifecycle_step(&l, EV_EXIT_BACKOFF), BIT(ACT_SWITCH_OFF) | BIT(ACT_ABORT_ARM) |
								      BIT(ACT_REMOVE) | BIT(ACT_CANCEL_TIMERS) |
								      BIT(ACT_BACKOFF));
}

static void mixed_mode_disarms_and_tproxy_arms_again(void **state)
{
	struct lifecycle l = { CHILD_READY, NET_ARMED, true };
	(void)state;

	assert_int_equal(lifecycle_mode(&l, false), BIT(ACT_SWITCH_OFF) | BIT(ACT_REMOVE));
	lifecycle_mode(&l, true);
	assert_int_equal(l.net, NET_DISARMING);
	lifecycle_step(&l, EV_REMOVED);
	assert_int_equal(l.net, NET_ARMING);
}

static void a_failed_removal_is_tried_again_until_it_works(void **state)
{
	struct lifecycle l = { CHILD_STOPPED, NET_DISARMING, true };
	(void)state;

	assert_int_equal(lifecycle_step(&l, EV_REMOVE_FAILED), BIT(ACT_RETRY_LATER));
	assert_int_equal(lifecycle_step(&l, EV_RETRY), BIT(ACT_REMOVE));
	assert_int_equal(lifecycle_step(&l, EV_REMOVED), 0);
	assert_int_equal(l.net, NET_DIRECT);
}

static void an_event_that_is_none_does_nothing(void **state)
{
	struct lifecycle l = { CHILD_READY, NET_ARMED, true };
	(void)state;

	assert_int_equal(lifecycle_step(&l, (enum lifecycle_event)200), 0);
	assert_int_equal(l.child, CHILD_READY);
}

/* The arrows of one table as the document draws them: "from --> to : event / event", sorted by from and to. */
static void draw(bool net, char *out, size_t cap)
{
	unsigned states = net ? NET_STATES : CHILD_STATES;
	unsigned first = net ? CHILD_EVENTS : 0, last = net ? LIFECYCLE_EVENTS : CHILD_EVENTS;
	size_t used = 0;

	out[0] = '\0';
	for (unsigned from = 0; from < states; from++) {
		for (unsigned to = 0; to < states; to++) {
			bool any = false;

			for (unsigned e = first; e < last; e++) {
				lifecycle_actions actions;
				unsigned next;

				lifecycle_cell(net, from, e, &next, &actions);
				if (next != to || from == to)
					continue;
				if (!any)
					used += (size_t)snprintf(out + used, cap - used, "    %s --> %s : ",
								 net ? net_state_name(from) : child_state_name(from),
								 net ? net_state_name(to) : child_state_name(to));
				used += (size_t)snprintf(out + used, cap - used, "%s%s", any ? " / " : "",
							 lifecycle_event_name(e));
				any = true;
			}
			if (any)
				used += (size_t)snprintf(out + used, cap - used, "\n");
		}
	}
}

static void the_diagrams_show_the_tables(void **state)
{
	static char drawn[16384], doc[128 * 1024];
	FILE *f = fopen(SOURCE_DIR "/docs/ARCHITECTURE.md", "r");
	(void)state;

	assert_non_null(f);
	doc[fread(doc, 1, sizeof(doc) - 1, f)] = '\0';
	fclose(f);
	for (int net = 0; net <= 1; net++) {
		draw(net, drawn, sizeof(drawn));
		if (!strstr(doc, drawn))
			print_message("docs/ARCHITECTURE.md lacks these arrows:\n%s", drawn);
		assert_non_null(strstr(doc, drawn));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_cell_is_unwritten_and_none_leads_nowhere),
		cmocka_unit_test(every_way_out_of_arming_and_armed_switches_off_first),
		cmocka_unit_test(the_network_is_never_armed_beside_a_child_that_is_not_ready),
		cmocka_unit_test(a_death_while_armed_switches_off_and_starts_again_at_once),
		cmocka_unit_test(a_death_while_arming_aborts_the_arming_before_the_removal),
		cmocka_unit_test(mixed_mode_disarms_and_tproxy_arms_again),
		cmocka_unit_test(a_failed_removal_is_tried_again_until_it_works),
		cmocka_unit_test(an_event_that_is_none_does_nothing),
		cmocka_unit_test(the_diagrams_show_the_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
