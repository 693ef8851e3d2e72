/*
 * table: a set of equal slots, each found by the key that it begins with. It is
 * cut into many small tables, each of which grows alone: no call takes longer
 * than one of those. The hash is keyed, so that nobody can choose keys which
 * collide. A pointer to a slot is good until the next put, erase or fit.
 */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define TABLE_SHARDS 256

struct table_shard {
	uint8_t *slots;
	uint32_t cap, used; /* slots */
};

struct table {
	size_t slot, key; /* bytes */
	size_t max;
	uint64_t secret;
	size_t used;
	struct table_shard shards[TABLE_SHARDS];
};

/*
 * An empty one. `slot` and `key` are their sizes in bytes; a key has no padding
 * and its first byte is never 0. More than `max` slots are refused.
 */
void table_init(struct table *t, size_t slot, size_t key, size_t max, uint64_t secret);

/* NULL when the key is not there. */
void *table_find(const struct table *t, const void *key);

/* 1: *slot is new and all 0 behind its key; 0: it was there; -ENOMEM, -ENOSPC. */
int table_put(struct table *t, const void *key, void **slot);

/* Slots behind it move up: this place may hold another one then. */
void table_erase(struct table *t, void *slot);

/*
 * The used slots of one shard, one a call, `*at` being 0 at first; NULL at the end.
 * After an erasure of the one just seen, --*at comes first.
 */
void *table_next(const struct table *t, size_t shard, uint32_t *at);

/* Gives memory back when most of a shard is empty; out of memory it stays as it is. */
void table_fit(struct table *t, size_t shard);

void table_clear(struct table *t);

#endif
