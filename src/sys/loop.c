#include "clashsup/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"

#define ERROR_MS 10

/* After the fork that is only said, libev makes a new epoll, and a watcher that was refused is tried again. */
static void on_error(const char *what) EV_NOEXCEPT
{
	log_warn(LOG_CLASH, "event loop: %s: %s", what, strerror(errno));
	(void)poll(NULL, 0, ERROR_MS); /* libev tries some things again without an end */
	ev_loop_fork(EV_DEFAULT_UC);
}

struct ev_loop *loop_open(void)
{
	ev_set_syserr_cb(on_error);
	return ev_default_loop(EVFLAG_NOENV);
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
