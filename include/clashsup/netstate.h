/*
 * netstate: what of ours is in the kernel, as one value, and the two questions
 * about it: is anything left (residue), and does it differ from what is wanted
 * (delta)? Pure; sys/netstate_read fills it. Repairs, `status`, `doctor` and
 * tests ask these two and nothing else.
 */
#ifndef CLASHSUP_NETSTATE_H
#define CLASHSUP_NETSTATE_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/fwplan.h"

#define NETSTATE_TEXT 96

struct netstate_set {
	bool there;
	size_t count; /* elements; 0 in what is wanted = any number */
};

struct netstate_family {
	struct fw_view rules;		    /* of `backend`; with FW_NFT the same in both families */
	struct netstate_set ipset[FW_SETS]; /* those for both families stand with IPv4 */
	struct netstate_set table[FW_SETS]; /* those of the nft table; so does its lease */
	bool rule, route;		    /* of exactly our numbers, whoever made them */
	bool tagged;			    /* rules or routes with our protocol, whatever their numbers */
};

struct netstate {
	enum fw_backend backend;
	const char *server_set; /* borrowed */
	struct netstate_family family[IP_FAMILIES];
	bool other; /* rules of ours by another backend, or by one that is not known */
};

/* Anything of ours? Then `what` names the first and how many more: "rules of IPv4, and 7 things more". */
bool netstate_residue(const struct netstate *now, char *what, size_t cap);

/*
 * Is something not as wanted? Then `what` has a sentence: "ipset clash_proxy_ips
 * is gone, and 2 things more". More elements in a set than wanted, and sets and
 * routing that nobody wants, are no difference.
 */
bool netstate_delta(const struct netstate *now, const struct netstate *wanted, char *what, size_t cap);

#endif
