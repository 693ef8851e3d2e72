/* What `clashsup logfile PATH SIZE COUNT` does: it may block, and ends with its standard input. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "daemon/logfile.h"

struct file {
	const char *path;
	uint64_t size, count;
	uint64_t used;
	int fd;
};

/* Another one may be writing the last words of a former life: both append. */
static int open_file(struct file *f, struct err *e)
{
	const char *slash = strrchr(f->path, '/');
	char dir[PATH_MAX];
	struct stat st;
	int r = io_path(dir, sizeof(dir), e, "%.*s", slash ? (int)(slash - f->path) + 1 : 1, slash ? f->path : ".");

	if (r == 0)
		r = io_mkdirs(dir, 0755, e);
	if (r < 0)
		return r;
	f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		return err_sys(e, errno, "cannot open %s", f->path);
	f->used = (uint64_t)st.st_size;
	return 0;
}

/* PATH.1 is the latest of the old ones. */
static int rotate(struct file *f, struct err *e)
{
	char from[PATH_MAX + 24], to[PATH_MAX + 24];

	for (uint64_t n = f->count; n > 0; n--) {
		snprintf(to, sizeof(to), "%s.%u", f->path, (unsigned)n);
		if (n > 1)
			snprintf(from, sizeof(from), "%s.%u", f->path, (unsigned)n - 1);
		else
			snprintf(from, sizeof(from), "%s", f->path);
		if (rename(from, to) < 0 && errno != ENOENT)
			return err_sys(e, errno, "cannot rename %s", from);
	}
	if (f->count == 0 && unlink(f->path) < 0)
		return err_sys(e, errno, "cannot remove %s", f->path);
	io_close(&f->fd);
	return open_file(f, e);
}

static int put(struct file *f, const char *line, size_t len, struct err *e)
{
	int r = f->used > 0 && f->used + len > f->size ? rotate(f, e) : 0;

	if (r == 0)
		r = io_write_all(f->fd, line, len);
	if (r == 0)
		f->used += len;
	else if (!e->code)
		err_sys(e, -r, "cannot write %s", f->path);
	return r;
}

int logfile_write(int argc, char **argv)
{
	struct file f = { .path = argv[0], .fd = -1 };
	cleanup_free char *line = NULL;
	struct err e = ERR_INIT;
	size_t cap = 0;
	ssize_t n;
	int r;

	if (argc != 3 || scan_u64(argv[1], UINT64_MAX, &f.size) < 0 || scan_u64(argv[2], 1000, &f.count) < 0)
		return 2;
	/* A terminal's ctrl-C is the supervisor's: it ends our input when it has said its last. */
	(void)signal(SIGINT, SIG_IGN);
	r = open_file(&f, &e);
	while (r == 0 && (n = getline(&line, &cap, stdin)) > 0)
		r = put(&f, line, (size_t)n, &e);
	io_close(&f.fd);
	if (r < 0)
		fprintf(stderr, "clashsup: Mihomo's lines: %s\n", e.msg);
	return r < 0;
}
