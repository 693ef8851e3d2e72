/* How Mihomo resolves the names of proxy servers (Mihomo 1.19.30: component/resolver/resolver.go, dns/). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/hostport.h"
#include "parse/feed/mihomo_yaml.h"

#define FAKE_IP_RANGE "198.18.0.1/16" /* when none is given */
#define HOSTS_DEPTH_MAX 8
#define HOSTS_STEPS_MAX (256 * 1024)

int mihomo_dns_server(const char *text, struct mihomo_dns_server *out)
{
	struct mihomo_dns_server s = { .port = 53, .tcp = strncasecmp(text, "tcp://", 6) == 0 };
	char body[HOST_MAX], host[HOST_MAX];
	const char *fragment = strchr(text, '#');
	size_t len = fragment ? (size_t)(fragment - text) : strlen(text);

	if (fragment && strcmp(fragment, "#DIRECT") != 0 && !strchr(fragment, '='))
		return -EINVAL; /* asked through a proxy */
	if (s.tcp || strncasecmp(text, "udp://", 6) == 0) {
		text += 6;
		len -= 6;
	}
	if (len >= sizeof(body))
		return -EINVAL;
	memcpy(body, text, len);
	body[len] = '\0';
	if (hostport_parse(body, host, &s.port) < 0 || addr_parse(host, &s.addr) < 0 || s.port == 0)
		return -EINVAL;
	*out = s;
	return 0;
}

static void read_servers(const struct doc_node *list, struct mihomo_dns *out)
{
	for (const struct doc_item *i = doc_first(list); i; i = i->next) {
		const char *text = doc_text(i->value);

		if (out->n_servers == MIHOMO_SERVERS_MAX || !text ||
		    mihomo_dns_server(text, &out->servers[out->n_servers]) < 0)
			out->other_kinds = true;
		else
			out->n_servers++;
	}
}

static void read_fake(const char *text, enum ip_family family, struct mihomo_dns *out)
{
	out->has_fake[family] = text && addr_net_parse(text, &out->fake[family]) == 0 &&
				out->fake[family].addr.family == family;
}

void mihomo_dns(struct doc *d, struct mihomo_dns *out)
{
	struct doc_node *dns = doc_get(d, d->root, "dns"), *list = doc_get(d, dns, "proxy-server-nameserver");
	const struct doc_node *ipv6 = doc_get(d, d->root, "ipv6");
	const char *mode = doc_text(doc_get(d, dns, "enhanced-mode"));
	const char *range = doc_text(doc_get(d, dns, "fake-ip-range"));

	*out = (struct mihomo_dns){ .enabled = doc_true(doc_get(d, dns, "enable")),
				    .ipv6 = doc_is_null(ipv6) || doc_true(ipv6) };
	if (!out->enabled)
		return;
	out->for_proxies = doc_first(list) != NULL;
	read_servers(out->for_proxies ? list : doc_get(d, dns, "nameserver"), out);
	if (!mode || strcasecmp(mode, "fake-ip") != 0)
		return;
	read_fake(range ? range : FAKE_IP_RANGE, IP_V4, out);
	read_fake(doc_text(doc_get(d, dns, "fake-ip-range6")), IP_V6, out);
}

/* Lists and names may refer to each other: what one look-up may cost is bounded. */
struct host_search {
	struct doc *doc;
	struct addr *out;
	size_t n, max;
	unsigned steps;
};

static void host_value(struct host_search *s, const struct doc_node *value, unsigned depth);

static void host_name(struct host_search *s, const char *name, unsigned depth)
{
	for (const struct doc_item *i = doc_pairs(doc_get(s->doc, s->doc->root, "hosts")); i && s->steps; i = i->next) {
		s->steps--;
		if (doc_text(i->key) && strcasecmp(doc_text(i->key), name) == 0) {
			host_value(s, i->value, depth);
			return;
		}
	}
}

static void host_value(struct host_search *s, const struct doc_node *value, unsigned depth)
{
	const char *text = doc_text(value);

	if (s->steps == 0 || s->n == s->max || depth > HOSTS_DEPTH_MAX)
		return;
	s->steps--;
	if (text && addr_parse(text, &s->out[s->n]) == 0)
		s->n++;
	else if (text)
		host_name(s, text, depth + 1);
	for (const struct doc_item *i = doc_first(value); i && s->steps; i = i->next)
		host_value(s, i->value, depth + 1);
}

size_t mihomo_hosts(struct doc *d, const char *name, struct addr *out, size_t max)
{
	struct host_search s = { .doc = d, .out = out, .max = max, .steps = HOSTS_STEPS_MAX };

	host_name(&s, name, 0);
	return s.n;
}
