#include "clashsup/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MIN 64 /* slots; a power of two */

/* In `entries`: one (address, source, host). In `members`: one address, source and host 0. */
struct slot {
	int64_t seen_ms;
	struct addr addr;
	uint32_t source, host;
	uint32_t born;	/* the run that brought it */
	uint32_t run;	/* the run that saw it last */
	uint32_t count; /* members: how many entries hold the address; entries: 1; 0 = an empty slot */
};

/* Open addressing, linear probing, at most three quarters full; nothing is deleted but by a rebuild. */
struct table {
	struct slot *slots;
	size_t cap, used;
};

/* A pair that the run told: (source, host without an answer) or (source, how it was read). */
struct mark {
	uint32_t source, second;
};

enum { SOURCE_PARTLY, SOURCE_WHOLE };

struct marks {
	struct mark *list;
	size_t cap, used;
};

struct ledger {
	struct table entries, members;
	struct marks unresolved, sources; /* of the run */
	uint32_t run;
	bool gaps; /* the run told what could not be noted: by it nothing leaves */
};

static int addr_order(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static size_t slot_hash(const struct addr *a, uint32_t source, uint32_t host)
{
	uint64_t h = 0xcbf29ce484222325u ^ source ^ ((uint64_t)host << 32) ^ a->family;

	for (unsigned i = 0; i < sizeof(a->bytes); i++)
		h = (h ^ a->bytes[i]) * 0x100000001b3u;
	return (size_t)(h ^ (h >> 29));
}

/* The slot that holds the key, or the empty one where it belongs. The table is never full. */
static struct slot *table_find(const struct table *t, const struct addr *a, uint32_t source, uint32_t host)
{
	for (size_t i = slot_hash(a, source, host);; i++) {
		struct slot *s = &t->slots[i & (t->cap - 1)];

		if (!s->count || (s->source == source && s->host == host && addr_cmp(&s->addr, a) == 0))
			return s;
	}
}

static int table_resize(struct table *t, size_t cap)
{
	struct table bigger = { calloc(cap, sizeof(struct slot)), cap, t->used };

	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->cap; i++) {
		const struct slot *s = &t->slots[i];

		if (s->count)
			*table_find(&bigger, &s->addr, s->source, s->host) = *s;
	}
	free(t->slots);
	*t = bigger;
	return 0;
}

/* Room for one more, so that the next insertion cannot fail. */
static int table_reserve(struct table *t)
{
	if (t->used >= LEDGER_MAX)
		return -ENOSPC;
	if ((t->used + 1) * 4 <= t->cap * 3)
		return 0;
	return table_resize(t, t->cap ? t->cap * 2 : TABLE_MIN);
}

static void table_free(struct table *t)
{
	free(t->slots);
	memset(t, 0, sizeof(*t));
}

static int marks_add(struct marks *m, uint32_t source, uint32_t second)
{
	if (m->used == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 32;
		struct mark *grown;

		if (m->used >= LEDGER_MAX)
			return -ENOSPC;
		grown = realloc(m->list, cap * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		m->list = grown;
		m->cap = cap;
	}
	m->list[m->used++] = (struct mark){ source, second };
	return 0;
}

static int mark_cmp(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	if (x->source != y->source)
		return x->source < y->source ? -1 : 1;
	return x->second == y->second ? 0 : x->second < y->second ? -1 : 1;
}

static void marks_sort(struct marks *m)
{
	if (m->used)
		qsort(m->list, m->used, sizeof(*m->list), mark_cmp);
}

static bool marks_have(const struct marks *m, uint32_t source, uint32_t second)
{
	struct mark key = { source, second };

	return m->used && bsearch(&key, m->list, m->used, sizeof(key), mark_cmp);
}

struct ledger *ledger_new(void)
{
	return calloc(1, sizeof(struct ledger));
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	ledger_clear(l);
	free(l->unresolved.list);
	free(l->sources.list);
	free(l);
}

void ledger_clear(struct ledger *l)
{
	table_free(&l->entries);
	table_free(&l->members);
}

void ledger_begin(struct ledger *l)
{
	l->run++;
	l->gaps = false;
	l->unresolved.used = 0;
	l->sources.used = 0;
}

int ledger_add(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, int64_t now_ms)
{
	struct slot *entry = l->entries.cap ? table_find(&l->entries, a, source, host) : NULL, *member;
	int r;

	if (entry && entry->count) { /* needs no room */
		entry->run = l->run;
		entry->seen_ms = now_ms;
		return 0;
	}
	r = table_reserve(&l->entries);
	if (r == 0)
		r = table_reserve(&l->members);
	if (r < 0) {
		l->gaps |= r == -ENOMEM; /* a full ledger goes on: what leaves makes room */
		return r;
	}
	entry = table_find(&l->entries, a, source, host);
	*entry = (struct slot){ now_ms, *a, source, host, l->run, l->run, 1 };
	l->entries.used++;
	member = table_find(&l->members, a, 0, 0);
	if (member->count++)
		return 0;
	member->addr = *a;
	l->members.used++;
	return 1;
}

int ledger_unresolved(struct ledger *l, uint32_t source, uint32_t host)
{
	int r = marks_add(&l->unresolved, source, host);

	l->gaps |= r < 0;
	return r;
}

int ledger_source(struct ledger *l, uint32_t source, bool whole)
{
	int r = marks_add(&l->sources, source, whole ? SOURCE_WHOLE : SOURCE_PARTLY);

	l->gaps |= r < 0;
	return r;
}

/* How the run that is being ended went. */
struct verdict {
	bool trusted, complete;
	int64_t now_ms, grace_ms;
};

/* Does an entry stay after the run? Those that an honest run saw always do. */
static bool entry_stays(const struct ledger *l, const struct slot *s, const struct verdict *v)
{
	if (!v->trusted)
		return s->born != l->run;
	if (s->run == l->run || marks_have(&l->sources, s->source, SOURCE_PARTLY))
		return true;
	if (!marks_have(&l->sources, s->source, SOURCE_WHOLE))
		return !v->complete;
	if (s->host && marks_have(&l->unresolved, s->source, s->host))
		return v->now_ms - s->seen_ms < v->grace_ms;
	return false;
}

static bool any_leaves(const struct ledger *l, const struct verdict *v)
{
	for (size_t i = 0; i < l->entries.cap; i++) {
		if (l->entries.slots[i].count && !entry_stays(l, &l->entries.slots[i], v))
			return true;
	}
	return false;
}

static void table_put(struct table *t, const struct slot *s)
{
	struct slot *to = table_find(t, &s->addr, s->source, s->host);

	if (to->count) {
		to->count++;
		return;
	}
	*to = *s;
	t->used++;
}

/* Fills two empty tables with the entries that stay, and their union. False: out of memory. */
static bool keep_what_stays(const struct ledger *l, struct ledger *kept, const struct verdict *v)
{
	if (table_resize(&kept->entries, l->entries.cap) < 0 || table_resize(&kept->members, l->members.cap) < 0)
		return false;
	for (size_t i = 0; i < l->entries.cap; i++) {
		struct slot s = l->entries.slots[i];

		if (!s.count || !entry_stays(l, &s, v))
			continue;
		table_put(&kept->entries, &s);
		s.source = s.host = 0;
		table_put(&kept->members, &s);
	}
	return true;
}

static size_t end_run(struct ledger *l, const struct verdict *v, ledger_change_fn changed, void *ctx)
{
	struct ledger kept = { 0 };
	size_t left = 0;

	marks_sort(&l->unresolved);
	marks_sort(&l->sources);
	if ((v->trusted && l->gaps) || !any_leaves(l, v))
		return 0;
	if (!keep_what_stays(l, &kept, v)) {
		ledger_clear(&kept); /* out of memory: nothing leaves this time */
		return 0;
	}
	for (size_t i = 0; i < l->members.cap; i++) {
		const struct slot *s = &l->members.slots[i];

		if (s->count && !table_find(&kept.members, &s->addr, 0, 0)->count) {
			changed(ctx, &s->addr, false);
			left++;
		}
	}
	ledger_clear(l);
	l->entries = kept.entries;
	l->members = kept.members;
	return left;
}

size_t ledger_end(struct ledger *l, bool complete, int64_t now_ms, int64_t grace_ms, ledger_change_fn changed,
		  void *ctx)
{
	struct verdict v = { true, complete, now_ms, grace_ms };

	return end_run(l, &v, changed, ctx);
}

size_t ledger_rollback(struct ledger *l, ledger_change_fn changed, void *ctx)
{
	struct verdict v = { .trusted = false };

	return end_run(l, &v, changed, ctx);
}

size_t ledger_each(const struct ledger *l, ledger_change_fn each, void *ctx)
{
	struct addr *all;
	size_t n = 0;

	if (!l->members.used)
		return 0;
	all = malloc(l->members.used * sizeof(*all)); /* only the order needs it */
	for (size_t i = 0; i < l->members.cap; i++) {
		const struct slot *s = &l->members.slots[i];

		if (s->count && !all)
			each(ctx, &s->addr, true);
		else if (s->count)
			all[n] = s->addr;
		n += s->count > 0;
	}
	if (all)
		qsort(all, n, sizeof(*all), addr_order);
	for (size_t i = 0; all && i < n; i++)
		each(ctx, &all[i], true);
	free(all);
	return n;
}

size_t ledger_count(const struct ledger *l, enum ip_family family)
{
	size_t n = 0;

	for (size_t i = 0; i < l->members.cap; i++)
		n += l->members.slots[i].count && l->members.slots[i].addr.family == family;
	return n;
}
