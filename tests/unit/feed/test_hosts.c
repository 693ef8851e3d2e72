/* hosts: names that Mihomo asks nobody for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/hosts.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define V4 (1u << IP_V4)
#define V6 (1u << IP_V6)
#define ASK "ask"

static struct hosts *load(const char *yaml)
{
	struct err e = ERR_INIT;
	struct hosts *h = NULL;
	struct doc *d = NULL;
	uint32_t line;

	if (yaml && doc_load(&d, yaml, strlen(yaml), &line, &e) < 0)
		fail_msg("line %u: %s", line, e.msg);
	assert_int_equal(hosts_new(&h, d), 0);
	doc_free(d);
	return h;
}

/* Addresses with a blank behind each, or ASK. */
static const char *find(const struct hosts *h, const char *name, uint8_t families, char out[512])
{
	struct addr addrs[8];
	char text[ADDR_TEXT];
	int n = hosts_find(h, name, families, addrs, COUNT(addrs));

	out[0] = '\0';
	for (int i = 0; i < n; i++)
		strcat(strcat(out, addr_text(&addrs[i], text)), " ");
	return n == -ENOENT ? ASK : out;
}

static void check(const struct hosts *h, const char *name, uint8_t families, const char *want)
{
	char out[512];

	if (strcmp(find(h, name, families, out), want) != 0)
		fail_msg("%s: %s", name, out);
}

/* F53: the config decides what a node's name means. */
static void names_are_looked_up_as_mihomo_does(void **state)
{
	struct hosts *h = load("hosts:\n"
			       "  a.example: 192.0.2.1\n"
			       "  B.example: [192.0.2.2, '2001:db8::2', '::ffff:192.0.2.22']\n"
			       "  one.example: [192.0.2.3]\n"
			       "  c.example: A.example\n"
			       "  cc.example: .c.example.\n"
			       "  d.example: elsewhere.example\n"
			       "  e.example: f.example\n"
			       "  f.example: e.example\n"
			       "  '*.g.example': 192.0.2.4\n"
			       "  '+.h.example': 192.0.2.5\n"
			       "  '.i.example': 192.0.2.6\n"
			       "  lan.example: lan\n"
			       "  lans.example: [lan]\n"
			       "  j.example: x.h.example\n"
			       "  '+.k.example': l.k.example\n"
			       "  bad1.example: word\n"
			       "  bad2.example: [192.0.2.7, a.example]\n"
			       "  bad3.example: {x: y}\n"
			       "  bad4.example: []\n"
			       "  bad5.example: 5\n"
			       "  bad6.example.: 192.0.2.8\n"
			       "  ? [x]\n  : 192.0.2.9\n"
			       "  b\xc3\xbc"
			       "cher.example: 192.0.2.10\n");
	static const struct {
		const char *name, *want;
	} rows[] = {
		{ "a.example", "192.0.2.1 " },
		{ "A.Example", "192.0.2.1 " },
		{ "a.example.", ASK },
		{ "b.example", "192.0.2.2 2001:db8::2 192.0.2.22 " },
		{ "one.example", "192.0.2.3 " },
		{ "c.example", "192.0.2.1 " },
		{ "cc.example", "192.0.2.1 " },
		{ "d.example", ASK },
		{ "e.example", ASK },
		{ "x.g.example", "192.0.2.4 " },
		{ "g.example", ASK },
		{ "x.y.g.example", ASK },
		{ "h.example", "192.0.2.5 " },
		{ "x.y.h.example", "192.0.2.5 " },
		{ "i.example", ASK },
		{ "x.i.example", "192.0.2.6 " },
		{ "lan.example", "" },
		{ "lans.example", "" },
		{ "j.example", "192.0.2.5 " },
		{ "k.example", ASK },
		{ "bad1.example", ASK },
		{ "bad2.example", ASK },
		{ "bad3.example", ASK },
		{ "bad4.example", ASK },
		{ "bad5.example", ASK },
		{ "bad6.example", ASK },
		{ "b\xc3\xbc"
		  "cher.example",
		  "192.0.2.10 " },
		{ "localhost", "127.0.0.1 " },
		{ "n.example", ASK },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++)
		check(h, rows[i].name, V4 | V6, rows[i].want);
	hosts_free(h);
}

static void one_family_alone_is_asked_for_when_hosts_has_the_other(void **state)
{
	struct hosts *h = load("hosts: {a.example: 192.0.2.1, b.example: ['2001:db8::1', 192.0.2.2]}");
	(void)state;

	check(h, "a.example", V4, "192.0.2.1 ");
	check(h, "a.example", V6, ASK);
	check(h, "b.example", V6, "2001:db8::1 ");
	check(h, "b.example", V4, "192.0.2.2 ");
	hosts_free(h);
}

static void merged_maps_give_way_to_what_is_written_out(void **state)
{
	struct hosts *h = load("x: &x {a.example: 192.0.2.1, b.example: 192.0.2.2, c.example: 192.0.2.3}\n"
			       "y: &y {b.example: 192.0.2.4, d.example: 192.0.2.5}\n"
			       "hosts: {a.example: 192.0.2.9, <<: [*y, *x]}\n");
	(void)state;

	check(h, "a.example", V4 | V6, "192.0.2.9 ");
	check(h, "b.example", V4 | V6, "192.0.2.4 ");
	check(h, "c.example", V4 | V6, "192.0.2.3 ");
	check(h, "d.example", V4 | V6, "192.0.2.5 ");
	hosts_free(h);
}

static void a_bomb_of_merges_and_aliases_ends(void **state)
{
	char yaml[8192] = "l0: &l0 {a.example: 192.0.2.1}\n", line[1024];
	struct hosts *h;
	(void)state;

	for (int i = 1; i <= 8; i++) {
		snprintf(line, sizeof(line), "l%d: &l%d {", i, i);
		for (int k = 0; k < 10; k++)
			snprintf(line + strlen(line), sizeof(line) - strlen(line), "<<: [*l%d, *l%d], ", i - 1, i - 1);
		strcat(strcat(yaml, line), "}\n");
	}
	strcat(yaml, "hosts: *l8\n");
	h = load(yaml);
	check(h, "localhost", V4 | V6, "127.0.0.1 ");
	hosts_free(h);
}

static void the_systems_file_is_read_as_mihomo_reads_it(void **state)
{
	static const char file[] = "# comment\n"
				   "192.0.2.1 a.example alias # 192.0.2.99 x\n"
				   "  192.0.2.2\tB.EXAMPLE.\r\n"
				   "2001:db8::1 a.example\n"
				   "not-an-address n.example\n"
				   "192.0.2.3\n"
				   "fe80::1%eth0 zone.example\n"
				   "192.0.2.4 dot.\n"
				   "::ffff:192.0.2.5 mapped.example\n"
				   "010.0.0.1 octal.example\n"
				   "192.0.2.6 own.example\0nul.example\n"
				   "192.0.2.7 last.example";
	struct hosts *h = load("hosts: {own.example: elsewhere.example, x.example: a.example}");
	static const struct {
		const char *name, *want;
	} rows[] = { { "a.example", "192.0.2.1 2001:db8::1 " },
		     { "A.example.", "192.0.2.1 2001:db8::1 " },
		     { "alias", "192.0.2.1 " },
		     { "x", ASK },
		     { "b.example", "192.0.2.2 " },
		     { "n.example", ASK },
		     { "zone.example", ASK },
		     { "dot", ASK },
		     { "dot.", "192.0.2.4 " },
		     { "mapped.example", "192.0.2.5 " },
		     { "octal.example", ASK },
		     { "own.example", ASK }, /* the config has it, and no address */
		     { "x.example", ASK },   /* names of the config lead to names of the config only */
		     { "last.example", "192.0.2.7 " } };
	(void)state;

	assert_int_equal(hosts_add_system(h, file, sizeof(file) - 1), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[512];

		/* which of two comes first is no matter */
		if (strlen(find(h, rows[i].name, V4 | V6, out)) != strlen(rows[i].want))
			fail_msg("%s: %s", rows[i].name, out);
	}
	check(h, "a.example", V6, "2001:db8::1 ");
	check(h, "b.example", V6, ASK);
	hosts_free(h);
}

static void without_a_config_only_localhost_is_known(void **state)
{
	struct hosts *h = load(NULL);
	(void)state;

	check(h, "localhost", V4 | V6, "127.0.0.1 ");
	check(h, "a.example", V4 | V6, ASK);
	assert_int_equal(hosts_add_system(h, "", 0), 0);
	check(h, "a.example", V4 | V6, ASK);
	hosts_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_looked_up_as_mihomo_does),
		cmocka_unit_test(one_family_alone_is_asked_for_when_hosts_has_the_other),
		cmocka_unit_test(merged_maps_give_way_to_what_is_written_out),
		cmocka_unit_test(a_bomb_of_merges_and_aliases_ends),
		cmocka_unit_test(the_systems_file_is_read_as_mihomo_reads_it),
		cmocka_unit_test(without_a_config_only_localhost_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
