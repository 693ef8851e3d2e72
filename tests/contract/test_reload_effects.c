/* reload_effects: every key says what has to be done when it changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/reload_effects.h"
#include "parse/settings_keys.h"

static void every_key_has_an_effect(void **state)
{
	(void)state;
	for (size_t i = 0; i < setting_n_keys; i++) {
		if (!reload_effects(setting_keys[i].section, setting_keys[i].name))
			fail_msg("src/daemon/reload_effects.c lacks [%s] %s", setting_keys[i].section,
				 setting_keys[i].name);
	}
}

static void a_key_that_is_none_has_no_effect(void **state)
{
	(void)state;
	assert_int_equal(reload_effects("probe", "level"), 0);
	assert_int_equal(reload_effects("tproxy", ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_has_an_effect),
		cmocka_unit_test(a_key_that_is_none_has_no_effect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
