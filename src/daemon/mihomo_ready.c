#include "daemon/mihomo_ready.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/clock.h"

#define FAST_LOOKS 200	  /* looks 5 ms apart after a change, then one a second */
#define API_PORT_LOOKS 20 /* looks between two requests to open the port by the API */

const int ready_protocols[2] = { IPPROTO_TCP, IPPROTO_UDP };

void ready_look_soon(struct mihomo *m)
{
	m->looks = 0;
	ev_timer_stop(m->loop, &m->look);
	ev_timer_set(&m->look, 0.005, 0.005);
	ev_timer_start(m->loop, &m->look);
}

#define MARK_UNSEEN 1 /* the kernel hides the value from those without SYS_PTRACE */

/* Tells a restart in place, which keeps pid and start time; never 0. */
uint64_t ready_exec_mark(pid_t pid)
{
	uint64_t mark = procfs_stat(pid, PROCFS_STACK);

	return mark ? mark : MARK_UNSEEN;
}

static void on_fifo(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mihomo *m = w->data;
	char junk[4096];

	if (evio_again(loop, w, revents))
		return;
	if (io_read(w->fd, junk, sizeof(junk)) <= 0 || !m->proc.pid)
		return;
	m->restarts_in_place += m->ups++ > 0; /* it speaks once an exec */
	m->said_up = ready_exec_mark(m->proc.pid);
	m->said_ms = clock_ms();
	ready_look_soon(m);
	ev_feed_event(m->loop, &m->look, EV_TIMER);
}

static void on_api(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mihomo *m = w->data;
	char junk[256];
	ssize_t n;

	if (evio_again(loop, w, revents))
		return;
	n = io_read(w->fd, junk, sizeof(junk));
	if (n > 0 || n == -EAGAIN)
		return;
	evio_close(m->loop, w);
	if (m->told_ready)
		mihomo_still_there(m);
	ready_look_soon(m);
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
	evio_read(m->loop, &m->api, steal_fd(&fd), on_api, m);
}

const char *ready_protocol_name(unsigned p)
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
		int r = sockdiag_find(f, ready_protocols[p], m->port, s, &e);

		if (r == 1 && is_the_childs(m, s))
			continue;
		if (r < 0)
			snprintf(note, cap, "cannot look for its listener: %.100s", e.msg);
		else if (r == 0)
			snprintf(note, cap, "no %s listener of Mihomo on port %u for %s", ready_protocol_name(p),
				 m->port, where);
		else if (sockdiag_owner(s->inode, &pid, name, sizeof(name)) == 1)
			snprintf(note, cap, "%s port %u is held by %s (pid %d)", ready_protocol_name(p), m->port, name,
				 (int)pid);
		else
			snprintf(note, cap, "%s port %u is held by another program", ready_protocol_name(p), m->port);
		memset(m->listener[f], 0, sizeof(m->listener[f]));
		return false;
	}
	note[0] = '\0';
	return true;
}

/* In mode mixed no packet is sent to it. */
bool ready_needs_listener(const struct mihomo *m)
{
	return m->settings->tproxy.mode == MODE_TPROXY;
}

static bool family_wanted(const struct mihomo *m, enum ip_family f)
{
	return m->settings->tproxy.family[f] != SETTING_NO;
}

bool ready_find_listeners(struct mihomo *m)
{
	bool any = false;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (family_wanted(m, (enum ip_family)f))
			any |= family_ready(m, (enum ip_family)f);
	}
	return any;
}

/* What is waited for is told at a falling rate: `slow` counts the looks since the fast ones ended. */
void ready_tell_waiting(const struct mihomo *m, uint32_t fast)
{
	uint32_t slow = m->looks - fast;

	if (m->looks > fast && (slow & (slow - 1)) == 0)
		log_info(LOG_CLASH, "still waiting for %s", m->waiting_for);
}

static void look_for_ready(struct mihomo *m)
{
	if (!m->has_shell && clock_ms() - m->started_ms >= MIHOMO_NO_SHELL_MS)
		m->said_up = ready_exec_mark(m->proc.pid);
	if (!m->said_up || m->said_up != ready_exec_mark(m->proc.pid)) {
		snprintf(m->waiting_for, sizeof(m->waiting_for), "Mihomo to load its providers");
		return;
	}
	if (ev_is_active(&m->hup)) { /* it would be armed, and reload in the midst of the first connections */
		snprintf(m->waiting_for, sizeof(m->waiting_for), "Mihomo to take its new config");
		return;
	}
	if (ready_needs_listener(m) && !ready_find_listeners(m)) {
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
		ready_tell_waiting(m, FAST_LOOKS);
	if (m->told_ready && m->looks > READY_SETTLE_LOOKS) {
		ev_timer_stop(loop, w);
	} else if (m->looks == FAST_LOOKS) {
		w->repeat = 1.0;
		ev_timer_again(loop, w);
	}
}

void mihomo_watch_ready(struct mihomo *m)
{
	m->told_ready = false;
	ready_look_soon(m);
}

void mihomo_forget_listener(struct mihomo *m)
{
	memset(m->listener, 0, sizeof(m->listener));
}

void mihomo_still_there(struct mihomo *m)
{
	bool same = m->said_up == ready_exec_mark(m->proc.pid);

	for (unsigned f = 0; f < IP_FAMILIES && same && ready_needs_listener(m); f++) {
		for (unsigned p = 0; p < 2 && same; p++) {
			struct sockdiag_socket now;

			same = !m->listener[f][p].inode ||
			       (sockdiag_find((enum ip_family)f, ready_protocols[p], m->port, &now, NULL) == 1 &&
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

void ready_watch(struct mihomo *m, int fifo)
{
	evio_read(m->loop, &m->fifo, fifo, on_fifo, m);
}

void ready_init(struct mihomo *m)
{
	ev_timer_init(&m->look, on_look, 0.0, 0.0);
	m->look.data = m;
}
