/* route_lan: a router made of veths in a namespace of our own, and which of its prefixes are the LAN's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/route.h"
#include "netns.h"

#define MANY 700

static const struct iface_list all = { NULL, 0 };

/* The prefixes as one line, "203.0.114.0/24 8.8.4.0/24". */
static const char *lan(const struct iface_list *list, int family)
{
	static char text[2048];
	struct addr_net nets[64];
	struct err e = ERR_INIT;
	int n = route_lan(list, (enum ip_family)family, nets, 64, &e);

	if (n < 0)
		fail_msg("%s", e.msg);
	text[0] = '\0';
	for (int i = 0; i < n; i++) {
		char one[ADDR_TEXT];

		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			 addr_net_text(&nets[i], one));
	}
	return text;
}

/* br-lan and br-guest, wan, all up, with the addresses that such have. */
static int make_router(void **state)
{
	if (!*state)
		return 0;
	assert_true(sh("for i in br-lan br-guest wan; do ip link add $i type veth peer name p-$i;"
		       " ip link set $i up; ip link set p-$i up; done; sleep 0.2"));
	assert_true(sh("ip addr add 192.168.1.1/24 dev br-lan && ip addr add 8.8.4.1/24 dev br-lan"
		       " && ip -6 addr add fd00:1::1/64 dev br-lan nodad"
		       " && ip -6 addr add 2a01:4f8:1:1::1/64 dev br-lan nodad"
		       " && ip -6 addr add 2a01:4f8:1:1::2/64 dev br-lan nodad"
		       " && ip addr add 9.9.8.1/24 dev br-guest && ip -6 addr add 2a01:4f8:1:2::1/64 dev br-guest nodad"
		       " && ip addr add 62.1.1.2/24 dev wan && ip -6 addr add 2a02:aa::2/64 dev wan nodad"));
	assert_true(sh("ip route add default via 62.1.1.1 && ip -6 route add default via 2a02:aa::1"));
	return 0;
}

static int end_router(void **state)
{
	if (!*state)
		return 0;
	return sh("for i in br-lan br-guest wan; do ip link del $i; done") ? 0 : -1;
}

static void global_prefixes_behind_no_default_route_are_the_lan(void **state)
{
	NEED_NETNS(state);
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24");
	assert_string_equal(lan(&all, IP_V6), "2a01:4f8:1:1::/64 2a01:4f8:1:2::/64");
}

static void a_default_route_of_one_family_makes_a_wan_for_both(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("ip -6 route del default"));
	assert_string_equal(lan(&all, IP_V6), "2a01:4f8:1:1::/64 2a01:4f8:1:2::/64");
	assert_true(sh("ip route del default && ip -6 route add default via 2a02:aa::1"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24");
	assert_true(sh("ip -6 route del default"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24 62.1.1.0/24");
	assert_string_equal(lan(&all, IP_V6), "2a01:4f8:1:1::/64 2a01:4f8:1:2::/64 2a02:aa::/64");
}

static void each_hop_of_a_default_route_and_other_tables_make_wans(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("ip route replace default nexthop via 62.1.1.1 nexthop via 9.9.8.9"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24");
	assert_true(sh("ip route replace default via 62.1.1.1 && ip route add default via 9.9.8.9 table 7"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24");
	assert_true(sh("ip route del default table 7"));
	assert_true(sh("ip -6 route del default && ip -6 route add default nexthop via 2a02:aa::1 dev wan"
		       " nexthop via 2a01:4f8:1:2::9 dev br-guest"));
	assert_string_equal(lan(&all, IP_V6), "2a01:4f8:1:1::/64");
}

/* Our own table's default leads to lo, a blackhole nowhere. */
static void defaults_that_lead_nowhere_make_no_wan(void **state)
{
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	for (int f = 0; f < IP_FAMILIES; f++)
		assert_int_equal(route_add((enum ip_family)f, 0x1, 100, ROUTE_PREF, &e), 0);
	assert_true(sh("ip route add blackhole default table 8"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24");
	assert_true(sh("ip route flush table 8"));
	for (int f = 0; f < IP_FAMILIES; f++)
		assert_int_equal(route_sweep((enum ip_family)f, &e), 0);
}

static void lo_links_that_are_down_hosts_and_link_scopes_are_left_out(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("ip addr add 11.1.1.1/24 dev lo && ip -6 addr add 2a03::1/64 dev lo"
		       " && ip addr add 12.1.1.1 peer 12.1.1.2/32 dev br-lan && ip addr add 13.1.1.1/32 dev br-lan"
		       " && ip -6 addr add 2a04::1/128 dev br-lan nodad"
		       " && ip addr add 14.1.1.1/24 dev br-lan scope link && ip link set br-guest down"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24");
	assert_string_equal(lan(&all, IP_V6), "2a01:4f8:1:1::/64");
	assert_true(sh("ip link set br-guest up"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24");
	assert_true(sh("ip addr del 11.1.1.1/24 dev lo; ip -6 addr del 2a03::1/64 dev lo"));
}

/* Of a link with two ends, the prefix is the other end's. */
static void a_link_with_a_peer_has_the_peers_prefix(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("ip addr add 15.1.1.1 peer 16.1.1.2/30 dev br-guest"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24 16.1.1.0/30");
}

static void named_interfaces_are_the_lan_whatever_routes_say(void **state)
{
	struct iface names[] = { { "br-*" }, { "wan" }, { "nothere" }, { "br-guest" }, { "br-" }, { "*" } };

	NEED_NETNS(state);
	assert_string_equal(lan(&(struct iface_list){ names, 1 }, IP_V4), "8.8.4.0/24 9.9.8.0/24");
	assert_string_equal(lan(&(struct iface_list){ names + 1, 2 }, IP_V4), "62.1.1.0/24");
	assert_string_equal(lan(&(struct iface_list){ names + 3, 2 }, IP_V6), "2a01:4f8:1:2::/64");
	assert_string_equal(lan(&(struct iface_list){ names + 4, 1 }, IP_V4), "");
	assert_string_equal(lan(&(struct iface_list){ names + 5, 1 }, IP_V4), "8.8.4.0/24 9.9.8.0/24 62.1.1.0/24");
}

static void more_than_there_is_room_for_is_cut(void **state)
{
	struct addr_net nets[3] = { 0 };
	struct err e = ERR_INIT;
	char command[160];

	NEED_NETNS(state);
	assert_int_equal(route_lan(&all, IP_V4, nets, 0, &e), 0);
	assert_int_equal(route_lan(&all, IP_V4, nets, 1, &e), 1);
	assert_int_equal(nets[1].prefix, 0);
	snprintf(command, sizeof(command),
		 "for i in $(seq 1 %d); do echo addr add 20.$((i / 250)).$((i %% 250)).1/24 dev br-lan; done | ip "
		 "-batch -",
		 MANY);
	assert_true(sh(command));
	assert_int_equal(route_lan(&all, IP_V4, nets, 2, &e), 2);
	assert_int_equal(nets[2].prefix, 0);
}

static void a_very_large_routing_table_is_an_error_that_says_what_helps(void **state)
{
	struct iface name[] = { { "br-*" } };
	struct addr_net nets[3];
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	assert_true(sh("for i in $(seq 0 16999); do"
		       " echo route add 20.$((i / 250)).$((i % 250)).0/24 via 62.1.1.1 table 7; done | ip -batch -"));
	assert_int_equal(route_lan(&all, IP_V6, nets, 3, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "lan_ifaces"));
	assert_string_equal(lan(&(struct iface_list){ name, 1 }, IP_V4), "8.8.4.0/24 9.9.8.0/24");
	assert_true(sh("ip route flush table 7"));
	assert_string_equal(lan(&all, IP_V4), "8.8.4.0/24 9.9.8.0/24");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_router, end_router)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(global_prefixes_behind_no_default_route_are_the_lan),
		CASE(a_default_route_of_one_family_makes_a_wan_for_both),
		CASE(each_hop_of_a_default_route_and_other_tables_make_wans),
		CASE(defaults_that_lead_nowhere_make_no_wan),
		CASE(lo_links_that_are_down_hosts_and_link_scopes_are_left_out),
		CASE(a_link_with_a_peer_has_the_peers_prefix),
		CASE(named_interfaces_are_the_lan_whatever_routes_say),
		CASE(a_very_large_routing_table_is_an_error_that_says_what_helps),
		CASE(more_than_there_is_room_for_is_cut),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
