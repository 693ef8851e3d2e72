#include "daemon/surroundings.h"

#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/sockdiag.h"
#include "clashsup/sysctl.h"
#include "daemon/memory.h"
#include "daemon/no_server.h"

#define SURVEY_PAUSE_MAX_S 60.0
#define SURVEY_SOON_S 2.0   /* several programs change things one after the other */
#define SURVEY_LATE_S 300.0 /* sysctls and sockets send no events */
#define PROBE_AGAIN_S 5.0
#define JOURNAL "%s/sysctls"

static void after(struct surroundings *s, ev_timer *t, double seconds)
{
	ev_timer_stop(s->loop, t);
	ev_timer_set(t, seconds, 0.0);
	ev_timer_start(s->loop, t);
}

static struct findings_wish wish(const struct surroundings *s)
{
	const struct settings *set = s->settings;

	return (struct findings_wish){
		.family = { set->tproxy.family[IP_V4] != SETTING_NO && (!s->probed || s->choice.family[IP_V4]),
			    set->tproxy.family[IP_V6] != SETTING_NO && (!s->probed || s->choice.family[IP_V6]) },
		.closed = set->tproxy.on_death == ON_DEATH_CLOSED,
		.input_accept = (enum findings_word)set->tproxy.input_accept,
		.dns = (enum findings_word)set->tproxy.dns,
	};
}
_Static_assert((int)SETTING_NO == (int)WISH_NO && (int)SETTING_YES == (int)WISH_YES &&
		       (int)SETTING_AUTO == (int)WISH_AUTO,
	       "the words mean the same");
_Static_assert((int)BACKEND_AUTO == (int)CHOICE_AUTO && (int)BACKEND_IPTABLES == (int)CHOICE_IPTABLES &&
		       (int)BACKEND_NFT == (int)CHOICE_NFT && (int)BACKEND_SCRIPT == (int)CHOICE_SCRIPT,
	       "the words mean the same");

/* ---- which backend ---- */

static void find_lacks(struct surroundings *s)
{
	unsigned lacks = s->choice.lacks[IP_V4] | s->choice.lacks[IP_V6];
	char text[CHOICE_WHY];

	s->lack[0] = '\0';
	if (!s->choice.found || !lacks)
		return;
	snprintf(s->lack, sizeof(s->lack), "%s%s: %s", fw_backend_name(s->choice.backend),
		 lacks & FW_LACKS_MAC ? " cannot match the MAC addresses of include_src and exclude_src_cidrs here"
				      : "",
		 choice_backend_text(&s->ability, s->choice.backend, text));
	log_warn(LOG_CLASH, "%s", s->lack);
}

static void on_probed(void *ctx, const struct ability *found)
{
	struct surroundings *s = ctx;
	struct choice before = s->choice;

	s->probing = NULL;
	if (s->outdated) {
		s->outdated = false;
		surroundings_probe(s);
		return;
	}
	s->probed = true;
	s->ability = *found;
	choice_make((enum choice_setting)s->settings->tproxy.backend, found, &s->choice);
	if (strcmp(before.why, s->choice.why) != 0) {
		if (s->choice.found)
			log_info(LOG_CLASH, "backend: %s", s->choice.why);
		else
			log_error(LOG_CLASH, "backend: %s", s->choice.why);
	}
	find_lacks(s);
	if (!s->choice.found)
		after(s, &s->probe_again, PROBE_AGAIN_S);
	s->known(s->ctx);
}

/* What the settings do without need not work. */
static unsigned unneeded(const struct settings *set)
{
	const struct selection *sel = &set->tproxy.selection;

	return (set->tproxy.dns == SETTING_NO ? FW_LACKS_NAT : 0) | (set->tproxy.local ? 0 : FW_LACKS_OWNER) |
	       (sel->skip_mac.n || sel->only_mac.n ? 0 : FW_LACKS_MAC);
}

void surroundings_probe(struct surroundings *s)
{
	const struct settings *set = s->settings;
	struct ability_ask ask = { .setting = (enum choice_setting)set->tproxy.backend,
				   .family = { set->tproxy.family[IP_V4] != SETTING_NO,
					       set->tproxy.family[IP_V6] != SETTING_NO },
				   .skip = unneeded(set),
				   .script = set->tproxy.script };
	struct err e = ERR_INIT;

	if (s->probed && s->choice.found)
		return;
	if (s->probing) { /* a job of the firewall ran beside it: what it finds may be that one's doing */
		s->outdated = true;
		return;
	}
	if (ability_probe(&s->probing, s->reaper, &ask, on_probed, s, &e) == 0)
		return;
	s->probing = NULL;
	log_error(LOG_CLASH, "cannot find out which backend works, trying again: %s", e.msg);
	after(s, &s->probe_again, PROBE_AGAIN_S);
}

void surroundings_anew(struct surroundings *s)
{
	s->probed = false;
	s->choice.found = false;
	ev_timer_stop(s->loop, &s->probe_again);
	surroundings_probe(s);
}

bool surroundings_know_less(const struct settings *old, const struct settings *now)
{
	return unneeded(old) & ~unneeded(now);
}

/* ---- what others do ---- */

static const struct finding *first_warning(const struct surroundings *s, size_t *at)
{
	for (; *at < s->findings.n; (*at)++) {
		if (s->findings.list[*at].weight == FINDING_WARN)
			return &s->findings.list[(*at)++];
	}
	return NULL;
}

/* All warnings, when they are others than before. */
static void tell_warnings(struct surroundings *s)
{
	char now[sizeof(s->told)] = "";
	const struct finding *f;
	size_t at = 0, used = 0;

	while ((f = first_warning(s, &at)) && used < sizeof(now))
		used += (size_t)snprintf(now + used, sizeof(now) - used, "%s\n", f->text);
	if (strcmp(now, s->told) == 0)
		return;
	memcpy(s->told, now, sizeof(now));
	for (at = 0; (f = first_warning(s, &at));)
		log_warn(LOG_CLASH, "%s%s%s", f->text, f->command[0] ? ": " : "", f->command);
}

static void tell_refusal(struct surroundings *s)
{
	const struct finding *f = findings_refusal(&s->findings);

	s->refusal[0] = '\0';
	if (f)
		snprintf(s->refusal, sizeof(s->refusal), "%s%s%s", f->text, f->command[0] ? ": " : "", f->command);
}

/* fix_sysctls = yes: sets what is wrong, journaled, and looks again. */
static void fix_sysctls(struct surroundings *s)
{
	struct findings_sysctl found[FINDINGS_SYSCTLS_MAX];
	struct sysctl_want want[FINDINGS_SYSCTLS_MAX];
	struct findings_wish w = wish(s);
	char journal[PATH_MAX];
	struct err e = ERR_INIT;
	size_t n;

	if (!s->settings->tproxy.fix_sysctls || s->settings->tproxy.mode != MODE_TPROXY)
		return;
	n = findings_sysctls(&s->facts, &w, found);
	for (size_t i = 0; i < n; i++) {
		want[i] = (struct sysctl_want){ found[i].name, found[i].value };
		log_info(LOG_CLASH, "setting %s = %d (fix_sysctls)", found[i].name, found[i].value);
	}
	if (n && io_path(journal, sizeof(journal), &e, JOURNAL, s->settings->state.run) == 0 &&
	    sysctl_fix(journal, want, n, &e) == 0)
		surroundings_changed(s);
	if (e.code)
		log_warn(LOG_CLASH, "cannot mend the sysctls: %s", e.msg);
}

static void on_surveyed(void *ctx, const struct survey_facts *facts)
{
	struct surroundings *s = ctx;
	struct findings_wish w = wish(s);
	struct findings before = s->findings;

	s->surveying = NULL;
	s->facts = *facts;
	s->surveyed = true;
	s->forced = false;
	memset(&s->findings, 0, sizeof(s->findings));
	findings_judge(facts, &w, &s->findings);
	findings_direct_path(facts, &w, s->direct_path, sizeof(s->direct_path));
	s->pause_s = memcmp(&before, &s->findings, sizeof(before)) == 0 ? s->pause_s * 2 : SURVEY_SOON_S;
	if (s->pause_s > SURVEY_PAUSE_MAX_S)
		s->pause_s = SURVEY_PAUSE_MAX_S;
	tell_refusal(s);
	tell_warnings(s);
	after(s, &s->survey_again, s->stale ? s->pause_s : SURVEY_LATE_S);
	fix_sysctls(s);
	memory_give_back(); /* listings are long */
	s->known(s->ctx);
}

void surroundings_look(struct surroundings *s, bool wait)
{
	const struct settings *set = s->settings;
	struct survey_ask ask = { .port = s->port ? s->port : set->tproxy.port,
				  .mark = set->tproxy.mark,
				  .table = set->tproxy.table,
				  .pref = set->tproxy.pref,
				  .lan_ifaces = &set->tproxy.selection.lan_ifaces,
				  .mihomo = s->mihomo };
	struct err e = ERR_INIT;

	s->forced |= wait;
	if (s->surveying) {
		s->stale = true;
		return;
	}
	s->stale = false;
	if (survey_start(&s->surveying, s->reaper, &ask, on_surveyed, s, &e) == 0)
		return;
	log_warn(LOG_CLASH, "cannot look at what others have in the network: %s", e.msg);
	s->surveying = NULL;
	s->surveyed = true; /* it must not keep anything from running */
	s->forced = false;
	after(s, &s->survey_again, SURVEY_LATE_S);
}

void surroundings_changed(struct surroundings *s)
{
	bool soon = ev_is_active(&s->survey_again) && ev_timer_remaining(s->loop, &s->survey_again) <= s->pause_s;

	s->stale = true;
	if (!s->surveying && !soon)
		after(s, &s->survey_again, s->pause_s);
}

static void on_survey_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	surroundings_look(w->data, false);
}

static void on_probe_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	surroundings_probe(w->data);
}

/* ---- answers ---- */

bool surroundings_known(const struct surroundings *s)
{
	return s->probed && s->surveyed && !s->forced;
}

const char *surroundings_refusal(const struct surroundings *s)
{
	if (!s->choice.found)
		return s->choice.why;
	if (s->choice.backend == FW_SCRIPT) /* its rules and routes are as strange to us as others' */
		return NULL;
	return s->refusal[0] ? s->refusal : NULL;
}

const char *surroundings_why_not(const struct surroundings *s, enum ip_family family)
{
	const struct ability_part *part = &s->ability.part[s->choice.backend][family];

	return part->why[0] ? part->why : "the backend cannot do it here";
}

const char *surroundings_lack(const struct surroundings *s)
{
	return s->lack[0] ? s->lack : NULL;
}

bool surroundings_input_accept(const struct surroundings *s)
{
	struct findings_wish w = wish(s);

	return findings_input_accept(&s->facts, &w);
}

const char *surroundings_blame(const struct surroundings *s)
{
	static const enum finding_kind suspects[] = { FINDING_INPUT, FINDING_BRIDGE_NF, FINDING_VALID_MARK };

	for (size_t k = 0; k < sizeof(suspects) / sizeof(suspects[0]); k++) {
		for (size_t i = 0; i < s->findings.n; i++) {
			if (s->findings.list[i].kind == suspects[k])
				return s->findings.list[i].text;
		}
	}
	return "look at the INPUT policy, at net.ipv4.conf.*.src_valid_mark and at net.bridge.bridge-nf-call-iptables "
	       "(clashsup doctor does)";
}

/* ---- dns ---- */

/* The first resolver of the family that is another machine. */
static void find_fallback(const struct addr *resolvers, size_t n, enum ip_family f, struct fwplan_params *plan)
{
	struct no_server own = { 0 };

	no_server_learn(&own);
	for (size_t i = 0; i < n && !plan->dns.has_fallback[f]; i++) {
		if (resolvers[i].family != f || addr_is_special(&resolvers[i]) || no_server_has(&own, &resolvers[i]))
			continue;
		plan->dns.has_fallback[f] = true;
		plan->dns.fallback[f] = resolvers[i];
	}
}

static void choose_fallback(const struct surroundings *s, const struct addr *resolvers, size_t n,
			    struct fwplan_params *plan)
{
	const struct settings_dns_fallback *given = &s->settings->tproxy.dns_fallback;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		plan->dns.has_fallback[f] = given->kind == FALLBACK_GIVEN && given->has[f];
		plan->dns.fallback[f] = given->addr[f];
		if (given->kind == FALLBACK_AUTO)
			find_fallback(resolvers, n, (enum ip_family)f, plan);
	}
}

static bool listens(const struct surroundings *s, uint16_t port)
{
	struct sockdiag_socket found;

	return sockdiag_find(IP_V4, IPPROTO_UDP, port, &found, NULL) == 1 &&
	       sockdiag_owned_by(s->mihomo, found.inode) != 0;
}

/* NULL = it can be done. */
static const char *why_no_dns(const struct surroundings *s, uint16_t port, char *buf, size_t cap)
{
	if (s->settings->tproxy.dns == SETTING_NO)
		return "off";
	if (s->choice.backend == FW_SCRIPT)
		return "off (the script makes the rules)";
	if (!port)
		return "off (dns.listen of Mihomo's config is not on a wildcard address such as 0.0.0.0:1053)";
	if (s->settings->tproxy.dns == SETTING_AUTO && findings_dns_taken(&s->facts, buf, cap))
		return buf;
	if (!listens(s, port))
		return "off (Mihomo does not listen on the port of dns.listen)";
	return NULL;
}

void surroundings_dns(const struct surroundings *s, uint16_t dns_port, const struct addr *resolvers, size_t n,
		      struct fwplan_params *plan, char note[160])
{
	char why[128], text[ADDR_TEXT] = "no fallback";
	const char *no = why_no_dns(s, dns_port, why, sizeof(why));

	memset(&plan->dns, 0, sizeof(plan->dns));
	if (no) {
		snprintf(note, 160, "%s%s%s", no == why ? "off (" : "", no, no == why ? ")" : "");
		return;
	}
	plan->dns.on = true;
	plan->dns.port = dns_port;
	if (s->settings->tproxy.on_death != ON_DEATH_CLOSED) /* which lets nothing past Mihomo */
		choose_fallback(s, resolvers, n, plan);
	for (unsigned f = IP_FAMILIES; f-- > 0;) {
		if (plan->dns.has_fallback[f])
			addr_text(&plan->dns.fallback[f], text);
	}
	snprintf(note, 160, "on, port %u; without Mihomo: %s", dns_port, text);
}

/* ---- sysctls ---- */

void surroundings_restore_sysctls(const struct surroundings *s)
{
	char journal[PATH_MAX];
	struct err e = ERR_INIT;
	size_t restored = 0;

	if (io_path(journal, sizeof(journal), &e, JOURNAL, s->settings->state.run) < 0)
		return;
	if (sysctl_restore(journal, &restored, &e) < 0)
		log_warn(LOG_CLASH, "cannot put back the sysctls: %s", e.msg);
	if (restored)
		log_info(LOG_CLASH, "%zu sysctls are as they were", restored);
}

/* ---- life ---- */

void surroundings_init(struct surroundings *s)
{
	s->pause_s = SURVEY_SOON_S;
	snprintf(s->direct_path, sizeof(s->direct_path), "unknown (not looked at yet)");
	ev_timer_init(&s->survey_again, on_survey_again, 0.0, 0.0);
	ev_timer_init(&s->probe_again, on_probe_again, 0.0, 0.0);
	s->survey_again.data = s->probe_again.data = s;
}

void surroundings_deinit(struct surroundings *s)
{
	if (!s->loop)
		return;
	ev_timer_stop(s->loop, &s->survey_again);
	ev_timer_stop(s->loop, &s->probe_again);
	ability_abandon(s->probing);
	survey_abandon(s->surveying);
	s->probing = NULL;
	s->surveying = NULL;
}
