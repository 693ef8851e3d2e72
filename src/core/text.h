/*
 * text: a text that grows. After a failure nothing more is added, so that
 * writers need no checks between; text_end tells it.
 */
#ifndef CLASHSUP_CORE_TEXT_H
#define CLASHSUP_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/err.h"

struct text {
	char *buf; /* NUL-terminated once something was put */
	size_t len, cap;
	bool failed;
};

void text_put(struct text *t, const char *bytes, size_t n);
void text_puts(struct text *t, const char *s);
void text_fmt(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* at most 127 bytes */

/* Gives the text away: its length and *out, which is the caller's to free; -ENOMEM after a failure. */
int text_end(struct text *t, char **out, struct err *e);

#endif
