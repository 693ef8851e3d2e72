/* doc_load_stream: the same elements as a tree would have, in little memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "parse/feed/mihomo_yaml.h"
#include "parse/feed/provider.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define MANY 100000

static void found(void *ctx, const struct endpoint *ep)
{
	(void)ep;
	++*(unsigned *)ctx;
}

static void skipped(void *ctx, uint32_t line, const char *reason)
{
	(void)ctx;
	fail_msg("line %u: %s", line, reason);
}

static char *many_entries(size_t *len_out)
{
	size_t cap = (size_t)MANY * 160;
	char *text = malloc(cap);
	size_t n;

	assert_non_null(text);
	n = (size_t)sprintf(text, "base: &base {udp: true}\nproxies:\n");
	for (unsigned i = 0; i < MANY; i++)
		n += (size_t)snprintf(text + n, cap - n,
				      "- {<<: *base, name: \"node %u\", type: ss, server: 45.%u.%u.%u, port: 8388, "
				      "cipher: aes-128-gcm, password: secret}\n",
				      i, i >> 16 & 255, i >> 8 & 255, i & 255);
	*len_out = n;
	return text;
}

/* First in this program: the peak is the process's. */
static void a_hundred_thousand_entries_take_little_memory(void **state)
{
	struct rusage before, after;
	unsigned n = 0;
	const struct endpoint_sink sink = { &n, found, skipped };
	size_t len;
	char *text = many_entries(&len);
	(void)state;

	assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
	assert_int_equal(provider_parse(text, len, &sink), 0);
	assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
	assert_int_equal(n, MANY);
	if (!SANITIZED && after.ru_maxrss - before.ru_maxrss > 2048) /* KiB */
		fail_msg("%ld KiB more", after.ru_maxrss - before.ru_maxrss);
	free(text);
}

struct seen {
	char names[256]; /* " NAME" of each element, "?" for what has none */
	uint32_t most_nodes;
};

static void see(void *ctx, struct doc *d, struct doc_node *element)
{
	struct seen *s = ctx;
	const char *name = doc_text(doc_get(d, element, "name"));
	size_t used = strlen(s->names);

	snprintf(s->names + used, sizeof(s->names) - used, " %s", name ? name : "?");
	if (d->nodes > s->most_nodes)
		s->most_nodes = d->nodes;
}

static void elements_are_told_once_and_in_order_wherever_they_come_from(void **state)
{
	static const struct {
		const char *what, *text, *names;
	} rows[] = {
		{ "block", "a: 1\nproxies:\n- name: x\n  p: [1, {q: r}]\n- {name: y}\nb: 2\n", " x y" },
		{ "flow", "{proxies: [{name: x}, {name: y}]}", " x y" },
		{ "JSON", "{\"a\":[{\"name\":\"z\"}],\"proxies\":[{\"name\":\"x\"}]}", " x" },
		{ "an explicit key", "? proxies\n: - {name: x}\n", " x" },
		{ "others of that name",
		  "g:\n- {name: g, proxies: [{name: z}]}\nproxies:\n- {name: x, proxies: [{name: z}]}\n", " x" },
		{ "scalars and lists", "proxies: [a, [b], ~, {name: x}]", " ? ? ? x" },
		{ "none", "proxies: []", "" },
		{ "null", "proxies:\n", "" },
		{ "a map", "proxies: {name: x}", "" },
		{ "text", "proxies: x", "" },
		{ "no such key", "proxy: [{name: x}]", "" },
		{ "the root is a list", "- proxies: [{name: x}]\n", "" },
		{ "an empty stream", "", "" },
		{ "an anchored list", "proxies: &p [{name: x}, {name: y}]\ng: *p\n", " x y" },
		{ "an alias", "p: &p [{name: x}, {name: y}]\nproxies: *p\n", " x y" },
		{ "a merge at the root", "p: &p {proxies: [{name: x}]}\n<<: *p\n", " x" },
		{ "a merge at the root is overridden", "p: &p {proxies: [{name: x}]}\n<<: *p\nproxies: [{name: y}]\n",
		  " y" },
		{ "the earlier merge", "p: &p {proxies: [{name: x}]}\nq: &q {proxies: [{name: y}]}\n<<: [*q, *p]\n",
		  " y" },
		{ "merges from before", "d: &d {name: x}\nproxies: [{<<: *d}, *d]\n", " x x" },
		{ "merges among them", "proxies:\n- &d {name: x}\n- {a: b}\n- {<<: *d, c: d}\n- *d\n", " x ? x x" },
		{ "an anchor deep in one", "proxies: [{a: [&n {name: x}]}, {name: y}, *n]\n", " ? y x" },
		{ "an anchored scalar", "proxies: [{name: &n x}, {name: *n}]\n", " x x" },
		{ "the second document", "proxies: [{name: x}]\n---\nproxies: [{name: y}]\n", " x" },
		{ "a tag", "proxies: !!seq [!!map {name: x}]\n", " x" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s = { 0 };
		const struct doc_stream stream = { "proxies", see, &s };
		struct err e = ERR_INIT;
		struct doc *d;
		uint32_t line;

		if (doc_load_stream(&d, rows[i].text, strlen(rows[i].text), &stream, &line, &e) < 0)
			fail_msg("%s: %s", rows[i].what, e.msg);
		if (strcmp(s.names, rows[i].names) != 0)
			fail_msg("%s:%s", rows[i].what, s.names);
		doc_free(d);
	}
}

static void the_rest_of_the_document_is_in_the_tree(void **state)
{
	static const char text[] = "a: &a {k: v}\nproxies:\n- &n {name: x, <<: *a}\n- {name: y}\nb: *n\nc: [1, 2]\n";
	struct seen s = { 0 };
	const struct doc_stream stream = { "proxies", see, &s };
	struct doc *d;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load_stream(&d, text, sizeof(text) - 1, &stream, &line, NULL), 0);
	assert_string_equal(s.names, " x y");
	assert_string_equal(doc_text(doc_get(d, doc_get(d, d->root, "b"), "k")), "v");
	assert_int_equal(doc_get(d, d->root, "c")->len, 2);
	assert_int_equal(d->root->len, 4);
	assert_int_equal(doc_get(d, d->root, "proxies")->len, 2);
	assert_null(doc_first(doc_get(d, d->root, "proxies")));
	doc_free(d);
}

static void what_was_told_is_forgotten(void **state)
{
	struct seen s = { 0 };
	const struct doc_stream stream = { "proxies", see, &s };
	size_t len;
	char *text = many_entries(&len);
	struct doc *d;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load_stream(&d, text, len, &stream, &line, NULL), 0);
	assert_true(s.most_nodes < 32);
	assert_true(d->nodes < 16);
	doc_free(d);
	free(text);
}

static void no_element_is_told_behind_an_error(void **state)
{
	static const char text[] = "proxies:\n- {name: x}\n- {name: y}}\n- {name: z}\n";
	struct seen s = { 0 };
	const struct doc_stream stream = { "proxies", see, &s };
	struct doc *d = NULL;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load_stream(&d, text, sizeof(text) - 1, &stream, &line, NULL), -EINVAL);
	assert_null(d);
	assert_string_equal(s.names, " x y");
	assert_int_equal(line, 3);
}

static void keep_marks(void *ctx, enum wire_setting key, const char *value)
{
	char *text = ctx;

	if (key == WIRE_SET_ROUTING_MARK)
		snprintf(text + strlen(text), 64, "%s;", value);
}

static void routing_marks_of_streamed_proxies_are_found(void **state)
{
	static const char *const rows[] = {
		"proxies:\n- {routing-mark: 7}\n- {Routing_Mark: 0x8}\n- {routing-mark: 7}\n",
		"proxies: &p\n- {routing-mark: 7}\n- {routing-mark: '8'}\n",
		"p: &p {routing-mark: 7}\nproxies:\n- *p\n- {<<: *p, routing-mark: 8}\n",
	};
	static const char *const want[] = { "7 2;8 3;", "7 2;8 3;", "7 1;8 4;" };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		char told[256] = "";
		uint32_t line;

		assert_int_equal(mihomo_settings(rows[i], strlen(rows[i]), "/home", keep_marks, told, &line, NULL), 0);
		assert_string_equal(told, want[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hundred_thousand_entries_take_little_memory),
		cmocka_unit_test(elements_are_told_once_and_in_order_wherever_they_come_from),
		cmocka_unit_test(the_rest_of_the_document_is_in_the_tree),
		cmocka_unit_test(what_was_told_is_forgotten),
		cmocka_unit_test(no_element_is_told_behind_an_error),
		cmocka_unit_test(routing_marks_of_streamed_proxies_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
