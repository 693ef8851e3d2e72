/*
 * route: policy routing for TPROXY by rtnetlink (libmnl): per family one rule
 * `pref PREF fwmark MARK/0xffffffff lookup TABLE protocol 157` and one route
 * `local default dev lo table TABLE`. Idempotent; what is not ours (another
 * protocol, another mark) is never touched. Synchronous: microseconds.
 */
#ifndef CLASHSUP_ROUTE_H
#define CLASHSUP_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/selection.h"

#define ROUTE_PROTOCOL 157 /* tags all that is ours; unassigned in linux/rtnetlink.h and FRR (186 is bgp there) */
#define ROUTE_PREF 100	   /* where nothing else was chosen */

/*
 * -EAFNOSUPPORT, -EACCES or alike for a family that the kernel does not have;
 * -EEXIST when the table has another default route, or when a rule that the
 * kernel takes for equal (it overlooks `not`) stands at the pref; -EINVAL when a
 * number is 0.
 */
int route_add(enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref, struct err *e);

/*
 * Are exactly that rule and that route in, whoever made them? They can go by
 * themselves: lo set down takes the IPv6 route along. After an error *rule and
 * *route are as they were.
 */
int route_look(enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref, bool *rule, bool *route,
	       struct err *e);

/* 1 when a rule or route with our protocol tag is in, whatever its numbers; 0, or -errno. */
int route_left(enum ip_family family, struct err *e);

/* Removes every rule with our protocol tag, whatever its numbers, and the route of each table they named. */
int route_sweep(enum ip_family family, struct err *e);

/* ---- what others have there ---- */

#define ROUTE_TEXT 256

/* In what a stranger collides with ours. */
#define ROUTE_HITS_MARK 1u  /* its rule takes packets with our mark; one with `not` only when it stands before ours */
#define ROUTE_HITS_TABLE 2u /* its rule looks up our table, or its route is in it */
#define ROUTE_HITS_PREF 4u  /* its rule stands at our pref */
#define ROUTE_SAME 8u	    /* and yet it does just what ours does, perhaps at another pref */

struct route_stranger {
	unsigned hits;
	char text[ROUTE_TEXT];	  /* "ip rule 100: fwmark 0x1/0xff lookup 100 (protocol static)" */
	char command[ROUTE_TEXT]; /* "ip -4 rule del pref 100 fwmark 0x1/0xff lookup 100": fit for a shell; may be empty
				   */
};

/*
 * The rules and routes of others (by protocol) that collide with these numbers,
 * at most `cap` of them; the count, or -errno. Before kernel 4.17 rules do not
 * tell who made them: then one that is the same as ours counts as ours.
 */
int route_strangers(enum ip_family family, uint32_t mark, uint32_t table, uint32_t pref, struct route_stranger *out,
		    size_t cap, struct err *e);

/* ---- the LAN ---- */

/*
 * The on-link prefixes of the LAN that no list of reserved networks has: of
 * global addresses on interfaces that are up and named in `lan_ifaces` or, when
 * that is empty, on all but lo and those that have a default route of either
 * family in any table. Prefixes of full length and those within the reserved
 * networks are left out. Sorted, each once, so that two results can be compared
 * by memcmp. The count (at most `cap`), or -errno: -E2BIG where nothing is named
 * and a family has too many unicast routes to look through. 10,000 routes take
 * about 15 ms, ten 0.1 ms. Ask again at NETWATCH_ADDRESS.
 */
int route_lan(const struct iface_list *lan_ifaces, enum ip_family family, struct addr_net *out, size_t cap,
	      struct err *e);

#endif
