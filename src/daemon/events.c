#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "clashsup/scan.h"
#include "daemon/clock.h"
#include "daemon/supervisor.h"

#define RECHECK_TICKS 30 /* a config that waits for something outside (a download) is tried again */
#define RETRY_MAX_MS 5000
#define FAREWELL_MS 10
#define FAREWELLS 100
#define GIVE_UP_MS 2500 /* beyond stop_timeout: a clean stop that cannot finish ends all the same */

static struct report_time now(void)
{
	return (struct report_time){ clock_wall_ms(), clock_ms() };
}

static void after(struct supervisor *s, ev_timer *t, int64_t ms)
{
	ev_timer_stop(s->loop, t);
	ev_timer_set(t, (double)ms / 1000.0, 0.0);
	ev_timer_start(s->loop, t);
}

/* ---- effects ---- */

static void arm(struct supervisor *s)
{
	struct net_plan plan = {
		.port = s->facts.port, .marks = s->facts.marks, .n_marks = s->facts.n_marks, .core_gid = s->ids.gid
	};

	for (unsigned f = 0; f < IP_FAMILIES; f++)
		plan.family_note[f] = s->mihomo.family_note[f];
	net_arm(&s->net, &plan);
}

static void switch_off(struct supervisor *s)
{
	net_switch_off(&s->net);
	s->disarm_us = clock_us() - s->sign_us;
	servers_off(&s->servers);
}

static void run_action(void *ctx, enum lifecycle_action action)
{
	struct supervisor *s = ctx;

	narrate_action(s, action);
	switch (action) {
	case ACT_SWITCH_OFF:
		switch_off(s);
		break;
	case ACT_ABORT_ARM:
		net_abort(&s->net);
		break;
	case ACT_REMOVE:
		net_remove(&s->net);
		break;
	case ACT_RETRY_LATER:
		after(s, &s->retry, s->retries < 5 ? 100 << s->retries : RETRY_MAX_MS);
		s->retries++;
		break;
	case ACT_CANCEL_TIMERS:
		ev_timer_stop(s->loop, &s->backoff);
		ev_timer_stop(s->loop, &s->hang);
		break;
	case ACT_KILL:
		mihomo_kill(&s->mihomo);
		break;
	case ACT_TERM:
		mihomo_stop(&s->mihomo);
		break;
	case ACT_CHECK:
		supervisor_find_config(s->settings, s->home, s->config);
		check_start(s->check);
		break;
	case ACT_CANCEL_CHECK:
		check_cancel(s->check);
		break;
	case ACT_SPAWN:
		if (s->machine.life.tproxy)
			servers_extract(&s->servers, SERVERS_START);
		s->starts++;
		s->child_since = now();
		mihomo_start(&s->mihomo);
		health_start(&s->health);
		break;
	case ACT_WATCH_READY:
		mihomo_watch_ready(&s->mihomo);
		break;
	case ACT_RELOAD:
		log_info(LOG_CLASH, "Mihomo's config changed, reloading it");
		mihomo_hangup(&s->mihomo);
		break;
	case ACT_BACKOFF:
		log_info(LOG_MONITOR, "starting Mihomo again in %.1f s", (double)s->backoff_ms / 1000.0);
		after(s, &s->backoff, s->backoff_ms);
		break;
	case ACT_HANG_TIMER:
		after(s, &s->hang, s->settings->mihomo.hang_kill_ms);
		break;
	case ACT_ARM:
		arm(s);
		break;
	case ACT_EXTRACT:
		servers_extract(&s->servers, SERVERS_ARMED);
		break;
	case LIFECYCLE_ACTIONS:
		break;
	}
}

/* The last good addresses get a moment to reach the disk; a disk that hangs is not waited for. */
static void finish_shutdown(struct supervisor *s)
{
	if (servers_saving(&s->servers) && s->farewells++ < FAREWELLS) {
		after(s, &s->farewell, FAREWELL_MS);
		return;
	}
	net_remove_routes(&s->net);
	log_info(LOG_CLASH, "clashsup stopped, the network is direct");
	ev_break(s->loop, EVBREAK_ALL);
}

static void moved(void *ctx, const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event)
{
	struct supervisor *s = ctx;

	if (from->child != to->child || from->net != to->net)
		s->since = now();
	if (from->child != CHILD_READY && to->child == CHILD_READY)
		health_anew(&s->health);
	if (!lifecycle_has_process(to->child))
		health_stop(&s->health);
	if (from->net == NET_ARMED || from->net == NET_ARMING)
		s->crashed = event == EV_DYING || event == EV_EXIT_AGAIN || event == EV_EXIT_BACKOFF ||
			     event == EV_EXIT_GIVE_UP;
	narrate_move(from, to, event);
	if (event == EV_REMOVED)
		s->retries = 0;
	if (s->shutting_down && to->child == CHILD_STOPPED && to->net == NET_DIRECT)
		finish_shutdown(s);
}

/* ---- events ---- */

static void on_exited(struct supervisor *s)
{
	enum child_state state = s->machine.life.child;
	bool asked = state == CHILD_STOPPING || state == CHILD_RESTARTING;
	uint32_t chance = 0;

	if (s->mihomo.lived_ms || !asked) {
		s->exited = true;
		s->exit_status = s->mihomo.last_status;
		s->exit_at = now();
	}
	if (asked) {
		machine_post(&s->machine, EV_EXIT_AGAIN);
		return;
	}
	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
		chance = (uint32_t)clock_us();
	s->backoff_ms = policy_death(&s->restart, s->mihomo.lived_ms, chance);
	machine_post(&s->machine, s->backoff_ms ? EV_EXIT_BACKOFF : EV_EXIT_AGAIN);
	narrate_exit(s->exit_status, s->mihomo.lived_ms);
}

static void on_mihomo(void *ctx, enum mihomo_event event)
{
	struct supervisor *s = ctx;

	s->sign_us = event == MIHOMO_EXITED && s->machine.life.net == NET_DISARMING ? s->sign_us : clock_us();
	switch (event) {
	case MIHOMO_STARTED:
		instance_note_child(s->settings->state.run, s->mihomo.proc.pid);
		break;
	case MIHOMO_READY:
		if (!s->recovering)
			log_info(LOG_CLASH, "Mihomo is healthy");
		machine_post(&s->machine, EV_READY);
		break;
	case MIHOMO_UNREADY:
		machine_post(&s->machine, EV_UNREADY);
		break;
	case MIHOMO_DYING:
		policy_probe_reset(&s->health.policy);
		machine_post(&s->machine, EV_DYING);
		break;
	case MIHOMO_EXITED:
		on_exited(s);
		break;
	case MIHOMO_NO_START:
		s->backoff_ms = policy_death(&s->restart, 0, 0);
		if (!s->backoff_ms)
			s->backoff_ms = s->settings->restart.backoff_min_ms;
		machine_post(&s->machine, EV_EXIT_BACKOFF);
		break;
	}
}

static void on_net(void *ctx, enum net_event event)
{
	static const enum lifecycle_event as[] = { [NET_EV_ARMED] = EV_ARMED,
						   [NET_EV_ARM_FAILED] = EV_ARM_FAILED,
						   [NET_EV_REMOVED] = EV_REMOVED,
						   [NET_EV_REMOVE_FAILED] = EV_REMOVE_FAILED };
	struct supervisor *s = ctx;

	if (event == NET_EV_SETS) {
		if (!s->recovering && !s->net.failures)
			log_info(LOG_CLASH, "Empty ipset %s created (will be populated asynchronously)",
				 s->settings->ipset.name);
		servers_on(&s->servers, s->net.family);
		return;
	}
	if (event == NET_EV_REMOVED)
		narrate_removed(s);
	if (event == NET_EV_ARM_FAILED)
		s->sign_us = clock_us();
	if (event == NET_EV_ARMED) {
		s->armed_in_us = clock_us() - s->sign_us;
		narrate_armed(s);
		s->recovering = true;
	}
	machine_post(&s->machine, as[event]);
}

static void on_verdict(void *ctx, enum policy_verdict verdict)
{
	struct supervisor *s = ctx;

	if (verdict == PROBE_ANSWERS && s->mihomo.proc.pid && procfs_exiting(s->mihomo.proc.pid))
		return; /* an answer from before its death */
	if (verdict == PROBE_HANG && s->machine.life.child == CHILD_READY)
		s->sign_us = clock_us();
	machine_post(&s->machine, verdict == PROBE_HANG ? EV_HANG : EV_ANSWER);
}

static void on_dialled(void *ctx, const struct addr *a)
{
	struct supervisor *s = ctx;

	servers_dialled(&s->servers, a);
}

static void on_filled(void *ctx)
{
	struct supervisor *s = ctx;

	net_filled(&s->net);
}

static void on_ask_port(void *ctx, uint16_t port)
{
	struct supervisor *s = ctx;

	health_open_port(&s->health, port);
}

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

/* Do the rules in the kernel depend on something that the new config changes? */
static bool rules_change(const struct config_facts *old, const struct config_facts *new)
{
	return old->port != new->port || old->n_marks != new->n_marks ||
	       memcmp(old->marks, new->marks, old->n_marks * sizeof(old->marks[0])) != 0;
}

/* Takes over what a good config says; the watch list stays the check's. */
static void adopt(struct supervisor *s, const struct config_facts *facts)
{
	s->facts = *facts;
	s->facts.n_watch = 0;
	s->mihomo.port = facts->port;
	s->mihomo.patch_port = facts->patch_port;
	servers_adopt(&s->servers, facts->fake, facts->n_fake, !facts->unchanged);
	watch_config(s, facts);
}

static void on_checked(void *ctx, const struct config_facts *facts, const char *why)
{
	struct supervisor *s = ctx;
	bool in_force = lifecycle_has_process(s->machine.life.child), anew;
	struct err e = ERR_INIT;

	if (!facts) {
		bool told = strcmp(s->waiting_for, why) == 0;

		snprintf(s->waiting_for, sizeof(s->waiting_for), "%s", why);
		if (in_force)
			snprintf(s->config_warning, sizeof(s->config_warning),
				 "the last good config stays in force: %.200s", why);
		if (!told)
			log_error(LOG_CLASH, "%s%s", in_force ? "the last good config stays in force: " : "", why);
		watch_add(s->watch, s->config, &e);
		if (in_force && !s->machine.life.tproxy)
			s->settings->tproxy.mode = MODE_MIXED; /* a switch to tproxy that was refused */
		machine_post(&s->machine, EV_CHECK_BAD);
		return;
	}
	s->waiting_for[0] = s->config_warning[0] = '\0';
	if (facts->warning[0])
		log_warn(LOG_CLASH, "%s", facts->warning);
	anew = rules_change(&s->facts, facts);
	adopt(s, facts);
	if (!(in_force && facts->unchanged))
		machine_post(&s->machine, EV_CHECK_OK);
	if (anew || s->machine.life.tproxy != (s->settings->tproxy.mode == MODE_TPROXY))
		machine_post(&s->machine, EV_UNREADY); /* ready anew when the listener is there */
	if (s->settings->tproxy.mode == MODE_TPROXY && !s->machine.life.tproxy) {
		servers_extract(&s->servers, SERVERS_START); /* it runs already: no start will do so */
		machine_mode(&s->machine, true);
	}
}

static void on_file(void *ctx, const char *path)
{
	struct supervisor *s = ctx;

	if (strcmp(path, s->config) == 0)
		machine_post(&s->machine, EV_CONFIG);
	else
		servers_extract(&s->servers, SERVERS_FILES);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *s = w->data;
	(void)loop;
	(void)revents;

	if (w == &s->backoff) {
		machine_post(&s->machine, EV_BACKOFF_OVER);
	} else if (w == &s->hang) {
		log_warn(LOG_MONITOR, "Mihomo has not answered for %lld s, killing it",
			 (long long)(s->settings->mihomo.hang_kill_ms / 1000));
		machine_post(&s->machine, EV_HANG_LIMIT);
	} else if (w == &s->farewell) {
		finish_shutdown(s);
	} else if (w == &s->retry) {
		machine_post(&s->machine, EV_RETRY);
	} else {
		log_error(LOG_CLASH, "the stop does not come to its end, leaving");
		s->exit_code = 1;
		ev_break(s->loop, EVBREAK_ALL);
	}
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *s = w->data;
	struct err e = ERR_INIT;
	(void)loop;
	(void)revents;

	s->ticks++;
	if (s->machine.life.child == CHILD_READY)
		mihomo_still_there(&s->mihomo);
	if (net_keep(&s->net, &e) < 0) {
		log_warn(LOG_MONITOR, "the lease cannot be kept, applying TProxy anew: %s", e.msg);
		s->sign_us = clock_us();
		machine_post(&s->machine, EV_ARM_FAILED);
	}
	if (s->machine.life.child == CHILD_WAITING && s->ticks % RECHECK_TICKS == 0)
		machine_post(&s->machine, EV_CONFIG);
}

void supervisor_shutdown(struct supervisor *s)
{
	if (s->shutting_down) { /* asked twice: hurry */
		mihomo_kill(&s->mihomo);
		return;
	}
	s->shutting_down = true;
	s->sign_us = clock_us();
	log_info(LOG_CLASH, "clashsup is stopping");
	after(s, &s->give_up, s->settings->mihomo.stop_timeout_ms + GIVE_UP_MS);
	machine_post(&s->machine, EV_STOP);
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
	machine_post(&s->machine, EV_CONFIG);
}

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct supervisor *s = w->data;
	(void)loop;
	(void)revents;

	if (w->signum != SIGHUP) {
		supervisor_shutdown(s);
		return;
	}
	machine_post(&s->machine, EV_CONFIG);
	servers_extract(&s->servers, SERVERS_ASKED);
}

static void on_log_writable(struct ev_loop *loop, ev_io *w, int revents)
{
	(void)revents;
	log_flush();
	if (!log_pending())
		ev_io_stop(loop, w);
}

/* Lines that a full stdout could not take wait for it to become writable. */
static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
	struct supervisor *s = w->data;
	(void)revents;

	if (log_pending())
		ev_io_start(loop, &s->log_writable);
}

/* ---- wiring ---- */

void events_wire(struct supervisor *s)
{
	s->effects = (struct effects){ run_action, moved, s };
	s->restart.min_ms = s->settings->restart.backoff_min_ms;
	s->restart.max_ms = s->settings->restart.backoff_max_ms;
	s->restart.stable_ms = s->settings->restart.stable_ms;
	s->mihomo = (struct mihomo){ .loop = s->loop,
				     .reaper = &s->reaper,
				     .settings = s->settings,
				     .run_dir = s->run_dir,
				     .home = s->home,
				     .ids = s->ids,
				     .tell = on_mihomo,
				     .ask_for_port = on_ask_port,
				     .ctx = s };
	s->check_setup = (struct check_setup){ &s->reaper, s->settings,	 s->config,	 s->home,
					       s->run_dir, s->helper_fd, s->helper_path, s->ids };
	s->net = (struct net){
		.loop = s->loop, .reaper = &s->reaper, .settings = s->settings, .tell = on_net, .ctx = s
	};
	s->health = (struct health){ .loop = s->loop,
				     .reaper = &s->reaper,
				     .settings = s->settings,
				     .run_dir = s->run_dir,
				     .helper_fd = s->helper_fd,
				     .helper_path = s->helper_path,
				     .ids = s->ids,
				     .tell = on_verdict,
				     .dialled = on_dialled,
				     .ctx = s };
	s->servers = (struct servers){ .loop = s->loop,
				       .setup = { &s->reaper, s->settings, s->run_dir, s->home, s->config, s->helper_fd,
						  s->helper_path, s->ids },
				       .filled = on_filled,
				       .ctx = s };
}

void events_watch(struct supervisor *s)
{
	static const int numbers[3] = { SIGTERM, SIGINT, SIGHUP };
	ev_timer *timers[] = { &s->backoff, &s->hang, &s->retry, &s->give_up, &s->farewell };

	for (unsigned i = 0; i < 3; i++) {
		ev_signal_init(&s->signals[i], on_signal, numbers[i]);
		s->signals[i].data = s;
		ev_signal_start(s->loop, &s->signals[i]);
	}
	for (unsigned i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
		ev_timer_init(timers[i], on_timer, 0.0, 0.0);
		timers[i]->data = s;
	}
	ev_timer_init(&s->tick, on_tick, 1.0, 1.0);
	ev_prepare_init(&s->flush_log, on_prepare);
	ev_io_init(&s->log_writable, on_log_writable, log_fd(), EV_WRITE);
	s->tick.data = s->flush_log.data = s;
	ev_timer_start(s->loop, &s->tick);
	ev_prepare_start(s->loop, &s->flush_log);
}

int events_open(struct supervisor *s, struct err *e)
{
	const char *socket = s->settings->control.socket;
	char path[PATH_MAX];
	int r = net_init(&s->net, e);

	s->servers.ipset = s->net.ipset;
	if (r == 0)
		r = mihomo_init(&s->mihomo, e);
	if (r == 0)
		r = check_new(&s->check, &s->check_setup, on_checked, s, e);
	if (r == 0)
		r = servers_init(&s->servers, e);
	if (r == 0)
		r = watch_open(&s->watch, s->loop, on_file, scan_yaml_name, s, e);
	if (r == 0)
		r = io_path(path, sizeof(path), e, "%s%s", socket[0] ? socket : s->settings->state.run,
			    socket[0] ? "" : "/control.sock");
	if (r == 0)
		r = ctl_open(&s->ctl, s->loop, path, s->settings->control.group, control_handle, s, e);
	health_init(&s->health);
	return r;
}
