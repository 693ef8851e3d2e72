/*
 * What strangers took away is put back, and rules that are in but do not work
 * are found out.
 *
 * Three things tell: the kernel's events (rulesets of nf_tables, routing,
 * addresses) at once; each second a stamp of the legacy tables, which send no
 * events, and the counts of the sets. They only lead to a look; the listing
 * decides (netstate_delta), by comparison with what it showed when the rules were
 * new.
 */
#include <stdio.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/route.h"
#include "daemon/clock.h"
#include "daemon/net.h"

#define LOOK_SOON_S 0.02 /* what one program changes comes in several events */
#define LOOK_RETRY_S 1.0
#define ROUTE_RETRY_S 0.1
#define ROUTE_RETRIES 10
#define STAND_RETRY_S 5.0 /* others keep taking away what stands: it is put back in this rhythm */
#define LEASE_MISSES 2
#define OWN_NEWS_MS 100
#define DNS_TICKS 2

static void look_after(struct net *n, double seconds)
{
	struct net_repair *r = &n->repair;

	if (ev_is_active(&r->look) && ev_timer_remaining(n->loop, &r->look) <= seconds)
		return;
	ev_timer_stop(n->loop, &r->look);
	ev_timer_set(&r->look, seconds, 0.0);
	ev_timer_start(n->loop, &r->look);
}

/* Armed, or with something that stands over Mihomo's death. */
static bool is_in(const struct net *n)
{
	return (n->on && !n->resumed) || (n->direct && n->standing);
}

unsigned net_parts(const struct net *n)
{
	return (n->on ? FWPLAN_ARMED : 0) | (n->on || n->standing ? net_standing_parts(n) : 0);
}

/* ---- what is wanted ---- */

static struct netstate_source source_of(const struct net *n)
{
	return (struct netstate_source){ .ipset = n->ipset,
					 .nft_set = n->nft_set,
					 .plan = &n->plan,
					 .route_table = n->settings->tproxy.table,
					 .pref = n->settings->tproxy.pref,
					 .backend = n->backend };
}

/* The rules as they were when they were new, and the rest as we know it. */
static struct netstate wanted_now(const struct net *n)
{
	struct netstate wanted = n->repair.wanted;
	size_t servers[IP_FAMILIES] = { 0 };

	wanted.backend = n->backend;
	wanted.server_set = n->plan.server_set;
	net_sets_want(&n->sets, &wanted);
	n->ops.counts(n->ctx, servers);
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		struct netstate_family *family = &wanted.family[f];

		family->rule = family->route = n->family[f] && n->backend != FW_SCRIPT; /* which does its own */
		family->ipset[FWSET_SERVERS].count = family->table[FWSET_SERVERS].count = servers[f];
		family->ipset[FWSET_LEASE].there = false; /* lease looks after its own */
		family->table[FWSET_LEASE].count = 0;
	}
	return wanted;
}

void net_delta(const struct net *n, char *out, size_t cap)
{
	const struct netstate_source source = source_of(n);
	struct netstate now = n->repair.seen, wanted;

	out[0] = '\0';
	if (!n->on || !(n->repair.known || n->backend == FW_SCRIPT))
		return;
	wanted = wanted_now(n);
	for (unsigned f = 0; f < IP_FAMILIES; f++) /* our own changes lead to no look */
		wanted.family[f].table[FWSET_SERVERS].count = 0;
	netstate_read_ipsets(&source, &now);
	netstate_read_routing(&source, &now);
	if (!netstate_delta(&now, &wanted, out, cap))
		snprintf(out, cap, "none");
}

/* ---- damage ---- */

static void remember(struct net *n, const char *what, const char *how)
{
	struct net_repair *r = &n->repair;

	snprintf(r->last, sizeof(r->last), "%s: %s", what, how);
	r->at = clock_both();
}

/* Gives way for a while: the network goes direct, and what was tried is tried again later. */
void net_give_way(struct net *n, const char *why)
{
	n->troubles++;
	net_complain(n, "TProxy is taken out for a while", why);
	n->ops.tell(n->ctx, NET_EV_ARM_FAILED);
}

/* True: it is to be put back now. */
static bool judge(struct net *n, const char *what)
{
	struct net_repair *r = &n->repair;
	char why[256];

	if (policy_repair(&r->policy, clock_ms())) {
		log_warn(LOG_MONITOR, "%s: changed by %s, repairing it", what, r->who[0] ? r->who : "another program");
		remember(n, what, "put back");
		return true;
	}
	snprintf(why, sizeof(why), "%s keeps changing what is ours: %s", r->who[0] ? r->who : "another program", what);
	remember(n, what, "given up for a while");
	if (n->on)
		net_give_way(n, why);
	else
		look_after(n, STAND_RETRY_S);
	return false;
}

static void repair_failed(struct net *n, const char *why)
{
	if (n->on) {
		net_failed(n, why);
		return;
	}
	net_complain(n, "cannot put back what stands over Mihomo's deaths", why);
	look_after(n, STAND_RETRY_S);
}

static void repair_rules(struct net *n, const char *what)
{
	struct err e = ERR_INIT;

	if (!judge(n, what))
		return;
	n->repair.began_ms = clock_ms();
	if (net_apply(n, TASK_REPAIR, net_parts(n), &e) < 0)
		repair_failed(n, e.msg);
}

void net_repair_applied(struct net *n, const struct firewall_result *result)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (!n->family[f] || result->family[f] == 0)
			continue;
		repair_failed(n, result->err[f].msg);
		return;
	}
	if (n->resumed && n->on) {
		n->resumed = false;
		net_repair_begin(n);
	}
	if (!is_in(n))
		return;
	n->standing = n->parts & FWPLAN_STANDING;
	net_sets_trim(&n->sets, &n->plan);
	if (n->repair.began_ms)
		log_info(LOG_MONITOR, "rules are back (%lld ms)", (long long)(clock_ms() - n->repair.began_ms));
	n->repair.began_ms = 0;
	look_after(n, 0.0);
}

/* A part of the state is read anew: does it differ, and is it to be put back now? */
static bool damaged(struct net *n, void (*read)(const struct netstate_source *s, struct netstate *out))
{
	const struct netstate_source source = source_of(n);
	const struct netstate wanted = wanted_now(n);
	struct netstate now = wanted;
	char what[NETSTATE_TEXT];

	read(&source, &now);
	return netstate_delta(&now, &wanted, what, sizeof(what)) && judge(n, what);
}

static void repair_routes(struct net *n)
{
	const struct settings *s = n->settings;
	struct net_repair *r = &n->repair;
	struct err e = ERR_INIT;
	int result = 0;

	if (!r->route_fails && !damaged(n, netstate_read_routing))
		return;
	for (unsigned f = 0; f < IP_FAMILIES && result == 0; f++)
		result = n->family[f] ? route_add(f, s->tproxy.mark, s->tproxy.table, s->tproxy.pref, &e) : 0;
	if (result == 0) {
		r->route_fails = 0;
	} else if (++r->route_fails < ROUTE_RETRIES) { /* lo is down for a moment: it takes the route along */
		look_after(n, ROUTE_RETRY_S);
	} else {
		r->route_fails = 0;
		net_failed(n, e.msg);
	}
}

static int make_sets(struct net *n, struct err *e)
{
	int r = 0;

	for (unsigned f = 0; f < IP_FAMILIES && r == 0; f++)
		r = n->family[f] ? net_sets_create(&n->sets, &n->plan, n->backend, f, e) : 0;
	net_sets_begin(&n->sets);
	while (r == 0 && (r = net_sets_fill(&n->sets, &n->plan, e)) > 0)
		r = 0;
	return r;
}

static void repair_sets(struct net *n)
{
	struct err e = ERR_INIT;

	if (!damaged(n, netstate_read_ipsets))
		return;
	if (make_sets(n, &e) < 0)
		net_failed(n, e.msg);
	else
		n->ops.tell(n->ctx, NET_EV_REFEED);
}

/* ---- addresses of the LAN ---- */

size_t net_lan(const struct net *n, struct addr_net out[NET_LAN])
{
	struct err e = ERR_INIT;
	size_t count = 0;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		int r = route_lan(&n->settings->tproxy.selection.lan_ifaces, f, out + count, NET_LAN - count, &e);

		if (r < 0)
			log_debug(LOG_MONITOR, "the LAN's networks are not known: %s", e.msg);
		else
			count += (size_t)r;
	}
	return count;
}

/* Prefixes come and go with the provider's mood: what is on the LAN's own link is never proxied. */
static void follow_lan(struct net *n)
{
	struct addr_net now[NET_LAN] = { 0 };
	size_t count = net_lan(n, now);
	char name[FWPLAN_SET_TEXT];
	struct err e = ERR_INIT;
	int r = 0;

	if (count == n->lan.n && memcmp(now, n->lan_nets, count * sizeof(now[0])) == 0)
		return;
	if (n->preparing && n->on) { /* sets with the old ones are on their way */
		net_replan(n, NULL);
		return;
	}
	memcpy(n->lan_nets, now, sizeof(now));
	n->lan.n = count;
	log_info(LOG_MONITOR, "the LAN's networks have changed: %zu now", count);
	if (n->backend == FW_NFT) { /* the set is in the text */
		n->repair.reapply = true;
		net_known(n);
	}
	for (unsigned f = 0, at = 0, here; f < IP_FAMILIES && r == 0; f++, at += here) {
		for (here = 0; at + here < count && now[at + here].addr.family == f;) /* in order of the families */
			here++;
		if (!n->sets.there[f][FWSET_LAN])
			continue;
		r = ipset_replace_nets(n->ipset, fwplan_set(&n->plan, f, FWSET_LAN, name), now + at, here, &e);
		ipset_exists(n->ipset, name, &n->sets.count[f][FWSET_LAN], NULL);
	}
	if (r < 0)
		log_warn(LOG_MONITOR, "cannot follow the LAN's networks: %s", e.msg);
}

/* ---- looks ---- */

static const char *const legacy_table[NET_TABLES] = { "mangle", "nat", "filter" };

/* Has legacy iptables rules of ours in this table, as far as the plan knows? Beside nft CLASH_INPUT alone can be. */
static bool is_in_legacy(const struct net *n, const char *table)
{
	const struct fwplan_params *p = &n->plan;

	if (n->backend == FW_NFT)
		return p->input_accept && strcmp(table, "filter") == 0;
	if (n->backend != FW_IPTABLES)
		return false;
	return strcmp(table, "mangle") == 0 ||
	       (strcmp(table, "nat") == 0 ? p->dns.on : p->input_accept || p->closed || p->refuse_fake);
}

static void take_stamps(struct net *n)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned t = 0; t < NET_TABLES; t++)
			n->repair.stamped[f][t] = is_in_legacy(n, legacy_table[t]) &&
						  netwatch_legacy(f, legacy_table[t], &n->repair.stamp[f][t], NULL) ==
							  0;
	}
}

static bool stamps_differ(const struct net *n)
{
	struct legacy_stamp now;

	for (unsigned i = 0; i < IP_FAMILIES * NET_TABLES; i++) {
		unsigned f = i / NET_TABLES, t = i % NET_TABLES;

		if (n->repair.stamped[f][t] && (netwatch_legacy(f, legacy_table[t], &now, NULL) < 0 ||
						memcmp(&now, &n->repair.stamp[f][t], sizeof(now)) != 0))
			return true;
	}
	return false;
}

static void take_rules(struct netstate *to, const struct netstate *from)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		to->family[f].rules = from->family[f].rules;
		memcpy(to->family[f].table, from->family[f].table, sizeof(to->family[f].table));
	}
}

/* How many lines of iptables these parts are; they come out as many as went in. 0 when that cannot be told. */
static size_t iptables_lines(const struct net *n, unsigned parts, enum ip_family f)
{
	cleanup_free char *text = NULL;
	struct fw_view made = { 0 };
	int len = fwplan_iptables(&n->plan, parts, f, NULL, 0, &text, NULL);

	return len > 0 && fwplan_view(FW_IPTABLES, text, (size_t)len, &made, NULL) == 0 ? made.lines : 0;
}

/* Do new rules look whole? A table of nft that somebody flushed is gone; beside it CLASH_INPUT may have been. */
static bool is_whole(const struct net *n, const struct netstate *looked)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		const struct fw_view *is = &looked->family[f].rules;

		if (!n->on || !n->family[f])
			continue;
		if (is->lines == 0 || (n->backend == FW_IPTABLES && is->lines < iptables_lines(n, n->parts, f)))
			return false;
		if (n->backend == FW_NFT && firewall_input_made(n->firewall, f) &&
		    is->input < iptables_lines(n, FWPLAN_INPUT, f))
			return false;
	}
	return true;
}

/* Sets and routing are not this one's affair. */
static void judge_rules(struct net *n, const struct firewall_result *result, const struct netstate *looked)
{
	struct net_repair *r = &n->repair;
	struct netstate wanted;
	char what[NETSTATE_TEXT];

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (n->family[f] && result->family[f] < 0) { /* could not be read: that teaches nothing */
			look_after(n, LOOK_RETRY_S);
			return;
		}
	}
	if (!r->known && !is_whole(n, looked)) { /* changed before it was known what ours look like */
		repair_rules(n, "rules");
		return;
	}
	if (!r->known)
		take_rules(&r->wanted, looked);
	r->known = true;
	r->seen = wanted = wanted_now(n);
	take_rules(&r->seen, looked);
	if (netstate_delta(&r->seen, &wanted, what, sizeof(what)))
		repair_rules(n, what);
}

static void on_looked(void *ctx, const struct firewall_result *result, const struct netstate *now)
{
	struct net *n = ctx;

	n->task = TASK_NONE;
	if (is_in(n) && !result->aborted)
		judge_rules(n, result, now);
	net_known(n); /* what waited for the look goes on */
}

static void on_look(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct net *n = w->data;
	struct err e = ERR_INIT;
	(void)loop;
	(void)revents;

	if (n->on && (n->repair.route_news || n->repair.route_fails))
		repair_routes(n);
	n->repair.route_news = false;
	if (!is_in(n) || n->backend == FW_SCRIPT)
		return;
	if (n->task != TASK_NONE) {
		look_after(n, LOOK_SOON_S);
		return;
	}
	take_stamps(n);
	n->repair.reader = (struct netstate_reader){ source_of(n), on_looked, n, wanted_now(n) };
	if (netstate_read(&n->repair.reader, n->firewall, &e) == 0)
		n->task = TASK_LOOK;
	else
		look_after(n, LOOK_RETRY_S);
}

/* ---- news of the kernel ---- */

static void on_news(void *ctx, const struct netwatch_news *news)
{
	struct net *n = ctx;

	if (news->event != NETWATCH_ADDRESS)
		surroundings_changed(n->around);
	if (!is_in(n))
		return;
	n->repair.who[0] = '\0';
	if (news->event == NETWATCH_RULESET && news->pid && n->task == TASK_NONE &&
	    clock_ms() - n->repair.own_ms > OWN_NEWS_MS)
		snprintf(n->repair.who, sizeof(n->repair.who), "%s (pid %d)", news->program, (int)news->pid);
	n->repair.route_news |= news->event == NETWATCH_ROUTING || news->event == NETWATCH_LOST;
	if ((news->event == NETWATCH_ADDRESS || news->event == NETWATCH_LOST) && n->on)
		follow_lan(n);
	if (news->event != NETWATCH_ADDRESS && is_in(n))
		look_after(n, LOOK_SOON_S);
}

/* ---- life ---- */

/* Mihomo's DNS may open its port later than all else, or somebody else may have given his up. */
static void look_for_dns(struct net *n)
{
	const struct net_mihomo *m = &n->mihomo;
	struct err e = ERR_INIT;
	struct fwplan_params wish = n->plan;

	if (!n->on || n->plan.dns.on || !m->dns_port || n->repair.ticks++ % DNS_TICKS)
		return;
	surroundings_dns(n->around, m->dns_port, m->resolvers, m->n_resolvers, &wish, n->dns_note);
	if (!wish.dns.on)
		return;
	n->plan.dns = wish.dns;
	if (make_sets(n, &e) < 0) {
		net_failed(n, e.msg);
		return;
	}
	n->repair.reapply = true;
	n->repair.known = false;
	net_known(n);
}

void net_repair_tick(struct net *n)
{
	if (!is_in(n))
		return;
	if (!n->repair.known || stamps_differ(n))
		look_after(n, 0.0);
	if (n->on && !n->preparing)
		repair_sets(n);
	if (n->on)
		net_proof_tick(n);
	look_for_dns(n);
	if (n->on && n->troubles && n->proof.proven && clock_ms() - n->armed_ms >= REPAIR_QUIET_MS &&
	    policy_repair_quiet(&n->repair.policy, clock_ms())) {
		n->troubles = 0;
		n->fault[0] = '\0';
	}
}

void net_repair_idle(struct net *n)
{
	struct err e = ERR_INIT;

	if (!n->on || !n->repair.reapply || n->backend == FW_SCRIPT)
		return;
	n->repair.reapply = false;
	if (net_apply(n, TASK_REPAIR, net_parts(n), &e) < 0)
		net_failed(n, e.msg);
}

/* A table of nft that is gone takes its lease along: the look that follows puts both back. */
bool net_repair_lease(struct net *n)
{
	if (n->backend !=
	    FW_NFT) { /* an ipset that is gone took the rules along: everything anew, but not without end */
		judge(n, "lease");
		return false;
	}
	if (n->repair.lease_misses++ >= LEASE_MISSES)
		return false;
	look_after(n, 0.0);
	return true;
}

void net_repair_learn(struct net *n)
{
	n->repair.wanted = n->repair.seen = (struct netstate){ 0 };
	n->repair.known = n->repair.reapply = false;
	look_after(n, 0.0);
}

void net_repair_begin(struct net *n)
{
	struct net_repair *r = &n->repair;
	struct err e = ERR_INIT;

	if (netwatch_rulesets(r->watch, n->backend == FW_NFT || strcmp(n->around->ability.variant, "nf_tables") == 0,
			      &e) < 0)
		log_warn(LOG_MONITOR, "changes of the rules are not seen at once: %s", e.msg);
	r->route_fails = r->lease_misses = 0;
	r->began_ms = 0;
	net_proof_begin(n);
	net_repair_learn(n);
}

void net_repair_end(struct net *n)
{
	n->resumed = false;
	ev_timer_stop(n->loop, &n->repair.look);
}

int net_repair_init(struct net *n, struct err *e)
{
	int r;

	ev_timer_init(&n->repair.look, on_look, 0.0, 0.0);
	n->repair.look.data = n;
	r = netwatch_open(&n->repair.watch, n->loop, n->settings->tproxy.table, on_news, n, e);
	if (r == 0)
		r = netwatch_ours(n->repair.watch, lease_port(n->lease));
	if (r == 0)
		r = netwatch_ours(n->repair.watch, nft_set_port(n->nft_set));
	return r;
}

void net_repair_deinit(struct net *n)
{
	ev_timer_stop(n->loop, &n->repair.look);
	netwatch_close(n->repair.watch);
	n->repair.watch = NULL;
}
