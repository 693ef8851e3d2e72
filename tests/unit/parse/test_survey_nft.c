/*
 * survey_nft: what the rules of others say, out of nft's JSON. The two listings
 * of the fuzzer's corpus are those of nft 1.0.6.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/survey_rules.h"

#define CORPUS SOURCE_DIR "/tests/fuzz/corpus/survey_nft/"

static const struct survey_view view = { .port = 7893 };
static struct survey_rules rules;

static int read_text(const char *listing, size_t len, const struct survey_view *v)
{
	struct err e = ERR_INIT;

	memset(&rules, 0, sizeof(rules));
	return survey_nft(listing, len, v, &rules, &e);
}

static void read_file(const char *name, const struct survey_view *v)
{
	cleanup_free char *listing = NULL;
	struct err e = ERR_INIT;
	char path[512];
	size_t len;

	snprintf(path, sizeof(path), CORPUS "%s", name);
	assert_int_equal(io_slurp_path(path, SURVEY_LISTING_MAX, &listing, &len, &e), 0);
	assert_int_equal(read_text(listing, len, v), 0);
}

/* The chain "inet t x" at a hook, with the expressions of its rules. */
static void read_chain(const char *hook, const char *policy, const char *rule)
{
	char listing[2048];
	int len = snprintf(
		listing, sizeof(listing),
		"{\"nftables\": [{\"table\": {\"family\": \"inet\", \"name\": \"t\"}}, {\"chain\": {\"family\":"
		" \"inet\", \"table\": \"t\", \"name\": \"x\", \"type\": \"filter\", \"hook\": \"%s\","
		" \"policy\": \"%s\"}}, {\"rule\": {\"family\": \"inet\", \"table\": \"t\", \"chain\": \"x\","
		" \"handle\": 7, \"expr\": [%s]}}]}",
		hook, policy, rule);

	assert_int_equal(read_text(listing, (size_t)len, &view), 0);
}

static void test_openwrt_lets_its_lan_through_and_in(void **state)
{
	(void)state;
	read_file("fw4.json", &view);
	for (int f = 0; f < IP_FAMILIES; f++) {
		assert_false(rules.family[f].forward.closed);
		assert_false(rules.family[f].input.closed);
	}
	assert_true(rules.family[IP_V4].masquerade);
	assert_false(rules.family[IP_V6].masquerade);
	assert_string_equal(rules.family[IP_V4].dns_by, "rule 34 of nft's table inet fw4, chain dstnat_lan");
	assert_int_equal(rules.n_programs, 2);
	assert_string_equal(rules.programs[0].name, "OpenWrt's firewall");
	assert_string_equal(rules.programs[1].name, "OpenClash");
	assert_int_equal(rules.n_foreign, 1);
	assert_string_equal(rules.foreign[0].program, "OpenClash");
	assert_string_equal(rules.foreign[0].command, "nft delete rule inet fw4 openclash_mangle handle 32");
}

static void test_openwrt_is_closed_for_an_interface_of_no_zone(void **state)
{
	struct iface guest = { "guest" };
	const struct iface_list list = { &guest, 1 };
	const struct survey_view v = { .port = 7893, .lan_ifaces = &list };
	(void)state;

	read_file("fw4.json", &v);
	assert_true(rules.family[IP_V6].forward.closed);
	assert_true(rules.family[IP_V6].forward.nft);
	assert_string_equal(rules.family[IP_V6].forward.where, "nft, chain inet fw4 forward, its last rule");
	assert_string_equal(rules.family[IP_V6].forward.open, "nft insert rule inet fw4 forward");
	assert_true(rules.family[IP_V4].input.closed);
}

static void test_every_kind_of_rule_is_read(void **state)
{
	static const char *const commands[] = {
		"nft delete rule inet other pre handle 12",
		"nft delete rule inet other pre handle 13",
		"nft delete rule inet other pre handle 14",
		"nft delete rule inet other nat handle 15",
	};
	(void)state;

	read_file("every_kind.json", &view);
	assert_int_equal(rules.n_foreign, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(rules.foreign[i].command, commands[i]);
	assert_string_equal(rules.family[IP_V4].dns_by, "rule 15 of nft's table inet other, chain nat");
	assert_true(rules.family[IP_V6].masquerade);
	assert_true(rules.family[IP_V4].forward.closed);
	assert_string_equal(rules.family[IP_V4].forward.where, "nft, chain inet other rej, its last rule");
	assert_false(rules.family[IP_V4].forward.refuses); /* that word is for iptables */
	assert_int_equal(rules.n_programs, 0);
	assert_false(rules.ours);
}

static void test_only_what_lets_a_new_connection_of_the_lan_through_opens_forward(void **state)
{
	static const struct {
		const char *rule;
		bool closed[IP_FAMILIES];
	} rows[] = {
#define MATCH(op, left, right)                                                                                         \
	"{\"match\": {\"op\": \"" op "\", \"left\": " left ", \"right\": " right "}}, {\"accept\": null}"
#define META(key) "{\"meta\": {\"key\": \"" key "\"}}"
#define PAYLOAD(protocol, field) "{\"payload\": {\"protocol\": \"" protocol "\", \"field\": \"" field "\"}}"
		{ "{\"counter\": null}", { true, true } },
		{ "{\"accept\": null}", { false, false } },
		{ MATCH("==", META("iifname"), "\"lan\""), { false, false } },
		{ MATCH("==", META("iifname"), "{\"set\": [\"docker0\", \"lan*\"]}"), { false, false } },
		{ MATCH("==", META("iifname"), "{\"set\": [\"docker0\", \"veth1\"]}"), { true, true } },
		{ MATCH("!=", META("iifname"), "{\"set\": [\"docker0\", \"veth1\"]}"), { false, false } },
		{ MATCH("==", META("iifname"), "\"@lan_devices\""), { false, false } },
		{ MATCH("==", META("oifname"), "\"docker0\""), { true, true } },
		{ MATCH("==", META("l4proto"), "\"icmp\""), { true, true } },
		{ MATCH("==", META("l4proto"), "{\"set\": [\"tcp\", \"udp\"]}"), { false, false } },
		{ MATCH("==", META("l4proto"), "6"), { false, false } },
		{ MATCH("==", META("nfproto"), "\"ipv4\""), { false, true } },
		{ MATCH("==", META("mark"), "1"), { true, true } },
		{ MATCH("==", PAYLOAD("ip6", "saddr"), "{\"prefix\": {\"addr\": \"fd00::\", \"len\": 8}}"),
		  { true, false } },
		{ MATCH("==", PAYLOAD("ip", "daddr"), "\"1.1.1.1\""), { true, true } },
		{ MATCH("==", PAYLOAD("tcp", "dport"), "443"), { true, true } },
		{ MATCH("==", PAYLOAD("icmpv6", "type"), "\"echo-request\""), { true, true } },
		{ MATCH("in", "{\"ct\": {\"key\": \"state\"}}", "[\"established\", \"related\"]"), { true, true } },
		{ MATCH("in", "{\"ct\": {\"key\": \"state\"}}", "[\"established\", \"new\"]"), { false, false } },
		{ MATCH("in", "{\"ct\": {\"key\": \"status\"}}", "\"dnat\""), { true, true } },
		{ "{\"vmap\": {\"key\": {\"ct\": {\"key\": \"state\"}}, \"data\": {\"set\": [[\"established\", "
		  "{\"accept\":"
		  " null}], [\"invalid\", {\"drop\": null}]]}}}",
		  { true, true } },
		{ "{\"vmap\": {\"key\": {\"ct\": {\"key\": \"state\"}}, \"data\": {\"set\": [[\"new\", {\"accept\":"
		  " null}]]}}}",
		  { false, false } },
		{ "{\"vmap\": {\"key\": {\"meta\": {\"key\": \"iifname\"}}, \"data\": \"@zones\"}}", { false, false } },
		{ "{\"xt\": {\"type\": \"match\", \"name\": \"x\"}}, {\"accept\": null}", { false, false } },
		{ "{\"xt\": null}, {\"drop\": null}", { true, true } },
		{ "{\"jump\": {\"target\": \"x\"}}", { false, false } }, /* not understood */
		{ "{\"jump\": {\"target\": \"nowhere\"}}", { true, true } },
		{ "{\"goto\": {\"target\": \"nowhere\"}}", { true, true } },
		{ "{\"queue\": {\"num\": 0}}", { false, false } },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		read_chain("forward", "drop", rows[i].rule);
		for (int f = 0; f < IP_FAMILIES; f++) {
			if (rules.family[f].forward.closed != rows[i].closed[f])
				fail_msg("family %d: closed should be %d: %s", f, rows[i].closed[f], rows[i].rule);
		}
	}
}

static void test_what_iptables_listed_is_not_looked_at_again(void **state)
{
	static const char listing[] = "{\"nftables\": [{\"chain\": {\"family\": \"ip\", \"table\": \"filter\", "
				      "\"name\": \"FORWARD\", \"type\":"
				      " \"filter\", \"hook\": \"forward\", \"policy\": \"drop\"}}]}";
	struct err e = ERR_INIT;
	(void)state;

	assert_int_equal(read_text(listing, strlen(listing), &view), 0);
	assert_true(rules.family[IP_V4].forward.closed);
	assert_false(rules.family[IP_V6].forward.closed);
	memset(&rules, 0, sizeof(rules));
	rules.nft_variant[IP_V4] = true;
	rules.tables[IP_V4] = 1; /* filter */
	assert_int_equal(survey_nft(listing, strlen(listing), &view, &rules, &e), 0);
	assert_false(rules.family[IP_V4].forward.closed);
}

static void test_our_own_table_is_not_somebody_elses(void **state)
{
	static const char listing[] =
		"{\"nftables\": [{\"chain\": {\"family\": \"inet\", \"table\": \"clashsup\", \"name\": \"pre\", "
		"\"type\":"
		" \"filter\", \"hook\": \"forward\", \"policy\": \"drop\"}}, {\"rule\": {\"family\": \"inet\", "
		"\"table\":"
		" \"clashsup\", \"chain\": \"pre\", \"handle\": 3, \"expr\": [{\"tproxy\": {\"port\": 7893}}]}}]}";
	(void)state;

	assert_int_equal(read_text(listing, strlen(listing), &view), 0);
	assert_true(rules.ours);
	assert_int_equal(rules.n_foreign, 0);
	assert_false(rules.family[IP_V4].forward.closed);
}

static void test_what_is_no_list_is_refused(void **state)
{
	static char deep[4096];
	(void)state;

	assert_int_equal(read_text("", 0, &view), -EINVAL);
	assert_int_equal(read_text("no rules", 8, &view), -EINVAL);
	assert_int_equal(read_text("{\"nftables\": [", 14, &view), -EINVAL);
	memset(deep, '[', sizeof(deep));
	deep[0] = '{';
	assert_int_equal(read_text(deep, sizeof(deep), &view), -EFBIG);
	assert_int_equal(read_text(deep, SURVEY_LISTING_MAX + 1, &view), -EFBIG);
	/* other shapes than nft's say nothing */
	assert_int_equal(read_text("{\"nftables\": {\"rule\": 7}}", 25, &view), 0);
	assert_int_equal(read_text("{\"nftables\": [7, {\"rule\": {\"expr\": 9}}]} warning", 49, &view), 0);
	assert_int_equal(rules.n_foreign, 0);
}

static void test_more_values_than_are_sound_are_refused(void **state)
{
	size_t len = 1000000;
	char *listing = malloc(len);
	(void)state;

	assert_non_null(listing);
	memset(listing, ',', len);
	listing[0] = '{';
	assert_int_equal(read_text(listing, len, &view), -EFBIG);
	free(listing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openwrt_lets_its_lan_through_and_in),
		cmocka_unit_test(test_openwrt_is_closed_for_an_interface_of_no_zone),
		cmocka_unit_test(test_every_kind_of_rule_is_read),
		cmocka_unit_test(test_only_what_lets_a_new_connection_of_the_lan_through_opens_forward),
		cmocka_unit_test(test_what_iptables_listed_is_not_looked_at_again),
		cmocka_unit_test(test_our_own_table_is_not_somebody_elses),
		cmocka_unit_test(test_what_is_no_list_is_refused),
		cmocka_unit_test(test_more_values_than_are_sound_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
