/* fwplan without memory: every allocation fails once, and each time it is told and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/fwplan.h"
#include "failing.h"
#include "fwplan_options.h"

/* Jumps of others' making, more than one growth of their text takes. */
static char *long_save(size_t *len)
{
	char *text = malloc(64 * 1024);
	size_t n;

	assert_non_null(text);
	n = (size_t)sprintf(text, "*nat\n-A PREROUTING -j CLASH_DNS\nCOMMIT\n*mangle\n");
	for (int i = 0; i < 200; i++)
		n += (size_t)sprintf(text + n, "-A PREROUTING -i interface%d -m comment --comment x -j CLASH_TPROXY\n",
				     i);
	*len = n + (size_t)sprintf(text + n, "COMMIT\n");
	return text;
}

static void iptables_tells_that_memory_is_gone(void **state)
{
	struct option_plan o;
	size_t len;
	char *save = long_save(&len);
	long n = 0;
	int r;
	(void)state;

	option_everything(&o);
	do {
		struct err e = ERR_INIT;
		char *text = NULL;
		bool failed;

		fail_allocations_after(n++);
		r = fwplan_iptables(&o.p, OPTIONS_ALL, IP_V4, save, len, &text, &e);
		failed = allocations_work();
		assert_int_equal(r < 0, failed);
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			assert_null(text);
			assert_true(e.msg[0] != '\0');
		}
		free(text);
	} while (r < 0);
	assert_true(n > 4);
	free(save);
}

static void nft_tells_that_memory_is_gone(void **state)
{
	struct option_plan o;
	long n = 0;
	int r;
	(void)state;

	option_everything(&o);
	do {
		char *text = NULL;

		fail_allocations_after(n++);
		r = fwplan_nft(&o.p, OPTIONS_ALL, both_families, &text, NULL);
		assert_int_equal(r < 0, allocations_work());
		if (r < 0)
			assert_null(text);
		free(text);
	} while (r < 0);
	assert_true(n > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iptables_tells_that_memory_is_gone),
		cmocka_unit_test(nft_tells_that_memory_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
