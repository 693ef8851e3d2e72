/*
 * The texts of fwplan in a real kernel: both variants of iptables and nft take
 * those of every option and of pairs, what they list shows the same view
 * after the same plan, and nothing of ours is left at the end.
 * CLASHSUP_ALL_PAIRS=1 takes every pair.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/fwplan.h"
#include "clashsup/io.h"
#include "fwplan_options.h"
#include "netns.h"

#define TEXT_MAX (8u << 20)
#define SOME_PAIRS 23 /* every 23rd */

static const char *const family_cmd[IP_FAMILIES] = { "iptables", "ip6tables" };
struct variant {
	const char *name;
	enum ip_family family;
};

static bool no_hash_mac; /* this kernel's ipset has none */
static char dir[] = "/tmp/fwplan-XXXXXX";

static char *output_of(const char *command, size_t *len)
{
	char *text = malloc(TEXT_MAX);
	FILE *f;

	f = popen(command, "re");
	assert_non_null(text);
	assert_non_null(f);
	*len = fread(text, 1, TEXT_MAX - 1, f);
	text[*len] = '\0';
	assert_int_equal(pclose(f), 0);
	return text;
}

static char *ipt_save(const struct variant *v, size_t *len)
{
	char command[64];

	snprintf(command, sizeof(command), "%s-%s-save 2>/dev/null", family_cmd[v->family], v->name);
	return output_of(command, len);
}

/* Gives a text to a program; fails the test with the program's words. */
static void feed(const char *text, const char *program, const char *what)
{
	char path[64], command[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/text", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	snprintf(command, sizeof(command), "%s <%s >%s/said 2>&1", program, path, dir);
	if (!sh(command)) {
		char *said = NULL;
		size_t len;

		snprintf(path, sizeof(path), "%s/said", dir);
		io_slurp_path(path, 65536, &said, &len, NULL);
		fail_msg("%s: %s: %s\n%s", program, what, said ? said : "", text);
	}
}

/* ---- sets of ipset ---- */

struct restore {
	FILE *f;
	const char *name;
};

static int print_element(void *ctx, const char *element)
{
	struct restore *r = ctx;

	fprintf(r->f, "add %s %s\n", r->name, element);
	return 0;
}

static void print_sets(FILE *f, const struct fwplan_params *p)
{
	char name[FWPLAN_SET_TEXT];

	for (int i = 0; i < IP_FAMILIES * FW_SETS; i++) {
		enum ip_family family = (enum ip_family)(i / FW_SETS);
		enum fw_set set = (enum fw_set)(i % FW_SETS);
		struct restore r = { f, fwplan_set(p, family, set, name) };

		if (no_hash_mac && (set == FWSET_SKIP_MAC || set == FWSET_ONLY_MAC))
			continue;
		fprintf(f, "create %s %s\n", name, fwplan_set_type(family, set));
		(void)fwplan_elements(p, family, set, print_element, &r);
	}
}

/* Every set that any option may ask, with what it holds. */
static int make_sets(void **state)
{
	struct option_plan o;
	char *text = NULL;
	size_t len;
	FILE *f;

	if (netns_enter(state) != 0 || !*state || !mkdtemp(dir))
		return 0;
	no_hash_mac = !sh("ipset create probe hash:mac 2>/dev/null && ipset destroy probe");
	if (no_hash_mac)
		printf("SKIP: this kernel has no ipset of MAC addresses, iptables is tried without\n");
	f = open_memstream(&text, &len);
	if (!f)
		return -1;
	for (size_t i = 0; i <= OPTIONS; i++)
		print_sets(f, option_params(&o, i, OPTIONS));
	fclose(f);
	feed(text, "ipset restore -exist", "sets");
	free(text);
	return 0;
}

/* ---- iptables ---- */

static void ipt_apply(const struct variant *v, struct fwplan_params *p, unsigned parts, const char *what)
{
	size_t len;
	cleanup_free char *save = ipt_save(v, &len);
	cleanup_free char *text = NULL;
	char program[64];
	struct err e = ERR_INIT;
	int n;

	if (p && no_hash_mac)
		p->lacks[v->family] |= FW_LACKS_MAC;
	n = fwplan_iptables(p, parts, v->family, save, len, &text, &e);

	assert_string_equal(e.msg, "");
	assert_true(n >= 0);
	snprintf(program, sizeof(program), "%s-%s-restore --noflush", family_cmd[v->family], v->name);
	if (n > 0)
		feed(text, program, what);
}

static struct fw_view ipt_view(const struct variant *v)
{
	size_t len;
	cleanup_free char *save = ipt_save(v, &len);
	struct fw_view view;

	assert_int_equal(fwplan_view(FW_IPTABLES, save, len, &view, NULL), 0);
	return view;
}

static void assert_same(struct fw_view a, struct fw_view b, const char *what)
{
	if (a.lines != b.lines || a.digest != b.digest)
		fail_msg("%s: applied twice it looks different: %zu and %zu lines", what, a.lines, b.lines);
}

static void iptables_takes_each_option(const char *name)
{
	struct option_plan o;

	for (int f = 0; f < IP_FAMILIES; f++) {
		struct variant v = { name, (enum ip_family)f };
		struct fw_view none = ipt_view(&v);

		assert_int_equal(none.lines, 0);
		for (size_t i = 0; i <= OPTIONS; i++) {
			struct fwplan_params *p = option_params(&o, i, OPTIONS);
			const char *what = i < OPTIONS ? options[i].name : "defaults";
			struct fw_view once;

			ipt_apply(&v, p, OPTIONS_ALL, what);
			once = ipt_view(&v);
			assert_true(once.lines > 20);
			ipt_apply(&v, p, OPTIONS_ALL, what);
			assert_same(once, ipt_view(&v), what);
		}
		ipt_apply(&v, option_everything(&o), OPTIONS_ALL, "everything");
		ipt_apply(&v, &o.p, FWPLAN_STANDING, "standing");
		assert_true(ipt_view(&v).lines > 10);
		ipt_apply(&v, NULL, 0, "nothing");
		assert_int_equal(ipt_view(&v).lines, 0);
	}
}

static void iptables_takes_pairs(const char *name)
{
	size_t step = getenv("CLASHSUP_ALL_PAIRS") ? 1 : SOME_PAIRS, nth = 0, n = 0;
	struct option_plan o;

	for (size_t i = 0; i < OPTIONS; i++) {
		for (size_t k = i + 1; k < OPTIONS; k++) {
			struct variant v = { name, (enum ip_family)(nth / step % 2) };
			char what[128];

			if (nth++ % step != 0)
				continue;
			snprintf(what, sizeof(what), "%s + %s", options[i].name, options[k].name);
			for (int f = 0; f < IP_FAMILIES; f++) {
				if (f == (int)v.family || step == 1)
					ipt_apply(&(struct variant){ name, (enum ip_family)f }, option_params(&o, i, k),
						  OPTIONS_ALL, what);
			}
			n++;
		}
	}
	printf("%s: %zu pairs\n", name, n);
	for (int f = 0; f < IP_FAMILIES; f++) {
		struct variant v = { name, (enum ip_family)f };

		ipt_apply(&v, NULL, 0, "nothing");
		assert_int_equal(ipt_view(&v).lines, 0);
	}
}

static void iptables_nft_takes_each_option_and_gives_it_back(void **state)
{
	NEED_NETNS(state);
	iptables_takes_each_option("nft");
}

static void iptables_legacy_takes_each_option_and_gives_it_back(void **state)
{
	NEED_NETNS(state);
	iptables_takes_each_option("legacy");
}

static void iptables_nft_takes_one_pair_in_the_place_of_another(void **state)
{
	NEED_NETNS(state);
	iptables_takes_pairs("nft");
}

static void iptables_legacy_takes_one_pair_in_the_place_of_another(void **state)
{
	NEED_NETNS(state);
	iptables_takes_pairs("legacy");
}

/* ---- nft ---- */

static void nft_apply(const struct fwplan_params *p, unsigned parts, const char *what)
{
	cleanup_free char *text = NULL;
	struct err e = ERR_INIT;

	assert_true(fwplan_nft(p, parts, both_families, &text, &e) > 0);
	feed(text, "nft -f -", what);
}

static struct fw_view nft_view(void)
{
	size_t len;
	cleanup_free char *text = output_of("nft -s -t list table inet " FWPLAN_TABLE, &len);
	struct fw_view view;

	assert_int_equal(fwplan_view(FW_NFT, text, len, &view, NULL), 0);
	return view;
}

static void nft_takes_each_option_and_gives_it_back(void **state)
{
	struct option_plan o;
	NEED_NETNS(state);

	nft_apply(NULL, 0, "nothing where nothing is");
	for (size_t i = 0; i <= OPTIONS; i++) {
		const struct fwplan_params *p = option_params(&o, i, OPTIONS);
		const char *what = i < OPTIONS ? options[i].name : "defaults";
		struct fw_view once;

		nft_apply(p, OPTIONS_ALL, what);
		once = nft_view();
		assert_true(once.lines > 60);
		nft_apply(p, OPTIONS_ALL, what);
		assert_same(once, nft_view(), what);
	}
	nft_apply(option_everything(&o), FWPLAN_STANDING, "standing");
	nft_apply(NULL, 0, "nothing");
	assert_false(sh("nft list tables | grep -q " FWPLAN_TABLE));
}

static void nft_takes_pairs(void **state)
{
	size_t step = getenv("CLASHSUP_ALL_PAIRS") ? 1 : SOME_PAIRS, nth = 0;
	struct option_plan o;
	NEED_NETNS(state);

	for (size_t i = 0; i < OPTIONS; i++) {
		for (size_t k = i + 1; k < OPTIONS; k++) {
			if (nth++ % step == 0)
				nft_apply(option_params(&o, i, k), OPTIONS_ALL, options[i].name);
		}
	}
	nft_apply(NULL, 0, "nothing");
}

/* With overlaps, and with spellings of inet_ntop that a tool might not read back. */
static void nft_takes_ten_thousand_networks_and_odd_addresses(void **state)
{
	static struct addr_net nets[10000];
	static struct addr servers[] = { { .family = IP_V6, .bytes = { [12] = 1, 2, 3, 4 } } }; /* "::1.2.3.4" */
	struct option_plan o;
	NEED_NETNS(state);

	option_params(&o, OPTIONS, OPTIONS);
	for (uint32_t i = 0; i < 10000; i++) {
		nets[i] = (struct addr_net){ .addr = { .family = IP_V4, .bytes = { 11, 0, 0, 0 } }, .prefix = 24 };
		nets[i].addr.bytes[1] = (uint8_t)(i / 256);
		nets[i].addr.bytes[2] = (uint8_t)(i % 256);
		if (i % 100 == 0)
			nets[i].prefix = 16;
		if (i % 100 == 0)
			nets[i].addr.bytes[2] = 0;
	}
	nets[9999] = (struct addr_net){ .addr = { .family = IP_V6, .bytes = { [10] = 0xff, 0xff } }, .prefix = 96 };
	o.s.skip_dst = (struct net_list){ nets, 10000 };
	o.p.servers = servers;
	o.p.n_servers = 1;
	nft_apply(&o.p, OPTIONS_ALL, "many");
	assert_true(sh("nft get element inet " FWPLAN_TABLE " clash_dst_skip '{ 11.39.1.1 }' >/dev/null"));
	assert_true(sh("nft get element inet " FWPLAN_TABLE " clash_dst_skip6 '{ ::ffff:1.2.3.4 }' >/dev/null"));
	nft_apply(NULL, 0, "nothing");
}

static long lease_members(void)
{
	return sh_number("nft list set inet " FWPLAN_TABLE " clash_lease | grep -o 'ipv[46] timeout' | wc -l");
}

static void the_lease_of_nft_is_refreshed_in_one_batch_and_ends_by_itself(void **state)
{
	static const char refresh[] = "flush set inet " FWPLAN_TABLE " clash_lease\n"
				      "add element inet " FWPLAN_TABLE " clash_lease "
				      "{ ipv4 timeout 3s, ipv6 timeout 3s }\n";
	struct option_plan o;
	NEED_NETNS(state);

	option_params(&o, OPTIONS, OPTIONS);
	option_lease(&o);
	nft_apply(&o.p, OPTIONS_ALL, "lease");
	assert_int_equal(lease_members(), 2);
	feed(refresh, "nft -f -", "refresh");
	assert_int_equal(lease_members(), 2);
	assert_true(sh("sleep 3.3"));
	assert_int_equal(lease_members(), 0);
	feed(refresh, "nft -f -", "refresh of an expired one");
	assert_int_equal(lease_members(), 2);
	nft_apply(NULL, 0, "nothing");
}

/* What the digest is there for, as the tools print it. */
static void a_missing_rule_or_jump_changes_the_view(void **state)
{
	static const char *const harm[] = { "-t mangle -D PREROUTING -j CLASH_TPROXY", "-t mangle -D CLASH_TPROXY 3",
					    "-t mangle -I CLASH_SELECT -p icmp -j RETURN",
					    "-t nat -D PREROUTING -p udp -m udp --dport 53 -j CLASH_DNS" };
	static const char *const variants[] = { "nft", "legacy" };
	struct option_plan o;
	char command[128];
	NEED_NETNS(state);

	for (int i = 0; i < 2; i++) {
		struct variant v = { variants[i], IP_V4 };
		struct fw_view whole;

		ipt_apply(&v, option_everything(&o), OPTIONS_ALL, "everything");
		whole = ipt_view(&v);
		for (size_t k = 0; k < sizeof(harm) / sizeof(harm[0]); k++) {
			snprintf(command, sizeof(command), "iptables-%s %s", v.name, harm[k]);
			assert_true(sh(command));
			assert_true(ipt_view(&v).digest != whole.digest);
			ipt_apply(&v, &o.p, OPTIONS_ALL, "again");
			assert_same(whole, ipt_view(&v), harm[k]);
		}
		snprintf(command, sizeof(command), "iptables-%s -t mangle -A PREROUTING -p icmp -j ACCEPT", v.name);
		assert_true(sh(command));
		assert_same(whole, ipt_view(&v), "a rule of others");
		ipt_apply(&v, NULL, 0, "nothing");
	}
}

static int remove_dir(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return !*state || sh(command) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iptables_nft_takes_each_option_and_gives_it_back),
		cmocka_unit_test(iptables_legacy_takes_each_option_and_gives_it_back),
		cmocka_unit_test(iptables_nft_takes_one_pair_in_the_place_of_another),
		cmocka_unit_test(iptables_legacy_takes_one_pair_in_the_place_of_another),
		cmocka_unit_test(nft_takes_each_option_and_gives_it_back),
		cmocka_unit_test(nft_takes_pairs),
		cmocka_unit_test(nft_takes_ten_thousand_networks_and_odd_addresses),
		cmocka_unit_test(the_lease_of_nft_is_refreshed_in_one_batch_and_ends_by_itself),
		cmocka_unit_test(a_missing_rule_or_jump_changes_the_view),
	};

	return cmocka_run_group_tests(tests, make_sets, remove_dir);
}
