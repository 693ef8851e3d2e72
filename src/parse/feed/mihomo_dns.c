#include "parse/feed/mihomo_dns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/domains.h"
#include "parse/feed/hostport.h"

#define FAKE_IP_RANGE "198.18.0.1/16" /* when none is given */
#define BOTH_FAMILIES (1u << IP_V4 | 1u << IP_V6)

/* ---- settings ---- */

static void read_fake(const char *text, enum ip_family family, struct mihomo_dns *out)
{
	out->has_fake[family] = text && addr_net_parse(text, &out->fake[family]) == 0 &&
				out->fake[family].addr.family == family;
}

void mihomo_dns(struct doc *d, struct mihomo_dns *out)
{
	struct doc_node *dns = doc_get(d, d->root, "dns");
	const struct doc_node *ipv6 = doc_get(d, d->root, "ipv6"), *hosts = doc_get(d, dns, "use-system-hosts");
	const char *mode = doc_text(doc_get(d, dns, "enhanced-mode"));
	const char *range = doc_text(doc_get(d, dns, "fake-ip-range"));

	*out = (struct mihomo_dns){ .enabled = doc_true(doc_get(d, dns, "enable")),
				    .ipv6 = doc_is_null(ipv6) || doc_true(ipv6) };
	if (!out->enabled)
		return;
	out->system_hosts = doc_is_null(hosts) || doc_true(hosts);
	if (!mode || strcasecmp(mode, "fake-ip") != 0)
		return;
	read_fake(range ? range : FAKE_IP_RANGE, IP_V4, out);
	read_fake(doc_text(doc_get(d, dns, "fake-ip-range6")), IP_V6, out);
}

/* ---- servers ---- */

static bool is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* "PROXY&key=value&...": -EINVAL when a proxy or an interface is named. */
static int read_fragment(const char *text, struct dns_server *s)
{
	for (size_t n; *text; text += n + (text[n] == '&')) {
		n = strcspn(text, "&");
		if (n == 0 || is(text, n, "DIRECT"))
			continue;
		if (!memchr(text, '=', n))
			return -EINVAL;
		if (is(text, n, "disable-ipv4=true"))
			s->families &= (uint8_t) ~(1u << IP_V4);
		if (is(text, n, "disable-ipv6=true"))
			s->families &= (uint8_t) ~(1u << IP_V6);
	}
	return 0;
}

int dns_server_parse(const char *text, struct dns_server *out)
{
	struct dns_server s = { .port = 53, .tcp = strncasecmp(text, "tcp://", 6) == 0, .families = BOTH_FAMILIES };
	const char *fragment = strchr(text, '#');
	char body[HOST_MAX], host[HOST_MAX];
	size_t len;

	if (s.tcp || strncasecmp(text, "udp://", 6) == 0)
		text += 6;
	len = strcspn(text, "/?#");
	if (len >= sizeof(body) || strncmp(text + len, "//", 2) == 0)
		return -EINVAL;
	memcpy(body, text, len);
	body[len] = '\0';
	if (hostport_parse(body, host, &s.port) < 0 || addr_parse(host, &s.addr) < 0 || s.port == 0 ||
	    (fragment && read_fragment(fragment + 1, &s) < 0))
		return -EINVAL;
	*out = s;
	return 0;
}

const char *dns_server_text(const struct dns_server *s, char buf[DNS_SERVER_TEXT])
{
	char text[ADDR_TEXT];

	snprintf(buf, DNS_SERVER_TEXT, s->addr.family == IP_V6 ? "%s://[%s]:%u%s%s" : "%s://%s:%u%s%s",
		 s->tcp ? "tcp" : "udp", addr_text(&s->addr, text), s->port,
		 s->families >> IP_V4 & 1 ? "#" : "#disable-ipv4=true&",
		 s->families >> IP_V6 & 1 ? "" : "disable-ipv6=true");
	return buf;
}

static bool same_server(const struct dns_server *a, const struct dns_server *b)
{
	return addr_cmp(&a->addr, &b->addr) == 0 && a->port == b->port && a->tcp == b->tcp;
}

static void add_server(struct dns_group *g, const struct dns_server *s)
{
	for (size_t i = 0; i < g->n; i++)
		if (same_server(&g->servers[i], s)) {
			g->servers[i].families |= s->families;
			return;
		}
	if (g->n < DNS_SERVERS_MAX)
		g->servers[g->n++] = *s;
	else
		g->left_out = true;
}

void dns_group_add(struct dns_group *g, const char *text, const struct dns_group *system)
{
	struct dns_server s;

	if (strcmp(text, "system") == 0 || strncasecmp(text, "system://", 9) == 0 ||
	    strcasecmp(text, "dhcp://system") == 0)
		for (size_t i = 0; i < system->n; i++)
			add_server(g, &system->servers[i]);
	else if (dns_server_parse(text, &s) == 0)
		add_server(g, &s);
	else
		g->left_out = true;
}

/* One line: "nameserver ADDRESS". */
static void read_line(const char *line, size_t len, struct dns_group *out)
{
	static const char word[] = "nameserver", blanks[] = " \t\r\v\f";
	char text[256], *rest, *address;
	struct dns_server s = { .port = 53, .families = BOTH_FAMILIES };

	if (len >= sizeof(text) || memchr(line, '\0', len))
		return;
	memcpy(text, line, len);
	text[len] = '\0';
	address = strtok_r(text, blanks, &rest);
	if (!address || strcmp(address, word) != 0)
		return;
	address = strtok_r(NULL, blanks, &rest);
	if (address && addr_parse(address, &s.addr) == 0)
		add_server(out, &s);
}

void dns_resolv_conf_named(const char *bytes, size_t len, struct dns_group *out)
{
	*out = (struct dns_group){ .n = 0 };
	for (size_t i = 0, n; i < len; i += n + 1) {
		const char *end = memchr(bytes + i, '\n', len - i);

		n = end ? (size_t)(end - (bytes + i)) : len - i;
		read_line(bytes + i, n, out);
	}
	out->left_out = false;
}

void dns_resolv_conf(const char *bytes, size_t len, struct dns_group *out)
{
	dns_resolv_conf_named(bytes, len, out);
	if (out->n == 0) { /* as dns/system.go has it */
		dns_group_add(out, "114.114.114.114", NULL);
		dns_group_add(out, "8.8.8.8", NULL);
	}
	out->left_out = false;
}

/* ---- the plan ---- */

/* A list of servers, or one. */
static void read_servers(const struct doc_node *node, const struct dns_group *system, struct dns_group *out)
{
	if (doc_text(node))
		dns_group_add(out, doc_text(node), system);
	for (const struct doc_item *i = doc_first(node); i; i = i->next)
		dns_group_add(out, doc_text(i->value) ? doc_text(i->value) : "", system);
}

/* Those that can be asked; without any, what Mihomo's main resolver says is the nearest. */
static void fill_group(struct dns_group *g, const struct doc_node *node, const struct dns_group *system,
		       const struct dns_group *main)
{
	read_servers(node, system, g);
	if (g->n > 0)
		return;
	*g = *main;
	g->left_out = true;
}

/* "a.example,b.example", or "geosite:..." and "rule-set:...", which need files that only Mihomo has. */
static int add_patterns(struct dns_plan *p, const char *key, uint32_t group)
{
	char pattern[256];
	int r = 0;

	if (strncasecmp(key, "geosite:", 8) == 0 || strncasecmp(key, "rule-set:", 9) == 0) {
		p->unjudged = true;
		return 0;
	}
	for (size_t n; *key && r != -ENOMEM; key += n + (key[n] == ',')) {
		n = strcspn(key, ",");
		if (n < sizeof(pattern)) {
			memcpy(pattern, key, n);
			pattern[n] = '\0';
			r = domains_add(p->policies, pattern, group);
		}
	}
	return r == -ENOMEM ? r : 0;
}

static int read_policies(struct dns_plan *p, const struct doc_node *map, const struct dns_group *system,
			 const struct dns_group *main)
{
	int r = 0;

	for (const struct doc_item *i = doc_pairs(map); i && r == 0; i = i->next) {
		if (p->n == DNS_GROUPS_MAX) {
			p->unjudged = true;
			return 0;
		}
		if (!doc_text(i->key))
			continue;
		fill_group(&p->groups[p->n], i->value, system, main);
		r = add_patterns(p, doc_text(i->key), (uint32_t)p->n);
		p->n++;
	}
	return r;
}

int dns_plan_init(struct dns_plan *p, struct doc *d, const struct dns_group *system)
{
	struct doc_node *dns = d ? doc_get(d, d->root, "dns") : NULL, *list;
	struct dns_group main = { .api = true };
	int r;

	*p = (struct dns_plan){ .n = 1, .policies = domains_new() };
	if (!p->policies)
		return -ENOMEM;
	if (!dns || !doc_true(doc_get(d, dns, "enable"))) {
		p->groups[0] = *system;
		return 0;
	}
	read_servers(doc_get(d, dns, "nameserver"), system, &main);
	main.left_out = false; /* Mihomo itself is asked */
	p->groups[0] = main;
	list = doc_get(d, dns, "proxy-server-nameserver");
	p->for_proxies = doc_first(list) != NULL;
	if (!p->for_proxies)
		return 0;
	p->groups[0] = (struct dns_group){ .n = 0 };
	fill_group(&p->groups[0], list, system, &main);
	r = read_policies(p, doc_get(d, dns, "proxy-server-nameserver-policy"), system, &main);
	if (r < 0)
		dns_plan_deinit(p);
	return r;
}

void dns_plan_deinit(struct dns_plan *p)
{
	domains_free(p->policies);
	p->policies = NULL;
}

uint8_t dns_plan_group(const struct dns_plan *p, const char *name)
{
	uint32_t group;

	return p->n > 1 && domains_find(p->policies, name, &group) ? (uint8_t)group : 0;
}
