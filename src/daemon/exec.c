/*
 * One command under the reaper that Mihomo has too. All signals but SIGCHLD stay
 * blocked and come in through a signalfd: in their order, with their sender,
 * and none is lost before the command runs.
 */
#include "daemon/exec.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "clashsup/environment.h"
#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/proc.h"
#include "clashsup/procfs.h"
#include "daemon/exec_options.h"

#define LOG_EXEC "exec"
#define EXIT_CANNOT_RUN 126
#define TTY STDIN_FILENO

struct exec {
	struct exec_options options;
	struct ev_loop *loop;
	struct reaper reaper;
	struct proc child;
	pid_t group; /* the child's pid, kept behind its death */
	enum proc_place place;
	bool owns_tty; /* its group is the terminal's foreground, in our session */
	struct loop_signals signals;
	ev_timer stop;
	ev_prepare left; /* behind the child's death: is anybody left? */
	int cwd;
	mode_t mask;
	char **envp;	     /* with a place of our own for LISTEN_PID, or environ */
	char listen_pid[32]; /* "" = not ours to change */
	int code;
};

/* ---- the child, between fork and exec ---- */

static int in_child(const void *arg, pid_t parent)
{
	struct exec *x = (struct exec *)(uintptr_t)arg; /* the child's own copy by now */
	(void)parent;

	umask(x->mask);
	if (x->cwd >= 0)
		(void)!fchdir(x->cwd); /* else it stays in "/" */
	if (x->place == PROC_SESSION)
		(void)ioctl(TTY, TIOCSCTTY, 0); /* no terminal, or another session's: none then */
	else if (x->owns_tty)
		(void)tcsetpgrp(TTY, getpid()); /* SIGTTOU is blocked here */
	if (x->listen_pid[0])
		(void)snprintf(x->listen_pid, sizeof(x->listen_pid), "LISTEN_PID=%d", (int)getpid());
	return 0;
}

/* Socket activation (sd_listen_fds(3)) names the process that may use the descriptors: not us, but the child. */
static int prepare_environment(struct exec *x)
{
	const char *listen = getenv("LISTEN_PID");
	char *own[] = { x->listen_pid, NULL };

	x->envp = environ;
	if (!listen || strtol(listen, NULL, 10) != getpid())
		return 0;
	snprintf(x->listen_pid, sizeof(x->listen_pid), "LISTEN_PID=0");
	x->envp = environment_make(environ, NULL, own);
	return x->envp ? 0 : -ENOMEM;
}

/* ---- the terminal ---- */

/*
 * A session leader gives its terminal up, so that the child's session can have
 * it; the kernel then sends HUP and CONT to the foreground, which is us
 * (disassociate_ctty in drivers/tty/tty_jobctrl.c). Below an interactive shell
 * the session is the shell's: the child's group becomes the foreground instead.
 */
static void give_terminal(struct exec *x)
{
	const struct timespec now = { 0, 0 };
	sigset_t sent;

	x->place = x->options.single ? PROC_BESIDE : PROC_SESSION;
	if (x->options.single || tcgetpgrp(TTY) < 0)
		return;
	if (getsid(0) != getpid()) {
		x->owns_tty = tcgetpgrp(TTY) == getpgrp();
		x->place = PROC_GROUP;
		return;
	}
	if (ioctl(TTY, TIOCNOTTY) < 0)
		return;
	sigemptyset(&sent);
	sigaddset(&sent, SIGHUP);
	sigaddset(&sent, SIGCONT);
	while (sigtimedwait(&sent, NULL, &now) > 0)
		;
}

static void take_terminal(struct exec *x)
{
	if (x->owns_tty)
		(void)tcsetpgrp(TTY, getpgrp());
}

/* Below a shell with job control: it must see us stop, too, or it would wait for ever. */
static void on_child_stop(struct proc *p, int status)
{
	struct exec *x = p->data;

	if (!WIFSTOPPED(status) || !x->owns_tty)
		return;
	take_terminal(x);
	raise(SIGSTOP);
}

/* ---- signals ---- */

static void send_on(const struct exec *x, int sig)
{
	bool reached = !x->options.single && x->group > 1 && kill(-x->group, sig) == 0;

	if (!reached) /* it may have moved to another group */
		proc_signal(&x->child, sig);
}

static bool is_job_stop(int sig)
{
	return sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

/*
 * The group of a child in its own session is an orphan one, which the terminal's
 * stop signals do not stop (setpgid(2)): it gets SIGSTOP in their place.
 */
static int passed_on(const struct exec *x, int sig)
{
	if (is_job_stop(sig) && !x->options.single && !x->options.rewritten[sig])
		return SIGSTOP;
	return x->options.rewrite[sig];
}

static bool asks_to_end(int sig)
{
	return sig == SIGTERM || sig == SIGINT || sig == SIGQUIT;
}

static void take_signal(void *ctx, const struct signalfd_siginfo *info)
{
	struct exec *x = ctx;
	int sig = (int)info->ssi_signo, other;

	if (sig <= 0 || sig >= EXEC_SIGNALS)
		return;
	other = passed_on(x, sig);
	log_debug(LOG_EXEC, "signal %d, passing on %d", sig, other);
	if (sig == SIGCONT && x->owns_tty && tcgetpgrp(TTY) == getpgrp())
		(void)tcsetpgrp(TTY, x->group);
	/* What the terminal sends, the child beside us has got already. */
	if (other && !(x->place == PROC_BESIDE && info->ssi_code == SI_KERNEL && other == sig))
		send_on(x, other);
	if (asks_to_end(sig) && x->options.stop_ms && !ev_is_active(&x->stop)) {
		ev_timer_set(&x->stop, (double)x->options.stop_ms / 1000.0, 0.0);
		ev_timer_start(x->loop, &x->stop);
	}
	if (is_job_stop(sig))
		raise(SIGSTOP);
}

static int watch_signals(struct exec *x)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGCHLD);
	return loop_signals_start(&x->signals, x->loop, &all, take_signal, x);
}

/* ---- ends ---- */

/* True while children of ours exist, zombies too; takes none of them from the reaper. */
static bool any_child(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void kill_all(const struct exec *x)
{
	send_on(x, SIGKILL);
	if (getpid() == 1)
		(void)kill(-1, SIGKILL);
	else
		procfs_signal_all(PROCFS_PARENT, getpid(), SIGKILL);
}

static void on_stop_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct exec *x = w->data;
	(void)loop;
	(void)revents;

	log_warn(LOG_EXEC, "not ended in time, killing it");
	x->code = 128 + SIGKILL;
	kill_all(x);
}

static void on_left(struct ev_loop *loop, ev_prepare *w, int revents)
{
	struct exec *x = w->data;
	(void)revents;

	if (!any_child())
		ev_break(loop, EVBREAK_ALL);
	else if (x->code == 128 + SIGKILL && x->options.stop_ms && !ev_is_active(&x->stop))
		kill_all(x); /* those who were orphaned by the last one's death */
}

static void on_child_exit(struct proc *p, int status)
{
	struct exec *x = p->data;
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	log_debug(LOG_EXEC, "the command has ended with status %d", code);
	x->code = x->options.forgive[code] ? 0 : code;
	take_terminal(x);
	if (!x->options.single) {
		(void)kill(-x->group, SIGTERM); /* members keep the number from being used again */
		if (x->place == PROC_SESSION)
			procfs_signal_all(PROCFS_SESSION, x->group, SIGTERM);
	}
	if (x->options.wait_all)
		ev_prepare_start(x->loop, &x->left);
	else
		ev_break(x->loop, EVBREAK_ALL);
}

/* ---- the run ---- */

/* The child has its own; ours would keep files, sockets and pipes open over its death. */
static void close_inherited(void)
{
	int end = procfs_highest_fd();

	for (int fd = 3; fd <= end; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags >= 0 && !(flags & FD_CLOEXEC)) /* all of our own have it */
			close(fd);
	}
}

static int start(struct exec *x, struct err *e)
{
	struct proc_spec spec = { .argv = (const char *const *)x->options.command,
				  .envp = (const char *const *)x->envp,
				  .exec_fd = -1,
				  .fd = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO },
				  .place = x->place,
				  .keep_fds = true,
				  .in_child = in_child,
				  .arg = x };
	int r = proc_spawn(&x->reaper, &x->child, &spec, e);

	x->group = x->child.pid;
	io_close(&x->cwd);
	return r;
}

static int set_up(struct exec *x, struct err *e)
{
	int r, reaper = 0;

	if (x->options.parent_death && prctl(PR_SET_PDEATHSIG, x->options.parent_death, 0, 0, 0) < 0)
		return err_sys(e, errno, "cannot ask for the parent-death signal");
	if (x->options.subreaper && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "cannot become a subreaper");
	(void)prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0, 0, 0); /* whoever executed us may have asked already */
	if (getpid() != 1 && !reaper)
		log_warn(LOG_EXEC, "neither PID 1 nor a subreaper (-s): orphans will not come here to be reaped");
	x->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	x->mask = umask(0);
	umask(022);
	x->loop = loop_open();
	if (!x->loop)
		return err_set(e, ENOSYS, "no event loop");
	if (prepare_environment(x) < 0)
		return err_sys(e, ENOMEM, "cannot copy the environment");
	if ((r = reaper_start(&x->reaper, x->loop)) < 0)
		return err_sys(e, -r, "cannot watch for deaths");
	ev_timer_init(&x->stop, on_stop_limit, 0.0, 0.0);
	ev_prepare_init(&x->left, on_left);
	x->stop.data = x->left.data = x->child.data = x;
	x->child.on_exit = on_child_exit;
	x->child.on_stop = on_child_stop;
	give_terminal(x);
	if ((r = watch_signals(x)) < 0) /* ahead of the child, which nobody would end */
		return err_sys(e, -r, "cannot watch for signals");
	return 0;
}

static int run(struct exec *x)
{
	struct err e = ERR_INIT;

	if (set_up(x, &e) < 0 || start(x, &e) < 0) {
		log_error(LOG_EXEC, "%s", e.msg);
		return EXIT_CANNOT_RUN;
	}
	if (x->owns_tty)
		(void)tcsetpgrp(TTY, x->group); /* in both: whoever comes first */
	close_inherited();
	if (chdir("/") < 0) /* never pin a mount */
		log_debug(LOG_EXEC, "staying in the directory: %s", strerror(errno));
	ev_run(x->loop, 0);
	return x->code;
}

int exec_main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct exec *x = calloc(1, sizeof(*x));
	int code;

	if (!x)
		return 1;
	if (exec_options_read(&x->options, argc, argv, &e) < 0) {
		fprintf(stderr, "clashsup exec: %s\n%s", e.msg, exec_usage);
		code = 1;
	} else if (x->options.help || x->options.version) {
		fputs(x->options.help ? exec_usage : "clashsup " CLASHSUP_VERSION "\n", stdout);
		code = 0;
	} else {
		log_open(STDERR_FILENO, x->options.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
		code = run(x);
		log_flush();
	}
	return code; /* what is left belongs to the kernel: the next moment is our end */
}
