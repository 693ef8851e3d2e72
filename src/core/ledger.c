#include "clashsup/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"

#define SLICE 2048	    /* slots that one call looks at, and at most one shard more */
#define RUN_MAX 0x7fffffffu /* runs are counted in 31 bits */
#define WITNESS 0	    /* the source of what Mihomo was seen to dial */
#define MARKS_MAX 0x50000u  /* every host unresolved, every other one fresh, and all sources */

/* How a slot's key begins. An address that many hosts have is one member. */
struct address {
	uint8_t used; /* 1 */
	struct addr addr;
};

struct entry {
	struct address at;
	uint8_t zero[2];
	uint32_t source, host; /* the key ends here */
	uint32_t run : 31;     /* that saw it last */
	uint32_t born : 1;     /* in that run */
	int64_t seen_ms, due_ms;
};

#define ENTRY_KEY (offsetof(struct entry, host) + sizeof(uint32_t))

struct member {
	struct address at;
	uint32_t entries; /* that have the address */
};

/* What the run told of a host, or with host 0 of a source. */
enum mark_kind { MARK_UNRESOLVED = 1, MARK_FRESH, MARK_PARTLY, MARK_WHOLE };

struct mark {
	uint8_t kind;
	uint8_t zero[3];
	uint32_t source, host;
};

/* How the run that has ended went. */
struct verdict {
	bool trusted, complete;
	int64_t now_ms, grace_ms;
};

struct ledger {
	struct table entries, members;
	struct table marks; /* of the run */
	size_t count[IP_FAMILIES];
	uint32_t run;
	bool gaps; /* the run told what could not be noted: by it nothing leaves */
	struct verdict verdict;
	size_t swept; /* shards; TABLE_SHARDS = no sweep is under way */
};

struct ledger *ledger_new(uint64_t secret)
{
	struct ledger *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	table_init(&l->entries, sizeof(struct entry), ENTRY_KEY, LEDGER_MAX, secret);
	table_init(&l->members, sizeof(struct member), sizeof(struct address), LEDGER_MAX, secret);
	table_init(&l->marks, sizeof(struct mark), sizeof(struct mark), MARKS_MAX, secret);
	l->swept = TABLE_SHARDS;
	return l;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	ledger_clear(l);
	free(l);
}

void ledger_clear(struct ledger *l)
{
	table_clear(&l->entries);
	table_clear(&l->members);
	table_clear(&l->marks);
	memset(l->count, 0, sizeof(l->count));
	l->swept = TABLE_SHARDS;
}

/* ---- a run tells ---- */

void ledger_begin(struct ledger *l)
{
	l->run = (l->run + 1) & RUN_MAX;
	l->gaps = false;
	l->swept = TABLE_SHARDS;
	table_clear(&l->marks);
}

/* 1: the address is new to the union. */
static int member_join(struct ledger *l, const struct address *at)
{
	void *slot;
	int r = table_put(&l->members, at, &slot);

	if (r < 0)
		return r;
	((struct member *)slot)->entries++;
	l->count[at->addr.family] += (size_t)r;
	return r;
}

/* True: the address is not in the union any more. */
static bool member_part(struct ledger *l, const struct address *at)
{
	struct member *m = table_find(&l->members, at);

	if (--m->entries)
		return false;
	l->count[at->addr.family]--;
	table_erase(&l->members, m);
	return true;
}

/* *out is the entry, in the union; *known when it was there before. As ledger_add. */
static int entry_put(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, struct entry **out,
		     bool *known)
{
	const struct entry key = { .at = { 1, *a }, .source = source, .host = host };
	void *slot;
	int r = table_put(&l->entries, &key, &slot);

	*out = slot;
	*known = r == 0;
	if (r != 1)
		return r;
	r = member_join(l, &key.at);
	if (r < 0)
		table_erase(&l->entries, slot);
	return r;
}

int ledger_add(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, int64_t now_ms, int64_t due_ms)
{
	struct entry *e;
	bool known;
	int r = entry_put(l, a, source, host, &e, &known);

	if (r < 0) {
		l->gaps |= r == -ENOMEM; /* a full ledger goes on: what leaves makes room */
		return r;
	}
	e->born = !known || (e->born && e->run == l->run);
	e->run = l->run & RUN_MAX;
	e->seen_ms = now_ms;
	e->due_ms = due_ms;
	return r;
}

bool ledger_named(const struct ledger *l, const struct addr *a)
{
	const struct entry witness = { .at = { 1, *a }, .source = WITNESS };
	const struct member *m = table_find(&l->members, &witness.at);

	return m && m->entries > (table_find(&l->entries, &witness) ? 1 : 0);
}

int ledger_dialled(struct ledger *l, const struct addr *a, int64_t now_ms)
{
	return ledger_named(l, a) ? 0 : ledger_add(l, a, WITNESS, 0, now_ms, 0);
}

int ledger_restore(struct ledger *l, const struct addr *a, uint32_t source, uint32_t host, int64_t seen_ms)
{
	struct entry *e;
	bool known;
	int r = entry_put(l, a, source, host, &e, &known);

	if (r < 0 || known)
		return r;
	e->run = (l->run - 1) & RUN_MAX;
	e->seen_ms = seen_ms;
	return r;
}

static int mark(struct ledger *l, enum mark_kind kind, uint32_t source, uint32_t host)
{
	const struct mark m = { (uint8_t)kind, { 0 }, source, host };
	void *slot;
	int r = table_put(&l->marks, &m, &slot);

	l->gaps |= r < 0;
	return r < 0 ? r : 0;
}

int ledger_unresolved(struct ledger *l, uint32_t source, uint32_t host)
{
	return mark(l, MARK_UNRESOLVED, source, host);
}

int ledger_fresh(struct ledger *l, uint32_t source, uint32_t host)
{
	return mark(l, MARK_FRESH, source, host);
}

int ledger_source(struct ledger *l, uint32_t source, bool whole)
{
	return mark(l, whole ? MARK_WHOLE : MARK_PARTLY, source, 0);
}

/* ---- its end ---- */

static bool marked(const struct ledger *l, enum mark_kind kind, uint32_t source, uint32_t host)
{
	const struct mark m = { (uint8_t)kind, { 0 }, source, host };

	return table_find(&l->marks, &m);
}

/* Does an entry stay after the run? Those that an honest run saw always do. */
static bool entry_stays(const struct ledger *l, const struct entry *e)
{
	const struct verdict *v = &l->verdict;

	if (!v->trusted)
		return !e->born || e->run != l->run || e->source == WITNESS;
	if (e->source == WITNESS)
		return !ledger_named(l, &e->at.addr) && v->now_ms - e->seen_ms < v->grace_ms;
	if (e->run == l->run || marked(l, MARK_PARTLY, e->source, 0))
		return true;
	if (!marked(l, MARK_WHOLE, e->source, 0))
		return !v->complete;
	if (!e->host)
		return false;
	if (marked(l, MARK_FRESH, e->source, e->host))
		return true;
	return marked(l, MARK_UNRESOLVED, e->source, e->host) && v->now_ms - e->seen_ms < v->grace_ms;
}

void ledger_end(struct ledger *l, bool complete, int64_t now_ms, int64_t grace_ms)
{
	l->verdict = (struct verdict){ true, complete, now_ms, grace_ms };
	l->swept = l->gaps ? TABLE_SHARDS : 0;
}

void ledger_rollback(struct ledger *l)
{
	l->verdict = (struct verdict){ .trusted = false };
	l->swept = 0;
}

static void sweep_shard(struct ledger *l, size_t shard, ledger_change_fn changed, void *ctx)
{
	struct entry *e;

	for (uint32_t at = 0; (e = table_next(&l->entries, shard, &at));) {
		const struct address gone = e->at;

		if (entry_stays(l, e))
			continue;
		table_erase(&l->entries, e);
		at--;
		if (member_part(l, &gone))
			changed(ctx, &gone.addr, false);
	}
	table_fit(&l->entries, shard);
	table_fit(&l->members, shard);
}

bool ledger_sweep(struct ledger *l, ledger_change_fn changed, void *ctx)
{
	for (size_t seen = 0; l->swept < TABLE_SHARDS; l->swept++) {
		if (seen >= SLICE)
			return true;
		seen += l->entries.shards[l->swept].cap;
		sweep_shard(l, l->swept, changed, ctx);
	}
	table_clear(&l->marks);
	return false;
}

/* ---- what is known ---- */

bool ledger_each(const struct ledger *l, size_t *cursor, ledger_change_fn each, void *ctx)
{
	for (size_t seen = 0; *cursor < TABLE_SHARDS && seen < SLICE; ++*cursor) {
		const struct member *m;

		for (uint32_t at = 0; (m = table_next(&l->members, *cursor, &at)); seen++)
			each(ctx, &m->at.addr, true);
	}
	return *cursor < TABLE_SHARDS;
}

bool ledger_entries(const struct ledger *l, size_t *cursor, ledger_entry_fn each, void *ctx)
{
	for (size_t seen = 0; *cursor < TABLE_SHARDS && seen < SLICE; ++*cursor) {
		const struct entry *e;

		for (uint32_t at = 0; (e = table_next(&l->entries, *cursor, &at)); seen++)
			each(ctx, &(struct ledger_entry){ e->at.addr, e->source, e->host, e->seen_ms, e->due_ms });
	}
	return *cursor < TABLE_SHARDS;
}

void ledger_each_fresh(const struct ledger *l, int64_t now_ms, ledger_host_fn each, void *ctx)
{
	const struct entry *e;

	for (size_t shard = 0; shard < TABLE_SHARDS; shard++)
		for (uint32_t at = 0; (e = table_next(&l->entries, shard, &at));)
			if (e->host && e->due_ms > now_ms)
				each(ctx, e->source, e->host);
}

int64_t ledger_next_due(const struct ledger *l, int64_t after_ms)
{
	int64_t next = INT64_MAX;
	const struct entry *e;

	for (size_t shard = 0; shard < TABLE_SHARDS; shard++)
		for (uint32_t at = 0; (e = table_next(&l->entries, shard, &at));)
			if (e->host && e->due_ms > after_ms && e->due_ms < next)
				next = e->due_ms;
	return next;
}

size_t ledger_count(const struct ledger *l, enum ip_family family)
{
	return l->count[family];
}
