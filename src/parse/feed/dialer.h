/*
 * dialer: is a server with this `dialer-proxy` dialled from here after all? Pure.
 */
#ifndef FEED_DIALER_H
#define FEED_DIALER_H

#include <stdbool.h>

#include "parse/feed/doc.h"

/*
 * True for "" (none), DIRECT, and a group of the config that may choose DIRECT.
 * `config` may be NULL. A proxy of type direct by another name is not looked for:
 * what Mihomo then dials is seen among its connections.
 */
bool dialer_is_direct(struct doc *config, const char *name);

#endif
