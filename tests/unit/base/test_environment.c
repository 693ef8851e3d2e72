/* environment: names are taken out, replaced and added; nothing is copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clashsup/environment.h"
#include "clashsup/io.h"

static char *const ours[] = { "PATH=/bin", "A=1", "AB=2", "EMPTY=", "odd", NULL };

static void without_wishes_it_is_the_same(void **state)
{
	cleanup_free char **env = environment_make(ours, NULL, NULL);
	(void)state;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		assert_ptr_equal(env[i], ours[i]);
}

static void no_environment_at_all_is_an_empty_one(void **state)
{
	char *const more[] = { "A=1", NULL };
	cleanup_free char **none = environment_make(NULL, NULL, NULL);
	cleanup_free char **one = environment_make(NULL, NULL, more);
	(void)state;

	assert_null(none[0]);
	assert_string_equal(one[0], "A=1");
	assert_null(one[1]);
}

static void a_name_is_taken_out_whole_names_only(void **state)
{
	const char *const without[] = { "A", "odd", "PAT", NULL };
	cleanup_free char **env = environment_make(ours, without, NULL);
	(void)state;

	assert_string_equal(env[0], "PATH=/bin");
	assert_string_equal(env[1], "AB=2");
	assert_string_equal(env[2], "EMPTY=");
	assert_null(env[3]);
}

static void a_value_is_replaced_in_its_place_and_the_last_one_counts(void **state)
{
	char *const with[] = { "A=5", "NEW=x y,z", "A=6", "EMPTY=full", NULL };
	cleanup_free char **env = environment_make(ours, NULL, with);
	(void)state;

	assert_string_equal(env[1], "A=6");
	assert_string_equal(env[3], "EMPTY=full");
	assert_string_equal(env[5], "NEW=x y,z");
	assert_null(env[6]);
}

static void what_is_taken_out_can_be_given_anew(void **state)
{
	const char *const without[] = { "A", NULL };
	char *const with[] = { "A=mine", NULL };
	cleanup_free char **env = environment_make(ours, without, with);
	(void)state;

	assert_string_equal(environment_get(env, "A"), "mine");
}

static void a_value_is_found_by_its_whole_name(void **state)
{
	(void)state;

	assert_string_equal(environment_get(ours, "AB"), "2");
	assert_string_equal(environment_get(ours, "EMPTY"), "");
	assert_null(environment_get(ours, "PAT"));
	assert_null(environment_get(ours, "odd"));
	assert_null(environment_get(NULL, "A"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_wishes_it_is_the_same),
		cmocka_unit_test(no_environment_at_all_is_an_empty_one),
		cmocka_unit_test(a_name_is_taken_out_whole_names_only),
		cmocka_unit_test(a_value_is_replaced_in_its_place_and_the_last_one_counts),
		cmocka_unit_test(what_is_taken_out_can_be_given_anew),
		cmocka_unit_test(a_value_is_found_by_its_whole_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
