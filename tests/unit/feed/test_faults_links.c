/* links without memory: a list of them is whole or not at all. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing.h"
#include "seen.h"

/* cJSON calls malloc within its own library: its hooks lead here. */
static void *json_malloc(size_t size)
{
	return malloc(size);
}

/* vmess (JSON), vless with a second server (JSON), ssr and mierus (parameters). */
static const char plain[] =
	"vmess://eyJwcyI6ImEiLCJhZGQiOiJhLmV4YW1wbGUiLCJwb3J0IjoxfQ\n"
	"vless://u@b.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22port%22%3A8443%7D%7D\n"
	"ssr://Yy5leGFtcGxlOjE6YTpiOmM6ZC8/cmVtYXJrcz1h\n"
	"mierus://d.example?port=1&protocol=TCP\n";

static const char in_base64[] = "dHJvamFuOi8vcEBhLmV4YW1wbGU6MQ==";

static void lists_are_whole_or_refused(const char *bytes, unsigned all)
{
	bool failed = true;
	long n;

	for (n = 0; failed; n++) {
		struct seen s;
		int r;

		fail_allocation(n);
		r = seen_parse(bytes, strlen(bytes), &s);
		failed = allocations_work();
		assert_int_equal(r, failed ? -EINVAL : 0);
		assert_int_equal(s.skipped, failed);
		assert_string_equal(s.reason, failed ? "out of memory" : "");
		assert_true(failed ? s.found < all : s.found == all);
	}
	assert_true(n > 2);
}

static void a_list_of_links_is_whole_or_refused(void **state)
{
	cJSON_Hooks hooks = { json_malloc, free };
	(void)state;

	cJSON_InitHooks(&hooks);
	lists_are_whole_or_refused(plain, 5);
	lists_are_whole_or_refused(in_base64, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_list_of_links_is_whole_or_refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
