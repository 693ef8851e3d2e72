/*
 * Landlock, then seccomp, both irreversible and inherited (landlock(7),
 * seccomp(2)). Landlock does not judge connect(2) to a socket's path, so the
 * API's socket needs no rule; nor does it touch descriptors that are open.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include "clashsup/io.h"
#include "helper/helper.h"

/* What Mihomo looks into to resolve names. */
static const char *const system_files[] = { "/etc/resolv.conf", "/etc/hosts", NULL };

static int failed(const char *what)
{
	fprintf(stderr, "clashsup-helper: %s: %s\n", what, strerror(errno));
	return -1;
}

/* All rights that this kernel's Landlock knows, up to its fifth version: those beyond do not concern files. */
static uint64_t handled_rights(long abi)
{
	uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rights |= 1ull << 14; /* truncate */
	if (abi >= 5)
		rights |= 1ull << 15; /* ioctl of devices */
	return rights;
}

static int allow_reading(int ruleset, const char *path)
{
	cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = fd };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* not there, or not for us: reading it will say so */
	if (S_ISDIR(st.st_mode))
		rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR;
	return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int allow_all(int ruleset, const char *const *paths)
{
	for (; *paths; paths++)
		if (allow_reading(ruleset, *paths) < 0)
			return failed(*paths);
	return 0;
}

static int restrict_files(enum confine_phase phase, const char *const *paths)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = { .handled_access_fs = handled_rights(abi) };
	cleanup_fd int ruleset = -1;

	if (abi < 1)
		return 0;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return failed("landlock");
	if (phase == CONFINE_READING && (allow_all(ruleset, paths) < 0 || allow_all(ruleset, system_files) < 0))
		return -1;
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? failed("landlock") : 0;
}

/* Whatever is not named here or below answers EPERM. Names that an architecture lacks are passed over. */
static const char *const allowed[] = {
	"read",
	"readv",
	"pread64",
	"write",
	"writev",
	"close",
	"lseek",
	"_llseek",
	"fstat",
	"fstat64",
	"fcntl",
	"fcntl64",
	"dup",
	"ioctl",
	"pipe2",
	"eventfd2",
	"brk",
	"munmap",
	"mremap",
	"madvise",
	"poll",
	"ppoll",
	"ppoll_time64",
	"select",
	"_newselect",
	"pselect6",
	"pselect6_time64",
	"getpid",
	"gettid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getuid32",
	"geteuid32",
	"getgid32",
	"getegid32",
	"uname",
	"sysinfo",
	"getrandom",
	"clock_gettime",
	"clock_gettime64",
	"clock_getres",
	"gettimeofday",
	"time",
	"nanosleep",
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"restart_syscall",
	"futex",
	"futex_time64",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigreturn",
	"sched_getaffinity",
	"sched_yield",
	"set_robust_list",
	"rseq",
	"exit",
	"exit_group",
};

/* Beside opening for reading. */
static const char *const for_files[] = {
	"stat",	  "stat64",    "lstat",	     "lstat64",	 "newfstatat", "fstatat64", "statx",
	"access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd",    "getdents64",
};

/* Beside making them; wait4, since the resolver is the parent of the reader. */
static const char *const for_sockets[] = {
	"connect", "bind",    "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown", "send",
	"sendto",  "sendmsg", "sendmmsg",    "recv",	    "recvfrom",	  "recvmsg",	"recvmmsg", "wait4",
};

/* Whoever tries one of these was taken over. */
static const char *const deadly[] = {
	"execve",
	"execveat",
	"fork",
	"vfork",
	"clone",
	"clone3",
	"ptrace",
	"process_vm_readv",
	"process_vm_writev",
	"kill",
	"tkill",
	"tgkill",
	"pidfd_open",
	"pidfd_send_signal",
	"pidfd_getfd",
	"mount",
	"umount2",
	"unshare",
	"setns",
	"bpf",
	"io_uring_setup",
	"init_module",
	"finit_module",
	"keyctl",
	"add_key",
};

static int add(scmp_filter_ctx f, uint32_t action, const char *name, unsigned n, const struct scmp_arg_cmp *args)
{
	int nr = seccomp_syscall_resolve_name(name);

	return nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add_array(f, action, nr, n, args);
}

static int add_all(scmp_filter_ctx f, uint32_t action, const char *const *names, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = add(f, action, names[i], 0, NULL);
	return r;
}

/* Calls of which only some forms are allowed. */
static int add_forms(scmp_filter_ctx f)
{
	const struct scmp_arg_cmp no_code[] = { SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) };
	const struct scmp_arg_cmp no_limits[] = { SCMP_A2(SCMP_CMP_EQ, 0, 0) };
	int r = add(f, SCMP_ACT_ALLOW, "mmap", 1, no_code);

	r = r ? r : add(f, SCMP_ACT_ALLOW, "mmap2", 1, no_code);
	r = r ? r : add(f, SCMP_ACT_ALLOW, "mprotect", 1, no_code);
	return r ? r : add(f, SCMP_ACT_ALLOW, "prlimit64", 1, no_limits);
}

static int add_files(scmp_filter_ctx f)
{
	const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
	const struct scmp_arg_cmp openat_read[] = { SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY) };
	const struct scmp_arg_cmp open_read[] = { SCMP_A1(SCMP_CMP_MASKED_EQ, writing, O_RDONLY) };
	int r = add_all(f, SCMP_ACT_ALLOW, for_files, sizeof(for_files) / sizeof(for_files[0]));

	r = r ? r : add(f, SCMP_ACT_ALLOW, "openat", 1, openat_read);
	return r ? r : add(f, SCMP_ACT_ALLOW, "open", 1, open_read);
}

static int add_sockets(scmp_filter_ctx f)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6 };
	const struct scmp_arg_cmp local[] = { SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0) };
	int r = add_all(f, SCMP_ACT_ALLOW, for_sockets, sizeof(for_sockets) / sizeof(for_sockets[0]));

	r = r ? r : add(f, SCMP_ACT_ALLOW, "socketpair", 1, local);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && r == 0; i++) {
		const struct scmp_arg_cmp family[] = { SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0) };

		r = add(f, SCMP_ACT_ALLOW, "socket", 1, family);
	}
	return r;
}

static int restrict_calls(enum confine_phase phase)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = f ? 0 : -ENOMEM;

	r = r ? r : add_all(f, SCMP_ACT_ALLOW, allowed, sizeof(allowed) / sizeof(allowed[0]));
	r = r ? r : add_all(f, SCMP_ACT_KILL_PROCESS, deadly, sizeof(deadly) / sizeof(deadly[0]));
	r = r ? r : add_forms(f);
	r = r ? r : phase == CONFINE_READING ? add_files(f) : add_sockets(f);
	r = r ? r : seccomp_load(f);
	if (f)
		seccomp_release(f);
	if (r == 0)
		return 0;
	errno = -r;
	return failed("seccomp");
}

int confine(enum confine_phase phase, const char *const *paths)
{
	const struct rlimit none = { 0, 0 };
#ifdef CLASHSUP_SANITIZED
	const bool tool = true;
#else
	const bool tool = RUNNING_ON_VALGRIND;
#endif
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed("no_new_privs");
	if (tool)
		return 0;
	if (setrlimit(RLIMIT_NPROC, &none) < 0)
		return failed("no processes");
	return restrict_files(phase, paths) < 0 || restrict_calls(phase) < 0 ? -1 : 0;
}
