#include "clashsup/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"

#define ERROR_MS 10
#define SILENCE_MS 1000
#define SOON_S 0.1

/* File-scope, since libev calls on_error without a context. */
static struct {
	struct ev_loop *loop;
	ev_timer soon;
	int64_t said_ms; /* 0 = never */
} only;

static void say_seldom(const char *what, int errnum)
{
	struct timespec t;
	int64_t now_ms;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
	if (only.said_ms && now_ms - only.said_ms < SILENCE_MS)
		return;
	only.said_ms = now_ms;
	log_warn(LOG_CLASH, "event loop: %s: %s", what, strerror(errnum));
}

/*
 * From here libev goes on: after a failing wait with the next turn, where the fork that is only said makes a new
 * epoll; and it tries to make that without an end, hence the pause.
 */
static void on_error(const char *what) EV_NOEXCEPT
{
	say_seldom(what, errno);
	(void)poll(NULL, 0, ERROR_MS);
	if (!only.loop)
		return;
	ev_loop_fork(only.loop);
	loop_soon(only.loop);
}

static void on_soon(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

struct ev_loop *loop_open(void)
{
	ev_set_syserr_cb(on_error);
	ev_timer_init(&only.soon, on_soon, 0.0, 0.0);
	only.loop = ev_loop_new(EVFLAG_NOENV);
	return only.loop;
}

void loop_close(struct ev_loop *loop)
{
	only.loop = NULL;
	ev_loop_destroy(loop);
}

void loop_soon(struct ev_loop *loop)
{
	if (loop != only.loop || ev_is_active(&only.soon))
		return;
	ev_timer_set(&only.soon, SOON_S, 0.0); /* each time: an expired one keeps what was left of it */
	ev_timer_start(loop, &only.soon);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct loop_signals *w = io->data;
	struct signalfd_siginfo info;

	if (evio_again(loop, io, revents))
		return;
	while (io_read(io->fd, (char *)&info, sizeof(info)) == (ssize_t)sizeof(info))
		w->take(w->ctx, &info);
}

int loop_signals_start(struct loop_signals *w, struct ev_loop *loop, const sigset_t *set,
		       void (*take)(void *ctx, const struct signalfd_siginfo *info), void *ctx)
{
	int fd;

	sigprocmask(SIG_BLOCK, set, NULL);
	fd = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	w->take = take;
	w->ctx = ctx;
	ev_io_init(&w->io, on_readable, fd, EV_READ);
	ev_set_priority(&w->io, w->priority);
	w->io.data = w;
	ev_io_start(loop, &w->io);
	return 0;
}

void loop_signals_stop(struct loop_signals *w, struct ev_loop *loop)
{
	if (w->take)
		evio_close(loop, &w->io);
	w->take = NULL;
}
