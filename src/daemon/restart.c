#include "daemon/restart.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "clashsup/log.h"
#include "daemon/announce.h"
#include "daemon/clock.h"
#include "daemon/supervisor.h"

#define NO_START_STATUS (126 << 8) /* as of waitpid(2): what a shell says of what cannot be executed */

static void went_down(struct supervisor *s, const struct announcement *a)
{
	s->down = true;
	announce(s, a);
}

/* At once only where `least_ms` is 0. */
static void start_again(struct supervisor *s, int status, int64_t lived_ms, int64_t least_ms)
{
	const struct settings *set = s->settings;
	uint32_t chance = 0;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
		chance = (uint32_t)clock_us();
	s->death_status = status;
	s->backoff_ms = policy_death(&s->restart, lived_ms, chance);
	if (s->backoff_ms < least_ms)
		s->backoff_ms = least_ms;
	if (set->restart.give_up != GIVE_UP_NEVER && s->restart.deaths >= set->restart.give_up_after)
		machine_post(&s->machine, EV_EXIT_GIVE_UP);
	else
		machine_post(&s->machine, s->backoff_ms ? EV_EXIT_BACKOFF : EV_EXIT_AGAIN);
}

static const struct death *tell_exit(struct supervisor *s, bool asked)
{
	const struct death *death;

	s->exited = true;
	s->exit_status = s->mihomo.last_status;
	s->exit_at = clock_both();
	death = deaths_add(&s->deaths, s->mihomo.group, s->exit_status, s->mihomo.lived_ms, asked);
	announce(s, TELL(.kind = ANNOUNCE_EXITED, .status = s->exit_status, .lived_ms = s->mihomo.lived_ms,
			 .by_us = asked));
	return death;
}

void restart_exited(struct supervisor *s)
{
	enum child_state state = s->machine.life.child;
	struct death death;
	char how[DEATH_TEXT];

	if (state == CHILD_STOPPING || state == CHILD_RESTARTING) {
		if (s->mihomo.lived_ms) /* else none ran */
			tell_exit(s, true);
		machine_post(&s->machine, EV_EXIT_AGAIN);
		return;
	}
	death = *tell_exit(s, false);
	went_down(s, TELL(.kind = ANNOUNCE_CRASHED, .reason = death_text(&death, how), .status = s->exit_status,
			  .lived_ms = death.lived_ms));
	start_again(s, s->exit_status, s->mihomo.lived_ms, 0);
	narrate_exit(&death); /* behind the next start */
}

void restart_no_start(struct supervisor *s)
{
	deaths_add(&s->deaths, 0, NO_START_STATUS, 0, false);
	start_again(s, NO_START_STATUS, 0, s->settings->restart.backoff_min_ms);
}

static void given_up(struct supervisor *s)
{
	bool ends = s->settings->restart.give_up == GIVE_UP_EXIT;
	int status = s->death_status;
	char reason[64];

	snprintf(reason, sizeof(reason), "Mihomo has died %u times in a row", s->restart.deaths);
	log_error(LOG_MONITOR, "%s, giving up: %s", reason, ends ? "clashsup ends, too" : "see `clashsup start`");
	announce(s, TELL(.kind = ANNOUNCE_GIVE_UP, .status = status, .reason = reason));
	if (!ends)
		return;
	s->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	supervisor_shutdown(s);
}

void restart_moved(struct supervisor *s, const struct lifecycle *from, const struct lifecycle *to,
		   enum lifecycle_event event)
{
	if (event == EV_HANG && from->child == CHILD_READY)
		went_down(s, TELL(.kind = ANNOUNCE_CRASHED, .reason = "Mihomo does not answer"));
	if (from->child == CHILD_FAILED && to->child != CHILD_FAILED)
		policy_restart_reset(&s->restart); /* whatever led out of it: another try */
	if (from->child != CHILD_FAILED && to->child == CHILD_FAILED)
		given_up(s);
}
