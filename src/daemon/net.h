/*
 * net: the kernel's network state that clashsup owns, as three operations:
 * arm, switch off, remove. Sets, routes and lease are synchronous and take
 * microseconds; rules are jobs. Outcomes are told; nothing here decides.
 */
#ifndef DAEMON_NET_H
#define DAEMON_NET_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/firewall.h"
#include "clashsup/ipset.h"
#include "clashsup/lease.h"
#include "clashsup/settings.h"

enum net_event {
	NET_EV_SETS, /* within net_arm: the sets are there; the rules wait for net_filled */
	NET_EV_ARMED,
	NET_EV_ARM_FAILED,
	NET_EV_REMOVED,
	NET_EV_REMOVE_FAILED
};

typedef void (*net_fn)(void *ctx, enum net_event event);

struct net {
	struct ev_loop *loop;
	struct reaper *reaper;
	const struct settings *settings;
	net_fn tell;
	void *ctx;

	struct ipset *ipset;
	struct lease *lease;
	struct firewall *firewall;
	ev_timer again, busy;	     /* a failed arming waits; a set still in use is tried again */
	bool family[IP_FAMILIES];    /* what is being or is armed */
	char note[IP_FAMILIES][256]; /* per family "armed", or why not */
	char fault[256];	     /* why the last arming failed, "" = it did not */
	bool powerless;		     /* without the capabilities nothing is tried, and nothing of ours can be there */
	bool on;		     /* the lease is refreshed */
	bool removing;		     /* a removal is wanted behind the running job */
	bool sweep;		     /* until the first removal is through: look at every variant */
	bool waiting;		     /* the rules are wanted: they wait for `filled` and for the timer `again` */
	bool filled;
	unsigned failures, busy_tries;

	/* of the arming in hand */
	struct fwplan_params plan;
	uint32_t marks[64];
};

/* What an arming needs to know. */
struct net_plan {
	uint16_t port;
	const uint32_t *marks;
	size_t n_marks;
	uint32_t core_gid;
	const char *family_note[IP_FAMILIES]; /* "" = the family has a listener; else why not */
};

/* With loop to ctx filled. */
int net_init(struct net *n, struct err *e);
void net_deinit(struct net *n);

/* Puts everything in; the server set is created empty or left as it is, and the rules go in behind net_filled. */
void net_arm(struct net *n, const struct net_plan *plan);

/* What was known when the sets came is in them. */
void net_filled(struct net *n);
void net_abort(struct net *n);

/* At once and without a fork: everything goes direct. */
void net_switch_off(struct net *n);

/*
 * Rules, then sets; told as REMOVED or REMOVE_FAILED. The first one sweeps: it
 * looks for what a former life left on every variant, and for its routes.
 */
void net_remove(struct net *n);

/* Each second: keeps the lease. -errno = the kernel refused it: not armed any more. */
int net_keep(struct net *n, struct err *e);

/* Policy routing stays over deaths (removing it would make clients wait for time-outs); out at a clean stop. */
void net_remove_routes(struct net *n);

#endif
