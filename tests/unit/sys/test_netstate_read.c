/*
 * netstate with the real kernel, by every backend: apply, residue but no delta;
 * again, the same; each tampering, a delta; repair, none; remove, no residue.
 */
#include "firewall_fixture.h"

#include "clashsup/netstate_read.h"
#include "clashsup/route.h"

#define TABLE 100
#define PREF 100

struct house {
	struct fixture *x;
	struct ipset *ipset;
	struct nft_set *nft_set;
	struct netstate_reader reader;
	struct netstate now, wanted;
	char what[NETSTATE_TEXT];
	int done;
};

static void on_state(void *ctx, const struct firewall_result *result, const struct netstate *now)
{
	struct house *h = ctx;

	assert_false(result->aborted || result->family[IP_V4] || result->family[IP_V6]);
	h->now = *now;
	h->done++;
	ev_break(h->x->loop, EVBREAK_ALL);
}

static void read_state(struct house *h)
{
	struct err e = ERR_INIT;

	h->done = 0;
	h->reader = (struct netstate_reader){ .source = { h->ipset, h->nft_set, &params, TABLE, PREF, h->x->backend },
					      .done = on_state,
					      .ctx = h };
	assert_int_equal(netstate_read(&h->reader, h->x->fw, &e), 0);
	ev_run(h->x->loop, 0);
	assert_int_equal(h->done, 1);
	netstate_read_tagged(&h->now);
}

struct filling {
	struct ipset *ipset;
	const char *name;
};

static int add_to(void *ctx, const char *element)
{
	struct err e = ERR_INIT;
	const struct filling *to = ctx;

	return ipset_add_elements(to->ipset, to->name, &element, 1, &e);
}

/* All that an arming puts in, and that a repair puts back. */
static void put_all(struct house *h)
{
	struct err e = ERR_INIT;
	char name[FWPLAN_SET_TEXT];

	assert_int_equal(make_sets(), 0);
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++) {
			struct filling to = { h->ipset, fwplan_set(&params, f, set, name) };

			if (fwplan_has_set(&params, f, set))
				assert_int_equal(fwplan_elements(&params, f, set, add_to, &to), 0);
		}
		assert_int_equal(route_add(f, params.mark, TABLE, PREF, &e), 0);
	}
	assert_int_equal(ipset_change(h->ipset, params.server_set, params.servers, params.n_servers, NULL, 0, &e), 0);
	apply(h->x, &params);
	assert_ok(h->x);
}

static void take_all(struct house *h)
{
	struct err e = ERR_INIT;
	char name[FWPLAN_SET_TEXT];

	remove_all(h->x);
	assert_ok(h->x);
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++)
			assert_int_equal(ipset_destroy(h->ipset, fwplan_set(&params, f, set, name), &e), 0);
		assert_int_equal(route_sweep(f, &e), 0);
	}
}

static bool has_residue(struct house *h)
{
	read_state(h);
	return netstate_residue(&h->now, h->what, sizeof(h->what));
}

static bool has_delta(struct house *h)
{
	read_state(h);
	h->what[0] = '\0';
	return netstate_delta(&h->now, &h->wanted, h->what, sizeof(h->what));
}

static void tamper(struct house *h, const char *command, const char *sentence)
{
	print_message("%s\n", command);
	assert_int_equal(sh(command), 0);
	assert_true(has_delta(h));
	assert_string_equal(h->what, sentence);
	put_all(h);
	if (has_delta(h))
		fail_msg("after the repair: %s", h->what);
}

struct tampering {
	const char *command, *sentence;
};

static const struct tampering by_iptables[] = {
	{ "iptables -t mangle -D CLASH_TPROXY 1", "rules of IPv4 differ" },
	{ "ip6tables -t mangle -F", "rules of IPv6 differ" },
	{ "ipset flush clash_reserved6", "ipset clash_reserved6 has 0 of 12 elements" },
	{ "for i in iptables ip6tables; do for t in mangle nat filter; do $i -t $t -F; $i -t $t -X; done; done; "
	  "ipset destroy",
	  "rules of IPv4 are gone, and 12 things more" },
};

static const struct tampering by_nft[] = {
	{ "nft delete table inet clashsup", "rules of nft differ, and 10 things more" }, /* CLASH_INPUT is iptables' */
	{ "nft flush chain inet clashsup CLASH_SELECT4", "rules of nft differ" },
	{ "nft flush set inet clashsup clash_reserved6", "nft set clash_reserved6 has 0 of 10 elements" },
	{ "nft flush set inet clashsup clash_proxy_ips", "nft set clash_proxy_ips has 0 of 1 elements" },
};

static const struct tampering by_all[] = {
	{ "ipset flush clash_proxy_ips", "ipset clash_proxy_ips has 0 of 1 elements" },
	{ "ip rule del pref 100", "no ip rule for IPv4" },
	{ "ip -6 rule del pref 100", "no ip rule for IPv6" },
	{ "ip route flush table 100 && ip -6 route flush table 100", "no route of IPv4 to lo, and 1 thing more" },
};

static void tamper_all(struct house *h, const struct tampering *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tamper(h, t[i].command, t[i].sentence);
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void run(struct house *h)
{
	put_all(h);
	assert_true(has_residue(h));
	h->wanted = h->now;
	for (unsigned f = 0; f < IP_FAMILIES; f++) /* the lease runs out by itself */
		h->wanted.family[f].ipset[FWSET_LEASE].count = h->wanted.family[f].table[FWSET_LEASE].count = 0;
	assert_false(has_delta(h));
	put_all(h);
	assert_true(has_residue(h));
	assert_false(has_delta(h));

	tamper_all(h, by_all, COUNT(by_all));
	if (h->x->backend == FW_NFT)
		tamper_all(h, by_nft, COUNT(by_nft));
	else
		tamper_all(h, by_iptables, COUNT(by_iptables));

	take_all(h);
	if (has_residue(h))
		fail_msg("left: %s", h->what);
	assert_int_equal(sh("ip rule add pref 7 fwmark 0x33 lookup 333 protocol 157"), 0); /* other numbers, our tag */
	assert_true(has_residue(h));
	assert_string_equal(h->what, "policy routing of IPv4");
}

static void apply_tamper_repair_remove(void **state)
{
	struct house h = { .x = fixture(state) };
	struct err e = ERR_INIT;

	assert_int_equal(ipset_open(&h.ipset, &e), 0);
	assert_int_equal(nft_set_open(&h.nft_set, &e), 0);
	run(&h);
	nft_set_close(h.nft_set);
	ipset_close(h.ipset);
}

static void on_blind(void *ctx, const struct firewall_result *result, const struct netstate *now)
{
	struct house *h = ctx;

	assert_true(result->family[IP_V4] < 0);
	assert_int_equal(result->family[IP_V6], 0);
	h->now = *now;
	ev_break(h->x->loop, EVBREAK_ALL);
}

static void rules_that_cannot_be_read_are_as_they_were(void **state)
{
	struct house h = { .x = fixture(state) };
	struct err e = ERR_INIT;

	assert_int_equal(ipset_open(&h.ipset, &e), 0);
	put_all(&h);
	read_state(&h);
	h.wanted = h.now;
	h.reader.now = h.wanted;
	h.reader.done = on_blind;
	put_program(h.x, "iptables-save", "echo broken >&2; exit 1");
	assert_int_equal(sh("ip6tables -t mangle -F; ip rule del pref 100"), 0);
	assert_int_equal(netstate_read(&h.reader, h.x->fw, &e), 0);
	ev_run(h.x->loop, 0);
	assert_true(netstate_delta(&h.now, &h.wanted, h.what, sizeof(h.what)));
	assert_string_equal(h.what, "rules of IPv6 differ, and 1 thing more");
	ipset_close(h.ipset);
}

int main(void)
{
	const struct CMUnitTest tests[] = { EACH_BACKEND(apply_tamper_repair_remove),
					    EACH_VARIANT(rules_that_cannot_be_read_are_as_they_were) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
