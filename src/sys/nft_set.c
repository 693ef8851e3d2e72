#include "clashsup/nft_set.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include <libnftnl/common.h>

#include "clashsup/fwplan.h"
#include "clashsup/io.h"
#include "sys/nft_msg.h"

#define SET_COUNT 20 /* NFTA_SET_COUNT, newer than the headers of many */
#define NAME_MAX_LEN 64
#define REQUEST_MAX 256
#define MESSAGES 3 /* of a change: in and out again, in */

struct nft_set {
	struct netlink nl;
};

int nft_set_open(struct nft_set **out, struct err *e)
{
	struct nft_set *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_sys(e, ENOMEM, "open nft sets");
	r = netlink_open(&s->nl, NETLINK_NETFILTER);
	if (r < 0) {
		free(s);
		return err_sys(e, -r, "open nft sets");
	}
	*out = s;
	return 0;
}

uint32_t nft_set_port(const struct nft_set *s)
{
	return mnl_socket_get_portid(s->nl.sock);
}

void nft_set_close(struct nft_set *s)
{
	if (!s)
		return;
	netlink_close(&s->nl);
	free(s);
}

/* ---- changes ---- */

static int put(struct nft_batch *b, uint16_t type, const char *name, const struct addr *addrs, size_t n)
{
	cleanup_nftset struct nftnl_set *set = nft_msg_set(name);
	int r = set ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++)
		r = nft_msg_element(set, addrs[i].bytes, addr_len(&addrs[i]), 0);
	return r < 0 ? r : nft_batch_put(b, type, (uint32_t)n, set);
}

/* One transaction. What is to be deleted goes in first: the absence of one element would undo everything. */
static int change(struct nft_set *s, const char *name, const struct addr *add, size_t n_add, const struct addr *del,
		  size_t n_del)
{
	size_t room = NFT_BATCH_ROOM(MESSAGES, n_add + 2 * n_del);
	cleanup_free uint8_t *buf = malloc(room);
	struct nft_batch b;
	int r = 0;

	if (!buf)
		return -ENOMEM;
	nft_batch_begin(&b, buf, room);
	if (n_del > 0)
		r = put(&b, NFT_MSG_NEWSETELEM, name, del, n_del);
	if (n_del > 0 && r == 0)
		r = put(&b, NFT_MSG_DELSETELEM, name, del, n_del);
	if (n_add > 0 && r == 0)
		r = put(&b, NFT_MSG_NEWSETELEM, name, add, n_add);
	nft_batch_end(&b);
	return r < 0 ? r : nft_batch_send(&s->nl, &b);
}

static size_t at_most(size_t n, size_t max)
{
	return n < max ? n : max;
}

int nft_set_change(struct nft_set *s, const char *set, const struct addr *add, size_t n_add, const struct addr *del,
		   size_t n_del, struct err *e)
{
	int r = strlen(set) < NAME_MAX_LEN ? 0 : -ENAMETOOLONG;

	while (r == 0 && n_add + n_del > 0) {
		size_t dels = at_most(n_del, NFT_BATCH_MAX), adds = at_most(n_add, NFT_BATCH_MAX - dels);

		r = change(s, set, add, adds, del, dels);
		add += adds;
		n_add -= adds;
		del += dels;
		n_del -= dels;
	}
	return r < 0 ? err_sys(e, -r, "change set %s of the nft table %s", set, FWPLAN_TABLE) : 0;
}

/* ---- counting ---- */

struct count {
	bool known;
	size_t elements;
};

static void read_count(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *count = netlink_attr(msg, sizeof(struct nfgenmsg), SET_COUNT, sizeof(uint32_t));
	struct count *c = ctx;

	if (count) {
		c->elements = ntohl(mnl_attr_get_u32(count));
		c->known = true;
	}
}

static int count_element(const struct nlattr *element, void *ctx)
{
	struct count *c = ctx;
	(void)element;

	c->elements++;
	return MNL_CB_OK;
}

static void count_elements(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *elements = netlink_nest(msg, sizeof(struct nfgenmsg), NFTA_SET_ELEM_LIST_ELEMENTS);

	if (elements)
		(void)mnl_attr_parse_nested(elements, count_element, ctx);
}

static int ask(struct nft_set *s, uint16_t type, uint16_t flags, const char *name, netlink_each_fn each,
	       struct count *c)
{
	NETLINK_ALIGNED uint8_t buf[REQUEST_MAX] = { 0 };
	struct nlmsghdr *msg = nftnl_nlmsg_build_hdr((char *)buf, type, NFPROTO_INET, flags, 0);

	mnl_attr_put_strz(msg, NFTA_SET_TABLE, FWPLAN_TABLE); /* NFTA_SET_ELEM_LIST_TABLE and _SET are the same */
	mnl_attr_put_strz(msg, NFTA_SET_NAME, name);
	return netlink_ask(&s->nl, msg, each, c);
}

int nft_set_count(struct nft_set *s, const char *set, size_t *count_out, struct err *e)
{
	struct count c = { .known = false };
	int r = strlen(set) < NAME_MAX_LEN ? 0 : -ENAMETOOLONG;

	if (r == 0)
		r = ask(s, NFT_MSG_GETSET, NLM_F_ACK, set, read_count, &c);
	if (r == 0 && !c.known)
		r = ask(s, NFT_MSG_GETSETELEM, NLM_F_DUMP, set, count_elements, &c);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "count set %s of the nft table %s", set, FWPLAN_TABLE);
	*count_out = c.elements;
	return 1;
}
