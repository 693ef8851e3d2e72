/*
 * failing: memory that runs out and system calls that fail, when a test says so.
 * For one-file test programs named test_faults_*.c: they are linked with --wrap
 * for the functions below, so that our own calls come by here. Calls within
 * shared libraries do not; a library with hooks can be led here by a test.
 *
 * The shape of a test: let the n-th one fail, for n = 0, 1, ..., until the
 * operation succeeds because it has no n-th one.
 */
#ifndef TESTS_FAILING_H
#define TESTS_FAILING_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Which of the coming ones fail: none, one, or all behind `left` good ones. */
struct failing {
	enum { FAIL_NONE, FAIL_ONE, FAIL_ALL } which;
	long left;
	int errnum;
	bool failed; /* at least one has */
};

enum failing_call {
	CALL_PIPE2,
	CALL_FORK,
	CALL_OPEN,
	CALL_SOCKET,
	CALL_BIND,
	CALL_LISTEN,
	CALL_FCNTL,
	CALL_WRITE,
	CALL_RENAME,
	CALL_FCHOWN,
	CALL_INOTIFY_INIT1,
	CALL_INOTIFY_ADD_WATCH,
	FAILING_CALLS
};

static struct failing failing_memory, failing_calls[FAILING_CALLS];

static inline bool fails_now(struct failing *f)
{
	if (f->which == FAIL_NONE || f->left-- > 0)
		return false;
	if (f->which == FAIL_ONE)
		f->which = FAIL_NONE;
	f->failed = true;
	errno = f->errnum;
	return true;
}

/* The n-th allocation from now on (0 = the very next) fails, and all behind it. */
static inline void fail_allocations_after(long n)
{
	failing_memory = (struct failing){ FAIL_ALL, n, ENOMEM, false };
}

/* The n-th allocation alone. */
static inline void fail_allocation(long n)
{
	failing_memory = (struct failing){ FAIL_ONE, n, ENOMEM, false };
}

/* Was there one that failed? From now on all succeed. */
static inline bool allocations_work(void)
{
	bool failed = failing_memory.failed;

	failing_memory = (struct failing){ .which = FAIL_NONE };
	return failed;
}

/* The n-th call of one kind alone. */
static inline void fail_call(enum failing_call call, long n, int errnum)
{
	failing_calls[call] = (struct failing){ FAIL_ONE, n, errnum, false };
}

/* The n-th call of one kind, and all behind it. */
static inline void fail_calls_after(enum failing_call call, long n, int errnum)
{
	failing_calls[call] = (struct failing){ FAIL_ALL, n, errnum, false };
}

static inline bool call_works(enum failing_call call)
{
	bool failed = failing_calls[call].failed;

	failing_calls[call] = (struct failing){ .which = FAIL_NONE };
	return failed;
}

/* For what libraries open by themselves: EMFILE for every new descriptor of this process, or an end of that. */
static inline void fail_descriptors(bool fail)
{
	struct rlimit limit;

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = fail ? 0 : limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* How many descriptors are open. */
static inline int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* ---- what the linker puts in the place of each ---- */

#define WRAP(type, name, parameters, arguments, fail)                                                                  \
	type __real_##name parameters;                                                                                 \
	type __wrap_##name parameters;                                                                                 \
	type __wrap_##name parameters                                                                                  \
	{                                                                                                              \
		return fails_now(fail) ? FAILED_##type : __real_##name arguments;                                      \
	}

typedef void *pointer;
typedef char *string;
#define FAILED_pointer NULL
#define FAILED_string NULL
#define FAILED_int -1
#define FAILED_ssize_t -1

WRAP(pointer, malloc, (size_t n), (n), &failing_memory)
WRAP(pointer, calloc, (size_t n, size_t size), (n, size), &failing_memory)
WRAP(pointer, realloc, (void *p, size_t n), (p, n), &failing_memory)
WRAP(string, strdup, (const char *s), (s), &failing_memory)
WRAP(string, strndup, (const char *s, size_t n), (s, n), &failing_memory)

WRAP(int, pipe2, (int ends[2], int flags), (ends, flags), &failing_calls[CALL_PIPE2])
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), &failing_calls[CALL_SOCKET])
WRAP(int, bind, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len), &failing_calls[CALL_BIND])
WRAP(int, listen, (int fd, int backlog), (fd, backlog), &failing_calls[CALL_LISTEN])
WRAP(ssize_t, write, (int fd, const void *bytes, size_t len), (fd, bytes, len), &failing_calls[CALL_WRITE])
WRAP(int, rename, (const char *from, const char *to), (from, to), &failing_calls[CALL_RENAME])
WRAP(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), &failing_calls[CALL_FCHOWN])
WRAP(int, inotify_init1, (int flags), (flags), &failing_calls[CALL_INOTIFY_INIT1])
WRAP(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask),
     &failing_calls[CALL_INOTIFY_ADD_WATCH])

/* The faults stay with the parent. */
pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
	pid_t pid = fails_now(&failing_calls[CALL_FORK]) ? -1 : __real_fork();

	for (int i = 0; pid == 0 && i < FAILING_CALLS; i++)
		failing_calls[i].which = FAIL_NONE;
	if (pid == 0)
		failing_memory.which = FAIL_NONE;
	return pid;
}

/* The third argument is there or not, as the second one says; a register holds it anyhow. */
#define WRAP_VARIADIC(name, first, call)                                                                               \
	int __real_##name(first, int op, ...);                                                                         \
	int __wrap_##name(first, int op, ...);                                                                         \
	int __wrap_##name(first, int op, ...)                                                                          \
	{                                                                                                              \
		va_list ap;                                                                                            \
		long third;                                                                                            \
                                                                                                                       \
		va_start(ap, op);                                                                                      \
		third = va_arg(ap, long);                                                                              \
		va_end(ap);                                                                                            \
		return fails_now(&failing_calls[call]) ? -1 : __real_##name(at, op, third);                            \
	}

WRAP_VARIADIC(open, const char *at, CALL_OPEN)
WRAP_VARIADIC(fcntl, int at, CALL_FCNTL)

#endif
