#include "daemon/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/log.h"
#include "clashsup/route.h"
#include "clashsup/sandbox.h"
#include "daemon/clock.h"
#include "daemon/plan_params.h"

#define BUSY_RETRY_S 0.02 /* a set is in use for a moment after its last rule went */
#define BUSY_TRIES 25
#define RETRY_MAX_S 30.0
#define SETTLE_RETRY_S 1.0
#define TRIES_MAX 5 /* that make the pause longer */

static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

static void leave_out(struct net *n, enum ip_family f, const char *why)
{
	size_t len = strnlen(why, sizeof(n->note[f]) - 1);

	n->family[f] = false;
	if (strcmp(n->note[f], why) == 0)
		return;
	memmove(n->note[f], why, len); /* it may be another text of *n */
	n->note[f][len] = '\0';
	log_warn(LOG_CLASH, "%s is left out: %s", family_name[f], why);
}

/* What is tried again and again is told once. */
void net_complain(struct net *n, const char *what, const char *why)
{
	if (strcmp(n->fault, why) == 0)
		return;
	log_error(LOG_CLASH, "%s: %s", what, why);
	snprintf(n->fault, sizeof(n->fault), "%s", why);
}

void net_failed(struct net *n, const char *why)
{
	n->wanted = false;
	n->failures++;
	net_complain(n, "cannot apply TProxy, trying again with growing pauses", why);
	n->ops.tell(n->ctx, NET_EV_ARM_FAILED);
}

static void start(struct net *n, ev_timer *t, double after)
{
	ev_timer_stop(n->loop, t);
	ev_timer_set(t, after, 0.0);
	ev_timer_start(n->loop, t);
}

/* ---- a plan goes into the kernel ---- */

static void on_applied(void *ctx, const struct firewall_result *result);

/* The text is in, or will never be. */
static void release(struct net *n)
{
	n->plan.servers = NULL;
	n->plan.n_servers = 0;
	free(n->listed);
	n->listed = NULL;
	n->ops.hold(n->ctx, false);
}

/* With nft the text replaces what is in the sets that live: nobody may change them until it is in. */
int net_apply(struct net *n, enum net_task task, unsigned parts, struct err *e)
{
	bool family[IP_FAMILIES];
	int r;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		family[f] = n->family[f] || (parts & FWPLAN_STANDING && net_can_stand(n, (enum ip_family)f));
		n->plan.standing_only[f] = !n->family[f];
		n->plan.lease_on[f] = n->on && n->family[f];
	}
	n->plan.n_servers = 0;
	if (n->backend == FW_NFT && parts) {
		n->ops.hold(n->ctx, true);
		n->plan.n_servers = n->ops.servers(n->ctx, &n->listed);
		n->plan.servers = n->listed;
	}
	r = firewall_apply(n->firewall, n->backend, &n->plan, parts, family, on_applied, n, e);
	if (r < 0)
		release(n);
	else
		n->task = task;
	n->parts = parts;
	return r;
}

/* ---- what is next ---- */

static void go_on(struct net *n);

/* The rules of nft have sets of their own: there the ipset is for who reads it, and a kernel may have none. */
static int make_sets(struct net *n, enum ip_family f, struct err *e)
{
	int r = net_sets_create(&n->sets, &n->plan, n->backend, f, e);

	if (r == 0 || n->backend != FW_NFT)
		return r;
	if (!n->no_ipset)
		log_warn(LOG_CLASH, "no ipset for who reads it (the rules of nft do without): %s", e->msg);
	n->no_ipset = true;
	return 0;
}

/* Sets and routes of one family; what cannot work leaves the family out, with the reason. */
static void prepare_family(struct net *n, enum ip_family f)
{
	const struct choice *choice = &n->around->choice;
	const struct settings *s = n->settings;
	struct err e = ERR_INIT;

	n->family[f] = false;
	if (s->tproxy.family[f] == SETTING_NO) {
		snprintf(n->note[f], sizeof(n->note[f]), "switched off in the configuration");
		return;
	}
	if (!choice->family[f]) {
		leave_out(n, f, surroundings_why_not(n->around, f));
		return;
	}
	if (make_sets(n, f, &e) < 0) { /* also for what only stands */
		leave_out(n, f, e.msg);
		return;
	}
	if (n->wanted && n->family_note[f][0]) {
		leave_out(n, f, n->family_note[f]);
		return;
	}
	if (n->wanted && n->backend != FW_SCRIPT && /* which does its own */
	    route_add(f, s->tproxy.mark, s->tproxy.table, s->tproxy.pref, &e) < 0) {
		leave_out(n, f, e.msg);
		return;
	}
	n->family[f] = true;
}

void net_fill(struct net *n)
{
	struct err e = ERR_INIT;
	int r = net_sets_fill(&n->sets, &n->plan, &e);

	if (r > 0) {
		start(n, &n->fill, 0.0);
		return;
	}
	n->preparing = false;
	if (r < 0 && (n->wanted || n->on)) {
		net_failed(n, e.msg);
		return;
	}
	if (r < 0)
		net_complain(n, "cannot prepare what stands over Mihomo's deaths", e.msg);
	n->prepared = true;
	go_on(n);
}

static void on_fill(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	net_fill(w->data);
}

static void prepare(struct net *n)
{
	bool arming = n->wanted;

	n->preparing = true;
	n->repair.replan = false;
	net_make_plan(n);
	for (unsigned f = 0; f < IP_FAMILIES; f++)
		prepare_family(n, (enum ip_family)f);
	net_sets_begin(&n->sets);
	if (arming)
		n->ops.tell(n->ctx, NET_EV_SETS);
	if (n->wanted == arming && n->preparing) /* the telling may have led elsewhere */
		net_fill(n);
}

static void arm_next(struct net *n)
{
	const char *refusal;
	struct err e = ERR_INIT;

	if (n->powerless && !ev_is_active(&n->again)) {
		net_failed(n, n->fault);
		return;
	}
	if (ev_is_active(&n->again) || !surroundings_known(n->around))
		return;
	refusal = surroundings_refusal(n->around);
	if (refusal) {
		net_failed(n, refusal);
	} else if (!n->prepared) {
		prepare(n);
	} else if (n->filled) {
		if (!n->family[IP_V4] && !n->family[IP_V6])
			net_failed(n, n->note[IP_V4]);
		else if (net_apply(n, TASK_ARM, FWPLAN_ARMED | net_standing_parts(n), &e) < 0)
			net_failed(n, e.msg);
	}
}

static int start_removal(struct net *n, struct err *e)
{
	unsigned parts = n->stand ? net_standing_parts(n) : 0;
	int r;

	if (!n->sweep)
		return net_apply(n, TASK_REMOVE, parts, e);
	net_switch_off(n);
	net_remove_routes(n);
	r = firewall_sweep(n->firewall, n->backend, &n->plan, parts, n->around->choice.family, on_applied, n, e);
	if (r == 0)
		n->task = TASK_REMOVE;
	n->parts = parts;
	return r;
}

static void remove_next(struct net *n)
{
	struct err e = ERR_INIT;

	if (n->sweep && n->stand && !n->prepared) { /* closed: in the same step as the leftovers go out */
		if (surroundings_known(n->around))
			prepare(n);
		return;
	}
	n->removing = n->prepared = false;
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f])
			n->note[f][0] = '\0';
		n->family[f] = false;
	}
	if (start_removal(n, &e) < 0) {
		net_complain(n, "cannot take out the rules", e.msg);
		n->ops.tell(n->ctx, NET_EV_REMOVE_FAILED);
	}
}

static void settle_next(struct net *n)
{
	struct err e = ERR_INIT;

	if (!n->direct || (n->stand == n->standing && !n->unsettled) || ev_is_active(&n->again) ||
	    (n->stand && (!net_standing_parts(n) || !surroundings_known(n->around) || !n->around->choice.found)))
		return;
	if (n->stand && !n->prepared) {
		prepare(n);
		return;
	}
	n->prepared = false;
	if (net_apply(n, TASK_SETTLE, n->stand ? FWPLAN_STANDING : 0, &e) < 0)
		net_complain(n, "cannot change what stands over Mihomo's deaths", e.msg);
}

/* Each step ends here again: what is wanted most and can be done is done. */
static void go_on(struct net *n)
{
	if (n->task != TASK_NONE || n->preparing || ev_is_active(&n->busy))
		return;
	if (n->removing)
		remove_next(n);
	else if (n->wanted)
		arm_next(n);
	else
		settle_next(n);
	if (n->task == TASK_NONE && !net_replan_next(n))
		net_repair_idle(n);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	go_on(w->data);
}

void net_known(struct net *n)
{
	go_on(n);
}

void net_filled(struct net *n)
{
	n->filled = true;
	go_on(n);
}

void net_settle(struct net *n, bool stand)
{
	n->stand = stand && !n->powerless;
	go_on(n);
}

bool net_is_held_up(const struct net *n)
{
	return n->failures || n->troubles || n->powerless;
}

bool net_is_clean(const struct net *n)
{
	return !n->standing && n->task == TASK_NONE;
}

bool net_is_quiet(const struct net *n)
{
	return n->task == TASK_NONE && !n->preparing && !n->removing && !n->repair.replan && !n->repair.reapply &&
	       !ev_is_active(&n->busy);
}

/* ---- arm ---- */

/* Behind a job: did it put in what stands? */
static bool stands_now(const struct net *n)
{
	return n->parts & FWPLAN_STANDING &&
	       (n->family[IP_V4] || n->family[IP_V6] || net_can_stand(n, IP_V4) || net_can_stand(n, IP_V6));
}

static void armed(struct net *n)
{
	struct err e = ERR_INIT;

	if (lease_refresh(n->lease, n->backend, n->family, &e) < 0) {
		net_failed(n, e.msg);
		return;
	}
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f])
			snprintf(n->note[f], sizeof(n->note[f]), "armed");
	}
	n->on = n->armed_before = true;
	n->armed_ms = clock_ms();
	n->standing = stands_now(n);
	n->stand = n->standing;
	n->wanted = false;
	n->failures = 0;
	if (!n->troubles)
		n->fault[0] = '\0';
	if (n->plan.dns.on)
		lease_forget_dns(n->lease, NULL);
	n->ops.tell(n->ctx, NET_EV_ARMED);
	net_repair_begin(n);
}

static void on_arm_applied(struct net *n, const struct firewall_result *result)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f] && result->family[f] < 0)
			leave_out(n, (enum ip_family)f, result->err[f].msg);
	}
	if (!n->wanted)
		return;
	if (!n->family[IP_V4] && !n->family[IP_V6])
		net_failed(n, n->note[IP_V4]);
	else
		armed(n);
}

void net_arm(struct net *n, const struct net_plan *plan)
{
	unsigned tries = n->failures > n->troubles ? n->failures : n->troubles;

	net_copy_plan(n, plan);
	n->removing = n->preparing = n->prepared = n->filled = n->direct = false;
	n->wanted = true;
	ev_timer_stop(n->loop, &n->fill);
	ev_timer_stop(n->loop, &n->busy);
	if (n->powerless)
		tries = TRIES_MAX;
	if (tries) {
		double wait = (double)(1u << (tries > TRIES_MAX ? TRIES_MAX : tries - 1));

		start(n, &n->again, wait > RETRY_MAX_S ? RETRY_MAX_S : wait);
		surroundings_look(n->around, true); /* what stood in the way may be gone */
	}
	go_on(n);
}

void net_abort(struct net *n)
{
	n->wanted = n->preparing = false;
	ev_timer_stop(n->loop, &n->again);
	ev_timer_stop(n->loop, &n->fill);
	firewall_abort(n->firewall);
}

int net_keep(struct net *n, struct err *e)
{
	int r = n->on ? lease_refresh(n->lease, n->backend, n->family, e) : 0;

	if (r < 0 && net_repair_lease(n))
		return 0;
	if (r < 0)
		return r;
	n->repair.lease_misses = 0;
	net_repair_tick(n);
	return 0;
}

int net_change_servers(struct net *n, enum ip_family family, const struct addr *add, size_t n_add,
		       const struct addr *del, size_t n_del, struct err *e)
{
	char name[FWPLAN_SET_TEXT];
	int r = 0;

	fwplan_set_name(n->settings->ipset.name, family, name);
	if (n->sets.there[family][FWSET_SERVERS])
		r = ipset_change(n->ipset, name, add, n_add, del, n_del, e);
	if (n->on && n->backend == FW_NFT && n->task != TASK_ARM && r == 0)
		r = nft_set_change(n->nft_set, name, add, n_add, del, n_del, e);
	return r;
}

/* ---- disarm ---- */

void net_switch_off(struct net *n)
{
	struct err e = ERR_INIT;

	n->on = false;
	n->wanted = false;
	net_repair_end(n);
	if (n->powerless)
		return;
	if (lease_off(n->lease, n->backend, &e) < 0)
		log_error(LOG_CLASH, "cannot empty the lease, it ends by itself in %d s: %s", LEASE_SECONDS, e.msg);
	if (lease_forget_flows(n->lease, &e) < 0)
		log_warn(LOG_CLASH, "cannot forget proxied flows: %s", e.msg);
	if (n->plan.dns.on && lease_forget_dns(n->lease, &e) < 0)
		log_warn(LOG_CLASH, "cannot forget redirected DNS queries: %s", e.msg);
}

static void removed(struct net *n)
{
	enum net_event event = n->settling ? NET_EV_SETTLED : NET_EV_REMOVED;

	n->sweep = n->settling = false;
	n->direct = !n->wanted;
	if (n->standing)
		net_repair_learn(n);
	if (!n->failures && !n->troubles) /* a complaint about the removal is settled */
		n->fault[0] = '\0';
	n->ops.tell(n->ctx, event);
}

/* What stands has its own sets, which stay; of these only closed asks for the servers. */
static bool is_expected(const struct net *n)
{
	return n->standing &&
	       (n->plan.closed || (!n->sets.there[IP_V4][FWSET_SERVERS] && !n->sets.there[IP_V6][FWSET_SERVERS]));
}

static void destroy_sets(struct net *n)
{
	bool last = n->busy_tries++ >= BUSY_TRIES;
	struct err e = ERR_INIT;
	size_t busy = net_sets_destroy(&n->sets, &n->plan, last && !n->standing, &e);

	if (busy && !last && !is_expected(n)) {
		start(n, &n->busy, BUSY_RETRY_S);
		return;
	}
	if (busy && !n->standing) /* emptied it harms nobody, and the next arming takes it as it is */
		log_warn(LOG_CLASH, "an ipset of ours is in use by a rule of another program, left there empty: %s",
			 e.msg);
	removed(n);
}

static void on_busy(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	destroy_sets(w->data);
	go_on(w->data);
}

static bool all_well(struct net *n, const struct firewall_result *result)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (result->family[f] == 0)
			continue;
		net_complain(n, "cannot take out the rules (traffic is direct all the same), trying again",
			     result->err[f].msg);
		/* many a script fails when it finds nothing to remove, which is so at most starts */
		return n->backend == FW_SCRIPT && n->sweep;
	}
	return true;
}

static void on_remove_applied(struct net *n, const struct firewall_result *result)
{
	struct err e = ERR_INIT;

	if (!all_well(n, result)) {
		net_sets_destroy(&n->sets, &n->plan, false, &e); /* one that fails keeps no other from leaving */
		n->ops.tell(n->ctx, NET_EV_REMOVE_FAILED);
		return;
	}
	n->standing = stands_now(n);
	n->unsettled = n->settling = false;
	n->busy_tries = 0;
	destroy_sets(n);
}

/* The wish may be another one by now: go_on sees the difference. */
static void on_settle_applied(struct net *n, const struct firewall_result *result)
{
	n->unsettled = !all_well(n, result);
	if (n->unsettled) { /* a part may be in */
		n->standing = true;
		start(n, &n->again, SETTLE_RETRY_S);
		return;
	}
	n->standing = stands_now(n);
	n->settling = true;
	n->busy_tries = 0;
	destroy_sets(n);
}

static void on_applied(void *ctx, const struct firewall_result *result)
{
	struct net *n = ctx;
	enum net_task task = n->task;
	struct err e = ERR_INIT;

	n->task = TASK_NONE;
	n->repair.own_ms = clock_ms();
	release(n);
	if (!n->on && task != TASK_REMOVE) /* a table may have come in with a lease */
		lease_off(n->lease, n->backend, &e);
	if (result->aborted || n->removing) {
		go_on(n);
		return;
	}
	switch (task) {
	case TASK_ARM:
		on_arm_applied(n, result);
		break;
	case TASK_REMOVE:
		on_remove_applied(n, result);
		break;
	case TASK_SETTLE:
		on_settle_applied(n, result);
		break;
	case TASK_REPAIR:
		net_repair_applied(n, result);
		break;
	case TASK_NONE:
	case TASK_LOOK:
	case TASK_COUNT:
		break;
	}
	go_on(n);
}

void net_remove(struct net *n)
{
	n->wanted = n->preparing = n->prepared = false;
	ev_timer_stop(n->loop, &n->again);
	ev_timer_stop(n->loop, &n->busy);
	ev_timer_stop(n->loop, &n->fill);
	if (n->powerless) {
		n->ops.tell(n->ctx, NET_EV_REMOVED);
		return;
	}
	n->removing = true;
	if (n->task == TASK_ARM || n->task == TASK_REPAIR || n->task == TASK_LOOK || n->task == TASK_COUNT)
		firewall_abort(n->firewall); /* its end starts the removal */
	go_on(n);
}

void net_remove_routes(struct net *n)
{
	struct err e = ERR_INIT;

	for (unsigned f = 0; f < IP_FAMILIES && !n->powerless; f++) {
		int r = -1;

		for (int tries = 0; tries < 2 && r < 0; tries++) /* nobody comes after us who would try again */
			r = route_sweep((enum ip_family)f, &e);
		if (r < 0)
			log_warn(LOG_CLASH, "cannot remove the %s policy routing: %s", family_name[f], e.msg);
	}
}

/* ---- life ---- */

int net_init(struct net *n, struct err *e)
{
	ev_timer *timers[] = { &n->again, &n->busy, &n->fill };
	void (*const calls[])(struct ev_loop *, ev_timer *, int) = { on_again, on_busy, on_fill };
	struct err lack = ERR_INIT;
	int r = ipset_open(&n->ipset, e);

	for (unsigned i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
		ev_timer_init(timers[i], calls[i], 0.0, 0.0);
		timers[i]->data = n;
	}
	n->sets.ipset = n->ipset;
	n->script = (struct firewall_script){ n->settings->tproxy.script, n->settings->tproxy.table };
	n->lan.nets = n->lan_nets;
	n->sweep = true;
	if (r == 0)
		r = nft_set_open(&n->nft_set, e);
	if (r == 0)
		r = lease_open(&n->lease, n->settings->tproxy.mark, e);
	if (r == 0)
		r = firewall_new(&n->firewall, n->reaper, &n->script, e);
	if (r == 0)
		r = net_repair_init(n, e);
	if (r < 0) {
		net_deinit(n);
		return r;
	}
	n->backend = n->settings->tproxy.backend == BACKEND_NFT	     ? FW_NFT
		     : n->settings->tproxy.backend == BACKEND_SCRIPT ? FW_SCRIPT
								     : FW_IPTABLES;
	n->next.port = n->settings->tproxy.port;
	n->next.core_gid = n->settings->mihomo.group;
	n->plan = plan_params(n->settings);
	if (sandbox_may_filter(&lack) < 0) {
		n->powerless = true;
		net_complain(n, "the network stays direct", lack.msg);
	}
	return 0;
}

void net_deinit(struct net *n)
{
	ev_timer_stop(n->loop, &n->again);
	ev_timer_stop(n->loop, &n->busy);
	ev_timer_stop(n->loop, &n->fill);
	net_repair_deinit(n);
	firewall_free(n->firewall);
	net_let_go(n);
	free(n->listed);
	lease_close(n->lease);
	nft_set_close(n->nft_set);
	net_sets_deinit(&n->sets);
	ipset_close(n->ipset);
	n->firewall = NULL;
	n->lease = NULL;
	n->nft_set = NULL;
	n->ipset = NULL;
}
