/*
 * ring: the latest lines of something, at most so many and so many bytes, each
 * with a number that only grows. Who reads on from a number is told by the
 * difference how much it has missed. Pure.
 */
#ifndef CLASHSUP_RING_H
#define CLASHSUP_RING_H

#include <stddef.h>
#include <stdint.h>

struct ring {
	char **line; /* owned; NULL for one that there was no memory for */
	uint32_t max_lines;
	size_t max_bytes, bytes;
	uint64_t first, next; /* numbers: of the oldest line that is kept, of the one to come */
};

/* Costs nothing until the first line. */
void ring_init(struct ring *r, uint32_t max_lines, size_t max_bytes);
void ring_free(struct ring *r);

/* A line longer than max_bytes is cut. Out of memory: the line counts as missed by everybody. */
void ring_add(struct ring *r, const char *text, size_t len);

/* NULL when it is not (any more, or yet) there. */
const char *ring_get(const struct ring *r, uint64_t number);

/* The number of the oldest of the latest `count` lines. */
uint64_t ring_latest(const struct ring *r, uint32_t count);

#endif
