#include "clashsup/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void io_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(steal_fd(fd));
	errno = saved;
}

ssize_t io_read(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t io_write(int fd, const void *buf, size_t len)
{
	ssize_t n;

	do
		n = write(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int io_write_all(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len > 0) {
		ssize_t n = io_write(fd, at, len);

		if (n < 0)
			return (int)n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_slurp(int fd, size_t max, char **out, size_t *len_out)
{
	cleanup_free char *buf = NULL;
	size_t cap, len = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return -EFBIG;
	cap = (size_t)st.st_size + 1; /* files of /proc and growing files say 0 or too little */
	buf = malloc(cap + 1);
	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = io_read(fd, buf + len, cap - len);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (len == cap) {
			size_t bigger = cap > max / 2 ? max + 1 : cap * 2 + 4096;
			char *grown = realloc(buf, bigger + 1);

			if (!grown)
				return -ENOMEM;
			buf = grown;
			cap = bigger;
		}
	}
	buf[len] = '\0';
	*out = buf;
	*len_out = len;
	buf = NULL;
	return 0;
}

int io_slurp_path(const char *path, size_t max, char **out, size_t *len_out, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "%s", path);
	r = io_slurp(fd, max, out, len_out);
	if (r == -EFBIG)
		return err_set(e, EFBIG, "%s: larger than the limit of %zu bytes", path, max);
	if (r == -EINVAL)
		return err_set(e, EINVAL, "%s: not a regular file", path);
	return r < 0 ? err_sys(e, -r, "%s", path) : 0;
}

int io_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int io_mkdirs(const char *path, mode_t mode, struct err *e)
{
	char part[4096];
	int r = io_path(part, sizeof(part), e, "%s", path);

	if (r < 0)
		return r;
	for (char *at = part + 1;; at++) {
		char end = *at;

		if (end != '/' && end != '\0')
			continue;
		*at = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_sys(e, errno, "cannot make the directory %s", part);
		*at = end;
		if (end == '\0')
			return 0;
	}
}

int io_path(char *buf, size_t cap, struct err *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, cap, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= cap)
		return err_set(e, ENAMETOOLONG, "path is too long: %.200s", buf);
	return 0;
}

static int write_new(const char *path, const void *bytes, size_t len, bool durable, struct err *e)
{
	cleanup_fd int fd = -1;
	int r;

	unlink(path); /* of one that was killed */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, errno, "%s", path);
	r = io_write_all(fd, bytes, len);
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	if (r < 0)
		unlink(path);
	return r < 0 ? err_sys(e, -r, "%s", path) : 0;
}

int io_replace(const char *path, const void *bytes, size_t len, bool durable, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char dir[4096], new[4096];
	cleanup_fd int fd = -1;
	int r = io_path(new, sizeof(new), e, "%s.new", path);

	if (r == 0)
		r = io_path(dir, sizeof(dir), e, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (r < 0)
		return r;
	if (durable) {
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return err_sys(e, errno, "%s", dir);
	}
	r = write_new(new, bytes, len, durable, e);
	if (r < 0)
		return r;
	if (rename(new, path) < 0) {
		r = err_sys(e, errno, "%s", path);
		unlink(new);
		return r;
	}
	return durable && fsync(fd) < 0 ? err_sys(e, errno, "%s", dir) : 0;
}
