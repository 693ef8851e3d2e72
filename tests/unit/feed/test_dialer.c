/* dialer: which servers behind a dialer-proxy are dialled from here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/dialer.h"

static const char config[] = "proxy-groups:\n"
			     "- {name: relay, type: select, proxies: [n1, n2]}\n"
			     "- {name: choice, type: select, proxies: [n1, DIRECT]}\n"
			     "- {name: outer, type: select, proxies: [relay, choice]}\n"
			     "- {name: a, type: select, proxies: [b]}\n"
			     "- {name: b, type: select, proxies: [a, a, a]}\n"
			     "- {name: used, type: select, use: [p]}\n";

static void a_dialer_leads_back_only_through_direct(void **state)
{
	static const struct {
		const char *name;
		bool direct;
	} rows[] = { { "", true },	 { "DIRECT", true },	 { "n1", false },    { "relay", false },
		     { "choice", true }, { "outer", true },	 { "used", false },  { "nobody", false },
		     { "GLOBAL", true }, { "COMPATIBLE", true }, { "REJECT", false } };
	struct dialers *dialers;
	struct doc *d;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load(&d, config, strlen(config), &line, NULL), 0);
	assert_int_equal(dialers_new(&dialers, d), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (dialers_direct(dialers, rows[i].name) != rows[i].direct)
			fail_msg("\"%s\" must be %s", rows[i].name, rows[i].direct ? "direct" : "through a proxy");
	dialers_free(dialers);
	doc_free(d);
}

static void without_a_config_only_direct_itself_is_direct(void **state)
{
	(void)state;
	assert_true(dialers_direct(NULL, ""));
	assert_true(dialers_direct(NULL, "DIRECT"));
	assert_false(dialers_direct(NULL, "choice"));
}

/* Two groups in a circle, and as many as fit in one list that they share: the time is bounded. */
static void groups_that_name_each_other_come_to_an_end(void **state)
{
	enum { GROUPS = 20000 };
	char *text = malloc(GROUPS * 64), *at = text;
	struct dialers *dialers;
	struct doc *d;
	uint32_t line;
	(void)state;

	at += sprintf(
		at,
		"proxy-groups:\n- {name: a, proxies: [b]}\n- {name: b, proxies: [a, a]}\n- name: l\n  proxies: &l\n");
	for (int i = 0; i < GROUPS; i++)
		at += sprintf(at, "  - x%d\n", i);
	for (int i = 0; i < GROUPS; i++)
		at += sprintf(at, "- {name: g%d, proxies: *l}\n", i);
	assert_int_equal(doc_load(&d, text, strlen(text), &line, NULL), 0);
	assert_int_equal(dialers_new(&dialers, d), 0);
	assert_false(dialers_direct(dialers, "a"));
	assert_false(dialers_direct(dialers, "g1"));
	dialers_free(dialers);
	doc_free(d);
	free(text);
}

static void a_group_of_that_name_stands_for_global(void **state)
{
	static const char own[] = "proxy-groups: [{name: GLOBAL, proxies: [n1]}]";
	struct dialers *dialers;
	struct doc *d;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load(&d, own, strlen(own), &line, NULL), 0);
	assert_int_equal(dialers_new(&dialers, d), 0);
	assert_false(dialers_direct(dialers, "GLOBAL"));
	dialers_free(dialers);
	doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dialer_leads_back_only_through_direct),
		cmocka_unit_test(without_a_config_only_direct_itself_is_direct),
		cmocka_unit_test(groups_that_name_each_other_come_to_an_end),
		cmocka_unit_test(a_group_of_that_name_stands_for_global),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
