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
	const char *dialer;
	const char *transport;
	uint8_t families;
	const struct endpoint_sink *sink;
};

static struct doc_node *key(const struct entry *e, const char *name)
{
	return doc_find(e->doc, e->map, name);
}

/* A field's text; `number` holds it when it is a number. */
static const char *text_or(const struct doc_node *n, const char *otherwise, char number[DOC_NUMBER_TEXT])
{
	const char *text = doc_string(n, number);

	return text ? text : otherwise;
}

static const struct doc_item *elements(const struct doc_node *list)
{
	return list && list->kind == DOC_LIST ? list->first : NULL;
}

static bool is(const struct doc_node *n, const char *word)
{
	const char *text = doc_text(n);

	return text && strcmp(text, word) == 0;
}

/* A text for a reason. What may be of a URL has secrets in it. */
static const char *shown(const char *text)
{
	return strpbrk(text, "/@?#=&") ? "..." : text;
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
				     .dialer = e->dialer,
				     .families = kind == ENDPOINT_STUN ? ENDPOINT_ANY_FAMILY : e->families };

	e->sink->found(e->sink->ctx, &ep);
}

/* A missing port is no obstacle, since only the address counts; a wrong one shows a broken entry. */
static int read_port(const struct entry *e, const struct doc_node *n, uint16_t *out)
{
	char number[DOC_NUMBER_TEXT];
	int64_t port = 0;

	if (!doc_is_null(n) && doc_int(n, &port) < 0) {
		skip(e, n, "the port is not a number: \"%.32s\"", shown(text_or(n, "", number)));
		return -EINVAL;
	}
	if (port < 0 || port > UINT16_MAX) {
		skip(e, n, "the port %lld is out of range", (long long)port);
		return -EINVAL;
	}
	*out = (uint16_t)port;
	return 0;
}

static void dial(const struct entry *e, enum endpoint_kind kind, const struct doc_node *server,
		 const struct doc_node *port_node, const struct doc_node *ports)
{
	char number[DOC_NUMBER_TEXT], ports_number[DOC_NUMBER_TEXT];
	const char *text = doc_string(server, number);
	char host[HOST_MAX];
	uint16_t port;

	if (doc_is_null(server) || (text && *text == '\0'))
		skip(e, server, "no server");
	else if (!text)
		skip(e, server, "the server is not text");
	else if (host_clean(text, host) < 0)
		skip(e, server, "not a host: \"%.128s\"", shown(text));
	else if (read_port(e, port_node, &port) == 0)
		found(e, kind, host, port, text_or(ports, "", ports_number), e->transport);
}

static void plain_server(struct entry *e)
{
	dial(e, ENDPOINT_SERVER, key(e, "server"), key(e, "port"), NULL);
}

static void server_with_ports(struct entry *e)
{
	dial(e, ENDPOINT_SERVER, key(e, "server"), key(e, "port"), key(e, "ports"));
}

static void no_server(struct entry *e)
{
	(void)e;
}

static void hysteria(struct entry *e)
{
	char number[DOC_NUMBER_TEXT];
	bool other = *text_or(key(e, "obfs-protocol"), "", number) != '\0'; /* wins over protocol */

	if (is(key(e, other ? "obfs-protocol" : "protocol"), "faketcp"))
		e->transport = "tcp";
	server_with_ports(e);
}

/* The peer behind a realm is learnt at run time, `server` is not dialled; what tells the peer can be known. */
static void realm(struct entry *e, struct doc_node *opts)
{
	const struct doc_node *url = doc_find(e->doc, opts, "server-url");
	const char *text = doc_text(url);
	char host[HOST_MAX];
	uint16_t port = 0;

	if (text && hostport_of_url(text, host, &port) == 0)
		found(e, ENDPOINT_REALM, host, port, "", "tcp");
	else
		skip(e, url, "realm-opts: server-url is not a URL");
	for (const struct doc_item *i = elements(doc_find(e->doc, opts, "stun-servers")); i; i = i->next) {
		text = doc_text(i->value);
		port = 3478; /* RFC 8489, 8.1 */
		if (text && hostport_parse(text, host, &port) == 0)
			found(e, ENDPOINT_STUN, host, port, "", "udp");
		else
			skip(e, i->value, "realm-opts: a STUN server is not HOST:PORT");
	}
}

static void hysteria2(struct entry *e)
{
	struct doc_node *opts = key(e, "realm-opts");

	if (doc_flag(doc_find(e->doc, opts, "enable")))
		realm(e, opts);
	else
		server_with_ports(e);
}

static void tuic(struct entry *e)
{
	const struct doc_node *ip = key(e, "ip");
	char number[DOC_NUMBER_TEXT];

	if (*text_or(ip, "", number) != '\0')
		dial(e, ENDPOINT_IP, ip, key(e, "port"), NULL);
	else
		plain_server(e);
}

/* With peers the pair at the top is not used; ip and ipv6 there are inside the tunnel. */
static void wireguard(struct entry *e)
{
	const struct doc_item *peer = elements(key(e, "peers"));

	if (!peer)
		plain_server(e);
	for (; peer; peer = peer->next)
		dial(e, ENDPOINT_PEER, doc_find(e->doc, peer->value, "server"), doc_find(e->doc, peer->value, "port"),
		     NULL);
}

/* The only element h3: HTTP/3 is asked for. */
static bool is_h3(const struct doc_node *alpn)
{
	const struct doc_item *first = elements(alpn);

	return first && !first->next && is(first->value, "h3");
}

/* Each key of download-settings defaults to the outer one. */
static void xhttp(struct entry *e)
{
	struct doc_node *down = doc_find(e->doc, key(e, "xhttp-opts"), "download-settings");
	const struct doc_node *server = doc_find(e->doc, down, "server"), *port = doc_find(e->doc, down, "port");
	const struct doc_node *alpn = key(e, "alpn"), *down_alpn = doc_find(e->doc, down, "alpn");

	e->transport = is_h3(alpn) ? "udp" : "tcp";
	plain_server(e);
	if (doc_is_null(server) && doc_is_null(port))
		return;
	e->transport = is_h3(doc_is_null(down_alpn) ? alpn : down_alpn) ? "udp" : "tcp";
	dial(e, ENDPOINT_DOWNLOAD, doc_is_null(server) ? key(e, "server") : server,
	     doc_is_null(port) ? key(e, "port") : port, NULL);
}

static void vless(struct entry *e)
{
	const char *network = doc_text(key(e, "network"));

	if (network && strcmp(network, "xhttp") == 0)
		xhttp(e);
	else
		plain_server(e);
}

/* The transport changes when a field has a certain word. */
static void switched(struct entry *e, const char *field, const char *word, const char *transport)
{
	if (is(key(e, field), word))
		e->transport = transport;
}

static void shadowsocks(struct entry *e)
{
	switched(e, "plugin", "kcptun", "udp");
	plain_server(e);
}

static void vmess(struct entry *e)
{
	switched(e, "network", "kcp", "udp");
	switched(e, "network", "mkcp", "udp");
	plain_server(e);
}

static void masque(struct entry *e)
{
	switched(e, "network", "h2", "tcp");
	plain_server(e);
}

static void trusttunnel(struct entry *e)
{
	if (doc_flag(key(e, "quic")))
		e->transport = "udp";
	plain_server(e);
}

static void mieru(struct entry *e)
{
	switched(e, "transport", "UDP", "udp");
	dial(e, ENDPOINT_SERVER, key(e, "server"), key(e, "port"), key(e, "port-range"));
}

static void openvpn(struct entry *e)
{
	const char *proto = doc_text(key(e, "proto"));

	if (proto && strncasecmp(proto + strspn(proto, " \t\r\n"), "tcp", 3) == 0)
		e->transport = "tcp";
	plain_server(e);
}

/* Without control-url the vendor's is used; relays and peers are learnt at run time. */
static void tailscale(struct entry *e)
{
	const struct doc_node *url = key(e, "control-url");
	const char *text = doc_text(url);
	char host[HOST_MAX];
	uint16_t port;

	if (doc_is_null(url) || (text && *text == '\0'))
		return;
	if (text && hostport_of_url(text, host, &port) == 0)
		found(e, ENDPOINT_SERVER, host, port, "", "tcp");
	else
		skip(e, url, "control-url is not a URL");
}

/* The vendor's relay, roots and peers are not told. */
static void zerotier(struct entry *e)
{
	const struct doc_node *relay = key(e, "tcp-fallback-relay");
	const char *text = doc_text(relay);
	char host[HOST_MAX];
	uint16_t port = 0;

	if (!text || *text == '\0' || is(key(e, "tcp-fallback-mode"), "disable"))
		return;
	if (hostport_parse(text, host, &port) == 0 && port != 0)
		found(e, ENDPOINT_SERVER, host, port, "", e->transport);
	else
		skip(e, relay, "tcp-fallback-relay is not HOST:PORT");
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
	{ "ss", "tcp", shadowsocks },
	{ "ssr", "tcp", plain_server },
	{ "socks5", "tcp", plain_server },
	{ "http", "tcp", plain_server },
	{ "vmess", "tcp", vmess },
	{ "vless", "tcp", vless },
	{ "snell", "tcp", plain_server },
	{ "trojan", "tcp", plain_server },
	{ "hysteria", "udp", hysteria },
	{ "hysteria2", "udp", hysteria2 },
	{ "wireguard", "udp", wireguard },
	{ "tuic", "udp", tuic },
	{ "shadowquic", "udp", plain_server },
	{ "gost-relay", "tcp", plain_server },
	{ "ssh", "tcp", plain_server },
	{ "mieru", "tcp", mieru },
	{ "anytls", "tcp", plain_server },
	{ "sudoku", "tcp", plain_server },
	{ "masque", "udp", masque },
	{ "trusttunnel", "tcp", trusttunnel },
	{ "openvpn", "udp", openvpn },
	{ "tailscale", "tcp", tailscale },
	{ "zerotier", "tcp", zerotier },
};

uint8_t provider_families(const struct doc_node *version)
{
	const char *text = doc_text(version);

	if (!text || (strcasecmp(text, "ipv4") != 0 && strcasecmp(text, "ipv6") != 0))
		return ENDPOINT_ANY_FAMILY;
	return text[3] == '4' ? 1u << IP_V4 : 1u << IP_V6;
}

/* Types and names are keys that Mihomo reads exactly as written. */
static void read_entry(struct doc *d, struct doc_node *map, const struct endpoint_sink *sink)
{
	static const struct outbound other = { "", "tcp", server_with_ports };
	char name[DOC_NUMBER_TEXT], dialer[DOC_NUMBER_TEXT];
	struct entry e = { .doc = d, .map = map, .sink = sink };
	const char *type = doc_text(doc_get(d, map, "type"));
	const struct outbound *how = &other;

	for (size_t i = 0; type && i < sizeof(outbounds) / sizeof(outbounds[0]); i++)
		if (strcasecmp(type, outbounds[i].type) == 0)
			how = &outbounds[i];
	e.name = text_or(doc_get(d, map, "name"), "", name);
	e.dialer = text_or(key(&e, "dialer-proxy"), "", dialer);
	e.families = provider_families(key(&e, "ip-version"));
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
