/* Settings and providers of Mihomo's configuration. */
#include "parse/feed/mihomo_yaml.h"

#include <nettle/md5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/scan.h"
#include "parse/feed/mihomo_dns.h"
#include "parse/feed/provider.h"

#define LISTENER_PORTS_MAX 16 /* of one entry of listeners: */
#define LISTENERS_MAX 256     /* ports of all entries */
#define WATCHES_MAX 256	      /* files of providers; these limits keep below what one run may tell */
#define MARKS_MAX 64	      /* distinct routing marks */

struct report {
	struct doc *doc;
	mihomo_setting_fn fn;
	void *ctx;
	struct {
		int64_t mark;
		uint32_t line; /* the first */
	} marks[MARKS_MAX];
	size_t n_marks;
	unsigned n_listeners, n_watches; /* told */
};

static void tell(const struct report *r, enum wire_setting key, const char *value)
{
	r->fn(r->ctx, key, value);
}

static void tell_text(const struct report *r, enum wire_setting key, const struct doc_node *n)
{
	if (doc_text(n))
		tell(r, key, doc_text(n));
}

static void tell_yes(const struct report *r, enum wire_setting key, const struct doc_node *n, bool otherwise)
{
	tell(r, key, (doc_is_null(n) ? otherwise : doc_true(n)) ? "yes" : "no");
}

static void tell_line(const struct report *r, enum wire_setting key, const struct doc_node *n)
{
	char line[16];

	if (!doc_true(n))
		return;
	snprintf(line, sizeof(line), "%u", n->line);
	tell(r, key, line);
}

static void tell_port(const struct report *r, const struct doc_node *n)
{
	char text[24];
	int64_t port;

	if (doc_int(n, &port) < 0 || port <= 0 || port > UINT16_MAX)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)port);
	tell(r, WIRE_SET_TPROXY_PORT, text);
}

/* Each mark once: thousands of entries may share one. */
static void keep_mark(struct report *r, const struct doc_node *n)
{
	size_t i = 0;
	int64_t mark;

	if (doc_int(n, &mark) < 0 || mark == 0)
		return;
	while (i < r->n_marks && r->marks[i].mark != mark)
		i++;
	if (i == MARKS_MAX || (i < r->n_marks && r->marks[i].line <= n->line))
		return;
	r->marks[i].mark = mark;
	r->marks[i].line = n->line;
	if (i == r->n_marks)
		r->n_marks++;
}

static void mark_of_proxy(void *ctx, struct doc *d, struct doc_node *proxy)
{
	keep_mark(ctx, doc_find(d, proxy, "routing-mark"));
}

static void marks_of_provider(struct report *r, struct doc_node *provider)
{
	const struct doc_node *payload = doc_find(r->doc, provider, "payload");

	keep_mark(r, doc_find(r->doc, doc_find(r->doc, provider, "override"), "routing-mark"));
	for (const struct doc_item *i = doc_first(payload); i; i = i->next)
		mark_of_proxy(r, r->doc, i->value);
}

/* Those of `proxies` are kept already. */
static void tell_marks(struct report *r)
{
	struct doc_node *root = r->doc->root;
	char text[48];

	keep_mark(r, doc_get(r->doc, root, "routing-mark"));
	for (const struct doc_item *i = doc_pairs(doc_get(r->doc, root, "proxy-providers")); i; i = i->next)
		marks_of_provider(r, i->value);
	for (size_t i = 0; i < r->n_marks; i++) {
		snprintf(text, sizeof(text), "%lld %u", (long long)r->marks[i].mark, r->marks[i].line);
		tell(r, WIRE_SET_ROUTING_MARK, text);
	}
}

/* "7893", "7893-7895", "7893,7900/7910": every port, as far as LISTENER_PORTS_MAX. */
static void tell_listener(struct report *r, const char *ports, const char *listen, bool udp)
{
	char text[128];
	unsigned told = 0;

	while (*ports) {
		char *end;
		unsigned long first = strtoul(ports, &end, 10), last = first;

		if (end == ports)
			return;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first > 0 && first <= last && last <= UINT16_MAX && told < LISTENER_PORTS_MAX; first++, told++) {
			if (r->n_listeners++ >= LISTENERS_MAX)
				return;
			snprintf(text, sizeof(text), "%lu %.80s %s", first, listen, udp ? "udp" : "tcp");
			tell(r, WIRE_SET_TPROXY_LISTENER, text);
		}
		ports = end + strspn(end, ",/ ");
		if (ports == end)
			return;
	}
}

static void tell_listeners(struct report *r)
{
	for (const struct doc_item *i = doc_first(doc_get(r->doc, r->doc->root, "listeners")); i; i = i->next) {
		const char *type = doc_text(doc_get(r->doc, i->value, "type"));
		const char *ports = doc_text(doc_find(r->doc, i->value, "port"));
		const char *listen = doc_text(doc_find(r->doc, i->value, "listen"));

		if (type && ports && strcmp(type, "tproxy") == 0)
			tell_listener(r, ports, listen && *listen ? listen : "0.0.0.0",
				      doc_true(doc_find(r->doc, i->value, "udp")));
	}
}

static void tell_dns(const struct report *r)
{
	struct doc_node *dns = doc_get(r->doc, r->doc->root, "dns");
	char text[ADDR_TEXT];
	struct mihomo_dns facts;

	mihomo_dns(r->doc, &facts);
	if (!facts.enabled)
		return;
	tell_text(r, WIRE_SET_DNS_LISTEN, doc_get(r->doc, dns, "listen"));
	for (const struct doc_item *i = doc_first(doc_get(r->doc, dns, "default-nameserver")); i; i = i->next) {
		const char *server = doc_text(i->value);
		struct dns_server s;

		if (server && dns_server_parse(server, &s) == 0 && s.port == 53 && !s.tcp)
			tell(r, WIRE_SET_DNS_FALLBACK, addr_text(&s.addr, text));
	}
	for (int family = 0; family < IP_FAMILIES; family++)
		if (facts.has_fake[family])
			tell(r, WIRE_SET_FAKE_IP, addr_net_text(&facts.fake[family], text));
}

static void tell_watch(void *ctx, const struct mihomo_provider *p)
{
	struct report *r = ctx;

	if (p->path[0] && r->n_watches++ < WATCHES_MAX)
		tell(r, WIRE_SET_WATCH, p->path);
}

static void pass_over(void *ctx, struct doc *d, struct doc_node *element)
{
	(void)ctx;
	(void)d;
	(void)element;
}

#define TRIAL_LINE "listeners: [{name: clashsup}]\n"

/* The document with the line behind it must be the same map with one pair more, the last. */
static bool trial(const struct doc *d, const char *bytes, size_t len)
{
	const struct doc_stream proxies = { "proxies", pass_over, NULL };
	char *longer = malloc(len + sizeof(TRIAL_LINE) + 1);
	const struct doc_item *last;
	struct doc *with = NULL;
	uint32_t line;
	bool good;

	if (!longer)
		return false;
	memcpy(longer, bytes, len);
	if (len > 0 && bytes[len - 1] != '\n')
		longer[len++] = '\n';
	memcpy(longer + len, TRIAL_LINE, sizeof(TRIAL_LINE));
	good = doc_load_stream(&with, longer, len + sizeof(TRIAL_LINE) - 1, &proxies, &line, NULL) == 0 && with->root &&
	       with->root->kind == DOC_MAP && with->root->len == d->root->len + 1;
	free(longer);
	if (good) {
		for (last = with->root->first; last->next; last = last->next)
			;
		good = last->key->kind == DOC_SCALAR && strcmp(last->key->text, "listeners") == 0 &&
		       last->value->kind == DOC_LIST && last->value->len == 1;
	}
	doc_free(with);
	return good;
}

const char *mihomo_append_obstacle(struct doc *d, const char *bytes, size_t len)
{
	if (len >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0))
		return "it is UTF-16";
	if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
		return "it begins with a byte order mark";
	if (!d->root || d->root->kind != DOC_MAP || !d->root->plain || d->root_column != 0)
		return "its root is not a block map at column 0";
	if (doc_get(d, d->root, "listeners"))
		return "it has listeners: of its own";
	if (!trial(d, bytes, len))
		return "a line behind its end would not belong to its first document";
	return NULL;
}

static void tell_all(struct report *r, const char *home)
{
	struct doc *d = r->doc;
	struct doc_node *root = d->root;

	tell_port(r, doc_get(d, root, "tproxy-port"));
	tell_listeners(r);
	tell_yes(r, WIRE_SET_ALLOW_LAN, doc_get(d, root, "allow-lan"), false);
	tell_text(r, WIRE_SET_BIND_ADDRESS, doc_get(d, root, "bind-address"));
	tell_marks(r);
	tell_line(r, WIRE_SET_IPTABLES, doc_get(d, doc_get(d, root, "iptables"), "enable"));
	tell_line(r, WIRE_SET_TUN, doc_get(d, doc_get(d, root, "tun"), "enable"));
	tell_yes(r, WIRE_SET_IPV6, doc_get(d, root, "ipv6"), true);
	tell_dns(r);
	tell_text(r, WIRE_SET_CONTROLLER_UNIX, doc_get(d, root, "external-controller-unix"));
	mihomo_providers(d, home, tell_watch, r);
}

int mihomo_settings(const char *bytes, size_t len, const char *home, mihomo_setting_fn setting, void *ctx,
		    uint32_t *line_out, struct err *e)
{
	struct report report = { .fn = setting, .ctx = ctx };
	const struct doc_stream proxies = { "proxies", mark_of_proxy, &report };
	const char *obstacle;
	int r = doc_load_stream(&report.doc, bytes, len, &proxies, line_out, e);

	if (r < 0)
		return r;
	tell_all(&report, home);
	obstacle = mihomo_append_obstacle(report.doc, bytes, len);
	tell(&report, WIRE_SET_APPEND, obstacle ? obstacle : "yes");
	doc_free(report.doc);
	return 0;
}

/* An http provider without a path keeps its file under the URL's MD5 (Mihomo 1.19.30: constant/path.go). */
static void cache_name(const char *url, char out[sizeof("proxies/") + 2 * MD5_DIGEST_SIZE])
{
	uint8_t digest[MD5_DIGEST_SIZE];
	struct md5_ctx md5;
	char *at = out + sprintf(out, "proxies/");

	md5_init(&md5);
	md5_update(&md5, strlen(url), (const uint8_t *)url);
	md5_digest(&md5, sizeof(digest), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		at += sprintf(at, "%02x", digest[i]);
}

static void provider_path(struct mihomo_provider *p, const char *home, const char *path, const char *url)
{
	char cache[sizeof("proxies/") + 2 * MD5_DIGEST_SIZE];
	int n;

	if (!path && p->http && url) {
		cache_name(url, cache);
		path = cache;
	}
	if (!path)
		return;
	if (path[0] == '/')
		n = snprintf(p->path, sizeof(p->path), "%s", path);
	else
		n = snprintf(p->path, sizeof(p->path), "%s/%s", home, path + (strncmp(path, "./", 2) == 0 ? 2 : 0));
	if (n < 0 || (size_t)n >= sizeof(p->path))
		p->path[0] = '\0';
}

/* `override` wins over the provider's own key, and says "" too (Mihomo 1.19.30: adapter/provider/override.go). */
static void provider_override(struct doc *d, struct doc_node *map, struct mihomo_provider *p)
{
	const struct doc_node *own = doc_find(d, map, "dialer-proxy"), *expr;
	struct doc_node *override = doc_find(d, map, "override");
	const struct doc_node *dialer = doc_find(d, override, "dialer-proxy");
	const struct doc_node *version = doc_find(d, override, "ip-version");

	p->dialer = doc_string(doc_is_null(dialer) ? own : dialer, p->number);
	if (doc_is_null(dialer) && p->dialer && !*p->dialer)
		p->dialer = NULL;
	if (!doc_is_null(version))
		p->families = provider_families(version);
	expr = doc_find(d, override, "override-expr");
	p->rewrites = doc_first(expr) || doc_text(expr);
}

/* STUN servers are asked in both families, whatever a proxy's is. */
void mihomo_override(const struct mihomo_provider *p, struct endpoint *ep)
{
	if (p->dialer)
		ep->dialer = p->dialer;
	if (p->families && ep->kind != ENDPOINT_STUN)
		ep->families = p->families;
}

void mihomo_providers(struct doc *d, const char *home, mihomo_provider_fn provider, void *ctx)
{
	for (const struct doc_item *i = doc_pairs(doc_get(d, d->root, "proxy-providers")); i; i = i->next) {
		const char *type = doc_text(doc_find(d, i->value, "type"));
		const char *path = doc_text(doc_find(d, i->value, "path"));
		const char *name = doc_text(i->key);
		struct mihomo_provider p = { .name = name ? name : "", .line = i->key->line };

		if (i->value->kind != DOC_MAP || !type)
			continue;
		p.payload = doc_find(d, i->value, "payload");
		p.http = strcmp(type, "http") == 0;
		provider_override(d, i->value, &p);
		if (p.http || strcmp(type, "file") == 0)
			provider_path(&p, home, path && *path ? path : NULL, doc_text(doc_find(d, i->value, "url")));
		provider(ctx, &p);
	}
}
