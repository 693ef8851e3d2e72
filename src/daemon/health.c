#include "daemon/health.h"

#include <limits.h>
#include <stdio.h>

#include "clashsup/io.h"
#include "clashsup/log.h"

#define RESTART_S 1.0 /* between two starts of a helper that does not stay */

/* It lives for months. 1,000 servers, dialled all the time, reach their cap in two weeks: then it starts anew. */
static const uint32_t probe_caps[WIRE_TYPES] = {
	[WIRE_HEALTH] = UINT32_MAX, [WIRE_DIALLED] = 2000000, [WIRE_NOTE] = 64
};

static void start_helper(struct health *h);

static void arm_silence(struct health *h, double after)
{
	h->silence.repeat = after;
	ev_timer_again(h->loop, &h->silence);
}

static double silence_limit(const struct health *h)
{
	return (double)(2 * (h->settings->probe.interval_ms + h->settings->probe.timeout_ms)) / 1000.0 + 1.0;
}

static void on_record(void *ctx, const struct wire_record *r)
{
	struct health *h = ctx;
	enum policy_verdict verdict;

	if (r->type == WIRE_NOTE)
		log_warn(LOG_MONITOR, "probe: %s", r->u.note.text);
	if (r->type == WIRE_DIALLED && h->dialled)
		h->dialled(h->ctx, &r->u.dialled);
	if (r->type != WIRE_HEALTH)
		return;
	arm_silence(h, silence_limit(h));
	h->ok = r->u.health.ok;
	h->latency_us = r->u.health.latency_us;
	verdict = policy_probe(&h->policy, h->ok);
	if (verdict != PROBE_SAME)
		h->tell(h->ctx, verdict);
}

static void on_end(void *ctx, enum helper_end end, const char *why)
{
	struct health *h = ctx;
	(void)end;

	h->helper = NULL;
	log_warn(LOG_MONITOR, "the probe helper ended (%s), starting it again", why);
	arm_silence(h, RESTART_S);
}

static void on_silence(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct health *h = w->data;
	(void)loop;
	(void)revents;

	if (h->helper)
		log_warn(LOG_MONITOR, "the probe helper is silent, starting it anew");
	helper_abandon(h->helper);
	h->helper = NULL;
	start_helper(h);
}

static void start_helper(struct health *h)
{
	static const struct helper_ops ops = { on_record, on_end };
	char socket[PATH_MAX], interval[24], timeout[24];
	const char *const args[] = { socket, interval, timeout, NULL };
	struct helper_spec spec = { .role = "probe",
				    .args = args,
				    .exec_fd = h->helper_fd,
				    .path = h->helper_path,
				    .ids = h->ids,
				    .caps = probe_caps };
	struct err e = ERR_INIT;

	snprintf(interval, sizeof(interval), "%lld", (long long)h->settings->probe.interval_ms);
	snprintf(timeout, sizeof(timeout), "%lld", (long long)h->settings->probe.timeout_ms);
	arm_silence(h, silence_limit(h));
	if (io_path(socket, sizeof(socket), &e, "%s/api.sock", h->run_dir) == 0 &&
	    helper_start(&h->helper, h->reaper, &spec, &ops, h, &e) == 0)
		return;
	h->helper = NULL;
	log_error(LOG_MONITOR, "cannot start the probe helper: %s", e.msg);
	arm_silence(h, RESTART_S);
}

void health_init(struct health *h)
{
	ev_timer_init(&h->silence, on_silence, 0.0, 0.0);
	h->silence.data = h;
	h->policy.fall = h->settings->probe.fall;
	h->policy.rise = h->settings->probe.rise;
}

void health_start(struct health *h)
{
	policy_probe_reset(&h->policy);
	if (!h->helper)
		start_helper(h);
}

void health_stop(struct health *h)
{
	h->ok = false;
	helper_abandon(h->helper);
	h->helper = NULL;
	ev_timer_stop(h->loop, &h->silence);
}

void health_renew(struct health *h)
{
	if (!ev_is_active(&h->silence)) /* it is to be stopped */
		return;
	helper_abandon(h->helper);
	h->helper = NULL;
	start_helper(h);
}

static void order(struct health *h, uint8_t what, uint16_t value)
{
	const uint8_t bytes[3] = { what, (uint8_t)(value >> 8), (uint8_t)value };

	if (h->helper)
		helper_tell(h->helper, bytes, sizeof(bytes));
}

void health_anew(struct health *h)
{
	policy_probe_reset(&h->policy);
	order(h, 'n', 0);
}

void health_open_port(struct health *h, uint16_t port)
{
	order(h, 'p', port);
}
