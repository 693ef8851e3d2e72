/*
 * output: what a child prints, line by line. It is read at
 * all times: on a full pipe Mihomo hangs while its API still answers.
 */
#ifndef DAEMON_OUTPUT_H
#define DAEMON_OUTPUT_H

#include <ev.h>
#include <stddef.h>

#define OUTPUT_LINE 16384 /* a longer line is passed on in pieces */

struct lines;

struct output {
	struct lines *lines; /* to whom the lines go */
	ev_io io;	     /* .fd is -1 when closed; set it so before the first use */
	size_t used;
	char line[OUTPUT_LINE];
};

/* Takes over `fd` (non-blocking). One that is still open is closed first. */
void output_open(struct ev_loop *loop, struct output *o, int fd);

/* Reads what is there, at most what a pipe holds: the last words of a dead child (a Go panic is long). */
void output_drain(struct ev_loop *loop, struct output *o);

/* Passes on an unfinished line too. */
void output_close(struct ev_loop *loop, struct output *o);

#endif
