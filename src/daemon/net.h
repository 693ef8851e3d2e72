/*
 * net: the kernel's network state that clashsup owns, as few operations: arm,
 * switch off, remove, settle. Sets, routes and lease are synchronous and take
 * microseconds; rules are jobs, one at a time. Outcomes are told; nothing here
 * decides about Mihomo.
 *
 *	net.c		arm, switch off, remove, what stands over deaths
 *	net_sets.c	the ipsets
 *	net_plan.c	what the plan is made of
 *	net_repair.c	what strangers took away is put back
 *	net_replan.c	another plan while one is in force
 *	net_proof.c	rules that do not work are found out
 *	net_resume.c	armed over a reexec
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
#include "clashsup/lifecycle.h"
#include "clashsup/netstate_read.h"
#include "clashsup/netwatch.h"
#include "clashsup/nft_set.h"
#include "clashsup/policy.h"
#include "clashsup/report.h"
#include "clashsup/settings.h"
#include "daemon/net_sets.h"
#include "daemon/surroundings.h"

#define NET_MARKS 64
#define NET_FAKE 8
#define NET_RESOLVERS 8
#define NET_LAN 64
#define NET_TABLES 3 /* of legacy iptables that have rules of ours */

enum net_event {
	NET_EV_SETS, /* within net_arm or later: the sets are there; the rules wait for net_filled */
	NET_EV_ARMED,
	NET_EV_ARM_FAILED,
	NET_EV_REMOVED,
	NET_EV_REMOVE_FAILED,
	NET_EV_REFEED, /* a server set was emptied by somebody: all that is known has to go in again */
	NET_EV_SETTLED /* what stands is as net_settle wished */
};

struct net_ops {
	void (*tell)(void *ctx, enum net_event event);
	/* All server addresses: malloc'ed, the caller's; fewer than n when memory is out. */
	size_t (*servers)(void *ctx, struct addr **out);
	/* How many addresses are in each server set, when nothing is on its way; else 0. */
	void (*counts)(void *ctx, size_t out[IP_FAMILIES]);
	/* While true, changes of the server sets wait: a table with them is on its way. */
	void (*hold)(void *ctx, bool hold);
};

/* What an arming needs to know of Mihomo; copied. */
struct net_plan {
	uint16_t port;
	uint32_t core_gid;
	const uint32_t *marks;
	size_t n_marks;
	const struct addr_net *fake;
	size_t n_fake;
	uint16_t dns_port; /* 0 = Mihomo answers no queries of others */
	const struct addr *resolvers;
	size_t n_resolvers;
	const char *family_note[IP_FAMILIES]; /* "" = the family has a listener; else why not */
};

/* What a plan says of Mihomo. */
struct net_mihomo {
	uint16_t port, dns_port;
	uint32_t core_gid;
	uint32_t marks[NET_MARKS];
	size_t n_marks, n_fake, n_resolvers;
	struct addr_net fake[NET_FAKE];
	struct addr resolvers[NET_RESOLVERS];
};

enum net_task { TASK_NONE, TASK_ARM, TASK_REMOVE, TASK_SETTLE, TASK_REPAIR, TASK_LOOK, TASK_COUNT };

/* The second job of net: see net_repair.c. */
struct net_repair {
	struct netwatch *watch;
	ev_timer look; /* soon after news; never in its callback */
	struct netstate_reader reader;
	struct netstate wanted; /* rules and sets of nft, as they were when they were new */
	struct netstate seen;	/* ... and at the last look */
	bool known;		/* `wanted` is what our own look like */
	struct legacy_stamp stamp[IP_FAMILIES][NET_TABLES];
	bool stamped[IP_FAMILIES][NET_TABLES];
	struct policy_repair policy;
	char who[64]; /* "iptables-restore (pid 77)", as the kernel says of the last change */
	int64_t began_ms;
	int64_t own_ms;	       /* when a job of ours ended: what is told behind it may be its doing */
	bool route_news;       /* to be looked at, when the program that tells it has had a moment to finish */
	unsigned route_fails;  /* in a row */
	unsigned lease_misses; /* in a row */
	bool reapply;	       /* the plan has changed: put it in when no job runs */
	bool replan;	       /* ... and is to be made anew before that: net_replan.c */

	unsigned ticks;

	/* for status */
	char last[160];
	struct report_time at;
};

/* See net_proof.c. */
struct net_proof {
	struct policy_proof policy;
	bool proven;
	int64_t next_count_ms;
	unsigned counts;
};

struct net {
	struct ev_loop *loop;
	struct reaper *reaper;
	const struct settings *settings;
	struct surroundings *around;
	struct net_ops ops;
	void *ctx;

	struct ipset *ipset;
	struct nft_set *nft_set;
	struct lease *lease;
	struct firewall *firewall;
	struct firewall_script script;
	struct addr *listed; /* server addresses in a text that is being applied */
	struct net_sets sets;
	struct net_repair repair;
	struct net_proof proof;

	enum fw_backend backend;     /* of what is in the kernel, or going there */
	enum net_task task;	     /* which job of the firewall runs */
	ev_timer again;		     /* a failed arming waits */
	ev_timer busy;		     /* a set still in use is tried again */
	ev_timer fill;		     /* a long list goes in slice by slice */
	bool family[IP_FAMILIES];    /* what is being or is armed */
	char note[IP_FAMILIES][256]; /* per family "armed", or why not */
	char fault[640];	     /* why the last arming failed, "" = it did not */
	bool powerless;		     /* without the capabilities nothing is tried, and nothing of ours can be there */
	bool sweep;		     /* until the first removal is through: look everywhere */
	bool on;		     /* the lease is refreshed */
	bool resumed;		     /* ... for the rules of a program before us, until ours are in */
	bool direct;		     /* removed, and no arming in hand */
	bool removing;		     /* a removal is wanted, perhaps behind the running job */
	bool wanted;		     /* an arming is in hand */
	bool preparing;		     /* sets and routes are going in */
	bool prepared;		     /* sets (and for an arming, routes) are in */
	bool filled;		     /* what is known of servers is in them */
	bool stand;		     /* what stands over deaths is wanted */
	bool standing;		     /* ... and is in the kernel, or may be */
	bool unsettled;		     /* the last change of it failed */
	bool settling;		     /* the sets that go are those of a settle */
	unsigned parts;		     /* that the job in hand puts in */
	bool armed_before;
	bool no_ipset;	   /* told once */
	unsigned failures; /* armings in a row */
	unsigned troubles; /* armings that came to nothing: rules taken away again and again, or without effect */
	unsigned busy_tries;
	int64_t armed_ms;

	/* of the arming in hand */
	struct fwplan_params plan;	/* of the job in hand, and of what is in the kernel: refers to `mihomo` */
	struct net_mihomo mihomo, next; /* `next` comes into force with the next plan */
	struct settings *former;	/* while the plan still refers to lists of these; owned */
	struct net_list fake, lan;
	struct addr_net lan_nets[NET_LAN];
	char family_note[IP_FAMILIES][256];
	char dns_note[160]; /* for status */
};

/* With loop to ctx filled. */
int net_init(struct net *n, struct err *e);
void net_deinit(struct net *n);

/* Puts everything in; the server set is created empty or left as it is, and the rules go in behind net_filled. */
void net_arm(struct net *n, const struct net_plan *plan);

/* The surroundings are known, or known anew: an arming or a sweep that waited for it goes on. */
void net_known(struct net *n);

/* What was known when the sets came is in them. */
void net_filled(struct net *n);
void net_abort(struct net *n);

/* At once and without a fork: everything goes direct. */
void net_switch_off(struct net *n);

/*
 * Rules, then sets; told as REMOVED or REMOVE_FAILED. The first one sweeps: it
 * looks for what a former life left on every backend, and for its routes.
 */
void net_remove(struct net *n);

/*
 * While nothing is armed: is what stands over deaths (DNS fallback, refusal of
 * fake addresses, on_death = closed) still wanted? Told as SETTLED when it had
 * to be changed.
 */
void net_settle(struct net *n, bool stand);

/*
 * The settings have other values now; `old`, with the former ones, is net's from
 * here on: what is in the kernel, and a job that runs, were made of them.
 */
void net_hold(struct net *n, struct settings *old);

/*
 * What the plan is made of has changed (the settings, or `plan`; NULL = as
 * before): what is in the kernel follows, without a moment without rules or
 * lease. Not for what a plan's removal depends on: see net_settings_anew.
 */
void net_replan(struct net *n, const struct net_plan *plan);

/* Direct and clean: what is being prepared goes too. Before settings change that a removal depends on. */
void net_leave(struct net *n);

/* Mark, table, pref, backend, a set's name have changed while the network was direct and clean. */
int net_settings_anew(struct net *n, struct err *e);

/* An arming came to nothing, and the next one waits. */
bool net_is_held_up(const struct net *n);

/* Nothing stands, nothing is on its way. */
bool net_is_clean(const struct net *n);

/* A set change for the server set of the backend in use; what ipset_change says. */
int net_change_servers(struct net *n, enum ip_family family, const struct addr *add, size_t n_add,
		       const struct addr *del, size_t n_del, struct err *e);

/* Each second: keeps the lease. -errno = the kernel refused it: not armed any more. */
int net_keep(struct net *n, struct err *e);

/* Policy routing stays over deaths (removing it would make clients wait for time-outs); out at a clean stop. */
void net_remove_routes(struct net *n);

/*
 * How the kernel differs from what is wanted: "none", or netstate_delta's
 * sentence; "" while nothing is armed, or rules are on their way in. The rules
 * are those of the last look.
 */
void net_delta(const struct net *n, char *out, size_t cap);

/*
 * Over a reexec. net_resume is behind net_init; what it returns is where the
 * network is: armed, and kept so; direct, with nothing of ours in the kernel; or
 * something in between, which is to be taken out first (net_remove), as at any
 * start. The surroundings are to be asked for.
 */
struct cJSON;
void net_save(const struct net *n, struct cJSON *to);
enum net_state net_resume(struct net *n, const struct cJSON *from, const struct net_plan *plan);

/* No step is on its way, nor will one come by itself. */
bool net_is_quiet(const struct net *n);

/* ---- between the files of net ---- */

/* Takes over what is known of Mihomo; it comes into force with the next plan. */
void net_copy_plan(struct net *n, const struct net_plan *plan);

/* Everything but what is known at the very end: the server addresses. */
void net_make_plan(struct net *n);

/* What stands asks for the sets of its family. */
bool net_can_stand(const struct net *n, enum ip_family f);

/* Gives way for a while: the network goes direct, and what was tried is tried again later. */
void net_give_way(struct net *n, const char *why);

void net_proof_begin(struct net *n);
void net_proof_tick(struct net *n);

/* Rules are in, by an arming or a repair: from now on they are looked after. */
void net_repair_begin(struct net *n);
void net_repair_learn(struct net *n); /* what stands is in */
void net_repair_idle(struct net *n);  /* no job runs and nothing else is wanted */
bool net_repair_lease(struct net *n); /* the lease could not be kept: true while that may be mended in place */
void net_repair_end(struct net *n);
void net_repair_tick(struct net *n);
void net_repair_applied(struct net *n, const struct firewall_result *result);
int net_repair_init(struct net *n, struct err *e);
void net_repair_deinit(struct net *n);

/* The on-link prefixes of the LAN, those of IPv4 first. */
size_t net_lan(const struct net *n, struct addr_net out[NET_LAN]);

/* The plan refers to the present settings. */
void net_let_go(struct net *n);

/* Fills the sets slice by slice, then goes on with `prepared`. */
void net_fill(struct net *n);

/* No job runs and nothing else is wanted. True: it has begun something. */
bool net_replan_next(struct net *n);

unsigned net_parts(const struct net *n); /* that are in, or should be */

/* Starts a job of the firewall under this name; a task that runs is never replaced. */
int net_apply(struct net *n, enum net_task task, unsigned parts, struct err *e);
unsigned net_standing_parts(const struct net *n);
void net_failed(struct net *n, const char *why);
void net_complain(struct net *n, const char *what, const char *why); /* once, until it is something else */

#endif
