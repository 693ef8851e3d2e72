/*
 * source: bytes on their way to libyaml, which would look for the end of a token
 * however far that is, compares each directive with all others, and refuses one
 * thing that go-yaml takes.
 */
#ifndef FEED_SOURCE_H
#define FEED_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

struct source {
	const char *bytes;
	size_t len;
	size_t token_max;    /* bytes between two events */
	const char *refused; /* the reason for which reading was ended, or NULL */

	/* private */
	size_t at, event_at;
	unsigned percents;
	bool started, marked;
};

/* A yaml_read_handler_t: `source` is a struct source. */
int source_read(void *source, unsigned char *buffer, size_t size, size_t *read_out);

/* The parser gave an event; has the document begun? */
void source_event(struct source *s, bool document);

/* What was changed for libyaml is changed back, in place. The new length; a NUL follows where there was one. */
size_t source_restore(const struct source *s, char *text, size_t len);

#endif
