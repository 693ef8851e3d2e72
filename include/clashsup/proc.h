/*
 * proc: child processes: start, signal, and the only reaper of the program.
 *
 * Nobody else may call waitpid (no system(3), no popen(3), no ev_child). SIGCHLD
 * stays blocked and is read from a signalfd: a default loop of libev's, which would
 * reap every child within one turn, never sees it. Each status goes to the
 * struct proc that owns the pid; strangers (orphans that PID 1 inherits) are
 * reaped silently, at most 64 a turn and behind our own.
 */
#ifndef CLASHSUP_PROC_H
#define CLASHSUP_PROC_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "clashsup/err.h"
#include "clashsup/loop.h"

struct proc;

/* Called once, after the process was reaped; `status` as of waitpid(2). proc->pid is 0 by then. */
typedef void (*proc_exit_fn)(struct proc *p, int status);

struct proc {
	pid_t pid; /* 0 = not running */
	proc_exit_fn on_exit;
	proc_exit_fn on_stop; /* stopped or continued, and still there; NULL = of no interest */
	void *data;	      /* the owner's */
	struct proc *next;
};

/* Where the child stands among processes. */
enum proc_place {
	PROC_GROUP,   /* its own process group in our session */
	PROC_SESSION, /* its own session */
	PROC_BESIDE,  /* our group and session */
};

struct proc_fd {
	int from; /* descriptor of ours */
	int to;	  /* its number in the child */
};

/*
 * What the child gets. Everything else is clean: empty signal mask, default
 * dispositions, no other descriptor, own process group, umask 022.
 */
struct proc_spec {
	const char *const *argv; /* argv[0] is executed by path unless exec_fd >= 0 */
	const char *const *envp; /* NULL = ours */
	const char *cwd;	 /* NULL = "/" */
	int exec_fd;		 /* O_PATH descriptor to execveat, or -1 */
	int fd[3];		 /* stdin, stdout, stderr; -1 = /dev/null */
	const struct proc_fd *extra;
	size_t n_extra;
	enum proc_place place;
	bool keep_fds; /* it gets what we have without FD_CLOEXEC, too */
	/*
	 * Runs in the child last before exec, after the descriptors are placed:
	 * drops rights. Non-zero = exit 126 (it has written why to stderr itself).
	 */
	int (*in_child)(const void *arg, pid_t parent);
	const void *arg;
};

/*
 * Where a program that is started by this name is found: as execvpe(3) does, but
 * in absolute directories of PATH only; a file that may not be run is second
 * best. "" = nowhere.
 */
#define PROC_PATH 4096
#define PROC_DEFAULT_DIRS "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" /* where PATH is missing */
void proc_find(const char *name, char path[PROC_PATH]);
void proc_find_in(const char *dirs, const char *name, char path[PROC_PATH]); /* `dirs` in place of PATH */

struct reaper {
	struct loop_signals sigchld;
	ev_timer more; /* the rest, in the next turn */
	struct proc *list;
	struct ev_loop *loop;
	bool spared; /* by reaper_spare */
	int oom_had; /* our out-of-memory score before that */
};

/*
 * First thing in main: SIGCHLD default, fds 0-2 open, SIGPIPE ignored. All signals
 * are blocked until proc_open_signals: what comes before the handlers are in must
 * wait, since PID 1 loses what it has no handler for. SIGCHLD stays so for good.
 */
void proc_clean_start(void);
void proc_open_signals(const sigset_t *read); /* but for these, which loop_signals reads; NULL = none */

/* One a process. Children that are there already are reaped, too. 0 or -errno. */
int reaper_start(struct reaper *r, struct ev_loop *loop);
void reaper_stop(struct reaper *r);

/*
 * Lowers our own out-of-memory score where that is allowed. Each child gets back
 * what we had, yet nothing below 0: it is the child that should go.
 */
void reaper_spare(struct reaper *r);

/* Takes that back, for a program that is executed in our place. */
void reaper_spare_no_more(struct reaper *r);

/*
 * Forks and executes. An exec that fails shows as exit 127 (not found) or 126,
 * with the reason on the child's stderr. p->on_exit must be set.
 */
int proc_spawn(struct reaper *r, struct proc *p, const struct proc_spec *spec, struct err *e);

/*
 * Takes over a child that the program started which was executed before this one
 * in our process. Ahead of the loop's first turn, else it is reaped as a stranger.
 */
void proc_adopt(struct reaper *r, struct proc *p, pid_t pid);

/* Signals one process or its group; a process that is gone is no error. */
void proc_signal(const struct proc *p, int sig);
void proc_signal_group(const struct proc *p, int sig);

/* Forgets the owner: the process is still reaped, nobody is called. */
void proc_abandon(struct reaper *r, struct proc *p);

#endif
