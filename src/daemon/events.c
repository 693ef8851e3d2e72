#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "clashsup/scan.h"
#include "daemon/adopt.h"
#include "daemon/announce.h"
#include "daemon/clock.h"
#include "daemon/reexec_state.h"
#include "daemon/restart.h"
#include "daemon/supervisor.h"

#define RECHECK_TICKS 30 /* a config that waits for something outside (a download) is tried again */
#define RETRY_MAX_MS 5000
#define FAREWELL_MS 10
#define FAREWELLS 100
#define GIVE_UP_MS 2500 /* beyond stop_timeout: a clean stop that cannot finish ends all the same */

void events_later(struct supervisor *s, ev_timer *t, int64_t ms)
{
	ev_timer_stop(s->loop, t);
	ev_timer_set(t, (double)ms / 1000.0, 0.0);
	ev_timer_start(s->loop, t);
}

/* ---- effects ---- */

static void arm(struct supervisor *s)
{
	struct net_plan plan;

	reload_go_on(s);
	plan = adopt_plan(s);
	net_arm(&s->net, &plan);
}

/* What stands over Mihomo's deaths is wanted unless the user wants no proxy now. */
static bool stands(const struct supervisor *s)
{
	enum child_state child = s->machine.life.child;
	bool asked_for = s->machine.life.tproxy && !s->shutting_down && child != CHILD_STOPPED &&
			 child != CHILD_STOPPING && !s->reload.next;

	return asked_for && (s->net.armed_before || s->settings->tproxy.on_death == ON_DEATH_CLOSED);
}

void events_settle(struct supervisor *s)
{
	net_settle(&s->net, stands(s));
}

void events_sweep(struct supervisor *s)
{
	s->net.stand = s->settings->tproxy.mode == MODE_TPROXY && s->settings->tproxy.on_death == ON_DEATH_CLOSED;
	if (s->net.stand)
		surroundings_probe(&s->around); /* which backend closes the way before the leftovers go */
	net_remove(&s->net);
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
		net_settle(&s->net, stands(s));
		net_remove(&s->net);
		break;
	case ACT_RETRY_LATER:
		events_later(s, &s->retry, s->retries < 5 ? 100 << s->retries : RETRY_MAX_MS);
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
		s->reload.core = false;
		s->starts++;
		s->child_since = clock_both();
		mihomo_start(&s->mihomo); /* ahead of the helpers: each fork is a millisecond */
		if (s->machine.life.tproxy)
			servers_extract(&s->servers, SERVERS_START);
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
		events_later(s, &s->backoff, s->backoff_ms);
		break;
	case ACT_HANG_TIMER:
		events_later(s, &s->hang, s->settings->mihomo.hang_kill_ms);
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
	bool saving = servers_saving(&s->servers) || deaths_saving(&s->deaths);

	if ((saving || hooks_busy(&s->hooks)) && s->farewells++ < FAREWELLS) {
		events_later(s, &s->farewell, FAREWELL_MS);
		return;
	}
	net_remove_routes(&s->net);
	surroundings_restore_sysctls(&s->around);
	log_info(LOG_CLASH, "clashsup stopped, the network is direct");
	ev_break(s->loop, EVBREAK_ALL);
}

static void shut_down_when_clean(struct supervisor *s)
{
	const struct lifecycle *l = &s->machine.life;

	/* A probe that is killed leaves its chain; it takes some tens of milliseconds. */
	if (s->shutting_down && l->child == CHILD_STOPPED && l->net == NET_DIRECT && net_is_clean(&s->net) &&
	    !s->around.probing)
		finish_shutdown(s);
}

static void moved(void *ctx, const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event)
{
	struct supervisor *s = ctx;

	if (from->child != to->child || from->net != to->net)
		s->since = clock_both();
	if (from->child != CHILD_READY && to->child == CHILD_READY)
		health_anew(&s->health);
	if (!lifecycle_has_process(to->child))
		health_stop(&s->health);
	if (from->net == NET_ARMED || from->net == NET_ARMING)
		s->crashed = event == EV_DYING || event == EV_EXIT_AGAIN || event == EV_EXIT_BACKOFF ||
			     event == EV_EXIT_GIVE_UP;
	narrate_move(from, to, event);
	announce(s, TELL(.kind = ANNOUNCE_MOVED, .from = from, .event = event));
	restart_moved(s, from, to, event);
	if (event == EV_REMOVED)
		s->retries = 0;
	if (to->net == NET_DIRECT)
		net_settle(&s->net, stands(s));
	reload_go_on(s);
	shut_down_when_clean(s);
}

/* ---- events ---- */

static void on_mihomo(void *ctx, enum mihomo_event event)
{
	struct supervisor *s = ctx;

	s->sign_us = event == MIHOMO_EXITED && s->machine.life.net == NET_DISARMING ? s->sign_us : clock_us();
	switch (event) {
	case MIHOMO_STARTED:
		announce(s, TELL(.kind = ANNOUNCE_STARTED, .pid = s->mihomo.proc.pid));
		instance_note_child(s->settings->state.run, s->mihomo.proc.pid);
		deaths_born(&s->deaths, s->mihomo.proc.pid);
		s->around.mihomo = s->mihomo.proc.pid;
		break;
	case MIHOMO_READY:
		deaths_born(&s->deaths, s->mihomo.proc.pid); /* by now in its own cgroup, if it has one */
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
		restart_exited(s);
		break;
	case MIHOMO_NO_START:
		restart_no_start(s);
		break;
	}
}

/* Behind the step, so that the state that is told is the new one. */
static void announce_net(struct supervisor *s, enum net_event event)
{
	if (event == NET_EV_REMOVED)
		announce(s, TELL(.kind = ANNOUNCE_DISARMED, .took_us = s->disarm_us));
	if (event != NET_EV_ARMED)
		return;
	announce(s, TELL(.kind = ANNOUNCE_ARMED, .took_us = s->armed_in_us));
	if (s->down)
		announce(s, TELL(.kind = ANNOUNCE_RECOVERED, .took_us = s->armed_in_us));
	s->down = false;
}

static void on_net(void *ctx, enum net_event event)
{
	static const enum lifecycle_event as[] = { [NET_EV_ARMED] = EV_ARMED,
						   [NET_EV_ARM_FAILED] = EV_ARM_FAILED,
						   [NET_EV_REMOVED] = EV_REMOVED,
						   [NET_EV_REMOVE_FAILED] = EV_REMOVE_FAILED };
	struct supervisor *s = ctx;

	if (event == NET_EV_REFEED) {
		servers_refeed(&s->servers);
		return;
	}
	if (event == NET_EV_SETTLED) {
		reload_go_on(s);
		shut_down_when_clean(s);
		return;
	}
	if (event == NET_EV_SETS) {
		if (!s->recovering && !net_is_held_up(&s->net))
			log_info(LOG_CLASH, "Empty ipset %s created (will be populated asynchronously)",
				 s->settings->ipset.name);
		servers_on(&s->servers, s->net.family);
		return;
	}
	if (event == NET_EV_REMOVED) {
		narrate_removed(s);
		if (!s->shutting_down)
			surroundings_probe(&s->around); /* never beside a job of the firewall; once is enough */
	}
	if (event == NET_EV_ARM_FAILED)
		s->sign_us = clock_us();
	if (event == NET_EV_ARMED) {
		s->armed_in_us = clock_us() - s->sign_us;
		narrate_armed(s);
		s->recovering = true;
	}
	machine_post(&s->machine, as[event]);
	announce_net(s, event);
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

static size_t on_list(void *ctx, struct addr **out)
{
	struct supervisor *s = ctx;

	return servers_list(&s->servers, out);
}

static void on_counts(void *ctx, size_t out[IP_FAMILIES])
{
	struct supervisor *s = ctx;

	for (unsigned f = 0; f < IP_FAMILIES; f++)
		out[f] = servers_settled(&s->servers, (enum ip_family)f);
}

static void on_hold(void *ctx, bool hold)
{
	struct supervisor *s = ctx;

	servers_hold(&s->servers, hold);
}

static int on_change(void *ctx, enum ip_family family, const struct addr *add, size_t n_add, const struct addr *del,
		     size_t n_del, struct err *e)
{
	struct supervisor *s = ctx;

	return net_change_servers(&s->net, family, add, n_add, del, n_del, e);
}

static void on_known(void *ctx)
{
	struct supervisor *s = ctx;

	net_known(&s->net);
	shut_down_when_clean(s);
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
		net_remove_routes(&s->net);
		surroundings_restore_sysctls(&s->around);
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
	service_look(s);
	lines_tick(&s->lines);
	logfile_tick(&s->logfile);
	if (s->mihomo.proc.pid)
		deaths_tick(&s->deaths);
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
	announce(s, TELL(.kind = ANNOUNCE_STOPPING));
	s->sign_us = clock_us();
	log_info(LOG_CLASH, "clashsup is stopping");
	events_later(s, &s->give_up, s->settings->mihomo.stop_timeout_ms + GIVE_UP_MS);
	machine_post(&s->machine, EV_STOP);
}

static const int signal_numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR2 };

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
	struct supervisor *s = ctx;
	char did[RELOAD_TEXT];

	if (info->ssi_signo == SIGUSR2)
		reexec_start(s);
	else if (info->ssi_signo != SIGHUP)
		supervisor_shutdown(s);
	else if (!s->shutting_down)
		reload_now(s, did);
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

static void on_line(void *ctx)
{
	struct supervisor *s = ctx;

	ctl_wake(s->ctl);
}

/* ---- wiring ---- */

void events_wire(struct supervisor *s)
{
	s->effects = (struct effects){ run_action, moved, s };
	s->restart.min_ms = s->settings->restart.backoff_min_ms;
	s->restart.max_ms = s->settings->restart.backoff_max_ms;
	s->restart.stable_ms = s->settings->restart.stable_ms;
	eventlog_init(&s->eventlog);
	lines_init(&s->lines, s->settings, on_line, s);
	hooks_init(&s->hooks, &s->reaper, s->settings);
	s->mihomo = (struct mihomo){ .loop = s->loop,
				     .lines = &s->lines,
				     .reaper = &s->reaper,
				     .settings = s->settings,
				     .run_dir = s->run_dir,
				     .home = s->home_in_force,
				     .ids = s->ids,
				     .tell = on_mihomo,
				     .ask_for_port = on_ask_port,
				     .ctx = s };
	s->check_setup = (struct check_setup){ &s->reaper, s->settings,	 s->config,	 s->home,
					       s->run_dir, s->helper_fd, s->helper_path, s->ids };
	s->around = (struct surroundings){
		.loop = s->loop, .reaper = &s->reaper, .settings = s->settings, .known = on_known, .ctx = s
	};
	s->net = (struct net){ .loop = s->loop,
			       .reaper = &s->reaper,
			       .settings = s->settings,
			       .around = &s->around,
			       .ops = { on_net, on_list, on_counts, on_hold },
			       .ctx = s };
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
				       .setup = { &s->reaper, s->settings, s->run_dir, s->home_in_force, s->config,
						  s->helper_fd, s->helper_path, s->ids },
				       .change = on_change,
				       .filled = on_filled,
				       .ctx = s };
}

int events_watch(struct supervisor *s)
{
	ev_timer *timers[] = { &s->backoff, &s->hang, &s->retry, &s->give_up, &s->farewell };
	sigset_t wanted;

	sigemptyset(&wanted);
	for (size_t i = 0; i < sizeof(signal_numbers) / sizeof(signal_numbers[0]); i++)
		sigaddset(&wanted, signal_numbers[i]);
	proc_open_signals(&wanted);
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
	return loop_signals_start(&s->signals, s->loop, &wanted, on_signal, s);
}

int events_open(struct supervisor *s, struct err *e)
{
	const struct reexec_state *from = s->handed;
	int r;

	surroundings_init(&s->around);
	r = net_init(&s->net, e);
	if (r == 0)
		r = from ? mihomo_resume(&s->mihomo, cJSON_GetObjectItemCaseSensitive(from->json, "mihomo"), from->fds,
					 e)
			 : mihomo_init(&s->mihomo, e);
	if (r == 0)
		r = check_new(&s->check, &s->check_setup, adopt_checked, s, e);
	if (r == 0)
		r = servers_init(&s->servers, e);
	if (r == 0 && from)
		r = servers_load(&s->servers, from->addresses, from->n_addresses, e);
	else if (r == 0)
		servers_recall(&s->servers);
	if (r == 0)
		r = deaths_init(&s->deaths, &s->reaper, s->settings->state.dir, e);
	if (r == 0)
		r = watch_open(&s->watch, s->loop, adopt_file, scan_yaml_name, s, e);
	if (r == 0)
		r = control_open(s, &s->ctl, e);
	if (r == 0) { /* not for a start that has failed: it may start a child */
		logfile_init(&s->logfile, &s->reaper, s->settings);
		s->lines.file = &s->logfile;
	}
	health_init(&s->health);
	return r;
}
