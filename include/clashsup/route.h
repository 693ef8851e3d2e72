/*
 * route: policy routing for TPROXY by rtnetlink (libmnl): per family one rule
 * `pref PREF fwmark MARK/0xffffffff lookup TABLE protocol 157` and one route
 * `local default dev lo table TABLE`. Idempotent; what is not ours (another
 * protocol, another mark) is never touched. Synchronous: microseconds.
 */
#ifndef CLASHSUP_ROUTE_H
#define CLASHSUP_ROUTE_H

#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

#define ROUTE_PROTOCOL 157 /* tags all that is ours; unassigned in linux/rtnetlink.h and FRR (186 is bgp there) */
#define ROUTE_PREF 100

/*
 * -EAFNOSUPPORT, -EACCES or alike for a family that the kernel does not have;
 * -EEXIST when the table has another default route.
 */
int route_add(enum ip_family family, uint32_t mark, uint32_t table, struct err *e);

/* Removes every rule with our protocol tag, whatever its numbers, and the route of each table they named. */
int route_sweep(enum ip_family family, struct err *e);

#endif
