/* Rules and routes of others that collide with ours: route_strangers of route.h. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/route.h"
#include "sys/netlink.h"
#include "sys/rtnl.h"

#define WORDS (ROUTE_TEXT - 48) /* the rest is for what stands around them */
#define MESSAGES_MAX 16384	/* of rules, and of routes: strangers enough by then */
#define ROUNDS 16		/* of a dump that changed while it was read */

struct search {
	struct netlink *n;
	uint8_t af;
	uint32_t mark, table, pref;
	struct route_stranger *out;
	size_t count, cap;
};

/* ---- the ip program's words for it ---- */

struct words {
	char text[WORDS];
	size_t len;
	bool inexact; /* something could not be said: a command of these words may delete another one */
};

static void say(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct words *w, const char *fmt, ...)
{
	size_t room = sizeof(w->text) - w->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(w->text + w->len, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		w->inexact = true;
	else
		w->len += (size_t)n;
}

/* An interface's name may hold nearly anything, and the command goes to a shell. */
static bool is_plain(const char *name)
{
	for (const char *c = name; *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr("._:@+-", *c))
			return false;
	}
	return *name != '\0' && *name != '-';
}

static void say_protocol(struct words *w, int protocol)
{
	static const struct {
		int number;
		const char *name;
	} known[] = { { RTPROT_REDIRECT, "redirect" }, { RTPROT_KERNEL, "kernel" }, { RTPROT_BOOT, "boot" },
		      { RTPROT_STATIC, "static" },     { RTPROT_RA, "ra" },	    { RTPROT_DHCP, "dhcp" } };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].number == protocol) {
			say(w, " (protocol %s)", known[i].name);
			return;
		}
	}
	if (protocol > RTPROT_UNSPEC)
		say(w, " (protocol %d)", protocol);
}

static bool say_net(struct words *w, const struct nlmsghdr *msg, size_t head, uint16_t type, uint8_t af,
		    unsigned prefix)
{
	const struct nlattr *attr = netlink_attr(msg, head, type, af == AF_INET ? 4 : 16);
	char text[INET6_ADDRSTRLEN];

	if (attr && inet_ntop(af, mnl_attr_get_payload(attr), text, sizeof(text)))
		say(w, "%s/%u ", text, prefix);
	return attr != NULL;
}

static void say_name(struct words *w, const struct nlmsghdr *msg, uint16_t type, const char *word)
{
	const struct nlattr *attr = netlink_nest(msg, sizeof(struct fib_rule_hdr), type);
	char name[RTNL_LINK_NAME] = "";

	if (!attr)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)mnl_attr_get_payload_len(attr), mnl_attr_get_str(attr));
	if (is_plain(name))
		say(w, "%s %s ", word, name);
	else
		w->inexact = true;
}

static void say_range(struct words *w, const struct nlmsghdr *msg, uint16_t type, const char *word)
{
	const struct nlattr *attr =
		netlink_attr(msg, sizeof(struct fib_rule_hdr), type, sizeof(struct fib_rule_port_range));
	struct fib_rule_port_range range;

	if (!attr)
		return;
	memcpy(&range, mnl_attr_get_payload(attr), sizeof(range));
	say(w, "%s %u-%u ", word, range.start, range.end);
}

static void say_uids(struct words *w, const struct nlmsghdr *msg)
{
	const struct nlattr *attr =
		netlink_attr(msg, sizeof(struct fib_rule_hdr), FRA_UID_RANGE, sizeof(struct fib_rule_uid_range));
	struct fib_rule_uid_range range;

	if (!attr)
		return;
	memcpy(&range, mnl_attr_get_payload(attr), sizeof(range));
	say(w, "uidrange %u-%u ", range.start, range.end);
}

static void say_selector(struct words *w, const struct rtnl_rule *v)
{
	static const uint16_t unsaid[] = { FRA_TUN_ID, FRA_FLOW, FRA_SUPPRESS_IFGROUP };
	const struct fib_rule_hdr *head = v->head;
	const struct nlattr *ip_proto = netlink_attr(v->msg, sizeof(*head), FRA_IP_PROTO, sizeof(uint8_t));

	if (head->flags & FIB_RULE_INVERT)
		say(w, "not ");
	if (head->src_len) {
		say(w, "from ");
		say_net(w, v->msg, sizeof(*head), FRA_SRC, head->family, head->src_len);
	}
	if (head->dst_len) {
		say(w, "to ");
		say_net(w, v->msg, sizeof(*head), FRA_DST, head->family, head->dst_len);
	}
	if (head->tos)
		say(w, "tos 0x%x ", head->tos);
	if (v->mask == UINT32_MAX)
		say(w, "fwmark 0x%x ", v->mark);
	else if (v->mask)
		say(w, "fwmark 0x%x/0x%x ", v->mark, v->mask);
	say_name(w, v->msg, FRA_IIFNAME, "iif");
	say_name(w, v->msg, FRA_OIFNAME, "oif");
	say_uids(w, v->msg);
	if (ip_proto)
		say(w, "ipproto %u ", mnl_attr_get_u8(ip_proto));
	say_range(w, v->msg, FRA_SPORT_RANGE, "sport");
	say_range(w, v->msg, FRA_DPORT_RANGE, "dport");
	for (size_t i = 0; i < sizeof(unsaid) / sizeof(unsaid[0]); i++)
		w->inexact |= netlink_nest(v->msg, sizeof(*head), unsaid[i]) != NULL;
}

static void say_action(struct words *w, const struct rtnl_rule *v)
{
	const struct nlattr *target = netlink_attr(v->msg, sizeof(*v->head), FRA_GOTO, sizeof(uint32_t));
	const struct nlattr *suppress =
		netlink_attr(v->msg, sizeof(*v->head), FRA_SUPPRESS_PREFIXLEN, sizeof(uint32_t));

	switch (v->head->action) {
	case FR_ACT_TO_TBL:
		if (netlink_nest(v->msg, sizeof(*v->head), FRA_L3MDEV))
			say(w, "l3mdev");
		else
			say(w, "lookup %u", v->table);
		if (suppress && mnl_attr_get_u32(suppress) != UINT32_MAX)
			say(w, " suppress_prefixlength %u", mnl_attr_get_u32(suppress));
		break;
	case FR_ACT_GOTO:
		say(w, "goto %u", target ? mnl_attr_get_u32(target) : 0);
		break;
	case FR_ACT_NOP:
		say(w, "nop");
		break;
	default:
		say(w, "%s",
		    v->head->action == FR_ACT_BLACKHOLE	    ? "blackhole"
		    : v->head->action == FR_ACT_UNREACHABLE ? "unreachable"
							    : "prohibit");
		break;
	}
}

static const char *route_type(uint8_t type)
{
	static const char *const names[] = { [RTN_UNICAST] = "",
					     [RTN_LOCAL] = "local ",
					     [RTN_BROADCAST] = "broadcast ",
					     [RTN_ANYCAST] = "anycast ",
					     [RTN_MULTICAST] = "multicast ",
					     [RTN_BLACKHOLE] = "blackhole ",
					     [RTN_UNREACHABLE] = "unreachable ",
					     [RTN_PROHIBIT] = "prohibit ",
					     [RTN_THROW] = "throw " };

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "";
}

static void say_route(struct words *w, const struct rtnl_route *v, struct netlink *n)
{
	const struct rtmsg *head = v->head;
	const struct nlattr *metric = netlink_attr(v->msg, sizeof(*head), RTA_PRIORITY, sizeof(uint32_t));
	char name[RTNL_LINK_NAME], text[INET6_ADDRSTRLEN];
	const struct nlattr *via;
	short flags;

	say(w, "%s", route_type(head->rtm_type));
	if (head->rtm_dst_len == 0 || !say_net(w, v->msg, sizeof(*head), RTA_DST, head->rtm_family, head->rtm_dst_len))
		say(w, "default ");
	if (head->rtm_tos)
		say(w, "tos 0x%x ", head->rtm_tos);
	via = netlink_attr(v->msg, sizeof(*head), RTA_GATEWAY, head->rtm_family == AF_INET ? 4 : 16);
	if (via && inet_ntop(head->rtm_family, mnl_attr_get_payload(via), text, sizeof(text)))
		say(w, "via %s ", text);
	if (v->oif && rtnl_link(n, (int)v->oif, name, &flags) && is_plain(name))
		say(w, "dev %s ", name);
	say(w, "table %u", v->table);
	if (metric)
		say(w, " metric %u", mnl_attr_get_u32(metric));
}

/* ---- who collides ---- */

static unsigned judge_rule(const struct search *s, const struct rtnl_rule *v)
{
	bool equal = (s->mark & v->mask) == v->mark, inverted = v->head->flags & FIB_RULE_INVERT;
	unsigned hits = 0;

	if (v->protocol == ROUTE_PROTOCOL)
		return 0;
	if (v->mask && (inverted ? !equal && v->pref < s->pref : equal))
		hits |= ROUTE_HITS_MARK;
	if (v->head->action == FR_ACT_TO_TBL && v->table == s->table)
		hits |= ROUTE_HITS_TABLE;
	if (v->pref == s->pref)
		hits |= ROUTE_HITS_PREF;
	if (rtnl_is_mark_rule(v, s->mark, s->table)) {
		if (v->protocol < 0 && v->pref == s->pref)
			return 0;
		hits |= ROUTE_SAME;
	}
	return hits;
}

static void note_rule(const struct nlmsghdr *msg, void *ctx)
{
	struct search *s = ctx;
	struct words w = { .len = 0 };
	struct route_stranger *out;
	struct rtnl_rule v;
	unsigned hits = rtnl_read_rule(msg, s->af, &v) ? judge_rule(s, &v) : 0;

	if (!hits || s->count == s->cap)
		return;
	out = &s->out[s->count++];
	out->hits = hits;
	say_selector(&w, &v);
	say_action(&w, &v);
	if (w.inexact)
		out->command[0] = '\0';
	else
		snprintf(out->command, sizeof(out->command), "ip -%d rule del pref %u %s", s->af == AF_INET ? 4 : 6,
			 v.pref, w.text);
	say_protocol(&w, v.protocol);
	snprintf(out->text, sizeof(out->text), "ip %srule %u: %s", s->af == AF_INET ? "" : "-6 ", v.pref, w.text);
}

static void note_route(const struct nlmsghdr *msg, void *ctx)
{
	struct search *s = ctx;
	struct words w = { .len = 0 };
	struct route_stranger *out;
	struct rtnl_route v;
	bool same;

	if (!rtnl_read_route(msg, s->af, &v) || v.table != s->table || (v.head->rtm_flags & RTM_F_CLONED))
		return;
	same = rtnl_is_local_default(&v);
	if ((same && v.head->rtm_protocol == ROUTE_PROTOCOL) || s->count == s->cap)
		return;
	out = &s->out[s->count++];
	out->hits = ROUTE_HITS_TABLE | (same ? ROUTE_SAME : 0);
	say_route(&w, &v, s->n);
	if (w.inexact)
		out->command[0] = '\0';
	else
		snprintf(out->command, sizeof(out->command), "ip -%d route del %s", s->af == AF_INET ? 4 : 6, w.text);
	say_protocol(&w, v.head->rtm_protocol);
	snprintf(out->text, sizeof(out->text), "ip %sroute %s", s->af == AF_INET ? "" : "-6 ", w.text);
}

/* -EINTR: the tables changed while they were read. */
static int search_once(struct search *s)
{
	const struct rtmsg all = { .rtm_family = s->af };
	int r;

	s->count = 0;
	r = rtnl_dump_rules(s->n, s->af, note_rule, s);
	return r < 0 ? r : rtnl_dump_routes(s->n, &all, s->table, note_route, s);
}

int route_strangers(enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref, struct route_stranger *out,
		    size_t cap, struct err *e)
{
	struct netlink n;
	struct search s = { .n = &n,
			    .af = rtnl_af(family),
			    .mark = mark,
			    .table = table,
			    .pref = pref,
			    .out = out,
			    .cap = cap < INT16_MAX ? cap : INT16_MAX };
	int r = rtnl_open(&n);

	if (r < 0)
		return err_sys(e, -r, "open rtnetlink");
	n.limit = MESSAGES_MAX;
	r = -EINTR;
	for (int i = 0; i < ROUNDS && r == -EINTR; i++)
		r = search_once(&s);
	netlink_close(&n);
	if (r < 0 && r != -E2BIG)
		return err_sys(e, -r, "look for %s rules and routes of others", rtnl_family_name[family]);
	return (int)s.count;
}
