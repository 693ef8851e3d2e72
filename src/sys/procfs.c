#include "clashsup/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"

#define PF_EXITING 0x00000004u
#define FD_MAX 65535

uint64_t procfs_stat(pid_t pid, enum procfs_field field)
{
	char path[64], text[1024];
	cleanup_fd int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : io_read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')'); /* the name, field 2, may hold anything else */
	for (int i = 2; at && i < (int)field; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

bool procfs_exiting(pid_t pid)
{
	uint64_t flags = procfs_stat(pid, PROCFS_FLAGS);

	return flags ? (flags & PF_EXITING) != 0 : kill(pid, 0) < 0 && errno == ESRCH;
}

const char *procfs_program(void)
{
	static const char link[] = "/proc/self/exe";
	const char *name = (const char *)(uintptr_t)getauxval(AT_EXECFN);

	return access(link, F_OK) < 0 && name && name[0] == '/' ? name : link;
}

int procfs_program_path(char path[PATH_MAX])
{
	const char *program = procfs_program();
	ssize_t n = readlink(program, path, PATH_MAX - 1); /* names it even where it is gone, as realpath would not */

	if (n > 0)
		path[n] = '\0';
	if (n > 0 && path[0] == '/')
		return 0;
	return realpath(program, path) ? 0 : -errno;
}

/* Numbers among the names in a directory of /proc, each to `each` until it returns false. False: no such directory. */
static bool each_number(const char *path, bool (*each)(void *ctx, int number), void *ctx)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool go_on = true;

	if (!dir)
		return false;
	while (go_on && (entry = readdir(dir))) {
		uint64_t number;

		if (scan_u64(entry->d_name, INT_MAX, &number) == 0)
			go_on = each(ctx, (int)number);
	}
	closedir(dir);
	return true;
}

struct wanted {
	enum procfs_field field;
	pid_t value;
	int sig;
};

static bool signal_one(void *ctx, int pid)
{
	const struct wanted *w = ctx;

	if (pid != getpid() && procfs_stat(pid, w->field) == (uint64_t)w->value)
		(void)kill(pid, w->sig);
	return true;
}

void procfs_signal_all(enum procfs_field field, pid_t value, int sig)
{
	struct wanted w = { field, value, sig };

	(void)each_number("/proc", signal_one, &w);
}

static bool keep_highest(void *ctx, int fd)
{
	int *highest = ctx;

	*highest = fd > *highest ? fd : *highest;
	return true;
}

int procfs_highest_fd(void)
{
	struct rlimit limit = { 0, 0 };
	int highest = -1;

	if (each_number("/proc/self/fd", keep_highest, &highest))
		return highest;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > FD_MAX)
		return FD_MAX;
	return (int)limit.rlim_cur - 1;
}

struct tun_search {
	pid_t pid;
	char *name;
};

/* "iff:\tNAME" of a descriptor's fdinfo: tun_chr_show_fdinfo in drivers/net/tun.c. */
static bool look_at_fd(void *ctx, int number)
{
	static const char device[] = "/dev/net/tun", key[] = "\niff:\t";
	const struct tun_search *t = ctx;
	char path[64], text[512];
	cleanup_fd int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)t->pid, number);
	n = readlink(path, text, sizeof(text));
	if (n != sizeof(device) - 1 || memcmp(text, device, sizeof(device) - 1) != 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)t->pid, number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : io_read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return true;
	text[n] = '\0';
	at = strstr(text, key);
	if (!at)
		return true;
	at += sizeof(key) - 1;
	snprintf(t->name, PROCFS_IFACE, "%.*s", (int)strcspn(at, "\n"), at);
	return t->name[0] == '\0';
}

bool procfs_tun(pid_t pid, char name[PROCFS_IFACE])
{
	struct tun_search t = { pid, name };
	char path[64];

	name[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	return each_number(path, look_at_fd, &t) && name[0];
}
