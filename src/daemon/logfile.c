#include "daemon/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"

#define AGAIN_S 1.0

bool logfile_wanted(const struct logfile *f)
{
	return strcmp(f->settings->log.mihomo, "inherit") != 0;
}

/* ---- the child ---- */

static void on_exit_child(struct proc *p, int status)
{
	struct logfile *f = p->data;
	(void)status; /* it has said why on standard error */

	io_close(&f->fd);
	f->rest_len = 0;
	ev_timer_start(f->reaper->loop, &f->again);
}

static int start(struct logfile *f, struct err *e)
{
	char size[24], count[24];
	const char *const argv[] = { procfs_program(), "logfile", f->settings->log.mihomo, size, count, NULL };
	struct proc_spec spec = { .argv = argv, .exec_fd = -1, .fd = { -1, STDOUT_FILENO, STDERR_FILENO } };
	int ends[2], r;

	snprintf(size, sizeof(size), "%" PRIu64, f->settings->log.mihomo_size);
	snprintf(count, sizeof(count), "%u", f->settings->log.mihomo_count);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, errno, "cannot make a pipe");
	spec.fd[0] = ends[0];
	r = io_nonblock(ends[1]);
	if (r == 0)
		r = proc_spawn(f->reaper, &f->proc, &spec, e);
	close(ends[0]);
	if (r < 0)
		close(ends[1]);
	else
		f->fd = ends[1];
	return r;
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct logfile *f = w->data;
	struct err e = ERR_INIT;
	(void)loop;
	(void)revents;

	if (!logfile_wanted(f) || f->proc.pid)
		return;
	if (start(f, &e) < 0) {
		log_warn(LOG_CLASH, "Mihomo's lines do not reach %s: %s", f->settings->log.mihomo, e.msg);
		ev_timer_start(f->reaper->loop, &f->again);
	}
}

void logfile_renew(struct logfile *f)
{
	logfile_deinit(f);
	f->rest_len = 0;
	on_again(f->reaper->loop, &f->again, 0);
}

/* ---- lines ---- */

/* True when nothing of an earlier line is left. */
static bool put_rest(struct logfile *f)
{
	ssize_t n = f->rest_len ? io_write(f->fd, f->rest, f->rest_len) : 0;

	if (n > 0) {
		f->rest_len -= (size_t)n;
		memmove(f->rest, f->rest + n, f->rest_len);
	}
	return f->rest_len == 0;
}

void logfile_put(struct logfile *f, const char *text, size_t len)
{
	ssize_t n;

	if (len > sizeof(f->rest) - 1)
		len = sizeof(f->rest) - 1;
	if (f->fd < 0 || !put_rest(f)) {
		f->lost++;
		return;
	}
	memcpy(f->rest, text, len);
	f->rest[len++] = '\n';
	n = io_write(f->fd, f->rest, len);
	if (n <= 0) { /* full, or the child has died */
		f->lost++;
		return;
	}
	f->rest_len = len - (size_t)n;
	memmove(f->rest, f->rest + n, f->rest_len);
}

void logfile_tick(struct logfile *f)
{
	if (f->fd >= 0)
		(void)put_rest(f);
	if (!f->lost)
		return;
	log_warn(LOG_CLASH,
		 "%" PRIu64 " lines of Mihomo are not in %s: it could not be written fast enough, or not at all",
		 f->lost, f->settings->log.mihomo);
	f->lost = 0;
}

void logfile_init(struct logfile *f, struct reaper *reaper, const struct settings *settings)
{
	*f = (struct logfile){ .reaper = reaper, .settings = settings, .fd = -1 };
	f->proc.on_exit = on_exit_child;
	f->proc.data = f;
	ev_timer_init(&f->again, on_again, AGAIN_S, 0.0);
	f->again.data = f;
	on_again(reaper->loop, &f->again, 0);
}

void logfile_deinit(struct logfile *f)
{
	if (!f->reaper)
		return;
	ev_timer_stop(f->reaper->loop, &f->again);
	if (f->fd >= 0)
		(void)put_rest(f);
	io_close(&f->fd); /* its end of file */
	if (f->proc.pid)
		proc_abandon(f->reaper, &f->proc);
}
