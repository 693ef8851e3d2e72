#include "daemon/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/log.h"

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

static int identify(struct supervisor *s, struct err *e)
{
	int r = sandbox_user(s->settings->mihomo.user, &s->ids.uid, e);

	s->ids.gid = (gid_t)s->settings->mihomo.group;
	s->ids.as_root = s->ids.uid == 0;
	s->ids.nofile = s->settings->mihomo.nofile;
	return r;
}

static void close_parts(struct supervisor *s)
{
	ctl_close(s->ctl);
	watch_close(s->watch);
	health_stop(&s->health);
	if (s->servers.ledger)
		servers_deinit(&s->servers);
	check_free(s->check);
	if (s->mihomo.look.data)
		mihomo_deinit(&s->mihomo);
	net_deinit(&s->net);
}

static int set_up(struct supervisor *s, struct err *e)
{
	int r = identify(s, e);

	s->armed_in_us = s->disarm_us = -1;
	if (r == 0)
		s->instance = r = instance_claim(e);
	if (r >= 0)
		r = make_directories(s, e);
	if (r >= 0)
		s->helper_fd = r = helper_open(s->helper_path, sizeof(s->helper_path), e);
	if (r < 0)
		return r;
	s->loop = ev_default_loop(EVFLAG_NOENV);
	if (!s->loop)
		return err_set(e, ENOSYS, "no event loop");
	instance_end_leftover(s->settings->state.run); /* before anything is made in its directory */
	events_wire(s);
	reaper_start(&s->reaper, s->loop);
	events_watch(s);
	r = events_open(s, e);
	machine_init(&s->machine, &s->effects, s->settings->tproxy.mode == MODE_TPROXY);
	return r;
}

static void tear_down(struct supervisor *s)
{
	if (s->loop) {
		close_parts(s);
		reaper_stop(&s->reaper);
		ev_loop_destroy(s->loop);
	}
	io_close(&s->helper_fd);
	io_close(&s->instance);
	log_flush();
}

/* The frame of both: whatever the body did, everything is closed behind it. */
static int with_supervisor(struct settings *settings, int (*body)(struct supervisor *, struct err *))
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct err e = ERR_INIT;
	int code;

	if (!s)
		return 1;
	s->settings = settings;
	s->instance = s->helper_fd = -1;
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
	net_remove(&s->net); /* the sweep; arming waits for it, Mihomo's start does not */
	machine_post(&s->machine, EV_START);
	ev_run(s->loop, 0);
	return s->exit_code;
}

int supervisor_run(struct settings *settings)
{
	return with_supervisor(settings, run);
}

/* ---- clashsup cleanup ---- */

static void on_cleaned(void *ctx, enum net_event event)
{
	struct supervisor *s = ctx;

	s->exit_code = event == NET_EV_REMOVED ? 0 : 1;
	ev_break(s->loop, EVBREAK_ALL);
}

static int cleanup(struct supervisor *s, struct err *e)
{
	s->instance = instance_claim(e);
	if (s->instance < 0 || !(s->loop = ev_default_loop(EVFLAG_NOENV)))
		return 1;
	s->net = (struct net){
		.loop = s->loop, .reaper = &s->reaper, .settings = s->settings, .tell = on_cleaned, .ctx = s
	};
	reaper_start(&s->reaper, s->loop);
	if (net_init(&s->net, e) < 0)
		return 1;
	s->exit_code = -1;
	net_remove(&s->net);
	if (s->exit_code < 0) /* it may be over already */
		ev_run(s->loop, 0);
	return s->exit_code;
}

int supervisor_cleanup(struct settings *settings)
{
	return with_supervisor(settings, cleanup);
}
