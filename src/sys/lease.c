#include "clashsup/lease.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"
#include "sys/conntrack.h"
#include "sys/ipset_msg.h"
#include "sys/netlink.h"
#include "sys/nft_msg.h"

#define MSG_MAX 128
#define DNS_PORT 53
#define HALVES 2 /* hash:net refuses a /0 */

static const char *const set_name[IP_FAMILIES] = { FWPLAN_LEASE_SET, FWPLAN_LEASE_SET "6" };

struct messages {
	NETLINK_ALIGNED uint8_t buf[IP_FAMILIES * HALVES * MSG_MAX];
	size_t len;
};

/* One transaction of nf_tables: the elements go, and those of the families come. */
struct transaction {
	NETLINK_ALIGNED uint8_t buf[NFT_BATCH_ROOM(2, IP_FAMILIES)];
	struct nft_batch batch;
};

struct lease {
	struct netlink nl;
	struct messages refresh[IP_FAMILIES];
	struct messages refresh_all; /* those of both families in a row, for one send */
	struct messages off;
	struct transaction nft[1 << IP_FAMILIES]; /* by the bits of the families; 0 = off */
	NETLINK_ALIGNED uint8_t forget[CONNTRACK_MARK_MSG];
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

/* Flush and fill in one transaction: an element that is there is not renewed by adding it, and an expired one cannot be
 * deleted by name. */
static int build_nft(struct transaction *t, unsigned families)
{
	static const uint8_t key[IP_FAMILIES] = { NFPROTO_IPV4, NFPROTO_IPV6 };
	cleanup_nftset struct nftnl_set *all = nft_msg_set(FWPLAN_LEASE_SET);
	cleanup_nftset struct nftnl_set *set = nft_msg_set(FWPLAN_LEASE_SET);
	int r = all && set ? 0 : -ENOMEM;

	nft_batch_begin(&t->batch, t->buf, sizeof(t->buf));
	if (r == 0)
		r = nft_batch_put(&t->batch, NFT_MSG_DELSETELEM, 0, all);
	for (unsigned f = 0; f < IP_FAMILIES && r == 0; f++)
		r = families & 1u << f ? nft_msg_element(set, &key[f], sizeof(key[f]), LEASE_SECONDS * 1000) : 0;
	if (r == 0 && families)
		r = nft_batch_put(&t->batch, NFT_MSG_NEWSETELEM, IP_FAMILIES, set);
	nft_batch_end(&t->batch);
	return r;
}

static int build(struct lease *l, uint32_t mark)
{
	int r = 0;

	for (int f = 0; f < IP_FAMILIES; f++) {
		for (int half = 0; half < HALVES; half++) {
			put_refresh(&l->refresh[f], (enum ip_family)f, half == 1);
			put_refresh(&l->refresh_all, (enum ip_family)f, half == 1);
		}
		put_flush(&l->off, (enum ip_family)f);
	}
	conntrack_put_mark(l->forget, mark);
	for (unsigned families = 0; families < 1u << IP_FAMILIES && r == 0; families++)
		r = build_nft(&l->nft[families], families);
	return r;
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
	if (r == 0)
		r = build(l, mark);
	if (r < 0) {
		lease_close(l);
		return err_sys(e, -r, "open lease");
	}
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

uint32_t lease_port(const struct lease *l)
{
	return mnl_socket_get_portid(l->nl.sock);
}

/* ---- their use ---- */

static int refresh_ipset(struct lease *l, const bool family[IP_FAMILIES], struct err *e)
{
	bool all = family[IP_V4] && family[IP_V6];
	struct messages *m = all ? &l->refresh_all : &l->refresh[family[IP_V4] ? IP_V4 : IP_V6];
	size_t count = all ? IP_FAMILIES * HALVES : HALVES;
	int codes[IP_FAMILIES * HALVES];
	int r = netlink_batch(&l->nl, m->buf, m->len, codes, count);

	if (r < 0)
		return err_sys(e, -r, "refresh the lease");
	for (size_t i = 0; i < count; i++) {
		enum ip_family f = !family[IP_V4] || i >= HALVES ? IP_V6 : IP_V4;

		if (codes[i] < 0)
			return ipset_msg_err(e, codes[i], "refresh the lease", set_name[f]);
	}
	return 0;
}

static int off_ipset(struct lease *l, struct err *e)
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

int lease_refresh(struct lease *l, enum fw_backend backend, const bool family[IP_FAMILIES], struct err *e)
{
	unsigned families = (family[IP_V4] ? 1u << IP_V4 : 0) | (family[IP_V6] ? 1u << IP_V6 : 0);
	int r;

	if (!families)
		return 0;
	if (backend != FW_NFT)
		return refresh_ipset(l, family, e);
	r = nft_batch_send(&l->nl, &l->nft[families].batch);
	return r < 0 ? err_sys(e, -r, "refresh the lease in the nft table %s", FWPLAN_TABLE) : 0;
}

int lease_off(struct lease *l, enum fw_backend backend, struct err *e)
{
	int r;

	if (backend != FW_NFT)
		return off_ipset(l, e);
	r = nft_batch_send(&l->nl, &l->nft[0].batch);
	if (r == -ENOENT || r == -EOPNOTSUPP) /* no table of ours; no nf_tables in this kernel */
		return 0;
	return r < 0 ? err_sys(e, -r, "empty the lease in the nft table %s", FWPLAN_TABLE) : 0;
}

int lease_forget_flows(struct lease *l, struct err *e)
{
	int r = conntrack_result(netlink_ask(&l->nl, (void *)l->forget, NULL, NULL));

	return r < 0 ? err_sys(e, -r, "forget the marked connections") : 0;
}

int lease_forget_dns(struct lease *l, struct err *e)
{
	int r = conntrack_forget_port(&l->nl, DNS_PORT);

	if (r == -E2BIG)
		return err_set(e, E2BIG,
			       "forget the connections to port 53: more than %d, the others end by themselves",
			       CONNTRACK_FORGET_MAX);
	return r < 0 ? err_sys(e, -r, "forget the connections to port 53") : 0;
}
