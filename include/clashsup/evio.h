/* evio: an ev_io that owns its descriptor: its start, its end, and its second start. */
#ifndef CLASHSUP_EVIO_H
#define CLASHSUP_EVIO_H

#include <ev.h>
#include <stdbool.h>
#include <unistd.h>

#include "clashsup/loop.h"

/* Watches what can be read from `fd`, which is the watcher's from now on. */
static inline void evio_read(struct ev_loop *loop, ev_io *w, int fd, void (*cb)(struct ev_loop *, ev_io *, int),
			     void *data)
{
	ev_io_init(w, cb, fd, EV_READ);
	w->data = data;
	ev_io_start(loop, w);
}

/* Stops watching, closes, and sets the descriptor to -1; one that is -1 already is fine. */
static inline void evio_close(struct ev_loop *loop, ev_io *w)
{
	int fd = w->fd;

	ev_io_stop(loop, w);
	if (fd >= 0)
		close(fd);
	ev_io_set(w, -1, 0);
}

/*
 * First thing in a callback: libev stops a watcher that epoll had no memory for, and
 * says so behind the wait of that turn. True: it was that, and it is tried again, at
 * least each 100 ms; nothing is to be read.
 */
static inline bool evio_again(struct ev_loop *loop, ev_io *w, int revents)
{
	int events = w->events & (EV_READ | EV_WRITE);

	if (!(revents & EV_ERROR) || w->fd < 0)
		return false;
	ev_io_stop(loop, w);
	ev_io_set(w, w->fd, events);
	ev_io_start(loop, w);
	loop_soon(loop);
	return true;
}

#endif
