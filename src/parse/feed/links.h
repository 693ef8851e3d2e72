/*
 * links: share links, one a line, to endpoints, as Mihomo 1.19.30 reads them
 * (common/convert, then the outbounds' own checks of a port). Names are as written:
 * Mihomo gives repeated ones a number. Pure.
 */
#ifndef FEED_LINKS_H
#define FEED_LINKS_H

#include <stdbool.h>
#include <stddef.h>

#include "parse/feed/endpoint.h"

#define LINKS_MAX 262144 /* endpoints of one document, and its lines but for blank ones and comments */

/* Is there a line with a scheme that Mihomo reads? */
bool links_any(const char *bytes, size_t len);

/* Does its first line begin like a link, of whatever scheme? */
bool links_alike(const char *bytes, size_t len);

/*
 * Does the text begin with a link that Mihomo reads, such that YAML cannot see a map in it? (It sees
 * one long scalar, or an error.)
 */
bool links_first(const char *bytes, size_t len);

/*
 * 0 = at least one line gave an endpoint; -EINVAL = none did, or there are too many,
 * or memory ran out: `skipped` was told why.
 */
int links_parse(const char *bytes, size_t len, const struct endpoint_sink *sink);

#endif
