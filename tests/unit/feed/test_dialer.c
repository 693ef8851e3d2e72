/* dialer: which servers behind a dialer-proxy are dialled from here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
	} rows[] = { { "", true },	 { "DIRECT", true }, { "n1", false },	{ "relay", false },
		     { "choice", true }, { "outer", true },  { "used", false }, { "nobody", false } };
	struct doc *d;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load(&d, config, strlen(config), &line, NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (dialer_is_direct(d, rows[i].name) != rows[i].direct)
			fail_msg("\"%s\" must be %s", rows[i].name, rows[i].direct ? "direct" : "through a proxy");
	doc_free(d);
}

static void without_a_config_only_direct_itself_is_direct(void **state)
{
	(void)state;
	assert_true(dialer_is_direct(NULL, ""));
	assert_true(dialer_is_direct(NULL, "DIRECT"));
	assert_false(dialer_is_direct(NULL, "choice"));
}

static void groups_that_name_each_other_come_to_an_end(void **state)
{
	struct doc *d;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load(&d, config, strlen(config), &line, NULL), 0);
	assert_false(dialer_is_direct(d, "a"));
	doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dialer_leads_back_only_through_direct),
		cmocka_unit_test(without_a_config_only_direct_itself_is_direct),
		cmocka_unit_test(groups_that_name_each_other_come_to_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
