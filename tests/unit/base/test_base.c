/* base: addresses, numbers, durations, errors. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/scan.h"

static void durations_need_a_unit_and_have_no_rest(void **state)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1 = refused */
	} rows[] = { { "250ms", 250 },
		     { "2s", 2000 },
		     { "5m", 300000 },
		     { "24h", 86400000 },
		     { "0s", 0 },
		     { "7", -1 },
		     { "", -1 },
		     { "s", -1 },
		     { " 1s", -1 },
		     { "1s ", -1 },
		     { "-1s", -1 },
		     { "1.5s", -1 },
		     { "99999999999999999999s", -1 } };
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t ms = -1;
		int r = scan_duration(rows[i].text, &ms);

		assert_int_equal(r == 0, rows[i].ms >= 0);
		assert_int_equal(ms, rows[i].ms);
	}
}

static void numbers_are_decimal_or_0x_and_bounded(void **state)
{
	uint64_t v = 5;
	(void)state;

	assert_int_equal(scan_u64("0x1", 10, &v), 0);
	assert_int_equal(v, 1);
	assert_int_equal(scan_u64("10", 10, &v), 0);
	assert_int_equal(v, 10);
	assert_int_equal(scan_u64("11", 10, &v), -ERANGE);
	assert_int_equal(scan_u64("0x", 10, &v), -EINVAL);
	assert_int_equal(scan_u64("+1", 10, &v), -EINVAL);
	assert_int_equal(v, 10);
	assert_int_equal(scan_size("64M", UINT64_MAX, &v), 0);
	assert_int_equal(v, 64u << 20);
}

static void literals_are_strict_and_mapped_ones_become_ipv4(void **state)
{
	static const char *const bad[] = {
		"127.1", "010.0.0.1", "1.2.3.4 ", "[::1]", "fe80::1%eth0", "n1.example", ""
	};
	char text[ADDR_TEXT];
	struct addr a;
	(void)state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(addr_parse(bad[i], &a), -EINVAL);
	assert_int_equal(addr_parse("::ffff:192.0.2.1", &a), 0);
	assert_string_equal(addr_text(&a, text), "192.0.2.1");
	assert_int_equal(addr_parse("2001:DB8::1", &a), 0);
	assert_string_equal(addr_text(&a, text), "2001:db8::1");
}

static void networks_lose_their_host_bits_and_contain_what_they_should(void **state)
{
	struct addr_net net;
	char text[ADDR_TEXT];
	struct addr a;
	(void)state;

	assert_int_equal(addr_net_parse("10.1.2.3/12", &net), 0);
	assert_string_equal(addr_net_text(&net, text), "10.0.0.0/12");
	assert_int_equal(addr_parse("10.15.255.255", &a), 0);
	assert_true(addr_in(&a, &net));
	assert_int_equal(addr_parse("10.16.0.0", &a), 0);
	assert_false(addr_in(&a, &net));
	assert_int_equal(addr_net_parse("::ffff:0:0/96", &net), 0);
	assert_string_equal(addr_net_text(&net, text), "::ffff:0.0.0.0/96");
	assert_int_equal(addr_net_parse("10.0.0.0/33", &net), -EINVAL);
	assert_int_equal(addr_net_parse("::/129", &net), -EINVAL);
}

static void special_addresses_are_known(void **state)
{
	static const struct {
		const char *text;
		bool special;
	} rows[] = {
		{ "127.0.0.1", true },	 { "0.0.0.0", true },	 { "224.0.0.1", true }, { "255.255.255.255", true },
		{ "169.254.1.1", true }, { "::1", true },	 { "::", true },	{ "ff02::1", true },
		{ "fe80::1", true },	 { "192.0.2.1", false }, { "10.0.0.1", false }, { "2001:db8::1", false },
		{ "fd00::1", false }
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr a;

		assert_int_equal(addr_parse(rows[i].text, &a), 0);
		assert_int_equal(addr_is_special(&a), rows[i].special);
	}
}

static void an_error_keeps_its_code_through_prefixes_and_is_cut_not_overrun(void **state)
{
	struct err e = ERR_INIT;
	char longer[2 * ERR_MSG_MAX];
	(void)state;

	assert_int_equal(err_sys(&e, ENOENT, "open %s", "x"), -ENOENT);
	assert_string_equal(e.msg, "open x: No such file or directory");
	assert_int_equal(err_prefix(&e, "start"), -ENOENT);
	assert_string_equal(e.msg, "start: open x: No such file or directory");
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(err_prefix(&e, "%s", longer), -ENOENT);
	assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
	assert_int_equal(err_set(NULL, EIO, "nobody listens"), -EIO);
}

static void a_signal_is_a_name_in_any_case_or_a_number(void **state)
{
	static const char *const wrong[] = { "", "0", "65", "-1", "SIG", "TERMX", "15 ", "RTMIN+31", "RTMIN+" };
	(void)state;

	assert_int_equal(scan_signal("TERM"), SIGTERM);
	assert_int_equal(scan_signal("sigterm"), SIGTERM);
	assert_int_equal(scan_signal("15"), SIGTERM);
	assert_int_equal(scan_signal("64"), 64);
	assert_int_equal(scan_signal("SIGRTMIN+3"), SIGRTMIN + 3);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(scan_signal(wrong[i]), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signal_is_a_name_in_any_case_or_a_number),
		cmocka_unit_test(durations_need_a_unit_and_have_no_rest),
		cmocka_unit_test(numbers_are_decimal_or_0x_and_bounded),
		cmocka_unit_test(literals_are_strict_and_mapped_ones_become_ipv4),
		cmocka_unit_test(networks_lose_their_host_bits_and_contain_what_they_should),
		cmocka_unit_test(special_addresses_are_known),
		cmocka_unit_test(an_error_keeps_its_code_through_prefixes_and_is_cut_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
