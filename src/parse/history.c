#include "clashsup/history.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "clashsup-history 1\n"
#define LINE_MAX_LEN 96
#define LIVED_MAX INT64_C(1000000000000000) /* thirty thousand years: nothing overflows behind it */

void history_add(struct history *h, const struct death *d)
{
	h->list[h->count++ % HISTORY_MAX] = *d;
	if (h->count == UINT32_MAX) /* keeps the ring's place */
		h->count = UINT32_MAX / HISTORY_MAX / 2 * HISTORY_MAX + UINT32_MAX % HISTORY_MAX;
}

const struct death *history_at(const struct history *h, uint32_t n)
{
	if (n >= h->count || n >= HISTORY_MAX)
		return NULL;
	return &h->list[(h->count - 1 - n) % HISTORY_MAX];
}

/* ---- the file ---- */

size_t history_encode(const struct history *h, char out[HISTORY_FILE_MAX])
{
	uint32_t n = h->count < HISTORY_MAX ? h->count : HISTORY_MAX;
	size_t len = (size_t)snprintf(out, HISTORY_FILE_MAX, HEAD);

	for (uint32_t i = n; i-- > 0;) {
		const struct death *d = history_at(h, i);
		bool any = d->core || d->oom || d->by_us;

		len += (size_t)snprintf(out + len, HISTORY_FILE_MAX - len,
					"%" PRId64 " %" PRId64 " %d %d %d %s%s%s%s\n", d->at_ms, d->lived_ms, d->pid,
					d->code, d->signal, d->core ? "c" : "", d->oom ? "o" : "", d->by_us ? "u" : "",
					any ? "" : "-");
	}
	return len + (size_t)snprintf(out + len, HISTORY_FILE_MAX - len, "end %" PRIu32 "\n", n);
}
_Static_assert(sizeof(HEAD) + HISTORY_MAX * LINE_MAX_LEN + 16 < HISTORY_FILE_MAX, "all lines fit");

static bool next_number(const char **at, int64_t min, int64_t max, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(*at, &end, 10);
	if (end == *at || *end != ' ' || errno || *out < min || *out > max)
		return false;
	*at = end + 1;
	return true;
}

static bool read_death(const char *line, struct death *d)
{
	int64_t pid, code, sig;

	memset(d, 0, sizeof(*d));
	if (!next_number(&line, 0, LIVED_MAX, &d->at_ms) || !next_number(&line, 0, LIVED_MAX, &d->lived_ms) ||
	    !next_number(&line, 0, INT_MAX, &pid) || !next_number(&line, -1, 255, &code) ||
	    !next_number(&line, 0, 64, &sig) || (code < 0) != (sig > 0))
		return false;
	d->pid = (int)pid;
	d->code = (int)code;
	d->signal = (int)sig;
	if (strcmp(line, "-") == 0)
		return true;
	for (; *line; line++) {
		d->core |= *line == 'c';
		d->oom |= *line == 'o';
		d->by_us |= *line == 'u';
		if (!strchr("cou", *line))
			return false;
	}
	return true;
}

/* Lines of a copy, which may be cut up. */
static int read_lines(char *text, struct history *h, struct err *e)
{
	char end[32], *line, *rest = text;

	while ((line = strsep(&rest, "\n")) && rest) {
		struct death d;

		snprintf(end, sizeof(end), "end %" PRIu32, h->count);
		if (strcmp(line, end) == 0)
			return *rest ? err_set(e, EINVAL, "something stands behind its end") : 0;
		if (h->count == HISTORY_MAX || !read_death(line, &d))
			return err_set(e, EINVAL, "line %" PRIu32 " is wrong", h->count + 2);
		history_add(h, &d);
	}
	return err_set(e, EINVAL, "it is cut short");
}

int history_decode(const char *bytes, size_t len, struct history *h, struct err *e)
{
	struct history found = { 0 };
	char *copy;
	int r;

	if (len >= HISTORY_FILE_MAX || len < sizeof(HEAD) - 1 || memcmp(bytes, HEAD, sizeof(HEAD) - 1) != 0 ||
	    memchr(bytes, '\0', len))
		return err_set(e, EINVAL, "it is no history of this version of clashsup");
	copy = strndup(bytes + sizeof(HEAD) - 1, len - (sizeof(HEAD) - 1));
	if (!copy)
		return err_set(e, ENOMEM, "out of memory");
	r = read_lines(copy, &found, e);
	free(copy);
	if (r == 0 && h)
		*h = found;
	return r;
}
