#include "daemon/mihomo.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "clashsup/cgroup.h"
#include "clashsup/environment.h"
#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/clock.h"
#include "daemon/json_get.h"
#include "daemon/mihomo_ready.h"
#include "daemon/reexec_state.h"

#define LIFE_FD_MAX 65535 /* "above all it will ever open" without a larger table in the kernel */
#define HANDLERS_MS 200	  /* its handlers come behind post-up, whose word we have */

/* ---- start ---- */

static void on_life(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mihomo *m = w->data;

	if (evio_again(loop, w, revents))
		return;
	evio_close(m->loop, w);
	m->tell(m->ctx, MIHOMO_DYING);
}

/* The user's own post-up, from [mihomo] args or the environment; `taken` = how many arguments it covers at `at`. */
static const char *user_post_up(char *const *at, size_t *taken)
{
	const char *name = at[0];

	*taken = 0;
	name += strspn(name, "-");
	if (name == at[0] || strncmp(name, "post-up", 7) != 0)
		return NULL;
	if (name[7] == '=') {
		*taken = 1;
		return name + 8;
	}
	if (name[7] != '\0' || !at[1])
		return NULL;
	*taken = 2;
	return at[1];
}

struct command {
	char config[256], api[256], post_up[4096];
	const char *argv[SETTINGS_ARGS_MAX + 12];
};

static int build_command(const struct mihomo *m, struct command *c, char *const *env, struct err *e)
{
	const struct settings *s = m->settings;
	const char *post_up = environment_get(env, "CLASH_POST_UP");
	size_t n = 0, taken;
	int r;

	c->argv[n++] = s->mihomo.binary;
	c->argv[n++] = "-d";
	c->argv[n++] = m->home;
	c->argv[n++] = "-f";
	c->argv[n++] = c->config;
	c->argv[n++] = "-ext-ctl-unix";
	c->argv[n++] = c->api;
	c->argv[n++] = "-post-up";
	c->argv[n++] = c->post_up;
	for (size_t i = 0; s->mihomo.args[i]; i += taken ? taken : 1) {
		const char *own = user_post_up(&s->mihomo.args[i], &taken);

		if (own)
			post_up = own;
		else
			c->argv[n++] = s->mihomo.args[i];
	}
	c->argv[n] = NULL;
	r = io_path(c->config, sizeof(c->config), e, "%s/config.yaml", m->run_dir);
	if (r == 0)
		r = io_path(c->api, sizeof(c->api), e, "%s/api.sock", m->run_dir);
	c->post_up[0] = '\0'; /* Mihomo ends when it cannot run one: none, neither ours nor the user's */
	if (r < 0 || !m->has_shell)
		return r;
	if (post_up && *post_up)
		return io_path(c->post_up, sizeof(c->post_up), e, "{ %s\n} && { echo up >'%s/ready' || :; }", post_up,
			       m->run_dir);
	return io_path(c->post_up, sizeof(c->post_up), e, "echo up >'%s/ready' || :", m->run_dir);
}

/* A cgroup is a help, never a condition. */
static void find_cgroup(struct mihomo *m)
{
	const char *wanted = m->settings->mihomo.attr.cgroup;
	struct err e = ERR_INIT;

	m->ids.cgroup = NULL;
	if (wanted[0] == '\0')
		return;
	if (cgroup_make(wanted, m->cgroup, &e) == 0)
		m->ids.cgroup = m->cgroup;
	else
		log_warn(LOG_CLASH, "Mihomo gets no cgroup of its own: %s", e.msg);
}

static int highest_fd(const struct mihomo *m)
{
	uint64_t limit = m->ids.nofile;
	struct rlimit r;

	if (!limit && getrlimit(RLIMIT_NOFILE, &r) == 0)
		limit = r.rlim_max;
	if (limit > LIFE_FD_MAX + 1 || limit == 0)
		limit = LIFE_FD_MAX + 1;
	return (int)limit - 1;
}

static void forget_process(struct mihomo *m)
{
	evio_close(m->loop, &m->life);
	evio_close(m->loop, &m->api);
	ev_timer_stop(m->loop, &m->look);
	ev_timer_stop(m->loop, &m->stop);
	ev_timer_stop(m->loop, &m->hup);
	mihomo_forget_listener(m);
	m->told_ready = false;
	m->said_up = 0;
	m->ups = 0;
}

static void on_reaped(struct proc *p, int status)
{
	struct mihomo *m = p->data;

	m->lived_ms = clock_ms() - m->started_ms;
	m->last_status = status;
	output_drain(m->loop, &m->out);
	output_drain(m->loop, &m->err);
	kill(-m->group, SIGKILL); /* what it left in its group; members keep the number from being used again */
	forget_process(m);
	m->tell(m->ctx, MIHOMO_EXITED);
}

static int pipes_open(int pipes[3][2], struct err *e)
{
	for (unsigned i = 0; i < 3; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0 || io_nonblock(pipes[i][0]) < 0)
			return err_sys(e, errno, "cannot make a pipe for Mihomo");
	}
	return 0;
}

static int spawn(struct mihomo *m, struct err *e)
{
	int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }; /* out, err, life */
	struct proc_fd life = { -1, highest_fd(m) };
	cleanup_free char **env = mihomo_environment(m->settings);
	struct command c;
	int r;

	if (!env)
		return err_set(e, ENOMEM, "not enough memory");
	m->has_shell = mihomo_can_run_scripts(env);
	find_cgroup(m);
	r = build_command(m, &c, env, e);
	if (r == 0)
		r = pipes_open(pipes, e);
	if (r == 0) {
		struct proc_spec spec = { .argv = c.argv,
					  .envp = (const char *const *)env,
					  .exec_fd = -1,
					  .fd = { -1, pipes[0][1], pipes[1][1] },
					  .extra = &life,
					  .n_extra = 1,
					  .in_child = sandbox_mihomo,
					  .arg = &m->ids };

		life.from = pipes[2][1];
		r = proc_spawn(m->reaper, &m->proc, &spec, e);
	}
	for (unsigned i = 0; i < 3; i++)
		io_close(&pipes[i][1]);
	if (r < 0) {
		for (unsigned i = 0; i < 3; i++)
			io_close(&pipes[i][0]);
		return r;
	}
	output_open(m->loop, &m->out, pipes[0][0]);
	output_open(m->loop, &m->err, pipes[1][0]);
	evio_read(m->loop, &m->life, pipes[2][0], on_life, m);
	m->group = m->proc.pid;
	m->started_ms = clock_ms();
	ready_look_soon(m);
	return 0;
}

/* A port that somebody holds is waited for, not tripped over: Mihomo would run on without it. */
static bool port_is_free(struct mihomo *m)
{
	if (!ready_needs_listener(m))
		return true;
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned p = 0; p < 2; p++) {
			struct sockdiag_socket s;
			char name[64] = "another program";
			pid_t pid = 0;

			if (sockdiag_find((enum ip_family)f, ready_protocols[p], m->port, &s, NULL) != 1)
				continue;
			sockdiag_owner(s.inode, &pid, name, sizeof(name));
			snprintf(m->waiting_for, sizeof(m->waiting_for),
				 "%s port %u, held by %s (pid %d): end it, or set [tproxy] port",
				 ready_protocol_name(p), m->port, name, (int)pid);
			return false;
		}
	}
	return true;
}

static void on_start(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct mihomo *m = w->data;
	struct err e = ERR_INIT;
	(void)revents;

	m->looks++;
	if (!port_is_free(m)) {
		ready_tell_waiting(m, READY_SETTLE_LOOKS);
		ev_timer_set(w, m->looks < READY_SETTLE_LOOKS ? 0.005 : 0.25, 0.0);
		ev_timer_start(loop, w);
		return;
	}
	snprintf(m->waiting_for, sizeof(m->waiting_for), "Mihomo to load its providers");
	if (spawn(m, &e) < 0) {
		snprintf(m->waiting_for, sizeof(m->waiting_for), "a start of Mihomo: %.220s", e.msg);
		log_error(LOG_CLASH, "cannot start Mihomo: %s", e.msg);
		m->tell(m->ctx, MIHOMO_NO_START);
		return;
	}
	m->tell(m->ctx, MIHOMO_STARTED);
}

void mihomo_start(struct mihomo *m)
{
	if (m->proc.pid)
		return;
	m->looks = 0;
	ev_timer_stop(m->loop, &m->start);
	on_start(m->loop, &m->start, 0);
}

/* ---- end ---- */

static void on_stop_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	log_warn(LOG_CLASH, "Mihomo did not end in time, killing it");
	mihomo_kill(w->data);
}

void mihomo_stop(struct mihomo *m)
{
	ev_clear_pending(m->loop, &m->start);
	ev_timer_stop(m->loop, &m->start);
	if (!m->proc.pid) {
		m->lived_ms = 0;
		m->tell(m->ctx, MIHOMO_EXITED);
		return;
	}
	proc_signal_group(&m->proc, SIGTERM);
	proc_signal_group(&m->proc, SIGCONT); /* a stopped one would never see the TERM */
	ev_timer_stop(m->loop, &m->stop);
	ev_timer_set(&m->stop, (double)m->settings->mihomo.stop_timeout_ms / 1000.0, 0.0);
	ev_timer_start(m->loop, &m->stop);
}

void mihomo_kill(struct mihomo *m)
{
	if (m->proc.pid)
		proc_signal_group(&m->proc, SIGKILL);
}

/*
 * Mihomo installs its handlers last (1.19.30, main.go): before that a SIGHUP ends
 * it. After a restart in place that we may not have seen yet they are not there.
 */
static bool has_handlers(const struct mihomo *m)
{
	return m->said_up && m->said_up == ready_exec_mark(m->proc.pid) && clock_ms() - m->said_ms >= HANDLERS_MS;
}

static void on_hup(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct mihomo *m = w->data;
	(void)revents;

	if (m->proc.pid && !has_handlers(m))
		return;
	ev_timer_stop(loop, w);
	if (m->proc.pid)
		proc_signal(&m->proc, SIGHUP);
}

void mihomo_hangup(struct mihomo *m)
{
	ev_timer_again(m->loop, &m->hup);
	on_hup(m->loop, &m->hup, 0);
}

void mihomo_signal(struct mihomo *m, int sig)
{
	const char *name = sigabbrev_np(sig);

	log_info(LOG_CLASH, "sending signal %d (%s%s) to Mihomo, as asked for", sig, name ? "SIG" : "real-time",
		 name ? name : "");
	if (sig == SIGHUP)
		mihomo_hangup(m); /* as soon as it does no harm */
	else
		proc_signal(&m->proc, sig);
}

/* ---- the object ---- */

static int fifo_open(struct mihomo *m, struct err *e)
{
	char path[256];
	struct stat st;
	cleanup_fd int fd = -1;
	int r = io_path(path, sizeof(path), e, "%s/ready", m->run_dir);

	if (r < 0)
		return r;
	if (strchr(path, '\''))
		return err_set(e, EINVAL, "[state] run must not contain a quote: %s", path);
	unlink(path);
	if (mkfifo(path, 0600) < 0)
		return err_sys(e, errno, "cannot make %s", path);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC |
				O_NOFOLLOW); /* both ends: never an EOF, never a wait in the shell */
	if (fd < 0)
		return err_sys(e, errno, "cannot open %s", path);
	/* The directory is Mihomo's: is it still what was made here? */
	if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode) || st.st_nlink != 1 || fchown(fd, m->ids.uid, (gid_t)-1) < 0)
		return err_set(e, EPERM, "cannot give %s to Mihomo's user", path);
	ready_watch(m, steal_fd(&fd));
	return 0;
}

int mihomo_give(struct mihomo *m, const struct sandbox_ids *ids, struct err *e)
{
	if (ids->uid != m->ids.uid && fchown(m->fifo.fd, ids->uid, (gid_t)-1) < 0)
		return err_sys(e, errno, "cannot give the ready FIFO to Mihomo's user");
	m->ids = *ids;
	return 0;
}

static void init(struct mihomo *m)
{
	m->out.lines = m->err.lines = m->lines;
	m->out.io.fd = m->err.io.fd = m->life.fd = m->api.fd = m->fifo.fd = -1;
	m->proc.on_exit = on_reaped;
	m->proc.data = m;
	ev_timer_init(&m->start, on_start, 0.0, 0.0);
	ready_init(m);
	ev_timer_init(&m->stop, on_stop_limit, 0.0, 0.0);
	ev_timer_init(&m->hup, on_hup, 0.0, HANDLERS_MS / 4000.0);
	m->hup.data = m->start.data = m->stop.data = m;
}

int mihomo_init(struct mihomo *m, struct err *e)
{
	init(m);
	return fifo_open(m, e);
}

void mihomo_deinit(struct mihomo *m)
{
	forget_process(m);
	ev_timer_stop(m->loop, &m->start);
	evio_close(m->loop, &m->fifo);
	output_close(m->loop, &m->out);
	output_close(m->loop, &m->err);
	cgroup_drop(m->settings->mihomo.attr.cgroup);
}

/* ---- over a reexec ---- */

static void put_output(const struct output *o, const char *name, cJSON *to, cJSON *fds)
{
	char rest[OUTPUT_LINE + 1];

	memcpy(rest, o->line, o->used);
	rest[o->used] = '\0';
	reexec_put_fd(fds, name, o->io.fd);
	cJSON_AddStringToObject(to, name, rest);
}

void mihomo_save(const struct mihomo *m, cJSON *to, cJSON *fds)
{
	cJSON_AddNumberToObject(to, "pid", m->proc.pid);
	cJSON_AddNumberToObject(to, "group", m->group);
	cJSON_AddNumberToObject(to, "started_ms", (double)m->started_ms);
	cJSON_AddNumberToObject(to, "said_up", (double)m->said_up);
	cJSON_AddNumberToObject(to, "said_ms", (double)m->said_ms);
	cJSON_AddNumberToObject(to, "ups", m->ups);
	cJSON_AddNumberToObject(to, "restarts_in_place", m->restarts_in_place);
	cJSON_AddBoolToObject(to, "has_shell", m->has_shell);
	cJSON_AddBoolToObject(to, "ready", m->told_ready);
	cJSON_AddBoolToObject(to, "hangup", ev_is_active(&m->hup));
	reexec_put_fd(fds, "fifo", m->fifo.fd);
	reexec_put_fd(fds, "life", m->life.fd);
	put_output(&m->out, "out", to, fds);
	put_output(&m->err, "err", to, fds);
}

static void take_output(struct mihomo *m, struct output *o, const char *name, const cJSON *from, const cJSON *fds)
{
	const char *rest = json_get_text(from, name);
	int fd = reexec_take_fd(fds, name);

	if (fd < 0)
		return;
	output_open(m->loop, o, fd);
	o->used = strlen(rest) < sizeof(o->line) ? strlen(rest) : 0;
	memcpy(o->line, rest, o->used);
}

int mihomo_resume(struct mihomo *m, const cJSON *from, const cJSON *fds, struct err *e)
{
	int64_t pid = json_get_number(from, "pid", 0);
	siginfo_t info;
	int fifo, life;

	init(m);
	fifo = reexec_take_fd(fds, "fifo");
	if (fifo < 0)
		return err_set(e, EBADF, "the ready FIFO was not handed over");
	ready_watch(m, fifo);
	m->restarts_in_place = (uint32_t)json_get_number(from, "restarts_in_place", 0);
	take_output(m, &m->out, "out", from, fds);
	take_output(m, &m->err, "err", from, fds);
	if (pid <= 1 || pid > INT_MAX)
		return 0;
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return err_sys(e, errno, "Mihomo (pid %lld) is no child of ours any more", (long long)pid);
	proc_adopt(m->reaper, &m->proc, (pid_t)pid);
	life = reexec_take_fd(fds, "life"); /* none: its end was told, and the process is about to follow */
	if (life >= 0)
		evio_read(m->loop, &m->life, life, on_life, m);
	m->group = (pid_t)json_get_number(from, "group", pid);
	m->started_ms = json_get_number(from, "started_ms", clock_ms());
	m->said_up = (uint64_t)json_get_number(from, "said_up", 0);
	m->said_ms = json_get_number(from, "said_ms", 0);
	m->ups = (uint32_t)json_get_number(from, "ups", 0);
	m->has_shell = json_get_true(from, "has_shell");
	m->told_ready = json_get_true(from, "ready");
	if (json_get_true(from, "hangup"))
		ev_timer_again(m->loop, &m->hup);
	return 0;
}

void mihomo_go_on(struct mihomo *m)
{
	if (!m->proc.pid) {
		mihomo_start(m);
		return;
	}
	if (procfs_exiting(m->proc.pid)) {
		m->tell(m->ctx, MIHOMO_DYING);
		return;
	}
	if (m->told_ready && ready_needs_listener(m) &&
	    !ready_find_listeners(m)) { /* this also finds whose loss is to be noticed */
		m->told_ready = false;
		m->tell(m->ctx, MIHOMO_UNREADY);
	}
	ready_look_soon(m);
}
