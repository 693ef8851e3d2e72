#include "daemon/mihomo.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "clashsup/cgroup.h"
#include "clashsup/environment.h"
#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/clock.h"

#define LIFE_FD_MAX 65535 /* "above all it will ever open" without a larger table in the kernel */
#define FAST_LOOKS 200	  /* looks 5 ms apart after a change, then one a second */
#define SETTLE_LOOKS 40	  /* of a ready one whose API connection ended: 200 ms cover an exec */
#define HANDLERS_MS 200	  /* its handlers come behind post-up, whose word we have */
#define API_PORT_LOOKS 20 /* looks between two requests to open the port by the API */

static const int protocols[2] = { IPPROTO_TCP, IPPROTO_UDP };

static void watch_fd(struct mihomo *m, ev_io *w, int fd, void (*cb)(struct ev_loop *, ev_io *, int))
{
	ev_io_init(w, cb, fd, EV_READ);
	w->data = m;
	ev_io_start(m->loop, w);
}

/* ---- readiness ---- */

static void look_soon(struct mihomo *m)
{
	m->looks = 0;
	ev_timer_stop(m->loop, &m->look);
	ev_timer_set(&m->look, 0.005, 0.005);
	ev_timer_start(m->loop, &m->look);
}

#define MARK_UNSEEN 1 /* the kernel hides the value from those without SYS_PTRACE */

/* Tells a restart in place, which keeps pid and start time; never 0. */
static uint64_t exec_mark(pid_t pid)
{
	uint64_t mark = procfs_stat(pid, PROCFS_STACK);

	return mark ? mark : MARK_UNSEEN;
}

static void on_fifo(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mihomo *m = w->data;
	char junk[4096];
	(void)loop;
	(void)revents;

	if (io_read(w->fd, junk, sizeof(junk)) <= 0 || !m->proc.pid)
		return;
	m->restarts_in_place += m->ups++ > 0; /* it speaks once an exec */
	m->said_up = exec_mark(m->proc.pid);
	m->said_ms = clock_ms();
	look_soon(m);
	ev_feed_event(m->loop, &m->look, EV_TIMER);
}

static void on_life(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mihomo *m = w->data;
	(void)loop;
	(void)revents;

	evio_close(m->loop, w);
	m->tell(m->ctx, MIHOMO_DYING);
}

static void on_api(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mihomo *m = w->data;
	char junk[256];
	ssize_t n = io_read(w->fd, junk, sizeof(junk));
	(void)loop;
	(void)revents;

	if (n > 0 || n == -EAGAIN)
		return;
	evio_close(m->loop, w);
	if (m->told_ready)
		mihomo_still_there(m);
	look_soon(m);
}

/* Holds one connection without a request: its end is the first sign of a restart in place. */
static void api_connect(struct mihomo *m)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t len = sizeof(peer);
	cleanup_fd int fd = -1;

	if (m->api.fd >= 0 || snprintf(to.sun_path, sizeof(to.sun_path), "%s/api.sock", m->run_dir) < 0)
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid != m->proc.pid)
		return;
	watch_fd(m, &m->api, steal_fd(&fd), on_api);
}

static const char *protocol_name(unsigned p)
{
	return p == 0 ? "TCP" : "UDP";
}

/*
 * Is the socket the child's? Where its descriptors cannot be seen (a container
 * without SYS_PTRACE) its user and the lack of another holder have to do: the
 * port was free when it was started.
 */
static bool is_the_childs(const struct mihomo *m, const struct sockdiag_socket *s)
{
	int r = sockdiag_owned_by(m->proc.pid, s->inode);
	pid_t other;

	if (r >= 0)
		return r;
	return s->uid == m->ids.uid && sockdiag_owner(s->inode, &other, NULL, 0) == 0;
}

/* Is the family's listener complete and the child's? Fills the note with what is missing. */
static bool family_ready(struct mihomo *m, enum ip_family f)
{
	const char *where = f == IP_V4 ? "IPv4" : "IPv6";
	char *note = m->family_note[f];
	size_t cap = sizeof(m->family_note[f]);

	for (unsigned p = 0; p < 2; p++) {
		struct sockdiag_socket *s = &m->listener[f][p];
		struct err e = ERR_INIT;
		char name[64];
		pid_t pid;
		int r = sockdiag_find(f, protocols[p], m->port, s, &e);

		if (r == 1 && is_the_childs(m, s))
			continue;
		if (r < 0)
			snprintf(note, cap, "cannot look for its listener: %.100s", e.msg);
		else if (r == 0)
			snprintf(note, cap, "no %s listener of Mihomo on port %u for %s", protocol_name(p), m->port,
				 where);
		else if (sockdiag_owner(s->inode, &pid, name, sizeof(name)) == 1)
			snprintf(note, cap, "%s port %u is held by %s (pid %d)", protocol_name(p), m->port, name,
				 (int)pid);
		else
			snprintf(note, cap, "%s port %u is held by another program", protocol_name(p), m->port);
		memset(m->listener[f], 0, sizeof(m->listener[f]));
		return false;
	}
	note[0] = '\0';
	return true;
}

/* In mode mixed no packet is sent to it. */
static bool needs_listener(const struct mihomo *m)
{
	return m->settings->tproxy.mode == MODE_TPROXY;
}

static bool family_wanted(const struct mihomo *m, enum ip_family f)
{
	return m->settings->tproxy.family[f] != SETTING_NO;
}

static bool any_family_ready(struct mihomo *m)
{
	bool any = false;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (family_wanted(m, (enum ip_family)f))
			any |= family_ready(m, (enum ip_family)f);
	}
	return any;
}

/* What is waited for is told at a falling rate: `slow` counts the looks since the fast ones ended. */
static void tell_waiting(const struct mihomo *m, uint32_t fast)
{
	uint32_t slow = m->looks - fast;

	if (m->looks > fast && (slow & (slow - 1)) == 0)
		log_info(LOG_CLASH, "still waiting for %s", m->waiting_for);
}

static void look_for_ready(struct mihomo *m)
{
	if (!m->has_shell && clock_ms() - m->started_ms >= MIHOMO_NO_SHELL_MS)
		m->said_up = exec_mark(m->proc.pid);
	if (!m->said_up || m->said_up != exec_mark(m->proc.pid)) {
		snprintf(m->waiting_for, sizeof(m->waiting_for), "Mihomo to load its providers");
		return;
	}
	if (ev_is_active(&m->hup)) { /* it would be armed, and reload in the midst of the first connections */
		snprintf(m->waiting_for, sizeof(m->waiting_for), "Mihomo to take its new config");
		return;
	}
	if (needs_listener(m) && !any_family_ready(m)) {
		unsigned f = family_wanted(m, IP_V4) ? IP_V4 : IP_V6;

		snprintf(m->waiting_for, sizeof(m->waiting_for), "its TPROXY listener: %s", m->family_note[f]);
		if (m->patch_port && m->looks % API_PORT_LOOKS == 0)
			m->ask_for_port(m->ctx, m->port);
		return;
	}
	m->waiting_for[0] = '\0';
	m->told_ready = true;
	m->tell(m->ctx, MIHOMO_READY);
}

static void on_look(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct mihomo *m = w->data;
	(void)revents;

	m->looks++;
	if (!m->proc.pid) {
		ev_timer_stop(loop, w);
		return;
	}
	if (m->said_up)
		api_connect(m);
	if (m->told_ready)
		mihomo_still_there(m);
	else
		look_for_ready(m);
	if (!m->told_ready)
		tell_waiting(m, FAST_LOOKS);
	if (m->told_ready && m->looks > SETTLE_LOOKS) {
		ev_timer_stop(loop, w);
	} else if (m->looks == FAST_LOOKS) {
		w->repeat = 1.0;
		ev_timer_again(loop, w);
	}
}

void mihomo_watch_ready(struct mihomo *m)
{
	m->told_ready = false;
	look_soon(m);
}

void mihomo_forget_listener(struct mihomo *m)
{
	memset(m->listener, 0, sizeof(m->listener));
}

void mihomo_still_there(struct mihomo *m)
{
	bool same = m->said_up == exec_mark(m->proc.pid);

	for (unsigned f = 0; f < IP_FAMILIES && same && needs_listener(m); f++) {
		for (unsigned p = 0; p < 2 && same; p++) {
			struct sockdiag_socket now;

			same = !m->listener[f][p].inode ||
			       (sockdiag_find((enum ip_family)f, protocols[p], m->port, &now, NULL) == 1 &&
				now.inode == m->listener[f][p].inode);
		}
	}
	if (same || !m->told_ready)
		return;
	if (procfs_exiting(m->proc.pid)) { /* or unreadable just now: an answer brings it back */
		m->tell(m->ctx, MIHOMO_DYING);
		return;
	}
	m->told_ready = false;
	if (m->said_up == MARK_UNSEEN && m->api.fd < 0) /* the listener and the API are gone: it was an exec */
		m->said_up = 0;
	m->tell(m->ctx, MIHOMO_UNREADY);
}

/* ---- start ---- */

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
	watch_fd(m, &m->life, pipes[2][0], on_life);
	m->group = m->proc.pid;
	m->started_ms = clock_ms();
	look_soon(m);
	return 0;
}

/* A port that somebody holds is waited for, not tripped over: Mihomo would run on without it. */
static bool port_is_free(struct mihomo *m)
{
	if (!needs_listener(m))
		return true;
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned p = 0; p < 2; p++) {
			struct sockdiag_socket s;
			char name[64] = "another program";
			pid_t pid = 0;

			if (sockdiag_find((enum ip_family)f, protocols[p], m->port, &s, NULL) != 1)
				continue;
			sockdiag_owner(s.inode, &pid, name, sizeof(name));
			snprintf(m->waiting_for, sizeof(m->waiting_for),
				 "%s port %u, held by %s (pid %d): end it, or set [tproxy] port", protocol_name(p),
				 m->port, name, (int)pid);
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
		tell_waiting(m, SETTLE_LOOKS);
		ev_timer_set(w, m->looks < SETTLE_LOOKS ? 0.005 : 0.25, 0.0);
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
	return m->said_up && m->said_up == exec_mark(m->proc.pid) && clock_ms() - m->said_ms >= HANDLERS_MS;
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
	watch_fd(m, &m->fifo, steal_fd(&fd), on_fifo);
	return 0;
}

int mihomo_give(struct mihomo *m, const struct sandbox_ids *ids, struct err *e)
{
	if (ids->uid != m->ids.uid && fchown(m->fifo.fd, ids->uid, (gid_t)-1) < 0)
		return err_sys(e, errno, "cannot give the ready FIFO to Mihomo's user");
	m->ids = *ids;
	return 0;
}

int mihomo_init(struct mihomo *m, struct err *e)
{
	m->out.lines = m->err.lines = m->lines;
	m->out.io.fd = m->err.io.fd = m->life.fd = m->api.fd = m->fifo.fd = -1;
	m->proc.on_exit = on_reaped;
	m->proc.data = m;
	ev_timer_init(&m->start, on_start, 0.0, 0.0);
	ev_timer_init(&m->look, on_look, 0.0, 0.0);
	ev_timer_init(&m->stop, on_stop_limit, 0.0, 0.0);
	ev_timer_init(&m->hup, on_hup, 0.0, HANDLERS_MS / 4000.0);
	m->hup.data = m->start.data = m->look.data = m->stop.data = m;
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
