#include "clashsup/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clashsup/io.h"

#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND 127
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PATH_LEN 4096
#define FALLBACK_FDS 65536 /* where close_range(2) is missing: how far the loop looks */

/* All that the child needs, made before fork: it must not allocate. */
struct launch {
	const struct proc_spec *spec;
	char path[PATH_LEN]; /* "" = not found */
	struct proc_fd *fds; /* the first three are stdin, stdout, stderr */
	size_t n_fds;
	int exec_fd;
	int err_fd; /* where a failure is told: the child's stderr */
	pid_t parent;
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
	(void)setpgid(0, 0);
	umask(022);
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

/* As execvpe(3) does, but absolute directories of PATH only; a file that may not be run is kept as second best. */
static void find_program(const char *name, char *path)
{
	const char *dirs = getenv("PATH");
	char best[PATH_LEN] = "";

	if (strchr(name, '/')) {
		if (snprintf(path, PATH_LEN, "%s", name) >= PATH_LEN)
			path[0] = '\0';
		return;
	}
	if (!dirs || dirs[0] == '\0')
		dirs = DEFAULT_PATH;
	for (const char *at = dirs; name[0] != '\0'; at++) {
		size_t len = strcspn(at, ":");
		int n = snprintf(path, PATH_LEN, "%.*s/%s", (int)(len < PATH_LEN ? len : PATH_LEN), at, name);
		struct stat st;

		if (at[0] == '/' && n < PATH_LEN && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
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
	(void)setpgid(pid, pid); /* in both: whoever comes first; EACCES = the child has done it and executed */
	return pid;
}

int proc_spawn(struct reaper *r, struct proc *p, const struct proc_spec *spec, struct err *e)
{
	struct launch l = { .spec = spec, .exec_fd = spec->exec_fd, .parent = getpid() };
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
		find_program(spec->argv[0], l.path);
	pid = launch_fork(&l);
	if (pid < 0)
		return err_sys(e, -pid, "cannot start %s", spec->argv[0]);
	p->pid = pid;
	p->next = r->list;
	r->list = p;
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

/*
 * libev calls this once for each reaped pid, before it waits for the next one
 * (same priority as its own SIGCHLD watcher). on_exit may free p or spawn anew.
 */
static void on_child(struct ev_loop *loop, ev_child *w, int revents)
{
	struct reaper *r = w->data;
	(void)loop;
	(void)revents;

	if (!WIFEXITED(w->rstatus) && !WIFSIGNALED(w->rstatus))
		return; /* stopped or continued */
	for (struct proc *p = r->list; p; p = p->next) {
		if (p->pid == w->rpid) {
			unlink_proc(r, p);
			p->pid = 0;
			p->on_exit(p, w->rstatus);
			return;
		}
	}
}

void reaper_start(struct reaper *r, struct ev_loop *loop)
{
	r->list = NULL;
	r->loop = loop;
	ev_child_init(&r->watcher, on_child, 0, 0);
	r->watcher.data = r;
	ev_child_start(loop, &r->watcher);
	ev_feed_signal_event(loop, SIGCHLD); /* children from before: no signal will come for them again */
}

void reaper_stop(struct reaper *r)
{
	ev_child_stop(r->loop, &r->watcher);
}

void proc_clean_start(void)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL }, ign = { .sa_handler = SIG_IGN };
	sigset_t none;

	/* inherited "ignored" or "blocked" would hide every death from libev, which changes neither */
	sigaction(SIGCHLD, &dfl, NULL);
	sigaction(SIGPIPE, &ign, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* else the next file or socket becomes our standard output; open takes the lowest free number */
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open_null();
	}
}
