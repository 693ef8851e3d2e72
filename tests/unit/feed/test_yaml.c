/* doc: YAML as go-yaml v3 understands it, within bounds. */
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
#include "parse/feed/doc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct doc *load(const char *text)
{
	struct err e = ERR_INIT;
	struct doc *d = NULL;
	uint32_t line;

	if (doc_load(&d, text, strlen(text), &line, &e) < 0)
		fail_msg("line %u: %s in: %s", line, e.msg, text);
	return d;
}

static void merges_follow_the_rules_of_go_yaml(void **state)
{
	static const struct {
		const char *what, *text, *value; /* of k in m; NULL = none */
	} rows[] = {
		{ "plain", "m: {k: v}", "v" },
		{ "merge", "x: &d {k: v}\nm: {<<: *d}", "v" },
		{ "explicit key before", "x: &d {k: v}\nm: {k: own, <<: *d}", "own" },
		{ "explicit key behind", "x: &d {k: v}\nm: {<<: *d, k: own}", "own" },
		{ "list: the earlier wins", "a: &a {k: 1}\nb: &b {k: 2}\nm: {<<: [*a, *b]}", "1" },
		{ "list: the later fills in", "a: &a {j: 1}\nb: &b {k: 2}\nm: {<<: [*a, *b]}", "2" },
		{ "merge of a merge", "a: &a {k: 1}\nb: &b {<<: *a}\nm: {<<: *b}", "1" },
		{ "an inline map", "m: {<<: {k: 3}}", "3" },
		{ "quoted << is a key", "x: &d {k: v}\nm: {\"<<\": *d}", NULL },
		{ "block style", "x: &d\n  k: v\nm:\n  <<: *d\n  j: w\n", "v" },
		{ "an anchor defined again", "x: &d {k: 1}\ny: &d {k: 2}\nm: {<<: *d}", "2" },
		{ "an alias as the map", "x: &d {k: v}\nm: *d", "v" },
		{ "JSON", "{\"m\": {\"k\": \"v\"}}", "v" },
		{ "case is exact", "m: {K: v}", NULL },
		{ "a tagged merge", "x: &d {k: v}\nm: {!!merge \"<<\": *d}", "v" },
		{ "!!str << is a key", "x: &d {k: v}\nm: {!!str <<: *d}", NULL },
		{ "an alias to a list", "x: &d [{k: v}]\nm: {<<: *d}", "v" },
		{ "a list in a list is none", "x: &d {k: v}\ny: &e [*d]\nm: {<<: [*e]}", NULL },
		{ "explicit in the inner merge", "x: &d {k: 1}\nm: {<<: {<<: *d, k: 2}}", "2" },
		{ "an explicit null", "x: &d {k: 1}\nm: {<<: *d, k: ~}", "~" },
		{ "an alias as the key", "x: &d k\nm: {*d : v}", "v" },
		{ "a key in base64", "m: {!!binary aw==: v}", "v" },
		{ "a complex key", "m:\n  ? [a]\n  : b\n  ? k\n  : v\n", "v" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = load(rows[i].text);
		const struct doc_node *k = doc_get(d, doc_get(d, d->root, "m"), "k");

		if (rows[i].value ? !k || strcmp(k->text, rows[i].value) != 0 : k != NULL)
			fail_msg("%s", rows[i].what);
		doc_free(d);
	}
}

static void keys_of_proxies_match_exactly_or_else_folded(void **state)
{
	struct doc *d = load(
		"{Server_Name: folded, server-name: exact, UP_MBPS: 3, \xc5\xbf\xe2\x84\xaaip: long s and Kelvin}");
	(void)state;

	assert_string_equal(doc_text(doc_find(d, d->root, "server-name")), "exact");
	assert_string_equal(doc_text(doc_find(d, d->root, "up-mbps")), "3");
	assert_string_equal(doc_text(doc_find(d, d->root, "skip")), "long s and Kelvin");
	assert_null(doc_find(d, d->root, "upmbps"));
	assert_null(doc_find(d, NULL, "k"));
	assert_null(doc_find(d, doc_find(d, d->root, "up-mbps"), "k"));
	doc_free(d);
}

static void only_the_first_document_counts_and_lines_are_kept(void **state)
{
	struct doc *d = load("# c\na: 1\nb:\n- x\n- y: 2\n---\na: 3\n--- [\n");
	const struct doc_item *second;
	(void)state;

	assert_string_equal(doc_text(doc_get(d, d->root, "a")), "1");
	assert_int_equal(doc_get(d, d->root, "a")->line, 2);
	second = doc_first(doc_get(d, d->root, "b"))->next;
	assert_int_equal(second->value->line, 5);
	assert_null(second->next);
	doc_free(d);
}

/* Each was asked of go-yaml v3. */
static void go_yaml_s_first_document_is_ours(void **state)
{
	static const struct {
		const char *text, *value; /* of k; NULL = the document is refused */
	} rows[] = {
		{ "--- {k: v}", "v" },
		{ "%YAML 1.1\n---\nk: v\n", "v" },
		{ "%TAG !y! tag:yaml.org,2002:\n---\nk: !y!str v\n", "v" },
		{ "# c\n---\n# d\nk: v # e\n", "v" },
		{ "k: v\n--- [\n", "v" },
		{ "--- !!map\nk: v\n", "v" },
		{ "!mine {k: v}", "v" },
		{ "? k\n: v\n", "v" },
		{ "{\n\t\"k\":\n\t\"v\"\n}", "v" },
		{ "{\"k\":\"v\",}", "v" },
		{ "k: a\n  b\n\n  c\n", "a b\nc" },
		{ "k: \"a\\\n  b\"", "ab" },
		{ "k: >-\n  a\n  b\n", "a b" },
		{ "k: |2\n    a\n", "  a\n" },
		{ "k: v\t# c\n", "v" },
		{ "k: 2001:db8::1\n", "2001:db8::1" },
		{ "k: ::1\n", "::1" },
		{ "{k: 2001:db8::, j: 1}", "2001:db8::" },
		{ "{k: 2001:db8::}", "2001:db8::" },
		{ "{j: [a:, b :], k: v}", "v" },
		{ "{j:, k: v}", "v" },
		{ "k: \"it\\'s\"\n", "it's" },
		{ "{\"j\":\"\\\\\",\"k\":\"it\\'s \\\"x\\\"\"}", "it's \"x\"" },
		{ "{j: 'a\\', k: \"b\\'c\"}", "b'c" },
		{ "{j: 'it''s \"', k: \"b\\'c\"}", "b'c" },
		{ "{j: it's\\', k: \"b\\'c\"}", "b'c" },
		{ "k: a\\'b\n", "a\\'b" },
		{ "k: 'a\\'\n", "a\\" },
		{ "k: v\n\xef\xbb\xbfj: w\n", "v" },
		{ "j: [\n\xef\xbb\xbfx]\nk: v\n", "v" },
		{ "{k: \"a:,b:]\"}", "a:,b:]" },
		{ "k: a:,b:]\n", "a:,b:]" },
		{ "k: |-\n  a:, b:}\n", "a:, b:}" },
		{ "{k: v, j: \"x\"} # a:,\n", "v" },
		{ "{\"j\" :, k: v}", "v" },
		{ "\tk: v\n", NULL },
		{ "k: v\n\tj: w\n", NULL },
		{ "{k: v", NULL },
		{ "k: v: w\n", NULL },
		{ "k: @v\n", NULL },
		{ "k: *v\n", NULL },
		{ "k: %v\n", NULL },
		{ "%YAML 2.0\n---\nk: v\n", NULL },
		{ "k: v\n\x01", NULL },
		{ "k: \xc0\x80\n", NULL },
		{ "...\n---\nk: v\n", NULL },
		{ "k: v\n\t\n", NULL },
		{ "\t{\"k\": \"v\"}", NULL },
		{ "k: v\n---\n\1", NULL },
		{ "%MINE x\n---\nk: v\n", NULL },
		/* go-yaml refuses these: we may see more */
		{ "---\nk: v\n...\n@@@\n", "v" },
		{ "%YAML 1.2\n---\nk: v\n", "v" },

		{ "{\"k\":\"\\/\"}", "/" },

	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = NULL;
		struct err e = ERR_INIT;
		uint32_t line;
		int r = doc_load(&d, rows[i].text, strlen(rows[i].text), &line, &e);
		const char *text = r == 0 ? doc_text(doc_get(d, d->root, "k")) : NULL;

		if (rows[i].value ? !text || strcmp(text, rows[i].value) != 0 : r != -EINVAL)
			fail_msg("%s: %s %s", rows[i].text, text ? text : "none", e.msg);
		if (r == 0)
			doc_free(d);
	}
}

/* go-yaml refuses the document only when it comes to such a place. */
static void an_anchor_within_itself_means_nothing(void **state)
{
	struct doc *d = load("x: &x [*x, {<<: *x}]\ny: &y {<<: *y, k: v}");
	(void)state;

	assert_true(doc_is_null(doc_first(doc_get(d, d->root, "x"))->value));
	assert_string_equal(doc_text(doc_get(d, doc_get(d, d->root, "y"), "k")), "v");
	assert_null(doc_get(d, doc_get(d, d->root, "y"), "j"));
	doc_free(d);
}

static void encodings_and_line_ends_do_not_matter(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = { { "\xef\xbb\xbf"
		       "a: 1",
		       7 },
		     { "\xff\xfe"
		       "a\0:\0 \0"
		       "1\0",
		       10 },
		     { "\xfe\xff"
		       "\0a\0:\0 \0"
		       "1",
		       10 },
		     { "x: 2\r\na: 1\r\n", 12 },
		     { "x: 2\ra: 1\r", 10 } };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d;
		uint32_t line;

		assert_int_equal(doc_load(&d, rows[i].bytes, rows[i].len, &line, NULL), 0);
		assert_string_equal(doc_text(doc_get(d, d->root, "a")), "1");
		doc_free(d);
	}
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
	static const struct {
		const char *text;
		uint32_t line;
	} rows[] = { { "a: 1\nb: [", 2 },    { "a: 1\n\tb: 2", 2 },    { "a: *x", 1 },
		     { "a: 1\nb: \x01", 2 }, { "a: 1\nb: \xff\n", 2 }, { "a: @b", 1 } };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct err e = ERR_INIT;
		struct doc *d = NULL;
		uint32_t line = 0;

		assert_int_equal(doc_load(&d, rows[i].text, strlen(rows[i].text), &line, &e), -EINVAL);
		assert_true(e.msg[0] != '\0');
		if (line != rows[i].line && line != rows[i].line + 1)
			fail_msg("%s: line %u, %s", rows[i].text, line, e.msg);
	}
}

static void an_empty_stream_has_no_root(void **state)
{
	static const char *const rows[] = { "", "\n\n", "# only this\n" };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = load(rows[i]);

		assert_null(d->root);
		assert_null(doc_get(d, d->root, "k"));
		doc_free(d);
	}
}

static void an_alias_bomb_costs_milliseconds(void **state)
{
	char text[8192];
	int64_t before = cpu_ms();
	struct doc *d;
	int n = 0;
	(void)state;

	n += sprintf(text + n, "m0: &m0 {j: 1}\n");
	for (int i = 1; i < 40; i++)
		n += sprintf(text + n, "m%d: &m%d {<<: [*m%d, *m%d, *m%d, *m%d]}\n", i, i, i - 1, i - 1, i - 1, i - 1);
	d = load(text);
	for (int i = 0; i < 100; i++) {
		assert_null(doc_get(d, doc_get(d, d->root, "m39"), "k"));
		assert_non_null(doc_get(d, doc_get(d, d->root, "m39"), "j"));
	}
	doc_free(d);
	assert_true(cpu_ms() - before < 500);
}

static void merges_of_a_huge_map_are_given_up_and_said_so(void **state)
{
	size_t cap = 4u << 20, n = 0;
	char *text = malloc(cap);
	struct doc *d;
	(void)state;

	assert_non_null(text);
	n += (size_t)sprintf(text + n, "b: &b\n");
	for (int i = 0; i < 20000; i++)
		n += (size_t)sprintf(text + n, "  k%d: 1\n", i);
	n += (size_t)sprintf(text + n, "l:\n");
	for (int i = 0; i < 20000; i++)
		n += (size_t)sprintf(text + n, "- {<<: *b}\n");
	d = load(text);
	free(text);
	for (const struct doc_item *i = doc_first(doc_get(d, d->root, "l")); i; i = i->next)
		doc_get(d, i->value, "server");
	assert_true(d->exhausted);
	doc_free(d);
}

static void depth_is_bounded(void **state)
{
	char text[3 * DOC_DEPTH_MAX];
	struct doc *d = NULL;
	uint32_t line;
	(void)state;

	memset(text, '[', DOC_DEPTH_MAX + 1);
	memset(text + DOC_DEPTH_MAX + 1, ']', DOC_DEPTH_MAX + 1);
	assert_int_equal(doc_load(&d, text, 2 * (DOC_DEPTH_MAX + 1), &line, NULL), -E2BIG);
	assert_int_equal(doc_load(&d, text + 1, 2 * DOC_DEPTH_MAX, &line, NULL), 0);
	doc_free(d);
}

static void the_number_of_nodes_is_bounded(void **state)
{
	size_t len = 2 * (size_t)DOC_NODES_MAX + 8;
	char *text = malloc(len);
	struct err e = ERR_INIT;
	struct doc *d = NULL;
	uint32_t line;
	(void)state;

	assert_non_null(text);
	text[0] = '[';
	for (size_t i = 1; i < len; i++)
		text[i] = i % 2 ? 'a' : ',';
	assert_int_equal(doc_load(&d, text, len, &line, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "nodes"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_follow_the_rules_of_go_yaml),
		cmocka_unit_test(keys_of_proxies_match_exactly_or_else_folded),
		cmocka_unit_test(go_yaml_s_first_document_is_ours),
		cmocka_unit_test(an_anchor_within_itself_means_nothing),
		cmocka_unit_test(only_the_first_document_counts_and_lines_are_kept),
		cmocka_unit_test(encodings_and_line_ends_do_not_matter),
		cmocka_unit_test(what_is_wrong_is_told_with_its_line),
		cmocka_unit_test(an_empty_stream_has_no_root),
		cmocka_unit_test(an_alias_bomb_costs_milliseconds),
		cmocka_unit_test(merges_of_a_huge_map_are_given_up_and_said_so),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(the_number_of_nodes_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
