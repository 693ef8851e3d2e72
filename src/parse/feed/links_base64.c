/* The schemes whose links are base64, at least in part. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/base64.h"
#include "parse/feed/json.h"
#include "parse/feed/link.h"
#include "parse/feed/number.h"

/* What a text, a number or nothing means as a port: nothing is 0, which Mihomo takes. */
static const char *json_port(const cJSON *port, int64_t *out)
{
	*out = 0;
	if (!port || cJSON_IsNull(port))
		return NULL;
	if (cJSON_IsNumber(port)) {
		*out = json_cut(port);
		return NULL;
	}
	return cJSON_IsString(port) && number_int(port->valuestring, out) == 0 ? NULL : "the port is not a number";
}

static bool is_kcp(const char *network)
{
	return strcasecmp(network, "kcp") == 0 || strcasecmp(network, "mkcp") == 0;
}

static bool by_kcp(const struct url_query *q)
{
	return is_kcp(url_get(q, "type"));
}

static bool json_by_kcp(const cJSON *root)
{
	const char *network = json_get_text(root, "net"), *header = json_get_text(root, "type");

	return network && is_kcp(network) && !(header && strcmp(header, "http") == 0);
}

static const char *json_server(struct link *l, const cJSON *root)
{
	const cJSON *add = json_get(root, "add");
	const char *name = json_get_text(root, "ps"), *server = cJSON_GetStringValue(add), *why;
	char number[NUMBER_TEXT_MAX];
	int64_t port;

	if (!name)
		return "no name (ps) in it";
	why = json_port(json_get(root, "port"), &port);
	if (why)
		return why;
	if (cJSON_IsNumber(add))
		server = number_float_text(add->valuedouble, number);
	else if (add && !cJSON_IsNull(add) && !server)
		return "the server is not text";
	if (json_by_kcp(root))
		l->transport = "udp";
	return link_dial(l, ENDPOINT_SERVER, name, server ? server : "", port, "");
}

const char *link_vmess(struct link *l)
{
	const char *why;
	cJSON *root;
	size_t n;
	int r;

	if (base64_read_std(l->body, strlen(l->body), l->scratch, &n) < 0) {
		why = link_url(l);
		if (!why && !*l->port)
			return "neither base64 of JSON nor a URL with a port (Shadowrocket's form is not read by "
			       "Mihomo)";
		return why ? why : link_v(l, by_kcp);
	}
	r = json_object(l->scratch, n, false, &root);
	if (r < 0)
		return r == -ENOMEM ? link_no_memory : "base64, but not of a JSON object";
	why = json_server(l, root);
	cJSON_Delete(root);
	return why;
}

/* The user part is method:password, plain or in base64, of which a broken rest is passed over. */
static bool names_a_method(const struct link *l)
{
	size_t len = strlen(l->url.user), n;

	if (l->url.has_password)
		return true;
	if (base64_read(l->url.user, len, BASE64_URL, l->scratch, &n) < 0)
		base64_read(l->url.user, len, BASE64_STD | BASE64_PADDED, l->scratch, &n);
	return memchr(l->scratch, ':', n) != NULL;
}

const char *link_ss(struct link *l)
{
	const char *why = url_parse(&l->url, l->body), *name = l->url.fragment;
	char *all = l->url.authority;
	size_t n;

	if (why)
		return why;
	if (!strchr(all, ':')) {
		if (base64_read(all, strlen(all), BASE64_STD, all, &n) < 0)
			return "no port, and not unpadded base64 of all";
		why = url_parse(&l->url, all);
		if (why)
			return why;
	}
	url_split(l->url.authority, &l->host, &l->port);
	if (!names_a_method(l))
		return "no method and password";
	return link_server(l, name, l->host, l->port, "");
}

/* Any alphabet; padded when the length is that of padded text, else not. */
static int read_any(const char *text, size_t len, char *out, size_t *n)
{
	unsigned padded = len % 4 == 0 ? BASE64_PADDED : 0;

	if (base64_read(text, len, BASE64_STD | padded, out, n) == 0)
		return 0;
	return base64_read(text, len, BASE64_URL | padded, out, n);
}

static void to_url_letters(char *text)
{
	while ((text = strpbrk(text, "+/")))
		*text = *text == '+' ? '-' : '_';
}

/* host:port:protocol:method:obfs:password, hence no IPv6. */
static bool split_six(char *text, const char **host, const char **port)
{
	char *fields[6] = { text };
	size_t n = 1;

	for (char *c = text; *c; c++) {
		if (*c != ':')
			continue;
		if (n == 6)
			return false;
		fields[n++] = c + 1;
		*c = '\0';
	}
	*host = fields[0];
	*port = fields[1];
	return n == 6;
}

const char *link_ssr(struct link *l)
{
	char *text = l->scratch, *rest, *name;
	const char *host, *port;
	size_t n;

	if (read_any(l->body, strlen(l->body), text, &n) < 0)
		return "not base64";
	rest = strstr(text, "/?");
	if (!rest)
		return "no /? in it";
	*rest = '\0';
	if (!split_six(text, &host, &port))
		return "not six fields before /?";
	to_url_letters(rest + 2);
	if (url_query(&l->query, rest + 2) < 0)
		return link_no_memory;
	if (l->query.malformed)
		return "a malformed parameter";
	name = l->body; /* which has room enough, and is not needed any more */
	if (base64_read(url_get(&l->query, "remarks"), strlen(url_get(&l->query, "remarks")), BASE64_URL, name, &n) < 0)
		*name = '\0';
	return link_server(l, name, host, port, "");
}
