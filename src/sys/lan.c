/* The LAN's on-link prefixes: route_lan of route.h. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"
#include "clashsup/route.h"
#include "sys/netlink.h"
#include "sys/rtnl.h"

#define ROUNDS 16	 /* of a dump that changed while it was read */
#define WANS_MAX 64	 /* interfaces with a default route; what is beyond counts as LAN */
#define ROUTES_MAX 16384 /* of a family: some 50 ms; PID 1 has no more time for this */
#define FOUND_MAX 512	 /* prefixes before anything is left out */

struct on_link {
	uint32_t index; /* of its interface */
	struct addr_net net;
};

struct lan {
	uint8_t af; /* of the addresses */
	uint32_t wans[WANS_MAX];
	size_t n_wans;
	struct on_link found[FOUND_MAX];
	size_t n_found;
};

/* ---- which interfaces lead out ---- */

static bool is_wan(const struct lan *l, uint32_t index)
{
	for (size_t i = 0; i < l->n_wans; i++) {
		if (l->wans[i] == index)
			return true;
	}
	return false;
}

static void add_wan(struct lan *l, uint32_t index)
{
	if (index && l->n_wans < WANS_MAX && !is_wan(l, index))
		l->wans[l->n_wans++] = index;
}

static void note_default(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *hops;
	const struct rtnexthop *hop;
	struct lan *l = ctx;
	struct rtnl_route v;
	int left;

	if (!rtnl_read_route(msg, AF_INET, &v) && !rtnl_read_route(msg, AF_INET6, &v))
		return;
	if (v.head->rtm_dst_len != 0 || v.head->rtm_type != RTN_UNICAST || (v.head->rtm_flags & RTM_F_CLONED))
		return;
	add_wan(l, v.oif);
	hops = netlink_nest(msg, sizeof(*v.head), RTA_MULTIPATH);
	left = hops ? mnl_attr_get_payload_len(hops) : 0;
	for (hop = hops ? mnl_attr_get_payload(hops) : NULL; left >= (int)sizeof(*hop) && RTNH_OK(hop, left);
	     left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
		add_wan(l, (uint32_t)hop->rtnh_ifindex);
}

static int find_wans(struct netlink *n, struct lan *l)
{
	int r = 0;

	for (int f = 0; f < IP_FAMILIES && r == 0; f++) {
		const struct rtmsg unicast = { .rtm_family = rtnl_af((enum ip_family)f), .rtm_type = RTN_UNICAST };

		r = -EINTR;
		for (int i = 0; i < ROUNDS && r == -EINTR; i++)
			r = rtnl_dump_routes(n, &unicast, RT_TABLE_UNSPEC, note_default, l);
		if (r == -EAFNOSUPPORT || r == -EOPNOTSUPP) /* this kernel has no such family */
			r = 0;
	}
	return r;
}

/* ---- what is on the links ---- */

/* Of two ends of a link, IFA_ADDRESS is the other one: the prefix is its. */
static void note_address(const struct nlmsghdr *msg, void *ctx)
{
	const struct ifaddrmsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attr;
	struct addr_net net = { .prefix = 0 };
	struct lan *l = ctx;

	if (msg->nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(msg) < sizeof(*head) ||
	    head->ifa_family != l->af || head->ifa_scope != RT_SCOPE_UNIVERSE || l->n_found == FOUND_MAX)
		return;
	net.addr.family = l->af == AF_INET ? IP_V4 : IP_V6;
	net.prefix = head->ifa_prefixlen;
	attr = netlink_attr(msg, sizeof(*head), IFA_ADDRESS, addr_len(&net.addr));
	if (!attr || net.prefix == 0 || net.prefix >= addr_len(&net.addr) * 8)
		return;
	memcpy(net.addr.bytes, mnl_attr_get_payload(attr), addr_len(&net.addr));
	for (unsigned bit = net.prefix; bit < addr_len(&net.addr) * 8; bit++)
		net.addr.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	l->found[l->n_found++] = (struct on_link){ head->ifa_index, net };
}

static int find_addresses(struct netlink *n, struct lan *l)
{
	NETLINK_ALIGNED uint8_t buf[RTNL_MSG] = { 0 };
	struct nlmsghdr *msg = rtnl_start(buf, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));
	int r = -EINTR;

	head->ifa_family = l->af;
	for (int i = 0; i < ROUNDS && r == -EINTR; i++) {
		l->n_found = 0;
		r = netlink_ask(n, msg, note_address, l);
	}
	return r;
}

/* ---- what of it counts ---- */

static bool is_reserved(enum ip_family family, const struct addr_net *net)
{
	const char *const *texts;
	struct addr_net reserved;
	size_t n;

	texts = fwplan_reserved(family, &n);
	for (size_t i = 0; i < n; i++) {
		if (addr_net_parse(texts[i], &reserved) == 0 && net->prefix >= reserved.prefix &&
		    addr_in(&net->addr, &reserved))
			return true;
	}
	return false;
}

static bool is_named(const struct iface_list *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++) {
		size_t len = strlen(list->ifaces[i].name);
		bool any = len > 0 && list->ifaces[i].name[len - 1] == '*';

		if (any ? strncmp(list->ifaces[i].name, name, len - 1) == 0 : strcmp(list->ifaces[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool is_lan(struct netlink *n, const struct lan *l, const struct iface_list *list, uint32_t index)
{
	char name[RTNL_LINK_NAME];
	short flags;

	if (!rtnl_link(n, (int)index, name, &flags) || !(flags & IFF_UP))
		return false;
	return list->n > 0 ? is_named(list, name) : !(flags & IFF_LOOPBACK) && !is_wan(l, index);
}

static int compare(const void *a, const void *b)
{
	const struct addr_net *x = a, *y = b;
	int by_addr = addr_cmp(&x->addr, &y->addr);

	return by_addr ? by_addr : (int)x->prefix - (int)y->prefix;
}

/* Sorted, each once. */
static size_t tidy(struct addr_net *nets, size_t n)
{
	size_t kept = 0;

	qsort(nets, n, sizeof(*nets), compare);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || compare(&nets[kept - 1], &nets[i]) != 0)
			nets[kept++] = nets[i];
	}
	return kept;
}

static int choose(struct netlink *n, const struct lan *l, const struct iface_list *list, enum ip_family family,
		  struct addr_net *out, size_t cap)
{
	struct addr_net nets[FOUND_MAX];
	size_t count = 0;

	for (size_t i = 0; i < l->n_found; i++) {
		if (is_lan(n, l, list, l->found[i].index) && !is_reserved(family, &l->found[i].net))
			nets[count++] = l->found[i].net;
	}
	count = tidy(nets, count);
	if (count > cap)
		count = cap;
	memcpy(out, nets, count * sizeof(*out));
	return (int)count;
}

int route_lan(const struct iface_list *lan_ifaces, enum ip_family family, struct addr_net *out, size_t cap,
	      struct err *e)
{
	struct lan l = { .af = rtnl_af(family) };
	struct netlink n;
	int r = rtnl_open(&n);

	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	n.limit = ROUTES_MAX;
	if (lan_ifaces->n == 0)
		r = find_wans(&n, &l);
	if (r == 0)
		r = find_addresses(&n, &l);
	if (r == 0)
		r = choose(&n, &l, lan_ifaces, family, out, cap);
	netlink_close(&n);
	if (r == -E2BIG)
		return err_set(e, E2BIG, "more than %d routes to find the LAN among: name its interfaces in lan_ifaces",
			       ROUTES_MAX);
	return r < 0 ? err_sys(e, -r, "look for the %s networks of the LAN", rtnl_family_name[family]) : r;
}
