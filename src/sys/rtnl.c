#include "sys/rtnl.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

const char *const rtnl_family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

uint8_t rtnl_af(enum ip_family family)
{
	return family == IP_V4 ? AF_INET : AF_INET6;
}

int rtnl_open(struct netlink *n)
{
	int r = netlink_open(n, NETLINK_ROUTE);
	int on = 1;

	if (r == 0)
		(void)mnl_socket_setsockopt(n->sock, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	return r;
}

struct nlmsghdr *rtnl_start(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

	msg->nlmsg_type = type;
	msg->nlmsg_flags = NLM_F_REQUEST | flags;
	return msg;
}

static uint32_t number(const struct nlmsghdr *msg, size_t head, uint16_t type, uint32_t otherwise)
{
	const struct nlattr *attr = netlink_attr(msg, head, type, sizeof(uint32_t));

	return attr ? mnl_attr_get_u32(attr) : otherwise;
}

bool rtnl_read_route(const struct nlmsghdr *msg, uint8_t af, struct rtnl_route *out)
{
	const size_t head = sizeof(*out->head);

	if ((msg->nlmsg_type != RTM_NEWROUTE && msg->nlmsg_type != RTM_DELROUTE) ||
	    mnl_nlmsg_get_payload_len(msg) < head)
		return false;
	out->msg = msg;
	out->head = mnl_nlmsg_get_payload(msg);
	out->table = number(msg, head, RTA_TABLE, out->head->rtm_table);
	out->oif = number(msg, head, RTA_OIF, 0);
	return out->head->rtm_family == af;
}

bool rtnl_read_rule(const struct nlmsghdr *msg, uint8_t af, struct rtnl_rule *out)
{
	const size_t head = sizeof(*out->head);
	const struct nlattr *protocol;

	if ((msg->nlmsg_type != RTM_NEWRULE && msg->nlmsg_type != RTM_DELRULE) || mnl_nlmsg_get_payload_len(msg) < head)
		return false;
	out->msg = msg;
	out->head = mnl_nlmsg_get_payload(msg);
	out->pref = number(msg, head, FRA_PRIORITY, 0);
	out->mark = number(msg, head, FRA_FWMARK, 0);
	out->mask = number(msg, head, FRA_FWMASK, 0);
	out->table = number(msg, head, FRA_TABLE, out->head->table);
	protocol = netlink_attr(msg, head, FRA_PROTOCOL, sizeof(uint8_t));
	out->protocol = protocol ? mnl_attr_get_u8(protocol) : -1;
	return out->head->family == af;
}

bool rtnl_is_local_default(const struct rtnl_route *v)
{
	return v->head->rtm_type == RTN_LOCAL && v->head->rtm_dst_len == 0 && v->oif == RTNL_LO;
}

/* The kernel tells the first ones only where they are set; the last one always, all ones for none. */
static bool is_narrowed(const struct rtnl_rule *v)
{
	static const uint16_t narrowing[] = { FRA_IIFNAME,  FRA_OIFNAME,     FRA_TUN_ID,
					      FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE,
					      FRA_L3MDEV,   FRA_UID_RANGE,   FRA_SUPPRESS_IFGROUP };
	const struct fib_rule_hdr *head = v->head;

	for (size_t i = 0; i < sizeof(narrowing) / sizeof(narrowing[0]); i++) {
		if (netlink_nest(v->msg, sizeof(*head), narrowing[i]))
			return true;
	}
	return head->src_len || head->dst_len || head->tos || (head->flags & FIB_RULE_INVERT) ||
	       number(v->msg, sizeof(*head), FRA_SUPPRESS_PREFIXLEN, UINT32_MAX) != UINT32_MAX;
}

bool rtnl_is_mark_rule(const struct rtnl_rule *v, uint32_t mark, uint32_t table)
{
	return v->head->action == FR_ACT_TO_TBL && v->mark == mark && v->mask == UINT32_MAX && v->table == table &&
	       !is_narrowed(v);
}

int rtnl_dump_routes(struct netlink *n, const struct rtmsg *want, uint32_t table, netlink_each_fn each, void *ctx)
{
	NETLINK_ALIGNED uint8_t buf[RTNL_MSG] = { 0 };
	struct nlmsghdr *msg = rtnl_start(buf, RTM_GETROUTE, NLM_F_DUMP);
	int r;

	*(struct rtmsg *)mnl_nlmsg_put_extra_header(msg, sizeof(*want)) = *want;
	if (table != RT_TABLE_UNSPEC)
		mnl_attr_put_u32(msg, RTA_TABLE, table);
	r = netlink_ask(n, msg, each, ctx);
	return r == -ENOENT ? 0 : r; /* there is no such table */
}

int rtnl_dump_rules(struct netlink *n, uint8_t af, netlink_each_fn each, void *ctx)
{
	NETLINK_ALIGNED uint8_t buf[RTNL_MSG] = { 0 };
	struct nlmsghdr *msg = rtnl_start(buf, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

	head->family = af;
	return netlink_ask(n, msg, each, ctx);
}

/* Sockets hand ioctls that they do not know to the devices; and a name needs no large message. */
bool rtnl_link(struct netlink *n, int index, char name[RTNL_LINK_NAME], short *flags)
{
	struct ifreq req = { .ifr_ifindex = index };
	int fd = mnl_socket_get_fd(n->sock);

	if (ioctl(fd, SIOCGIFNAME, &req) < 0)
		return false;
	memcpy(name, req.ifr_name, RTNL_LINK_NAME);
	name[RTNL_LINK_NAME - 1] = '\0';
	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return false;
	*flags = req.ifr_flags;
	return true;
}
