/* The socket half of ctl.h. One request a client and loop turn: a flood of them cannot starve the others. */
#include "clashsup/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"

#define ACCEPT_ROUNDS 16 /* new clients a loop turn */
#define ACCEPT_PAUSE_S 0.5
#define BACKLOG 128

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13; include/uapi/asm-generic/socket.h */
#endif

#define INPUT_LEN (CTL_REQUEST_MAX + 1)

struct client {
	struct ctl *ctl;
	ev_io io;	/* .fd is -1 for a free slot */
	ev_timer limit; /* for the next request, or for taking the answer */
	bool privileged;
	bool waiting; /* for news: its answer has no end */
	bool last;    /* to be closed after the present answer */
	double used;  /* ev_now of the last answer, or of the beginning */
	char *in;     /* INPUT_LEN bytes of ctl->input */
	size_t in_len;
	struct ctl_request request; /* that is being answered */
	size_t cursor;		    /* 0 = `out` is the end of its answer */
	char *out;		    /* the answer with its newline, or a part of it; NULL = none pending */
	size_t out_len, out_sent;
};

struct ctl {
	struct ev_loop *loop;
	ev_io listener;
	ev_timer pause; /* no descriptors left: try later instead of spinning */
	int64_t group;
	ctl_handler_fn handler;
	void *ctx;
	struct sockaddr_un addr;
	dev_t dev; /* of our socket file: another one at its path is not ours to unlink */
	ino_t ino;
	struct client clients[CTL_CLIENTS];
	char input[CTL_CLIENTS][INPUT_LEN]; /* apart, so that places never used cost no pages */
};

static void client_close(struct client *c)
{
	int fd = c->io.fd;

	ev_io_stop(c->ctl->loop, &c->io);
	ev_timer_stop(c->ctl->loop, &c->limit);
	ev_io_set(&c->io, -1, 0);
	close(fd);
	free(c->out);
	c->out = NULL;
}

static void client_wait_for(struct client *c, int events)
{
	if ((c->io.events & (EV_READ | EV_WRITE)) == events && ev_is_active(&c->io))
		return;
	ev_io_stop(c->ctl->loop, &c->io);
	ev_io_set(&c->io, c->io.fd, events);
	ev_io_start(c->ctl->loop, &c->io);
}

static void client_restart_limit(struct client *c)
{
	c->used = ev_now(c->ctl->loop);
	ev_timer_again(c->ctl->loop, &c->limit);
}

/* Takes the answer's memory. 0, or -errno when there is nothing to send. */
static int client_answer(struct client *c, char *answer)
{
	size_t len = answer ? strlen(answer) : 0;

	if (len > CTL_ANSWER_MAX) {
		c->cursor = 0;
		free(answer);
		answer = ctl_answer_error("the answer is larger than its limit");
		len = answer ? strlen(answer) : 0;
	}
	if (!answer)
		return -ENOMEM;
	if (len == 0 && c->cursor) {
		free(answer);
		c->waiting = true;
		ev_timer_stop(c->ctl->loop, &c->limit);
		return 0;
	}
	c->out = answer;
	c->out_len = len;
	c->out_sent = 0;
	if (!c->cursor)
		answer[c->out_len++] = '\n'; /* in the place of its NUL */
	client_restart_limit(c);
	return 0;
}

static char *ask_handler(struct client *c, const char *line, size_t len)
{
	struct ctl_request *request = &c->request;
	struct err e = ERR_INIT;

	if (ctl_parse(line, len, request, &e) < 0) {
		c->last = true; /* no client of ours: it would only send more */
		return ctl_answer_error(e.msg);
	}
	request->privileged = c->privileged;
	if (!c->privileged && request->cmd != CTL_STATUS) {
		err_set(&e, EPERM, "%s is for root, the supervisor's user and members of control_group",
			ctl_cmd_name(request->cmd));
		return ctl_answer_error(e.msg);
	}
	return c->ctl->handler(c->ctl->ctx, request, &c->cursor);
}

static bool client_has_line(const struct client *c)
{
	return memchr(c->in, '\n', c->in_len) != NULL;
}

/* Answers the first line, when there is one. */
static int client_serve(struct client *c)
{
	const char *newline = memchr(c->in, '\n', c->in_len);
	size_t len = newline ? (size_t)(newline - c->in) : 0;
	int r;

	if (!newline && c->in_len < INPUT_LEN)
		return 0;
	if (!newline) {
		c->last = true;
		return client_answer(c, ctl_answer_error("the request is longer than a request can be"));
	}
	r = client_answer(c, ask_handler(c, c->in, len));
	c->in_len -= len + 1;
	memmove(c->in, newline + 1, c->in_len);
	return r;
}

static int client_read(struct client *c)
{
	ssize_t n = io_read(c->io.fd, c->in + c->in_len, INPUT_LEN - c->in_len);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n == 0 ? -EPIPE : (int)n;
	c->in_len += (size_t)n;
	return 0;
}

static int client_send(struct client *c)
{
	ssize_t n = send(c->io.fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->out_sent += (size_t)n;
	if (c->out_sent < c->out_len)
		return 0;
	free(c->out);
	c->out = NULL;
	if (c->cursor)
		return client_answer(c, c->ctl->handler(c->ctl->ctx, &c->request, &c->cursor));
	if (c->last)
		return -EPIPE;
	client_restart_limit(c);
	return 0;
}

/* One step; -errno when the client is to be closed. */
static int client_step(struct client *c)
{
	int r = 0;

	if (c->waiting) /* its end, or a request, for which this is no place */
		return -EPIPE;
	if (!c->out && !client_has_line(c))
		r = client_read(c);
	if (r == 0 && !c->out)
		r = client_serve(c);
	if (r == 0 && c->out)
		r = client_send(c);
	return r;
}

static void on_client(struct ev_loop *loop, ev_io *w, int revents)
{
	struct client *c = w->data;

	if (evio_again(loop, w, revents))
		return;
	if (client_step(c) < 0)
		client_close(c);
	else /* a line in hand is served in the next turn, which being writable brings about */
		client_wait_for(c, c->out || (client_has_line(c) && !c->waiting) ? EV_WRITE : EV_READ);
}

void ctl_wake(struct ctl *ctl)
{
	for (size_t i = 0; ctl && i < CTL_CLIENTS; i++) {
		struct client *c = &ctl->clients[i];

		if (c->io.fd < 0 || !c->waiting)
			continue;
		c->waiting = false;
		if (client_answer(c, ctl->handler(ctl->ctx, &c->request, &c->cursor)) < 0)
			client_close(c);
		else
			client_wait_for(c, c->out ? EV_WRITE : EV_READ);
	}
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	client_close(w->data);
}

/* Supplementary groups, as they were when the peer connected (socket(7), unix(7)). */
static bool peer_has_group(int fd, gid_t group)
{
	cleanup_free gid_t *groups = NULL;
	socklen_t len = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return false; /* none, or a kernel that does not tell */
	groups = malloc(len);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(gid_t); i++)
		if (groups[i] == group)
			return true;
	return false;
}

static bool peer_is_privileged(int fd, int64_t group)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	return group >= 0 && (peer.gid == (gid_t)group || peer_has_group(fd, (gid_t)group));
}

/* Who goes first when there is no room: strangers before those with control, idle ones before served ones. */
static bool goes_before(const struct client *a, const struct client *b)
{
	if (a->privileged != b->privileged)
		return b->privileged;
	if (a->waiting != b->waiting)
		return b->waiting;
	if (!a->out != !b->out)
		return !a->out;
	return a->used < b->used;
}

static struct client *free_slot(struct ctl *ctl)
{
	struct client *victim = &ctl->clients[0];

	for (size_t i = 0; i < CTL_CLIENTS; i++) {
		struct client *c = &ctl->clients[i];

		if (c->io.fd < 0)
			return c;
		if (goes_before(c, victim))
			victim = c;
	}
	client_close(victim);
	return victim;
}

static void client_open(struct ctl *ctl, int fd)
{
	struct client *c = free_slot(ctl);

	c->privileged = peer_is_privileged(fd, ctl->group);
	c->last = c->waiting = false;
	c->cursor = 0;
	c->in_len = 0;
	ev_io_init(&c->io, on_client, fd, EV_READ);
	ev_timer_init(&c->limit, on_limit, 0., CTL_IDLE_MS / 1e3);
	c->io.data = c->limit.data = c;
	ev_io_start(ctl->loop, &c->io);
	client_restart_limit(c);
}

static void on_listener(struct ev_loop *loop, ev_io *w, int revents)
{
	struct ctl *ctl = w->data;

	if (evio_again(loop, w, revents))
		return;
	for (int i = 0; i < ACCEPT_ROUNDS; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			client_open(ctl, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			ev_io_stop(loop, w);
			ev_timer_again(loop, &ctl->pause);
			return;
		}
	}
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct ctl *ctl = w->data;
	(void)revents;

	ev_timer_stop(loop, w);
	ev_io_start(loop, &ctl->listener);
}

static int make_directory(const char *path, struct err *e)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return io_mkdirs(dir, 0755, e);
}

/* Unlinks a socket on which nobody listens any more; anything else stays and is an error. */
static int remove_stale(const struct sockaddr_un *addr, struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return err_sys(e, errno, "cannot make a socket");
	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s", addr->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, EEXIST, "%s exists and is not a socket", addr->sun_path);
	/* EAGAIN is a listener too: its backlog is full. */
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
		return err_set(e, EADDRINUSE, "%s: another instance answers there", addr->sun_path);
	if (errno != ECONNREFUSED)
		return err_sys(e, errno, "%s", addr->sun_path);
	if (unlink(addr->sun_path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "cannot remove the stale socket %s", addr->sun_path);
	return 0;
}

static int bind_listener(struct ctl *ctl, int fd, struct err *e)
{
	const struct sockaddr *sa = (const struct sockaddr *)&ctl->addr;
	const char *path = ctl->addr.sun_path;
	struct stat st;
	int r;

	if (bind(fd, sa, sizeof(ctl->addr)) < 0) {
		if (errno != EADDRINUSE)
			return err_sys(e, errno, "cannot bind %s", path);
		r = remove_stale(&ctl->addr, e);
		if (r < 0)
			return r;
		if (bind(fd, sa, sizeof(ctl->addr)) < 0)
			return err_sys(e, errno, "cannot bind %s", path);
	}
	/* The umask has cut its mode; connecting needs write permission (unix(7)). */
	if (chmod(path, 0666) < 0 || listen(fd, BACKLOG) < 0 || lstat(path, &st) < 0) {
		r = err_sys(e, errno, "cannot listen on %s", path);
		unlink(path);
		return r;
	}
	ctl->dev = st.st_dev;
	ctl->ino = st.st_ino;
	return 0;
}

/* It listens there already; the file is ours as long as it is that socket's. */
static int find_listener(struct ctl *ctl, int fd, struct err *e)
{
	struct sockaddr_un bound = { 0 };
	socklen_t len = sizeof(bound);
	struct stat st;

	if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
		return err_sys(e, errno, "cannot take over the control socket");
	if (strcmp(bound.sun_path, ctl->addr.sun_path) != 0)
		return err_set(e, EINVAL, "cannot take over the control socket: it is not %s", ctl->addr.sun_path);
	if (lstat(bound.sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		ctl->dev = st.st_dev;
		ctl->ino = st.st_ino;
	}
	return 0;
}

/* `fd` is taken over. `bound`: it listens at `path` already. */
static int listen_on(struct ctl **out, struct ev_loop *loop, const char *path, int fd, bool bound, struct err *e)
{
	cleanup_free struct ctl *ctl = calloc(1, sizeof(*ctl));
	cleanup_fd int owned = fd;
	int r;

	if (!ctl)
		return err_sys(e, ENOMEM, "cannot make the control socket");
	ctl->addr.sun_family = AF_UNIX;
	r = io_path(ctl->addr.sun_path, sizeof(ctl->addr.sun_path), e, "%s", path);
	if (r == 0 && !bound)
		r = make_directory(path, e);
	if (r == 0)
		r = bound ? find_listener(ctl, fd, e) : bind_listener(ctl, fd, e);
	if (r < 0)
		return r;
	ctl->loop = loop;
	for (size_t i = 0; i < CTL_CLIENTS; i++) {
		ctl->clients[i].ctl = ctl;
		ctl->clients[i].in = ctl->input[i];
		ev_io_init(&ctl->clients[i].io, on_client, -1, 0);
	}
	ev_timer_init(&ctl->pause, on_pause_over, 0., ACCEPT_PAUSE_S);
	ev_io_init(&ctl->listener, on_listener, steal_fd(&owned), EV_READ);
	ctl->pause.data = ctl->listener.data = ctl;
	ev_io_start(loop, &ctl->listener);
	*out = ctl;
	ctl = NULL;
	return 0;
}

/* What answers, and whom. */
static void serve(struct ctl *ctl, int64_t group, ctl_handler_fn handler, void *ctx)
{
	ctl->group = group;
	ctl->handler = handler;
	ctl->ctx = ctx;
}

int ctl_open(struct ctl **out, struct ev_loop *loop, const char *path, int64_t group, ctl_handler_fn handler, void *ctx,
	     struct err *e)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? err_sys(e, errno, "cannot make the control socket") : listen_on(out, loop, path, fd, false, e);

	if (r == 0)
		serve(*out, group, handler, ctx);
	return r;
}

int ctl_take(struct ctl **out, struct ev_loop *loop, const char *path, int fd, int64_t group, ctl_handler_fn handler,
	     void *ctx, struct err *e)
{
	int r = listen_on(out, loop, path, fd, true, e);

	if (r == 0)
		serve(*out, group, handler, ctx);
	return r;
}

int ctl_listener(const struct ctl *ctl)
{
	return ctl->listener.fd;
}

size_t ctl_waiting(const struct ctl *ctl, enum ctl_cmd cmd, int *fds, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < CTL_CLIENTS && n < max; i++) {
		const struct client *c = &ctl->clients[i];

		if (c->io.fd >= 0 && c->waiting && c->request.cmd == cmd)
			fds[n++] = c->io.fd;
	}
	return n;
}

void ctl_set_group(struct ctl *ctl, int64_t group)
{
	ctl->group = group;
}

void ctl_close(struct ctl *ctl)
{
	struct stat st;

	if (!ctl)
		return;
	for (size_t i = 0; i < CTL_CLIENTS; i++)
		if (ctl->clients[i].io.fd >= 0)
			client_close(&ctl->clients[i]);
	ev_io_stop(ctl->loop, &ctl->listener);
	ev_timer_stop(ctl->loop, &ctl->pause);
	if (lstat(ctl->addr.sun_path, &st) == 0 && st.st_dev == ctl->dev && st.st_ino == ctl->ino)
		unlink(ctl->addr.sun_path);
	close(ctl->listener.fd);
	free(ctl);
}
