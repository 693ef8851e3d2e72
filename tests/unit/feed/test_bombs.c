/* Hostile documents: each ends soon, with a reason, and its endpoints count for nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu_time.h"
#include "seen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Of CPU, in a build as it is delivered; sanitizers and -O0 may take longer. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
#define SOON_MS 2000
#else
#define SOON_MS 20000
#endif

#define MIB (1024 * 1024)

/* A unit's "$" is the number of its repetition. */
struct bomb {
	const char *what, *head, *unit;
	unsigned times;
	const char *tail, *reason; /* NULL = it is read to its end */
};

static size_t repeat(const struct bomb *b, char *text)
{
	const char *dollar = strchr(b->unit, '$');
	size_t unit = strlen(b->unit), len = 0;

	for (unsigned i = 0; dollar && i < b->times; i++)
		len += (size_t)sprintf(text + len, "%.*s%u%s", (int)(dollar - b->unit), b->unit, i, dollar + 1);
	if (dollar)
		return len;
	memcpy(text, b->unit, unit);
	for (size_t done = unit, all = unit * b->times; done < all; done *= 2)
		memcpy(text + done, text, done < all - done ? done : all - done);
	return unit * b->times;
}

static char *build(const struct bomb *b, size_t *len_out)
{
	size_t head = strlen(b->head), tail = strlen(b->tail), middle;
	char *text = malloc(head + b->times * (strlen(b->unit) + (strchr(b->unit, '$') ? 8 : 0)) + tail + 1);

	assert_non_null(text);
	memcpy(text, b->head, head);
	middle = repeat(b, text + head);
	memcpy(text + head + middle, b->tail, tail);
	*len_out = head + middle + tail;
	return text;
}

static void each_bomb_ends_soon_with_a_reason(void **state)
{
	static const struct bomb bombs[] = {
		{ "lists within lists", "proxies: ", "[", MIB, "", "nested too deep" },
		{ "maps within maps", "", "{a: ", MIB, "", "nested too deep" },
		{ "keys within keys", "proxies: [", "? [", MIB, "", "nested too deep" },
		{ "block lists", "", "- ", MIB, "", "nested too deep" },
		{ "block keys", "", "? ", MIB, "", "nested too deep" },
		{ "lists in an entry", "proxies: [{server: a.example, x: ", "[", MIB, "", "nested too deep" },
		{ "a million texts", "proxies: [", "a,", 1000000, "]", "too many entries" },
		{ "a million empty maps", "proxies:\n", "- {}\n", 1000000, "", "too many entries" },
		{ "a million entries in an anchored list", "proxies: &p [", "{},", 1000000, "]", "too many entries" },
		{ "two million nodes elsewhere", "rules: [", "a,", 2000000, "]", "too many nodes" },
		{ "two million nodes in an entry", "proxies: [{a: [", "a,", 2000000, "]}]", "too many nodes" },
		{ "ten million nodes of large entries", "proxies:\n",
		  "- {server: a.example, port: 1, a: [1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0]}\n",
		  260000, "", "too many nodes" },
		{ "old entries", "Proxy: [", "a,", 2000000, "]", "too many nodes" },
		{ "anchors", "proxies:\n", "- &a$ {}\n", 100000, "", "too many anchors" },
		{ "directives", "", "%TAG !a$! x\n", 100000, "--- {}\n", "too many directives" },
		{ "an entry again and again", "x: &x {a: [1, 2, 3, 4]}\nproxies: [", "*x,", 1000000, "]",
		  "too many entries" },
		{ "64 MiB of one line", "proxies: \"", "a", 64 * MIB, "\"", "a single text is too long" },
		{ "17 MiB without quotes", "proxies: ", "a", 17 * MIB, "", "a single text is too long" },
		{ "18 MiB in blocks", "proxies: |\n", " a\n", 6 * MIB, "", "a single text is too long" },
		{ "17 MiB of comment", "#", "a", 17 * MIB, "", "a single text is too long" },
		{ "17 MiB of blanks", "proxies:", " ", 17 * MIB, "", "a single text is too long" },
		{ "17 MiB of empty lines", "proxies:", "\n", 17 * MIB, "", "a single text is too long" },
		{ "an endless tag", "proxies: !<", "a", 17 * MIB, "> a", "a single text is too long" },
		{ "an endless anchor", "proxies: &", "a", 17 * MIB, " a", "a single text is too long" },
		{ "invalid UTF-8", "proxies:\n- {server: a.example}\n# ", "\xff", MIB, "", "invalid leading UTF-8" },
		{ "controls", "proxies:\n- {server: a.example}\n# ", "\x01", MIB, "", "control characters" },
		{ "percents", "", "%", MIB, "", "directive" },
		{ "15 MiB of one line", "x: \"", "a", 15 * MIB, "\"\nproxies: []\n", NULL },
		{ "a hundred thousand rules", "proxies: []\nrules:\n", "- DOMAIN,a$.example,b\n", 100000, "", NULL },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(bombs); i++) {
		struct seen seen;
		size_t len;
		char *text = build(&bombs[i], &len);
		int64_t before = cpu_ms(), took;
		int r = seen_parse(text, len, &seen);

		took = cpu_ms() - before;
		free(text);
		if (bombs[i].reason ? r != -EINVAL || !strstr(seen.reason, bombs[i].reason) : r != 0)
			fail_msg("%s: %d, %s", bombs[i].what, r, seen.reason);
		if (took > SOON_MS)
			fail_msg("%s: %lld ms", bombs[i].what, (long long)took);
	}
}

static void nuls_end_a_document(void **state)
{
	static const char head[] = "proxies:\n- {server: a.example}\n";
	size_t len = 8 * MIB;
	char *text = calloc(1, len);
	struct seen seen;
	(void)state;

	assert_non_null(text);
	memcpy(text, head, sizeof(head) - 1);
	assert_int_equal(seen_parse(text, len, &seen), -EINVAL);
	assert_non_null(strstr(seen.reason, "control characters"));
	free(text);
}

/* Deep, but allowed: libyaml looks at all open levels for each token. */
static void wide_lists_deep_down_are_not_looked_at_for_long(void **state)
{
	enum { DEPTH = DOC_DEPTH_MAX - 2, WIDTH = 3000000 };
	char *text = malloc(2 * DEPTH + WIDTH);
	struct seen seen;
	int64_t before;
	(void)state;

	assert_non_null(text);
	memset(text, '[', DEPTH);
	for (size_t i = 0; i < WIDTH; i++)
		text[DEPTH + i] = i % 2 ? ',' : 'a';
	memset(text + DEPTH + WIDTH, ']', DEPTH);
	before = cpu_ms();
	assert_int_equal(seen_parse(text, 2 * DEPTH + WIDTH, &seen), -EINVAL);
	assert_string_equal(seen.reason, "too many nodes");
	assert_true(cpu_ms() - before < SOON_MS);
	free(text);
}

/* "x: &x {20,000 keys}" and what refers to it. */
static void merging_a_huge_map_into_many_is_given_up(void **state)
{
	static const char *const units[] = { "*x,", "{<<: *x},", "{<<: [*x, *x]}," };
	(void)state;

	for (size_t k = 0; k < COUNT(units); k++) {
		struct seen seen;
		size_t len = 0, cap = 8 * MIB;
		char *text = malloc(cap);
		int64_t before;

		assert_non_null(text);
		len += (size_t)sprintf(text, "x: &x {");
		for (unsigned i = 0; i < 20000; i++)
			len += (size_t)snprintf(text + len, cap - len, "k%u: 1,", i);
		len += (size_t)sprintf(text + len, "}\nproxies: [");
		for (unsigned i = 0; i < 200000; i++)
			len += (size_t)snprintf(text + len, cap - len, "%s", units[k]);
		len += (size_t)sprintf(text + len, "]\n");
		before = cpu_ms();
		assert_int_equal(seen_parse(text, len, &seen), -EINVAL);
		assert_string_equal(seen.reason, "too many merges and aliases");
		assert_true(cpu_ms() - before < SOON_MS);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bomb_ends_soon_with_a_reason),
		cmocka_unit_test(nuls_end_a_document),
		cmocka_unit_test(wide_lists_deep_down_are_not_looked_at_for_long),
		cmocka_unit_test(merging_a_huge_map_into_many_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
