/*
 * mihomo_api: what answers of Mihomo's API say about its proxies and the
 * connections it has (Mihomo 1.19.30: hub/route/{proxies,groups,provider,
 * connections}.go, adapter/adapter.go, adapter/outbound/base.go). Answers carry
 * names out of foreign files: they are read as hostile. Whoever asks bounds
 * their bytes; nesting is bounded by cJSON, names here.
 */
#ifndef PARSE_FEED_MIHOMO_API_H
#define PARSE_FEED_MIHOMO_API_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/addr.h"

#define MIHOMO_NAME_MAX 1024 /* bytes; a proxy or connection with a longer name is passed over */

/* Texts are never NULL, "" = absent; they live as long as the call. */
struct mihomo_proxy {
	const char *name, *type;
	const char *provider; /* that brought it; "" = the config. Names are unique within it */
	const char *now;      /* of a group: its member in use */
	const char *dialer;   /* it is reached through this proxy or group */
	bool mux;	      /* many connections within one */
	bool works;	      /* it was tested, and the last test went well */
};

struct mihomo_connection {
	const char *leaf, *provider; /* the proxy at the end of its chain, and what brought that */
	const char *remote;	     /* Mihomo's peer: an address, or the server's name as configured */
	const char *destination;     /* address that the client wants to reach */
};

typedef void (*mihomo_proxy_fn)(void *ctx, const struct mihomo_proxy *p);
typedef void (*mihomo_connection_fn)(void *ctx, const struct mihomo_connection *c);

/*
 * Answers of /proxies, /group, /providers/proxies (proxies may come more than
 * once) and of a single proxy. -EINVAL: no JSON, or no memory for it.
 */
int mihomo_proxies(const char *bytes, size_t len, mihomo_proxy_fn found, void *ctx);

/* Answer of /connections. -EINVAL as above. */
int mihomo_connections(const char *bytes, size_t len, mihomo_connection_fn found, void *ctx);

/*
 * Does a connection through this proxy name a server of it that this host dials?
 * Not so for those that dial nobody, for groups, for proxies behind another one
 * (the hop that is dialled has an entry of its own), and for all whose peer is
 * one inside the tunnel: multiplexed ones and the layer-3 kinds.
 */
bool mihomo_names_server(const struct mihomo_proxy *p);

/* The peer when it is an address that can be a server's: not special, and not what the client asked for. */
bool mihomo_peer(const struct mihomo_connection *c, struct addr *out);

#endif
