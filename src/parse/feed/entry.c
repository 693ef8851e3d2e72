/*
 * One entry of `proxies:` to the addresses that Mihomo dials for it (Mihomo
 * 1.19.30: adapter/parser.go, adapter/outbound/). An unknown type is read as a
 * plain server: too much in the set is safe, too little is a loop.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/hostport.h"
#include "parse/feed/provider.h"

struct entry {
	struct doc *doc;
	struct doc_node *map;
	const char *name;
	const char *transport;
	const struct endpoint_sink *sink;
};

static const char *text_or(const struct doc_node *n, const char *otherwise)
{
	const char *text = doc_text(n);

	return text ? text : otherwise;
}

static struct doc_node *key(const struct entry *e, const char *name)
{
	return doc_find(e->doc, e->map, name);
}

static void __attribute__((format(printf, 3, 4)))
skip(const struct entry *e, const struct doc_node *at, const char *fmt, ...)
{
	char reason[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	e->sink->skipped(e->sink->ctx, at ? at->line : e->map->line, reason);
}

static void found(const struct entry *e, enum endpoint_kind kind, const char *host, uint16_t port, const char *ports,
		  const char *transport)
{
	const struct endpoint ep = { .host = host,
				     .port = port,
				     .ports = ports,
				     .transport = transport,
				     .kind = kind,
				     .name = e->name,
				     .line = e->map->line,
				     .dialer = text_or(key(e, "dialer-proxy"), ""),
				     .families = ENDPOINT_ANY_FAMILY };

	e->sink->found(e->sink->ctx, &ep);
}

/* A missing port is no obstacle, since only the address counts; a wrong one shows a broken entry. */
static int read_port(const struct entry *e, const struct doc_node *n, uint16_t *out)
{
	int64_t port = 0;

	if (!doc_is_null(n) && doc_int(n, &port) < 0) {
		skip(e, n, "the port is not a number: \"%.32s\"", text_or(n, ""));
		return -EINVAL;
	}
	if (port < 0 || port > UINT16_MAX) {
		skip(e, n, "the port %.32s is out of range", text_or(n, ""));
		return -EINVAL;
	}
	*out = (uint16_t)port;
	return 0;
}

static void dial(const struct entry *e, enum endpoint_kind kind, const struct doc_node *server,
		 const struct doc_node *port_node, const char *ports)
{
	char host[HOST_MAX];
	uint16_t port;

	if (doc_is_null(server) || (server->kind == DOC_SCALAR && server->len == 0))
		skip(e, server, "no server");
	else if (!doc_text(server))
		skip(e, server, "the server is not text");
	else if (host_clean(doc_text(server), host) < 0)
		skip(e, server, "not a host: \"%.128s\"", doc_text(server));
	else if (read_port(e, port_node, &port) == 0)
		found(e, kind, host, port, ports, e->transport);
}

static void plain_server(struct entry *e)
{
	dial(e, ENDPOINT_SERVER, key(e, "server"), key(e, "port"), text_or(key(e, "ports"), ""));
}

static void no_server(struct entry *e)
{
	(void)e;
}

static void hysteria(struct entry *e)
{
	if (strcasecmp(text_or(key(e, "protocol"), ""), "faketcp") == 0)
		e->transport = "tcp";
	plain_server(e);
}

/* The peer behind a realm is learnt at run time; what tells it can be known. */
static void realm(struct entry *e, struct doc_node *opts)
{
	const struct doc_node *url = doc_find(e->doc, opts, "server-url");
	char host[HOST_MAX];
	uint16_t port = 0;

	if (hostport_of_url(text_or(url, ""), host, &port) == 0)
		found(e, ENDPOINT_REALM, host, port, "", "tcp");
	else
		skip(e, url, "realm-opts: server-url is not a URL");
	for (const struct doc_item *i = doc_first(doc_find(e->doc, opts, "stun-servers")); i; i = i->next) {
		port = 3478; /* RFC 8489, 8.1 */
		if (hostport_parse(text_or(i->value, ""), host, &port) == 0)
			found(e, ENDPOINT_STUN, host, port, "", "udp");
		else
			skip(e, i->value, "realm-opts: a STUN server is not HOST:PORT");
	}
}

static void hysteria2(struct entry *e)
{
	struct doc_node *opts = key(e, "realm-opts");
	bool by_realm = doc_true(doc_find(e->doc, opts, "enable"));

	if (!by_realm || doc_text(key(e, "server")))
		plain_server(e);
	if (by_realm)
		realm(e, opts);
}

static void tuic(struct entry *e)
{
	const struct doc_node *ip = key(e, "ip");

	if (*text_or(ip, "") != '\0')
		dial(e, ENDPOINT_IP, ip, key(e, "port"), "");
	else
		plain_server(e);
}

/* With peers the pair at the top is not used; ip and ipv6 there are inside the tunnel. */
static void wireguard(struct entry *e)
{
	const struct doc_item *peer = doc_first(key(e, "peers"));

	if (!peer)
		plain_server(e);
	for (; peer; peer = peer->next)
		dial(e, ENDPOINT_PEER, doc_find(e->doc, peer->value, "server"), doc_find(e->doc, peer->value, "port"),
		     "");
}

/* Each of the second pair defaults to the first's. */
static void vless(struct entry *e)
{
	struct doc_node *down = doc_find(e->doc, key(e, "xhttp-opts"), "download-settings");
	const struct doc_node *server = doc_find(e->doc, down, "server"), *port = doc_find(e->doc, down, "port");

	plain_server(e);
	if (strcmp(text_or(key(e, "network"), ""), "xhttp") == 0 && (server || port))
		dial(e, ENDPOINT_DOWNLOAD, server ? server : key(e, "server"), port ? port : key(e, "port"), "");
}

static void mieru(struct entry *e)
{
	if (strcasecmp(text_or(key(e, "transport"), ""), "udp") == 0)
		e->transport = "udp";
	dial(e, ENDPOINT_SERVER, key(e, "server"), key(e, "port"), text_or(key(e, "port-range"), ""));
}

static void openvpn(struct entry *e)
{
	if (strncasecmp(text_or(key(e, "proto"), "udp"), "tcp", 3) == 0)
		e->transport = "tcp";
	plain_server(e);
}

/* Without control-url the vendor's is used; relays and peers are learnt at run time. */
static void tailscale(struct entry *e)
{
	const struct doc_node *url = key(e, "control-url");
	char host[HOST_MAX];
	uint16_t port;

	if (!url)
		return;
	if (hostport_of_url(text_or(url, ""), host, &port) == 0)
		found(e, ENDPOINT_SERVER, host, port, "", "tcp");
	else
		skip(e, url, "control-url is not a URL");
}

static const struct outbound {
	const char *type;
	const char *transport;
	void (*read)(struct entry *e);
} outbounds[] = {
	{ "direct", "", no_server },
	{ "reject", "", no_server },
	{ "reject-drop", "", no_server },
	{ "dns", "", no_server },
	{ "rematch", "", no_server },
	{ "pass", "", no_server },
	{ "zerotier", "", no_server },
	{ "tailscale", "tcp", tailscale },
	{ "hysteria", "udp", hysteria },
	{ "hysteria2", "udp", hysteria2 },
	{ "tuic", "udp", tuic },
	{ "wireguard", "udp", wireguard },
	{ "vless", "tcp", vless },
	{ "mieru", "tcp", mieru },
	{ "openvpn", "udp", openvpn },
	{ "masque", "udp", plain_server },
	{ "shadowquic", "udp", plain_server },
};

/* Types and names are keys that Mihomo reads exactly as written. */
static void read_entry(struct doc *d, struct doc_node *map, const struct endpoint_sink *sink)
{
	static const struct outbound other = { "", "tcp", plain_server };
	const char *type = text_or(doc_get(d, map, "type"), "");
	const struct outbound *how = &other;
	struct entry e = { .doc = d, .map = map, .sink = sink, .name = text_or(doc_get(d, map, "name"), "") };

	for (size_t i = 0; i < sizeof(outbounds) / sizeof(outbounds[0]); i++)
		if (strcasecmp(type, outbounds[i].type) == 0)
			how = &outbounds[i];
	e.transport = how->transport;
	how->read(&e);
}

void provider_entry(void *sink, struct doc *d, struct doc_node *entry)
{
	const struct endpoint_sink *to = sink;

	if (entry->kind == DOC_MAP)
		read_entry(d, entry, to);
	else
		to->skipped(to->ctx, entry->line, "not a map of a proxy's keys");
}

void provider_entries(struct doc *d, struct doc_node *list, const struct endpoint_sink *sink)
{
	struct endpoint_sink own = *sink;

	if (!list || list->kind != DOC_LIST)
		return;
	for (const struct doc_item *i = list->first; i && !d->exhausted; i = i->next)
		provider_entry(&own, d, i->value);
}

const char *endpoint_kind_name(enum endpoint_kind kind)
{
	static const char *const names[] = {
		[ENDPOINT_SERVER] = "server", [ENDPOINT_PEER] = "peer", [ENDPOINT_DOWNLOAD] = "download",
		[ENDPOINT_REALM] = "realm",   [ENDPOINT_STUN] = "stun", [ENDPOINT_IP] = "ip",
	};

	return names[kind];
}
