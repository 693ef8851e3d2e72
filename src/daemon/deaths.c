#include "daemon/deaths.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/clock.h"

#define SAVE_DEADLINE_MS 10000
#define SAVE_LATER_S 0.05

/* ---- the file ---- */

static void save(struct deaths *d);

static void saved(struct deaths *d, const char *why)
{
	if (why[0] && strcmp(why, d->warning) != 0)
		log_warn(LOG_CLASH, "cannot save the history of deaths: %s (see [state] dir)", why);
	snprintf(d->warning, sizeof(d->warning), "%s", why);
	if (d->again)
		save(d);
}

static void on_saved(void *ctx, const struct job_result *result)
{
	struct deaths *d = ctx;
	char why[200] = "";

	d->job = NULL;
	saved(d, job_ok(result) ? "" : job_why(result, why, sizeof(why)));
}

/* By a child, as the last good addresses are: a disk may hang, we may not. */
static void save(struct deaths *d)
{
	const char *const argv[] = { procfs_program(), "remember", d->path, NULL };
	char text[HISTORY_FILE_MAX];
	struct job_spec spec = { .argv = argv, .input = text, .deadline_ms = SAVE_DEADLINE_MS };
	struct err e = ERR_INIT;

	d->again = d->job != NULL;
	if (d->job)
		return;
	spec.input_len = history_encode(&d->history, text);
	if (job_start(&d->job, d->reaper, &spec, on_saved, d, &e) < 0) {
		d->job = NULL;
		saved(d, e.msg);
	}
}

static void on_later(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	save(w->data);
}

bool deaths_saving(const struct deaths *d)
{
	return d->job || ev_is_active(&d->later);
}

static void load(struct deaths *d)
{
	cleanup_free char *text = NULL;
	struct err e = ERR_INIT;
	size_t len;
	int r = io_slurp_path(d->path, HISTORY_FILE_MAX, &text, &len, &e);

	if (r == -ENOENT)
		return;
	if (r == 0)
		r = history_decode(text, len, &d->history, &e);
	if (r < 0)
		log_warn(LOG_CLASH, "the history of deaths in %s begins anew: %s", d->path, e.msg);
}

/* ---- deaths ---- */

void deaths_born(struct deaths *d, pid_t pid)
{
	oom_watch(&d->oom, pid);
}

void deaths_tick(struct deaths *d)
{
	if (++d->ticks % OOM_PERIOD_S == 0)
		oom_sample(&d->oom);
}

const struct death *deaths_add(struct deaths *d, int pid, int status, int64_t lived_ms, bool by_us)
{
	struct death death = { .at_ms = clock_wall_ms(),
			       .lived_ms = lived_ms < 0 ? 0 : lived_ms,
			       .pid = pid,
			       .code = WIFSIGNALED(status) ? -1 : WEXITSTATUS(status),
			       .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
			       .core = WIFSIGNALED(status) && WCOREDUMP(status),
			       .by_us = by_us };

	if (death.at_ms < 0) /* a clock before 1970 */
		death.at_ms = 0;
	death.oom = !by_us && death.signal == SIGKILL && oom_happened(&d->oom);
	history_add(&d->history, &death);
	ev_timer_start(d->reaper->loop, &d->later); /* the next start goes first */
	return history_at(&d->history, 0);
}

const char *death_text(const struct death *d, char buf[DEATH_TEXT])
{
	const char *name = d->signal ? sigabbrev_np(d->signal) : NULL;

	if (d->oom)
		snprintf(buf, DEATH_TEXT, "was killed by the kernel: out of memory");
	else if (d->signal)
		snprintf(buf, DEATH_TEXT, "was killed by signal %d (SIG%s)%s", d->signal, name ? name : "?",
			 d->core ? ", core dumped" : "");
	else if (d->pid)
		snprintf(buf, DEATH_TEXT, "ended with exit status %d", d->code);
	else
		snprintf(buf, DEATH_TEXT, "could not be started");
	return buf;
}

/* ---- the object ---- */

int deaths_init(struct deaths *d, struct reaper *reaper, const char *state_dir, struct err *e)
{
	int r;

	*d = (struct deaths){ .reaper = reaper };
	ev_timer_init(&d->later, on_later, SAVE_LATER_S, 0.0);
	d->later.data = d;
	r = io_path(d->path, sizeof(d->path) - 8, e, "%s/history", state_dir); /* room for the name of a new one */
	if (r == 0)
		load(d);
	return r;
}

void deaths_deinit(struct deaths *d)
{
	ev_timer_stop(d->reaper->loop, &d->later);
	job_abandon(d->job);
	d->job = NULL;
}
