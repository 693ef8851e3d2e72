/* What `clashsup remember PATH` does: it may block, and may be killed at any point. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "daemon/remember.h"

/* The bytes in `path` when the power fails: all of them or none. */
static int write_new(const char *path, const void *bytes, size_t len, struct err *e)
{
	cleanup_fd int fd = -1;
	int r;

	unlink(path); /* of one that was killed */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, errno, "%s", path);
	r = io_write_all(fd, bytes, len);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r < 0)
		unlink(path);
	return r < 0 ? err_sys(e, -r, "%s", path) : 0;
}

static int replace(const char *path, const char *dir, const void *bytes, size_t len, struct err *e)
{
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char new[PATH_MAX];
	int r = io_path(new, sizeof(new), e, "%s.new", path);

	if (fd < 0)
		return err_sys(e, errno, "%s", dir);
	if (r == 0)
		r = write_new(new, bytes, len, e);
	if (r < 0)
		return r;
	if (rename(new, path) < 0) {
		r = err_sys(e, errno, "%s", path);
		unlink(new);
		return r;
	}
	return fsync(fd) < 0 ? err_sys(e, errno, "%s", dir) : 0;
}

/* All of stdin, at most `cap` bytes. */
static ssize_t read_all(char *buf, size_t cap)
{
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < cap) {
		n = io_read(STDIN_FILENO, buf + len, cap - len);
		if (n < 0)
			return n;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int remember_write(const char *path, struct err *e)
{
	cleanup_free char *bytes = malloc(LASTGOOD_MAX + 1);
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	ssize_t len;
	int r;

	if (!bytes)
		return err_set(e, ENOMEM, "out of memory");
	len = read_all(bytes, LASTGOOD_MAX + 1);
	if (len < 0)
		return err_sys(e, (int)-len, "stdin");
	if (lastgood_decode(bytes, (size_t)len, NULL, NULL, e) < 0) /* its end is missing: the supervisor died */
		return err_prefix(e, "stdin");
	r = io_path(dir, sizeof(dir), e, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (r == 0)
		r = io_mkdirs(dir, 0755, e);
	return r == 0 ? replace(path, dir, bytes, (size_t)len, e) : r;
}
