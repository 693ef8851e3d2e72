#include "daemon/reload.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/log.h"
#include "daemon/adopt.h"
#include "daemon/announce.h"
#include "daemon/clock.h"
#include "daemon/json_get.h"
#include "daemon/reload_effects.h"
#include "daemon/supervisor.h"

#define FAREWELL_S 1.0

static void append(char *text, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void append(char *text, size_t cap, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + used, cap - used, fmt, ap);
	va_end(ap);
}

/* ---- read, as a whole or not at all ---- */

struct problems {
	unsigned n;
	char first[RELOAD_TEXT];
};

static void on_problem(void *ctx, const char *text)
{
	struct problems *p = ctx;

	log_error(LOG_CLASH, "%s", text);
	if (!p->n++)
		snprintf(p->first, sizeof(p->first), "%.*s", RELOAD_TEXT - 1, text);
}

static void complain(struct problems *p, const char *file, const char *sentence)
{
	char text[PATH_MAX + 256];

	snprintf(text, sizeof(text), "%.*s: %.250s", PATH_MAX - 1, file, sentence);
	on_problem(p, text);
}

/* What only a running supervisor can tell of good settings. */
static void judge(const struct supervisor *s, const struct settings *next, struct problems *p)
{
	const char *file = s->reload.source.file;
	struct err e = ERR_INIT;
	struct sandbox_ids ids;
	char text[160];

	if (strcmp(next->mihomo.user, s->settings->mihomo.user) != 0 && supervisor_identify(next, &ids, &e) < 0)
		complain(p, file, e.msg);
	for (size_t i = 0; i < s->facts.n_marks && next->tproxy.mark != s->settings->tproxy.mark; i++) {
		snprintf(text, sizeof(text), "mark = 0x%x: a routing-mark of Mihomo's config has this value",
			 next->tproxy.mark);
		if (s->facts.marks[i] == next->tproxy.mark)
			complain(p, file, text);
	}
}

/* NULL when it was refused. */
static struct settings *read_file(struct supervisor *s, struct problems *p)
{
	const struct reload_source *from = &s->reload.source;
	struct settings *next = calloc(1, sizeof(*next));

	if (!next) {
		on_problem(p, "not enough memory");
		return NULL;
	}
	if (settings_load(next, from->file, from->must_exist, on_problem, p) == 0)
		judge(s, next, p);
	s->reload.source.must_exist |= access(from->file, F_OK) == 0;
	if (!p->n)
		return next;
	settings_free(next);
	free(next);
	return NULL;
}

static int refuse(struct supervisor *s, const struct problems *p, char did[RELOAD_TEXT])
{
	snprintf(did, RELOAD_TEXT, "the settings in force stay: %.900s", p->first);
	if (p->n > 1)
		append(did, RELOAD_TEXT, " (and %u more, see the log)", p->n - 1);
	snprintf(s->reload.warning, sizeof(s->reload.warning), "%.*s", REPORT_TEXT - 1, did);
	log_error(LOG_CLASH, "the settings in force stay");
	announce(s, TELL(.kind = ANNOUNCE_REFUSED, .reason = s->reload.warning));
	return -EINVAL;
}

/* ---- what differs ---- */

struct difference {
	const struct settings *now;
	struct settings *next;
	unsigned effects;
	char names[RELOAD_TEXT / 2];
	char kept[REPORT_TEXT / 2];
};

static void on_key(void *ctx, const char *section, const char *name)
{
	struct difference *c = ctx;
	unsigned effects = reload_effects(section, name);
	bool never = effects == 0 || effects & RELOAD_NEVER;
	char *text = never ? c->kept : c->names;

	append(text, never ? sizeof(c->kept) : sizeof(c->names), "%s[%s] %s", text[0] ? ", " : "", section, name);
	if (never)
		settings_copy_key(c->next, c->now, section, name);
	else
		c->effects |= effects;
}

static void compare(struct supervisor *s, struct settings *next, struct difference *c)
{
	enum settings_mode file = next->tproxy.mode;

	*c = (struct difference){ .now = s->settings, .next = next };
	if (file == s->reload.mode)
		next->tproxy.mode = s->settings->tproxy.mode;
	s->reload.mode = file;
	settings_changes(s->settings, next, on_key, c);
	if (c->effects & RELOAD_PLAN && surroundings_know_less(s->settings, next))
		c->effects |= RELOAD_ANEW;
	if (c->effects & RELOAD_PLAN && s->settings->tproxy.backend == BACKEND_SCRIPT)
		c->effects |= RELOAD_ANEW;
}

static void describe(const struct difference *c, bool check, char did[RELOAD_TEXT])
{
	static const struct {
		unsigned effects;
		const char *text;
	} words[] = {
		{ RELOAD_ANEW, "TProxy is applied anew" },
		{ RELOAD_PLAN, "the rules are replaced" },
		{ RELOAD_CORE | RELOAD_USER, "Mihomo is restarted" },
		{ RELOAD_PROBE, "the probe helper is started anew" },
		{ RELOAD_SOCKET, "the control socket is another one" },
		{ RELOAD_EXTRACT, "the servers' addresses are looked for anew" },
	};

	snprintf(did, RELOAD_TEXT, "%s%s", c->names[0] ? "changed: " : "nothing changed", c->names);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (c->effects & words[i].effects && !(i == 1 && c->effects & RELOAD_ANEW))
			append(did, RELOAD_TEXT, "; %s", words[i].text);
	}
	if (check && c->names[0])
		append(did, RELOAD_TEXT, "; Mihomo's config is looked at");
	else if (check)
		snprintf(did, RELOAD_TEXT, "Mihomo's config is looked at");
	if (c->kept[0])
		append(did, RELOAD_TEXT, "; not before clashsup is started anew: %s", c->kept);
}

/* ---- in force ---- */

/* Copies that are kept of settings. */
static void take_copies(struct supervisor *s)
{
	const struct settings *set = s->settings;

	s->restart.min_ms = set->restart.backoff_min_ms;
	s->restart.max_ms = set->restart.backoff_max_ms;
	s->restart.stable_ms = set->restart.stable_ms;
	s->health.policy.fall = set->probe.fall;
	s->health.policy.rise = set->probe.rise;
	servers_set_interval(&s->servers);
	log_set_level(set->log.level);
	supervisor_log_format(set);
	if (s->ctl)
		ctl_set_group(s->ctl, set->control.group);
}

static void warn(struct supervisor *s, const char *what, const struct err *e)
{
	log_warn(LOG_CLASH, "%s: %s", what, e->msg);
	snprintf(s->reload.warning, sizeof(s->reload.warning), "%s: %.*s", what, REPORT_TEXT / 2, e->msg);
}

static void move_socket(struct supervisor *s, const struct settings *old)
{
	struct err e = ERR_INIT;
	struct ctl *now;

	if (control_open(s, &now, &e) < 0) {
		settings_copy_key(s->settings, old, "control", "socket");
		warn(s, "the control socket stays where it is", &e);
		return;
	}
	ctl_close(s->reload.former);
	s->reload.former = s->ctl;
	s->ctl = now;
	ev_timer_stop(s->loop, &s->reload.farewell);
	ev_timer_set(&s->reload.farewell, FAREWELL_S, 0.0);
	ev_timer_start(s->loop, &s->reload.farewell);
}

static void apply_anew(struct supervisor *s)
{
	struct err e = ERR_INIT;

	if (net_settings_anew(&s->net, &e) < 0)
		warn(s, "cannot prepare the network for the new settings", &e);
	surroundings_anew(&s->around);
}

static void mend_sysctls(struct supervisor *s)
{
	if (!s->settings->tproxy.fix_sysctls)
		surroundings_restore_sysctls(&s->around);
	surroundings_changed(&s->around);
}

bool reload_can_restart(enum child_state child)
{
	return child == CHILD_STARTING || child == CHILD_READY || child == CHILD_UNHEALTHY;
}

/* Another process is needed. One that ends just now is followed by it anyway. */
static void renew_core(struct supervisor *s, unsigned effects)
{
	struct err e = ERR_INIT;

	if (supervisor_take_ids(s, &e) < 0)
		warn(s, "Mihomo's user stays", &e);
	policy_restart_reset(&s->restart);
	if (!reload_can_restart(s->machine.life.child) && s->machine.life.child != CHILD_BACKOFF)
		return;
	if (effects & RELOAD_USER)
		machine_post(&s->machine, EV_RESTART);
	else
		s->reload.core = true;
}

/*
 * `next` is used up. The order is that of the dependence: what is copied first,
 * what starts something last. The mode is not its affair.
 */
static void put_in_force(struct supervisor *s, struct settings *next, unsigned effects)
{
	struct settings old = *s->settings; /* for its plain values: the lists may go at any time */

	next->tproxy.mode = old.tproxy.mode;
	*s->settings = *next;
	*next = old;
	net_hold(&s->net, next);
	take_copies(s);
	if (effects & RELOAD_SOCKET)
		move_socket(s, &old);
	if (effects & RELOAD_ANEW)
		apply_anew(s);
	if (effects & (RELOAD_CORE | RELOAD_USER))
		renew_core(s, effects);
	if (effects & RELOAD_PROBE)
		health_renew(&s->health);
	if (effects & RELOAD_PLAN)
		net_replan(&s->net, NULL);
	if (effects & (RELOAD_PLAN | RELOAD_ANEW)) {
		events_settle(s);
		surroundings_changed(&s->around);
	}
	if (effects & RELOAD_LOGFILE)
		logfile_renew(&s->logfile);
	if (effects & RELOAD_SYSCTLS)
		mend_sysctls(s);
	if (effects & RELOAD_EXTRACT)
		adopt_sources(s);
	if (effects & (RELOAD_CHECK | RELOAD_CORE))
		machine_post(&s->machine, EV_CONFIG);
}

static void forget_waiting(struct supervisor *s)
{
	if (!s->reload.next)
		return;
	settings_free(s->reload.next);
	free(s->reload.next);
	s->reload.next = NULL;
}

void reload_go_on(struct supervisor *s)
{
	enum net_state net = s->machine.life.net;
	struct settings *next = s->reload.next;
	struct difference c;

	if (!next || (net != NET_DIRECT && net != NET_ARMING) || !net_is_clean(&s->net))
		return;
	s->reload.next = NULL;
	net_leave(&s->net);
	next->tproxy.mode = s->settings->tproxy.mode; /* it may be another one by now */
	c = (struct difference){ .now = s->settings, .next = next };
	settings_changes(s->settings, next, on_key, &c);
	put_in_force(s, next, c.effects | RELOAD_ANEW);
}

/* Everything of ours goes out of the kernel first; what is there is known by the old settings. */
static void wait_for_clean(struct supervisor *s, struct settings *next)
{
	enum net_state net = s->machine.life.net;

	s->reload.next = next;
	s->sign_us = clock_us();
	log_info(LOG_CLASH, "taking TProxy out, to apply it with other settings");
	if (net == NET_ARMED || net == NET_ARMING)
		machine_post(&s->machine, EV_ARM_FAILED);
	else
		events_settle(s);
	reload_go_on(s);
}

int reload_now(struct supervisor *s, char did[RELOAD_TEXT])
{
	struct problems problems = { 0 };
	enum settings_mode mode;
	struct settings *next;
	struct difference c;
	bool check;

	service_reloading(&s->service);
	next = read_file(s, &problems);
	service_reloaded(&s->service);
	if (!next)
		return refuse(s, &problems, did);
	s->reload.warning[0] = '\0';
	forget_waiting(s);
	compare(s, next, &c);
	mode = next->tproxy.mode;
	check = !(c.effects & (RELOAD_CHECK | RELOAD_CORE)) && adopt_is_news(s);
	describe(&c, check, did);
	log_info(LOG_CLASH, "reload: %s", did);
	if (c.kept[0])
		snprintf(s->reload.warning, sizeof(s->reload.warning), "not before clashsup is started anew: %s",
			 c.kept);
	if (c.effects & RELOAD_ANEW) {
		wait_for_clean(s, next);
	} else if (c.effects) {
		put_in_force(s, next, c.effects);
	} else {
		settings_free(next);
		free(next);
	}
	supervisor_set_mode(s, mode == MODE_TPROXY);
	if (c.names[0])
		announce(s, TELL(.kind = ANNOUNCE_RELOADED, .reason = did));
	if (check)
		machine_post(&s->machine, EV_CONFIG);
	return 0;
}

/* ---- over a reexec ---- */

void reload_save(const struct reload *r, cJSON *to)
{
	cJSON_AddBoolToObject(to, "mixed", r->mode == MODE_MIXED);
	cJSON_AddBoolToObject(to, "core", r->core);
}

void reload_load(struct reload *r, const cJSON *from)
{
	r->mode = json_get_true(from, "mixed") ? MODE_MIXED : MODE_TPROXY;
	r->core = json_get_true(from, "core");
}

/* ---- life ---- */

static void on_farewell(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *s = w->data;
	(void)loop;
	(void)revents;

	ctl_close(s->reload.former);
	s->reload.former = NULL;
}

void reload_init(struct supervisor *s, const struct reload_source *source)
{
	s->reload.source = *source;
	s->reload.mode = s->settings->tproxy.mode;
	ev_timer_init(&s->reload.farewell, on_farewell, 0.0, 0.0);
	s->reload.farewell.data = s;
}

void reload_deinit(struct supervisor *s)
{
	if (s->loop)
		ev_timer_stop(s->loop, &s->reload.farewell);
	ctl_close(s->reload.former);
	s->reload.former = NULL;
	forget_waiting(s);
}
