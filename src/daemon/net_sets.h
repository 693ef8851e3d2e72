/*
 * net_sets: the ipsets of a plan: made, filled in slices so that a long list
 * blocks nobody, looked after, and destroyed. With the backend nft only the
 * server set is an ipset (for who reads it); the others live in its table.
 */
#ifndef DAEMON_NET_SETS_H
#define DAEMON_NET_SETS_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/fwplan.h"
#include "clashsup/ipset.h"
#include "clashsup/netstate.h"

struct net_sets {
	struct ipset *ipset;
	bool there[IP_FAMILIES][FW_SETS];   /* made by us, not destroyed yet */
	size_t count[IP_FAMILIES][FW_SETS]; /* of the fixed ones, when they were full */

	/* what is still to be put into one set */
	char (*text)[ADDR_TEXT];
	size_t n, cap, at;
	enum ip_family family; /* of that set, and where to go on */
	enum fw_set set;

	/* while rules are in that use them */
	bool renewed[IP_FAMILIES][FW_SETS]; /* its new content goes into a twin, which takes its place */
	bool retired[IP_FAMILIES][FW_SETS]; /* the new plan does without it */
};

/* Makes the sets of one family, all still empty; those that exist stay as they are. */
int net_sets_create(struct net_sets *s, const struct fwplan_params *p, enum fw_backend backend, enum ip_family family,
		    struct err *e);

/* Begins to fill the fixed sets that were made; net_sets_fill puts in one slice: 1 = there is more, 0 = full, -errno.
 */
void net_sets_begin(struct net_sets *s);
int net_sets_fill(struct net_sets *s, const struct fwplan_params *p, struct err *e);

/*
 * Another plan, while the rules of the old one are in: makes what is missing.
 * The next filling leaves each set whole at any moment; what the new plan does
 * without is left alone until net_sets_trim.
 */
int net_sets_renew(struct net_sets *s, const struct fwplan_params *p, enum fw_backend backend, enum ip_family family,
		   struct err *e);
void net_sets_trim(struct net_sets *s, const struct fwplan_params *p);

/* What was made, and how much the fixed ones held when they were full; the others any number. */
void net_sets_want(const struct net_sets *s, struct netstate *out);

/* Of those that a former life may have made too. Returns how many are still in use; they are emptied when `last`. */
size_t net_sets_destroy(struct net_sets *s, const struct fwplan_params *p, bool last, struct err *e);

void net_sets_deinit(struct net_sets *s);

#endif
