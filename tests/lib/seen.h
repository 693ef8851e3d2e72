/*
 * seen: what provider_parse told of a document, for tests: counts, the last of
 * each kind, and all of it as one text, as far as that has room:
 * "HOST|PORT|PORTS|TRANSPORT|KIND" and, where there is any, "|4", "|6" and
 * "|via DIALER" of each endpoint; "!LINE" of what was skipped; a ';' behind each.
 */
#ifndef TESTS_SEEN_H
#define TESTS_SEEN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "parse/feed/provider.h"

struct seen {
	char text[4096];
	size_t used;
	unsigned found, skipped;
	char reason[320], name[64]; /* the last */
	uint32_t line;		    /* of the last endpoint */
};

static inline void __attribute__((format(printf, 2, 3))) seen_add(struct seen *s, const char *fmt, ...)
{
	size_t room = sizeof(s->text) - s->used;
	va_list ap;
	int n;

	if (room <= 1)
		return;
	va_start(ap, fmt);
	n = vsnprintf(s->text + s->used, room, fmt, ap);
	va_end(ap);
	s->used += (size_t)n < room ? (size_t)n : room - 1;
}

static inline void seen_found(void *ctx, const struct endpoint *ep)
{
	const char *only = ep->families == 1u << IP_V4 ? "|4" : ep->families == 1u << IP_V6 ? "|6" : "";
	struct seen *s = ctx;

	seen_add(s, "%s|%u|%s|%s|%s%s%s%s;", ep->host, ep->port, ep->ports, ep->transport, endpoint_kind_name(ep->kind),
		 only, *ep->dialer ? "|via " : "", ep->dialer);
	s->found++;
	s->line = ep->line;
	snprintf(s->name, sizeof(s->name), "%s", ep->name);
}

static inline void seen_skipped(void *ctx, uint32_t line, const char *reason)
{
	struct seen *s = ctx;

	seen_add(s, "!%u;", line);
	s->skipped++;
	snprintf(s->reason, sizeof(s->reason), "%s", reason);
}

/* What provider_parse returns. */
static inline int seen_parse(const char *bytes, size_t len, struct seen *s)
{
	const struct endpoint_sink sink = { s, seen_found, seen_skipped };

	memset(s, 0, sizeof(*s));
	return provider_parse(bytes, len, &sink);
}

#endif
