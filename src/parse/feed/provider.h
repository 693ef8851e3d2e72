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
 * 0 = read to its end; 1 = so too, but Mihomo refuses the whole of it for one of the
 * skipped entries, and goes on with what the file said before;
 * -EINVAL = nothing can be said about its entries: the sink's `skipped` was told why.
 */
int provider_parse(const char *bytes, size_t len, const struct endpoint_sink *sink);

/* One entry; a bad one is skipped. `sink` is a struct endpoint_sink: this is a doc_stream's element. */
void provider_entry(void *sink, struct doc *d, struct doc_node *entry);

/* The entries of a list: a provider's `payload`. */
void provider_entries(struct doc *d, struct doc_node *list, const struct endpoint_sink *sink);

/* What an `ip-version` allows: 1u << enum ip_family each; a preference leaves both. */
uint8_t provider_families(const struct doc_node *ip_version);

/* `Proxy`, the list of old files, which counts where there is no `proxies`; else NULL. */
struct doc_node *provider_old_list(struct doc *d);

#endif
