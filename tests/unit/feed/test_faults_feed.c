/* hostile bytes without memory: an error and its reason, and what was found is never taken for all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing.h"
#include "parse/feed/mihomo_yaml.h"
#include "seen.h"

/* libyaml allocates by these exported functions of its own: the program's come first. */
void *yaml_malloc(size_t size);
void *yaml_realloc(void *p, size_t size);
char *yaml_strdup(const char *s);

void *yaml_malloc(size_t size)
{
	return malloc(size ? size : 1);
}

void *yaml_realloc(void *p, size_t size)
{
	return realloc(p, size ? size : 1);
}

char *yaml_strdup(const char *s)
{
	return s ? strdup(s) : NULL;
}

static const char config[] = "mode: rule\n"
			     "base: &base {type: ss, port: 8388}\n"
			     "proxies:\n"
			     "- {<<: *base, name: a, server: n1.example.net}\n"
			     "- {<<: *base, name: b, server: 45.0.0.1}\n";

static void a_document_is_whole_or_not_at_all(void **state)
{
	bool failed = true;
	long n;
	(void)state;

	for (n = 0; failed; n++) {
		struct err e = ERR_INIT;
		struct doc *d = NULL;
		uint32_t line;
		int r;

		fail_allocation(n);
		r = doc_load(&d, config, sizeof(config) - 1, &line, &e);
		failed = allocations_work();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_string_equal(e.msg, failed ? "out of memory" : "");
		assert_true(failed ? !d : doc_get(d, d->root, "proxies")->len == 2);
		doc_free(d);
	}
	assert_true(n > 50); /* libyaml's own are among them */
}

static void a_provider_that_could_not_be_read_is_not_taken_for_an_empty_one(void **state)
{
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct seen seen;
		int r;

		fail_allocation(n);
		r = seen_parse(config, sizeof(config) - 1, &seen);
		failed = allocations_work();
		assert_int_equal(r, failed ? -EINVAL : 0);
		assert_true(failed || seen.found == 2); /* what was found before counts for nothing */
		assert_int_equal(seen.skipped, failed);
		if (failed)
			assert_string_equal(seen.reason, "out of memory");
	}
}

static void ignore(void *ctx, enum wire_setting key, const char *value)
{
	(void)key;
	(void)value;
	(*(int *)ctx)++;
}

static void without_memory_no_setting_is_told(void **state)
{
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct err e = ERR_INIT;
		int told = 0, r;
		uint32_t line;

		fail_allocation(n);
		r = mihomo_settings(config, sizeof(config) - 1, "/home", ignore, &told, &line, &e);
		failed = allocations_work();
		assert_true(r == 0 ? told > 0 : told == 0 && r == -ENOMEM && failed);
	}
}

static void without_memory_no_line_is_appended(void **state)
{
	struct doc *d = NULL;
	bool failed = true;
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load(&d, config, sizeof(config) - 1, &line, NULL), 0);
	for (long n = 0; failed; n++) {
		const char *obstacle;

		fail_allocation(n);
		obstacle = mihomo_append_obstacle(d, config, sizeof(config) - 1);
		failed = allocations_work();
		assert_true(failed == (obstacle != NULL));
	}
	doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_document_is_whole_or_not_at_all),
		cmocka_unit_test(a_provider_that_could_not_be_read_is_not_taken_for_an_empty_one),
		cmocka_unit_test(without_memory_no_setting_is_told),
		cmocka_unit_test(without_memory_no_line_is_appended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
