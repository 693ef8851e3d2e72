#include "daemon/output.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "daemon/lines.h"

#define DRAIN_ROUNDS 64 /* reads of OUTPUT_LINE: more than a pipe holds */

static void pass_lines(struct output *o)
{
	char *start = o->line, *end;

	while ((end = memchr(start, '\n', o->used - (size_t)(start - o->line)))) {
		lines_take(o->lines, start, (size_t)(end - start));
		start = end + 1;
	}
	o->used -= (size_t)(start - o->line);
	memmove(o->line, start, o->used);
	if (o->used == sizeof(o->line)) {
		lines_take(o->lines, o->line, o->used);
		o->used = 0;
	}
}

/* False when there is nothing more to read for now. */
static bool read_some(struct ev_loop *loop, struct output *o)
{
	ssize_t n = io_read(o->io.fd, o->line + o->used, sizeof(o->line) - o->used);

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		output_close(loop, o);
		return false;
	}
	o->used += (size_t)n;
	pass_lines(o);
	return true;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	if (evio_again(loop, w, revents))
		return;
	read_some(loop, w->data);
}

void output_open(struct ev_loop *loop, struct output *o, int fd)
{
	output_close(loop, o);
	evio_read(loop, &o->io, fd, on_readable, o);
}

void output_drain(struct ev_loop *loop, struct output *o)
{
	for (int i = 0; i < DRAIN_ROUNDS && o->io.fd >= 0 && read_some(loop, o); i++)
		;
}

void output_close(struct ev_loop *loop, struct output *o)
{
	if (o->used)
		lines_take(o->lines, o->line, o->used);
	o->used = 0;
	evio_close(loop, &o->io);
}
