#include "clashsup/lease.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"
#include "sys/ipset_msg.h"
#include "sys/netlink.h"

#define MSG_MAX 128
#define HALVES 2 /* hash:net refuses a /0 */

static const char *const set_name[IP_FAMILIES] = { FWPLAN_LEASE_SET, FWPLAN_LEASE_SET "6" };

struct messages {
	NETLINK_ALIGNED uint8_t buf[IP_FAMILIES * HALVES * MSG_MAX];
	size_t len;
};

struct lease {
	struct netlink nl;
	struct messages refresh[IP_FAMILIES];
	struct messages refresh_all; /* those of both families in a row, for one send */
	struct messages off;
	struct messages forget;
};

/* ---- the messages ---- */

static void put_refresh(struct messages *m, enum ip_family family, bool upper)
{
	const struct in6_addr address = { .s6_addr = { upper ? 0x80 : 0 } };
	struct nlmsghdr *msg =
		ipset_msg_start(m->buf + m->len, IPSET_CMD_ADD, NLM_F_ACK, set_name[family]); /* no EXCL: renews */
	struct nlattr *data = mnl_attr_nest_start(msg, IPSET_ATTR_DATA);
	struct nlattr *ip = mnl_attr_nest_start(msg, IPSET_ATTR_IP);

	if (family == IP_V4)
		mnl_attr_put(msg, IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, 4, &address);
	else
		mnl_attr_put(msg, IPSET_ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, 16, &address);
	mnl_attr_nest_end(msg, ip);
	mnl_attr_put_u8(msg, IPSET_ATTR_CIDR, 1);
	mnl_attr_put_u32(msg, IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, htonl(LEASE_SECONDS));
	mnl_attr_nest_end(msg, data);
	m->len += msg->nlmsg_len;
}

static void put_flush(struct messages *m, enum ip_family family)
{
	m->len += ipset_msg_start(m->buf + m->len, IPSET_CMD_FLUSH, NLM_F_ACK, set_name[family])->nlmsg_len;
}

/*
 * Deletion without a tuple, but with mark and mask: every entry that has the
 * mark (kernel 4.0; ctnetlink_flush_conntrack in nf_conntrack_netlink.c). At
 * version 0 the kernel does not look at the family and takes both.
 */
static void put_forget(struct messages *m, uint32_t mark)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(m->buf);
	struct nfgenmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

	msg->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	head->nfgen_family = AF_UNSPEC;
	head->version = NFNETLINK_V0;
	mnl_attr_put_u32(msg, CTA_MARK, htonl(mark));
	mnl_attr_put_u32(msg, CTA_MARK_MASK, htonl(UINT32_MAX));
	m->len = msg->nlmsg_len;
}

static void build(struct lease *l, uint32_t mark)
{
	for (int f = 0; f < IP_FAMILIES; f++) {
		for (int half = 0; half < HALVES; half++) {
			put_refresh(&l->refresh[f], (enum ip_family)f, half == 1);
			put_refresh(&l->refresh_all, (enum ip_family)f, half == 1);
		}
		put_flush(&l->off, (enum ip_family)f);
	}
	put_forget(&l->forget, mark);
}

int lease_open(struct lease **out, uint32_t mark, struct err *e)
{
	struct lease *l;
	int r;

	if (mark == 0) /* would forget the flows of everybody */
		return err_set(e, EINVAL, "open lease: the mark is 0");
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_sys(e, ENOMEM, "open lease");
	r = netlink_open(&l->nl, NETLINK_NETFILTER);
	if (r < 0) {
		free(l);
		return err_sys(e, -r, "open lease");
	}
	build(l, mark);
	*out = l;
	return 0;
}

void lease_close(struct lease *l)
{
	if (!l)
		return;
	netlink_close(&l->nl);
	free(l);
}

/* ---- their use ---- */

int lease_refresh(struct lease *l, const bool family[IP_FAMILIES], struct err *e)
{
	bool all = family[IP_V4] && family[IP_V6];
	struct messages *m = all ? &l->refresh_all : &l->refresh[family[IP_V4] ? IP_V4 : IP_V6];
	size_t count = all ? IP_FAMILIES * HALVES : HALVES;
	int codes[IP_FAMILIES * HALVES];
	int r;

	if (!family[IP_V4] && !family[IP_V6])
		return 0;
	r = netlink_batch(&l->nl, m->buf, m->len, codes, count);
	if (r < 0)
		return err_sys(e, -r, "refresh the lease");
	for (size_t i = 0; i < count; i++) {
		enum ip_family f = !family[IP_V4] || i >= HALVES ? IP_V6 : IP_V4;

		if (codes[i] < 0)
			return ipset_msg_err(e, codes[i], "refresh the lease", set_name[f]);
	}
	return 0;
}

int lease_off(struct lease *l, struct err *e)
{
	int codes[IP_FAMILIES];
	int r = netlink_batch(&l->nl, l->off.buf, l->off.len, codes, IP_FAMILIES);

	if (r < 0)
		return err_sys(e, -r, "empty the lease");
	for (int f = 0; f < IP_FAMILIES; f++) {
		/* EINVAL is nfnetlink's word for a kernel without ipset, which can have no lease either. */
		if (codes[f] < 0 && codes[f] != -ENOENT && codes[f] != -EINVAL)
			return ipset_msg_err(e, codes[f], "empty the lease", set_name[f]);
	}
	return 0;
}

int lease_forget_flows(struct lease *l, struct err *e)
{
	int r = netlink_ask(&l->nl, (void *)l->forget.buf, NULL, NULL);

	/* No entry; no connmarks in this kernel; no ctnetlink in it (nfnetlink says EINVAL). */
	if (r == -ENOENT || r == -EOPNOTSUPP || r == -EINVAL)
		return 0;
	return r < 0 ? err_sys(e, -r, "forget the marked connections") : 0;
}
