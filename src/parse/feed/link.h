/* link: one share link while it is read. Private to the links_*.c files. */
#ifndef FEED_LINK_H
#define FEED_LINK_H

#include "parse/feed/endpoint.h"
#include "parse/feed/url.h"

struct link {
	const struct endpoint_sink *sink;
	const char *transport; /* of its scheme, until the link says otherwise */
	uint32_t line;
	unsigned found;		 /* endpoints so far */
	char *body;		 /* behind "://", NUL-terminated, to be changed */
	char *scratch;		 /* as many bytes as the body has, with its NUL, and two more */
	bool realm;		 /* the scheme ends in +realm */
	struct url url;		 /* by link_url */
	const char *host, *port; /* by link_url or link_split */
	struct url_query query;	 /* by link_query; freed behind the link */
};

/* What reads a link: NULL, or why Mihomo skips it or can not dial it (a static text). */
typedef const char *(*link_reader)(struct link *l);

extern const char link_no_memory[], link_no_host[], link_no_range[];

/* Takes the body apart, host and port too. */
const char *link_url(struct link *l);
const char *link_query(struct link *l);

/* One server with the transport of the scheme, or why it cannot be dialled. */
const char *link_server(struct link *l, const char *name, const char *host, const char *port, const char *ports);
const char *link_dial(struct link *l, enum endpoint_kind kind, const char *name, const char *host, int64_t port,
		      const char *ports);

/* What vless and the URL form of vmess share; what makes them dial by UDP differs. */
const char *link_v(struct link *l, bool (*by_udp)(const struct url_query *q));

const char *link_hysteria(struct link *l);
const char *link_hysteria2(struct link *l);
const char *link_plain(struct link *l); /* tuic, trojan: nothing but a host and a port */
const char *link_named(struct link *l); /* socks, http, anytls: named by host and port at need */
const char *link_mierus(struct link *l);
const char *link_vless(struct link *l);
const char *link_vmess(struct link *l);
const char *link_ss(struct link *l);
const char *link_ssr(struct link *l);

#endif
