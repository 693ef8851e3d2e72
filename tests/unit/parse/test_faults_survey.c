/* survey_iptables and survey_nft without memory: an error with its sentence, and nothing is leaked. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "clashsup/survey_rules.h"
#include "failing.h"

static const struct survey_view view = { .port = 7893 };
static struct survey_rules rules;

static const char iptables[] = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j MORE\n-A MORE -j ACCEPT\nCOMMIT\n";
static const char nft[] =
	"{\"nftables\": [{\"chain\": {\"family\": \"inet\", \"table\": \"t\", \"name\": \"x\", \"type\":"
	" \"filter\", \"hook\": \"forward\", \"policy\": \"drop\"}}, {\"rule\": {\"family\": \"inet\","
	" \"table\": \"t\", \"chain\": \"x\", \"expr\": [{\"jump\": {\"target\": \"y\"}}]}}]}";

static int read_iptables(struct err *e)
{
	return survey_iptables(iptables, strlen(iptables), IP_V4, "iptables", &view, &rules, e);
}

static int read_nft(struct err *e)
{
	return survey_nft(nft, strlen(nft), &view, &rules, e);
}

static long walk(int (*read)(struct err *e))
{
	long n = 0;

	for (;; n++) {
		struct err e = ERR_INIT;
		int r;

		memset(&rules, 0, sizeof(rules));
		fail_allocation(n);
		r = read(&e);
		if (!allocations_work()) {
			assert_int_equal(r, 0);
			return n;
		}
		assert_true(r < 0);
		assert_int_equal(e.code, -r);
		assert_true(e.msg[0]);
	}
}

static void test_iptables_without_memory(void **state)
{
	(void)state;
	assert_int_equal(walk(read_iptables), 3); /* the graph, its chains, its rules */
}

static void test_nft_without_memory(void **state)
{
	cJSON_Hooks ours = { .malloc_fn = __wrap_malloc, .free_fn = free };
	(void)state;

	cJSON_InitHooks(&ours);
	assert_true(walk(read_nft) > 20);
	cJSON_InitHooks(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iptables_without_memory),
		cmocka_unit_test(test_nft_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
