/* findings: what is said about which facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/findings.h"

/* A router with a bridge for its LAN, and a masquerade. */
static struct survey_facts healthy(void)
{
	struct survey_facts f = { .rules_known = true, .forward = { 1, 1 }, .n_links = 2 };
	struct survey_link lan = { .name = "br0", .lan = true, .bridge = true, .private4 = true, .accept_ra = 1 };
	struct survey_link wan = { .name = "eth0.5", .uplink = { true, true }, .public4 = true, .accept_ra = 1 };

	f.bridge_nf[IP_V4] = f.bridge_nf[IP_V6] = SURVEY_UNKNOWN;
	f.rules.family[IP_V4].masquerade = true;
	f.links[0] = lan;
	f.links[1] = wan;
	return f;
}

static struct findings_wish both(void)
{
	return (struct findings_wish){ .family = { true, true }, .input_accept = WISH_AUTO, .dns = WISH_AUTO };
}

static void close_hook(struct survey_hook *hook, bool nft)
{
	*hook = (struct survey_hook){ .closed = true, .refuses = !nft, .nft = nft };
	strcpy(hook->where, nft ? "nft, chain inet t c, policy drop" : "iptables, chain FORWARD, policy DROP");
	strcpy(hook->open, nft ? "nft insert rule inet t c" : "iptables -w -I FORWARD");
}

static void forward_off(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->forward[IP_V4] = 0;
}

static void forward_off_and_closed(struct survey_facts *f, struct findings_wish *w)
{
	f->forward[IP_V4] = 0;
	w->closed = true;
}

static void forward6_off(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->forward[IP_V6] = 0;
}

static void forward6_off_without_ipv6(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->forward[IP_V6] = 0;
	f->links[1].uplink[IP_V6] = false;
}

static void forward6_off_unused(struct survey_facts *f, struct findings_wish *w)
{
	f->forward[IP_V6] = 0;
	w->family[IP_V6] = false;
}

static void docker(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	close_hook(&f->rules.family[IP_V4].forward, false);
	f->rules.programs[f->rules.n_programs++] = (struct survey_program){ "Docker", false };
}

static void forward_refused_by_nft(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	close_hook(&f->rules.family[IP_V6].forward, true);
}

static void no_masquerade(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->rules.family[IP_V4].masquerade = false;
}

static void no_masquerade_for_public_addresses(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->rules.family[IP_V4].masquerade = false;
	f->links[0].public4 = true;
}

static void no_masquerade_beside_the_router(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->rules.family[IP_V4].masquerade = false;
	f->links[0].uplink[IP_V4] = true;
	f->n_links = 1;
}

static void bridge_nf(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->bridge_nf[IP_V4] = 1;
}

static void bridge_nf_without_a_bridge(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->bridge_nf[IP_V4] = f->bridge_nf[IP_V6] = 1;
	f->links[0].bridge = false;
}

static void bridge_nf_of_its_own(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->bridge_nf[IP_V6] = 0;
	f->links[0].bridge_nf[IP_V6] = 1;
}

static void valid_mark(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->src_valid_mark_all = 1;
}

static void valid_mark_of_the_lan(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->links[0].src_valid_mark = 1;
}

static void valid_mark_elsewhere(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->links[1].src_valid_mark = 1;
}

static void valid_mark_with_accept_local(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->src_valid_mark_all = f->accept_local_all = 1;
	f->rp_filter_all = 2;
	f->links[0].rp_filter = 1;
}

static void valid_mark_with_accept_local_and_strict(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->src_valid_mark_all = f->links[0].accept_local = f->rp_filter_all = 1;
}

static void input_refused(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	close_hook(&f->rules.family[IP_V4].input, false);
}

static void input_refused_and_not_accepted(struct survey_facts *f, struct findings_wish *w)
{
	close_hook(&f->rules.family[IP_V4].input, false);
	w->input_accept = WISH_NO;
}

static void input_refused_by_nft(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	close_hook(&f->rules.family[IP_V4].input, true);
}

static void a_stranger(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	strcpy(f->strangers[f->n_strangers].text, "ip rule 1000: fwmark 0x1 lookup 100");
	strcpy(f->strangers[f->n_strangers++].command, "ip rule del pref 1000");
	f->rules.programs[f->rules.n_programs++] = (struct survey_program){ "v2rayA", true };
}

static void a_stranger_that_does_the_same(struct survey_facts *f, struct findings_wish *w)
{
	a_stranger(f, w);
	f->strangers[0].same = true;
	f->rules.n_programs = 0;
}

static void a_foreign_rule(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->rules.foreign[f->rules.n_foreign++] =
		(struct survey_rule){ "-A X -j TPROXY", "iptables -w -t mangle -D X -j TPROXY", "passwall", false };
}

static void dns_served(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	f->dns[f->n_dns++] = (struct survey_socket){ .pid = 7, .name = "dnsmasq" };
}

static void dns_served_and_wanted(struct survey_facts *f, struct findings_wish *w)
{
	dns_served(f, w);
	w->dns = WISH_YES;
}

static void dns_served_and_not_wanted(struct survey_facts *f, struct findings_wish *w)
{
	dns_served(f, w);
	w->dns = WISH_NO;
}

static void dns_redirected(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	strcpy(f->rules.family[IP_V4].dns_by, "-A PREROUTING --dport 53");
}

static void half_blind(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	strcpy(f->unknown, "nft: no end within 5000 ms");
}

static void a_tun_of_mihomos(struct survey_facts *f, struct findings_wish *w)
{
	(void)w;
	memcpy(f->tun, "Meta", 5);
}

/* One row: what is wrong, and the only finding it makes (text NULL: none). */
static const struct row {
	void (*is)(struct survey_facts *f, struct findings_wish *w);
	enum finding_weight weight;
	const char *text; /* a part of it */
	const char *command;
	const char *path;
} rows[] = {
	{ forward_off, FINDING_WARN, "no direct path for IPv4: net.ipv4.ip_forward is 0",
	  "sysctl -w net.ipv4.ip_forward=1", "IPv6 only (net.ipv4.ip_forward is 0)" },
	{ forward_off_and_closed, FINDING_NOTE, "no direct path for IPv4", "sysctl -w net.ipv4.ip_forward=1",
	  "IPv6 only (net.ipv4.ip_forward is 0)" },
	{ forward6_off, FINDING_WARN, "no direct path for IPv6", "sysctl -w net.ipv6.conf.all.forwarding=1",
	  "IPv4 only (net.ipv6.conf.all.forwarding is 0)" },
	{ forward6_off_without_ipv6, 0, NULL, NULL, "ok" },
	{ forward6_off_unused, 0, NULL, NULL, "ok" },
	{ docker, FINDING_WARN, "(iptables, chain FORWARD, policy DROP); Docker has rules there",
	  "iptables -w -I FORWARD -i br0 -j ACCEPT; iptables -w -I FORWARD -o br0 -m conntrack --ctstate"
	  " ESTABLISHED,RELATED -j ACCEPT",
	  "IPv6 only (iptables, chain FORWARD, policy DROP)" },
	{ forward_refused_by_nft, FINDING_WARN, "forwarding is refused (nft, chain inet t c, policy drop), so",
	  "nft insert rule inet t c iifname br0 accept; nft insert rule inet t c oifname br0 ct state"
	  " established,related accept",
	  "IPv4 only (nft, chain inet t c, policy drop)" },
	{ no_masquerade, FINDING_WARN, "no masquerade", "iptables -w -t nat -A POSTROUTING -o eth0.5 -j MASQUERADE",
	  "IPv6 only (no masquerade for a LAN of private addresses)" },
	{ no_masquerade_for_public_addresses, 0, NULL, NULL, "ok" },
	{ no_masquerade_beside_the_router, 0, NULL, NULL, "ok" },
	{ bridge_nf, FINDING_WARN, "IPv4 of bridge br0 cannot be proxied",
	  "sysctl -w net.bridge.bridge-nf-call-iptables=0", "ok" },
	{ bridge_nf_without_a_bridge, 0, NULL, NULL, "ok" },
	{ bridge_nf_of_its_own, FINDING_WARN, "IPv6 of bridge br0 cannot be proxied: its own nf_call_ip6tables is 1",
	  "ip link set br0 type bridge nf_call_ip6tables 0", "ok" },
	{ valid_mark, FINDING_WARN, "IPv4 of br0 cannot be proxied: net.ipv4.conf.all.src_valid_mark is 1",
	  "sysctl -w net/ipv4/conf/all/src_valid_mark=0", "ok" },
	{ valid_mark_of_the_lan, FINDING_WARN, "net.ipv4.conf.br0.src_valid_mark is 1",
	  "sysctl -w net/ipv4/conf/br0/src_valid_mark=0", "ok" },
	{ valid_mark_elsewhere, 0, NULL, NULL, "ok" },
	{ valid_mark_with_accept_local, 0, NULL, NULL, "ok" },
	{ valid_mark_with_accept_local_and_strict, FINDING_WARN, "src_valid_mark is 1",
	  "sysctl -w net/ipv4/conf/all/src_valid_mark=0", "ok" },
	{ input_refused, 0, NULL, NULL, "ok" },
	{ input_refused_and_not_accepted, FINDING_WARN, "and input_accept is no",
	  "iptables -w -I FORWARD -i br0 -j ACCEPT", "ok" },
	{ input_refused_by_nft, FINDING_WARN, "no rule of clashsup's can open that chain",
	  "nft insert rule inet t c iifname br0 accept", "ok" },
	{ a_stranger_that_does_the_same, FINDING_NOTE, "does what clashsup's own does", "ip rule del pref 1000", "ok" },
	{ a_foreign_rule, FINDING_REFUSE,
	  "somebody else (passwall) leads traffic to Mihomo's TPROXY port: -A X -j TPROXY",
	  "iptables -w -t mangle -D X -j TPROXY", "ok" },
	{ dns_served, FINDING_NOTE, "port 53 is served by dnsmasq (pid 7): dns = auto leaves it alone", "", "ok" },
	{ dns_served_and_wanted, FINDING_WARN, "with dns = on", "", "ok" },
	{ dns_served_and_not_wanted, 0, NULL, NULL, "ok" },
	{ dns_redirected, FINDING_NOTE, "port 53 is redirected already: -A PREROUTING --dport 53", "", "ok" },
	{ a_tun_of_mihomos, FINDING_WARN, "Mihomo's tun is on (interface Meta)", "", "ok" },
	{ half_blind, FINDING_NOTE, "nft: no end within 5000 ms", "", "ok" },
};

static void test_each_fact_makes_the_finding_that_it_should(void **state)
{
	char path[256];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct findings_wish w = both();
		struct survey_facts f = healthy();
		struct findings out = { .n = 0 };

		rows[i].is(&f, &w);
		findings_judge(&f, &w, &out);
		if (out.n != (rows[i].text ? 1u : 0u))
			fail_msg("row %zu: %zu findings, the first: %s", i, out.n, out.list[0].text);
		assert_string_equal(findings_direct_path(&f, &w, path, sizeof(path)), rows[i].path);
		assert_true((findings_refusal(&out) != NULL) == (rows[i].text && rows[i].weight == FINDING_REFUSE));
		if (!rows[i].text)
			continue;
		if (!strstr(out.list[0].text, rows[i].text))
			fail_msg("row %zu: \"%s\" is not in: %s", i, rows[i].text, out.list[0].text);
		assert_string_equal(out.list[0].command, rows[i].command);
		assert_int_equal(out.list[0].weight, rows[i].weight);
	}
}

static void test_a_healthy_machine_has_no_finding(void **state)
{
	struct findings_sysctl wants[FINDINGS_SYSCTLS_MAX];
	struct findings_wish w = both();
	struct survey_facts f = healthy();
	struct findings out = { .n = 0 };
	char text[256];
	(void)state;

	findings_judge(&f, &w, &out);
	assert_int_equal(out.n, 0);
	assert_null(findings_refusal(&out));
	assert_string_equal(findings_direct_path(&f, &w, text, sizeof(text)), "ok");
	assert_int_equal(findings_sysctls(&f, &w, wants), 0);
	assert_false(findings_input_accept(&f, &w));
	assert_false(findings_dns_taken(&f, text, sizeof(text)));
}

static void test_the_heaviest_stand_first_and_name_the_program(void **state)
{
	struct findings_wish w = both();
	struct survey_facts f = healthy();
	struct findings out = { .n = 0 };
	(void)state;

	dns_served(&f, &w);
	forward_off(&f, &w);
	a_stranger(&f, &w);
	findings_judge(&f, &w, &out);
	assert_int_equal(out.n, 4);
	assert_int_equal(out.list[0].kind, FINDING_COLLISION);
	assert_string_equal(out.list[0].text,
			    "ip rule 1000: fwmark 0x1 lookup 100 collides with clashsup's own; it may be of v2rayA:"
			    " choose another mark, table or pref in [tproxy], or remove it");
	assert_string_equal(out.list[0].command, "ip rule del pref 1000");
	assert_ptr_equal(findings_refusal(&out), &out.list[0]);
	assert_int_equal(out.list[1].kind, FINDING_OTHER_PROXY);
	assert_int_equal(out.list[2].kind, FINDING_DIRECT_PATH);
	assert_int_equal(out.list[3].kind, FINDING_DNS);
}

static void test_one_finding_too_many_is_dropped(void **state)
{
	struct findings out = { .n = 0 };
	(void)state;

	for (int i = 0; i < FINDINGS_MAX + 5; i++)
		findings_add(&out, FINDING_OWN, i % 2 ? FINDING_NOTE : FINDING_WARN, NULL, "%d", i);
	assert_int_equal(out.n, FINDINGS_MAX);
	assert_string_equal(out.list[0].text, "0");
	assert_string_equal(out.list[FINDINGS_MAX - 1].text, "31");
	assert_int_equal(out.list[FINDINGS_MAX / 2].weight, FINDING_NOTE);
}

static void test_the_sysctls_that_are_wrong_are_wanted(void **state)
{
	static const struct findings_sysctl expected[] = {
		{ "net.ipv4.ip_forward", 1 },
		{ "net.bridge.bridge-nf-call-iptables", 0 },
		{ "net/ipv6/conf/eth0.5/accept_ra", 2 }, /* before forwarding stops the kernel from listening */
		{ "net.ipv6.conf.all.forwarding", 1 },
		{ "net/ipv4/conf/all/src_valid_mark", 0 },
		{ "net/ipv4/conf/br0/src_valid_mark", 0 },
	};
	struct findings_sysctl wants[FINDINGS_SYSCTLS_MAX];
	struct findings_wish w = both();
	struct survey_facts f = healthy();
	(void)state;

	f.forward[IP_V4] = f.forward[IP_V6] = 0;
	f.bridge_nf[IP_V4] = 1;
	f.src_valid_mark_all = f.links[0].src_valid_mark = 1;
	assert_int_equal(findings_sysctls(&f, &w, wants), 6);
	for (size_t i = 0; i < 6; i++) {
		assert_string_equal(wants[i].name, expected[i].name);
		assert_int_equal(wants[i].value, expected[i].value);
	}
	w.closed = true; /* there shall be no direct path */
	w.family[IP_V6] = false;
	assert_int_equal(findings_sysctls(&f, &w, wants), 3);
	assert_string_equal(wants[0].name, "net.bridge.bridge-nf-call-iptables");
}

static void test_nothing_is_said_of_what_could_not_be_seen(void **state)
{
	struct findings_wish w = both();
	struct survey_facts f = healthy();
	struct findings out = { .n = 0 };
	char text[256];
	(void)state;

	f.rules_known = false;
	f.rules.family[IP_V4].masquerade = false;
	f.forward[IP_V4] = f.forward[IP_V6] = SURVEY_UNKNOWN;
	findings_judge(&f, &w, &out);
	assert_int_equal(out.n, 0);
	assert_string_equal(findings_direct_path(&f, &w, text, sizeof(text)),
			    "unknown (neither iptables nor nft is there)");
	f.forward[IP_V4] = f.forward[IP_V6] = 0;
	assert_string_equal(findings_direct_path(&f, &w, text, sizeof(text)), "none (net.ipv4.ip_forward is 0)");
}

static void test_input_accept_follows_the_wish(void **state)
{
	struct findings_wish w = both();
	struct survey_facts f = healthy();
	(void)state;

	f.rules.family[IP_V6].input.refuses = true;
	assert_true(findings_input_accept(&f, &w));
	w.family[IP_V6] = false;
	assert_false(findings_input_accept(&f, &w));
	w.input_accept = WISH_YES;
	assert_true(findings_input_accept(&f, &w));
	w.family[IP_V6] = true;
	w.input_accept = WISH_NO;
	assert_false(findings_input_accept(&f, &w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_fact_makes_the_finding_that_it_should),
		cmocka_unit_test(test_a_healthy_machine_has_no_finding),
		cmocka_unit_test(test_the_heaviest_stand_first_and_name_the_program),
		cmocka_unit_test(test_one_finding_too_many_is_dropped),
		cmocka_unit_test(test_the_sysctls_that_are_wrong_are_wanted),
		cmocka_unit_test(test_nothing_is_said_of_what_could_not_be_seen),
		cmocka_unit_test(test_input_accept_follows_the_wish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
