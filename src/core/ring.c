#include "clashsup/ring.h"

#include <stdlib.h>
#include <string.h>

void ring_init(struct ring *r, uint32_t max_lines, size_t max_bytes)
{
	*r = (struct ring){ .max_lines = max_lines, .max_bytes = max_bytes };
}

static char **place(const struct ring *r, uint64_t number)
{
	return &r->line[number % r->max_lines];
}

static void drop_first(struct ring *r)
{
	char **at = place(r, r->first++);

	if (*at)
		r->bytes -= strlen(*at);
	free(*at);
	*at = NULL;
}

void ring_free(struct ring *r)
{
	while (r->line && r->first < r->next)
		drop_first(r);
	free(r->line);
	r->line = NULL;
}

void ring_add(struct ring *r, const char *text, size_t len)
{
	if (!r->line)
		r->line = calloc(r->max_lines, sizeof(*r->line));
	if (!r->line) {
		r->first = ++r->next;
		return;
	}
	if (len > r->max_bytes)
		len = r->max_bytes;
	while (r->first < r->next && (r->next - r->first == r->max_lines || r->bytes + len > r->max_bytes))
		drop_first(r);
	*place(r, r->next) = strndup(text, len);
	if (*place(r, r->next))
		r->bytes += strlen(*place(r, r->next));
	r->next++;
}

const char *ring_get(const struct ring *r, uint64_t number)
{
	return r->line && number >= r->first && number < r->next ? *place(r, number) : NULL;
}

uint64_t ring_latest(const struct ring *r, uint32_t count)
{
	return r->next - r->first > count ? r->next - count : r->first;
}
