/*
 * history: the deaths of Mihomo, the latest HISTORY_MAX of them: a value without
 * pointers, and as the text of a file. Pure.
 *
 * The file is text: a line of its name and version, a line a death in their
 * order (wall clock in ms, life in ms, pid, exit code or -1, signal or 0, flags as
 * letters or "-"), and "end N".
 */
#ifndef CLASHSUP_HISTORY_H
#define CLASHSUP_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/err.h"

#define HISTORY_MAX 64
#define HISTORY_FILE_MAX 8192 /* bytes */

struct death {
	int64_t at_ms;	  /* wall clock */
	int64_t lived_ms; /* of the monotonic clock */
	int pid;	  /* 0 = it could not be started */
	int code;	  /* exit status, -1 when a signal ended it */
	int signal;	  /* 0 when it exited */
	bool core;	  /* it left a core file */
	bool oom;	  /* the kernel killed it for want of memory */
	bool by_us;	  /* it had been asked to end */
};

struct history {
	struct death list[HISTORY_MAX]; /* a ring */
	uint32_t count;			/* all that there were */
};

void history_add(struct history *h, const struct death *d);

/* The n-th, 0 = the latest; NULL when there are not so many or it is forgotten. */
const struct death *history_at(const struct history *h, uint32_t n);

/* The file's text in `out`; its length, always less than HISTORY_FILE_MAX. */
size_t history_encode(const struct history *h, char out[HISTORY_FILE_MAX]);

/* 0, or -EINVAL with what is wrong, and *h is untouched. h may be NULL: only checked. */
int history_decode(const char *bytes, size_t len, struct history *h, struct err *e);

#endif
