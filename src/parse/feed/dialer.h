/*
 * dialer: is a server with this `dialer-proxy` dialled from here after all? Pure.
 */
#ifndef FEED_DIALER_H
#define FEED_DIALER_H

#include <stdbool.h>

#include "parse/feed/doc.h"

struct dialers;

struct dialers *dialers_new(void);    /* NULL: out of memory */
void dialers_free(struct dialers *d); /* NULL-safe */

/* An entry of the config's `proxies`: one of type direct is remembered, the first 256 of them. A doc_stream's element.
 */
void dialers_entry(void *dialers, struct doc *d, struct doc_node *entry);

/*
 * Behind all entries: the groups of the config that may choose a direct one, perhaps
 * by groups in them, eight deep. Borrows from the config. -ENOMEM.
 */
int dialers_groups(struct dialers *d, struct doc *config);

/*
 * True for "" (none), what Mihomo itself has that dials from here, proxies of type
 * direct, and those groups. `d` may be NULL.
 */
bool dialers_direct(const struct dialers *d, const char *name);

#endif
