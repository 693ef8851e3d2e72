/*
 * lease: the switch that all our rules hang on, as prebuilt netlink messages:
 * no fork, no library session, no allocation when it matters.
 *
 * The lease sets hold both halves of the address space for LEASE_SECONDS and
 * are refreshed each second while the supervisor knows that Mihomo lives; the
 * first rule of our chains returns when the packet is not in the lease. So
 * emptying the sets sends everything direct at once, and so does the death of
 * everyone, after at most LEASE_SECONDS.
 *
 * Switch-off also deletes the conntrack entries that carry our mark, because a
 * proxied UDP flow of the LAN would otherwise keep its entry without NAT.
 */
#ifndef CLASHSUP_LEASE_H
#define CLASHSUP_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

#define LEASE_SECONDS 3
#define LEASE_SET_TYPE_V4 "hash:net family inet timeout 3"
#define LEASE_SET_TYPE_V6 "hash:net family inet6 timeout 3"

struct lease;

/* Opens its netlink socket and builds every message for these sets and this mark. */
int lease_open(struct lease **out, uint32_t mark, struct err *e);
void lease_close(struct lease *l); /* NULL-safe */

/* (Re)fills the lease of each family that is true. -errno when the kernel refused: not armed. */
int lease_refresh(struct lease *l, const bool family[IP_FAMILIES], struct err *e);

/* Empties both leases. Absent sets are fine. The first thing of every way out. */
int lease_off(struct lease *l, struct err *e);

/* Deletes conntrack entries with our mark, both families. Kernels without it: 0. */
int lease_forget_flows(struct lease *l, struct err *e);

#endif
