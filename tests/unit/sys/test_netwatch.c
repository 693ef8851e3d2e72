/* netwatch: what others change in a namespace of our own is told, once, and with its author where the kernel knows. */
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/netwatch.h"
#include "clashsup/route.h"
#include "netns.h"
#include "sys/netlink.h"

#define TABLE 100
#define QUIET 0.05 /* seconds: netlink tells before the program that changed something ends */

struct seen {
	struct netwatch *w;
	struct ev_loop *loop;
	int calls, events[NETWATCH_EVENTS];
	struct netwatch_news last;
};

static void on_news(void *ctx, const struct netwatch_news *news)
{
	struct seen *s = ctx;

	s->calls++;
	s->events[news->event]++;
	if (news->event == NETWATCH_RULESET)
		s->last = *news;
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void spin(struct seen *s)
{
	ev_timer limit;

	memset(s->events, 0, sizeof(s->events));
	memset(&s->last, 0, sizeof(s->last));
	ev_now_update(s->loop);
	ev_timer_init(&limit, on_limit, QUIET, 0.);
	ev_timer_start(s->loop, &limit);
	ev_run(s->loop, 0);
	ev_timer_stop(s->loop, &limit);
	for (int before = -1; before != s->calls;) { /* a busy machine may not have come to the end */
		before = s->calls;
		ev_run(s->loop, EVRUN_NOWAIT);
	}
}

static void open_watch_of(struct seen *s, uint32_t table)
{
	struct err e = ERR_INIT;

	memset(s, 0, sizeof(*s));
	s->loop = ev_loop_new(EVFLAG_AUTO);
	assert_non_null(s->loop);
	assert_int_equal(netwatch_open(&s->w, s->loop, table, on_news, s, &e), 0);
	assert_int_equal(netwatch_rulesets(s->w, true, &e), 0);
	spin(s);
}

static void open_watch(struct seen *s)
{
	open_watch_of(s, TABLE);
}

static void close_watch(struct seen *s)
{
	netwatch_close(s->w);
	ev_loop_destroy(s->loop);
}

/*
 * Runs it and compares the calls, of ruleset and routing; of addresses only whether there were some, since the kernel
 * tells of links and IPv6 addresses again after a while. Nothing may be lost.
 */
static bool tells(struct seen *s, const char *command, int ruleset, int routing, int address)
{
	bool same;

	if (!sh(command))
		fail_msg("failed: %s", command);
	spin(s);
	same = s->events[NETWATCH_RULESET] == ruleset && s->events[NETWATCH_ROUTING] == routing &&
	       (s->events[NETWATCH_ADDRESS] > 0) == (address > 0) && s->events[NETWATCH_LOST] == 0;
	if (!same)
		print_message("%s: ruleset %d, routing %d, address %d, lost %d\n", command, s->events[NETWATCH_RULESET],
			      s->events[NETWATCH_ROUTING], s->events[NETWATCH_ADDRESS], s->events[NETWATCH_LOST]);
	return same;
}

static void a_changed_ruleset_is_told_with_the_program_that_did_it(void **state)
{
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_true(tells(&s, "iptables-nft -t mangle -A OUTPUT -j ACCEPT", 1, 0, 0));
	assert_non_null(strstr(s.last.program, "iptables"));
	assert_true(s.last.pid > 0);
	assert_true(tells(&s, "iptables-nft -t mangle -F", 1, 0, 0));
	assert_string_equal(s.last.program, "iptables-nft");
	assert_true(tells(&s, "nft add table inet a; nft add table inet b", 1, 0, 0));
	assert_string_equal(s.last.program, "nft");
	assert_true(tells(&s, "nft list ruleset >/dev/null; iptables-nft -t mangle -S >/dev/null", 0, 0, 0));
	assert_true(tells(&s, "nft flush ruleset", 1, 0, 0));
	assert_string_equal(s.last.program, "nft");
	close_watch(&s);
}

/* Of a million elements only the end of the transaction comes through: nothing is lost. */
static void a_large_transaction_is_one_event(void **state)
{
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_true(tells(&s,
			  "{ echo 'add table inet t'; echo 'add set inet t s { type ipv4_addr; }';"
			  " for i in $(seq 1 200); do"
			  " echo \"add element inet t s { $(seq -s , -f 11.$i.%.0f.1 0 255) }\"; done; } | nft -f -",
			  1, 0, 0));
	assert_true(tells(&s, "nft flush ruleset", 1, 0, 0));
	close_watch(&s);
}

static void rulesets_are_told_only_while_they_are_asked_for(void **state)
{
	struct err e = ERR_INIT;
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_int_equal(netwatch_rulesets(s.w, false, &e), 0);
	assert_int_equal(netwatch_rulesets(s.w, false, &e), 0);
	assert_true(tells(&s, "nft add table inet a", 0, 0, 0));
	assert_int_equal(netwatch_rulesets(s.w, true, &e), 0);
	assert_int_equal(netwatch_rulesets(s.w, true, &e), 0);
	assert_true(tells(&s, "nft delete table inet a", 1, 0, 0));
	close_watch(&s);
}

/* One batch that makes an empty table, by a socket of ours. */
static void add_table(struct netlink *n, const char *name)
{
	NETLINK_ALIGNED uint8_t buf[512] = { 0 };
	size_t len = 0;
	static const uint16_t types[] = { NFNL_MSG_BATCH_BEGIN, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE,
					  NFNL_MSG_BATCH_END };

	for (int i = 0; i < 3; i++) {
		struct nlmsghdr *msg = mnl_nlmsg_put_header(buf + len);
		struct nfgenmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

		msg->nlmsg_type = types[i];
		msg->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (i == 1 ? NLM_F_CREATE | NLM_F_ACK : 0));
		head->nfgen_family = i == 1 ? NFPROTO_INET : AF_UNSPEC;
		head->res_id = i == 1 ? 0 : htons(NFNL_SUBSYS_NFTABLES);
		if (i == 1)
			mnl_attr_put_strz(msg, NFTA_TABLE_NAME, name);
		len += NLMSG_ALIGN(msg->nlmsg_len);
	}
	assert_int_equal(mnl_socket_sendto(n->sock, buf, len), (int)len);
}

static void our_own_sockets_are_not_told_once_they_are_named(void **state)
{
	struct netlink n;
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_int_equal(netlink_open(&n, NETLINK_NETFILTER), 0);
	add_table(&n, "a");
	spin(&s);
	assert_int_equal(s.events[NETWATCH_RULESET], 1);
	for (uint32_t port = 1; port <= 3; port++)
		assert_int_equal(netwatch_ours(s.w, port), 0);
	assert_int_equal(netwatch_ours(s.w, mnl_socket_get_portid(n.sock)), 0);
	assert_int_equal(netwatch_ours(s.w, mnl_socket_get_portid(n.sock)), 0);
	assert_int_equal(netwatch_ours(s.w, 4), -ENOSPC);
	add_table(&n, "b");
	spin(&s);
	assert_int_equal(s.events[NETWATCH_RULESET], 0);
	assert_true(sh("nft list table inet b >/dev/null && nft delete table inet a")); /* with one of a stranger's */
	add_table(&n, "c");
	spin(&s);
	assert_int_equal(s.events[NETWATCH_RULESET], 1);
	assert_string_equal(s.last.program, "nft");
	netlink_close(&n);
	assert_true(sh("nft flush ruleset"));
	close_watch(&s);
}

static void rules_are_told_and_routes_of_our_table_alone(void **state)
{
	struct err e = ERR_INIT;
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	for (int f = 0; f < IP_FAMILIES; f++)
		assert_int_equal(route_add((enum ip_family)f, 0x1, TABLE, ROUTE_PREF, &e), 0);
	spin(&s);
	assert_int_equal(s.events[NETWATCH_ROUTING], 1);
	assert_true(
		tells(&s, "ip route add 192.0.2.0/24 dev lo && ip route add 192.0.2.0/24 dev lo table 101", 0, 0, 0));
	assert_true(tells(&s, "ip route flush 192.0.2.0/24 && ip -6 route add 2001:db8::/64 dev lo", 0, 0, 0));
	assert_true(tells(&s, "ip route flush table 100", 0, 1, 0));
	assert_true(tells(&s, "ip -6 route flush table 100", 0, 1, 0));
	assert_true(tells(&s, "ip rule flush", 0, 1, 0));
	assert_true(tells(&s, "ip rule add pref 32766 lookup main && ip rule add pref 32767 lookup default", 0, 1, 0));
	assert_true(tells(&s, "ip -6 rule del pref 100", 0, 1, 0));
	assert_true(tells(&s, "ip -6 rule add pref 9 from 2001:db8::1 lookup 9", 0, 1, 0));
	assert_true(tells(&s, "ip -6 rule del pref 9", 0, 1, 0));
	close_watch(&s);
}

static void a_table_above_255_is_told_apart_from_others(void **state)
{
	struct seen s;

	NEED_NETNS(state);
	open_watch_of(&s, 2000000);
	assert_true(tells(&s, "ip route add local 192.0.2.0/24 dev lo table 2000001", 0, 0, 0));
	assert_true(tells(&s, "ip route add local 192.0.2.0/24 dev lo table 2000000", 0, 1, 0));
	assert_true(tells(&s, "ip -6 route add local 2001:db8:1::/64 dev lo table 2000000", 0, 1, 0));
	assert_true(tells(&s, "ip route flush table 2000001", 0, 0, 0));
	assert_true(tells(&s, "ip route flush table 2000000", 0, 1, 0));
	assert_true(tells(&s, "ip -6 route flush table 2000000", 0, 1, 0));
	close_watch(&s);
}

static void addresses_links_and_default_routes_are_told(void **state)
{
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_true(tells(&s, "ip link add w type veth peer name x", 0, 0, 1));
	assert_true(tells(&s, "ip link set w up && ip link set x up && sleep 0.1", 0, 0, 1));
	assert_true(tells(&s, "ip addr add 198.51.100.1/24 dev w", 0, 0, 1));
	assert_true(tells(&s, "ip -6 addr add 2001:db8:5::1/64 dev w nodad", 0, 0, 1));
	assert_true(tells(&s, "ip route add default via 198.51.100.2", 0, 0, 1));
	assert_true(tells(&s, "ip route del default", 0, 0, 1));
	assert_true(tells(&s, "ip -6 route add default via 2001:db8:5::2 table 7", 0, 0, 1));
	assert_true(tells(&s, "ip -6 route del default table 7", 0, 0, 1));
	assert_true(tells(&s, "ip addr del 198.51.100.1/24 dev w", 0, 0, 1));
	assert_true(tells(&s, "ip link set w down", 0, 0, 1));
	assert_true(tells(&s, "ip link del w", 0, 0, 1));
	assert_true(tells(&s, "ip link set lo down", 0, 1, 1));
	assert_true(tells(&s, "ip link set lo up", 0, 1, 1));
	close_watch(&s);
}

static void many_changes_take_several_turns_of_one_call_each(void **state)
{
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_true(sh("for i in $(seq 1 100); do echo rule add pref $i from 192.0.2.$i lookup 9; done | ip -batch -"));
	spin(&s);
	assert_int_equal(s.events[NETWATCH_ROUTING], 2); /* 64 and 36 */
	assert_int_equal(s.events[NETWATCH_LOST], 0);
	assert_true(tells(&s, "for i in $(seq 1 60); do echo rule del pref $i; done | ip -batch -", 0, 1, 0));
	assert_true(sh("for i in $(seq 61 100); do echo rule del pref $i; done | ip -batch -"));
	close_watch(&s);
}

/* The loop does not run meanwhile, so the socket's buffer overflows. */
static void dropped_events_are_told_as_lost(void **state)
{
	struct seen s;

	NEED_NETNS(state);
	open_watch(&s);
	assert_true(sh("for i in $(seq 1 3000); do echo rule add pref $i from 192.0.2.1 lookup 9; done | ip -batch -"));
	spin(&s);
	assert_int_equal(s.events[NETWATCH_LOST], 1);
	assert_true(tells(&s, "ip rule del pref 1", 0, 1, 0));
	assert_true(sh("for i in $(seq 2 3000); do echo rule del pref $i; done | ip -batch -"));
	spin(&s);
	assert_int_equal(s.events[NETWATCH_LOST], 1);
	close_watch(&s);
}

static bool has_legacy(void)
{
	bool has = sh("iptables-legacy -t mangle -S >/dev/null 2>&1 && ip6tables-legacy -t mangle -S >/dev/null 2>&1");

	if (!has)
		printf("SKIP: no legacy iptables here\n");
	return has;
}

static void a_legacy_table_that_is_not_in_use_is_left_alone(void **state)
{
	struct legacy_stamp stamp;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	for (int f = 0; f < IP_FAMILIES; f++) {
		assert_int_equal(netwatch_legacy((enum ip_family)f, "raw", &stamp, &e), -ENOENT);
		assert_non_null(strstr(e.msg, "legacy"));
		assert_int_equal(netwatch_legacy((enum ip_family)f, "", &stamp, &e), -ENOENT);
		assert_int_equal(netwatch_legacy((enum ip_family)f, "a name of more than thirty-two bytes", &stamp, &e),
				 -ENOENT);
	}
	assert_false(sh("grep -q raw /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null"));
}

static void a_stamp_differs_once_a_rule_came_or_went(void **state)
{
	static const char *const program[] = { "iptables-legacy -t mangle", "ip6tables-legacy -t mangle" };
	struct legacy_stamp before, with, after;
	struct err e = ERR_INIT;
	char command[128];

	NEED_NETNS(state);
	if (!has_legacy())
		skip();
	for (int f = 0; f < IP_FAMILIES; f++) {
		assert_int_equal(netwatch_legacy((enum ip_family)f, "mangle", &before, &e), 0);
		snprintf(command, sizeof(command), "%s -A OUTPUT -j ACCEPT", program[f]);
		assert_true(sh(command));
		assert_int_equal(netwatch_legacy((enum ip_family)f, "mangle", &with, &e), 0);
		assert_int_equal(with.rules, before.rules + 1);
		assert_memory_not_equal(&before, &with, sizeof(with));
		snprintf(command, sizeof(command), "%s -F", program[f]);
		assert_true(sh(command));
		assert_int_equal(netwatch_legacy((enum ip_family)f, "mangle", &after, &e), 0);
		assert_memory_equal(&before, &after, sizeof(after));
	}
}

/* What netwatch.h says that it cannot see. */
static void a_stamp_does_not_see_a_rule_of_the_same_size(void **state)
{
	struct legacy_stamp before, after;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	if (!has_legacy())
		skip();
	assert_true(sh("iptables-legacy -t mangle -A OUTPUT -j ACCEPT"));
	assert_int_equal(netwatch_legacy(IP_V4, "mangle", &before, &e), 0);
	assert_true(sh("iptables-legacy -t mangle -R OUTPUT 1 -j DROP"));
	assert_int_equal(netwatch_legacy(IP_V4, "mangle", &after, &e), 0);
	assert_memory_equal(&before, &after, sizeof(after));
	assert_true(sh("iptables-legacy -t mangle -F"));
}

static void without_the_capability_a_stamp_is_refused_as_such(void **state)
{
	pid_t pid;
	int status;

	NEED_NETNS(state);
	if (!has_legacy())
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct legacy_stamp stamp;
		int r;

		if (unshare(CLONE_NEWUSER) < 0) /* still root to files, but nobody to this namespace */
			_exit(2);
		r = netwatch_legacy(IP_V4, "mangle", &stamp, NULL);
		_exit(r == -EPERM || r == -EACCES ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_legacy_table_that_is_not_in_use_is_left_alone),
		cmocka_unit_test(a_stamp_differs_once_a_rule_came_or_went),
		cmocka_unit_test(a_stamp_does_not_see_a_rule_of_the_same_size),
		cmocka_unit_test(without_the_capability_a_stamp_is_refused_as_such),
		cmocka_unit_test(a_changed_ruleset_is_told_with_the_program_that_did_it),
		cmocka_unit_test(a_large_transaction_is_one_event),
		cmocka_unit_test(rulesets_are_told_only_while_they_are_asked_for),
		cmocka_unit_test(our_own_sockets_are_not_told_once_they_are_named),
		cmocka_unit_test(rules_are_told_and_routes_of_our_table_alone),
		cmocka_unit_test(a_table_above_255_is_told_apart_from_others),
		cmocka_unit_test(addresses_links_and_default_routes_are_told),
		cmocka_unit_test(many_changes_take_several_turns_of_one_call_each),
		cmocka_unit_test(dropped_events_are_told_as_lost),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
