/* domains: which pattern a name matches, as the trie of Mihomo 1.19.30 has it (component/trie). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/domains.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NONE UINT32_MAX

static uint32_t find(const struct domains *d, const char *name)
{
	uint32_t value;

	return domains_find(d, name, &value) ? value : NONE;
}

static void a_name_matches_the_pattern_that_mihomo_takes(void **state)
{
	static const char *const patterns[] = { "a.example",   "*.example",   "+.b.example", ".c.example",
						"x.*.example", "*.d.example", "y.d.example", "*" };
	static const struct {
		const char *name;
		uint32_t value;
	} rows[] = {
		{ "a.example", 0 },	   { "A.EXAMPLE", 0 },	   { "z.example", 1 },	   { "b.example", 2 },
		{ "q.b.example", 2 },	   { "q.r.b.example", 2 }, { "c.example", 1 },	   { "q.c.example", 3 },
		{ "q.r.c.example", 3 },	   { "x.a.example", 4 },   { "x.q.example", 4 },   { "q.q.example", NONE },
		{ "y.d.example", 6 },	   { "z.d.example", 5 },   { "x.d.example", 5 },   { "x.c.example", 3 },
		{ "q.q.d.example", NONE }, { "example", 7 },	   { "other.test", NONE }, { "a.example.", NONE },
		{ ".example", NONE },	   { "a..example", NONE }, { "", NONE },	   { " a.example", NONE },
		{ "*.example", 1 },	   { "+.b.example", 2 },
	};
	struct domains *d = domains_new();
	(void)state;

	for (uint32_t i = 0; i < COUNT(patterns); i++)
		assert_int_equal(domains_add(d, patterns[i], i), 0);
	for (size_t i = 0; i < COUNT(rows); i++)
		if (find(d, rows[i].name) != rows[i].value)
			fail_msg("%s: %u", rows[i].name, find(d, rows[i].name));
	domains_free(d);
}

static void what_is_no_pattern_is_refused(void **state)
{
	static const char *const rows[] = { "",	    ".",    "a.",   "a..b", "..a",  "+",     "a.+.b",
					    "+a.b", "*a.b", "a*.b", "+.",   " a.b", "a.b\t", "a.b.+" };
	struct domains *d = domains_new();
	char longer[300];
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++)
		if (domains_add(d, rows[i], 1) != -EINVAL)
			fail_msg("%s", rows[i]);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(domains_add(d, longer, 1), -EINVAL);
	assert_int_equal(find(d, longer), NONE);
	domains_free(d);
}

static void the_last_of_equal_patterns_counts(void **state)
{
	struct domains *d = domains_new();
	(void)state;

	assert_int_equal(domains_add(d, "+.a.example", 1), 0);
	assert_int_equal(domains_add(d, ".A.example", 2), 0);
	assert_int_equal(find(d, "a.example"), 1);
	assert_int_equal(find(d, "b.a.example"), 2);
	domains_free(d);
}

/* Every label is a fork in the way: 2^16 leaves, and none of them is the name's. */
static void a_look_up_in_a_forest_of_wildcards_ends(void **state)
{
	struct domains *d = domains_new();
	char pattern[64], name[64] = "";
	(void)state;

	for (unsigned bits = 0; bits < 1u << 14; bits++) {
		pattern[0] = '\0';
		for (unsigned i = 0; i < 14; i++)
			strcat(pattern, bits >> i & 1 ? "*." : "a.");
		strcat(pattern, "z");
		assert_int_equal(domains_add(d, pattern, bits), 0);
	}
	for (unsigned i = 0; i < 15; i++)
		strcat(name, "a.");
	strcat(name, "z");
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(find(d, name), NONE);
	domains_free(d);
}

static void ten_thousand_patterns_and_names_are_found(void **state)
{
	struct domains *d = domains_new();
	char text[64];
	(void)state;

	for (uint32_t i = 0; i < 10000; i++) {
		snprintf(text, sizeof(text), i % 2 ? "n%u.p%u.example" : "+.n%u.p%u.example", i, i % 100);
		assert_int_equal(domains_add(d, text, i), 0);
	}
	for (uint32_t i = 0; i < 10000; i++) {
		snprintf(text, sizeof(text), i % 2 ? "n%u.p%u.example" : "x.n%u.p%u.example", i, i % 100);
		assert_int_equal(find(d, text), i);
	}
	domains_free(d);
}

static void labels_are_bounded(void **state)
{
	struct domains *d = domains_new();
	char text[64];
	uint32_t i;
	int r = 0;
	(void)state;

	for (i = 0; i <= DOMAINS_LABELS_MAX && r == 0; i++) {
		snprintf(text, sizeof(text), "n%u", i);
		r = domains_add(d, text, i);
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(i, DOMAINS_LABELS_MAX + 1);
	assert_int_equal(find(d, "n5"), 5);
	domains_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_matches_the_pattern_that_mihomo_takes),
		cmocka_unit_test(what_is_no_pattern_is_refused),
		cmocka_unit_test(the_last_of_equal_patterns_counts),
		cmocka_unit_test(a_look_up_in_a_forest_of_wildcards_ends),
		cmocka_unit_test(ten_thousand_patterns_and_names_are_found),
		cmocka_unit_test(labels_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
