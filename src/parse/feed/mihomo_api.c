#include "parse/feed/mihomo_api.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

static const char *text(const cJSON *value)
{
	const char *s = cJSON_GetStringValue(value);

	return s ? s : "";
}

static const char *text_of(const cJSON *object, const char *key)
{
	return text(cJSON_GetObjectItemCaseSensitive(object, key));
}

static bool is_true(const cJSON *object, const char *key)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static bool short_enough(const char *name)
{
	return strnlen(name, MIHOMO_NAME_MAX + 1) <= MIHOMO_NAME_MAX;
}

struct visit {
	mihomo_proxy_fn found;
	void *ctx;
};

static void visit_proxy(const struct visit *v, const cJSON *o)
{
	const struct mihomo_proxy p = {
		.name = text_of(o, "name"),
		.type = text_of(o, "type"),
		.provider = text_of(o, "provider-name"),
		.now = text_of(o, "now"),
		.dialer = text_of(o, "dialer-proxy"),
		.mux = is_true(o, "smux"),
		.works = is_true(o, "alive") && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(o, "history")) > 0,
	};

	if (*p.name && *p.type && short_enough(p.name) && short_enough(p.provider) && short_enough(p.now))
		v->found(v->ctx, &p);
}

/* A map or a list of them. */
static void visit_proxies(const struct visit *v, const cJSON *all)
{
	const cJSON *one;

	cJSON_ArrayForEach(one, all) visit_proxy(v, one);
}

int mihomo_proxies(const char *bytes, size_t len, mihomo_proxy_fn found, void *ctx)
{
	const struct visit v = { found, ctx };
	cJSON *root = cJSON_ParseWithLength(bytes, len);
	const cJSON *provider;

	if (!root)
		return -EINVAL;
	visit_proxy(&v, root);
	visit_proxies(&v, cJSON_GetObjectItemCaseSensitive(root, "proxies"));
	cJSON_ArrayForEach(provider, cJSON_GetObjectItemCaseSensitive(root, "providers"))
		visit_proxies(&v, cJSON_GetObjectItemCaseSensitive(provider, "proxies"));
	cJSON_Delete(root);
	return 0;
}

static const char *first_of(const cJSON *object, const char *key)
{
	return text(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(object, key), 0));
}

int mihomo_connections(const char *bytes, size_t len, mihomo_connection_fn found, void *ctx)
{
	cJSON *root = cJSON_ParseWithLength(bytes, len);
	const cJSON *one;

	if (!root)
		return -EINVAL;
	cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(root, "connections"))
	{
		const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(one, "metadata");
		const struct mihomo_connection c = { .leaf = first_of(one, "chains"),
						     .provider = first_of(one, "providerChains"),
						     .remote = text_of(metadata, "remoteDestination"),
						     .destination = text_of(metadata, "destinationIP") };

		if (*c.leaf && short_enough(c.leaf) && short_enough(c.provider))
			found(ctx, &c);
	}
	cJSON_Delete(root);
	return 0;
}

/* A kind that is not here, known or not, is not believed: what it takes for its peer may be the client's destination.
 */
bool mihomo_names_server(const struct mihomo_proxy *p)
{
	static const char *const kinds[] = { "Shadowsocks", "ShadowsocksR", "Snell",	"Socks5",   "Http",
					     "Vmess",	    "Vless",	    "Trojan",	"Hysteria", "Hysteria2",
					     "Tuic",	    "Ssh",	    "Mieru",	"AnyTLS",   "Sudoku",
					     "TrustTunnel", "ShadowQuic",   "GostRelay" };

	if (*p->dialer || p->mux)
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(p->type, kinds[i]) == 0)
			return true;
	return false;
}

bool mihomo_peer(const struct mihomo_connection *c, struct addr *out)
{
	struct addr wanted;

	if (addr_parse(c->remote, out) < 0 || addr_is_special(out))
		return false;
	return addr_parse(c->destination, &wanted) < 0 || addr_cmp(out, &wanted) != 0;
}
