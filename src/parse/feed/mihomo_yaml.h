/*
 * mihomo_yaml: Mihomo's own configuration to the facts that matter here: its
 * settings, its proxies, its providers, and how it resolves its servers' names.
 * Pure: no I/O. Keys and defaults as Mihomo 1.19.30: config/config.go has them.
 */
#ifndef FEED_MIHOMO_YAML_H
#define FEED_MIHOMO_YAML_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/wire.h"
#include "parse/feed/doc.h"
#include "parse/feed/endpoint.h"

/* One fact; value is text as enum wire_setting describes it. */
typedef void (*mihomo_setting_fn)(void *ctx, enum wire_setting key, const char *value);

/* 0, or as doc_load: then nothing was told. */
int mihomo_settings(const char *bytes, size_t len, const char *home, mihomo_setting_fn setting, void *ctx,
		    uint32_t *line_out, struct err *e);

/*
 * May a line `listeners: [...]` be appended behind these bytes, which `d` was read
 * from? NULL = yes, else why not (a static text). It is found out by trying.
 */
const char *mihomo_append_obstacle(struct doc *d, const char *bytes, size_t len);

struct mihomo_provider {
	const char *name;
	uint32_t line;
	bool http;		  /* its file is a cache, which may not be there yet */
	char path[PATH_MAX];	  /* absolute; "" = none (inline) */
	struct doc_node *payload; /* NULL = none: inline entries, or those until the first good load */
};

typedef void (*mihomo_provider_fn)(void *ctx, const struct mihomo_provider *p);
void mihomo_providers(struct doc *d, const char *home, mihomo_provider_fn provider, void *ctx);

#define MIHOMO_SERVERS_MAX 4

struct mihomo_dns_server {
	struct addr addr;
	uint16_t port;
	bool tcp;
};

/* What resolves the names of proxy servers. */
struct mihomo_dns {
	bool enabled;
	bool ipv6;	  /* top level: AAAA is asked for */
	bool for_proxies; /* proxy-server-nameserver is set */
	bool other_kinds; /* servers were left out: DoH, DoT, through a proxy and alike */
	struct mihomo_dns_server servers[MIHOMO_SERVERS_MAX];
	size_t n_servers;
	struct addr_net fake[IP_FAMILIES]; /* valid where has_fake */
	bool has_fake[IP_FAMILIES];
};

void mihomo_dns(struct doc *d, struct mihomo_dns *out);

/* "ADDRESS", "ADDRESS:PORT", "udp://..." or "tcp://..."; -EINVAL for other kinds. */
int mihomo_dns_server(const char *text, struct mihomo_dns_server *out);

/*
 * Addresses that `hosts:` gives for exactly this name; names among its values count
 * when they are in `hosts:` too. How many were found, at most `max`.
 */
size_t mihomo_hosts(struct doc *d, const char *name, struct addr *out, size_t max);

#endif
