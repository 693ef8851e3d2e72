/*
 * rtnl: rules and routes as rtnetlink tells them, for route, route_strangers,
 * lan and netwatch. Views point into the message that they were read from.
 */
#ifndef CLASHSUP_SYS_RTNL_H
#define CLASHSUP_SYS_RTNL_H

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "sys/netlink.h"

#define RTNL_MSG 128	  /* room for a request of ours; always zeroed: libmnl leaves padding as it is */
#define RTNL_LO 1	  /* LOOPBACK_IFINDEX of the kernel: the same in every namespace */
#define RTNL_LINK_NAME 16 /* IFNAMSIZ */

extern const char *const rtnl_family_name[IP_FAMILIES];

struct rtnl_route {
	const struct nlmsghdr *msg;
	const struct rtmsg *head;
	uint32_t table, oif; /* oif: 0 without, or with several next hops */
};

struct rtnl_rule {
	const struct nlmsghdr *msg;
	const struct fib_rule_hdr *head;
	uint32_t pref, mark, mask, table;
	int protocol; /* -1: the kernel does not tell (before 4.17) */
};

uint8_t rtnl_af(enum ip_family family);

/* With strict checking (kernel 4.20), so that the kernel itself leaves out routes that a dump does not ask for. */
int rtnl_open(struct netlink *n);
struct nlmsghdr *rtnl_start(void *buf, uint16_t type, uint16_t flags);

/* False for a message of another kind or family. */
bool rtnl_read_route(const struct nlmsghdr *msg, uint8_t af, struct rtnl_route *out);
bool rtnl_read_rule(const struct nlmsghdr *msg, uint8_t af, struct rtnl_rule *out);

/* `local default dev lo`, whoever made it. */
bool rtnl_is_local_default(const struct rtnl_route *v);

/* Exactly `fwmark MARK/0xffffffff lookup TABLE`: nothing else narrows it; its pref and who made it do not matter. */
bool rtnl_is_mark_rule(const struct rtnl_rule *v, uint32_t mark, uint32_t table);

/* What is 0 in `want` (protocol, type) and a table of 0 mean all. An old kernel sends more than was asked for. */
int rtnl_dump_routes(struct netlink *n, const struct rtmsg *want, uint32_t table, netlink_each_fn each, void *ctx);
int rtnl_dump_rules(struct netlink *n, uint8_t af, netlink_each_fn each, void *ctx);

/* Name and IFF_* of an interface; false when there is none. */
bool rtnl_link(struct netlink *n, int index, char name[RTNL_LINK_NAME], short *flags);

#endif
