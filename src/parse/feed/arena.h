/*
 * arena: memory in blocks, given back all at once, or back to a mark: what was
 * allocated behind the mark is then reused.
 */
#ifndef FEED_ARENA_H
#define FEED_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks; /* the newest first */
};

struct arena_mark {
	struct arena_block *block;
	size_t used;
};

void *arena_alloc(struct arena *a, size_t size);		 /* aligned to 8; NULL = out of memory */
char *arena_text(struct arena *a, const void *text, size_t len); /* a copy with a NUL */

struct arena_mark arena_mark(const struct arena *a);
void arena_release(struct arena *a, struct arena_mark to);
void arena_free(struct arena *a);

#endif
