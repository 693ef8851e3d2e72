/* hosts and the plan of name servers without memory: all or nothing, and nothing is left behind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing.h"
#include "parse/feed/hosts.h"
#include "parse/feed/mihomo_dns.h"

#define BOTH (1u << IP_V4 | 1u << IP_V6)

static struct doc *load(const char *text)
{
	struct doc *d;
	uint32_t line;

	assert_int_equal(doc_load(&d, text, strlen(text), &line, NULL), 0);
	return d;
}

static void hosts_are_whole_or_not_at_all(void **state)
{
	struct doc *d = load("hosts: {'+.a.example': [192.0.2.1, 192.0.2.2], b.example: x.a.example, c.d.e: lan}");
	static const char file[] = "192.0.2.3 s.example t.example\n";
	struct addr found[4];
	bool failed = true;
	long n;
	(void)state;

	for (n = 0; failed; n++) {
		struct hosts *h = NULL;
		int r;

		fail_allocation(n);
		r = hosts_new(&h, d);
		if (r == 0)
			r = hosts_add_system(h, file, sizeof(file) - 1);
		failed = allocations_work();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		if (!failed) {
			assert_int_equal(hosts_find(h, "b.example", BOTH, found, 4), 2);
			assert_int_equal(hosts_find(h, "t.example", BOTH, found, 4), 1);
		}
		hosts_free(h);
	}
	assert_true(n > 15);
	doc_free(d);
}

static void the_plan_is_whole_or_not_at_all(void **state)
{
	struct doc *d =
		load("dns: {enable: true, proxy-server-nameserver: [192.0.2.1], "
		     "proxy-server-nameserver-policy: {'+.a.example,b.example': 192.0.2.2, c.example: system}}");
	const struct dns_group system = { .n = 0 };
	bool failed = true;
	long n;
	(void)state;

	for (n = 0; failed; n++) {
		struct dns_plan p;
		int r;

		fail_allocation(n);
		r = dns_plan_init(&p, d, &system);
		failed = allocations_work();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		if (failed)
			continue;
		assert_int_equal(dns_plan_group(&p, "x.a.example"), 1);
		dns_plan_deinit(&p);
	}
	assert_true(n > 5);
	doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_are_whole_or_not_at_all),
		cmocka_unit_test(the_plan_is_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
