#include "clashsup/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"

#define READ_LEN 16384
#define READ_ROUNDS 2	   /* of these a loop turn: a helper that fills its pipe keeps nobody else waiting */
#define READ_ROUNDS_MAX 16 /* more than a pipe holds */
#define LINE_MAX_LEN 400
#define LINES_MAX 64 /* of stderr, a run */

struct helper {
	struct proc proc;
	struct reaper *reaper;
	struct helper_ops ops;
	void *ctx;
	char role[16];
	bool busy; /* ops.record may be running: it may abandon us */
	bool abandoned;

	int in; /* write end of the helper's stdin, -1 = none */
	ev_io out, err;
	ev_timer deadline;
	int64_t deadline_ms;

	struct wire_in wire;
	unsigned long long records;
	bool bad, late;

	char line[LINE_MAX_LEN + 1];
	size_t line_len;
	unsigned int lines;
};

static void helper_free(struct helper *h)
{
	ev_timer_stop(h->reaper->loop, &h->deadline);
	evio_close(h->reaper->loop, &h->out);
	evio_close(h->reaper->loop, &h->err);
	io_close(&h->in);
	free(h);
}

/* ---- stderr: lines for the log ---- */

static void say_line(struct helper *h)
{
	if (h->line_len > 0 && h->lines < LINES_MAX)
		log_warn(LOG_CLASH, "helper %s: %.*s", h->role, (int)h->line_len, h->line);
	else if (h->line_len > 0 && h->lines == LINES_MAX)
		log_warn(LOG_CLASH, "helper %s: says more than %d lines, the rest is dropped", h->role, LINES_MAX);
	if (h->line_len > 0 && h->lines <= LINES_MAX)
		h->lines++;
	h->line_len = 0;
}

static void take_text(struct helper *h, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n' || h->line_len == LINE_MAX_LEN)
			say_line(h);
		if (text[i] != '\n')
			h->line[h->line_len++] = text[i];
	}
}

static void on_err(struct ev_loop *loop, ev_io *w, int revents)
{
	struct helper *h = w->data;
	char buf[READ_LEN];

	if (evio_again(loop, w, revents))
		return;
	for (int i = 0; i < READ_ROUNDS_MAX; i++) {
		ssize_t n = io_read(w->fd, buf, sizeof(buf));

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			evio_close(h->reaper->loop, &h->err);
			return;
		}
		take_text(h, buf, (size_t)n);
	}
}

/* ---- stdout: records ---- */

/* False when no more bytes are wanted: a bad record, or the owner has abandoned us. */
static bool take_records(struct helper *h, const uint8_t *data, size_t len)
{
	for (;;) {
		struct wire_record record;
		int r = wire_next(&h->wire, &data, &len, &record);

		if (r == 0)
			return true;
		if (r < 0) {
			h->bad = true;
			proc_signal_group(&h->proc, SIGKILL);
			return false;
		}
		h->records++;
		h->ops.record(h->ctx, &record);
		if (h->abandoned)
			return false;
	}
}

static void read_records(struct helper *h, int rounds)
{
	uint8_t buf[READ_LEN];

	for (int i = 0; i < rounds; i++) {
		ssize_t n = io_read(h->out.fd, buf, sizeof(buf));

		if (n == -EAGAIN)
			return;
		if (n <= 0 || !take_records(h, buf, (size_t)n)) {
			evio_close(h->reaper->loop, &h->out);
			return;
		}
	}
}

/* False when the helper is freed: its owner abandoned it from within a record. */
static bool drain_records(struct helper *h, int rounds)
{
	h->busy = true;
	if (h->out.fd >= 0)
		read_records(h, rounds);
	h->busy = false;
	if (!h->abandoned)
		return true;
	helper_free(h);
	return false;
}

static void on_out(struct ev_loop *loop, ev_io *w, int revents)
{
	if (evio_again(loop, w, revents))
		return;
	(void)drain_records(w->data, READ_ROUNDS);
}

/* ---- the end ---- */

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct helper *h = w->data;
	(void)loop;
	(void)revents;

	h->late = true;
	proc_signal_group(&h->proc, SIGKILL);
}

static enum helper_end judge(const struct helper *h, int status, char *why, size_t cap)
{
	why[0] = '\0';
	if (h->bad) {
		snprintf(why, cap, "a bad record, or one too many of its type, after %llu good ones", h->records);
		return HELPER_BAD_RECORD;
	}
	if (h->late) {
		snprintf(why, cap, "no end within %lld ms", (long long)h->deadline_ms);
		return HELPER_DEADLINE;
	}
	if (WIFSIGNALED(status)) {
		snprintf(why, cap, "killed by signal %d", WTERMSIG(status));
		return HELPER_FAILED;
	}
	if (WEXITSTATUS(status) != 0) {
		snprintf(why, cap, "exit status %d", WEXITSTATUS(status));
		return HELPER_FAILED;
	}
	if (h->wire.used > 0) {
		snprintf(why, cap, "its output ends within a record, after %llu good ones", h->records);
		return HELPER_BAD_RECORD;
	}
	return HELPER_OK;
}

static void on_exit_helper(struct proc *p, int status)
{
	struct helper *h = p->data;
	struct helper_ops ops = h->ops;
	void *ctx = h->ctx;
	enum helper_end end;
	char why[96];

	if (!drain_records(h, READ_ROUNDS_MAX))
		return;
	if (h->err.fd >= 0)
		on_err(h->reaper->loop, &h->err, EV_READ);
	say_line(h);
	end = judge(h, status, why, sizeof(why));
	helper_free(h);
	ops.end(ctx, end, why);
}

/* ---- the start ---- */

int helper_open(char *path, size_t cap, struct err *e)
{
	char own[PATH_MAX];
	int fd = -1, r;

	if (procfs_program_path(own) == 0) {
		r = io_path(path, cap, e, "%.*s/clashsup-helper", (int)(strrchr(own, '/') - own), own);
		if (r < 0)
			return r;
		fd = open(path, O_PATH | O_CLOEXEC);
	}
	if (fd < 0) {
		r = io_path(path, cap, e, "%s/clashsup-helper", CLASHSUP_LIBEXECDIR);
		if (r < 0)
			return r;
		fd = open(path, O_PATH | O_CLOEXEC);
	}
	return fd >= 0 ? fd : err_sys(e, errno, "clashsup-helper is neither beside clashsup nor at %s", path);
}

static struct helper *helper_new(struct reaper *r, const struct helper_spec *spec)
{
	struct helper *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->reaper = r;
	h->in = -1;
	ev_io_init(&h->out, on_out, -1, 0);
	ev_io_init(&h->err, on_err, -1, 0);
	ev_timer_init(&h->deadline, on_deadline, (double)spec->deadline_ms / 1000., 0.);
	h->out.data = h->err.data = h->deadline.data = h;
	h->deadline_ms = spec->deadline_ms;
	h->proc.on_exit = on_exit_helper;
	h->proc.data = h;
	snprintf(h->role, sizeof(h->role), "%s", spec->role);
	wire_in_init(&h->wire, spec->caps);
	return h;
}

/* Our end of a pipe does not block; -1 and the errno in *r when it cannot be had. */
static int half_pipe(int *theirs, bool we_write, int *r)
{
	int ends[2];

	*theirs = -1;
	if (*r < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		*r = -errno;
		return -1;
	}
	*theirs = ends[we_write ? 0 : 1];
	*r = io_nonblock(ends[we_write ? 1 : 0]);
	return ends[we_write ? 1 : 0];
}

static int helper_spawn(struct helper *h, const struct helper_spec *spec, const char *const *argv, struct err *e)
{
	/* nothing of our environment: no proxy variables, no loader variables, no TZ */
	static const char *const envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", NULL };
	struct proc_spec ps = {
		.argv = argv, .envp = envp, .exec_fd = spec->exec_fd, .in_child = sandbox_helper, .arg = &spec->ids
	};
	cleanup_fd int in = -1;
	cleanup_fd int out = -1;
	cleanup_fd int err = -1;
	int r = 0;

	ev_io_set(&h->out, half_pipe(&out, false, &r), EV_READ);
	ev_io_set(&h->err, half_pipe(&err, false, &r), EV_READ);
	if (strcmp(spec->role, "probe") == 0)
		h->in = half_pipe(&in, true, &r);
	if (r < 0)
		return err_sys(e, -r, "cannot start the helper");
	ps.fd[0] = spec->in_fd > 0 ? spec->in_fd : in;
	ps.fd[1] = out;
	ps.fd[2] = err;
	return proc_spawn(h->reaper, &h->proc, &ps, e);
}

/* path, role, args, NULL: the caller frees the array, not the texts. */
static const char **helper_argv(const struct helper_spec *spec)
{
	const char **argv;
	size_t n = 0;

	while (spec->args && spec->args[n])
		n++;
	argv = calloc(n + 3, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[0] = spec->path;
	argv[1] = spec->role;
	for (size_t i = 0; i < n; i++)
		argv[i + 2] = spec->args[i];
	return argv;
}

int helper_start(struct helper **out, struct reaper *r, const struct helper_spec *spec, const struct helper_ops *ops,
		 void *ctx, struct err *e)
{
	cleanup_free const char **argv = helper_argv(spec);
	struct helper *h = helper_new(r, spec);
	int result;

	if (!h)
		return err_sys(e, ENOMEM, "cannot start the helper");
	h->ops = *ops;
	h->ctx = ctx;
	result = argv ? helper_spawn(h, spec, argv, e) : err_sys(e, ENOMEM, "cannot start the helper");
	if (result < 0) {
		helper_free(h);
		return result;
	}
	ev_io_start(r->loop, &h->out);
	ev_io_start(r->loop, &h->err);
	if (spec->deadline_ms > 0) {
		ev_now_update(r->loop);
		ev_timer_start(r->loop, &h->deadline);
	}
	*out = h;
	return 0;
}

int helper_tell(struct helper *h, const void *bytes, size_t len)
{
	ssize_t n = h->in >= 0 ? io_write(h->in, bytes, len) : -EPIPE;

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EAGAIN;
}

void helper_abandon(struct helper *h)
{
	if (!h || h->abandoned)
		return;
	proc_signal_group(&h->proc, SIGKILL);
	proc_abandon(h->reaper, &h->proc);
	h->abandoned = true;
	if (!h->busy)
		helper_free(h);
}
