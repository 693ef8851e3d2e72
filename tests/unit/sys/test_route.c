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

#define PREF 100

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

	if (route_add((enum ip_family)family, mark, table, PREF, &e) < 0)
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

static int left(int family)
{
	struct err e = ERR_INIT;

	return route_left((enum ip_family)family, &e);
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
			assert_int_equal(left(f), 1);
			sweep(f);
			assert_int_equal(left(f), 0);
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
			assert_int_equal(left(f), 0);
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
			assert_int_equal(route_add((enum ip_family)f, 0x1, 100, PREF, &e), -EEXIST);
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
	assert_int_equal(route_add(IP_V6, 0x1, 100, PREF, &e), -EACCES);
	assert_int_equal(lines(IP_V6, "rule show pref 100"), 0);
	assert_int_equal(route_sweep(IP_V6, &e), 0);
	assert_true(sh("echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6"));
}

static int present(int family, uint32_t pref)
{
	bool rule, route;
	struct err e = ERR_INIT;

	assert_int_equal(route_look((enum ip_family)family, 0x1, 100, pref, &rule, &route, &e), 0);
	return rule && route;
}

static void what_is_missing_or_only_similar_is_not_present(void **state)
{
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			assert_int_equal(present(f, PREF), 0);
			assert_int_equal(route_add((enum ip_family)f, 0x1, 100, 7777, &e), 0);
			assert_int_equal(present(f, 7777), 1);
			assert_int_equal(present(f, PREF), 0);
			assert_true(ip(f, "route flush table 100"));
			assert_int_equal(present(f, 7777), 0);
			assert_true(ip(f, "route add local default dev lo table 100"));
			assert_int_equal(present(f, 7777), 1); /* somebody else's serves */
			assert_true(ip(f, "rule del pref 7777"));
			assert_int_equal(present(f, 7777), 0);
			assert_true(ip(f, "rule add pref 7777 fwmark 0x1/0xff lookup 100"));
			assert_true(ip(f, "rule add pref 7777 fwmark 0x1 iif lo lookup 100"));
			assert_true(ip(f, "rule add pref 7777 fwmark 0x1 lookup 100 suppress_prefixlength 0"));
			assert_int_equal(present(f, 7777), 0);
			assert_true(ip(f, "rule add pref 7777 fwmark 0x1 lookup 100"));
			assert_int_equal(present(f, 7777), 1);
			for (int i = 0; i < 4; i++)
				assert_true(ip(f, "rule del pref 7777"));
			assert_true(ip(f, "route flush table 100"));
		}
}

/* The kernel says EEXIST to ours, but this one does not do what ours does. */
static void a_similar_rule_in_the_place_of_ours_is_an_error(void **state)
{
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			assert_true(ip(f, "rule add pref 100 not fwmark 0x1 lookup 100 protocol " OURS));
			assert_int_equal(route_add((enum ip_family)f, 0x1, 100, PREF, &e), -EEXIST);
			assert_non_null(strstr(e.msg, "pref 100"));
			assert_int_equal(present(f, PREF), 0);
			sweep(f);
		}
}

static void lo_set_down_takes_the_ipv6_route_along(void **state)
{
	NEED_NETNS(state);
	add(IP_V4, 0x1, 100);
	add(IP_V6, 0x1, 100);
	assert_int_equal(present(IP_V4, PREF), 1);
	assert_true(sh("ip link set lo down && ip link set lo up"));
	assert_int_equal(present(IP_V4, PREF), 1);
	assert_int_equal(present(IP_V6, PREF), 0);
	sweep(IP_V4);
	sweep(IP_V6);
}

/* ---- strangers ---- */

static int strangers(int family, struct route_stranger *out, size_t cap)
{
	struct err e = ERR_INIT;
	int n = route_strangers((enum ip_family)family, 0x1, 100, PREF, out, cap, &e);

	if (n < 0)
		print_message("%s\n", e.msg);
	return n;
}

/* Is it the only one, with that text, and does its command delete just it? */
static void expect_stranger(int family, const char *add_it, unsigned hits, const char *text)
{
	struct route_stranger found[4];
	long rules, routes;

	add(family, 0x1, 100);
	rules = lines(family, "rule show");
	routes = lines(family, "route show table 100");
	assert_true(ip(family, add_it));
	assert_int_equal(strangers(family, found, 4), 1);
	if (found[0].hits != hits || strcmp(found[0].text, text) != 0)
		fail_msg("%s: hits %u, \"%s\"", add_it, found[0].hits, found[0].text);
	if (!sh(found[0].command))
		fail_msg("cannot run: %s", found[0].command);
	assert_int_equal(lines(family, "rule show"), rules);
	assert_int_equal(lines(family, "route show table 100"), routes);
	assert_int_equal(strangers(family, found, 4), 0);
	assert_int_equal(present(family, PREF), 1);
	sweep(family);
}

static void a_stranger_is_told_with_the_command_that_deletes_it(void **state)
{
	static const struct {
		int family;
		const char *add_it;
		unsigned hits;
		const char *text;
	} rows[] = {
		{ IP_V4, "rule add pref 100 fwmark 0x1/0xff lookup 100", 7, "ip rule 100: fwmark 0x1/0xff lookup 100" },
		{ IP_V4, "rule add pref 7 fwmark 0x1 lookup 100 protocol static", 11,
		  "ip rule 7: fwmark 0x1 lookup 100 (protocol static)" },
		{ IP_V4, "rule add pref 90 fwmark 0x0/0x2 lookup 5", 1, "ip rule 90: fwmark 0x0/0x2 lookup 5" },
		{ IP_V4, "rule add pref 90 not fwmark 0xca6c lookup 51820", 1,
		  "ip rule 90: not fwmark 0xca6c lookup 51820" },
		{ IP_V4,
		  "rule add pref 100 from 192.0.2.0/24 to 198.51.100.0/25 tos 0x10 iif lo oif lo uidrange 5-9 "
		  "ipproto tcp sport 7 dport 80-90 lookup 5 suppress_prefixlength 0",
		  4,
		  "ip rule 100: from 192.0.2.0/24 to 198.51.100.0/25 tos 0x10 iif lo oif lo uidrange 5-9 ipproto 6 "
		  "sport 7-7 dport 80-90 lookup 5 suppress_prefixlength 0" },
		{ IP_V4, "rule add pref 100 iif eth9 goto 32766", 4, "ip rule 100: iif eth9 goto 32766" },
		{ IP_V4, "rule add pref 100 fwmark 0x2 blackhole protocol 99", 4,
		  "ip rule 100: fwmark 0x2 blackhole (protocol 99)" },
		{ IP_V4, "rule add pref 100 fwmark 0x2 prohibit", 4, "ip rule 100: fwmark 0x2 prohibit" },
		{ IP_V4, "rule add pref 100 fwmark 0x2 unreachable", 4, "ip rule 100: fwmark 0x2 unreachable" },
		{ IP_V4, "rule add pref 100 l3mdev", 4, "ip rule 100: l3mdev" },
		{ IP_V6, "rule add pref 100 from 2001:db8::/32 lookup 100", 6,
		  "ip -6 rule 100: from 2001:db8::/32 lookup 100" },
		{ IP_V4, "route add unreachable 192.0.2.0/24 table 100 metric 5", 2,
		  "ip route unreachable 192.0.2.0/24 table 100 metric 5 (protocol boot)" },
		{ IP_V4, "route add 192.0.2.0/24 via 10.9.9.2 dev v0 table 100 proto 99", 2,
		  "ip route 192.0.2.0/24 via 10.9.9.2 dev v0 table 100 (protocol 99)" },
		{ IP_V4,
		  "route add 192.0.2.0/24 table 100 proto static nexthop dev v0 weight 1 nexthop via 10.9.9.2 dev v0 "
		  "weight 2",
		  2, "ip route 192.0.2.0/24 table 100 (protocol static)" },
		{ IP_V4, "route add throw default table 100 metric 9", 2,
		  "ip route throw default table 100 metric 9 (protocol boot)" },
		{ IP_V4, "route add local default dev lo table 100 metric 9", 10,
		  "ip route local default dev lo table 100 metric 9 (protocol boot)" },
		{ IP_V6, "route add 2001:db8::/64 dev lo table 100", 2,
		  "ip -6 route 2001:db8::/64 dev lo table 100 metric 1024 (protocol boot)" },
		{ IP_V6, "route add blackhole default table 100 metric 7", 2,
		  "ip -6 route blackhole default dev lo table 100 metric 7 (protocol boot)" },
	};

	NEED_NETNS(state);
	assert_true(sh("ip link add v0 type veth peer name v1 && ip link set v0 up && ip addr add 10.9.9.1/24 dev v0"
		       " && ip link set v1 up && sleep 0.1"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect_stranger(rows[i].family, rows[i].add_it, rows[i].hits, rows[i].text);
	assert_true(sh("ip link del v0"));
}

static void what_does_not_collide_is_no_stranger(void **state)
{
	static const char *const rules[] = { "pref 90 fwmark 0x2 lookup 5", "pref 90 fwmark 0x3/0x3 lookup 5",
					     "pref 110 not fwmark 0xca6c lookup 5", "pref 90 lookup main",
					     "pref 90 not fwmark 0x1 lookup 5" };
	struct route_stranger found[4];
	char command[128];

	NEED_NETNS(state);
	for
		EACH_FAMILY(f)
		{
			add(f, 0x1, 100);
			for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
				snprintf(command, sizeof(command), "rule add %s", rules[i]);
				assert_true(ip(f, command));
			}
			assert_true(ip(f, "route add unreachable default table 101"));
			assert_int_equal(strangers(f, found, 4), 0);
			for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
				snprintf(command, sizeof(command), "rule del %s", rules[i]);
				assert_true(ip(f, command));
			}
			assert_true(ip(f, "route flush table 101"));
			sweep(f);
		}
}

static void an_odd_name_gets_no_command_and_many_strangers_no_overflow(void **state)
{
	struct route_stranger found[3];
	char long_rule[64];

	NEED_NETNS(state);
	assert_true(ip(IP_V4, "rule add pref 100 iif 'a;reboot' lookup 5"));
	assert_int_equal(strangers(IP_V4, found, 3), 1);
	assert_string_equal(found[0].text, "ip rule 100: lookup 5");
	assert_string_equal(found[0].command, "");
	assert_true(ip(IP_V4, "rule del pref 100"));
	for (int i = 1; i <= 5; i++) {
		snprintf(long_rule, sizeof(long_rule), "rule add pref 100 fwmark 0x1 lookup %d", i);
		assert_true(ip(IP_V4, long_rule));
	}
	assert_int_equal(strangers(IP_V4, found, 3), 3);
	assert_int_equal(strangers(IP_V4, found, 0), 0);
	for (int i = 1; i <= 5; i++)
		assert_true(ip(IP_V4, "rule del pref 100"));
}

static void a_mark_table_or_pref_of_zero_is_refused(void **state)
{
	struct err e = ERR_INIT;
	(void)state;

	assert_int_equal(route_add(IP_V4, 0, 100, PREF, &e), -EINVAL);
	assert_int_equal(route_add(IP_V4, 0x1, 0, PREF, &e), -EINVAL);
	assert_int_equal(route_add(IP_V4, 0x1, 100, 0, &e), -EINVAL);
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
		cmocka_unit_test(what_is_missing_or_only_similar_is_not_present),
		cmocka_unit_test(a_similar_rule_in_the_place_of_ours_is_an_error),
		cmocka_unit_test(lo_set_down_takes_the_ipv6_route_along),
		cmocka_unit_test(a_stranger_is_told_with_the_command_that_deletes_it),
		cmocka_unit_test(what_does_not_collide_is_no_stranger),
		cmocka_unit_test(an_odd_name_gets_no_command_and_many_strangers_no_overflow),
		cmocka_unit_test(a_mark_table_or_pref_of_zero_is_refused),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
