/* What `clashsup remember PATH` does: it may block, and may be killed at any point. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/history.h"
#include "clashsup/io.h"
#include "daemon/remember.h"

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
	/* Whose end is missing: the supervisor died. */
	if (history_decode(bytes, (size_t)len, NULL, NULL) < 0 &&
	    lastgood_decode(bytes, (size_t)len, NULL, NULL, e) < 0)
		return err_prefix(e, "stdin");
	r = io_path(dir, sizeof(dir), e, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (r == 0)
		r = io_mkdirs(dir, 0755, e);
	return r == 0 ? io_replace(path, bytes, (size_t)len, true, e) : r;
}
