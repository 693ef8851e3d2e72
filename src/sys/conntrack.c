#include "sys/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>

#define BATCH 64       /* deletions in one send */
#define DELETE_MAX 128 /* bytes of one: a tuple has at most 92 */
#define REQUEST_MAX 128

/* What a listing is to be narrowed to, by the bits of the kernel's CTA_FILTER_F_* (nf_conntrack_netlink.h, 5.8). */
#define FILTER_PROTO_NUM (1u << 3)
#define FILTER_PROTO_DST_PORT (1u << 5)

static struct nlmsghdr *start(void *at, uint8_t command, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(at);
	struct nfgenmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

	msg->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | command);
	msg->nlmsg_flags = NLM_F_REQUEST | flags;
	head->nfgen_family = family;
	head->version = NFNETLINK_V0;
	return msg;
}

/* ---- by mark ---- */

/*
 * Deletion without a tuple, but with mark and mask: every entry that has the
 * mark (kernel 4.0; ctnetlink_flush_conntrack in nf_conntrack_netlink.c). At
 * version 0 the kernel does not look at the family and takes both.
 */
size_t conntrack_put_mark(void *at, uint32_t mark)
{
	struct nlmsghdr *msg = start(at, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, AF_UNSPEC);

	mnl_attr_put_u32(msg, CTA_MARK, htonl(mark));
	mnl_attr_put_u32(msg, CTA_MARK_MASK, htonl(UINT32_MAX));
	return msg->nlmsg_len;
}

int conntrack_result(int r)
{
	/* No entry; no connmarks in this kernel; no ctnetlink in it (nfnetlink says EINVAL). */
	return r == -ENOENT || r == -EOPNOTSUPP || r == -EINVAL ? 0 : r;
}

/* ---- by port ---- */

/* One listing, with the deletions that wait for their send. */
struct forget {
	struct netlink list, *deletions;
	uint8_t family, protocol;
	uint16_t port;
	size_t waiting, len;
	int result;
	NETLINK_ALIGNED uint8_t buf[BATCH * DELETE_MAX];
};

static void send_deletions(struct forget *f)
{
	int codes[BATCH];
	int r = f->waiting ? netlink_batch(f->deletions, f->buf, f->len, codes, f->waiting) : 0;

	for (size_t i = 0; i < f->waiting && r == 0; i++)
		r = codes[i] == -ENOENT ? 0 : codes[i]; /* it has ended by itself meanwhile */
	if (r < 0 && f->result == 0)
		f->result = r;
	f->waiting = 0;
	f->len = 0;
}

static void put_deletion(struct forget *f, const struct nlattr *tuple, const struct nlattr *zone)
{
	struct nlmsghdr *msg;

	if (mnl_attr_get_payload_len(tuple) > DELETE_MAX - 32)
		return;
	msg = start(f->buf + f->len, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, f->family);
	mnl_attr_put(msg, CTA_TUPLE_ORIG | NLA_F_NESTED, mnl_attr_get_payload_len(tuple), mnl_attr_get_payload(tuple));
	if (zone)
		mnl_attr_put(msg, CTA_ZONE, sizeof(uint16_t), mnl_attr_get_payload(zone));
	f->len += msg->nlmsg_len;
	if (++f->waiting == BATCH)
		send_deletions(f);
}

/* A kernel before 5.8 lists everything. */
static bool is_meant(const struct forget *f, const struct nlattr *tuple)
{
	const struct nlattr *proto = netlink_inner_nest(tuple, CTA_TUPLE_PROTO);
	const struct nlattr *number = proto ? netlink_inner(proto, CTA_PROTO_NUM, sizeof(uint8_t)) : NULL;
	const struct nlattr *port = proto ? netlink_inner(proto, CTA_PROTO_DST_PORT, sizeof(uint16_t)) : NULL;

	return number && port && mnl_attr_get_u8(number) == f->protocol && ntohs(mnl_attr_get_u16(port)) == f->port;
}

static void read_entry(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *tuple = netlink_nest(msg, sizeof(struct nfgenmsg), CTA_TUPLE_ORIG);
	struct forget *f = ctx;

	if (tuple && is_meant(f, tuple))
		put_deletion(f, tuple, netlink_attr(msg, sizeof(struct nfgenmsg), CTA_ZONE, sizeof(uint16_t)));
}

static void put_filter(struct nlmsghdr *msg, const struct forget *f)
{
	struct nlattr *tuple = mnl_attr_nest_start(msg, CTA_TUPLE_ORIG);
	struct nlattr *proto = mnl_attr_nest_start(msg, CTA_TUPLE_PROTO), *filter;

	mnl_attr_put_u8(msg, CTA_PROTO_NUM, f->protocol);
	mnl_attr_put_u16(msg, CTA_PROTO_DST_PORT, htons(f->port));
	mnl_attr_nest_end(msg, proto);
	mnl_attr_nest_end(msg, tuple);
	filter = mnl_attr_nest_start(msg, CTA_FILTER);
	mnl_attr_put_u32(msg, CTA_FILTER_ORIG_FLAGS, FILTER_PROTO_NUM | FILTER_PROTO_DST_PORT);
	mnl_attr_nest_end(msg, filter);
}

/* The kernel narrows the listing where it can: a router may have 100,000 entries, and few of them are meant. */
static int list(struct forget *f)
{
	NETLINK_ALIGNED uint8_t buf[REQUEST_MAX];
	int r = -EINVAL;

	for (int filtered = 1; filtered >= 0 && (r == -EINVAL || r == -EOPNOTSUPP); filtered--) {
		struct nlmsghdr *msg;

		memset(buf, 0, sizeof(buf)); /* libmnl leaves padding as it is */
		msg = start(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, f->family);
		if (filtered)
			put_filter(msg, f);
		r = netlink_ask(&f->list, msg, read_entry, f);
	}
	return r;
}

static int forget(struct netlink *deletions, uint8_t family, uint8_t protocol, uint16_t port)
{
	struct forget f = { .deletions = deletions, .family = family, .protocol = protocol, .port = port };
	int r = netlink_open(&f.list, NETLINK_NETFILTER);

	if (r < 0)
		return r;
	f.list.limit = CONNTRACK_FORGET_MAX;
	r = list(&f);
	netlink_close(&f.list);
	send_deletions(&f);
	if (f.result < 0)
		return f.result;
	return r == -EINTR ? 0 : conntrack_result(r); /* interrupted: entries came and went meanwhile, as always */
}

int conntrack_forget_port(struct netlink *deletions, uint16_t port)
{
	static const uint8_t family[] = { AF_INET, AF_INET6 }, protocol[] = { IPPROTO_UDP, IPPROTO_TCP };
	int result = 0;

	for (int i = 0; i < 4; i++) {
		int r = forget(deletions, family[i / 2], protocol[i % 2], port);

		result = result ? result : r;
	}
	return result;
}
