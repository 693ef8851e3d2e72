/*
 * hosts: what Mihomo knows of a name before it asks any name server: `hosts:` of
 * its config, and the system's hosts file where it looks into that (Mihomo
 * 1.19.30: component/resolver/host.go, hosts/, config/config.go). Pure: no I/O.
 */
#ifndef FEED_HOSTS_H
#define FEED_HOSTS_H

#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "parse/feed/doc.h"

struct hosts;

/*
 * From the config's tree; without one (NULL) only "localhost" is known. An entry
 * that Mihomo would refuse its config for is left out. -ENOMEM.
 */
int hosts_new(struct hosts **out, struct doc *d);
void hosts_free(struct hosts *h); /* NULL-safe */

/* The system's hosts file, as Mihomo's reader takes it; once. Anything may be in it. -ENOMEM. */
int hosts_add_system(struct hosts *h, const char *bytes, size_t len);

/*
 * The addresses of a name, of these families (1u << enum ip_family each): how many, at most `max`. 0 = it is
 * there, without any that can be told from outside ("lan": the machine's own). -ENOENT = name servers are asked.
 */
int hosts_find(const struct hosts *h, const char *name, uint8_t families, struct addr *out, size_t max);

#endif
