#include "sys/ability_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/ability.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/*
 * Configuration names are the kernel's, package names OpenWrt's (include/netfilter.mk there); `tool` is the
 * package of the extension that iptables itself needs, where that is not in the base package.
 */
struct feature {
	const char *name;
	unsigned lack;
	const char *table; /* of iptables */
	const char *config, *package, *tool;
	const char *lines[IP_FAMILIES];
};

#define BOTH(text)                                                                                                     \
	{                                                                                                              \
		text, text                                                                                             \
	}

/* ---- iptables ---- */

#define A "-A " ABILITY_CHAIN " "
#define MARK "0x1/0xffffffff"
#define TPROXY_TO(ip)                                                                                                  \
	A "-p tcp -m tcp -j TPROXY --on-port 1 --on-ip " ip " --tproxy-mark " MARK "\n" A                              \
	  "-p udp -m udp -j TPROXY --on-port 1 --on-ip " ip " --tproxy-mark " MARK "\n"
#define SET_MATCH(set) A "-m set ! --match-set " set " dst -j RETURN\n" A "-m set --match-set " set " src -j RETURN\n"
#define NAT(ip)                                                                                                        \
	A "-p udp -m udp --dport 53 -j REDIRECT --to-ports 1\n" A                                                      \
	  "-p udp -m udp --dport 53 -j DNAT --to-destination " ip ":53\n" A "-p udp -m udp -j MASQUERADE\n"

static const struct feature iptables_features[] = {
	{ "TPROXY target",
	  0,
	  "mangle",
	  "CONFIG_NETFILTER_XT_TARGET_TPROXY",
	  "kmod-ipt-tproxy",
	  "iptables-mod-tproxy",
	  { TPROXY_TO("127.0.0.1"), TPROXY_TO("::1") } },
	{ "set match",
	  0,
	  "mangle",
	  "CONFIG_NETFILTER_XT_SET",
	  "kmod-ipt-ipset",
	  NULL,
	  { SET_MATCH(ABILITY_SET), SET_MATCH(ABILITY_SET "6") } },
	{ "mark match and MARK target", 0, "mangle", "CONFIG_NETFILTER_XT_MARK", "kmod-ipt-core", NULL,
	  BOTH(A "-m mark ! --mark " MARK " -j MARK --set-xmark " MARK "\n" A
		 "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j MARK --set-xmark " MARK "\n") },
	{ "addrtype match", 0, "mangle", "CONFIG_NETFILTER_XT_MATCH_ADDRTYPE", "kmod-ipt-extra", "iptables-mod-extra",
	  BOTH(A "-m addrtype --dst-type LOCAL -j RETURN\n" A "-m addrtype ! --src-type LOCAL -j RETURN\n") },
	{ "conntrack match", FW_LACKS_CONNTRACK, "mangle", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK", "kmod-ipt-conntrack",
	  NULL,
	  BOTH(A "-m conntrack --ctdir REPLY -j RETURN\n" A "-m conntrack --ctstate NEW,ESTABLISHED -j RETURN\n" A
		 "-m conntrack --ctstate DNAT --ctorigdstport 53 -j RETURN\n") },
	{ "connmark match and CONNMARK target", FW_LACKS_CONNTRACK, "mangle", "CONFIG_NETFILTER_XT_CONNMARK",
	  "kmod-ipt-conntrack-extra", "iptables-mod-conntrack-extra",
	  BOTH(A "-m connmark ! --mark " MARK " -j CONNMARK --set-xmark " MARK "\n") },
	{ "socket match", FW_LACKS_SOCKET, "mangle", "CONFIG_NETFILTER_XT_MATCH_SOCKET", "kmod-ipt-tproxy",
	  "iptables-mod-tproxy", BOTH(A "-p tcp -m socket --transparent -j RETURN\n") },
	{ "owner match", FW_LACKS_OWNER, "mangle", "CONFIG_NETFILTER_XT_MATCH_OWNER", "kmod-ipt-extra",
	  "iptables-mod-extra", BOTH(A "-m owner --gid-owner 1 -j RETURN\n") },
	{ "NAT",
	  FW_LACKS_NAT,
	  "nat",
	  "CONFIG_NETFILTER_XT_NAT",
	  "kmod-ipt-nat",
	  NULL,
	  { NAT("127.0.0.1"), NAT("[::1]") } },
	{ "REJECT target", FW_LACKS_REJECT, "filter", "CONFIG_IP_NF_TARGET_REJECT", "kmod-ipt-core", NULL,
	  BOTH(A "-p tcp -m tcp -j REJECT --reject-with tcp-reset\n" A "-p udp -m udp -j REJECT\n") },
};

#undef A

/* ---- nft ---- */

#define RULE "add rule inet " ABILITY_TABLE " probe "
#define TABLE "inet " ABILITY_TABLE " "
#define SETS(type)                                                                                                     \
	"add set " TABLE "nets { type " type "; flags interval; auto-merge; }\n"                                       \
	"add set " TABLE "ports { type inet_service; flags interval; auto-merge; }\n"                                  \
	"add set " TABLE "lease { type nf_proto; flags timeout; }\n"                                                   \
	"add counter " TABLE "chosen\n" RULE "meta nfproto != @lease return\n" RULE                                    \
	"th dport @ports counter name chosen return\n"

static const struct feature nft_features[] = {
	{ "inet chains of the types route and filter (Linux 5.2)", 0, NULL, "CONFIG_NF_TABLES_INET", "kmod-nft-core",
	  NULL,
	  BOTH("add chain " TABLE "pre { type filter hook prerouting priority -150; }\n"
	       "add chain " TABLE "out { type route hook output priority -150; }\n") },
	{ "sets of networks, ports and protocols",
	  0,
	  NULL,
	  "CONFIG_NF_TABLES",
	  "kmod-nft-core",
	  NULL,
	  { SETS("ipv4_addr") RULE "ip daddr @nets return\n", SETS("ipv6_addr") RULE "ip6 daddr @nets return\n" } },
	{ "tproxy statement",
	  0,
	  NULL,
	  "CONFIG_NFT_TPROXY",
	  "kmod-nft-tproxy",
	  NULL,
	  { RULE "meta l4proto { tcp, udp } tproxy ip to 127.0.0.1:1 meta mark set 0x1 accept\n",
	    RULE "meta l4proto { tcp, udp } tproxy ip6 to [::1]:1 meta mark set 0x1 accept\n" } },
	{ "fib expression", 0, NULL, "CONFIG_NFT_FIB_INET", "kmod-nft-fib", NULL,
	  BOTH(RULE "fib daddr type { local, multicast } return\n") },
	{ "conntrack expressions", FW_LACKS_CONNTRACK, NULL, "CONFIG_NFT_CT", "kmod-nft-core", NULL,
	  BOTH(RULE "ct direction reply return\n" RULE "ct state established ct mark != 0x1 ct mark set 0x1\n" RULE
		    "meta l4proto udp ct status dnat ct original proto-dst 53 return\n") },
	{ "socket expression", FW_LACKS_SOCKET, NULL, "CONFIG_NFT_SOCKET", "kmod-nft-socket", NULL,
	  BOTH(RULE "meta l4proto tcp socket transparent 1 return\n") },
	{ "gid expression", FW_LACKS_OWNER, NULL, "CONFIG_NF_TABLES", "kmod-nft-core", NULL,
	  BOTH(RULE "meta skgid 1 return\n") },
	{ "NAT",
	  FW_LACKS_NAT,
	  NULL,
	  "CONFIG_NFT_NAT, CONFIG_NFT_REDIR, CONFIG_NFT_MASQ",
	  "kmod-nft-nat",
	  NULL,
	  { "add chain " TABLE "dns { type nat hook prerouting priority -100; }\n" RULE
	    "udp dport 53 redirect to :1\n" RULE "udp dport 53 dnat ip to 127.0.0.1:53\n" RULE "masquerade\n",
	    "add chain " TABLE "dns { type nat hook prerouting priority -100; }\n" RULE
	    "udp dport 53 redirect to :1\n" RULE "udp dport 53 dnat ip6 to [::1]:53\n" RULE "masquerade\n" } },
	{ "reject statement", FW_LACKS_REJECT, NULL, "CONFIG_NFT_REJECT_INET", "kmod-nft-core", NULL,
	  BOTH(RULE "meta l4proto tcp reject with tcp reset\n" RULE "meta l4proto udp reject\n") },
	{ "look-up of MAC addresses", FW_LACKS_MAC, NULL, "CONFIG_NF_TABLES", "kmod-nft-core", NULL,
	  BOTH("add set " TABLE "macs { type ether_addr; }\n" RULE "ether saddr @macs return\n") },
};

static const struct feature *features(enum fw_backend b)
{
	return b == FW_NFT ? nft_features : iptables_features;
}

int ability_features(enum fw_backend b)
{
	return (int)(b == FW_NFT ? ARRAY_LEN(nft_features) : ARRAY_LEN(iptables_features));
}

unsigned ability_lack(enum fw_backend b, int feature)
{
	return features(b)[feature].lack;
}

const char *ability_feature_name(enum fw_backend b, int feature)
{
	return features(b)[feature].name;
}

void ability_feature_why(enum fw_backend b, int feature, const char *output, char why[ABILITY_WHY])
{
	const struct feature *f = &features(b)[feature];

	if (b == FW_IPTABLES && strstr(output, "Couldn't load") && f->tool)
		snprintf(why, ABILITY_WHY, "iptables has no extension for the %s (OpenWrt: %s)", f->name, f->tool);
	else if (b == FW_IPTABLES && strstr(output, "Couldn't load"))
		snprintf(why, ABILITY_WHY, "iptables has no extension for the %s", f->name);
	else if (b == FW_NFT && !strstr(output, "Could not process"))
		snprintf(why, ABILITY_WHY, "this nft is too old: it does not know the %s", f->name);
	else
		snprintf(why, ABILITY_WHY, "the kernel has no %s (%s; OpenWrt: %s)", f->name, f->config, f->package);
}

/* ---- texts ---- */

struct text {
	char *buf;
	size_t len;
};

static void put(struct text *t, const char *piece)
{
	size_t n = strlen(piece);

	if (n < ABILITY_TEXT_MAX - t->len)
		memcpy(t->buf + t->len, piece, n + 1);
	t->len = n < ABILITY_TEXT_MAX - t->len ? t->len + n : ABILITY_TEXT_MAX - 1; /* full: stays full */
}

static bool wanted(enum fw_backend b, int feature, unsigned skip, int what)
{
	unsigned lack = ability_lack(b, feature);

	return what == feature || (what == ABILITY_WHOLE && (lack == 0 || (lack & skip) == 0));
}

/* One table: the rules in, and in a transaction of its own, out again. To declare a chain empties it. */
static void put_table(struct text *t, const char *table, enum ip_family family, unsigned skip, int what)
{
	bool any = what == ABILITY_BASE && strcmp(table, "mangle") == 0;

	for (int i = 0; i < ability_features(FW_IPTABLES); i++)
		any |= strcmp(iptables_features[i].table, table) == 0 && wanted(FW_IPTABLES, i, skip, what);
	if (!any)
		return;
	put(t, "*");
	put(t, table);
	put(t, "\n:" ABILITY_CHAIN " - [0:0]\n");
	for (int i = 0; i < ability_features(FW_IPTABLES); i++) {
		if (strcmp(iptables_features[i].table, table) == 0 && wanted(FW_IPTABLES, i, skip, what))
			put(t, iptables_features[i].lines[family]);
	}
	put(t, "COMMIT\n*");
	put(t, table);
	put(t, "\n:" ABILITY_CHAIN " - [0:0]\n-X " ABILITY_CHAIN "\nCOMMIT\n");
}

int ability_text(enum fw_backend b, enum ip_family family, unsigned skip, int what, char buf[ABILITY_TEXT_MAX])
{
	static const char *const tables[] = { "mangle", "nat", "filter" };
	struct text t = { .buf = buf };

	buf[0] = '\0';
	if (b == FW_NFT) {
		put(&t, "add table " TABLE "\nadd chain " TABLE "probe\n");
		for (int i = 0; i < ability_features(b); i++) {
			if (wanted(b, i, skip, what))
				put(&t, nft_features[i].lines[family]);
		}
	} else {
		for (size_t i = 0; i < ARRAY_LEN(tables); i++)
			put_table(&t, tables[i], family, skip, what);
	}
	return t.len < ABILITY_TEXT_MAX - 1 ? (int)t.len : -ENOSPC;
}
