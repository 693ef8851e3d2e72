#include "clashsup/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "clashsup/io.h"

/* Where the unified hierarchy is: alone, or beside those of version 1. */
static const char *const tops[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

static bool is_v2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* Ours, from the line "0::PATH" of /proc/self/cgroup (cgroups(7)), relative to the top that we see. */
static int own_path(char *out, size_t cap, struct err *e)
{
	cleanup_fd int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	char text[8192];
	ssize_t n = fd < 0 ? -errno : io_read(fd, text, sizeof(text) - 1);
	char *line, *rest = text;

	if (n < 0)
		return err_sys(e, (int)-n, "cannot read /proc/self/cgroup");
	text[n] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, "0::/", 4) == 0)
			return io_path(out, cap, e, "%s", line[4] ? line + 3 : "");
	}
	return err_set(e, ENOENT, "this kernel has no cgroup v2");
}

static int find(const char *wanted, char path[PATH_MAX], struct err *e)
{
	char own[PATH_MAX];
	int r;

	if (wanted[0] == '/')
		return io_path(path, PATH_MAX, e, "%s", wanted);
	r = own_path(own, sizeof(own), e);
	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]) && r == 0; i++) {
		if (is_v2(tops[i]))
			return io_path(path, PATH_MAX, e, "%s%s/%s", tops[i], own, wanted);
	}
	return r < 0 ? r : err_set(e, ENOENT, "cgroup v2 is not mounted below /sys/fs/cgroup");
}

int cgroup_make(const char *wanted, char path[PATH_MAX], struct err *e)
{
	int r = find(wanted, path, e);

	if (r < 0)
		return r;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, errno, "cannot make the cgroup %s", path);
	return is_v2(path) ? 0 : err_set(e, EINVAL, "%s is not in cgroup v2", path);
}

int cgroup_join(const char *path)
{
	cleanup_fd int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int fd = dir < 0 ? -1 : openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : io_write(fd, "0", 1);

	return n < 0 ? (int)n : 0;
}

void cgroup_drop(const char *wanted)
{
	char path[PATH_MAX];

	if (wanted[0] != '\0' && wanted[0] != '/' && find(wanted, path, NULL) == 0)
		(void)rmdir(path);
}
