/*
 * netwatch: tells when somebody changes rulesets, policy rules, our routing
 * table, addresses or links, by netlink. It says that something changed, never
 * what: the caller looks. Our own changes are told too, except those by sockets
 * that were named with netwatch_ours.
 *
 * Bounded: at most 64 datagrams a loop turn, the rest in the next ones, and a
 * turn calls `fn` at most once per kind of event. A filter in the kernel lets
 * through only what counts, so that a router with a million routes, or a ruleset
 * with a million elements, wakes nobody.
 *
 * Not told by any kernel: changes of legacy iptables tables (netwatch_legacy),
 * and a policy or counter inside them.
 *
 * Sources: a subscription to NFNLGRP_NFTABLES loads nf_tables where that is a
 * module (nfnetlink_bind in net/netfilter/nfnetlink.c), hence netwatch_rulesets;
 * who made a change stands in NFT_MSG_NEWGEN (nf_tables_fill_gen_info in
 * net/netfilter/nf_tables_api.c).
 */
#ifndef CLASHSUP_NETWATCH_H
#define CLASHSUP_NETWATCH_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

struct netwatch;

enum netwatch_event {
	NETWATCH_RULESET, /* a transaction of nft or of iptables' nft variant, in any table */
	NETWATCH_ROUTING, /* a policy rule, a route of our table, or lo (which takes our IPv6 route along) */
	NETWATCH_ADDRESS, /* an address, a link, or any table's default route: what route_lan depends on */
	NETWATCH_LOST,	  /* events were dropped: look at everything. Comes alone */
	NETWATCH_EVENTS
};

/* Who changed the ruleset, for NETWATCH_RULESET where the kernel says it; the last one of those that were read in one
 * go. */
struct netwatch_news {
	enum netwatch_event event;
	pid_t pid;	  /* as the host counts, also inside a container; 0 = not known */
	char program[16]; /* printable; empty = not known */
};

/* Must not close the netwatch. */
typedef void (*netwatch_fn)(void *ctx, const struct netwatch_news *news);

/* `table` is the routing table that is ours. Rulesets are not watched yet. */
int netwatch_open(struct netwatch **out, struct ev_loop *loop, uint32_t table, netwatch_fn fn, void *ctx,
		  struct err *e);
void netwatch_close(struct netwatch *w); /* NULL-safe */

/*
 * Rulesets too, or no longer. It loads nf_tables: only where the backend is nft
 * or iptables' nft variant, that is where nf_tables is loaded anyhow. Idempotent.
 * -EPERM without CAP_NET_ADMIN.
 */
int netwatch_rulesets(struct netwatch *w, bool on, struct err *e);

/*
 * Changes by this netlink socket of ours (mnl_socket_get_portid) are not told:
 * a lease that is refreshed each second would be. -ENOSPC beyond the fourth.
 */
int netwatch_ours(struct netwatch *w, uint32_t port);

/*
 * A table of legacy iptables, which has no events: two stamps are equal (memcmp)
 * while no rule was added to or taken out of it. A stamp does not see a rule that
 * was put in the place of one of the same size, a changed policy, or counters.
 */
struct legacy_stamp {
	uint32_t hooks, rules, size; /* rules: with those that make a policy and an end */
	uint32_t entry[5], underflow[5];
};

/*
 * 0 and the stamp. -ENOENT: the table is not in use (it is never asked for then,
 * since asking would load it); -EPERM without CAP_NET_RAW and CAP_NET_ADMIN.
 */
int netwatch_legacy(enum ip_family family, const char *table, struct legacy_stamp *out, struct err *e);

#endif
