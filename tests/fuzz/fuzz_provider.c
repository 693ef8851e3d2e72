/*
 * Any bytes: a provider's file, and a whole config. With libFuzzer this is the
 * target; else replay.c calls it for every file of the corpus.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/hostport.h"
#include "parse/feed/mihomo_yaml.h"
#include "parse/feed/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What every endpoint promises. */
static void found(void *ctx, const struct endpoint *ep)
{
	char host[HOST_MAX];

	(void)ctx;
	if (host_clean(ep->host, host) < 0 || strcmp(host, ep->host) != 0 || ep->line == 0 || !ep->name || !ep->ports ||
	    !endpoint_kind_name(ep->kind))
		abort();
}

static void skipped(void *ctx, uint32_t line, const char *reason)
{
	(void)ctx;
	(void)line;
	if (!reason || !*reason)
		abort();
}

static void setting(void *ctx, enum wire_setting key, const char *value)
{
	(void)ctx;
	if (key == 0 || key >= WIRE_SETTINGS || !value)
		abort();
}

static void provider(void *ctx, const struct mihomo_provider *p)
{
	const struct endpoint_sink sink = { .found = found, .skipped = skipped };

	provider_entries(ctx, p->payload, &sink);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct endpoint_sink sink = { .found = found, .skipped = skipped };
	const char *bytes = (const char *)data;
	struct doc *d;
	uint32_t line;

	provider_parse(bytes, size, &sink);
	mihomo_settings(bytes, size, "/home", setting, NULL, &line, NULL);
	if (doc_load(&d, bytes, size, &line, NULL) < 0)
		return 0;
	mihomo_providers(d, "/home", provider, d);
	doc_free(d);
	return 0;
}
