#include "daemon/remember.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/clock.h"

#define NEVER (INT64_MIN / 2)

/* ---- at start ---- */

struct loading {
	int64_t now_ms, wall_ms, grace_ms;
	remember_fn each;
	void *ctx;
	size_t taken, stale;
};

/* A clock that was set back makes them new, not younger than that. */
static void take(void *ctx, const struct lastgood_entry *entry)
{
	struct loading *l = ctx;
	int64_t age_ms = l->wall_ms - entry->seen_s * INT64_C(1000);

	if (age_ms < 0)
		age_ms = 0;
	if (age_ms >= l->grace_ms) {
		l->stale++;
		return;
	}
	l->taken++;
	l->each(l->ctx, &entry->addr, entry->source, entry->host, l->now_ms - age_ms);
}

static int decode(struct loading *l, const void *bytes, size_t len, struct err *e)
{
	l->now_ms = clock_ms();
	l->wall_ms = clock_wall_ms();
	return lastgood_decode(bytes, len, take, l, e);
}

int remember_decode(const void *bytes, size_t len, int64_t grace_ms, remember_fn each, void *ctx, struct err *e)
{
	struct loading l = { .grace_ms = grace_ms, .each = each, .ctx = ctx };

	return decode(&l, bytes, len, e);
}

void remember_load(const struct remember *r, int64_t grace_ms, remember_fn each, void *ctx)
{
	struct loading l = { .grace_ms = grace_ms, .each = each, .ctx = ctx };
	cleanup_free char *bytes = NULL;
	struct err e = ERR_INIT;
	size_t len;
	int got = io_slurp_path(r->path, LASTGOOD_MAX, &bytes, &len, &e);

	if (got == 0 && decode(&l, bytes, len, &e) < 0)
		got = err_prefix(&e, "%s", r->path);
	if (got == -ENOENT)
		log_info(LOG_PROXY_IPS, "No last good addresses yet, %s will be written", r->path);
	else if (got < 0)
		log_warn(LOG_PROXY_IPS, "No last good addresses: %s; it will be written anew", e.msg);
	else if (l.stale)
		log_warn(LOG_PROXY_IPS,
			 "%zu last good addresses; %zu are left out, not seen for longer than [extract] grace", l.taken,
			 l.stale);
	else
		log_info(LOG_PROXY_IPS, "%zu last good addresses", l.taken);
}

/* ---- after a run ---- */

static void next_in(struct remember *r, int64_t ms)
{
	ev_timer_set(&r->next, ms > 0 ? (double)ms / 1000. : 0., 0.);
	ev_timer_start(r->reaper->loop, &r->next);
}

static void start(struct remember *r)
{
	if (r->state != REMEMBER_IDLE || !r->wanted)
		return;
	r->state = REMEMBER_WAITS;
	next_in(r, r->began_ms + r->gap_ms - clock_ms());
}

/* The same failure again is no news. */
static void over(struct remember *r, const char *why)
{
	lastgood_free(&r->file);
	r->state = REMEMBER_IDLE;
	r->saved_ms = why[0] ? NEVER : r->began_ms; /* what failed is tried again behind the next run */
	if (why[0] && strncmp(why, r->warning, sizeof(r->warning) - 1) != 0)
		log_warn(LOG_PROXY_IPS,
			 "cannot save the last good addresses, the file stays as it is: %s (see [state] dir)", why);
	snprintf(r->warning, sizeof(r->warning), "%s", why);
	start(r);
}

static void on_written(void *ctx, const struct job_result *result)
{
	struct remember *r = ctx;
	char why[256] = "";

	r->job = NULL;
	if (!job_ok(result))
		job_why(result, why, sizeof(why));
	over(r, why);
}

static void write_file(struct remember *r)
{
	const char *const argv[] = { r->program, "remember", r->path, NULL };
	const struct job_spec spec = { .argv = argv,
				       .input = (const char *)r->file.bytes,
				       .input_len = r->file.len,
				       .deadline_ms = REMEMBER_DEADLINE_MS };
	struct err e = ERR_INIT;

	r->state = REMEMBER_WRITES;
	if (job_start(&r->job, r->reaper, &spec, on_written, r, &e) < 0) {
		r->job = NULL;
		over(r, e.msg);
		return;
	}
	lastgood_free(&r->file); /* the job has a copy */
}

static void put(void *ctx, const struct ledger_entry *entry)
{
	struct remember *r = ctx;
	int64_t seen_s = (entry->seen_ms + r->to_wall_ms) / 1000;
	struct lastgood_entry out = { entry->addr, entry->source, entry->host, 0 };

	out.seen_s = seen_s < 0 ? 0 : seen_s > UINT32_MAX ? UINT32_MAX : (uint32_t)seen_s;
	/* -ENOSPC: the ledger has changed since the first slice; what does not fit is told next time */
	r->short_of_memory |= lastgood_put(&r->file, &out) == -ENOMEM;
}

static void on_next(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct remember *r = w->data;
	(void)loop;
	(void)revents;

	if (r->state == REMEMBER_WAITS) {
		r->state = REMEMBER_GATHERS;
		r->wanted = r->short_of_memory = false;
		r->began_ms = clock_ms();
		r->to_wall_ms = clock_wall_ms() - r->began_ms;
		r->cursor = 0;
	}
	if (ledger_entries(r->ledger, &r->cursor, put, r))
		next_in(r, 0);
	else if (r->short_of_memory || lastgood_finish(&r->file) < 0)
		over(r, "out of memory");
	else
		write_file(r);
}

void remember_save(struct remember *r, bool changed)
{
	if (!changed && clock_ms() - r->saved_ms < REMEMBER_ANEW_MS)
		return;
	r->wanted = true;
	start(r);
}

void remember_hurry(struct remember *r)
{
	r->gap_ms = 0;
	if (r->state != REMEMBER_WAITS)
		return;
	ev_timer_stop(r->reaper->loop, &r->next);
	next_in(r, 0);
}

bool remember_writing(const struct remember *r)
{
	return r->state > REMEMBER_WAITS;
}

int remember_encode(const struct ledger *l, struct lastgood *out)
{
	struct remember r = { .ledger = l, .to_wall_ms = clock_wall_ms() - clock_ms() };

	while (ledger_entries(l, &r.cursor, put, &r))
		;
	if (r.short_of_memory || lastgood_finish(&r.file) < 0) {
		lastgood_free(&r.file);
		return -ENOMEM;
	}
	*out = r.file;
	return 0;
}

bool remember_busy(const struct remember *r)
{
	return r->state != REMEMBER_IDLE;
}

int remember_init(struct remember *r, struct reaper *reaper, const struct ledger *l, const char *state_dir,
		  struct err *e)
{
	*r = (struct remember){ .reaper = reaper,
				.ledger = l,
				.program = procfs_program(),
				.gap_ms = REMEMBER_GAP_MS,
				.began_ms = NEVER,
				.saved_ms = NEVER };
	ev_timer_init(&r->next, on_next, 0., 0.);
	r->next.data = r;
	return io_path(r->path, sizeof(r->path) - 8, e, "%s/addresses", state_dir);
}

void remember_deinit(struct remember *r)
{
	ev_timer_stop(r->reaper->loop, &r->next);
	job_abandon(r->job);
	r->job = NULL;
	lastgood_free(&r->file);
	r->state = REMEMBER_IDLE;
}
