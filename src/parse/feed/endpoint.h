/*
 * endpoint: one remote address that a proxy entry makes Mihomo dial, as a value,
 * and where such values go. Texts borrow from the parser for the call only.
 */
#ifndef FEED_ENDPOINT_H
#define FEED_ENDPOINT_H

#include <stdint.h>

#include "clashsup/addr.h"

#define ENDPOINT_ANY_FAMILY (1u << IP_V4 | 1u << IP_V6)

enum endpoint_kind {
	ENDPOINT_SERVER,
	ENDPOINT_PEER,	   /* wireguard: peers[] */
	ENDPOINT_DOWNLOAD, /* vless: xhttp-opts.download-settings */
	ENDPOINT_REALM,	   /* hysteria2: realm-opts.server-url */
	ENDPOINT_STUN,	   /* hysteria2: realm-opts.stun-servers[] */
	ENDPOINT_IP,	   /* tuic: ip, dialled in place of server */
};

struct endpoint {
	const char *host;  /* name or literal, without brackets */
	uint16_t port;	   /* 0 = none was given */
	const char *ports; /* hopping ports as written, "" = none */
	const char *transport;
	enum endpoint_kind kind;
	const char *name;   /* of the entry, "" = none */
	uint32_t line;	    /* of the entry, from 1 */
	const char *dialer; /* dialer-proxy: the proxy through which it is reached; "" = none, from this host */
	uint8_t families;   /* that Mihomo may dial (ip-version): 1u << enum ip_family each */
};

struct endpoint_sink {
	void *ctx;
	void (*found)(void *ctx, const struct endpoint *ep);
	/* An entry, or (line 0 when unknown) a whole document that could not be used. */
	void (*skipped)(void *ctx, uint32_t line, const char *reason);
};

const char *endpoint_kind_name(enum endpoint_kind kind);

#endif
