/* evio: the end of an ev_io that owns its descriptor. */
#ifndef CLASHSUP_EVIO_H
#define CLASHSUP_EVIO_H

#include <ev.h>
#include <unistd.h>

/* Stops watching, closes, and sets the descriptor to -1; one that is -1 already is fine. */
static inline void evio_close(struct ev_loop *loop, ev_io *w)
{
	int fd = w->fd;

	ev_io_stop(loop, w);
	if (fd >= 0)
		close(fd);
	ev_io_set(w, -1, 0);
}

#endif
