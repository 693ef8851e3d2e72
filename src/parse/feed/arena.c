#include "parse/feed/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE (64 * 1024)

struct arena_block {
	struct arena_block *next;
	size_t used, cap;
	_Alignas(max_align_t) char bytes[];
};

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b = a->blocks;

	size = (size + 7) & ~(size_t)7;
	if (!b || size > b->cap - b->used) {
		size_t cap = size > BLOCK_SIZE ? size : BLOCK_SIZE;

		b = malloc(sizeof(*b) + cap);
		if (!b)
			return NULL;
		*b = (struct arena_block){ .next = a->blocks, .cap = cap };
		a->blocks = b;
	}
	b->used += size;
	return b->bytes + b->used - size;
}

char *arena_text(struct arena *a, const void *text, size_t len)
{
	char *copy = arena_alloc(a, len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

struct arena_mark arena_mark(const struct arena *a)
{
	return (struct arena_mark){ a->blocks, a->blocks ? a->blocks->used : 0 };
}

void arena_release(struct arena *a, struct arena_mark to)
{
	while (a->blocks != to.block) {
		struct arena_block *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
	if (a->blocks)
		a->blocks->used = to.used;
}

void arena_free(struct arena *a)
{
	arena_release(a, (struct arena_mark){ NULL, 0 });
}
