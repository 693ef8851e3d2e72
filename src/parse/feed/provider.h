/*
 * provider: bytes of a provider's file, or a list of proxy entries, to endpoints.
 * Content decides the format. Pure: no I/O, no names are resolved.
 */
#ifndef FEED_PROVIDER_H
#define FEED_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>

#include "parse/feed/doc.h"
#include "parse/feed/endpoint.h"

/*
 * 0 = read to its end, however many entries were found or skipped;
 * -EINVAL = nothing can be said about its entries: the sink's `skipped` was told why.
 */
int provider_parse(const char *bytes, size_t len, const struct endpoint_sink *sink);

/* The top-level list of a document: `proxies`, or `Proxy` in old files. NULL when there is neither. */
struct doc_node *provider_list(struct doc *d);

/* The entries of such a list, or of a provider's `payload`. A bad one is skipped, the others go on. */
void provider_entries(struct doc *d, struct doc_node *list, const struct endpoint_sink *sink);

#endif
