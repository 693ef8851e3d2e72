#include "core/text.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST 4096
#define PIECE 128

static bool grow(struct text *t, size_t more)
{
	size_t cap = t->cap ? t->cap : FIRST;
	char *grown;

	while (cap <= t->len + more) /* a byte is for the NUL */
		cap *= 2;
	if (cap == t->cap)
		return true;
	grown = cap > INT_MAX ? NULL : realloc(t->buf, cap);
	if (!grown)
		return false;
	t->buf = grown;
	t->cap = cap;
	return true;
}

void text_put(struct text *t, const char *bytes, size_t n)
{
	if (t->failed || n > INT_MAX / 2 || !grow(t, n)) {
		t->failed = true;
		return;
	}
	memcpy(t->buf + t->len, bytes, n);
	t->len += n;
	t->buf[t->len] = '\0';
}

void text_puts(struct text *t, const char *s)
{
	text_put(t, s, strlen(s));
}

void text_fmt(struct text *t, const char *fmt, ...)
{
	char piece[PIECE];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(piece, sizeof(piece), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(piece))
		t->failed = true;
	else
		text_put(t, piece, (size_t)n);
}

int text_end(struct text *t, char **out, struct err *e)
{
	if (t->failed) {
		free(t->buf);
		*out = NULL;
		return err_sys(e, ENOMEM, "cannot write the firewall rules");
	}
	*out = t->buf;
	return (int)t->len;
}
