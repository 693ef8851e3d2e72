/*
 * nft_set: elements of the sets with addresses in our nft table: the twin of
 * the server ipset, which rules of nft cannot see. The sets themselves come and
 * go with the rules (fwplan_nft). One thread only; see sys/nft_msg.h for what
 * the kernel makes a caller wait for.
 */
#ifndef CLASHSUP_NFT_SET_H
#define CLASHSUP_NFT_SET_H

#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

struct nft_set;

int nft_set_open(struct nft_set **out, struct err *e);
void nft_set_close(struct nft_set *s); /* NULL-safe */

/* Its socket's port, for netwatch_ours. */
uint32_t nft_set_port(const struct nft_set *s);

/*
 * Deletes and adds addresses; present or absent already is fine. Up to 1,000
 * changes are one transaction, more are several: after an error a part may be
 * in. -ENOENT without our table or such a set in it, -EINVAL for an address of
 * the other family.
 */
int nft_set_change(struct nft_set *s, const char *set, const struct addr *add, size_t n_add, const struct addr *del,
		   size_t n_del, struct err *e);

/*
 * 1 = the set is there, 0 = not (nor the table), -errno. *count_out = its
 * elements: told by the kernel, or counted in a listing of all of them where it
 * does not tell.
 */
int nft_set_count(struct nft_set *s, const char *set, size_t *count_out, struct err *e);

#endif
