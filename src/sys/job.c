#include "clashsup/job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"

#define READ_ROUNDS 16 /* reads a loop turn: a flood must not starve the others */

struct job {
	struct proc proc;
	struct reaper *reaper;
	job_done_fn done;
	void *ctx;
	bool in_done;

	ev_io in; /* .fd is -1 when closed */
	char *input;
	size_t input_len, input_sent;
	bool input_lost;

	ev_io out;
	char *output;
	size_t output_len, output_max;
	bool output_cut;

	ev_timer deadline;
	int64_t deadline_ms;
	bool timed_out;
};

static void job_free(struct job *j)
{
	ev_timer_stop(j->reaper->loop, &j->deadline);
	evio_close(j->reaper->loop, &j->in);
	evio_close(j->reaper->loop, &j->out);
	free(j->input);
	free(j->output);
	free(j);
}

/* What no longer fits is read and dropped, so that the program never blocks on us. As of io_read. */
static ssize_t read_some(struct job *j)
{
	char dropped[16384];
	size_t room = j->output_max - j->output_len;
	ssize_t n;

	if (room == 0) {
		n = io_read(j->out.fd, dropped, sizeof(dropped));
		j->output_cut |= n > 0;
		return n;
	}
	n = io_read(j->out.fd, j->output + j->output_len, room);
	if (n > 0)
		j->output_len += (size_t)n;
	return n;
}

static void on_output(struct ev_loop *loop, ev_io *w, int revents)
{
	struct job *j = w->data;

	if (evio_again(loop, w, revents))
		return;
	for (int i = 0; i < READ_ROUNDS; i++) {
		ssize_t n = read_some(j);

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			evio_close(j->reaper->loop, &j->out);
			return;
		}
	}
}

static void on_input(struct ev_loop *loop, ev_io *w, int revents)
{
	struct job *j = w->data;

	if (evio_again(loop, w, revents))
		return;
	while (j->input_sent < j->input_len) {
		ssize_t n = io_write(w->fd, j->input + j->input_sent, j->input_len - j->input_sent);

		if (n == -EAGAIN)
			return;
		if (n < 0) {
			j->input_lost = n != -EPIPE; /* which means: it reads no more; its exit status says the rest */
			break;
		}
		j->input_sent += (size_t)n;
	}
	evio_close(j->reaper->loop, &j->in);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct job *j = w->data;
	(void)loop;
	(void)revents;

	j->timed_out = true;
	proc_signal_group(&j->proc, SIGKILL);
}

/*
 * The process is gone. What it wrote is in the pipe already; a grandchild may
 * hold the other end and write on, so this ends when the buffer is full too.
 */
static void on_exit_job(struct proc *p, int status)
{
	struct job *j = p->data;
	struct job_result result = {
		.status = status, .timed_out = j->timed_out, .input_lost = j->input_lost, .deadline_ms = j->deadline_ms
	};

	while (j->out.fd >= 0 && !j->output_cut && read_some(j) > 0)
		;
	j->output[j->output_len] = '\0';
	result.output = j->output;
	result.output_len = j->output_len;
	result.output_cut = j->output_cut;
	j->in_done = true;
	j->done(j->ctx, &result);
	job_free(j);
}

static struct job *job_new(struct reaper *r, const struct job_spec *spec)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->reaper = r;
	ev_io_init(&j->in, on_input, -1, 0);
	ev_io_init(&j->out, on_output, -1, 0);
	ev_timer_init(&j->deadline, on_deadline, (double)spec->deadline_ms / 1000., 0.);
	j->deadline_ms = spec->deadline_ms;
	j->in.data = j->out.data = j->deadline.data = j;
	j->proc.on_exit = on_exit_job;
	j->proc.data = j;
	j->output_max = spec->output_max ? spec->output_max : JOB_OUTPUT_MAX;
	j->output = malloc(j->output_max + 1); /* in one piece: its pages cost nothing before they are written */
	j->input_len = spec->input ? spec->input_len : 0;
	if (j->input_len > 0) {
		j->input = malloc(j->input_len);
		if (j->input)
			memcpy(j->input, spec->input, j->input_len);
	}
	if (!j->output || (j->input_len > 0 && !j->input)) {
		job_free(j);
		return NULL;
	}
	return j;
}

/* A pipe of which our end does not block; ends[theirs] is the child's. */
static int half_pipe(int ends[2], int ours)
{
	int r;

	if (pipe2(ends, O_CLOEXEC) < 0) {
		ends[0] = ends[1] = -1;
		return -errno;
	}
	r = io_nonblock(ends[ours]);
	return r;
}

/* The child's ends live only here: ours are in the watchers as soon as they exist. */
static int job_spawn(struct job *j, const struct job_spec *spec, struct err *e)
{
	cleanup_fd int child_in = -1;
	cleanup_fd int child_out = -1;
	struct proc_spec ps = {
		.argv = spec->argv, .envp = spec->envp, .exec_fd = -1, .in_child = spec->in_child, .arg = spec->arg
	};
	int in[2] = { -1, -1 }, out[2], r;

	r = half_pipe(out, 0);
	ev_io_set(&j->out, out[0], EV_READ);
	child_out = out[1];
	if (r == 0 && spec->input) {
		r = half_pipe(in, 1);
		ev_io_set(&j->in, in[1], EV_WRITE);
		child_in = in[0];
	}
	if (r < 0)
		return err_sys(e, -r, "cannot start %s", spec->argv[0]);
	ps.fd[0] = child_in;
	ps.fd[1] = ps.fd[2] = child_out;
	return proc_spawn(j->reaper, &j->proc, &ps, e);
}

int job_start(struct job **out, struct reaper *r, const struct job_spec *spec, job_done_fn done, void *ctx,
	      struct err *e)
{
	struct job *j = job_new(r, spec);
	int err;

	if (!j)
		return err_sys(e, ENOMEM, "cannot start %s", spec->argv[0]);
	j->done = done;
	j->ctx = ctx;
	err = job_spawn(j, spec, e);
	if (err < 0) {
		job_free(j);
		return err;
	}
	ev_io_start(r->loop, &j->out);
	if (j->in.fd >= 0)
		ev_io_start(r->loop, &j->in);
	ev_now_update(r->loop); /* a timer counts from the loop's time, which is old after a long turn */
	ev_timer_start(r->loop, &j->deadline);
	*out = j;
	return 0;
}

void job_kill(struct job *j)
{
	proc_signal_group(&j->proc, SIGKILL);
}

void job_abandon(struct job *j)
{
	if (!j || j->in_done)
		return;
	proc_signal_group(&j->proc, SIGKILL);
	proc_abandon(j->reaper, &j->proc);
	job_free(j);
}

int job_no_stderr(const void *arg, pid_t parent)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)arg;
	(void)parent;

	if (fd < 0)
		close(STDERR_FILENO);
	else if (dup2(fd, STDERR_FILENO) < 0)
		return -1;
	return 0;
}

bool job_ok(const struct job_result *result)
{
	return !result->timed_out && !result->input_lost && result->status >= 0 && WIFEXITED(result->status) &&
	       WEXITSTATUS(result->status) == 0;
}

const char *job_why(const struct job_result *result, char *buf, size_t cap)
{
	const char *line = result->output ? result->output : "";
	int len;

	line += strspn(line, "\r\n\t ");
	len = (int)strcspn(line, "\r\n");
	if (result->timed_out)
		snprintf(buf, cap, "no end within %lld ms", (long long)result->deadline_ms);
	else if (result->input_lost)
		snprintf(buf, cap, "its input could not be written");
	else if (result->status == -1)
		snprintf(buf, cap, "could not be started");
	else if (WIFSIGNALED(result->status))
		snprintf(buf, cap, "killed by signal %d", WTERMSIG(result->status));
	else
		snprintf(buf, cap, "exit status %d%s%.*s", WEXITSTATUS(result->status), len > 0 ? ": " : "", len, line);
	return buf;
}
