#include "sys/nft_msg.h"

#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "clashsup/fwplan.h"

#define MESSAGES_MAX 8

struct nftnl_set *nft_msg_set(const char *name)
{
	struct nftnl_set *s = nftnl_set_alloc();

	if (!s)
		return NULL;
	if (nftnl_set_set_str(s, NFTNL_SET_TABLE, FWPLAN_TABLE) < 0 || nftnl_set_set_str(s, NFTNL_SET_NAME, name) < 0) {
		nftnl_set_free(s);
		return NULL;
	}
	return s;
}

int nft_msg_element(struct nftnl_set *s, const void *key, uint32_t len, uint64_t timeout_ms)
{
	struct nftnl_set_elem *e = nftnl_set_elem_alloc();

	if (!e)
		return -ENOMEM;
	if (nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, key, len) < 0) {
		nftnl_set_elem_free(e);
		return -ENOMEM;
	}
	if (timeout_ms > 0)
		nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_TIMEOUT, timeout_ms);
	nftnl_set_elem_add(s, e);
	return 0;
}

static void took(struct nft_batch *b, const struct nlmsghdr *msg)
{
	b->len += NLMSG_ALIGN(msg->nlmsg_len);
	b->messages++;
}

void nft_batch_begin(struct nft_batch *b, uint8_t *buf, size_t cap)
{
	memset(buf, 0, cap);						  /* libmnl leaves padding as it is */
	*b = (struct nft_batch){ .buf = buf, .cap = cap - NFT_MSG_HEAD }; /* kept for the end */
	took(b, nftnl_batch_begin((char *)buf, 0));
}

int nft_batch_put(struct nft_batch *b, uint16_t type, uint32_t n_elements, struct nftnl_set *s)
{
	struct nlmsghdr *msg;

	if (n_elements > NFT_BATCH_MAX || b->cap - b->len < NFT_MSG_HEAD + n_elements * NFT_MSG_ELEMENT)
		return -EMSGSIZE;
	msg = nftnl_nlmsg_build_hdr((char *)b->buf + b->len, type, NFPROTO_INET,
				    type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE | NLM_F_ACK : NLM_F_ACK, 0);
	nftnl_set_elems_nlmsg_build_payload(msg, s);
	took(b, msg);
	return 0;
}

void nft_batch_end(struct nft_batch *b)
{
	took(b, nftnl_batch_end((char *)b->buf + b->len, 0));
}

int nft_batch_send(struct netlink *n, const struct nft_batch *b)
{
	int codes[MESSAGES_MAX];
	int r;

	if (b->messages > MESSAGES_MAX)
		return -EMSGSIZE;
	r = netlink_batch(n, b->buf, b->len, codes, b->messages);
	for (size_t i = 0; i < b->messages && r == 0; i++)
		r = codes[i];
	return r;
}
