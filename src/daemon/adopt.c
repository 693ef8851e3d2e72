#include "daemon/adopt.h"

#include <stdio.h>
#include <string.h>

#include "clashsup/log.h"
#include "daemon/announce.h"
#include "daemon/clock.h"
#include "daemon/supervisor.h"

static int watch_files(struct supervisor *s, const struct config_facts *facts, struct err *e)
{
	const char *strays = s->settings->extract.provider_dir;
	int r = watch_add(s->watch, s->config, e);

	if (r == 0)
		r = watch_add(s->watch, strays[0] ? strays : s->home, e);
	for (size_t i = 0; i < facts->n_watch && r == 0; i++)
		r = watch_add(s->watch, facts->watch[i], e);
	return r;
}

/* Files of former configs stay watched until there is no room: forgetting would also forget changes not yet told. */
static void watch_config(struct supervisor *s, const struct config_facts *facts)
{
	struct err e = ERR_INIT;

	if (watch_files(s, facts, &e) == 0)
		return;
	watch_clear(s->watch);
	if (watch_files(s, facts, &e) < 0)
		log_warn(LOG_PROXY_IPS, "cannot watch every file (they are read each %lld s): %s",
			 (long long)(s->settings->extract.interval_ms / 1000), e.msg);
}

static bool same(const void *a, size_t n, const void *b, size_t other, size_t size)
{
	return n == other && (n == 0 || memcmp(a, b, n * size) == 0);
}

/* Do the rules in the kernel depend on something that the new config changes? The port apart. */
static bool rules_change(const struct config_facts *old, const struct config_facts *new)
{
	return old->dns_port != new->dns_port ||
	       !same(old->marks, old->n_marks, new->marks, new->n_marks, sizeof(old->marks[0])) ||
	       !same(old->fake, old->n_fake, new->fake, new->n_fake, sizeof(old->fake[0])) ||
	       !same(old->resolver, old->n_resolvers, new->resolver, new->n_resolvers, sizeof(old->resolver[0]));
}

struct net_plan adopt_plan(const struct supervisor *s)
{
	struct net_plan plan = { .port = s->facts.port,
				 .core_gid = s->ids.gid,
				 .marks = s->facts.marks,
				 .n_marks = s->facts.n_marks,
				 .fake = s->facts.fake,
				 .n_fake = s->facts.n_fake,
				 .dns_port = s->facts.dns_port,
				 .resolvers = s->facts.resolver,
				 .n_resolvers = s->facts.n_resolvers };

	for (unsigned f = 0; f < IP_FAMILIES; f++)
		plan.family_note[f] = s->mihomo.family_note[f];
	return plan;
}

/* Those who have to know what a config says. */
static void spread(struct supervisor *s, bool changed)
{
	const struct config_facts *facts = &s->facts;

	s->mihomo.port = s->around.port = facts->port;
	s->mihomo.patch_port = facts->patch_port;
	servers_adopt(&s->servers, facts->fake, facts->n_fake, changed);
}

/* Takes over what a good config says; the watch list stays the check's. */
static void adopt(struct supervisor *s, const struct config_facts *facts)
{
	s->facts = *facts;
	s->facts.n_watch = 0;
	memcpy(s->home_in_force, s->home, sizeof(s->home));
	spread(s, !facts->unchanged);
	watch_config(s, facts);
}

void adopt_again(struct supervisor *s)
{
	struct err e = ERR_INIT;

	if (s->facts.port)
		spread(s, true);
	watch_add(s->watch, s->config, &e); /* the others follow with the next check */
}

static void tell(struct supervisor *s, enum announcement_kind kind, const char *reason)
{
	announce(s, TELL(.kind = kind, .reason = reason));
}

static void stay(struct supervisor *s, const char *why)
{
	bool in_force = lifecycle_has_process(s->machine.life.child), told = strcmp(s->waiting_for, why) == 0;
	struct err e = ERR_INIT;

	snprintf(s->waiting_for, sizeof(s->waiting_for), "%s", why);
	if (in_force)
		snprintf(s->config_warning, sizeof(s->config_warning), "the last good config stays in force: %.500s",
			 why);
	if (!told) {
		log_error(LOG_CLASH, "%s%s", in_force ? "the last good config stays in force: " : "", why);
		tell(s, ANNOUNCE_REFUSED, why);
	}
	watch_add(s->watch, s->config, &e);
	if (in_force && !s->machine.life.tproxy)
		s->settings->tproxy.mode = MODE_MIXED; /* a switch to tproxy that was refused */
	machine_post(&s->machine, EV_CHECK_BAD);
}

/* The same bytes again are no news to a process that runs on them, nor to one that waits for its next start. */
static void let_follow(struct supervisor *s, bool unchanged)
{
	enum child_state child = s->machine.life.child;
	bool other_core = s->reload.core;

	s->reload.core = false;
	if (other_core && reload_can_restart(child)) {
		log_info(LOG_CLASH, "restarting Mihomo with other settings");
		machine_post(&s->machine, EV_RESTART);
	} else if (child == CHILD_CHECKING || !unchanged || (other_core && child == CHILD_BACKOFF)) {
		machine_post(&s->machine, EV_CHECK_OK);
	}
}

void adopt_checked(void *ctx, const struct config_facts *facts, const char *why)
{
	bool tproxy, port, rules, news;
	struct supervisor *s = ctx;
	struct net_plan plan;

	if (!facts) {
		stay(s, why);
		return;
	}
	tproxy = s->settings->tproxy.mode == MODE_TPROXY;
	s->waiting_for[0] = s->config_warning[0] = '\0';
	if (facts->warning[0])
		log_warn(LOG_CLASH, "%s", facts->warning);
	port = s->facts.port != facts->port;
	rules = rules_change(&s->facts, facts);
	news = !facts->unchanged && lifecycle_has_process(s->machine.life.child);
	adopt(s, facts);
	let_follow(s, facts->unchanged);
	if (port || s->machine.life.tproxy != tproxy)
		machine_post(&s->machine, EV_UNREADY); /* ready anew when the listener is there */
	if (!port && rules) {
		plan = adopt_plan(s);
		net_replan(&s->net, &plan);
	}
	if (tproxy && !s->machine.life.tproxy) {
		servers_extract(&s->servers, SERVERS_START); /* it runs already: no start will do so */
		machine_mode(&s->machine, true);
	}
	if (news)
		tell(s, ANNOUNCE_RELOADED, "Mihomo's config");
}

bool adopt_is_news(const struct supervisor *s)
{
	enum child_state child = s->machine.life.child;
	char home[PATH_MAX], config[PATH_MAX];

	if (child == CHILD_STOPPED || child == CHILD_STOPPING || child == CHILD_CHECKING)
		return false; /* nobody asks, or it will be read anyway */
	supervisor_find_config(s->settings, home, config);
	return child == CHILD_WAITING || s->config_warning[0] || strcmp(config, s->config) != 0 ||
	       check_differs(s->check);
}

void adopt_sources(struct supervisor *s)
{
	const char *strays = s->settings->extract.provider_dir;
	struct err e = ERR_INIT;

	if (watch_add(s->watch, strays[0] ? strays : s->home_in_force, &e) < 0)
		log_warn(LOG_PROXY_IPS, "%s", e.msg);
	servers_adopt(&s->servers, s->facts.fake, s->facts.n_fake, true);
	servers_extract(&s->servers, SERVERS_ASKED);
}

void adopt_file(void *ctx, const char *path)
{
	struct supervisor *s = ctx;

	if (strcmp(path, s->config) == 0)
		machine_post(&s->machine, EV_CONFIG);
	else
		servers_extract(&s->servers, SERVERS_FILES);
}

/*
 * To mixed at once. To tproxy only when the config has been looked at for it (a
 * refusal, the listener): until then a running Mihomo stays in mode mixed.
 */
void supervisor_set_mode(struct supervisor *s, bool tproxy)
{
	if ((s->settings->tproxy.mode == MODE_TPROXY) == tproxy)
		return;
	log_info(LOG_CLASH, "mode: %s", tproxy ? "tproxy" : "mixed");
	s->settings->tproxy.mode = tproxy ? MODE_TPROXY : MODE_MIXED;
	s->sign_us = clock_us();
	s->recovering = false;
	if (!tproxy) {
		machine_mode(&s->machine, false);
		servers_forget(&s->servers);
		mihomo_forget_listener(&s->mihomo);
	} else if (!lifecycle_has_process(s->machine.life.child)) {
		machine_mode(&s->machine, true);
	}
	if (s->machine.life.child != CHILD_FAILED) /* that waits for a start, or for another config */
		machine_post(&s->machine, EV_CONFIG);
}
