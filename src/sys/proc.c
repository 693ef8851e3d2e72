#include "clashsup/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/oom.h"

#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND 127
#define REAP_FLAGS (WNOHANG | WUNTRACED | WCONTINUED)
#define REAP_TURN 64	   /* orphans a loop turn: thousands that die at once must not keep a client waiting */
#define FALLBACK_FDS 65536 /* where close_range(2) is missing: how far the loop looks */

/* All that the child needs, made before fork: it must not allocate. */
struct launch {
	const struct proc_spec *spec;
	char path[PROC_PATH]; /* "" = not found */
	struct proc_fd *fds;  /* the first three are stdin, stdout, stderr */
	size_t n_fds;
	int exec_fd;
	int err_fd; /* where a failure is told: the child's stderr */
	pid_t parent;
	const struct reaper *reaper;
};

/* ---- the child, between fork and exec: async-signal-safe calls only ---- */

static _Noreturn void child_die(const struct launch *l, int code, const char *what, const char *name, int errnum)
{
	const char *why = strerrordesc_np(errnum);
	char line[512];
	int n = snprintf(line, sizeof(line), "%s %s: %s\n", what, name, why ? why : "unknown error");

	signal(SIGPIPE, SIG_IGN); /* a reader that is gone must not change the exit status */
	if (n > 0)
		(void)io_write_all(l->err_fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	_exit(code);
}

/* SIGKILL, SIGSTOP and the two signals of the C library refuse: nothing to reset there. */
static void child_dispositions(void)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL };

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL);
}

static bool is_target(const struct launch *l, int fd)
{
	if (fd <= 2)
		return true;
	for (size_t i = 0; i < l->n_fds; i++) {
		if (l->fds[i].to == fd)
			return true;
	}
	return false;
}

/* A duplicate whose number no placement will overwrite. */
static int dup_aside(const struct launch *l, int fd)
{
	for (int at = 3;;) {
		int copy = fcntl(fd, F_DUPFD_CLOEXEC, at);

		if (copy < 0 || !is_target(l, copy))
			return copy;
		close(copy);
		at = copy + 1;
	}
}

static int set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

/* Old kernels know no close_range(2) or not its flag, and some seccomp filters refuse it. */
static void close_on_exec_from_3(const struct rlimit *nofile)
{
	rlim_t end = nofile->rlim_cur < FALLBACK_FDS ? nofile->rlim_cur : FALLBACK_FDS;

	if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	for (int fd = 3; (rlim_t)fd < end; fd++)
		(void)set_cloexec(fd, true);
}

/*
 * Every source is moved aside first, since a source may have the number of
 * another's target. The soft limit is at the hard one meanwhile: dup2 refuses
 * a number beyond it, while a descriptor that is there stays.
 */
static void child_descriptors(struct launch *l)
{
	struct rlimit own = { 0, 0 }, all;

	(void)getrlimit(RLIMIT_NOFILE, &own);
	all = own;
	all.rlim_cur = all.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &all);
	for (size_t i = 0; i < l->n_fds; i++) {
		l->fds[i].from = dup_aside(l, l->fds[i].from);
		if (l->fds[i].from < 0)
			child_die(l, EXIT_CANNOT_RUN, "cannot pass descriptors to", l->spec->argv[0], errno);
		if (i == 2)
			l->err_fd = l->fds[i].from;
	}
	if (l->exec_fd >= 0)
		l->exec_fd = dup_aside(l, l->exec_fd);
	for (size_t i = 0; i < l->n_fds; i++) {
		if (dup2(l->fds[i].from, l->fds[i].to) < 0)
			child_die(l, EXIT_CANNOT_RUN, "cannot pass descriptors to", l->spec->argv[0], errno);
	}
	l->err_fd = STDERR_FILENO;
	if (!l->spec->keep_fds)
		close_on_exec_from_3(&all);
	for (size_t i = 0; i < l->n_fds; i++)
		(void)set_cloexec(l->fds[i].to, false);
	(void)setrlimit(RLIMIT_NOFILE, &own);
}

static void child_exec(const struct launch *l)
{
	const struct proc_spec *spec = l->spec;
	char *const *argv = (char *const *)spec->argv;
	char *const *envp = spec->envp ? (char *const *)spec->envp : environ;

	if (l->exec_fd >= 0)
		(void)syscall(SYS_execveat, l->exec_fd, "", argv, envp, AT_EMPTY_PATH);
	else if (l->path[0] != '\0')
		(void)execve(l->path, argv, envp);
	else
		errno = ENOENT;
	child_die(l, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "cannot execute", spec->argv[0], errno);
}

/* Runs with every signal blocked; the mask is emptied last, so that no handler of ours can run here. */
static _Noreturn void child_run(struct launch *l)
{
	const struct proc_spec *spec = l->spec;
	const char *cwd = spec->cwd ? spec->cwd : "/";
	sigset_t none;

	child_dispositions();
	if (spec->place == PROC_SESSION)
		(void)setsid();
	else if (spec->place == PROC_GROUP)
		(void)setpgid(0, 0);
	umask(022);
	if (l->reaper->spared)
		(void)oom_write(l->reaper->oom_had > 0 ? l->reaper->oom_had : 0);
	child_descriptors(l);
	if (chdir(cwd) < 0)
		child_die(l, EXIT_CANNOT_RUN, "cannot change to the directory", cwd, errno);
	if (spec->in_child && spec->in_child(spec->arg, l->parent) != 0)
		_exit(EXIT_CANNOT_RUN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	child_exec(l);
	_exit(EXIT_CANNOT_RUN);
}

/* ---- the parent ---- */

/*
 * A container may have no /dev/null: a pipe without a writer reads as empty,
 * and writing to its read end is refused without SIGPIPE.
 */
static int open_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
	int ends[2];

	if (fd >= 0)
		return fd;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	close(ends[1]);
	return ends[0];
}

void proc_find(const char *name, char path[PROC_PATH])
{
	proc_find_in(getenv("PATH"), name, path);
}

void proc_find_in(const char *dirs, const char *name, char path[PROC_PATH])
{
	char best[PROC_PATH] = "";

	if (strchr(name, '/')) {
		if (snprintf(path, PROC_PATH, "%s", name) >= PROC_PATH)
			path[0] = '\0';
		return;
	}
	if (!dirs || dirs[0] == '\0')
		dirs = PROC_DEFAULT_DIRS;
	for (const char *at = dirs; name[0] != '\0'; at++) {
		size_t len = strcspn(at, ":");
		int n = snprintf(path, PROC_PATH, "%.*s/%s", (int)(len < PROC_PATH ? len : PROC_PATH), at, name);
		struct stat st;

		if (at[0] == '/' && n < PROC_PATH && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			if (access(path, X_OK) == 0)
				return;
			if (best[0] == '\0')
				memcpy(best, path, (size_t)n + 1);
		}
		at += len;
		if (*at == '\0')
			break;
	}
	memcpy(path, best, sizeof(best));
}

static void launch_fds(struct launch *l, int null)
{
	const struct proc_spec *spec = l->spec;

	for (int i = 0; i < 3; i++)
		l->fds[i] = (struct proc_fd){ .from = spec->fd[i] < 0 ? null : spec->fd[i], .to = i };
	if (spec->n_extra > 0)
		memcpy(l->fds + 3, spec->extra, spec->n_extra * sizeof(*spec->extra));
	l->n_fds = spec->n_extra + 3;
	l->err_fd = l->fds[2].from;
}

/* No handler of ours may run in the child before its dispositions are reset: all is blocked over fork. */
static pid_t launch_fork(struct launch *l)
{
	sigset_t all, before;
	int errnum;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	errnum = errno;
	if (pid == 0)
		child_run(l);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return -errnum;
	if (l->spec->place == PROC_GROUP)
		(void)setpgid(pid, pid); /* in both: whoever comes first; EACCES = the child has done it and executed */
	return pid;
}

void proc_adopt(struct reaper *r, struct proc *p, pid_t pid)
{
	p->pid = pid;
	p->next = r->list;
	r->list = p;
}

int proc_spawn(struct reaper *r, struct proc *p, const struct proc_spec *spec, struct err *e)
{
	struct launch l = { .spec = spec, .exec_fd = spec->exec_fd, .parent = getpid(), .reaper = r };
	cleanup_free struct proc_fd *fds = calloc(spec->n_extra + 3, sizeof(*fds));
	cleanup_fd int null = open_null();
	pid_t pid;

	if (!fds)
		return err_sys(e, ENOMEM, "cannot start %s", spec->argv[0]);
	if (null < 0)
		return err_sys(e, -null, "cannot start %s", spec->argv[0]);
	l.fds = fds;
	launch_fds(&l, null);
	if (spec->exec_fd < 0)
		proc_find(spec->argv[0], l.path);
	pid = launch_fork(&l);
	if (pid < 0)
		return err_sys(e, -pid, "cannot start %s", spec->argv[0]);
	proc_adopt(r, p, pid);
	return 0;
}

void proc_signal(const struct proc *p, int sig)
{
	if (p->pid > 1)
		(void)kill(p->pid, sig);
}

void proc_signal_group(const struct proc *p, int sig)
{
	/* a child may have moved itself to another group */
	if (p->pid > 1 && kill(-p->pid, sig) < 0)
		(void)kill(p->pid, sig);
}

/* Removes from the list; false when it was not there. */
static bool unlink_proc(struct reaper *r, const struct proc *p)
{
	for (struct proc **at = &r->list; *at; at = &(*at)->next) {
		if (*at == p) {
			*at = p->next;
			return true;
		}
	}
	return false;
}

void proc_abandon(struct reaper *r, struct proc *p)
{
	if (unlink_proc(r, p))
		p->pid = 0;
}

/* on_exit may free p or spawn anew. */
static void tell(struct reaper *r, struct proc *p, int status)
{
	if (!WIFEXITED(status) && !WIFSIGNALED(status)) {
		if (p->on_stop)
			p->on_stop(p, status);
		return;
	}
	unlink_proc(r, p);
	p->pid = 0;
	p->on_exit(p, status);
}

static struct proc *find_proc(const struct reaper *r, pid_t pid)
{
	struct proc *p = r->list;

	while (p && p->pid != pid)
		p = p->next;
	return p;
}

/* One of our own, ahead of all orphans: the kernel gives them in the order of their birth. False when there is none. */
static bool reap_own(struct reaper *r)
{
	for (struct proc *p = r->list; p; p = p->next) {
		int status;

		if (waitpid(p->pid, &status, REAP_FLAGS) == p->pid) {
			tell(r, p, status); /* which may change the list */
			return true;
		}
	}
	return false;
}

/* False when nobody is left to be reaped. */
static bool reap_any(struct reaper *r)
{
	int status;
	pid_t pid = waitpid(-1, &status, REAP_FLAGS);
	struct proc *p = pid > 0 ? find_proc(r, pid) : NULL;

	if (p)
		tell(r, p, status);
	return pid > 0;
}

static void reap(struct reaper *r)
{
	unsigned n = 0;

	while (reap_own(r))
		;
	while (n < REAP_TURN && reap_any(r))
		n++;
	if (n == REAP_TURN)
		ev_timer_start(r->loop, &r->more);
}

static void on_more(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	reap(w->data);
}

/* SIGCHLDs merge into one: it says that there are some. */
static void on_sigchld(void *ctx, const struct signalfd_siginfo *info)
{
	(void)info;
	reap(ctx);
}

int reaper_start(struct reaper *r, struct ev_loop *loop)
{
	sigset_t chld;
	int result;

	r->list = NULL;
	r->loop = loop;
	r->spared = false;
	ev_timer_init(&r->more, on_more, 0.0, 0.0);
	r->more.data = r;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	r->sigchld.priority = EV_MAXPRI;
	result = loop_signals_start(&r->sigchld, loop, &chld, on_sigchld, r);
	if (result < 0)
		return result;
	ev_timer_start(loop, &r->more); /* children from before: no signal will come for them again */
	return 0;
}

void reaper_stop(struct reaper *r)
{
	loop_signals_stop(&r->sigchld, r->loop);
	ev_timer_stop(r->loop, &r->more);
}

void reaper_spare(struct reaper *r)
{
	r->oom_had = oom_read();
	if (r->oom_had > OOM_SPARED)
		(void)oom_write(OOM_SPARED);
	r->spared = oom_read() < 0;
}

void reaper_spare_no_more(struct reaper *r)
{
	if (r->spared)
		(void)oom_write(r->oom_had);
	r->spared = false;
}

void proc_clean_start(void)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL }, ign = { .sa_handler = SIG_IGN };
	sigset_t held;

	/* ignored by inheritance, the kernel would reap for us: no status, and no signal */
	sigfillset(&held);
	sigprocmask(SIG_SETMASK, &held, NULL);
	sigaction(SIGCHLD, &dfl, NULL);
	sigaction(SIGPIPE, &ign, NULL);
	/* else the next file or socket becomes our standard output; open takes the lowest free number */
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open_null();
	}
}

void proc_open_signals(const sigset_t *read)
{
	sigset_t held;

	sigemptyset(&held);
	if (read)
		held = *read;
	sigaddset(&held, SIGCHLD); /* the reaper reads it */
	sigprocmask(SIG_SETMASK, &held, NULL);
}
