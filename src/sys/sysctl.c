#include "clashsup/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"

#define ROOT "/proc/sys/"
#define VALUE_TEXT 16 /* an int with sign, newline and NUL */
#define CHANGES_MAX 128

/* ---- names ---- */

/* As sysctl(8): when the first separator is a dot, dots and slashes change their parts. */
static void swap_separators(char *name)
{
	name += strcspn(name, "./");
	if (*name != '.')
		return;
	for (; *name; name++)
		*name = (char)(*name == '.' ? '/' : *name == '/' ? '.' : *name);
}

/* Printable, and no part that is empty, "." or "..": it leads to nowhere but below net. */
static bool is_path(const char *path)
{
	for (const char *at = path; *at; at++)
		if ((unsigned char)*at <= ' ' || *at == 0x7f)
			return false;
	for (const char *part = path;; part++) {
		size_t len = strcspn(part, "/");

		if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		part += len;
		if (*part == '\0')
			return strncmp(path, "net/", strlen("net/")) == 0;
	}
}

/* "net/..." into `path`. */
static int path_of(const char *name, char path[SYSCTL_NAME_MAX], struct err *e)
{
	if (strlen(name) >= SYSCTL_NAME_MAX)
		return err_set(e, EINVAL, "%.100s...: longer than a kernel parameter's name", name);
	memcpy(path, name, strlen(name) + 1);
	swap_separators(path);
	return is_path(path) ? 0 : err_set(e, EINVAL, "%s: no kernel parameter below net", name);
}

/* As the user writes it for sysctl(8) and for containers. */
static const char *dotted(const char *path, char name[SYSCTL_NAME_MAX])
{
	for (size_t i = 0; i <= strlen(path); i++)
		name[i] = (char)(path[i] == '/' ? '.' : path[i] == '.' ? '/' : path[i]);
	return name;
}

/* ---- values ---- */

static int open_value(const char *path, int flags)
{
	char full[sizeof(ROOT) + SYSCTL_NAME_MAX];
	int fd;

	snprintf(full, sizeof(full), ROOT "%s", path);
	fd = open(full, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Without the newline; -errno alone. */
static int read_value(const char *path, char *buf, size_t cap)
{
	cleanup_fd int fd = open_value(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = io_read(fd, buf, cap); /* the kernel gives a value in one piece */
	if (n < 0)
		return (int)n;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	if ((size_t)n == cap)
		return -ENOSPC;
	buf[n] = '\0';
	return 0;
}

/* Strict: an int and nothing else. */
static int scan_int(const char *text, int *out)
{
	bool negative = text[0] == '-';
	uint64_t v;

	if (scan_u64(text + negative, negative ? (uint64_t)INT_MAX + 1 : INT_MAX, &v) < 0)
		return -ERANGE;
	*out = (int)(negative ? -(int64_t)v : (int64_t)v);
	return 0;
}

static int read_int(const char *path, int *out)
{
	char text[VALUE_TEXT];
	int r = read_value(path, text, sizeof(text));

	return r == 0 ? scan_int(text, out) : r == -ENOSPC ? -ERANGE : r;
}

static int write_int(const char *path, int value)
{
	cleanup_fd int fd = open_value(path, O_WRONLY);
	char text[VALUE_TEXT];

	if (fd < 0)
		return fd;
	return io_write_all(fd, text, (size_t)snprintf(text, sizeof(text), "%d", value));
}

static int err_read(struct err *e, int r, const char *path)
{
	char name[SYSCTL_NAME_MAX];

	if (r == -ENOENT)
		return err_set(e, ENOENT, "%s: this kernel does not have it", dotted(path, name));
	if (r == -ERANGE)
		return err_set(e, ERANGE, "%s: no number", dotted(path, name));
	return err_sys(e, -r, "cannot read %s", dotted(path, name));
}

static int err_write(struct err *e, int r, const char *path, int value)
{
	bool closed = r == -EROFS || r == -EACCES || r == -EPERM;
	char name[SYSCTL_NAME_MAX];

	dotted(path, name);
	if (closed)
		return err_set(e, -r, "cannot set %s to %d: %s; in a container, pass --sysctl %s=%d to it", name, value,
			       strerror(-r), name, value);
	return err_sys(e, -r, "cannot set %s to %d", name, value);
}

int sysctl_read(const char *name, char *buf, size_t cap, struct err *e)
{
	char path[SYSCTL_NAME_MAX];
	int r = path_of(name, path, e);

	if (r < 0)
		return r;
	r = read_value(path, buf, cap);
	return r < 0 ? err_read(e, r, path) : 0;
}

int sysctl_read_int(const char *name, int *out, struct err *e)
{
	char path[SYSCTL_NAME_MAX];
	int r = path_of(name, path, e);

	if (r < 0)
		return r;
	r = read_int(path, out);
	return r < 0 ? err_read(e, r, path) : 0;
}

/* ---- the journal ---- */

struct change {
	char path[SYSCTL_NAME_MAX];
	int old, new;
};

struct journal {
	char head[128]; /* which boot, which network namespace */
	struct change changes[CHANGES_MAX];
	size_t n;
};

static int journal_head(char *head, size_t cap, struct err *e)
{
	cleanup_fd int fd = open(ROOT "kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char boot[64];
	ssize_t n = fd < 0 ? -errno : io_read(fd, boot, sizeof(boot));
	struct stat ns;

	if (n < 0)
		return err_sys(e, (int)-n, "cannot read the kernel's boot_id");
	if (stat("/proc/self/ns/net", &ns) < 0)
		return err_sys(e, errno, "/proc/self/ns/net");
	snprintf(head, cap, "boot %.*s net %" PRIuMAX, (int)strcspn(boot, "\n"), boot, (uintmax_t)ns.st_ino);
	return 0;
}

/* One line; those that are none of ours are left out. */
static void add_line(struct journal *j, char *line)
{
	struct change c = { 0 };
	char *path = strsep(&line, " "), *old = strsep(&line, " "), *new = line;

	if (!old || !new || strlen(path) >= sizeof(c.path) || !is_path(path) || j->n == CHANGES_MAX)
		return;
	memcpy(c.path, path, strlen(path) + 1);
	if (scan_int(old, &c.old) == 0 && scan_int(new, &c.new) == 0)
		j->changes[j->n++] = c;
}

/* What a journal says to this boot and namespace; 1 when there is none, or one of others. */
static int journal_load(struct journal *j, const char *path, struct err *e)
{
	cleanup_free char *text = NULL;
	struct err why = ERR_INIT;
	char *rest, *line, *end;
	size_t len;
	int r;

	memset(j, 0, sizeof(*j));
	r = journal_head(j->head, sizeof(j->head), e);
	if (r < 0)
		return r;
	r = io_slurp_path(path, SYSCTL_JOURNAL_MAX, &text, &len, &why);
	if (r < 0)
		return r == -ENOENT ? 1 : err_set(e, -r, "%s", why.msg);
	end = memrchr(text, '\n', len);
	if (end)
		*end = '\0'; /* what is behind the last newline was cut off */
	rest = end ? text : NULL;
	line = strsep(&rest, "\n");
	if (!line || strcmp(line, j->head) != 0)
		return 1;
	while ((line = strsep(&rest, "\n")))
		add_line(j, line);
	return 0;
}

static int journal_save(const struct journal *j, const char *path, struct err *e)
{
	char text[SYSCTL_JOURNAL_MAX];
	size_t used = (size_t)snprintf(text, sizeof(text), "%s\n", j->head);

	for (size_t i = 0; i < j->n && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %d %d\n", j->changes[i].path,
					 j->changes[i].old, j->changes[i].new);
	if (used >= sizeof(text))
		return err_set(e, ENOSPC, "%s: no room for more changes", path);
	return io_replace(path, text, used, false, e);
}

static void journal_drop(struct journal *j, size_t at)
{
	memmove(&j->changes[at], &j->changes[at + 1], (--j->n - at) * sizeof(j->changes[0]));
}

/*
 * A change that is about to be made. When somebody else has set the parameter
 * since our last change of it, that and those before are void and go, so that
 * the journal does not grow while we and somebody else take turns.
 */
static int journal_add(struct journal *j, const char *path, int old, int new, struct err *e)
{
	for (size_t i = j->n; i-- > 0;) {
		if (strcmp(j->changes[i].path, path) != 0)
			continue;
		if (j->changes[i].new == old)
			break;
		journal_drop(j, i);
	}
	if (j->n == CHANGES_MAX)
		return err_set(e, ENOSPC, "no room for more than %d changes", CHANGES_MAX);
	memcpy(j->changes[j->n].path, path, strlen(path) + 1);
	j->changes[j->n].old = old;
	j->changes[j->n++].new = new;
	return 0;
}

/* ---- fix and restore ---- */

/* Of several errors the first. */
static void keep_first(int *first, int r)
{
	if (*first == 0)
		*first = r;
}

/* Journals what is to be changed; which of `want` that is, in `differs`. */
static int plan(struct journal *j, const struct sysctl_want *want, size_t n, bool *differs, size_t *n_out,
		struct err *e)
{
	int first = 0;

	*n_out = 0;
	for (size_t i = 0; i < n; i++) {
		struct err *say = first ? NULL : e;
		char path[SYSCTL_NAME_MAX];
		int value = 0, r = path_of(want[i].name, path, say);

		differs[i] = false;
		if (r == 0) {
			r = read_int(path, &value);
			if (r < 0)
				err_read(say, r, path);
		}
		if (r == 0 && value != want[i].value) {
			r = journal_add(j, path, value, want[i].value, say);
			differs[i] = r == 0;
			*n_out += differs[i];
		}
		keep_first(&first, r);
	}
	return first;
}

static int change_all(const struct sysctl_want *want, size_t n, const bool *differs, struct err *e)
{
	int first = 0;

	for (size_t i = 0; i < n; i++) {
		char path[SYSCTL_NAME_MAX];
		int r;

		if (!differs[i] || path_of(want[i].name, path, NULL) < 0)
			continue;
		r = write_int(path, want[i].value);
		if (r < 0)
			err_write(first ? NULL : e, r, path, want[i].value);
		keep_first(&first, r);
	}
	return first;
}

int sysctl_fix(const char *journal_path, const struct sysctl_want *want, size_t n, struct err *e)
{
	bool differs[CHANGES_MAX];
	struct journal j;
	size_t changes;
	int first, r;

	if (n > CHANGES_MAX)
		return err_set(e, ENOSPC, "no room for more than %d changes", CHANGES_MAX);
	r = journal_load(&j, journal_path, e);
	if (r < 0)
		return r;
	first = plan(&j, want, n, differs, &changes, e);
	if (changes == 0)
		return first;
	r = journal_save(&j, journal_path, first ? NULL : e);
	if (r == 0)
		r = change_all(want, n, differs, first ? NULL : e);
	keep_first(&first, r);
	return first;
}

/* 1 when the old value is back, 0 when it is not ours to put back. */
static int put_back(const struct change *c, struct err *e)
{
	int value, r = read_int(c->path, &value);

	if (r == -ENOENT || r == -ERANGE || (r == 0 && value != c->new))
		return 0; /* an interface that is gone, somebody else's value */
	if (r < 0)
		return err_read(e, r, c->path);
	r = write_int(c->path, c->old);
	return r < 0 ? err_write(e, r, c->path, c->old) : 1;
}

int sysctl_restore(const char *journal_path, size_t *restored_out, struct err *e)
{
	struct journal j;
	size_t restored = 0;
	int first = 0, r;

	if (restored_out)
		*restored_out = 0;
	r = journal_load(&j, journal_path, e);
	if (r < 0)
		return r;
	for (size_t i = j.n; i-- > 0;) {
		r = put_back(&j.changes[i], first ? NULL : e);
		restored += r > 0;
		keep_first(&first, r < 0 ? r : 0);
	}
	if (restored_out)
		*restored_out = restored;
	if (first == 0 && unlink(journal_path) < 0 && errno != ENOENT)
		first = err_sys(e, errno, "cannot remove %s", journal_path);
	return first;
}
