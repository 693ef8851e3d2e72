/* fwplan: the texts of the rules in both backends, and the sets that they ask. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/fwplan.h"
#include "clashsup/io.h"
#include "fwplan_options.h"

/* ---- texts ---- */

enum { IPT4, IPT6, NFT, TEXTS };

static const char *const text_name[TEXTS] = { "iptables", "ip6tables", "nft" };

/* gcc 12 at -O3 takes the text of an inlined one for its dangling local. */
static __attribute__((noinline)) char *render(const struct fwplan_params *p, int which, unsigned parts)
{
	struct err e = ERR_INIT;
	char *text = NULL;
	int n = which == NFT ? fwplan_nft(p, parts, both_families, &text, &e)
			     : fwplan_iptables(p, parts, which == IPT4 ? IP_V4 : IP_V6, NULL, 0, &text, &e);

	assert_string_equal(e.msg, "");
	assert_true(n > 0);
	assert_int_equal(n, strlen(text));
	return text;
}

/* ---- golden files ---- */

struct golden {
	char path[512];
	char *text;
	size_t len;
	FILE *f;
};

static void golden_begin(struct golden *g, const char *file)
{
	snprintf(g->path, sizeof(g->path), "%s/tests/unit/core/golden/%s", SOURCE_DIR, file);
	g->f = open_memstream(&g->text, &g->len);
	assert_non_null(g->f);
}

/* CLASHSUP_WRITE_GOLDEN=1 writes the files anew instead. */
static void golden_end(struct golden *g)
{
	cleanup_free char *want = NULL;
	size_t len;

	assert_int_equal(fclose(g->f), 0);
	if (getenv("CLASHSUP_WRITE_GOLDEN")) {
		FILE *f = fopen(g->path, "w");

		assert_non_null(f);
		fputs(g->text, f);
		fclose(f);
	}
	assert_int_equal(io_slurp_path(g->path, 1024 * 1024, &want, &len, NULL), 0);
	assert_string_equal(g->text, want);
	free(g->text);
}

struct lines {
	char *text;
	const char *line[4096];
	size_t n;
};

static void split(struct lines *l, char *text)
{
	char *rest = l->text = text;

	l->n = 0;
	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
		assert_true(l->n < 4096);
		l->line[l->n++] = line;
	}
}

/* Lines that differ, as diff writes them, each block with the line before it. */
static void print_difference(FILE *f, const struct lines *a, const struct lines *b)
{
	size_t w = b->n + 1, i = 0, j = 0;
	unsigned short *common = calloc((a->n + 1) * w, sizeof(*common));
	bool in_block = false;

	assert_non_null(common);
	for (size_t x = a->n; x-- > 0;) {
		for (size_t y = b->n; y-- > 0;) {
			unsigned short down = common[(x + 1) * w + y], right = common[x * w + y + 1];

			common[x * w + y] = strcmp(a->line[x], b->line[y]) == 0
						    ? (unsigned short)(common[(x + 1) * w + y + 1] + 1)
					    : down > right ? down
							   : right;
		}
	}
	while (i < a->n || j < b->n) {
		if (i < a->n && j < b->n && strcmp(a->line[i], b->line[j]) == 0) {
			in_block = false;
			i++;
			j++;
			continue;
		}
		if (!in_block && i > 0)
			fprintf(f, " %s\n", a->line[i - 1]);
		in_block = true;
		if (i < a->n && (j == b->n || common[(i + 1) * w + j] >= common[i * w + j + 1]))
			fprintf(f, "-%s\n", a->line[i++]);
		else
			fprintf(f, "+%s\n", b->line[j++]);
	}
	free(common);
}

static void defaults_and_everything_are_those_of_the_golden_files(void **state)
{
	struct option_plan o;
	(void)state;

	for (int which = 0; which < TEXTS; which++) {
		for (int all = 0; all < 2; all++) {
			cleanup_free char *text = render(
				all ? option_everything(&o) : option_params(&o, OPTIONS, OPTIONS), which, OPTIONS_ALL);
			struct golden g;
			char file[64];

			snprintf(file, sizeof(file), "%s.%s.txt", all ? "everything" : "defaults", text_name[which]);
			golden_begin(&g, file);
			fputs(text, g.f);
			golden_end(&g);
		}
	}
}

static void each_option_changes_what_its_golden_difference_says(void **state)
{
	static struct lines plain, changed;
	struct option_plan o;
	struct golden g;
	(void)state;

	golden_begin(&g, "alone.txt");
	fputs("# What each option alone changes in defaults.*.txt.\n", g.f);
	for (size_t i = 0; i < OPTIONS; i++) {
		for (int which = 0; which < TEXTS; which++) {
			split(&plain, render(option_params(&o, OPTIONS, OPTIONS), which, OPTIONS_ALL));
			split(&changed, render(option_params(&o, i, OPTIONS), which, OPTIONS_ALL));
			fprintf(g.f, "\n== %s: %s ==\n", options[i].name, text_name[which]);
			print_difference(g.f, &plain, &changed);
			free(plain.text);
			free(changed.text);
		}
	}
	golden_end(&g);
}

static uint64_t hash(const char *s)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h;
}

static void each_pair_of_options_makes_the_text_of_the_golden_digest(void **state)
{
	struct option_plan o;
	struct golden g;
	(void)state;

	golden_begin(&g, "pairs.txt");
	fputs("# FNV-1a of the texts (iptables, ip6tables, nft) that each pair of options makes.\n", g.f);
	for (size_t i = 0; i < OPTIONS; i++) {
		for (size_t k = i + 1; k < OPTIONS; k++) {
			for (int which = 0; which < TEXTS; which++) {
				cleanup_free char *text = render(option_params(&o, i, k), which, OPTIONS_ALL);

				fprintf(g.f, "%016llx ", (unsigned long long)hash(text));
			}
			fprintf(g.f, "%s + %s\n", options[i].name, options[k].name);
		}
	}
	golden_end(&g);
}

/* ---- order ---- */

/* Where a line begins that starts with `head` and has `part` in it, from `from` on; NULL when there is none. */
static const char *find_line(const char *text, const char *head, const char *part)
{
	for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
		size_t len = strcspn(at, "\n");

		if (strncmp(at, head, strlen(head)) == 0) {
			const char *found = strstr(at, part);

			if (found && found < at + len)
				return at;
		}
	}
	return NULL;
}

static void assert_before(const char *text, const char *head, const char *first, const char *second)
{
	const char *a = find_line(text, head, first), *b = find_line(text, head, second);

	if (!a || !b || a >= b)
		fail_msg("\"%s\" is not before \"%s\" in %s of:\n%s", first, second, head, text);
}

/* Is this the rule of CLASH_SELECT or CLASH_TPROXY that takes a packet before the lease was asked? */
static bool takes_without_lease(const char *line, size_t len)
{
	static const char *const takes[] = { "-j DROP",	    "-j CLASH_DIVERT", "-j TPROXY", "-j MARK --set-xmark 0x1",
					     " drop",	    " CLASH_DIVERT",   "tproxy ",   "reject",
					     "mark set 0x1" };
	char text[512];
	bool any = false;

	assert_true(len < sizeof(text));
	memcpy(text, line, len);
	text[len] = '\0';
	for (size_t i = 0; i < sizeof(takes) / sizeof(takes[0]); i++)
		any |= strstr(text, takes[i]) != NULL;
	return any && !strstr(text, "clash_lease6 dst") && !strstr(text, "meta nfproto @clash_lease");
}

/* From `begin` to `end`; what CLASH_SELECT has marked needs no second look. */
static void assert_lease_is_asked(const char *text, const char *begin, const char *end)
{
	const char *at = strstr(text, begin), *last = at ? strstr(at, end) : NULL;

	assert_non_null(last);
	for (const char *next; at < last; at = next + 1) {
		next = strchr(at, '\n');
		assert_false(takes_without_lease(at, (size_t)(next - at)));
	}
}

static void no_packet_is_taken_without_the_lease(void **state)
{
	struct option_plan o;
	cleanup_free char *ipt = render(option_everything(&o), IPT6, OPTIONS_ALL);
	cleanup_free char *nft = render(option_everything(&o), NFT, OPTIONS_ALL);
	(void)state;

	assert_lease_is_asked(ipt, "-A CLASH_TPROXY ", "-j CLASH_SELECT\n");
	assert_lease_is_asked(ipt, "-A CLASH_SELECT ",
			      "-A CLASH_SELECT -m set ! --match-set clash_lease6 dst -j RETURN\n");
	assert_lease_is_asked(nft, "chain CLASH_TPROXY4 {", "jump CLASH_SELECT4\n");
	assert_lease_is_asked(nft, "chain CLASH_TPROXY6 {", "jump CLASH_SELECT6\n");
	assert_lease_is_asked(nft, "chain CLASH_SELECT4 {", "\t\tmeta nfproto != @clash_lease return\n");
	assert_lease_is_asked(nft, "chain CLASH_SELECT6 {", "\t\tmeta nfproto != @clash_lease return\n");
	assert_true(find_line(ipt, "-A CLASH_TPROXY_OUT ", "") ==
		    find_line(ipt, "-A CLASH_TPROXY_OUT -m set ! --match-set clash_lease6 dst -j RETURN\n", ""));
	assert_non_null(strstr(nft, "chain CLASH_TPROXY_OUT4 {\n\t\tmeta nfproto != @clash_lease return\n"));
	assert_non_null(strstr(nft, "chain CLASH_TPROXY_OUT6 {\n\t\tmeta nfproto != @clash_lease return\n"));
}

/* Else adding an address to a set would cut the connections that are proxied to it. */
static void running_connections_are_found_before_any_list(void **state)
{
	static const char *const lists[] = { "clash_src_skip", "clash_mac_skip", "-i docker0" };
	struct option_plan o;
	cleanup_free char *text = NULL;
	(void)state;

	option_everything(&o);
	o.p.servers_output_only = false;
	o.p.server_set = "servers";
	text = render(&o.p, IPT4, OPTIONS_ALL);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		assert_before(text, "-A CLASH_TPROXY ", "-m socket", lists[i]);
		assert_before(text, "-A CLASH_TPROXY ", "-p udp -m connmark", lists[i]);
	}
	assert_before(text, "-A CLASH_TPROXY ", "-m socket", "--match-set servers dst");
	assert_before(text, "-A CLASH_TPROXY ", "-p udp -m connmark", "--match-set servers dst");
	assert_before(text, "-A CLASH_TPROXY_OUT ", "-p tcp -m connmark", "--match-set servers dst");
	assert_before(text, "-A CLASH_TPROXY_OUT ", "-p udp -m connmark", "--match-set servers dst");
	assert_before(text, "-A CLASH_TPROXY_OUT ", "-p tcp -m connmark", "-o docker0");
}

static void without_a_socket_match_running_connections_are_found_by_their_mark(void **state)
{
	struct option_plan o;
	cleanup_free char *text = NULL;
	(void)state;

	option_params(&o, OPTIONS, OPTIONS);
	option_no_socket(&o);
	text = render(&o.p, IPT4, OPTIONS_ALL);
	assert_null(strstr(text, "socket"));
	assert_null(strstr(text, "CLASH_DIVERT"));
	assert_before(text, "-A CLASH_TPROXY ", "-p tcp -m connmark", "clash_proxy_ips");
	assert_before(text, "-A CLASH_SELECT ", "SYN -j CONNMARK", "SYN -j MARK");
}

/* Its own queries would come back to it, one for each. */
static void the_gid_of_mihomo_is_asked_before_its_dns_is(void **state)
{
	struct option_plan o;
	cleanup_free char *ipt = render(option_everything(&o), IPT4, OPTIONS_ALL);
	cleanup_free char *nft = render(option_everything(&o), NFT, OPTIONS_ALL);
	(void)state;

	assert_true(find_line(ipt, "-A CLASH_DNS_OUT ", "") ==
		    find_line(ipt, "-A CLASH_DNS_OUT -m owner --gid-owner ", "-j RETURN"));
	assert_non_null(strstr(nft, "chain CLASH_DNS_OUT4 {\n\t\tmeta skgid 4294967294 return\n"));
	assert_before(ipt, "-A CLASH_DNS_OUT ", "clash_lease", "REDIRECT");
}

static void the_lan_is_direct_whatever_else_is_wanted(void **state)
{
	struct option_plan o;
	cleanup_free char *text = render(option_everything(&o), IPT4, OPTIONS_ALL);
	(void)state;

	assert_before(text, "-A CLASH_SELECT ", "clash_lan ", "clash_dst ");
	assert_before(text, "-A CLASH_SELECT ", "clash_lan ", "-j MARK");
}

/* In nft a packet whose rule breaks off at tproxy must not have the mark yet, or must lose it. */
static void nft_gives_up_the_mark_where_nobody_listens(void **state)
{
	struct option_plan o;
	cleanup_free char *text = render(option_params(&o, OPTIONS, OPTIONS), NFT, FWPLAN_ARMED);
	static const char forget[] = "\t\tmeta mark 0x1 meta mark set 0x0 ct mark set 0x0\n";
	const char *last = strstr(text, "chain CLASH_TPROXY4 {");
	(void)state;

	assert_non_null(last);
	last = strstr(last, "\t}\n");
	assert_non_null(last);
	assert_memory_equal(last - strlen(forget), forget, strlen(forget));
	for (const char *at = strstr(text, "tproxy ip"); at; at = strstr(at + 1, "tproxy ip")) {
		const char *mark = strstr(at, "meta mark set 0x1 accept\n");

		assert_true(mark && mark < strchr(at, '\n'));
	}
}

/* A kill switch that knew other exclusions than the selection would block what is meant to be direct. */
static void closed_spares_whatever_selection_spares(void **state)
{
	static const char *const spared[] = { "-i docker0",
					      "clash_src_skip src",
					      "clash_mac_skip src",
					      "--ctdir REPLY",
					      "--match-set servers",
					      "--dst-type LOCAL",
					      "MULTICAST",
					      "BROADCAST",
					      "clash_lan ",
					      "-p tcp -m set --match-set clash_port_skip",
					      "-p udp -m set --match-set clash_port_skip",
					      "clash_dst_skip ",
					      "! --match-set clash_dst " };
	struct option_plan o;
	cleanup_free char *text = NULL;
	(void)state;

	option_everything(&o);
	o.p.servers_output_only = false;
	o.p.server_set = "servers";
	o.p.closed = true;
	text = render(&o.p, IPT4, OPTIONS_ALL);
	for (size_t i = 0; i < sizeof(spared) / sizeof(spared[0]); i++)
		assert_before(text, "-A CLASH_CLOSED ", spared[i], "-j REJECT");
	assert_before(text, "-A CLASH_CLOSED ", "clash_lease dst -m conntrack --ctstate ESTABLISHED", "--ctdir REPLY");
	assert_null(find_line(text, "-A CLASH_CLOSED ", "--dport 53")); /* a query past Mihomo is a leak too */
	assert_null(find_line(text, "-A CLASH_DNS ", "DNAT"));
	assert_null(strstr(text, "CLASH_DNS_SNAT"));
	assert_null(strstr(text, "-A INPUT -j CLASH_CLOSED"));
	assert_non_null(strstr(text, "-I FORWARD -j CLASH_CLOSED\n"));
}

static void who_is_meant_by_mac_alone_is_nobody_where_macs_cannot_be_seen(void **state)
{
	struct option_plan o;
	cleanup_free char *text = NULL;
	(void)state;

	option_params(&o, OPTIONS, OPTIONS);
	option_only_macs(&o);
	option_no_mac(&o);
	text = render(&o.p, IPT4, OPTIONS_ALL);
	assert_null(strstr(text, "-A CLASH_TPROXY -j CLASH_SELECT"));
	assert_non_null(strstr(text, "-A CLASH_TPROXY -m set --match-set clash_src src -j CLASH_SELECT\n"));
}

static void mangle_is_the_last_table(void **state)
{
	struct option_plan o;
	cleanup_free char *text = render(option_everything(&o), IPT4, OPTIONS_ALL);
	const char *mangle = strstr(text, "*mangle\n");
	(void)state;

	assert_true(strstr(text, "*nat\n") < mangle);
	assert_true(strstr(text, "*filter\n") < mangle);
	assert_null(strstr(mangle + 1, "\n*"));
}

static void the_parts_are_apart(void **state)
{
	struct option_plan o;
	cleanup_free char *armed = render(option_everything(&o), IPT4, FWPLAN_ARMED);
	cleanup_free char *standing = render(option_everything(&o), IPT4, FWPLAN_STANDING);
	cleanup_free char *nft = render(option_everything(&o), NFT, FWPLAN_STANDING);
	(void)state;

	assert_non_null(strstr(armed, "CLASH_INPUT"));
	assert_null(strstr(armed, "CLASH_DNS"));
	assert_null(strstr(armed, "CLASH_FAKE"));
	assert_null(strstr(standing, "*mangle"));
	assert_null(strstr(standing, "CLASH_INPUT"));
	assert_non_null(strstr(standing, "CLASH_DNS_SNAT"));
	assert_non_null(strstr(standing, "-I FORWARD -j CLASH_FAKE\n"));
	assert_null(strstr(nft, "CLASH_TPROXY"));
	assert_non_null(strstr(nft, "chain CLASH_DNS {"));
}

static void a_family_that_is_left_out_leaves_nothing_in_nft(void **state)
{
	const bool v6[IP_FAMILIES] = { false, true };
	struct option_plan o;
	cleanup_free char *text = NULL;
	(void)state;

	assert_true(fwplan_nft(option_everything(&o), OPTIONS_ALL, v6, &text, NULL) > 0);
	assert_null(strstr(text, "ipv4_addr"));
	assert_null(strstr(text, "nfproto ipv4"));
	assert_null(strstr(text, "CLASH_TPROXY4"));
	assert_non_null(strstr(text, "set clash_lease {"));
	assert_non_null(strstr(text, "set clash_mac {"));
	assert_non_null(strstr(text, "ipv6 timeout 3s"));
}

/* ---- what makes no text ---- */

static void assert_refused(const struct fwplan_params *p)
{
	char *text = (char *)"";
	struct err e = ERR_INIT;

	assert_int_equal(fwplan_iptables(p, OPTIONS_ALL, IP_V4, NULL, 0, &text, &e), -EINVAL);
	assert_null(text);
	assert_true(e.msg[0] != '\0');
	assert_int_equal(fwplan_nft(p, OPTIONS_ALL, both_families, &text, NULL), -EINVAL);
	assert_null(text);
}

static void bad_parameters_make_no_text(void **state)
{
	static const char *const names[] = { NULL,	    "",		  "two words",
					     "a\n-F",	    "-x",	  "abcdefghijklmnopqrstuvwxyz12",
					     "clash_lease", "clash_dst6", "clash_mac" };
	struct option_plan o;
	struct fwplan_params p = *option_params(&o, OPTIONS, OPTIONS);
	(void)state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		p.server_set = names[i];
		assert_refused(&p);
	}
	p = o.p;
	p.port = 0;
	assert_refused(&p);
	p = o.p;
	p.mark = 0;
	assert_refused(&p);
	p = o.p;
	p.lacks[IP_V4] = FW_LACKS_CONNTRACK;
	assert_refused(&p);
	p = o.p;
	p.dns.on = true;
	assert_refused(&p);
	option_fallback(&o);
	p = o.p;
	p.dns.fallback[IP_V4] = option_addr("127.0.0.53");
	assert_refused(&p);
	p.dns.fallback[IP_V4] = option_addr("2620:fe::fe");
	assert_refused(&p);
}

static void names_that_are_no_interfaces_make_no_text(void **state)
{
	static const char *const names[] = {
		"", "a b", "a\"", "-x", "a*b", "**", "a\nb", "$x", "a;b", "!eth0", "abcdefghijklmnop"
	};
	struct option_plan o;
	struct iface iface;
	(void)state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		iface = option_iface(names[i]);
		option_params(&o, OPTIONS, OPTIONS);
		o.s.skip_ifaces = (struct iface_list){ &iface, 1 };
		assert_refused(&o.p);
		option_params(&o, OPTIONS, OPTIONS);
		o.s.lan_ifaces = (struct iface_list){ &iface, 1 };
		assert_refused(&o.p);
	}
	memset(iface.name, 'a', sizeof(iface.name)); /* without its NUL */
	assert_refused(&o.p);
}

/* ---- sets ---- */

struct joined {
	char text[1024];
	int stop_at;
};

static int join(void *ctx, const char *element)
{
	struct joined *j = ctx;
	size_t n = strlen(j->text);

	if (j->stop_at && --j->stop_at == 0)
		return -EIO;
	snprintf(j->text + n, sizeof(j->text) - n, "%s ", element);
	return 0;
}

static void assert_elements(const struct fwplan_params *p, enum ip_family family, enum fw_set set, const char *want)
{
	struct joined j = { .text = "" };

	assert_int_equal(fwplan_elements(p, family, set, join, &j), 0);
	assert_string_equal(j.text, want);
}

static void sets_hold_what_the_user_named(void **state)
{
	struct option_plan o;
	const struct fwplan_params *p = option_everything(&o);
	(void)state;

	assert_elements(p, IP_V4, FWSET_WANT, "203.0.113.0/24 8.8.8.8/32 10.0.0.0/8 198.18.0.0/16 28.0.0.0/8 ");
	assert_elements(p, IP_V6, FWSET_WANT, "::/1 8000::/1 fdfe:dcba:9876::/64 ");
	assert_elements(p, IP_V4, FWSET_FAKE, "198.18.0.0/16 28.0.0.0/8 ");
	assert_elements(p, IP_V6, FWSET_LAN, "2001:db8:1::/64 ");
	assert_elements(p, IP_V4, FWSET_SKIP_PORT, "22 1000-2000 1500-65535 ");
	assert_elements(p, IP_V6, FWSET_SKIP_MAC, "02:00:00:00:00:50 aa:bb:cc:dd:ee:ff ");
	assert_elements(p, IP_V4, FWSET_SERVERS, "");
	assert_elements(p, IP_V4, FWSET_LEASE, "");
	assert_elements(p, IP_V6, FWSET_ONLY_SRC, "fd00:1::/64 ");
	option_want_v4(&o);
	o.p.fake = NULL;
	assert_elements(p, IP_V4, FWSET_WANT, "0.0.0.0/1 128.0.0.0/1 ");
}

static void the_first_failure_ends_the_elements(void **state)
{
	struct option_plan o;
	const struct fwplan_params *p = option_everything(&o);
	(void)state;

	for (unsigned set = FWSET_WANT; set < FW_SETS; set++) {
		struct joined j = { .text = "", .stop_at = 1 };

		assert_int_equal(fwplan_elements(p, IP_V4, (enum fw_set)set, join, &j), -EIO);
		assert_string_equal(j.text, "");
	}
	option_params(&o, OPTIONS, OPTIONS);
	for (int at = 1; at <= 14; at++) {
		struct joined j = { .text = "", .stop_at = at };

		assert_int_equal(fwplan_elements(p, IP_V4, FWSET_RESERVED, join, &j), -EIO);
	}
}

static void sets_are_there_when_a_rule_asks_them(void **state)
{
	struct option_plan o;
	char name[FWPLAN_SET_TEXT], quoted[64];
	(void)state;

	for (size_t i = 0; i <= OPTIONS; i++) {
		cleanup_free char *text = render(option_params(&o, i, OPTIONS), IPT6, OPTIONS_ALL);

		for (unsigned set = 0; set < FW_SETS; set++) {
			snprintf(quoted, sizeof(quoted), "--match-set %s ",
				 fwplan_set(&o.p, IP_V6, (enum fw_set)set, name));
			if (strstr(text, quoted))
				assert_true(fwplan_has_set(&o.p, IP_V6, (enum fw_set)set));
			if (set != FWSET_LAN)
				assert_true(!fwplan_has_set(&o.p, IP_V6, (enum fw_set)set) || strstr(text, quoted) ||
					    set == FWSET_FAKE);
		}
	}
}

static void sets_have_the_names_of_their_family(void **state)
{
	struct option_plan o;
	const struct fwplan_params *p = option_params(&o, OPTIONS, OPTIONS);
	char name[FWPLAN_SET_TEXT];
	(void)state;

	assert_string_equal(fwplan_set(p, IP_V4, FWSET_SERVERS, name), "clash_proxy_ips");
	assert_string_equal(fwplan_set(p, IP_V6, FWSET_SERVERS, name), "clash_proxy_ips6");
	assert_string_equal(fwplan_set(p, IP_V6, FWSET_LAN, name), "clash_lan6");
	assert_string_equal(fwplan_set(p, IP_V6, FWSET_ONLY_MAC, name), "clash_mac");
	assert_string_equal(fwplan_set(p, IP_V6, FWSET_SKIP_PORT, name), "clash_port_skip");
	assert_true(fwplan_set_is_shared(FWSET_SKIP_MAC));
	assert_false(fwplan_set_is_shared(FWSET_SKIP_SRC));
	assert_string_equal(fwplan_set_type(IP_V6, FWSET_SKIP_DST), "hash:net family inet6 maxelem 262144");
	assert_string_equal(fw_backend_name(FW_NFT), "nft");
}

/* ---- reserved networks ---- */

static bool is_reserved(const char *address)
{
	struct addr a = option_addr(address);
	struct addr_net net;

	for (int f = 0; f < IP_FAMILIES; f++) {
		size_t n;
		const char *const *nets = fwplan_reserved((enum ip_family)f, &n);

		for (size_t i = 0; i < n; i++) {
			assert_int_equal(addr_net_parse(nets[i], &net), 0);
			if (addr_in(&a, &net))
				return true;
		}
	}
	return false;
}

static void private_networks_are_reserved_and_fake_addresses_are_not(void **state)
{
	size_t n;
	(void)state;

	fwplan_reserved(IP_V4, &n);
	assert_int_equal(n, 14);
	fwplan_reserved(IP_V6, &n);
	assert_int_equal(n, 12);
	assert_true(is_reserved("192.168.1.1"));
	assert_true(is_reserved("172.31.255.255"));
	assert_true(is_reserved("255.255.255.255"));
	assert_true(is_reserved("fe80::1"));
	assert_true(is_reserved("fd00::1"));
	assert_false(is_reserved("198.18.0.1"));
	assert_false(is_reserved("8.8.8.8"));
	assert_false(is_reserved("2606:4700::1111"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_everything_are_those_of_the_golden_files),
		cmocka_unit_test(each_option_changes_what_its_golden_difference_says),
		cmocka_unit_test(each_pair_of_options_makes_the_text_of_the_golden_digest),
		cmocka_unit_test(no_packet_is_taken_without_the_lease),
		cmocka_unit_test(running_connections_are_found_before_any_list),
		cmocka_unit_test(without_a_socket_match_running_connections_are_found_by_their_mark),
		cmocka_unit_test(the_gid_of_mihomo_is_asked_before_its_dns_is),
		cmocka_unit_test(the_lan_is_direct_whatever_else_is_wanted),
		cmocka_unit_test(nft_gives_up_the_mark_where_nobody_listens),
		cmocka_unit_test(closed_spares_whatever_selection_spares),
		cmocka_unit_test(who_is_meant_by_mac_alone_is_nobody_where_macs_cannot_be_seen),
		cmocka_unit_test(mangle_is_the_last_table),
		cmocka_unit_test(the_parts_are_apart),
		cmocka_unit_test(a_family_that_is_left_out_leaves_nothing_in_nft),
		cmocka_unit_test(bad_parameters_make_no_text),
		cmocka_unit_test(names_that_are_no_interfaces_make_no_text),
		cmocka_unit_test(sets_hold_what_the_user_named),
		cmocka_unit_test(the_first_failure_ends_the_elements),
		cmocka_unit_test(sets_are_there_when_a_rule_asks_them),
		cmocka_unit_test(sets_have_the_names_of_their_family),
		cmocka_unit_test(private_networks_are_reserved_and_fake_addresses_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
