/* Any bytes as a list of share links, as it is and in base64 within a provider. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/hostport.h"
#include "parse/feed/links.h"
#include "parse/feed/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned endpoints, reasons;

/* What every endpoint of a link promises. */
static void found(void *ctx, const struct endpoint *ep)
{
	char host[HOST_MAX];

	(void)ctx;
	endpoints++;
	if (host_clean(ep->host, host) < 0 || strcmp(host, ep->host) != 0 || ep->line == 0 || !ep->name || !ep->ports ||
	    !ep->transport[0] || ep->families != ENDPOINT_ANY_FAMILY || !endpoint_kind_name(ep->kind))
		abort();
}

static void skipped(void *ctx, uint32_t line, const char *reason)
{
	(void)ctx;
	(void)line;
	reasons++;
	if (!reason || !*reason)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct endpoint_sink sink = { .found = found, .skipped = skipped };
	const char *bytes = (const char *)data;
	int r;

	endpoints = reasons = 0;
	r = links_parse(bytes, size, &sink);
	if (r == 0 ? endpoints == 0 : reasons == 0)
		abort(); /* read without a server, or refused without a word */
	if (endpoints > 0 && !links_any(bytes, size))
		abort();
	endpoints = reasons = 0;
	if (provider_parse(bytes, size, &sink) < 0 && reasons == 0)
		abort();
	return 0;
}
