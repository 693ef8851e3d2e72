#include "clashsup/netwatch.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clashsup/evio.h"
#include "sys/netlink.h"
#include "sys/rtnl.h"

#define DATAGRAMS 64 /* a turn */
#define PORTS 4
#define NEWGEN (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)

struct source {
	struct netlink nl;
	ev_io io;
};

struct netwatch {
	struct ev_loop *loop;
	struct source routing, rulesets;
	uint32_t table;
	uint32_t ports[PORTS]; /* of our own sockets; 0 = free, as no socket has it */
	netwatch_fn fn;
	void *ctx;
};

/* ---- filters in the kernel: only to save wake-ups, everything is judged again below ---- */

#define TYPE_AT offsetof(struct nlmsghdr, nlmsg_type)
#define ROUTE_AT(member) (NLMSG_HDRLEN + offsetof(struct rtmsg, member))
#define LOAD(size, at) BPF_STMT(BPF_LD | (size) | BPF_ABS, (uint32_t)(at))
#define EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (otherwise))
#define PASS BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)
#define DROP BPF_STMT(BPF_RET | BPF_K, 0)

static void attach(const struct netlink *n, struct sock_filter *code, unsigned short len)
{
	const struct sock_fprog program = { len, code };

	(void)setsockopt(mnl_socket_get_fd(n->sock), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* The generation is told last and in a datagram of its own. A filter loads in network order. */
static void filter_rulesets(const struct netlink *n)
{
	struct sock_filter code[] = { LOAD(BPF_H, TYPE_AT), EQUAL(htons(NEWGEN), 0, 1), PASS, DROP };

	attach(n, code, sizeof(code) / sizeof(code[0]));
}

/* Of routes, those of our table and defaults; a table above 255 has one number for all in the head. */
static void filter_routing(const struct netlink *n, uint32_t table)
{
	struct sock_filter code[] = {
		LOAD(BPF_H, TYPE_AT),
		EQUAL(htons(RTM_NEWROUTE), 1, 0),
		EQUAL(htons(RTM_DELROUTE), 0, 4),
		LOAD(BPF_B, ROUTE_AT(rtm_dst_len)),
		EQUAL(0, 2, 0),
		LOAD(BPF_B, ROUTE_AT(rtm_table)),
		EQUAL(table < 256 ? table : RT_TABLE_COMPAT, 0, 1),
		PASS,
		DROP,
	};

	attach(n, code, sizeof(code) / sizeof(code[0]));
}

/* ---- what was read in one turn ---- */

struct harvest {
	struct netwatch *w;
	bool seen[NETWATCH_EVENTS];
	struct netwatch_news changer;
};

static bool is_ours(const struct netwatch *w, uint32_t port)
{
	for (size_t i = 0; i < PORTS && port; i++) {
		if (w->ports[i] == port)
			return true;
	}
	return false;
}

static void take_ruleset(struct harvest *h, const struct nlmsghdr *msg)
{
	const struct nlattr *pid, *name;
	struct netwatch_news *c = &h->changer;

	if (msg->nlmsg_type != NEWGEN || is_ours(h->w, msg->nlmsg_pid))
		return;
	h->seen[NETWATCH_RULESET] = true;
	*c = (struct netwatch_news){ .event = NETWATCH_RULESET };
	pid = netlink_attr(msg, sizeof(struct nfgenmsg), NFTA_GEN_PROC_PID, sizeof(uint32_t));
	name = netlink_nest(msg, sizeof(struct nfgenmsg), NFTA_GEN_PROC_NAME);
	if (pid)
		c->pid = (pid_t)ntohl(mnl_attr_get_u32(pid));
	for (size_t i = 0; name && i < mnl_attr_get_payload_len(name) && i + 1 < sizeof(c->program); i++) {
		unsigned char byte = ((const unsigned char *)mnl_attr_get_payload(name))[i];

		if (byte == '\0')
			break;
		c->program[i] = isprint(byte) ? (char)byte : '?';
	}
}

static void take_route(struct harvest *h, const struct nlmsghdr *msg)
{
	struct rtnl_route v;

	if (!rtnl_read_route(msg, AF_INET, &v) && !rtnl_read_route(msg, AF_INET6, &v))
		return;
	if (v.table == h->w->table)
		h->seen[NETWATCH_ROUTING] = true;
	else if (v.head->rtm_dst_len == 0)
		h->seen[NETWATCH_ADDRESS] = true;
}

/* Wireless drivers and bridges send link messages about much that is no change of the link. */
static void take_link(struct harvest *h, const struct nlmsghdr *msg)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(msg);

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*head) || head->ifi_family == AF_BRIDGE ||
	    netlink_nest(msg, sizeof(*head), IFLA_WIRELESS))
		return;
	h->seen[NETWATCH_ADDRESS] = true;
	if (head->ifi_index == RTNL_LO)
		h->seen[NETWATCH_ROUTING] = true;
}

static void take_routing(struct harvest *h, const struct nlmsghdr *msg)
{
	switch (msg->nlmsg_type) {
	case RTM_NEWRULE:
	case RTM_DELRULE:
		h->seen[NETWATCH_ROUTING] = true;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		take_route(h, msg);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		h->seen[NETWATCH_ADDRESS] = true;
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		take_link(h, msg);
		break;
	default:
		break;
	}
}

/* An error of the socket is ENOBUFS, or another by which the kernel says that it could not tell us something. */
static void read_turn(struct netlink *n, struct harvest *h, void (*take)(struct harvest *, const struct nlmsghdr *))
{
	NETLINK_ALIGNED uint8_t buf[NETLINK_BUF];

	for (int i = 0; i < DATAGRAMS; i++) {
		ssize_t got = mnl_socket_recvfrom(n->sock, buf, sizeof(buf));
		const struct nlmsghdr *msg = (const void *)buf;
		int left = (int)got;

		if (got < 0 && errno == EAGAIN)
			return;
		if (got < 0 && errno != EINTR)
			h->seen[NETWATCH_LOST] = true;
		for (; got > 0 && mnl_nlmsg_ok(msg, left); msg = mnl_nlmsg_next(msg, &left))
			take(h, msg);
	}
}

static void tell(const struct harvest *h)
{
	struct netwatch *w = h->w;

	if (h->seen[NETWATCH_LOST]) {
		w->fn(w->ctx, &(struct netwatch_news){ .event = NETWATCH_LOST });
		return;
	}
	if (h->seen[NETWATCH_RULESET])
		w->fn(w->ctx, &h->changer);
	if (h->seen[NETWATCH_ROUTING])
		w->fn(w->ctx, &(struct netwatch_news){ .event = NETWATCH_ROUTING });
	if (h->seen[NETWATCH_ADDRESS])
		w->fn(w->ctx, &(struct netwatch_news){ .event = NETWATCH_ADDRESS });
}

static void on_routing(struct ev_loop *loop, ev_io *io, int revents)
{
	struct harvest h = { .w = io->data };

	if (evio_again(loop, io, revents))
		return;
	read_turn(&h.w->routing.nl, &h, take_routing);
	tell(&h);
}

static void on_rulesets(struct ev_loop *loop, ev_io *io, int revents)
{
	struct harvest h = { .w = io->data };

	if (evio_again(loop, io, revents))
		return;
	read_turn(&h.w->rulesets.nl, &h, take_ruleset);
	tell(&h);
}

/* ---- opening ---- */

static int join(struct netlink *n, const int *groups, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(n->sock, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return -errno;
	}
	return 0;
}

static void start_source(struct netwatch *w, struct source *s, void (*on_readable)(struct ev_loop *, ev_io *, int))
{
	ev_io_init(&s->io, on_readable, mnl_socket_get_fd(s->nl.sock), EV_READ);
	s->io.data = w;
	ev_io_start(w->loop, &s->io);
}

static void close_source(struct netwatch *w, struct source *s)
{
	if (!s->nl.sock)
		return;
	ev_io_stop(w->loop, &s->io);
	netlink_close(&s->nl);
}

static int open_routing(struct netlink *n, uint32_t table)
{
	static const int groups[] = { RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,	RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
				      RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK };
	int r = netlink_open(n, NETLINK_ROUTE);

	if (r < 0)
		return r;
	filter_routing(n, table);
	r = join(n, groups, sizeof(groups) / sizeof(groups[0]));
	if (r < 0)
		netlink_close(n);
	return r;
}

int netwatch_open(struct netwatch **out, struct ev_loop *loop, uint32_t table, netwatch_fn fn, void *ctx, struct err *e)
{
	struct netwatch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_sys(e, ENOMEM, "watch the network");
	w->loop = loop;
	w->table = table;
	w->fn = fn;
	w->ctx = ctx;
	r = open_routing(&w->routing.nl, table);
	if (r < 0) {
		free(w);
		return err_sys(e, -r, "watch the network");
	}
	start_source(w, &w->routing, on_routing);
	*out = w;
	return 0;
}

void netwatch_close(struct netwatch *w)
{
	if (!w)
		return;
	close_source(w, &w->routing);
	close_source(w, &w->rulesets);
	free(w);
}

static int open_rulesets(struct netlink *n)
{
	static const int group = NFNLGRP_NFTABLES;
	int r = netlink_open(n, NETLINK_NETFILTER);

	if (r < 0)
		return r;
	filter_rulesets(n);
	r = join(n, &group, 1);
	if (r < 0)
		netlink_close(n);
	return r;
}

int netwatch_rulesets(struct netwatch *w, bool on, struct err *e)
{
	int r;

	if (!on)
		close_source(w, &w->rulesets);
	if (!on || w->rulesets.nl.sock)
		return 0;
	r = open_rulesets(&w->rulesets.nl);
	if (r < 0)
		return err_sys(e, -r, "watch the rulesets");
	start_source(w, &w->rulesets, on_rulesets);
	return 0;
}

int netwatch_ours(struct netwatch *w, uint32_t port)
{
	if (is_ours(w, port))
		return 0;
	for (size_t i = 0; i < PORTS; i++) {
		if (w->ports[i] == 0) {
			w->ports[i] = port;
			return 0;
		}
	}
	return -ENOSPC;
}
