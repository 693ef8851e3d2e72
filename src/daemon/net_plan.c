#include "daemon/net.h"

#include <stdio.h>
#include <string.h>

#include "daemon/plan_params.h"

static size_t copy_some(void *to, const void *from, size_t n, size_t max, size_t size)
{
	n = n < max ? n : max;
	if (n)
		memcpy(to, from, n * size);
	return n;
}

void net_copy_plan(struct net *n, const struct net_plan *plan)
{
	struct net_mihomo *m = &n->next;

	m->port = plan->port;
	m->dns_port = plan->dns_port;
	m->core_gid = plan->core_gid;
	m->n_marks = copy_some(m->marks, plan->marks, plan->n_marks, NET_MARKS, sizeof(m->marks[0]));
	m->n_fake = copy_some(m->fake, plan->fake, plan->n_fake, NET_FAKE, sizeof(m->fake[0]));
	m->n_resolvers =
		copy_some(m->resolvers, plan->resolvers, plan->n_resolvers, NET_RESOLVERS, sizeof(m->resolvers[0]));
	for (unsigned f = 0; f < IP_FAMILIES; f++)
		snprintf(n->family_note[f], sizeof(n->family_note[f]), "%s", plan->family_note[f]);
}

void net_make_plan(struct net *n)
{
	const struct choice *choice = &n->around->choice;
	struct net_mihomo *m = &n->mihomo;
	struct fwplan_params before = n->plan;

	*m = n->next;
	n->plan = plan_params(n->settings);
	net_let_go(n);
	n->plan.port = m->port;
	n->plan.core_gid = m->core_gid;
	n->plan.routing_marks = m->marks;
	n->plan.n_routing_marks = m->n_marks;
	n->fake = (struct net_list){ m->fake, m->n_fake };
	n->plan.fake = &n->fake;
	n->plan.lan = &n->lan;
	for (unsigned f = 0; f < IP_FAMILIES; f++)
		n->plan.lacks[f] = choice->lacks[f];
	n->lan.n = net_lan(n, n->lan_nets);
	n->backend = choice->backend;
	n->plan.input_accept = surroundings_input_accept(n->around);
	n->plan.refuse_fake = n->settings->tproxy.dns != SETTING_NO && n->fake.n > 0;
	n->plan.dns = before.dns; /* what stood goes on standing while Mihomo is away */
	if (n->wanted)
		surroundings_dns(n->around, m->dns_port, m->resolvers, m->n_resolvers, &n->plan, n->dns_note);
}

unsigned net_standing_parts(const struct net *n)
{
	bool any = n->backend != FW_SCRIPT && (n->plan.dns.on || n->plan.refuse_fake || n->plan.closed);

	return any ? FWPLAN_STANDING : 0;
}

bool net_can_stand(const struct net *n, enum ip_family f)
{
	return n->around->choice.family[f] && n->settings->tproxy.family[f] != SETTING_NO &&
	       (n->backend == FW_NFT || n->sets.there[f][FWSET_LEASE]);
}
