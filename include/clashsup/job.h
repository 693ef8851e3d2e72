/*
 * job: a short-lived program with text on its stdin, a deadline, and the first
 * bytes of what it prints, JOB_OUTPUT_MAX unless it is told otherwise. Asynchronous; at its deadline it is
 * killed as a group. `done` is called exactly once, after the process was
 * reaped and its output was drained (a grandchild that keeps the pipe open is
 * not waited for).
 */
#ifndef CLASHSUP_JOB_H
#define CLASHSUP_JOB_H

#include "clashsup/proc.h"

#define JOB_OUTPUT_MAX (256 * 1024)

struct job;

struct job_result {
	int status; /* of waitpid(2); -1 when it could not be started */
	bool timed_out;
	bool input_lost;     /* it did not get all, and not because it wanted no more */
	int64_t deadline_ms; /* as given: for job_why */
	const char *output;  /* stdout and stderr, NUL-terminated, borrowed until done returns */
	size_t output_len;
	bool output_cut; /* it printed more */
};

typedef void (*job_done_fn)(void *ctx, const struct job_result *result);

struct job_spec {
	const char *const *argv; /* argv[0] is looked up on PATH when it has no '/' */
	const char *const *envp; /* NULL = ours */
	const char *input;	 /* stdin; copied. NULL = /dev/null */
	size_t input_len;
	int64_t deadline_ms;
	size_t output_max;				/* 0 = JOB_OUTPUT_MAX */
	int (*in_child)(const void *arg, pid_t parent); /* as of struct proc_spec */
	const void *arg;
};

/* 0 and *out (valid until done was called), or -errno and nothing was started. */
int job_start(struct job **out, struct reaper *r, const struct job_spec *spec, job_done_fn done, void *ctx,
	      struct err *e);

/* Kills the group; `done` is still called, when it was reaped. */
void job_kill(struct job *j);

/* Kills the group and forgets the owner: `done` is not called. NULL-safe. */
void job_abandon(struct job *j);

/*
 * For in_child: stderr goes to /dev/null. iptables-nft-save, say, prints a warning
 * between two blocks of its output, in the middle of a line: the two must not
 * share a pipe.
 */
int job_no_stderr(const void *arg, pid_t parent);

/* True for exit status 0 within the deadline. */
bool job_ok(const struct job_result *result);

/* "exit status 4: first line of output", "killed by signal 9", "no end within 5000 ms". */
const char *job_why(const struct job_result *result, char *buf, size_t cap);

#endif
