#include "clashsup/route.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "sys/netlink.h"

#define MSG_MAX 128 /* always zeroed: libmnl leaves padding as it is */
#define LO_INDEX 1  /* LOOPBACK_IFINDEX of the kernel: the same in every namespace */
#define SWEEP_ROUNDS 16

static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

static uint8_t af(enum ip_family family)
{
	return family == IP_V4 ? AF_INET : AF_INET6;
}

/*
 * With strict checking (kernel 4.20) the kernel itself leaves out routes that a
 * dump does not ask for; without it all come and are judged here.
 */
static int open_route(struct netlink *n)
{
	int r = netlink_open(n, NETLINK_ROUTE);
	int on = 1;

	if (r == 0)
		(void)mnl_socket_setsockopt(n->sock, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	return r;
}

static struct nlmsghdr *start(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

	msg->nlmsg_type = type;
	msg->nlmsg_flags = NLM_F_REQUEST | flags;
	return msg;
}

/* ---- looking ---- */

struct route_view {
	const struct rtmsg *head;
	uint32_t table, oif;
};

static bool view_route(const struct nlmsghdr *msg, struct route_view *v)
{
	const struct nlattr *table, *oif;

	if (msg->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(msg) < sizeof(*v->head))
		return false;
	v->head = mnl_nlmsg_get_payload(msg);
	table = netlink_attr(msg, sizeof(*v->head), RTA_TABLE, sizeof(uint32_t));
	oif = netlink_attr(msg, sizeof(*v->head), RTA_OIF, sizeof(uint32_t));
	v->table = table ? mnl_attr_get_u32(table) : v->head->rtm_table;
	v->oif = oif ? mnl_attr_get_u32(oif) : 0;
	return true;
}

/* `local default dev lo`, whoever made it. */
static bool is_local_default(const struct route_view *v, uint8_t family)
{
	return v->head->rtm_family == family && v->head->rtm_type == RTN_LOCAL && v->head->rtm_dst_len == 0 &&
	       v->oif == LO_INDEX;
}

static uint8_t rule_protocol(const struct nlmsghdr *msg)
{
	const struct nlattr *attr = netlink_attr(msg, sizeof(struct fib_rule_hdr), FRA_PROTOCOL, sizeof(uint8_t));

	return attr ? mnl_attr_get_u8(attr) : RTPROT_UNSPEC;
}

static int dump_routes(struct netlink *n, uint8_t family, uint8_t protocol, uint32_t table, netlink_each_fn each,
		       void *ctx)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = start(buf, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

	head->rtm_family = family;
	head->rtm_protocol = protocol;
	head->rtm_type = RTN_LOCAL;
	if (table != RT_TABLE_UNSPEC)
		mnl_attr_put_u32(msg, RTA_TABLE, table);
	return netlink_ask(n, msg, each, ctx);
}

/* ---- adding ---- */

struct wanted {
	uint8_t family;
	uint32_t table;
	bool found;
};

static void note_wanted(const struct nlmsghdr *msg, void *ctx)
{
	struct wanted *w = ctx;
	struct route_view v;

	if (view_route(msg, &v) && is_local_default(&v, w->family) && v.table == w->table)
		w->found = true;
}

static int add_route(struct netlink *n, enum ip_family family, uint32_t table, struct err *e)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = start(buf, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));
	struct wanted w = { .family = af(family), .table = table };
	int r;

	head->rtm_family = af(family);
	head->rtm_table = RT_TABLE_UNSPEC; /* RTA_TABLE has it in full */
	head->rtm_protocol = ROUTE_PROTOCOL;
	head->rtm_scope = RT_SCOPE_HOST;
	head->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(msg, RTA_TABLE, table);
	mnl_attr_put_u32(msg, RTA_OIF, LO_INDEX);
	r = netlink_ask(n, msg, NULL, NULL);
	if (r != -EEXIST)
		return r < 0 ? err_sys(e, -r, "add the %s route of table %u", family_name[family], table) : 0;

	r = dump_routes(n, w.family, RTPROT_UNSPEC, table, note_wanted, &w);
	if (w.found)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "read %s table %u", family_name[family], table);
	return err_set(e, EEXIST, "%s table %u has another default route already: choose another table",
		       family_name[family], table);
}

static int add_rule(struct netlink *n, enum ip_family family, uint32_t mark, uint32_t table, struct err *e)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = start(buf, RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct fib_rule_hdr *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));
	int r;

	head->family = af(family);
	head->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(msg, FRA_PRIORITY, ROUTE_PREF);
	mnl_attr_put_u32(msg, FRA_FWMARK, mark);
	mnl_attr_put_u32(msg, FRA_FWMASK, UINT32_MAX);
	mnl_attr_put_u32(msg, FRA_TABLE, table);
	mnl_attr_put_u8(msg, FRA_PROTOCOL, ROUTE_PROTOCOL);
	r = netlink_ask(n, msg, NULL, NULL);
	/* EXCL compares all but the protocol; so an equal rule of somebody else's serves as well. */
	return r < 0 && r != -EEXIST ? err_sys(e, -r, "add the %s rule for mark 0x%x", family_name[family], mark) : 0;
}

int route_add(enum ip_family family, uint32_t mark, uint32_t table, struct err *e)
{
	struct netlink n;
	int r;

	if (mark == 0 || table == RT_TABLE_UNSPEC)
		return err_set(e, EINVAL, "add routing: mark or table is 0");
	r = open_route(&n);
	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	r = add_route(&n, family, table, e);
	if (r == 0)
		r = add_rule(&n, family, mark, table, e);
	netlink_close(&n);
	return r;
}

/* ---- sweeping: what a dump shows as ours is sent back as a deletion, attribute for attribute ---- */

struct bin {
	uint8_t family;
	NETLINK_ALIGNED uint8_t buf[NETLINK_BUF];
	size_t len;
	bool full;
};

static void throw_in(struct bin *b, const struct nlmsghdr *msg, uint16_t type)
{
	struct nlmsghdr *copy = (void *)(b->buf + b->len);
	size_t size = NLMSG_ALIGN(msg->nlmsg_len);

	if (size > sizeof(b->buf) - b->len) {
		b->full = true;
		return;
	}
	memcpy(copy, msg, msg->nlmsg_len);
	copy->nlmsg_type = type;
	copy->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	copy->nlmsg_pid = 0;
	b->len += size;
}

static void collect_rule(const struct nlmsghdr *msg, void *ctx)
{
	const struct fib_rule_hdr *head = mnl_nlmsg_get_payload(msg);
	struct bin *b = ctx;

	if (msg->nlmsg_type == RTM_NEWRULE && mnl_nlmsg_get_payload_len(msg) >= sizeof(*head) &&
	    head->family == b->family && rule_protocol(msg) == ROUTE_PROTOCOL)
		throw_in(b, msg, RTM_DELRULE);
}

static void collect_route(const struct nlmsghdr *msg, void *ctx)
{
	struct bin *b = ctx;
	struct route_view v;

	if (view_route(msg, &v) && is_local_default(&v, b->family) && v.head->rtm_protocol == ROUTE_PROTOCOL)
		throw_in(b, msg, RTM_DELROUTE);
}

/* Gone meanwhile is as good as deleted. Goes on after a failure and returns the first. */
static int empty_bin(struct netlink *n, struct bin *b)
{
	size_t at = 0;
	int first = 0;

	while (at < b->len) {
		struct nlmsghdr *msg = (void *)(b->buf + at);
		int r;

		at += NLMSG_ALIGN(msg->nlmsg_len);
		r = netlink_ask(n, msg, NULL, NULL);
		if (r < 0 && r != -ENOENT && r != -ESRCH && first == 0)
			first = r;
	}
	return first;
}

static int dump_rules(struct netlink *n, uint8_t family, netlink_each_fn each, void *ctx)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = start(buf, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

	head->family = family;
	return netlink_ask(n, msg, each, ctx);
}

/* -EAGAIN: there was more than fits, or the tables changed while they were read. */
static int sweep_once(struct netlink *n, uint8_t family)
{
	struct bin b = { .family = family };
	int dumped, deleted;

	dumped = dump_rules(n, family, collect_rule, &b);
	if (dumped == 0)
		dumped = dump_routes(n, family, ROUTE_PROTOCOL, RT_TABLE_UNSPEC, collect_route, &b);
	deleted = empty_bin(n, &b);
	if (deleted < 0)
		return deleted;
	return b.full || dumped == -EINTR ? -EAGAIN : dumped;
}

int route_sweep(enum ip_family family, struct err *e)
{
	struct netlink n;
	int r = open_route(&n);

	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	r = -EAGAIN;
	for (int i = 0; i < SWEEP_ROUNDS && r == -EAGAIN; i++)
		r = sweep_once(&n, af(family));
	netlink_close(&n);
	/* A family, or policy routing at all, that the kernel lacks holds nothing of ours. */
	if (r < 0 && r != -EAFNOSUPPORT && r != -EOPNOTSUPP)
		return err_sys(e, -r, "remove our %s rules and routes", family_name[family]);
	return 0;
}
