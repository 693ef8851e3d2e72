/* ledger: what enters the server set, and when it may leave. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/ledger.h"

#define GRACE 1000
#define TOLD_MAX 64

enum { FILE_A = 11, FILE_B = 12, HOST_X = 21, HOST_Y = 22 };

/* What was told, and as a text in order: the ledger tells in none. */
struct seen {
	struct {
		struct addr addr;
		bool enters;
	} told[TOLD_MAX];
	size_t n;
	char text[TOLD_MAX * ADDR_TEXT];
};

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void note(void *ctx, const struct addr *a, bool enters)
{
	struct seen *s = ctx;

	assert_true(s->n < TOLD_MAX);
	s->told[s->n].addr = *a;
	s->told[s->n++].enters = enters;
}

static int by_addr(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

/* "45.0.0.1 -45.0.0.2 ": in order, those that leave with a sign. */
static const char *text_of(struct seen *s)
{
	size_t used = 0;
	char text[ADDR_TEXT];

	qsort(s->told, s->n, sizeof(s->told[0]), by_addr);
	s->text[0] = '\0';
	for (size_t i = 0; i < s->n; i++)
		used += (size_t)snprintf(s->text + used, sizeof(s->text) - used, "%s%s ", s->told[i].enters ? "" : "-",
					 addr_text(&s->told[i].addr, text));
	return s->text;
}

static int add_due(struct ledger *l, const char *text, uint32_t source, uint32_t host, int64_t now, int64_t due)
{
	struct addr a = ip(text);

	return ledger_add(l, &a, source, host, now, due);
}

static int add(struct ledger *l, const char *text, uint32_t source, uint32_t host, int64_t now)
{
	return add_due(l, text, source, host, now, 0);
}

static const char *swept(struct ledger *l, struct seen *s)
{
	s->n = 0;
	while (ledger_sweep(l, note, s))
		;
	return text_of(s);
}

static const char *end(struct ledger *l, struct seen *s, bool complete, int64_t now)
{
	ledger_end(l, complete, now, GRACE);
	return swept(l, s);
}

static const char *all(struct ledger *l, struct seen *s)
{
	size_t cursor = 0;

	s->n = 0;
	while (ledger_each(l, &cursor, note, s))
		;
	return text_of(s);
}

static struct ledger *filled(void)
{
	struct ledger *l = ledger_new(1);
	struct seen s;

	assert_non_null(l);
	ledger_begin(l);
	assert_int_equal(add(l, "45.0.0.1", FILE_A, 0, 0), 1);
	assert_int_equal(add(l, "45.0.0.2", FILE_A, HOST_X, 0), 1);
	assert_int_equal(add(l, "2a00::1", FILE_B, HOST_Y, 0), 1);
	assert_int_equal(ledger_source(l, FILE_A, true), 0);
	assert_int_equal(ledger_source(l, FILE_B, true), 0);
	assert_string_equal(end(l, &s, true, 1), "");
	return l;
}

static void an_address_enters_once_whoever_names_it(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	assert_int_equal(add(l, "45.0.0.1", FILE_B, HOST_X, 1), 0);
	assert_int_equal(add(l, "45.0.0.1", FILE_A, 0, 1), 0);
	assert_string_equal(all(l, &s), "45.0.0.1 45.0.0.2 2a00::1 ");
	assert_int_equal(ledger_count(l, IP_V4), 2);
	assert_int_equal(ledger_count(l, IP_V6), 1);
	ledger_free(l);
}

static void a_literal_that_its_whole_source_no_longer_names_leaves_at_once(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	add(l, "45.0.0.2", FILE_A, HOST_X, 2);
	ledger_source(l, FILE_A, true);
	ledger_source(l, FILE_B, false);
	assert_string_equal(end(l, &s, true, 2), "-45.0.0.1 ");
	assert_string_equal(all(l, &s), "45.0.0.2 2a00::1 ");
	ledger_free(l);
}

static void a_source_read_partly_keeps_all_its_addresses(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	ledger_source(l, FILE_A, false);
	ledger_source(l, FILE_B, false);
	assert_string_equal(end(l, &s, true, 2), "");
	ledger_free(l);
}

static void a_run_that_broke_off_takes_nothing_of_sources_it_did_not_meet(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	assert_string_equal(end(l, &s, false, 2), "");
	ledger_begin(l);
	assert_string_equal(end(l, &s, true, 2)[0] ? "left" : "stayed", "left");
	assert_string_equal(all(l, &s), "");
	ledger_free(l);
}

static void a_name_with_no_answer_keeps_its_old_address_for_the_grace_time(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	for (int64_t now = 2; now <= GRACE; now += GRACE - 2) {
		ledger_begin(l);
		add(l, "45.0.0.1", FILE_A, 0, now);
		ledger_unresolved(l, FILE_A, HOST_X);
		ledger_source(l, FILE_A, true);
		ledger_source(l, FILE_B, false);
		assert_string_equal(end(l, &s, true, now), now < GRACE ? "" : "-45.0.0.2 ");
	}
	ledger_free(l);
}

static void a_name_that_answers_otherwise_loses_its_old_address(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	add(l, "45.0.0.1", FILE_A, 0, 2);
	assert_int_equal(add(l, "45.0.0.3", FILE_A, HOST_X, 2), 1);
	ledger_source(l, FILE_A, true);
	ledger_source(l, FILE_B, false);
	assert_string_equal(end(l, &s, true, 2), "-45.0.0.2 ");
	ledger_free(l);
}

static void an_address_stays_while_another_source_names_it(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	add(l, "45.0.0.1", FILE_B, 0, 2);
	ledger_source(l, FILE_A, true);
	ledger_source(l, FILE_B, true);
	end(l, &s, true, 2);
	assert_string_equal(all(l, &s), "45.0.0.1 ");
	ledger_free(l);
}

static void what_a_distrusted_run_brought_is_taken_back_and_nothing_else(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	add(l, "45.0.0.1", FILE_A, 0, 2);
	add(l, "45.0.0.9", FILE_A, 0, 2);
	add(l, "45.0.0.2", FILE_B, 0, 2);
	ledger_rollback(l);
	assert_string_equal(swept(l, &s), "-45.0.0.9 ");
	assert_string_equal(all(l, &s), "45.0.0.1 45.0.0.2 2a00::1 ");
	ledger_free(l);
}

static void what_was_told_twice_in_a_distrusted_run_is_taken_back_too(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	add(l, "45.0.0.9", FILE_A, 0, 2);
	add(l, "45.0.0.9", FILE_A, 0, 2);
	ledger_rollback(l);
	assert_string_equal(swept(l, &s), "-45.0.0.9 ");
	ledger_begin(l);
	add(l, "45.0.0.9", FILE_A, 0, 3);
	ledger_end(l, false, 3, GRACE);
	swept(l, &s);
	ledger_begin(l);
	add(l, "45.0.0.9", FILE_A, 0, 4);
	ledger_rollback(l);
	assert_string_equal(swept(l, &s), "");
	ledger_free(l);
}

static void a_host_that_was_not_asked_again_keeps_its_addresses_without_a_limit(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	for (int64_t now = 2; now < 10 * GRACE; now += GRACE) {
		ledger_begin(l);
		ledger_fresh(l, FILE_A, HOST_X);
		ledger_fresh(l, FILE_B, HOST_X); /* another source's: no help for HOST_Y */
		ledger_source(l, FILE_A, true);
		ledger_source(l, FILE_B, true);
		assert_string_equal(end(l, &s, true, now), now == 2 ? "-45.0.0.1 -2a00::1 " : "");
	}
	assert_string_equal(all(l, &s), "45.0.0.2 ");
	ledger_free(l);
}

struct pairs {
	char text[256];
};

static void note_pair(void *ctx, uint32_t source, uint32_t host)
{
	struct pairs *p = ctx;
	size_t used = strlen(p->text);

	snprintf(p->text + used, sizeof(p->text) - used, "%u/%u ", source, host);
}

static const char *fresh_at(const struct ledger *l, int64_t now, struct pairs *p)
{
	p->text[0] = '\0';
	ledger_each_fresh(l, now, note_pair, p);
	return p->text;
}

static void answers_are_fresh_until_they_are_due(void **state)
{
	struct ledger *l = ledger_new(1);
	struct pairs p;
	(void)state;

	assert_true(ledger_next_due(l, 0) == INT64_MAX);
	ledger_begin(l);
	add_due(l, "45.0.0.1", FILE_A, 0, 0, 0);
	add_due(l, "45.0.0.2", FILE_A, HOST_X, 0, 300);
	add_due(l, "45.0.0.3", FILE_B, HOST_Y, 0, 100);
	assert_true(ledger_next_due(l, 0) == 100);
	assert_true(ledger_next_due(l, 100) == 300);
	assert_true(ledger_next_due(l, 300) == INT64_MAX);
	assert_string_equal(fresh_at(l, 300, &p), "");
	assert_string_equal(fresh_at(l, 299, &p), "11/21 ");
	assert_int_equal(strlen(fresh_at(l, 99, &p)), strlen("11/21 12/22 "));
	add_due(l, "45.0.0.3", FILE_B, HOST_Y, 99, 400);
	assert_true(ledger_next_due(l, 0) == 300);
	ledger_free(l);
}

static int dialled(struct ledger *l, const char *text, int64_t now)
{
	struct addr a = ip(text);

	return ledger_dialled(l, &a, now);
}

static bool named(const struct ledger *l, const char *text)
{
	struct addr a = ip(text);

	return ledger_named(l, &a);
}

static void what_is_dialled_and_named_by_nobody_stays_for_the_grace_time(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	struct pairs p;
	(void)state;

	assert_int_equal(dialled(l, "45.0.0.9", 10), 1);
	assert_int_equal(dialled(l, "45.0.0.9", 20), 0);
	assert_int_equal(dialled(l, "45.0.0.1", 20), 0);
	assert_true(named(l, "45.0.0.1"));
	assert_false(named(l, "45.0.0.9"));
	assert_false(named(l, "45.0.0.8"));
	assert_int_equal(strlen(fresh_at(l, INT64_MIN / 2, &p)), strlen("11/21 12/22 "));
	ledger_begin(l);
	assert_string_equal(end(l, &s, true, 19 + GRACE), "-45.0.0.1 -45.0.0.2 -2a00::1 ");
	ledger_begin(l);
	assert_string_equal(end(l, &s, false, 20 + GRACE), "-45.0.0.9 ");
	ledger_free(l);
}

static void what_was_dialled_leaves_with_the_source_that_has_named_it_since(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	assert_int_equal(dialled(l, "45.0.0.9", 1), 1);
	assert_int_equal(add(l, "45.0.0.9", FILE_A, 0, 2), 0);
	assert_true(named(l, "45.0.0.9"));
	assert_string_equal(end(l, &s, false, 2), "");
	ledger_begin(l);
	ledger_source(l, FILE_A, true);
	assert_string_equal(end(l, &s, true, 3), "-45.0.0.1 -45.0.0.2 -45.0.0.9 -2a00::1 ");
	ledger_free(l);
}

static void what_was_dialled_is_not_taken_back_with_a_distrusted_run(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	assert_int_equal(dialled(l, "45.0.0.9", 1), 1);
	assert_int_equal(add(l, "45.0.0.9", FILE_A, 0, 2), 0);
	ledger_rollback(l);
	assert_string_equal(swept(l, &s), "");
	assert_false(named(l, "45.0.0.9"));
	ledger_free(l);
}

static int restore(struct ledger *l, const char *text, uint32_t source, uint32_t host, int64_t seen)
{
	struct addr a = ip(text);

	return ledger_restore(l, &a, source, host, seen);
}

static void what_was_restored_stays_and_leaves_as_of_an_earlier_run(void **state)
{
	struct ledger *l = ledger_new(1);
	struct seen s;
	struct pairs p;
	(void)state;

	assert_int_equal(restore(l, "45.0.0.1", FILE_A, 0, -5), 1);
	assert_int_equal(restore(l, "45.0.0.2", FILE_A, HOST_X, -5), 1);
	assert_int_equal(restore(l, "45.0.0.2", FILE_B, HOST_Y, -5), 0);
	assert_string_equal(fresh_at(l, INT64_MIN / 2, &p)[0] ? "asked at once" : "", "asked at once");
	assert_string_equal(fresh_at(l, 0, &p), "");
	assert_true(ledger_next_due(l, 0) == INT64_MAX);
	ledger_begin(l);
	ledger_rollback(l);
	assert_string_equal(swept(l, &s), "");
	ledger_begin(l);
	ledger_source(l, FILE_A, false);
	assert_string_equal(end(l, &s, false, 1), "");
	ledger_begin(l);
	ledger_source(l, FILE_A, true);
	ledger_unresolved(l, FILE_A, HOST_X);
	ledger_source(l, FILE_B, false);
	assert_string_equal(end(l, &s, true, GRACE - 6), "-45.0.0.1 ");
	ledger_begin(l);
	ledger_source(l, FILE_A, true);
	ledger_unresolved(l, FILE_A, HOST_X);
	ledger_source(l, FILE_B, true);
	assert_string_equal(end(l, &s, true, GRACE - 5), "-45.0.0.2 ");
	ledger_free(l);
}

static void what_the_run_told_already_is_not_restored_over(void **state)
{
	struct ledger *l = ledger_new(1);
	struct seen s;
	(void)state;

	ledger_begin(l);
	assert_int_equal(add_due(l, "45.0.0.2", FILE_A, HOST_X, 7, 300), 1);
	assert_int_equal(restore(l, "45.0.0.2", FILE_A, HOST_X, 1), 0);
	assert_true(ledger_next_due(l, 0) == 300);
	ledger_source(l, FILE_A, true);
	assert_string_equal(end(l, &s, true, 8), "");
	ledger_free(l);
}

static void an_open_sweep_ends_with_the_next_run(void **state)
{
	struct ledger *l = filled();
	struct seen s;
	(void)state;

	ledger_begin(l);
	ledger_end(l, true, 2, GRACE);
	ledger_begin(l);
	assert_string_equal(swept(l, &s), "");
	assert_string_equal(all(l, &s), "45.0.0.1 45.0.0.2 2a00::1 ");
	ledger_free(l);
}

struct written {
	struct ledger_entry list[8];
	size_t n;
};

static void note_entry(void *ctx, const struct ledger_entry *e)
{
	struct written *w = ctx;

	assert_true(w->n < 8);
	w->list[w->n++] = *e;
}

static void every_entry_is_told_with_all_that_is_known_of_it(void **state)
{
	struct ledger *l = ledger_new(1);
	struct written w = { .n = 0 };
	size_t cursor = 0;
	(void)state;

	ledger_begin(l);
	add_due(l, "45.0.0.2", FILE_A, HOST_X, 7, 300);
	add_due(l, "45.0.0.2", FILE_A, 0, 9, 0);
	while (ledger_entries(l, &cursor, note_entry, &w))
		;
	assert_int_equal(w.n, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct ledger_entry *e = &w.list[i];

		assert_int_equal(e->source, FILE_A);
		assert_int_equal(e->seen_ms, e->host ? 7 : 9);
		assert_int_equal(e->due_ms, e->host ? 300 : 0);
	}
	assert_int_equal(w.list[0].host + w.list[1].host, HOST_X);
	ledger_free(l);
}

static void numbered(char *text, int round, int i)
{
	snprintf(text, ADDR_TEXT, "45.%d.%d.%d", round, i / 256, i % 256);
}

struct tally {
	size_t told, slices, longest;
};

static void count(void *ctx, const struct addr *a, bool enters)
{
	struct tally *t = ctx;
	(void)a;

	assert_false(enters);
	t->told++;
}

static void many_addresses_come_and_go_slice_by_slice(void **state)
{
	struct ledger *l = ledger_new(1);
	char text[ADDR_TEXT];
	(void)state;

	for (int round = 0; round < 3; round++) {
		struct tally t = { 0 };
		bool more = true;

		ledger_begin(l);
		for (int i = 0; i < 20000; i++) {
			numbered(text, round, i);
			assert_int_equal(add(l, text, FILE_A, 0, round), 1);
		}
		ledger_source(l, FILE_A, true);
		ledger_end(l, true, round, GRACE);
		for (size_t before = 0; more; before = t.told) {
			more = ledger_sweep(l, count, &t);
			t.slices++;
			t.longest = t.told - before > t.longest ? t.told - before : t.longest;
		}
		assert_int_equal(t.told, round ? 20000 : 0);
		assert_true(t.slices > 10 && t.longest < 5000);
		assert_int_equal(ledger_count(l, IP_V4), 20000);
	}
	ledger_clear(l);
	assert_int_equal(ledger_count(l, IP_V4), 0);
	ledger_free(l);
	ledger_free(NULL);
}

static void more_than_the_maximum_is_refused_and_what_leaves_makes_room(void **state)
{
	struct ledger *l = ledger_new(1);
	struct addr a = ip("45.0.0.1");
	struct tally t = { 0 };
	(void)state;

	ledger_begin(l);
	for (uint32_t i = 0; i < LEDGER_MAX; i++)
		assert_int_equal(ledger_add(l, &a, FILE_A, i, 1, 0), i == 0);
	assert_int_equal(ledger_add(l, &a, FILE_B, 0, 1, 0), -ENOSPC);
	assert_int_equal(ledger_restore(l, &a, FILE_B, 0, 1), -ENOSPC);
	ledger_source(l, FILE_B, true);
	ledger_begin(l);
	ledger_end(l, true, 2, GRACE);
	while (ledger_sweep(l, count, &t))
		;
	assert_int_equal(t.told, 1);
	assert_int_equal(ledger_add(l, &a, FILE_B, 0, 1, 0), 1);
	ledger_free(l);
}

/* ---- against a simple model: an array, and the rules as the header words them ---- */

#define M_ADDRS 40
#define M_SOURCES 4
#define M_HOSTS 6 /* 0 = literal */
#define M_STEPS 20000

struct model {
	struct m_entry {
		bool there, told, born;
		int64_t seen, due;
	} e[M_ADDRS][M_SOURCES][M_HOSTS];
	bool unresolved[M_SOURCES][M_HOSTS], fresh[M_SOURCES][M_HOSTS], whole[M_SOURCES], partly[M_SOURCES];
	bool held[M_ADDRS]; /* what the changes say */
};

static uint32_t seed = 4711;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static struct addr m_addr(size_t i)
{
	struct addr a = { .family = i % 3 == 0 ? IP_V6 : IP_V4, .bytes = { 45, (uint8_t)i } };

	return a;
}

static void m_changed(void *ctx, const struct addr *a, bool enters)
{
	struct model *m = ctx;

	assert_false(enters);
	assert_true(m->held[a->bytes[1]]);
	m->held[a->bytes[1]] = false;
}

static bool m_union(const struct model *m, size_t addr)
{
	for (size_t s = 0; s < M_SOURCES; s++)
		for (size_t h = 0; h < M_HOSTS; h++)
			if (m->e[addr][s][h].there)
				return true;
	return false;
}

static void m_begin(struct model *m)
{
	memset(m->unresolved, 0, sizeof(m->unresolved));
	memset(m->fresh, 0, sizeof(m->fresh));
	memset(m->whole, 0, sizeof(m->whole));
	memset(m->partly, 0, sizeof(m->partly));
	for (struct m_entry *e = &m->e[0][0][0]; e < &m->e[0][0][0] + M_ADDRS * M_SOURCES * M_HOSTS; e++)
		e->told = e->born = false;
}

static bool m_stays(const struct model *m, const struct m_entry *e, size_t s, size_t h, bool complete, int64_t now)
{
	if (e->told || m->partly[s] || (!m->whole[s] && !complete))
		return true;
	if (!m->whole[s] || h == 0)
		return false;
	return m->fresh[s][h] || (m->unresolved[s][h] && now - e->seen < GRACE);
}

enum how { FAILED, COMPLETE, DISTRUSTED };

static void m_end(struct model *m, enum how how, int64_t now)
{
	for (size_t a = 0; a < M_ADDRS; a++)
		for (size_t s = 0; s < M_SOURCES; s++)
			for (size_t h = 0; h < M_HOSTS; h++) {
				struct m_entry *e = &m->e[a][s][h];

				if (how == DISTRUSTED ? e->born : !m_stays(m, e, s, h, how == COMPLETE, now))
					e->there = false;
			}
}

static void m_tell(struct ledger *l, struct model *m, int64_t now)
{
	size_t a = any(M_ADDRS), s = any(M_SOURCES), h = any(M_HOSTS);
	struct addr addr = m_addr(a);
	struct m_entry *e = &m->e[a][s][h];
	bool known = m_union(m, a);

	switch (any(12)) {
	case 0:
		m->unresolved[s][h] = true;
		assert_int_equal(ledger_unresolved(l, (uint32_t)s + 1, (uint32_t)h), 0);
		return;
	case 1:
		m->fresh[s][h] = true;
		assert_int_equal(ledger_fresh(l, (uint32_t)s + 1, (uint32_t)h), 0);
		return;
	case 2:
		assert_int_equal(ledger_restore(l, &addr, (uint32_t)s + 1, (uint32_t)h, now - 500), !known);
		if (!e->there)
			*e = (struct m_entry){ true, false, false, now - 500, 0 };
		break;
	default:
		assert_int_equal(ledger_add(l, &addr, (uint32_t)s + 1, (uint32_t)h, now, h ? now + 50 : 0), !known);
		*e = (struct m_entry){ true, true, e->born || !e->there, now, h ? now + 50 : 0 };
	}
	m->held[a] = true;
}

static void m_sources(struct ledger *l, struct model *m)
{
	for (uint32_t s = 0; s < M_SOURCES; s++) {
		uint32_t how = any(4);

		if (how == 0)
			continue;
		*(how == 1 ? &m->partly[s] : &m->whole[s]) = true;
		assert_int_equal(ledger_source(l, s + 1, how != 1), 0);
	}
}

struct m_seen {
	const struct model *m;
	size_t addrs, entries;
};

static void m_each(void *ctx, const struct addr *a, bool enters)
{
	struct m_seen *s = ctx;

	assert_true(enters && m_union(s->m, a->bytes[1]));
	s->addrs++;
}

static void m_entry(void *ctx, const struct ledger_entry *e)
{
	struct m_seen *s = ctx;
	const struct m_entry *want = &s->m->e[e->addr.bytes[1]][e->source - 1][e->host];

	assert_true(want->there);
	assert_int_equal(e->seen_ms, want->seen);
	assert_int_equal(e->due_ms, want->due);
	s->entries++;
}

static void m_compare(const struct ledger *l, const struct model *m, int64_t now)
{
	size_t cursor = 0, addrs = 0, entries = 0;
	struct m_seen seen = { m, 0, 0 };
	int64_t due = INT64_MAX;

	while (ledger_each(l, &cursor, m_each, &seen))
		;
	cursor = 0;
	while (ledger_entries(l, &cursor, m_entry, &seen))
		;
	for (size_t a = 0; a < M_ADDRS; a++) {
		assert_int_equal(m->held[a], m_union(m, a));
		addrs += m->held[a];
	}
	for (size_t i = 0; i < M_ADDRS * M_SOURCES * M_HOSTS; i++) {
		const struct m_entry *e = &m->e[0][0][0] + i;

		entries += e->there;
		if (e->there && e->due > now && e->due < due)
			due = e->due;
	}
	assert_int_equal(seen.addrs, addrs);
	assert_int_equal(seen.entries, entries);
	assert_int_equal(ledger_count(l, IP_V4) + ledger_count(l, IP_V6), addrs);
	assert_true(ledger_next_due(l, now) == due);
}

static void random_runs_leave_what_the_rules_say(void **state)
{
	struct ledger *l = ledger_new(seed);
	static struct model m;
	size_t most = 0;
	(void)state;

	for (int64_t now = 1; now < M_STEPS; now++) {
		enum how how = any(8) == 0 ? DISTRUSTED : any(3) == 0 ? FAILED : COMPLETE;

		ledger_begin(l);
		m_begin(&m);
		for (uint32_t n = any(60); n > 0; n--)
			m_tell(l, &m, now);
		m_sources(l, &m);
		if (how == DISTRUSTED)
			ledger_rollback(l);
		else
			ledger_end(l, how == COMPLETE, now, GRACE);
		m_end(&m, how, now);
		while (ledger_sweep(l, m_changed, &m))
			;
		m_compare(l, &m, now);
		most = ledger_count(l, IP_V4) > most ? ledger_count(l, IP_V4) : most;
	}
	assert_true(most > M_ADDRS / 3);
	ledger_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_enters_once_whoever_names_it),
		cmocka_unit_test(a_literal_that_its_whole_source_no_longer_names_leaves_at_once),
		cmocka_unit_test(a_source_read_partly_keeps_all_its_addresses),
		cmocka_unit_test(a_run_that_broke_off_takes_nothing_of_sources_it_did_not_meet),
		cmocka_unit_test(a_name_with_no_answer_keeps_its_old_address_for_the_grace_time),
		cmocka_unit_test(a_name_that_answers_otherwise_loses_its_old_address),
		cmocka_unit_test(an_address_stays_while_another_source_names_it),
		cmocka_unit_test(what_a_distrusted_run_brought_is_taken_back_and_nothing_else),
		cmocka_unit_test(what_was_told_twice_in_a_distrusted_run_is_taken_back_too),
		cmocka_unit_test(a_host_that_was_not_asked_again_keeps_its_addresses_without_a_limit),
		cmocka_unit_test(answers_are_fresh_until_they_are_due),
		cmocka_unit_test(what_is_dialled_and_named_by_nobody_stays_for_the_grace_time),
		cmocka_unit_test(what_was_dialled_leaves_with_the_source_that_has_named_it_since),
		cmocka_unit_test(what_was_dialled_is_not_taken_back_with_a_distrusted_run),
		cmocka_unit_test(what_was_restored_stays_and_leaves_as_of_an_earlier_run),
		cmocka_unit_test(what_the_run_told_already_is_not_restored_over),
		cmocka_unit_test(an_open_sweep_ends_with_the_next_run),
		cmocka_unit_test(every_entry_is_told_with_all_that_is_known_of_it),
		cmocka_unit_test(many_addresses_come_and_go_slice_by_slice),
		cmocka_unit_test(more_than_the_maximum_is_refused_and_what_leaves_makes_room),
		cmocka_unit_test(random_runs_leave_what_the_rules_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
