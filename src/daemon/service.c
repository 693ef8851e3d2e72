#include "daemon/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "daemon/clock.h"
#include "daemon/supervisor.h"

#define BETWEEN " \xc2\xb7 " /* U+00B7 */

/* A timer of the loop: one that is stuck feeds nobody. */
static void on_watchdog(struct ev_loop *loop, ev_timer *w, int revents)
{
	const struct service *v = w->data;
	(void)loop;
	(void)revents;

	notify_tell(&v->notify, "WATCHDOG=1");
}

void service_init(struct service *v, struct ev_loop *loop, int ready_fd)
{
	double half;

	*v = (struct service){ .ready_fd = ready_fd };
	notify_open(&v->notify);
	half = (double)v->notify.watchdog_us / 2e6;
	ev_timer_init(&v->watchdog, on_watchdog, half, half);
	v->watchdog.data = v;
	if (v->notify.watchdog_us)
		ev_timer_start(loop, &v->watchdog);
}

void service_deinit(struct service *v, struct ev_loop *loop)
{
	ev_timer_stop(loop, &v->watchdog);
	notify_close(&v->notify);
	io_close(&v->ready_fd);
}

static bool is_ready(const struct supervisor *s)
{
	const struct lifecycle *l = &s->machine.life;

	return s->settings->notify.ready == READY_WAITING || l->net == NET_ARMED ||
	       (!l->tproxy && l->child == CHILD_READY);
}

/* "armed · 312 servers · v4+v6 · direct path ok" */
static void describe(const struct supervisor *s, char *out, size_t cap)
{
	const struct lifecycle *l = &s->machine.life;
	const char *state = supervisor_state(s);
	const bool *in = s->net.family;

	if (l->child == CHILD_WAITING)
		snprintf(out, cap, "%s" BETWEEN "%.120s", state, s->waiting_for);
	else if (l->net != NET_ARMED)
		snprintf(out, cap, "%s", state);
	else
		snprintf(out, cap, "%s" BETWEEN "%zu servers" BETWEEN "%s%s%s" BETWEEN "direct path %.80s", state,
			 servers_known(&s->servers), in[IP_V4] ? "v4" : "", in[IP_V4] && in[IP_V6] ? "+" : "",
			 in[IP_V6] ? "v6" : "", s->around.direct_path[0] ? s->around.direct_path : "not known yet");
}

static void tell_ready(struct service *v)
{
	v->ready = true;
	notify_tell(&v->notify, "READY=1");
	if (v->ready_fd >= 0)
		(void)!write(v->ready_fd, "\n", 1);
	io_close(&v->ready_fd);
}

void service_look(struct supervisor *s)
{
	struct service *v = &s->service;
	char now[sizeof(v->status)];

	if (v->stopping || (v->notify.fd < 0 && v->ready))
		return;
	if (!v->ready && is_ready(s))
		tell_ready(v);
	if (v->notify.fd < 0)
		return;
	describe(s, now, sizeof(now));
	if (strcmp(now, v->status) == 0)
		return;
	memcpy(v->status, now, sizeof(now));
	notify_tell(&v->notify, "STATUS=%s", now);
}

/* systemd 253 and later wants the time, too, so that it knows which READY belongs to it. */
void service_reloading(struct service *v)
{
	notify_tell(&v->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_us());
}

void service_reloaded(struct service *v)
{
	notify_tell(&v->notify, "READY=1");
}

void service_stopping(struct service *v)
{
	v->stopping = true;
	notify_tell(&v->notify, "STOPPING=1\nSTATUS=stopping");
}
