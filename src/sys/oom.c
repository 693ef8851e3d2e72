#include "clashsup/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"

#define FILE_MAX (64u << 10)
#define GROUPS "/sys/fs/cgroup"
#define MACHINE "/proc/vmstat"

/* ---- the score ---- */

static const char score_path[] = "/proc/self/oom_score_adj";

int oom_read(void)
{
	cleanup_fd int fd = open(score_path, O_RDONLY | O_CLOEXEC);
	char text[16] = "";

	if (fd < 0 || io_read(fd, text, sizeof(text) - 1) <= 0)
		return 0;
	return (int)strtol(text, NULL, 10);
}

int oom_write(int score)
{
	cleanup_fd int fd = open(score_path, O_WRONLY | O_CLOEXEC);
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", score);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = io_write(fd, text, (size_t)len);
	return n < 0 ? (int)n : 0;
}

/* ---- the killing ---- */

/* The number behind a line's word "oom_kill"; false when there is none. */
static bool read_count(const char *path, uint64_t *out)
{
	cleanup_free char *text = NULL;
	const char *at;
	size_t len;

	if (io_slurp_path(path, FILE_MAX, &text, &len, NULL) < 0)
		return false;
	for (at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, "oom_kill ", 9) == 0) {
			*out = strtoull(at + 9, NULL, 10);
			return true;
		}
	}
	return false;
}

/* Lines "0::/path" (version 2) and "N:memory,...:/path" (version 1). */
static bool find_group(struct oom_watch *w, char *line)
{
	char *number = strsep(&line, ":"), *names = strsep(&line, ":");
	bool second;

	if (!number || !names || !line)
		return false;
	second = *names == '\0';
	if (!second && !strstr(names, "memory"))
		return false;
	if (snprintf(w->file, sizeof(w->file),
		     second ? GROUPS "%s/memory.events" : GROUPS "/memory%s/memory.oom_control",
		     line) >= (int)sizeof(w->file))
		return false;
	return read_count(w->file, &w->count);
}

static void find_file(struct oom_watch *w, pid_t pid)
{
	cleanup_free char *text = NULL;
	char path[64], *rest, *line;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (io_slurp_path(path, FILE_MAX, &text, &len, NULL) == 0) {
		for (rest = text; (line = strsep(&rest, "\n"));) {
			if (find_group(w, line))
				return;
		}
	}
	snprintf(w->file, sizeof(w->file), MACHINE);
	if (!read_count(w->file, &w->count))
		w->file[0] = '\0';
}

void oom_watch(struct oom_watch *w, pid_t pid)
{
	find_file(w, pid);
	w->before = w->count;
}

void oom_sample(struct oom_watch *w)
{
	w->before = w->count;
	if (w->file[0] && !read_count(w->file, &w->count))
		w->count = UINT64_MAX;
}

bool oom_happened(struct oom_watch *w)
{
	uint64_t before = w->before;

	oom_sample(w);
	w->before = w->count;
	return w->file[0] && w->count != UINT64_MAX && w->count > before;
}
