#include "daemon/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/reexec_state.h"
#include "parse/log_json.h"

bool supervisor_find_config(const struct settings *s, char home[PATH_MAX], char config[PATH_MAX])
{
	static const char *const usual[] = { "/etc/clash", "/etc/mihomo", "/root/.config/mihomo" };
	const char *chosen = s->mihomo.home[0] ? s->mihomo.home : usual[0];
	char probe[PATH_MAX];

	for (size_t i = 0; !s->mihomo.home[0] && i < sizeof(usual) / sizeof(usual[0]); i++) {
		snprintf(probe, sizeof(probe), "%s/config.yaml", usual[i]);
		if (access(probe, F_OK) == 0) {
			chosen = usual[i];
			break;
		}
	}
	memmove(home, chosen, strlen(chosen) + 1);
	if (s->mihomo.config[0])
		snprintf(config, PATH_MAX, "%s", s->mihomo.config);
	else
		snprintf(config, PATH_MAX, "%.*s/config.yaml", PATH_MAX - 16, home);
	return access(config, F_OK) == 0;
}

void supervisor_log_format(const struct settings *s)
{
	log_set_format(s->log.format == LOG_FORMAT_JSON ? log_json : NULL);
}

static int make_directories(struct supervisor *s, struct err *e)
{
	int r = io_path(s->run_dir, sizeof(s->run_dir), e, "%s/mihomo", s->settings->state.run);

	if (r == 0)
		r = io_mkdirs(s->settings->state.run, 0755, e);
	if (r == 0)
		r = io_mkdirs(s->run_dir, 0700, e);
	if (r < 0)
		return r;
	if (chmod(s->run_dir, 0700) < 0 || chown(s->run_dir, s->ids.uid, (gid_t)-1) < 0)
		return err_sys(e, errno, "cannot give %s to Mihomo's user", s->run_dir);
	return 0;
}

int supervisor_identify(const struct settings *s, struct sandbox_ids *out, struct err *e)
{
	int r;

	*out = (struct sandbox_ids){ .gid = (gid_t)s->mihomo.group,
				     .nofile = s->mihomo.nofile,
				     .attr = &s->mihomo.attr };
	r = sandbox_user(s->mihomo.user, &out->uid, e);
	out->as_root = out->uid == 0;
	return r;
}

int supervisor_take_ids(struct supervisor *s, struct err *e)
{
	struct sandbox_ids ids;
	int r = supervisor_identify(s->settings, &ids, e);

	if (r == 0 && ids.uid != s->ids.uid) {
		r = chown(s->run_dir, ids.uid, (gid_t)-1) < 0
			    ? err_sys(e, errno, "cannot give %s to Mihomo's user", s->run_dir)
			    : check_give(s->check, s->ids.uid, ids.uid, e);
	}
	if (r == 0)
		r = mihomo_give(&s->mihomo, &ids, e);
	if (r == 0)
		s->ids = s->check_setup.ids = s->health.ids = s->servers.setup.ids = ids;
	return r;
}

static void close_parts(struct supervisor *s)
{
	ctl_close(s->ctl);
	s->ctl = NULL; /* last words are nobody's news */
	reload_deinit(s);
	reexec_deinit(s);
	watch_close(s->watch);
	health_stop(&s->health);
	if (s->servers.ledger)
		servers_deinit(&s->servers);
	check_free(s->check);
	if (s->deaths.reaper)
		deaths_deinit(&s->deaths);
	hooks_deinit(&s->hooks);
	service_deinit(&s->service, s->loop);
	if (s->mihomo.look.data)
		mihomo_deinit(&s->mihomo);
	net_deinit(&s->net);
	surroundings_deinit(&s->around);
	lines_free(&s->lines); /* behind Mihomo's last words */
	logfile_deinit(&s->logfile);
	ring_free(&s->eventlog.ring);
}

/* One a network namespace: by what the program before us has, or a claim of our own. */
static int claim(struct supervisor *s, struct err *e)
{
	s->instance = s->handed ? reexec_take_fd(s->handed->fds, "instance") : instance_claim(e);
	if (s->handed && s->instance < 0)
		return err_set(e, EBADF, "the claim to be the only one was not handed over");
	return s->instance;
}

static int set_up(struct supervisor *s, struct err *e)
{
	int r = supervisor_identify(s->settings, &s->ids, e);

	s->armed_in_us = s->disarm_us = -1;
	if (r == 0)
		r = claim(s, e);
	if (r >= 0)
		r = make_directories(s, e);
	if (r >= 0)
		s->helper_fd = r = helper_open(s->helper_path, sizeof(s->helper_path), e);
	if (r < 0)
		return r;
	s->loop = loop_open();
	if (!s->loop)
		return err_set(e, ENOSYS, "no event loop");
	if (!s->handed)
		instance_end_leftover(s->settings->state.run); /* before anything is made in its directory */
	service_init(&s->service, s->loop, s->ready_fd);
	s->ready_fd = -1;
	reexec_init(s);
	events_wire(s);
	r = reaper_start(&s->reaper, s->loop);
	if (r < 0)
		return err_sys(e, -r, "cannot watch for deaths");
	reaper_spare(&s->reaper);
	r = events_watch(s);
	if (r < 0)
		return err_sys(e, -r, "cannot watch for signals");
	r = events_open(s, e);
	machine_init(&s->machine, &s->effects, s->settings->tproxy.mode == MODE_TPROXY);
	return r;
}

static void tear_down(struct supervisor *s)
{
	if (s->loop) {
		close_parts(s);
		loop_signals_stop(&s->signals, s->loop);
		reaper_stop(&s->reaper);
		loop_close(s->loop);
	}
	io_close(&s->helper_fd);
	io_close(&s->instance);
	io_close(&s->ready_fd);
	log_flush();
}

/* The frame of all: whatever the body did, everything is closed behind it. */
static int with_supervisor(struct settings *settings, const struct reload_source *source, int ready_fd,
			   struct reexec_state *handed, int (*body)(struct supervisor *, struct err *))
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct err e = ERR_INIT;
	int code;

	if (!s)
		return 1;
	s->settings = settings;
	s->handed = handed;
	s->instance = s->helper_fd = s->service.ready_fd = s->service.notify.fd = -1;
	s->ready_fd = ready_fd;
	reload_init(s, source);
	code = body(s, &e);
	if (code && e.code)
		log_error(LOG_CLASH, "%s", e.msg);
	tear_down(s);
	free(s);
	return code;
}

static int run(struct supervisor *s, struct err *e)
{
	if (set_up(s, e) < 0)
		return 1;
	surroundings_restore_sysctls(&s->around); /* what a killed one has changed */
	surroundings_look(&s->around, false);
	events_sweep(s); /* arming waits for it, Mihomo's start does not */
	machine_post(&s->machine, EV_START);
	ev_run(s->loop, 0);
	return s->exit_code;
}

int supervisor_run(struct settings *settings, const struct reload_source *source, int ready_fd)
{
	return with_supervisor(settings, source, ready_fd, NULL, run);
}

/* ---- over a reexec ---- */

#define NOT_RESUMED (-1)

static int resume(struct supervisor *s, struct err *e)
{
	if (set_up(s, e) < 0)
		return NOT_RESUMED;
	reexec_go_on(s, s->handed);
	reexec_state_drop(s->handed);
	s->handed = NULL;
	ev_run(s->loop, 0);
	return s->exit_code;
}

static int resume_from(struct reexec_state *state)
{
	log_open(STDOUT_FILENO, state->settings->log.level);
	supervisor_log_format(state->settings);
	return with_supervisor(state->settings, &state->source, reexec_take_fd(state->fds, "ready"), state, resume);
}

bool supervisor_resume(int handed, int *code)
{
	struct reexec_state state = { 0 };
	struct err e = ERR_INIT;
	int r = reexec_state_take(&state, handed, &e);

	if (r < 0)
		log_error(LOG_CLASH, "%s", e.msg);
	*code = r < 0 ? NOT_RESUMED : resume_from(&state);
	reexec_state_free(&state);
	if (*code != NOT_RESUMED)
		return true;
	log_error(LOG_CLASH, "cannot go on where the former program was: everything begins anew");
	for (int fd = procfs_highest_fd(); fd > STDERR_FILENO; fd--)
		close(fd);
	return false;
}

/* ---- clashsup cleanup ---- */

static void on_cleaned(void *ctx, enum net_event event)
{
	struct supervisor *s = ctx;

	s->exit_code = event == NET_EV_REMOVED && !s->net.powerless ? 0 : 1;
	ev_break(s->loop, EVBREAK_ALL);
}

static void on_hold(void *ctx, bool hold)
{
	(void)ctx;
	(void)hold;
}

static int cleanup(struct supervisor *s, struct err *e)
{
	s->instance = instance_claim(e);
	if (s->instance < 0 || !(s->loop = loop_open()))
		return 1;
	s->around = (struct surroundings){ .loop = s->loop, .reaper = &s->reaper, .settings = s->settings };
	surroundings_init(&s->around);
	surroundings_restore_sysctls(&s->around);
	s->net = (struct net){ .loop = s->loop,
			       .reaper = &s->reaper,
			       .settings = s->settings,
			       .around = &s->around,
			       .ops = { .tell = on_cleaned, .hold = on_hold },
			       .ctx = s };
	if (reaper_start(&s->reaper, s->loop) < 0 || net_init(&s->net, e) < 0)
		return 1;
	s->exit_code = -1;
	net_remove(&s->net);
	if (s->exit_code < 0) /* it may be over already */
		ev_run(s->loop, 0);
	return s->exit_code;
}

int supervisor_cleanup(struct settings *settings)
{
	return with_supervisor(settings, &(const struct reload_source){ .file = "" }, -1, NULL, cleanup);
}
