/* survey: what is in a network namespace that others have filled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ev.h>
#include <netinet/in.h>

#include "clashsup/sockdiag.h"
#include "clashsup/survey.h"
#include "netns.h"

static struct survey_facts facts;
static struct reaper reaper;
static unsigned told;

static void on_done(void *ctx, const struct survey_facts *f)
{
	survey_abandon(*(struct survey **)ctx); /* of no effect: it is gone anyhow */
	facts = *f;
	told++;
	ev_break(reaper.loop, EVBREAK_ONE);
}

static void look(const struct iface_list *lan_ifaces)
{
	const struct survey_ask ask = { .port = 7893, .lan_ifaces = lan_ifaces };
	struct err e = ERR_INIT;
	struct survey *s;

	told = 0;
	assert_int_equal(survey_start(&s, &reaper, &ask, on_done, &s, &e), 0);
	assert_int_equal(told, 0); /* never from our own stack */
	ev_run(reaper.loop, 0);
	assert_int_equal(told, 1);
}

static const struct survey_link *link_named(const char *name)
{
	for (size_t i = 0; i < facts.n_links; i++)
		if (strcmp(facts.links[i].name, name) == 0)
			return &facts.links[i];
	fail_msg("no link %s", name);
	return NULL;
}

static int set_up(void **state)
{
	int r = netns_enter(state);

	proc_clean_start();
	reaper_start(&reaper, ev_default_loop(0));
	return r;
}

static int tear_down(void **state)
{
	(void)state;
	reaper_stop(&reaper);
	return 0;
}

static void test_an_empty_namespace_has_nothing(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("echo 0 >/proc/sys/net/ipv4/ip_forward"));
	look(NULL);
	assert_true(facts.rules_known);
	assert_string_equal(facts.unknown, "");
	assert_int_equal(facts.n_links, 0);
	assert_int_equal(facts.n_dns, 0);
	assert_int_equal(facts.rules.n_foreign + facts.rules.n_programs, 0);
	assert_false(facts.rules.ours);
	assert_int_equal(facts.forward[IP_V4], 0);
}

static void test_links_are_told_with_their_place(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("ip link add lan type veth peer name lan0 && ip link add wan type veth peer name wan0 &&"
		       "ip link add br0 type bridge && ip link set br0 type bridge nf_call_iptables 1 &&"
		       "ip link add docker0 type bridge && for i in lan lan0 wan wan0 br0 docker0; do ip link set $i "
		       "up; done &&"
		       "ip address add 10.1.0.1/24 dev lan && ip address add 10.2.0.1/24 dev br0 &&"
		       "ip address add 172.17.0.1/16 dev docker0 && ip address add 203.0.114.2/24 dev wan &&"
		       "ip route add default via 203.0.114.1 && echo 1 >/proc/sys/net/ipv4/conf/lan/src_valid_mark"));
	look(NULL);
	assert_int_equal(facts.n_links, 6);
	assert_true(link_named("lan")->lan);
	assert_true(link_named("lan")->private4);
	assert_false(link_named("lan")->bridge);
	assert_int_equal(link_named("lan")->src_valid_mark, 1);
	assert_int_equal(link_named("lan")->bridge_nf[IP_V4], SURVEY_UNKNOWN);
	assert_true(link_named("br0")->lan);
	assert_true(link_named("br0")->bridge);
	assert_int_equal(link_named("br0")->bridge_nf[IP_V4], 1);
	assert_int_equal(link_named("br0")->bridge_nf[IP_V6], 0);
	assert_false(link_named("docker0")->lan);
	assert_true(link_named("docker0")->container);
	assert_true(link_named("wan")->uplink[IP_V4]);
	assert_true(link_named("wan")->public4);
	assert_false(link_named("wan")->lan);
	assert_false(link_named("lan0")->lan); /* no address */
}

static void test_named_lan_interfaces_are_the_lan(void **state)
{
	struct iface names[] = { { "wan" }, { "lan*" } };
	const struct iface_list list = { names, 2 };

	NEED_NETNS(state);
	look(&list);
	assert_true(link_named("wan")->lan);
	assert_true(link_named("lan0")->lan);
	assert_false(link_named("br0")->lan);
}

static void test_a_single_interface_is_lan_and_uplink(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("ip link delete lan && ip link delete br0"));
	look(NULL);
	assert_true(link_named("wan")->lan);
	assert_true(link_named("wan")->uplink[IP_V4]);
}

static void test_rules_of_each_tool_are_read(void **state)
{
	NEED_NETNS(state);
	assert_true(sh("iptables -P FORWARD DROP && ip6tables -P INPUT DROP &&"
		       "ip6tables -t mangle -A PREROUTING -p udp -j TPROXY --on-port 7893 &&"
		       "nft add table inet other && nft 'add chain inet other pre { type filter hook prerouting "
		       "priority mangle; }' &&"
		       "nft 'add rule inet other pre meta l4proto tcp tproxy to :7893'"));
	look(NULL);
	assert_true(facts.rules.family[IP_V4].forward.closed);
	assert_false(facts.rules.family[IP_V6].forward.closed);
	assert_true(facts.rules.family[IP_V6].input.closed);
	assert_int_equal(facts.rules.n_foreign, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(sh(facts.rules.foreign[i].command));
	look(NULL);
	assert_int_equal(facts.rules.n_foreign, 0);
}

static void test_rules_of_the_legacy_variant_are_read_too(void **state)
{
	NEED_NETNS(state);
	if (!sh("iptables-legacy -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 7893 2>/dev/null")) {
		printf("SKIP: no legacy iptables here\n");
		skip();
	}
	look(NULL);
	assert_int_equal(facts.rules.n_foreign, 1);
	assert_string_equal(facts.rules.foreign[0].command,
			    "iptables-legacy -w -t nat -D PREROUTING -p tcp -j REDIRECT --to-ports 7893");
	assert_true(sh(facts.rules.foreign[0].command));
}

static void test_routing_that_collides_is_told_with_what_deletes_it(void **state)
{
	const struct survey_ask ask = { .port = 7893, .mark = 1, .table = 100, .pref = 100 };
	struct err e = ERR_INIT;
	struct survey *s;

	NEED_NETNS(state);
	assert_true(
		sh("ip rule add pref 50 fwmark 0x1/0x1 lookup 7 && ip -6 route add local default dev lo table 100"));
	assert_int_equal(survey_start(&s, &reaper, &ask, on_done, &s, &e), 0);
	ev_run(reaper.loop, 0);
	assert_int_equal(facts.n_strangers, 2);
	assert_false(facts.strangers[0].same);
	assert_true(facts.strangers[1].same);
	for (size_t i = 0; i < 2; i++)
		assert_true(sh(facts.strangers[i].command));
	assert_int_equal(survey_start(&s, &reaper, &ask, on_done, &s, &e), 0);
	ev_run(reaper.loop, 0);
	assert_int_equal(facts.n_strangers, 0);
}

static int bound(int type, const char *text)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	memcpy(&at.sin6_addr, a.bytes, 16);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_who_serves_port_53_is_named(void **state)
{
	struct survey_ask ask = { .port = 7893, .mihomo = getpid() };
	struct sockdiag_server servers[4];
	struct err e = ERR_INIT;
	struct survey *s;
	int inside, udp, tcp;

	NEED_NETNS(state);
	inside = bound(SOCK_DGRAM, "::1");
	look(NULL);
	assert_int_equal(facts.n_dns, 0);
	close(inside);
	udp = bound(SOCK_DGRAM, "::");
	tcp = bound(SOCK_STREAM, "::");
	assert_int_equal(sockdiag_servers(53, servers, 4, &e), 2);
	assert_int_equal(sockdiag_servers(53, servers, 1, &e), 1);
	assert_int_equal(sockdiag_servers(54, servers, 4, &e), 0);
	look(NULL);
	assert_int_equal(facts.n_dns, 1); /* one process is told once */
	assert_int_equal(facts.dns[0].pid, getpid());
	assert_string_equal(facts.dns[0].name, "test_survey");
	assert_int_equal(survey_start(&s, &reaper, &ask, on_done, &s, &e), 0);
	ev_run(reaper.loop, 0);
	assert_int_equal(facts.n_dns, 0); /* Mihomo's own are nobody else's */
	close(udp);
	close(tcp);
}

static void test_without_any_tool_the_rest_is_told(void **state)
{
	char *path = strdup(getenv("PATH"));

	NEED_NETNS(state);
	setenv("PATH", "/nowhere", 1);
	look(NULL);
	setenv("PATH", path, 1);
	free(path);
	assert_false(facts.rules_known);
	assert_string_equal(facts.unknown, "");
	assert_true(link_named("wan")->uplink[IP_V4]);
}

static void test_an_abandoned_survey_says_nothing(void **state)
{
	const struct survey_ask ask = { .port = 7893 };
	struct err e = ERR_INIT;
	struct survey *s;

	NEED_NETNS(state);
	told = 0;
	assert_int_equal(survey_start(&s, &reaper, &ask, on_done, NULL, &e), 0);
	survey_abandon(s);
	survey_abandon(NULL);
	ev_run(reaper.loop, EVRUN_NOWAIT);
	assert_int_equal(told, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_namespace_has_nothing),
		cmocka_unit_test(test_links_are_told_with_their_place),
		cmocka_unit_test(test_named_lan_interfaces_are_the_lan),
		cmocka_unit_test(test_a_single_interface_is_lan_and_uplink),
		cmocka_unit_test(test_rules_of_each_tool_are_read),
		cmocka_unit_test(test_rules_of_the_legacy_variant_are_read_too),
		cmocka_unit_test(test_routing_that_collides_is_told_with_what_deletes_it),
		cmocka_unit_test(test_who_serves_port_53_is_named),
		cmocka_unit_test(test_without_any_tool_the_rest_is_told),
		cmocka_unit_test(test_an_abandoned_survey_says_nothing),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
