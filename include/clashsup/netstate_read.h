/*
 * netstate_read: fills a struct netstate from the kernel. What cannot be read is
 * left in it as it was: beginning with what is wanted, only a difference that is
 * seen is one. The rules need jobs; the rest is synchronous and takes
 * microseconds, but for counts of the nft table where the kernel does not tell
 * them (before 6.16): then its elements are listed.
 */
#ifndef CLASHSUP_NETSTATE_READ_H
#define CLASHSUP_NETSTATE_READ_H

#include "clashsup/firewall.h"
#include "clashsup/ipset.h"
#include "clashsup/netstate.h"
#include "clashsup/nft_set.h"

/* Where to look; all borrowed. */
struct netstate_source {
	struct ipset *ipset;
	struct nft_set *nft_set;	  /* NULL: no table is looked at */
	const struct fwplan_params *plan; /* for the server set's name and the mark */
	uint32_t route_table, pref;	  /* of our routing */
	enum fw_backend backend;	  /* whose rules are ours */
};

/* All ipsets that we could have made, whoever made them. */
void netstate_read_ipsets(const struct netstate_source *s, struct netstate *out);

/* The rule and route of our numbers. */
void netstate_read_routing(const struct netstate_source *s, struct netstate *out);

/* Those with our protocol; looks through the local routes of all tables. */
void netstate_read_tagged(struct netstate *out);

typedef void (*netstate_fn)(void *ctx, const struct firewall_result *result, const struct netstate *now);

struct netstate_reader {
	struct netstate_source source;
	netstate_fn done;
	void *ctx;
	struct netstate now; /* set it to what is wanted, or to zero */
};

/*
 * All but `tagged` and `other`, and with backend script no rules. `r` is
 * borrowed until `done` is called, from the loop; rules of a family whose
 * result is not 0 could not be read. 0 or -errno, as of firewall_look.
 */
int netstate_read(struct netstate_reader *r, struct firewall *f, struct err *e);

#endif
