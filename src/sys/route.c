#include "clashsup/route.h"

#include <errno.h>
#include <string.h>

#include "sys/netlink.h"
#include "sys/rtnl.h"

#define ROUNDS 16 /* of a dump that changed while it was read */

/* ---- looking ---- */

struct wanted {
	uint8_t af;
	uint32_t mark, table, pref;
	bool rule, route;
};

static void note_route(const struct nlmsghdr *msg, void *ctx)
{
	struct wanted *w = ctx;
	struct rtnl_route v;

	if (rtnl_read_route(msg, w->af, &v) && v.table == w->table && rtnl_is_local_default(&v))
		w->route = true;
}

static void note_rule(const struct nlmsghdr *msg, void *ctx)
{
	struct wanted *w = ctx;
	struct rtnl_rule v;

	if (rtnl_read_rule(msg, w->af, &v) && v.pref == w->pref && rtnl_is_mark_rule(&v, w->mark, w->table))
		w->rule = true;
}

/* A dump that changed while it was read may lack something, but shows nothing that is not there. */
static int look_for_route(struct netlink *n, struct wanted *w)
{
	const struct rtmsg local = { .rtm_family = w->af, .rtm_type = RTN_LOCAL };
	int r = -EINTR;

	for (int i = 0; i < ROUNDS && r == -EINTR && !w->route; i++)
		r = rtnl_dump_routes(n, &local, w->table, note_route, w);
	return w->route ? 0 : r;
}

static int look_for_rule(struct netlink *n, struct wanted *w)
{
	int r = -EINTR;

	for (int i = 0; i < ROUNDS && r == -EINTR && !w->rule; i++)
		r = rtnl_dump_rules(n, w->af, note_rule, w);
	return w->rule ? 0 : r;
}

int route_look(enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref, bool *rule, bool *route,
	       struct err *e)
{
	struct wanted w = { .af = rtnl_af(family), .mark = mark, .table = table, .pref = pref };
	struct netlink n;
	int r = rtnl_open(&n);

	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	r = look_for_rule(&n, &w);
	if (r == 0)
		r = look_for_route(&n, &w);
	netlink_close(&n);
	if (r < 0)
		return err_sys(e, -r, "look for our %s rule and route", rtnl_family_name[family]);
	*rule = w.rule;
	*route = w.route;
	return 0;
}

/* ---- adding ---- */

static int add_route(struct netlink *n, enum ip_family family, uint32_t table, struct err *e)
{
	NETLINK_ALIGNED uint8_t buf[RTNL_MSG] = { 0 };
	struct nlmsghdr *msg = rtnl_start(buf, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));
	struct wanted w = { .af = rtnl_af(family), .table = table };
	int r;

	head->rtm_family = w.af;
	head->rtm_table = RT_TABLE_UNSPEC; /* RTA_TABLE has it in full */
	head->rtm_protocol = ROUTE_PROTOCOL;
	head->rtm_scope = RT_SCOPE_HOST;
	head->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(msg, RTA_TABLE, table);
	mnl_attr_put_u32(msg, RTA_OIF, RTNL_LO);
	r = netlink_ask(n, msg, NULL, NULL);
	if (r != -EEXIST)
		return r < 0 ? err_sys(e, -r, "add the %s route of table %u", rtnl_family_name[family], table) : 0;

	r = look_for_route(n, &w);
	if (w.route)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "read %s table %u", rtnl_family_name[family], table);
	return err_set(e, EEXIST, "%s table %u has another default route already: choose another table",
		       rtnl_family_name[family], table);
}

static int add_rule(struct netlink *n, enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref,
		    struct err *e)
{
	NETLINK_ALIGNED uint8_t buf[RTNL_MSG] = { 0 };
	struct nlmsghdr *msg = rtnl_start(buf, RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct fib_rule_hdr *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));
	struct wanted w = { .af = rtnl_af(family), .mark = mark, .table = table, .pref = pref };
	int r;

	head->family = rtnl_af(family);
	head->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(msg, FRA_PRIORITY, pref);
	mnl_attr_put_u32(msg, FRA_FWMARK, mark);
	mnl_attr_put_u32(msg, FRA_FWMASK, UINT32_MAX);
	mnl_attr_put_u32(msg, FRA_TABLE, table);
	mnl_attr_put_u8(msg, FRA_PROTOCOL, ROUTE_PROTOCOL);
	r = netlink_ask(n, msg, NULL, NULL);
	if (r != -EEXIST)
		return r < 0 ? err_sys(e, -r, "add the %s rule for mark 0x%x", rtnl_family_name[family], mark) : 0;

	/* EXCL overlooks `not`, and on some kernels who made it: an equal rule serves, a similar one does not. */
	r = look_for_rule(n, &w);
	if (w.rule)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "read the %s rules", rtnl_family_name[family]);
	return err_set(e, EEXIST, "a similar %s rule stands at pref %u already: choose another pref",
		       rtnl_family_name[family], pref);
}

int route_add(enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref, struct err *e)
{
	struct netlink n;
	int r;

	if (mark == 0 || table == RT_TABLE_UNSPEC || pref == 0)
		return err_set(e, EINVAL, "add routing: mark, table or pref is 0");
	r = rtnl_open(&n);
	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	r = add_route(&n, family, table, e);
	if (r == 0)
		r = add_rule(&n, family, mark, table, pref, e);
	netlink_close(&n);
	return r;
}

/* ---- what is ours, whatever its numbers ---- */

static bool is_ours(const struct nlmsghdr *msg, uint8_t af)
{
	struct rtnl_route route;
	struct rtnl_rule rule;

	if (rtnl_read_rule(msg, af, &rule))
		return rule.protocol == ROUTE_PROTOCOL;
	return rtnl_read_route(msg, af, &route) && rtnl_is_local_default(&route) &&
	       route.head->rtm_protocol == ROUTE_PROTOCOL;
}

static int dump_ours(struct netlink *n, uint8_t af, netlink_each_fn each, void *ctx)
{
	const struct rtmsg routes = { .rtm_family = af, .rtm_type = RTN_LOCAL, .rtm_protocol = ROUTE_PROTOCOL };
	int r = rtnl_dump_rules(n, af, each, ctx);

	return r == 0 ? rtnl_dump_routes(n, &routes, RT_TABLE_UNSPEC, each, ctx) : r;
}

/* A family, or policy routing at all, that the kernel lacks holds nothing of ours. */
static bool is_lacking(int r)
{
	return r == -EAFNOSUPPORT || r == -EOPNOTSUPP;
}

struct search {
	uint8_t af;
	bool found;
};

static void note_ours(const struct nlmsghdr *msg, void *ctx)
{
	struct search *s = ctx;

	s->found = s->found || is_ours(msg, s->af);
}

int route_left(enum ip_family family, struct err *e)
{
	struct search s = { .af = rtnl_af(family) };
	struct netlink n;
	int r = rtnl_open(&n);

	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	r = -EINTR;
	for (int i = 0; i < ROUNDS && r == -EINTR && !s.found; i++)
		r = dump_ours(&n, s.af, note_ours, &s);
	netlink_close(&n);
	if (r < 0 && !s.found && !is_lacking(r))
		return err_sys(e, -r, "look for our %s rules and routes", rtnl_family_name[family]);
	return s.found;
}

/* ---- sweeping: what a dump shows as ours is sent back as a deletion, attribute for attribute ---- */

struct bin {
	uint8_t af;
	NETLINK_ALIGNED uint8_t buf[NETLINK_BUF];
	size_t len;
	bool full;
};

static void throw_in(const struct nlmsghdr *msg, void *ctx)
{
	struct bin *b = ctx;
	struct nlmsghdr *copy = (void *)(b->buf + b->len);
	size_t size = NLMSG_ALIGN(msg->nlmsg_len);

	if (!is_ours(msg, b->af))
		return;
	if (size > sizeof(b->buf) - b->len) {
		b->full = true;
		return;
	}
	memcpy(copy, msg, msg->nlmsg_len);
	copy->nlmsg_type = msg->nlmsg_type == RTM_NEWRULE ? RTM_DELRULE : RTM_DELROUTE;
	copy->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	copy->nlmsg_pid = 0;
	b->len += size;
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

/* -EAGAIN: there was more than fits, or the tables changed while they were read. */
static int sweep_once(struct netlink *n, uint8_t af)
{
	struct bin b = { .af = af };
	int dumped = dump_ours(n, af, throw_in, &b), deleted = empty_bin(n, &b);

	if (deleted < 0)
		return deleted;
	return b.full || dumped == -EINTR ? -EAGAIN : dumped;
}

int route_sweep(enum ip_family family, struct err *e)
{
	struct netlink n;
	int r = rtnl_open(&n);

	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	r = -EAGAIN;
	for (int i = 0; i < ROUNDS && r == -EAGAIN; i++)
		r = sweep_once(&n, rtnl_af(family));
	netlink_close(&n);
	if (r < 0 && !is_lacking(r))
		return err_sys(e, -r, "remove our %s rules and routes", rtnl_family_name[family]);
	return 0;
}
