#include "clashsup/fwplan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/fwplan_rules.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

const char *fw_backend_name(enum fw_backend b)
{
	static const char *const names[FW_BACKENDS] = { "iptables", "nft", "script" };

	return b < FW_BACKENDS ? names[b] : "?";
}

/* ---- the user's lists ---- */

static const struct selection *selection_of(const struct fwplan_params *p)
{
	static const struct selection defaults;

	return p->selection ? p->selection : &defaults;
}

static bool in_family(const struct net_list *l, enum ip_family family)
{
	for (size_t i = 0; l && i < l->n; i++) {
		if (l->nets[i].addr.family == family)
			return true;
	}
	return false;
}

/* ---- sets ---- */

/* The lists of networks that a set is made of, at most two. */
struct net_lists {
	const struct net_list *list[2];
};

static struct net_lists nets_of(const struct fwplan_params *p, enum fw_set set)
{
	const struct selection *s = selection_of(p);

	switch (set) {
	case FWSET_WANT:
		return (struct net_lists){ { &s->want, p->fake } };
	case FWSET_FAKE:
		return (struct net_lists){ { p->fake } };
	case FWSET_LAN:
		return (struct net_lists){ { p->lan } };
	case FWSET_SKIP_DST:
		return (struct net_lists){ { &s->skip_dst } };
	case FWSET_SKIP_SRC:
		return (struct net_lists){ { &s->skip_src } };
	case FWSET_ONLY_SRC:
		return (struct net_lists){ { &s->only_src } };
	default:
		return (struct net_lists){ { NULL } };
	}
}

bool fwplan_has_set(const struct fwplan_params *p, enum ip_family family, enum fw_set set)
{
	const struct selection *s = selection_of(p);
	bool mac = !(p->lacks[family] & FW_LACKS_MAC);

	switch (set) {
	case FWSET_SERVERS:
	case FWSET_LEASE:
	case FWSET_LAN:
		return true;
	case FWSET_RESERVED:
		return s->want.n == 0;
	case FWSET_INSIDE:
		return p->dns.on && s->lan_ifaces.n == 0;
	case FWSET_WANT:
		return s->want.n > 0; /* one that is empty in this family wants nothing of it */
	case FWSET_ONLY_SRC: /* likewise; and where only MAC addresses are named but cannot be seen, it is nobody */
		return s->only_src.n > 0 || (s->only_mac.n > 0 && !mac);
	case FWSET_SKIP_MAC:
		return s->skip_mac.n > 0 && mac;
	case FWSET_ONLY_MAC:
		return s->only_mac.n > 0 && mac;
	case FWSET_SKIP_PORT:
		return s->skip_ports.n > 0;
	case FWSET_FAKE:
	case FWSET_SKIP_DST:
	case FWSET_SKIP_SRC:
		return in_family(nets_of(p, set).list[0], family);
	case FW_SETS:
		break;
	}
	return false;
}

static const struct {
	const char *name;
	const char *type[IP_FAMILIES];
} sets[FW_SETS] = {
	/*
	 * With room for all from the start (8 bytes a place): where the kernel lets a set grow it waits for all CPUs,
	 * 20 ms and more, and whoever feeds it waits with it.
	 */
	[FWSET_SERVERS] = { NULL,
			    { "hash:ip family inet hashsize 65536 maxelem 131072",
			      "hash:ip family inet6 hashsize 65536 maxelem 131072" } },
	[FWSET_LEASE] = { FWPLAN_LEASE_SET, { "hash:net family inet timeout 3", "hash:net family inet6 timeout 3" } },
	[FWSET_RESERVED] = { FWPLAN_RESERVED_SET, { "hash:net family inet", "hash:net family inet6" } },
#define NETS                                                                                                           \
	{                                                                                                              \
		"hash:net family inet maxelem 262144", "hash:net family inet6 maxelem 262144"                          \
	}
	[FWSET_WANT] = { "clash_dst", NETS },
	[FWSET_FAKE] = { "clash_fake", NETS },
	[FWSET_INSIDE] = { "clash_inside", NETS },
	[FWSET_LAN] = { "clash_lan", NETS },
	[FWSET_SKIP_DST] = { "clash_dst_skip", NETS },
	[FWSET_SKIP_SRC] = { "clash_src_skip", NETS },
	[FWSET_ONLY_SRC] = { "clash_src", NETS },
#undef NETS
	[FWSET_SKIP_MAC] = { "clash_mac_skip", { "hash:mac maxelem 131072", "hash:mac maxelem 131072" } },
	[FWSET_ONLY_MAC] = { "clash_mac", { "hash:mac maxelem 131072", "hash:mac maxelem 131072" } },
	[FWSET_SKIP_PORT] = { "clash_port_skip", { "bitmap:port range 0-65535", "bitmap:port range 0-65535" } },
};

bool fwplan_set_is_shared(enum fw_set set)
{
	return set == FWSET_SKIP_MAC || set == FWSET_ONLY_MAC || set == FWSET_SKIP_PORT;
}

const char *fwplan_set_name(const char *base, enum ip_family family, char buf[FWPLAN_SET_TEXT])
{
	snprintf(buf, FWPLAN_SET_TEXT, "%.*s%s", FWPLAN_SET_TEXT - 2, base, family == IP_V6 ? "6" : "");
	return buf;
}

const char *fwplan_set(const struct fwplan_params *p, enum ip_family family, enum fw_set set, char buf[FWPLAN_SET_TEXT])
{
	const char *base = set == FWSET_SERVERS ? p->server_set : sets[set].name;

	return fwplan_set_name(base, fwplan_set_is_shared(set) ? IP_V4 : family, buf);
}

const char *fwplan_set_type(enum ip_family family, enum fw_set set)
{
	return sets[set].type[family];
}

/* ---- what is in them ---- */

/* hash:net takes no /0. */
static int each_net(const struct addr_net *net, fwplan_element_fn each, void *ctx)
{
	struct addr_net half = *net;
	char buf[ADDR_TEXT];
	int r;

	if (net->prefix > 0)
		return each(ctx, addr_net_text(net, buf));
	half.prefix = 1;
	r = each(ctx, addr_net_text(&half, buf));
	half.addr.bytes[0] = 0x80;
	return r ? r : each(ctx, addr_net_text(&half, buf));
}

static int each_net_of(const struct net_lists *lists, enum ip_family family, fwplan_element_fn each, void *ctx)
{
	for (size_t k = 0; k < ARRAY_LEN(lists->list); k++) {
		const struct net_list *l = lists->list[k];

		for (size_t i = 0; l && i < l->n; i++) {
			int r = l->nets[i].addr.family == family ? each_net(&l->nets[i], each, ctx) : 0;

			if (r)
				return r;
		}
	}
	return 0;
}

static int each_mac(const struct mac_list *l, fwplan_element_fn each, void *ctx)
{
	int r = 0;

	for (size_t i = 0; i < l->n && r == 0; i++) {
		const uint8_t *b = l->macs[i].bytes;
		char buf[18];

		snprintf(buf, sizeof(buf), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
		r = each(ctx, buf);
	}
	return r;
}

static int each_port(const struct port_list *l, fwplan_element_fn each, void *ctx)
{
	int r = 0;

	for (size_t i = 0; i < l->n && r == 0; i++) {
		unsigned first = l->ranges[i].first, last = l->ranges[i].last;
		char buf[16];

		snprintf(buf, sizeof(buf), first == last ? "%u" : "%u-%u", first, last);
		r = each(ctx, buf);
	}
	return r;
}

/* Whose queries may be answered: private, carrier's and link-local addresses (RFC 1918, 6598, 3927, 4193, 4291). */
static const char *const inside[IP_FAMILIES][6] = {
	{ "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", NULL },
	{ "fc00::/7", "fe80::/10", NULL },
};

int fwplan_elements(const struct fwplan_params *p, enum ip_family family, enum fw_set set, fwplan_element_fn each,
		    void *ctx)
{
	const struct selection *s = selection_of(p);
	struct net_lists nets = nets_of(p, set);
	const char *const *fixed;
	size_t n;
	int r = 0;

	switch (set) {
	case FWSET_SERVERS:
	case FWSET_LEASE:
		return 0;
	case FWSET_RESERVED:
	case FWSET_INSIDE:
		fixed = set == FWSET_INSIDE ? inside[family] : fwplan_reserved(family, &n);
		for (size_t i = 0; set == FWSET_INSIDE ? fixed[i] != NULL : i < n; i++) {
			r = each(ctx, fixed[i]);
			if (r)
				break;
		}
		return r;
	case FWSET_SKIP_MAC:
		return each_mac(&s->skip_mac, each, ctx);
	case FWSET_ONLY_MAC:
		return each_mac(&s->only_mac, each, ctx);
	case FWSET_SKIP_PORT:
		return each_port(&s->skip_ports, each, ctx);
	default:
		return each_net_of(&nets, family, each, ctx);
	}
}

/* ---- reserved networks ---- */

/* Special-purpose registries of IPv4 and IPv6 (RFC 6890), without 198.18.0.0/15: fake-ip answers live there. */
static const char *const reserved4[] = {
	"0.0.0.0/8",	   "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8",	"169.254.0.0/16",
	"172.16.0.0/12",   "192.0.0.0/24",   "192.0.2.0/24",  "192.88.99.0/24", "192.168.0.0/16",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",   "240.0.0.0/4",
};

static const char *const reserved6[] = {
	"::/128",	"::1/128",	 "::ffff:0:0/96", "64:ff9b::/96", "100::/64",  "2001::/32",
	"2001:20::/28", "2001:db8::/32", "2002::/16",	  "fc00::/7",	  "fe80::/10", "ff00::/8",
};

const char *const *fwplan_reserved(enum ip_family family, size_t *n_out)
{
	*n_out = family == IP_V4 ? ARRAY_LEN(reserved4) : ARRAY_LEN(reserved6);
	return family == IP_V4 ? reserved4 : reserved6;
}

/* ---- what makes no plan ---- */

static bool is_ours(const struct fwplan_params *p, const char *name)
{
	char buf[FWPLAN_SET_TEXT];

	for (unsigned set = FWSET_LEASE; set < FW_SETS; set++) {
		for (unsigned f = 0; f < IP_FAMILIES; f++) {
			if (strcmp(name, fwplan_set(p, (enum ip_family)f, (enum fw_set)set, buf)) == 0)
				return true;
		}
	}
	return false;
}

static int check_server_set(const struct fwplan_params *p, struct err *e)
{
	const char *name = p->server_set ? p->server_set : "";
	size_t len = strlen(name);
	char twin[FWPLAN_SET_TEXT];

	if (len == 0 || len > FWPLAN_SET_NAME_MAX || name[0] == '-' || strspn(name, NAME_BYTES) != len)
		return err_set(e, EINVAL, "bad name of the server set");
	if (is_ours(p, name) || is_ours(p, fwplan_set_name(name, IP_V6, twin)))
		return err_set(e, EINVAL,
			       "the server set cannot be called %s, which is the name of another set of ours", name);
	return 0;
}

/* It goes into the text as it is. */
static int check_ifaces(const struct iface_list *l, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		size_t len = strnlen(l->ifaces[i].name, sizeof(l->ifaces[i].name));
		size_t good = len < sizeof(l->ifaces[i].name) ? strspn(l->ifaces[i].name, NAME_BYTES ":@") : 0;
		bool any = len > 0 && good == len - 1 && l->ifaces[i].name[good] == '*';

		if (len == 0 || len > IFACE_TEXT || l->ifaces[i].name[0] == '-' || !(good == len || any) ||
		    (len == IFACE_TEXT && !any))
			return err_set(e, EINVAL, "bad name of an interface: \"%.*s\"", IFACE_TEXT, l->ifaces[i].name);
	}
	return 0;
}

static int check_dns(const struct fwplan_params *p, enum ip_family family, struct err *e)
{
	const struct addr *fallback = &p->dns.fallback[family];

	if (!p->dns.on)
		return 0;
	if (p->dns.port == 0)
		return err_set(e, EINVAL, "the port of Mihomo's DNS is 0");
	if (p->dns.has_fallback[family] && (fallback->family != family || addr_is_special(fallback)))
		return err_set(e, EINVAL, "queries cannot be sent to this fallback resolver");
	return 0;
}

int fw_plan_check(const struct fwplan_params *p, enum ip_family family, struct err *e)
{
	int r;

	if (p->port == 0)
		return err_set(e, EINVAL, "the TPROXY port is 0");
	if (p->mark == 0)
		return err_set(e, EINVAL, "the mark is 0, which every packet carries");
	if (p->lacks[family] & FW_LACKS_CONNTRACK)
		return err_set(e, EINVAL, "the kernel has no connection tracking, which every rule of ours needs");
	r = check_server_set(p, e);
	if (r == 0)
		r = check_ifaces(&selection_of(p)->skip_ifaces, e);
	if (r == 0)
		r = check_ifaces(&selection_of(p)->lan_ifaces, e);
	return r < 0 ? r : check_dns(p, family, e);
}
