/*
 * nft_msg: batches of nf_tables messages about the elements of sets in our
 * table, built by libnftnl; for lease (prebuilt) and nft_set.
 *
 * A batch is one transaction: all of it or nothing. The kernel takes it inside
 * send(2), and waits there while another program's transaction is under way.
 */
#ifndef CLASHSUP_SYS_NFT_MSG_H
#define CLASHSUP_SYS_NFT_MSG_H

#include <stddef.h>
#include <stdint.h>

#include <libnftnl/set.h>

#include "sys/netlink.h"

#define NFT_MSG_HEAD 192   /* room for a message without its elements */
#define NFT_MSG_ELEMENT 48 /* and for each of them */
#define NFT_BATCH_MAX 1000 /* most elements of a message: their length is told in 16 bits */

/* Room for a batch of some messages with so many elements in all. */
#define NFT_BATCH_ROOM(messages, elements) (((messages) + 2) * NFT_MSG_HEAD + (elements)*NFT_MSG_ELEMENT)

struct nft_batch {
	uint8_t *buf; /* NETLINK_ALIGNED, the caller's */
	size_t cap, len;
	size_t messages; /* with the begin and the end */
};

/* A set of our table, without elements; NULL: no memory. */
struct nftnl_set *nft_msg_set(const char *name);
int nft_msg_element(struct nftnl_set *s, const void *key, uint32_t len, uint64_t timeout_ms); /* 0 ms: none */

static inline void nft_msg_set_free_(struct nftnl_set **s)
{
	if (*s)
		nftnl_set_free(*s);
}
#define cleanup_nftset __attribute__((cleanup(nft_msg_set_free_)))

void nft_batch_begin(struct nft_batch *b, uint8_t *buf, size_t cap);

/* NFT_MSG_NEWSETELEM, or NFT_MSG_DELSETELEM (all elements when `s` has none). -EMSGSIZE when there is no room. */
int nft_batch_put(struct nft_batch *b, uint16_t type, uint32_t n_elements, struct nftnl_set *s);
void nft_batch_end(struct nft_batch *b);

/* 0 or the kernel's first -errno: -ENOENT without the table or the set, -EOPNOTSUPP without nf_tables. */
int nft_batch_send(struct netlink *n, const struct nft_batch *b);

#endif
