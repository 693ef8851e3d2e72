#include "daemon/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/log.h"
#include "clashsup/route.h"
#include "clashsup/sandbox.h"

#define BUSY_RETRY_S 0.02 /* a set is in use for a moment after its last rule went */
#define BUSY_TRIES 25
#define RETRY_MAX_S 30.0

enum { SET_SERVERS, SET_RESERVED, SET_LEASE, SETS };

/*
 * With room for all from the start (8 bytes a place): where the kernel lets a set
 * grow it waits for all CPUs, 20 ms and more, and the loop with it.
 */
static const char *const set_type[SETS][IP_FAMILIES] = {
	[SET_SERVERS] = { "hash:ip family inet hashsize 65536 maxelem 131072",
			  "hash:ip family inet6 hashsize 65536 maxelem 131072" },
	[SET_RESERVED] = { "hash:net family inet", "hash:net family inet6" },
	[SET_LEASE] = { LEASE_SET_TYPE_V4, LEASE_SET_TYPE_V6 },
};
static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

/* The name of one of our sets for one family. */
static const char *set_name(const struct net *n, unsigned set, enum ip_family f, char buf[FWPLAN_SET_TEXT])
{
	const char *base[SETS] = { n->settings->ipset.name, FWPLAN_RESERVED_SET, FWPLAN_LEASE_SET };

	return fwplan_set_name(base[set], f, buf);
}

static void leave_out(struct net *n, enum ip_family f, const char *why)
{
	n->family[f] = false;
	if (strcmp(n->note[f], why) == 0)
		return;
	snprintf(n->note[f], sizeof(n->note[f]), "%s", why);
	log_warn(LOG_CLASH, "%s is left out: %s", family_name[f], why);
}

/* ---- arm ---- */

static int create_sets(struct net *n, enum ip_family f, struct err *e)
{
	const char *const *nets;
	char name[FWPLAN_SET_TEXT];
	size_t n_nets;

	for (unsigned set = 0; set < SETS; set++) {
		int r = ipset_create(n->ipset, set_name(n, set, f, name), set_type[set][f], e);

		if (r < 0)
			return r;
	}
	nets = fwplan_reserved(f, &n_nets);
	return ipset_add_nets(n->ipset, set_name(n, SET_RESERVED, f, name), nets, n_nets, e);
}

/* Sets and routes of one family; what cannot work leaves the family out, with the reason. */
static void prepare_family(struct net *n, enum ip_family f, const char *listener_note)
{
	struct err e = ERR_INIT;

	n->family[f] = false;
	if (n->settings->tproxy.family[f] == SETTING_NO) {
		snprintf(n->note[f], sizeof(n->note[f]), "switched off in the configuration");
		return;
	}
	if (*listener_note) {
		leave_out(n, f, listener_note);
		return;
	}
	if (create_sets(n, f, &e) < 0 || route_add(f, n->plan.mark, n->settings->tproxy.table, &e) < 0) {
		leave_out(n, f, e.msg);
		return;
	}
	n->family[f] = true;
}

/* What is tried again and again is told once. */
static void complain(struct net *n, const char *what, const char *why)
{
	if (strcmp(n->fault, why) == 0)
		return;
	log_error(LOG_CLASH, "%s: %s", what, why);
	snprintf(n->fault, sizeof(n->fault), "%s", why);
}

static void arm_failed(struct net *n, const char *why)
{
	n->failures++;
	complain(n, "cannot apply TProxy, trying again with growing pauses", why);
	n->tell(n->ctx, NET_EV_ARM_FAILED);
}

static void on_applied(void *ctx, const struct firewall_result *result)
{
	struct net *n = ctx;
	struct err e = ERR_INIT;

	if (result->aborted || n->removing) {
		if (n->removing)
			net_remove(n);
		return;
	}
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f] && result->family[f] < 0)
			leave_out(n, (enum ip_family)f, result->err[f].msg);
	}
	if (!n->family[IP_V4] && !n->family[IP_V6]) {
		arm_failed(n, n->note[IP_V4]);
		return;
	}
	if (lease_refresh(n->lease, n->family, &e) < 0) {
		arm_failed(n, e.msg);
		return;
	}
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f])
			snprintf(n->note[f], sizeof(n->note[f]), "armed");
	}
	n->on = true;
	n->failures = 0;
	n->fault[0] = '\0';
	n->tell(n->ctx, NET_EV_ARMED);
}

static void apply(struct net *n)
{
	struct err e = ERR_INIT;

	if (n->powerless || (!n->family[IP_V4] && !n->family[IP_V6])) {
		arm_failed(n, n->powerless ? n->fault : n->note[IP_V4]);
		return;
	}
	if (firewall_apply(n->firewall, &n->plan, n->family, on_applied, n, &e) < 0)
		arm_failed(n, e.msg);
}

static void apply_when_due(struct net *n)
{
	if (!n->waiting || !n->filled || ev_is_active(&n->again))
		return;
	n->waiting = false;
	apply(n);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	apply_when_due(w->data);
}

void net_filled(struct net *n)
{
	n->filled = true;
	apply_when_due(n);
}

void net_arm(struct net *n, const struct net_plan *plan)
{
	double wait = n->failures ? (double)(1u << (n->failures > 5 ? 5 : n->failures - 1)) : 0.0;

	n->removing = false;
	memcpy(n->marks, plan->marks, plan->n_marks * sizeof(n->marks[0]));
	n->plan = (struct fwplan_params){ .server_set = n->settings->ipset.name,
					  .port = plan->port,
					  .mark = n->settings->tproxy.mark,
					  .core_gid = plan->core_gid,
					  .routing_marks = n->marks,
					  .n_routing_marks = plan->n_marks,
					  .local = n->settings->tproxy.local };
	for (unsigned f = 0; f < IP_FAMILIES && !n->powerless; f++)
		prepare_family(n, (enum ip_family)f, plan->family_note[f]);
	ev_timer_stop(n->loop, &n->again);
	if (wait > 0.0) {
		ev_timer_set(&n->again, wait > RETRY_MAX_S ? RETRY_MAX_S : wait, 0.0);
		ev_timer_start(n->loop, &n->again);
	}
	n->waiting = true;
	n->filled = n->powerless;
	if (!n->powerless)
		n->tell(n->ctx, NET_EV_SETS);
	apply_when_due(n);
}

void net_abort(struct net *n)
{
	n->waiting = false;
	ev_timer_stop(n->loop, &n->again);
	firewall_abort(n->firewall);
}

int net_keep(struct net *n, struct err *e)
{
	return n->on ? lease_refresh(n->lease, n->family, e) : 0;
}

/* ---- disarm ---- */

void net_switch_off(struct net *n)
{
	struct err e = ERR_INIT;

	n->on = false;
	if (n->powerless)
		return;
	if (lease_off(n->lease, &e) < 0)
		log_error(LOG_CLASH, "cannot empty the lease, it ends by itself in %d s: %s", LEASE_SECONDS, e.msg);
	if (lease_forget_flows(n->lease, &e) < 0)
		log_warn(LOG_CLASH, "cannot forget proxied flows: %s", e.msg);
}

/* One pass over all sets: true when one is still in use. */
static bool destroy_pass(struct net *n, bool empty_instead, struct err *e)
{
	char name[FWPLAN_SET_TEXT];
	bool busy = false;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < SETS; set++) {
			if (ipset_destroy(n->ipset, set_name(n, set, (enum ip_family)f, name), e) == 0)
				continue;
			busy = true;
			if (empty_instead)
				ipset_flush(n->ipset, name, NULL);
		}
	}
	return busy;
}

static void destroy_sets(struct net *n)
{
	bool last = n->busy_tries++ >= BUSY_TRIES;
	struct err e = ERR_INIT;

	if (destroy_pass(n, last, &e)) {
		if (!last) {
			ev_timer_stop(n->loop, &n->busy);
			ev_timer_set(&n->busy, BUSY_RETRY_S, 0.0);
			ev_timer_start(n->loop, &n->busy);
			return;
		}
		/* A rule of somebody else's refers to it: emptied it harms nobody, and the next arming takes it as it
		 * is. */
		log_warn(LOG_CLASH, "an ipset of ours is in use by a rule of another program, left there empty: %s",
			 e.msg);
	}
	n->sweep = false;
	if (!n->failures) /* a complaint about the removal is settled */
		n->fault[0] = '\0';
	n->tell(n->ctx, NET_EV_REMOVED);
}

static void on_busy(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	destroy_sets(w->data);
}

static void on_removed(void *ctx, const struct firewall_result *result)
{
	struct net *n = ctx;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (result->family[f] == 0)
			continue;
		log_error(LOG_CLASH, "cannot take out the %s rules (traffic is direct all the same): %s",
			  family_name[f], result->err[f].msg);
		n->tell(n->ctx, NET_EV_REMOVE_FAILED);
		return;
	}
	n->busy_tries = 0;
	destroy_sets(n);
}

void net_remove(struct net *n)
{
	struct err e = ERR_INIT;

	n->waiting = false;
	ev_timer_stop(n->loop, &n->again);
	ev_timer_stop(n->loop, &n->busy);
	if (n->powerless) {
		n->tell(n->ctx, NET_EV_REMOVED);
		return;
	}
	n->removing = firewall_busy(n->firewall);
	if (n->removing) /* its end starts the removal */
		return;
	if (n->sweep) {
		net_switch_off(n);
		net_remove_routes(n);
	}
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f])
			n->note[f][0] = '\0';
		n->family[f] = false;
	}
	if (firewall_remove(n->firewall, n->sweep, on_removed, n, &e) < 0) {
		complain(n, "cannot take out the rules", e.msg);
		n->tell(n->ctx, NET_EV_REMOVE_FAILED);
	}
}

void net_remove_routes(struct net *n)
{
	struct err e = ERR_INIT;

	for (unsigned f = 0; f < IP_FAMILIES && !n->powerless; f++) {
		if (route_sweep((enum ip_family)f, &e) < 0)
			log_warn(LOG_CLASH, "cannot remove the %s policy routing: %s", family_name[f], e.msg);
	}
}

int net_init(struct net *n, struct err *e)
{
	struct err lack = ERR_INIT;
	int r = ipset_open(&n->ipset, e);

	if (r == 0)
		r = lease_open(&n->lease, n->settings->tproxy.mark, e);
	if (r == 0)
		r = firewall_new(&n->firewall, n->reaper, e);
	if (r < 0) {
		net_deinit(n);
		return r;
	}
	if (sandbox_may_filter(&lack) < 0) {
		n->powerless = true;
		complain(n, "the network stays direct", lack.msg);
	}
	n->sweep = true;
	ev_timer_init(&n->again, on_again, 0.0, 0.0);
	ev_timer_init(&n->busy, on_busy, 0.0, 0.0);
	n->again.data = n->busy.data = n;
	return 0;
}

void net_deinit(struct net *n)
{
	ev_timer_stop(n->loop, &n->again);
	ev_timer_stop(n->loop, &n->busy);
	firewall_free(n->firewall);
	lease_close(n->lease);
	ipset_close(n->ipset);
	n->firewall = NULL;
	n->lease = NULL;
	n->ipset = NULL;
}
