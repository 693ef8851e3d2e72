/*
 * helper: runs one clashsup-helper role as a child and hands its checked
 * records on. The parent side of the wire: a bad record, too many of a type,
 * or the deadline kills the helper.
 */
#ifndef CLASHSUP_HELPER_H
#define CLASHSUP_HELPER_H

#include "clashsup/proc.h"
#include "clashsup/sandbox.h"
#include "clashsup/wire.h"

enum helper_end {
	HELPER_OK,     /* exit 0 */
	HELPER_FAILED, /* another exit, a signal, or it could not start */
	HELPER_DEADLINE,
	HELPER_BAD_RECORD,
};

struct helper;

struct helper_spec {
	const char *role;	 /* "inspect", "probe", "extract" */
	const char *const *args; /* behind the role, NULL-terminated */
	int exec_fd;		 /* O_PATH descriptor of clashsup-helper */
	const char *path;	 /* its path, for argv[0] and messages */
	struct sandbox_ids ids;
	const uint32_t *caps; /* WIRE_TYPES entries */
	int64_t deadline_ms;  /* 0 = none */
	int in_fd;	      /* its stdin; 0 = none (probe: a pipe of helper_tell). Borrowed. */
};

struct helper_ops {
	void (*record)(void *ctx, const struct wire_record *r);
	/* Last call, after the process was reaped and the pipe was drained; the helper is freed by then. */
	void (*end)(void *ctx, enum helper_end end, const char *why);
};

/* Finds clashsup-helper: beside our own executable, then in libexec. O_PATH descriptor or -errno. */
int helper_open(char *path, size_t cap, struct err *e);

int helper_start(struct helper **out, struct reaper *r, const struct helper_spec *spec, const struct helper_ops *ops,
		 void *ctx, struct err *e);

/* The helper's stdin: a byte each for the probe role. Never blocks. */
int helper_tell(struct helper *h, const void *bytes, size_t len);

/* Kills and forgets: neither record nor end is called. NULL-safe. */
void helper_abandon(struct helper *h);

#endif
