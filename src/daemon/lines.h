/*
 * lines: what Mihomo prints. Each line is kept for `clashsup logs`, and passed on
 * to our log if its level is ours and there are not too many of them.
 */
#ifndef DAEMON_LINES_H
#define DAEMON_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/log.h"
#include "clashsup/policy.h"
#include "clashsup/ring.h"
#include "clashsup/settings.h"

#define LINES_KEPT 1000
#define LINES_BYTES (128 * 1024)

struct logfile;

struct lines {
	const struct settings *settings;
	struct logfile *file;	 /* NULL, or where they go in place of our log */
	void (*news)(void *ctx); /* a line more; may be NULL */
	void *ctx;
	struct ring ring;
	struct policy_rate rate;
	uint64_t dropped; /* and not told yet */
};

void lines_init(struct lines *l, const struct settings *settings, void (*news)(void *ctx), void *ctx);
void lines_free(struct lines *l);

/* One line without its newline. */
void lines_take(struct lines *l, const char *text, size_t len);

/* Each second: tells how many were dropped. */
void lines_tick(struct lines *l);

/* The level that Mihomo gave the line (logrus: level=warning msg=...); INFO when it gave none. Pure. */
enum log_level lines_level(const char *text, size_t len);

#endif
