/* Any bytes as an answer of Mihomo's API. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/mihomo_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What every proxy and every connection promise. */
static void on_proxy(void *ctx, const struct mihomo_proxy *p)
{
	(void)ctx;
	if (!*p->name || !*p->type || strlen(p->name) > MIHOMO_NAME_MAX || strlen(p->provider) > MIHOMO_NAME_MAX ||
	    strlen(p->now) > MIHOMO_NAME_MAX || (mihomo_names_server(p) && (*p->dialer || p->mux)))
		abort();
}

static void on_connection(void *ctx, const struct mihomo_connection *c)
{
	struct addr peer;

	(void)ctx;
	if (!*c->leaf || strlen(c->leaf) > MIHOMO_NAME_MAX || strlen(c->provider) > MIHOMO_NAME_MAX ||
	    (mihomo_peer(c, &peer) && addr_is_special(&peer)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	mihomo_proxies((const char *)data, size, on_proxy, NULL);
	mihomo_connections((const char *)data, size, on_connection, NULL);
	return 0;
}
