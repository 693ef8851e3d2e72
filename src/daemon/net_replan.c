/*
 * Another plan while one is in force: the sets first, each whole at any moment,
 * then the rules, in one step a table. The lease is never off and no rule is ever
 * missing. What a removal needs to know (names, mark, table) cannot change this way.
 */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/net.h"
#include "daemon/plan_params.h"

/*
 * DNS that is on stays so when Mihomo's port is closed just now: a reload opens it
 * anew. Only the settings, its config or another who has port 53 end it.
 */
static void plan_dns(struct net *n, const struct fwplan_params *before)
{
	const struct net_mihomo *m = &n->mihomo;
	bool goes = n->settings->tproxy.dns == SETTING_NO || before->dns.port != m->dns_port;
	struct fwplan_params wish = n->plan;
	char note[sizeof(n->dns_note)];

	surroundings_dns(n->around, m->dns_port, m->resolvers, m->n_resolvers, &wish, note);
	if (!wish.dns.on && before->dns.on && !goes)
		return;
	n->plan.dns = wish.dns;
	snprintf(n->dns_note, sizeof(n->dns_note), "%s", note);
}

/* Can a plan be made now that takes the place of the former program's? */
static bool fits(const struct net *n)
{
	const struct choice *choice = &n->around->choice;

	return choice->found && choice->backend == n->backend && (choice->family[IP_V4] || !n->family[IP_V4]) &&
	       (choice->family[IP_V6] || !n->family[IP_V6]);
}

static void begin(struct net *n)
{
	struct fwplan_params before = n->plan;
	struct err e = ERR_INIT;
	int r = 0;

	net_make_plan(n);
	plan_dns(n, &before);
	net_sets_begin(&n->sets);
	for (unsigned f = 0; f < IP_FAMILIES && r == 0; f++) {
		if (n->family[f] || (net_standing_parts(n) && net_can_stand(n, (enum ip_family)f)))
			r = net_sets_renew(&n->sets, &n->plan, n->backend, (enum ip_family)f, &e);
	}
	if (r < 0) {
		net_failed(n, e.msg);
		return;
	}
	n->preparing = true;
	net_fill(n);
}

static void put_in(struct net *n)
{
	struct err e = ERR_INIT;

	n->repair.replan = n->repair.reapply = n->repair.known = false;
	n->prepared = false;
	if (net_apply(n, TASK_REPAIR, net_parts(n), &e) < 0)
		net_failed(n, e.msg);
}

bool net_replan_next(struct net *n)
{
	if (!n->on || !n->repair.replan)
		return false;
	if (n->resumed && !surroundings_known(n->around))
		return true; /* it waits */
	/* A script knows "apply" and "remove"; and what is no plan of ours goes out by what it was made with. */
	if (n->backend == FW_SCRIPT || (n->resumed && !fits(n))) {
		n->repair.replan = false;
		n->ops.tell(n->ctx, NET_EV_ARM_FAILED);
	} else if (!n->prepared) {
		begin(n);
	} else {
		put_in(n);
	}
	return true;
}

void net_let_go(struct net *n)
{
	if (n->former)
		settings_free(n->former);
	free(n->former);
	n->former = NULL;
}

void net_hold(struct net *n, struct settings *old)
{
	if (!n->former && n->plan.selection == &n->settings->tproxy.selection) {
		n->former = old;
		n->plan.selection = &old->tproxy.selection;
		return;
	}
	settings_free(old);
	free(old);
}

void net_replan(struct net *n, const struct net_plan *plan)
{
	if (plan)
		net_copy_plan(n, plan);
	n->repair.replan = n->on || n->wanted;
	if (n->on) {
		ev_timer_stop(n->loop, &n->fill); /* of a plan that is old by now */
		n->preparing = n->prepared = false;
	}
	n->unsettled |= n->direct && n->standing;
	net_known(n);
}

void net_leave(struct net *n)
{
	struct err e = ERR_INIT;

	ev_timer_stop(n->loop, &n->fill);
	ev_timer_stop(n->loop, &n->busy);
	n->preparing = n->prepared = false;
	if (!n->powerless)
		net_sets_destroy(&n->sets, &n->plan, true, &e);
}

int net_settings_anew(struct net *n, struct err *e)
{
	const struct settings *s = n->settings;
	struct lease *lease = NULL;
	int r;

	if (n->powerless)
		return 0;
	net_remove_routes(n);
	r = lease_open(&lease, s->tproxy.mark, e);
	if (r < 0)
		return r;
	lease_close(n->lease);
	n->lease = lease;
	net_repair_deinit(n);
	r = net_repair_init(n, e);
	if (r < 0)
		return r;
	n->script.table = s->tproxy.table;
	n->plan = plan_params(s);
	net_let_go(n);
	n->fault[0] = '\0';
	n->failures = n->troubles = 0;
	return 0;
}
