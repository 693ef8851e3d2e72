/* The schemes whose links are URLs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/base64.h"
#include "parse/feed/hostport.h"
#include "parse/feed/json.h"
#include "parse/feed/link.h"
#include "parse/feed/number.h"

#define NAME_MADE_MAX 512 /* a name put together here is cut */

const char *link_plain(struct link *l)
{
	const char *why = link_url(l);

	return why ? why : link_server(l, l->url.fragment, l->host, l->port, "");
}

const char *link_hysteria(struct link *l)
{
	const char *why = link_url(l);

	if (!why)
		why = link_query(l);
	if (why)
		return why;
	if (strcmp(url_get(&l->query, "protocol"), "faketcp") == 0)
		l->transport = "tcp";
	return link_server(l, l->url.fragment, l->host, l->port, "");
}

const char *link_named(struct link *l)
{
	const char *why = link_url(l);
	char name[NAME_MADE_MAX];

	if (why)
		return why;
	snprintf(name, sizeof(name), "%.480s:%.16s", l->host, l->port);
	return link_server(l, *l->url.fragment ? l->url.fragment : name, l->host, l->port, "");
}

/* Leaves the first port of "host:443,5000-6000" there; `ports` gets the list, or "" when there is none. */
static void take_ports(char *body, char *ports)
{
	char *end = body + strcspn(body, "/?#"), *host = memrchr(body, '@', (size_t)(end - body)), *colon, *rest;

	*ports = '\0';
	host = host ? host + 1 : body;
	colon = memrchr(host, ':', (size_t)(end - host));
	if (!colon || memchr(host, ']', (size_t)(end - host)))
		return;
	rest = colon + 1 + strcspn(colon + 1, ",-");
	if (rest >= end || rest == colon + 1)
		return;
	memcpy(ports, colon + 1, (size_t)(end - colon - 1));
	ports[end - colon - 1] = '\0';
	memmove(rest, end, strlen(end) + 1);
}

static const char *stun(struct link *l, const char *server)
{
	uint16_t port = 3478; /* RFC 8489, 8.1 */
	char host[HOST_MAX];

	if (hostport_parse(server, host, &port) < 0)
		return "a STUN server is not HOST:PORT";
	return link_dial(l, ENDPOINT_STUN, l->url.fragment, host, port, "");
}

/*
 * The peer behind a realm is learnt at run time; the server of the link is asked for
 * it by https, the STUN servers first and however that ends.
 */
static const char *realm(struct link *l)
{
	const char *port = *l->port ? l->port : "443", *why, *server, *wrong;
	int64_t number;
	size_t at = 0;

	/* as the outbound's own port, and as that of the https URL */
	if (number_int(port, &number) < 0 || number_decimal(port, &number) < 0)
		return "the port is not a number";
	l->transport = "tcp";
	why = link_dial(l, ENDPOINT_REALM, l->url.fragment, l->host, number, "");
	l->transport = "udp";
	while ((server = url_next(&l->query, &at, "stun")))
		if ((wrong = stun(l, server)))
			l->sink->skipped(l->sink->ctx, l->line, wrong);
	return why;
}

const char *link_hysteria2(struct link *l)
{
	const char *why;

	take_ports(l->body, l->scratch);
	why = link_url(l);
	if (!why)
		why = link_query(l);
	if (why)
		return why;
	if (l->realm)
		return realm(l);
	return link_server(l, l->url.fragment, l->host, *l->port ? l->port : "443", l->scratch);
}

/* One of the pairs of `port` and `protocol`. */
static const char *mierus_pair(struct link *l, const char *base, const char *port, const char *protocol)
{
	bool range = strchr(port, '-') != NULL;
	char name[NAME_MADE_MAX];
	int64_t number = 0;

	if (!range && number_decimal(port, &number) < 0)
		return "the port is not a number";
	if (!range && number == 0)
		return "no port";
	l->transport = strcasecmp(protocol, "udp") == 0 ? "udp" : "tcp";
	snprintf(name, sizeof(name), "%.384s:%.64s/%.32s", base, port, protocol);
	return link_dial(l, ENDPOINT_SERVER, name, l->host, number, range ? port : "");
}

static size_t values(const struct url_query *q, const char *key)
{
	size_t at = 0, n = 0;

	while (url_next(q, &at, key))
		n++;
	return n;
}

const char *link_mierus(struct link *l)
{
	const char *why = link_url(l), *base, *port;
	size_t at_port = 0, at_protocol = 0;
	const char *protocol;

	if (!why)
		why = link_query(l);
	if (why)
		return why;
	if (values(&l->query, "port") != values(&l->query, "protocol"))
		return "not as many protocols as ports";
	base = *l->url.fragment ? l->url.fragment : url_get(&l->query, "profile");
	while ((port = url_next(&l->query, &at_port, "port"))) {
		protocol = url_next(&l->query, &at_protocol, "protocol");
		why = mierus_pair(l, *base ? base : l->host, port, protocol);
		if (why)
			l->sink->skipped(l->sink->ctx, l->line, why);
	}
	return at_protocol > 0 ? NULL : "no port";
}

/* A number of early data that is none makes Mihomo skip the link. */
static bool early_data_is_wrong(const struct url_query *q)
{
	const char *network = url_get(q, "type"), *early = url_get(q, "ed");
	int64_t number;

	return (strcasecmp(network, "ws") == 0 || strcasecmp(network, "httpupgrade") == 0) && *early != '\0' &&
	       number_decimal(early, &number) < 0;
}

const char *link_v(struct link *l, bool (*by_udp)(const struct url_query *q))
{
	const char *why = link_query(l);

	if (why)
		return why;
	if (early_data_is_wrong(&l->query))
		return "ed is not a number";
	if (by_udp(&l->query))
		l->transport = "udp";
	return link_server(l, l->url.fragment, l->host, l->port, "");
}

static bool by_xhttp(const struct url_query *q)
{
	return strcasecmp(url_get(q, "type"), "xhttp") == 0;
}

/* xhttp over HTTP/3: alpn counts only with TLS, which has many names that end so. */
static bool by_h3(const struct url_query *q)
{
	const char *security = url_get(q, "security");
	size_t len = strlen(security);
	bool tls = (len >= 3 && strcasecmp(security + len - 3, "tls") == 0) || strcasecmp(security, "reality") == 0;

	return by_xhttp(q) && tls && strcmp(url_get(q, "alpn"), "h3") == 0;
}

/* The same of the second server: its own alpn, or else the first's. */
static bool download_by_h3(const cJSON *settings, bool outer)
{
	const char *security = json_get_text(settings, "security");
	const cJSON *alpn = json_get(json_get(settings, "tlsSettings"), "alpn"), *a;
	int texts = 0, h3 = 0;

	if (!security || (strcasecmp(security, "tls") != 0 && strcasecmp(security, "reality") != 0))
		return outer;
	if (cJSON_IsArray(alpn))
		cJSON_ArrayForEach(a, alpn)
		{
			texts += cJSON_IsString(a);
			h3 += cJSON_IsString(a) && strcmp(a->valuestring, "h3") == 0;
		}
	return texts == 0 ? outer : texts == 1 && h3 == 1;
}

/* xhttp's `extra` may name a second server, each half of which defaults to the first's. */
static const char *download(struct link *l)
{
	const char *extra = url_get(&l->query, "extra"), *host, *why = NULL;
	const cJSON *settings, *port;
	cJSON *root;
	int64_t number;
	int r;

	if (*extra == '\0' || !by_xhttp(&l->query))
		return NULL;
	memcpy(l->scratch, extra, strlen(extra) + 1);
	r = json_object(l->scratch, strlen(l->scratch), true, &root);
	if (r < 0)
		return r == -ENOMEM ? link_no_memory : NULL;
	settings = json_get(root, "downloadSettings");
	host = json_get_text(settings, "address");
	port = json_get(settings, "port");
	if (cJSON_IsNumber(port) || number_int(l->port, &number) < 0)
		number = json_cut(port);
	l->transport = download_by_h3(settings, by_h3(&l->query)) ? "udp" : "tcp";
	if ((host && *host) || cJSON_IsNumber(port))
		why = link_dial(l, ENDPOINT_DOWNLOAD, l->url.fragment, host && *host ? host : l->host, number, "");
	cJSON_Delete(root);
	return why;
}

const char *link_vless(struct link *l)
{
	const char *why = url_parse(&l->url, l->body), *other = NULL;
	char *authority = l->url.authority;
	size_t n;

	if (why)
		return why;
	if (base64_read_std(authority, strlen(authority), l->scratch, &n) == 0)
		memcpy(authority, l->scratch, n + 1);
	url_split(authority, &l->host, &l->port);
	why = link_v(l, by_h3);
	if (!why || why == link_no_host || why == link_no_range) /* Mihomo has it, and dials the second alone */
		other = download(l);
	return why && other != link_no_memory ? why : other;
}
