/* machine: actions run in order, and an event that an effect posts waits its turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/machine.h"

struct fake {
	struct machine machine;
	char story[2048];
	enum lifecycle_action answer_to[4]; /* when this action runs ... */
	enum lifecycle_event answer[4];	    /* ... this event is posted from within */
	size_t answers;
};

static void told(struct fake *f, const char *what)
{
	size_t used = strlen(f->story);

	snprintf(f->story + used, sizeof(f->story) - used, "%s; ", what);
}

static void run(void *ctx, enum lifecycle_action action)
{
	struct fake *f = ctx;

	told(f, lifecycle_action_name(action));
	for (size_t i = 0; i < f->answers; i++) {
		if (f->answer_to[i] == action)
			machine_post(&f->machine, f->answer[i]);
	}
}

static void moved(void *ctx, const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event)
{
	char text[96];
	(void)event;

	if (from->child == to->child && from->net == to->net)
		return;
	snprintf(text, sizeof(text), "[%s, %s]", child_state_name(to->child), net_state_name(to->net));
	told(ctx, text);
}

static void begin(struct fake *f, struct effects *fx)
{
	memset(f, 0, sizeof(*f));
	*fx = (struct effects){ run, moved, f };
	machine_init(&f->machine, fx, true);
	f->machine.life.net = NET_DIRECT;
}

static void answer(struct fake *f, enum lifecycle_action action, enum lifecycle_event event)
{
	f->answer_to[f->answers] = action;
	f->answer[f->answers++] = event;
}

static void a_start_runs_through_to_armed_although_every_effect_answers_at_once(void **state)
{
	struct effects fx;
	struct fake f;
	(void)state;

	begin(&f, &fx);
	answer(&f, ACT_CHECK, EV_CHECK_OK);
	answer(&f, ACT_SPAWN, EV_READY);
	answer(&f, ACT_ARM, EV_ARMED);
	machine_post(&f.machine, EV_START);
	assert_string_equal(f.story, "check; [checking, direct]; spawn; [starting, direct]; cancel timers; arm; "
				     "[ready, arming]; extract; [ready, armed]; ");
}

static void a_death_switches_off_before_anything_else_and_arms_again_after_the_removal(void **state)
{
	struct effects fx;
	struct fake f;
	(void)state;

	begin(&f, &fx);
	f.machine.life = (struct lifecycle){ CHILD_READY, NET_ARMED, true };
	answer(&f, ACT_SPAWN, EV_READY);
	answer(&f, ACT_ARM, EV_ARMED);
	machine_post(&f.machine, EV_EXIT_AGAIN);
	assert_string_equal(f.story, "switch off; remove; cancel timers; spawn; [starting, disarming]; cancel timers; "
				     "[ready, disarming]; ");
	f.story[0] = '\0';
	machine_post(&f.machine, EV_REMOVED);
	assert_string_equal(f.story, "arm; [ready, arming]; extract; [ready, armed]; ");
}

static void a_failed_removal_never_keeps_the_child_from_starting(void **state)
{
	struct effects fx;
	struct fake f;
	(void)state;

	begin(&f, &fx);
	f.machine.life = (struct lifecycle){ CHILD_READY, NET_ARMED, true };
	answer(&f, ACT_REMOVE, EV_REMOVE_FAILED);
	machine_post(&f.machine, EV_EXIT_AGAIN);
	assert_string_equal(f.story, "switch off; remove; cancel timers; spawn; [starting, disarming]; retry later; ");
	assert_int_equal(f.machine.life.net, NET_DISARMING);
}

static void an_arming_that_fails_is_taken_out_again_and_tried_again(void **state)
{
	struct effects fx;
	struct fake f;
	(void)state;

	begin(&f, &fx);
	f.machine.life = (struct lifecycle){ CHILD_READY, NET_ARMING, true };
	machine_post(&f.machine, EV_ARM_FAILED);
	machine_post(&f.machine, EV_REMOVED);
	assert_string_equal(f.story, "switch off; remove; [ready, disarming]; arm; [ready, arming]; ");
}

static void mixed_mode_disarms_and_leaves_the_child_alone(void **state)
{
	struct effects fx;
	struct fake f;
	(void)state;

	begin(&f, &fx);
	f.machine.life = (struct lifecycle){ CHILD_READY, NET_ARMED, true };
	answer(&f, ACT_REMOVE, EV_REMOVED);
	machine_mode(&f.machine, false);
	assert_string_equal(f.story, "switch off; remove; [ready, disarming]; [ready, direct]; ");
	assert_int_equal(f.machine.life.child, CHILD_READY);
}

static void a_flood_of_events_is_bounded(void **state)
{
	struct effects fx;
	struct fake f;
	(void)state;

	begin(&f, &fx);
	f.machine.running = true; /* as if within an effect */
	for (int i = 0; i < 10 * MACHINE_QUEUE; i++)
		machine_post(&f.machine, EV_ANSWER);
	assert_int_equal(f.machine.waiting, MACHINE_QUEUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_start_runs_through_to_armed_although_every_effect_answers_at_once),
		cmocka_unit_test(a_death_switches_off_before_anything_else_and_arms_again_after_the_removal),
		cmocka_unit_test(a_failed_removal_never_keeps_the_child_from_starting),
		cmocka_unit_test(an_arming_that_fails_is_taken_out_again_and_tried_again),
		cmocka_unit_test(mixed_mode_disarms_and_leaves_the_child_alone),
		cmocka_unit_test(a_flood_of_events_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
