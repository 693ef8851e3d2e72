/*
 * lease: the switch that all our rules hang on, as prebuilt netlink messages:
 * no fork, no library session, no allocation when it matters.
 *
 * The lease lives where the rules do: with iptables and the script in two ipsets
 * that hold both halves of the address space, with nft in a set of our table
 * that holds the numbers of the families. Elements last LEASE_SECONDS and are
 * refreshed each second while the supervisor knows that Mihomo lives; the first
 * rule of our chains returns when the packet is not in the lease. So emptying
 * it sends everything direct at once, and so does the death of everyone, after
 * at most LEASE_SECONDS.
 *
 * Switch-off also deletes the conntrack entries that carry our mark, because a
 * proxied UDP flow of the LAN would otherwise keep its entry without NAT, and
 * those of redirected DNS, which would go on to the dead port.
 *
 * The messages of nft wait while another program's transaction is under way:
 * the kernel has one lock for them (microseconds, unless it loads long lists).
 */
#ifndef CLASHSUP_LEASE_H
#define CLASHSUP_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/fwplan.h"

#define LEASE_SECONDS 3
#define LEASE_SET_TYPE_V4 "hash:net family inet timeout 3"
#define LEASE_SET_TYPE_V6 "hash:net family inet6 timeout 3"

struct lease;

/* Opens its netlink socket and builds every message for these sets and this mark. */
int lease_open(struct lease **out, uint32_t mark, struct err *e);
void lease_close(struct lease *l); /* NULL-safe */

/* Its socket's port, for netwatch_ours: a refresh is a change of the ruleset too. */
uint32_t lease_port(const struct lease *l);

/* (Re)fills the lease of each family that is true. -errno when the kernel refused: not armed. */
int lease_refresh(struct lease *l, enum fw_backend backend, const bool family[IP_FAMILIES], struct err *e);

/* Empties it for both families. An absent set or table is fine. The first thing of every way out. */
int lease_off(struct lease *l, enum fw_backend backend, struct err *e);

/* Deletes conntrack entries with our mark, both families. Kernels without it: 0. */
int lease_forget_flows(struct lease *l, struct err *e);

/*
 * Deletes the conntrack entries, UDP and TCP, both families, that were made for
 * destination port 53. Of each family and protocol it looks at 65,536 at most
 * (before kernel 5.8: of all entries there are), then -E2BIG.
 */
int lease_forget_dns(struct lease *l, struct err *e);

#endif
