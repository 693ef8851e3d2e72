/* netstate: what is left and what differs, as a table: one change each against a whole state, and the sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/netstate.h"

static struct netstate armed(enum fw_backend backend)
{
	struct netstate s = { .backend = backend, .server_set = "clash_proxy_ips" };

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		struct netstate_family *family = &s.family[f];

		family->rules = (struct fw_view){ .lines = 40, .digest = 1234 };
		family->ipset[FWSET_SERVERS] = (struct netstate_set){ true, 5 };
		family->ipset[FWSET_LEASE].there = true;
		family->rule = family->route = family->tagged = true;
		if (backend == FW_NFT)
			family->table[FWSET_RESERVED] = (struct netstate_set){ true, 14 };
	}
	s.family[IP_V4].ipset[FWSET_SKIP_MAC] = (struct netstate_set){ true, 1 }; /* for both families */
	return s;
}

static const char *delta(const struct netstate *now, const struct netstate *wanted)
{
	static char what[NETSTATE_TEXT];
	bool any;

	what[0] = '\0';
	any = netstate_delta(now, wanted, what, sizeof(what));
	assert_int_equal(any, what[0] != '\0');
	return any ? what : "none";
}

static const char *residue(const struct netstate *now)
{
	static char what[NETSTATE_TEXT];
	bool any;

	what[0] = '\0';
	any = netstate_residue(now, what, sizeof(what));
	assert_int_equal(any, what[0] != '\0');
	return any ? what : "none";
}

/* ---- delta ---- */

static void nothing(struct netstate *s)
{
	(void)s;
}

static void digest6(struct netstate *s)
{
	s->family[IP_V6].rules.digest++;
}

static void lines4(struct netstate *s)
{
	s->family[IP_V4].rules.lines++;
}

static void rules4(struct netstate *s)
{
	s->family[IP_V4].rules = (struct fw_view){ 0 };
}

static void all_rules(struct netstate *s)
{
	s->family[IP_V4].rules = s->family[IP_V6].rules = (struct fw_view){ 0 };
}

static void servers_emptied(struct netstate *s)
{
	s->family[IP_V4].ipset[FWSET_SERVERS].count = 0;
}

static void servers_gone(struct netstate *s)
{
	s->family[IP_V6].ipset[FWSET_SERVERS].there = false;
}

static void more_servers(struct netstate *s)
{
	s->family[IP_V4].ipset[FWSET_SERVERS].count++;
	s->family[IP_V4].ipset[FWSET_LEASE].count++;
	s->family[IP_V4].ipset[FWSET_WANT] = (struct netstate_set){ true, 3 };
}

static void macs_gone(struct netstate *s)
{
	s->family[IP_V4].ipset[FWSET_SKIP_MAC].there = false;
}

static void table_set_emptied(struct netstate *s)
{
	s->family[IP_V4].table[FWSET_RESERVED].count = 0;
}

static void rule6(struct netstate *s)
{
	s->family[IP_V6].rule = false;
}

static void routes(struct netstate *s)
{
	s->family[IP_V4].route = s->family[IP_V6].route = false;
}

static void other(struct netstate *s)
{
	s->other = true;
}

static void everything(struct netstate *s)
{
	*s = (struct netstate){ .backend = s->backend, .server_set = s->server_set };
}

static const struct {
	enum fw_backend backend;
	void (*change)(struct netstate *s);
	const char *delta;
} rows[] = {
	{ FW_IPTABLES, nothing, "none" },
	{ FW_NFT, nothing, "none" },
	{ FW_IPTABLES, digest6, "rules of IPv6 differ" },
	{ FW_IPTABLES, lines4, "rules of IPv4 differ" },
	{ FW_IPTABLES, rules4, "rules of IPv4 are gone" },
	{ FW_IPTABLES, all_rules, "rules of IPv4 are gone, and 1 thing more" },
	{ FW_NFT, all_rules, "rules of nft are gone" },
	{ FW_NFT, lines4, "rules of nft differ" },
	{ FW_NFT, table_set_emptied, "nft set clash_reserved has 0 of 14 elements" },
	{ FW_IPTABLES, servers_emptied, "ipset clash_proxy_ips has 0 of 5 elements" },
	{ FW_IPTABLES, servers_gone, "ipset clash_proxy_ips6 is gone" },
	{ FW_IPTABLES, more_servers, "none" },
	{ FW_IPTABLES, macs_gone, "ipset clash_mac_skip is gone" },
	{ FW_IPTABLES, rule6, "no ip rule for IPv6" },
	{ FW_IPTABLES, routes, "no route of IPv4 to lo, and 1 thing more" },
	{ FW_IPTABLES, other, "rules of another backend are there" },
	{ FW_IPTABLES, everything, "rules of IPv4 are gone, and 10 things more" },
	{ FW_NFT, everything, "rules of nft are gone, and 9 things more" },
};

static void each_change_is_a_difference_with_its_sentence(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct netstate wanted = armed(rows[i].backend);
		struct netstate now = wanted;

		rows[i].change(&now);
		assert_string_equal(delta(&now, &wanted), rows[i].delta);
	}
}

static void what_nobody_wants_of_sets_and_routing_is_no_difference(void **state)
{
	struct netstate wanted = armed(FW_IPTABLES), now = wanted;
	(void)state;

	wanted.family[IP_V6] = (struct netstate_family){ .rules = now.family[IP_V6].rules };
	assert_string_equal(delta(&now, &wanted), "none");
	wanted.family[IP_V6].rules.lines = 0; /* but rules are */
	assert_string_equal(delta(&now, &wanted), "rules of IPv6 differ");
}

static void a_sentence_that_does_not_fit_is_cut(void **state)
{
	const struct netstate wanted = armed(FW_IPTABLES);
	struct netstate now = wanted;
	char what[12];
	(void)state;

	everything(&now);
	assert_true(netstate_delta(&now, &wanted, what, sizeof(what)));
	assert_string_equal(what, "rules of IP");
	assert_true(netstate_residue(&wanted, what, sizeof(what)));
	assert_string_equal(what, "rules of IP");
}

/* ---- residue ---- */

static void anything_of_ours_is_residue_and_the_first_is_named(void **state)
{
	struct netstate s = armed(FW_IPTABLES), table = armed(FW_NFT);
	(void)state;

	assert_string_equal(residue(&s), "rules of IPv4, and 8 things more");
	assert_string_equal(residue(&table), "table inet clashsup, and 7 things more");
	all_rules(&s);
	assert_string_equal(residue(&s), "ipset clash_proxy_ips, and 6 things more");
	s.other = true;
	assert_string_equal(residue(&s), "rules, and 7 things more");
	everything(&s);
	assert_string_equal(residue(&s), "none");
	s.family[IP_V6].ipset[FWSET_LEASE].there = true;
	assert_string_equal(residue(&s), "ipset clash_lease6");
	everything(&s);
	s.family[IP_V6].tagged = true;
	assert_string_equal(residue(&s), "policy routing of IPv6");
	everything(&s);
	s.family[IP_V4].rule = s.family[IP_V4].route = true; /* somebody else's of the same numbers */
	assert_string_equal(residue(&s), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_change_is_a_difference_with_its_sentence),
		cmocka_unit_test(what_nobody_wants_of_sets_and_routing_is_no_difference),
		cmocka_unit_test(a_sentence_that_does_not_fit_is_cut),
		cmocka_unit_test(anything_of_ours_is_residue_and_the_first_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
