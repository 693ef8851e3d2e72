/*
 * proc: child processes: start, signal, and the only reaper of the program.
 *
 * libev's default loop reaps every child by itself, so nobody else may call
 * waitpid (no system(3), no popen(3)). One child watcher on pid 0 routes each
 * status to the struct proc that owns the pid; strangers (orphans that PID 1
 * inherits) are reaped silently.
 */
#ifndef CLASHSUP_PROC_H
#define CLASHSUP_PROC_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "clashsup/err.h"

struct proc;

/* Called once, after the process was reaped; `status` as of waitpid(2). proc->pid is 0 by then. */
typedef void (*proc_exit_fn)(struct proc *p, int status);

struct proc {
	pid_t pid; /* 0 = not running */
	proc_exit_fn on_exit;
	void *data; /* the owner's */
	struct proc *next;
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
	/*
	 * Runs in the child last before exec, after the descriptors are placed:
	 * drops rights. Non-zero = exit 126 (it has written why to stderr itself).
	 */
	int (*in_child)(const void *arg, pid_t parent);
	const void *arg;
};

struct reaper {
	ev_child watcher;
	struct proc *list;
	struct ev_loop *loop;
};

/* First thing in main: SIGCHLD default, empty mask, fds 0-2 open, SIGPIPE ignored. */
void proc_clean_start(void);

/* Needs the default loop. Feeds one SIGCHLD, since children may be there already. */
void reaper_start(struct reaper *r, struct ev_loop *loop);
void reaper_stop(struct reaper *r);

/*
 * Forks and executes. An exec that fails shows as exit 127 (not found) or 126,
 * with the reason on the child's stderr. p->on_exit must be set.
 */
int proc_spawn(struct reaper *r, struct proc *p, const struct proc_spec *spec, struct err *e);

/* Signals one process or its group; a process that is gone is no error. */
void proc_signal(const struct proc *p, int sig);
void proc_signal_group(const struct proc *p, int sig);

/* Forgets the owner: the process is still reaped, nobody is called. */
void proc_abandon(struct reaper *r, struct proc *p);

#endif
