/* ledger: what enters the server set, and when it may leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/ledger.h"

#define GRACE 1000

enum { FILE_A = 11, FILE_B = 12, HOST_X = 21, HOST_Y = 22 };

struct seen {
	char text[512];
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
	size_t used = strlen(s->text);
	char text[ADDR_TEXT];

	snprintf(s->text + used, sizeof(s->text) - used, "%s%s ", enters ? "" : "-", addr_text(a, text));
}

static int add(struct ledger *l, const char *text, uint32_t source, uint32_t host, int64_t now)
{
	struct addr a = ip(text);

	return ledger_add(l, &a, source, host, now);
}

static const char *end(struct ledger *l, struct seen *s, bool complete, int64_t now)
{
	memset(s, 0, sizeof(*s));
	ledger_end(l, complete, now, GRACE, note, s);
	return s->text;
}

static const char *all(struct ledger *l, struct seen *s)
{
	memset(s, 0, sizeof(*s));
	ledger_each(l, note, s);
	return s->text;
}

static struct ledger *filled(void)
{
	struct ledger *l = ledger_new();
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
	memset(&s, 0, sizeof(s));
	assert_int_equal(ledger_rollback(l, note, &s), 1);
	assert_string_equal(s.text, "-45.0.0.9 ");
	assert_string_equal(all(l, &s), "45.0.0.1 45.0.0.2 2a00::1 ");
	ledger_free(l);
}

static void many_addresses_come_and_go(void **state)
{
	struct ledger *l = ledger_new();
	struct seen s;
	char text[ADDR_TEXT];
	(void)state;

	for (int round = 0; round < 3; round++) {
		ledger_begin(l);
		for (int i = 0; i < 20000; i++) {
			snprintf(text, sizeof(text), "45.%d.%d.%d", round, i / 256, i % 256);
			assert_int_equal(add(l, text, FILE_A, 0, round), 1);
		}
		ledger_source(l, FILE_A, true);
		memset(&s, 0, sizeof(s));
		assert_int_equal(ledger_end(l, true, round, GRACE, note, &s), round ? 20000 : 0);
		assert_int_equal(ledger_count(l, IP_V4), 20000);
	}
	ledger_clear(l);
	assert_int_equal(ledger_count(l, IP_V4), 0);
	ledger_free(l);
	ledger_free(NULL);
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
		cmocka_unit_test(many_addresses_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
