/*
 * dialer: is a server with this `dialer-proxy` dialled from here after all? Pure.
 */
#ifndef FEED_DIALER_H
#define FEED_DIALER_H

#include <stdbool.h>

#include "parse/feed/doc.h"

struct dialers;

/*
 * The groups of the config that may choose DIRECT, perhaps by groups in them, eight
 * deep. `config` may be NULL; it must stay as long as *out. -ENOMEM.
 */
int dialers_new(struct dialers **out, struct doc *config);
void dialers_free(struct dialers *d); /* NULL-safe */

/*
 * True for "" (none), what Mihomo itself has that dials from here, and those groups;
 * `d` may be NULL. A proxy of type direct by another name is not looked for: what
 * Mihomo then dials is seen among its connections.
 */
bool dialers_direct(const struct dialers *d, const char *name);

#endif
