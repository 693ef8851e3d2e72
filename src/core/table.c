#include "core/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAP_MIN 4 /* slots; a power of two. A shard is at most seven eighths full */

void table_init(struct table *t, size_t slot, size_t key, size_t max, uint64_t secret)
{
	*t = (struct table){ .slot = slot, .key = key, .max = max, .secret = secret };
}

/* The finalizer of splitmix64: every bit of the input changes half of the output's. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t hash(const struct table *t, const void *key)
{
	const uint8_t *at = key;
	uint64_t h = t->secret;

	for (size_t left = t->key; left > 0;) {
		size_t n = left < sizeof(h) ? left : sizeof(h);
		uint64_t word = 0;

		memcpy(&word, at, n);
		h = mix(h ^ word);
		at += n;
		left -= n;
	}
	return h;
}

static size_t shard_of(uint64_t h)
{
	return (size_t)(h >> 32) % TABLE_SHARDS;
}

static uint8_t *slot_at(const struct table *t, const struct table_shard *s, uint32_t at)
{
	return s->slots + (size_t)(at & (s->cap - 1)) * t->slot;
}

/* The slot that holds the key, or the empty one where it belongs: a shard with slots is never full. */
static uint8_t *look(const struct table *t, const struct table_shard *s, uint64_t h, const void *key)
{
	for (uint32_t at = (uint32_t)h;; at++) {
		uint8_t *slot = slot_at(t, s, at);

		if (!slot[0] || memcmp(slot, key, t->key) == 0)
			return slot;
	}
}

void *table_find(const struct table *t, const void *key)
{
	uint64_t h = hash(t, key);
	const struct table_shard *s = &t->shards[shard_of(h)];
	uint8_t *slot = s->cap ? look(t, s, h, key) : NULL;

	return slot && slot[0] ? slot : NULL;
}

static int resize(const struct table *t, struct table_shard *s, uint32_t cap)
{
	struct table_shard to = { calloc(cap, t->slot), cap, s->used };

	if (!to.slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->cap; i++) {
		const uint8_t *slot = slot_at(t, s, i);

		if (slot[0])
			memcpy(look(t, &to, hash(t, slot), slot), slot, t->slot);
	}
	free(s->slots);
	*s = to;
	return 0;
}

int table_put(struct table *t, const void *key, void **slot)
{
	uint64_t h = hash(t, key);
	struct table_shard *s = &t->shards[shard_of(h)];
	uint8_t *at = s->cap ? look(t, s, h, key) : NULL;

	*slot = at;
	if (at && at[0])
		return 0;
	if (t->used >= t->max)
		return -ENOSPC;
	if ((s->used + 1) * 8 > s->cap * 7) {
		at = resize(t, s, s->cap ? s->cap * 2 : CAP_MIN) < 0 ? NULL : look(t, s, h, key);
	}
	if (!at)
		return -ENOMEM;
	memcpy(at, key, t->key);
	*slot = at;
	s->used++;
	t->used++;
	return 1;
}

/* A slot of the run behind the gap moves into it, if its search begins no later than there; then its own place is the
 * gap. */
void table_erase(struct table *t, void *slot)
{
	struct table_shard *s = &t->shards[shard_of(hash(t, slot))];
	uint32_t mask = s->cap - 1, gap = (uint32_t)((size_t)((uint8_t *)slot - s->slots) / t->slot);

	for (uint32_t i = gap + 1;; i++) {
		const uint8_t *next = slot_at(t, s, i);

		if (!next[0])
			break;
		if (((i - (uint32_t)hash(t, next)) & mask) >= ((i - gap) & mask)) {
			memcpy(slot_at(t, s, gap), next, t->slot);
			gap = i;
		}
	}
	memset(slot_at(t, s, gap), 0, t->slot);
	s->used--;
	t->used--;
}

void *table_next(const struct table *t, size_t shard, uint32_t *at)
{
	const struct table_shard *s = &t->shards[shard];

	while (*at < s->cap) {
		uint8_t *slot = slot_at(t, s, (*at)++);

		if (slot[0])
			return slot;
	}
	return NULL;
}

void table_fit(struct table *t, size_t shard)
{
	struct table_shard *s = &t->shards[shard];
	uint32_t cap = s->cap;

	while (cap > CAP_MIN && s->used * 4 <= cap)
		cap /= 2;
	if (s->used && cap < s->cap)
		(void)resize(t, s, cap);
	if (!s->used) {
		free(s->slots);
		*s = (struct table_shard){ 0 };
	}
}

void table_clear(struct table *t)
{
	for (size_t i = 0; i < TABLE_SHARDS; i++) {
		free(t->shards[i].slots);
		t->shards[i] = (struct table_shard){ 0 };
	}
	t->used = 0;
}
