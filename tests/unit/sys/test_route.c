/* route: policy routing in a namespace of our own; the ip program is the second opinion. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/route.h"
#include "netns.h"

#define TEXT(x) #x
#define NUMBER_TEXT(x) TEXT(x)
#define OURS NUMBER_TEXT(ROUTE_PROTOCOL)

#define EACH_FAMILY(f) (int f = 0; f < IP_FAMILIES; f++)

/* `ip -4 ...` or `ip -6 ...` */
static bool ip(int family, const char *rest)
{
	char command[256];

	snprintf(command, sizeof(command), "ip -N -%d %s", family == IP_V4 ? 4 : 6, rest);
	return sh(command);
}

static long lines(int family, const char *rest)
{
	char command[256];

	snprintf(command, sizeof(command), "ip -N -%d %s 2>/dev/null | wc -l", family == IP_V4 ? 4 : 6, rest);
	return sh_number(command);
}

static void add(int family, uint32_t mark, uint32_t table)
{
	struct err e = ERR_INIT;

	if (route_add((enum ip_family)family, mark, table, &e) < 0)
		print_message("%s\n", e.msg);
	assert_int_equal(e.code, 0);
}

static void sweep(int family)
{
	struct err e = ERR_INIT;

	if (route_sweep((enum ip_family)family, &e) < 0)
		print_message("%s\n", e.msg);
	assert_int_equal(e.code, 0);
}

static void adding_twice_makes_one_rule_and_one_route(void **state)
{
	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			add(f, 0x1, 100);
			add(f, 0x1, 100);
			assert_int_equal(lines(f, "rule show pref 100"), 1);
			assert_true(ip(f, "rule show pref 100 | grep -q 'fwmark 0x1 lookup 100 proto " OURS "'"));
			assert_int_equal(lines(f, "route show table 100"), 1);
			assert_int_equal(lines(f, "route show default dev lo table 100 type local proto " OURS), 1);
			sweep(f);
		}
}

static void a_sweep_leaves_nothing_of_ours_whatever_its_numbers(void **state)
{
	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			long rules = lines(f, "rule show");

			add(f, 0x1, 100);
			add(f, 0x20, 2000000);
			assert_true(ip(f, "rule add pref 7 from all fwmark 0x5/0xf iif lo lookup 300 protocol " OURS));
			assert_true(
				ip(f, "route add local default dev lo table 400 proto " OURS)); /* its rule is gone */
			sweep(f);
			assert_int_equal(lines(f, "rule show"), rules);
			assert_int_equal(lines(f, "route show table 100"), 0);
			assert_int_equal(lines(f, "route show table 2000000"), 0);
			assert_int_equal(lines(f, "route show table 400"), 0);
			sweep(f);
			assert_int_equal(lines(f, "rule show"), rules);
		}
}

static void a_sweep_takes_more_than_one_dump_holds(void **state)
{
	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			long rules = lines(f, "rule show");

			for (uint32_t i = 1; i <= 300; i++)
				add(f, i, 1000 + i);
			assert_int_equal(lines(f, "rule show"), rules + 300);
			sweep(f);
			assert_int_equal(lines(f, "rule show"), rules);
			assert_int_equal(lines(f, "route show table all proto " OURS), 0);
		}
}

static void a_sweep_touches_nothing_of_others(void **state)
{
	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			assert_true(ip(f, "rule add pref 100 fwmark 0x1 lookup 200 protocol 99"));
			assert_true(ip(f, "rule add pref 90 fwmark 0x1 lookup 100"));
			assert_true(ip(f, "route add local default dev lo table 200"));
			assert_true(ip(f, "route add unreachable default table 500 proto " OURS));
			assert_true(ip(f, f == IP_V4 ? "route add 192.0.2.0/24 dev lo table 100 proto " OURS
						     : "route add 2001:db8::/64 dev lo table 100 proto " OURS));
			add(f, 0x1, 100);
			sweep(f);
			assert_int_equal(lines(f, "rule show pref 100"), 1);
			assert_int_equal(lines(f, "rule show pref 90"), 1);
			assert_int_equal(lines(f, "route show table 100"), 1);
			assert_int_equal(lines(f, "route show table 200"), 1);
			assert_int_equal(lines(f, "route show table 500"), 1);
			assert_true(ip(f, "rule del pref 100") && ip(f, "rule del pref 90") &&
				    ip(f, "route flush table 500") && ip(f, "route flush table 200") &&
				    ip(f, "route flush table 100"));
		}
}

static void an_equal_route_of_somebody_else_serves_and_stays(void **state)
{
	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			assert_true(ip(f, "route add local default dev lo table 100"));
			add(f, 0x1, 100);
			assert_int_equal(lines(f, "rule show pref 100"), 1);
			sweep(f);
			assert_int_equal(lines(f, "rule show pref 100"), 0);
			assert_int_equal(lines(f, "route show table 100"), 1);
			assert_true(ip(f, "route flush table 100"));
		}
}

static void another_default_route_in_the_table_is_an_error_and_stays(void **state)
{
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			assert_true(ip(f, "route add unreachable default table 100"));
			assert_int_equal(route_add((enum ip_family)f, 0x1, 100, &e), -EEXIST);
			assert_non_null(strstr(e.msg, "table 100"));
			assert_int_equal(lines(f, "rule show pref 100"), 0);
			assert_int_equal(lines(f, "route show table 100 type unreachable"), 1);
			assert_true(ip(f, "route flush table 100"));
		}
}

static void one_family_does_not_touch_the_other(void **state)
{
	NEED_NETNS(state);
	add(IP_V4, 0x1, 100);
	add(IP_V6, 0x1, 100);
	sweep(IP_V4);
	assert_int_equal(lines(IP_V4, "rule show pref 100"), 0);
	assert_int_equal(lines(IP_V6, "rule show pref 100"), 1);
	assert_int_equal(lines(IP_V6, "route show table 100"), 1);
	sweep(IP_V6);
	assert_int_equal(lines(IP_V6, "rule show pref 100"), 0);
}

static void a_family_that_is_switched_off_is_an_error_to_add_and_none_to_sweep(void **state)
{
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	if (!sh("echo 1 2>/dev/null >/proc/sys/net/ipv6/conf/lo/disable_ipv6")) {
		printf("SKIP: /proc/sys is read-only here\n");
		skip();
	}
	assert_int_equal(route_add(IP_V6, 0x1, 100, &e), -EACCES);
	assert_int_equal(lines(IP_V6, "rule show pref 100"), 0);
	assert_int_equal(route_sweep(IP_V6, &e), 0);
	assert_true(sh("echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6"));
}

static void a_mark_or_table_of_zero_is_refused(void **state)
{
	struct err e = ERR_INIT;
	(void)state;

	assert_int_equal(route_add(IP_V4, 0, 100, &e), -EINVAL);
	assert_int_equal(route_add(IP_V4, 0x1, 0, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adding_twice_makes_one_rule_and_one_route),
		cmocka_unit_test(a_sweep_leaves_nothing_of_ours_whatever_its_numbers),
		cmocka_unit_test(a_sweep_takes_more_than_one_dump_holds),
		cmocka_unit_test(a_sweep_touches_nothing_of_others),
		cmocka_unit_test(an_equal_route_of_somebody_else_serves_and_stays),
		cmocka_unit_test(another_default_route_in_the_table_is_an_error_and_stays),
		cmocka_unit_test(one_family_does_not_touch_the_other),
		cmocka_unit_test(a_family_that_is_switched_off_is_an_error_to_add_and_none_to_sweep),
		cmocka_unit_test(a_mark_or_table_of_zero_is_refused),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
