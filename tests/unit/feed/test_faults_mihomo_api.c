/* Mihomo's answers without memory: refused as a whole, and nothing of them is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "failing.h"
#include "parse/feed/mihomo_api.h"

static const char answer[] =
	"{\"proxies\":{\"a\":{\"name\":\"a\",\"type\":\"Trojan\",\"history\":[{\"delay\":1}]}},"
	"\"connections\":[{\"chains\":[\"a\"],\"metadata\":{\"remoteDestination\":\"203.0.113.7\"}}]}";

static void *our_malloc(size_t size)
{
	return malloc(size);
}

static void on_proxy(void *ctx, const struct mihomo_proxy *p)
{
	(void)p;
	++*(int *)ctx;
}

static void on_connection(void *ctx, const struct mihomo_connection *c)
{
	(void)c;
	++*(int *)ctx;
}

static void an_answer_is_read_whole_or_not_at_all(void **state)
{
	cJSON_Hooks hooks = { .malloc_fn = our_malloc, .free_fn = free };
	bool failed = true;
	long n;
	(void)state;

	cJSON_InitHooks(&hooks);
	for (n = 0; failed; n++) {
		int proxies = 0, connections = 0, r, s;

		fail_allocation(n);
		r = mihomo_proxies(answer, sizeof(answer) - 1, on_proxy, &proxies);
		failed = allocations_work();
		fail_allocation(n);
		s = mihomo_connections(answer, sizeof(answer) - 1, on_connection, &connections);
		assert_int_equal(allocations_work(), failed);
		assert_int_equal(r, failed ? -EINVAL : 0);
		assert_int_equal(s, r);
		assert_int_equal(proxies, failed ? 0 : 1);
		assert_int_equal(connections, proxies);
	}
	assert_true(n > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(an_answer_is_read_whole_or_not_at_all) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
