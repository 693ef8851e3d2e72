/* What a provider's bytes are: this decides, each format's reader does the rest. */
#include "parse/feed/provider.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int refuse(const struct endpoint_sink *sink, uint32_t line, const char *reason)
{
	sink->skipped(sink->ctx, line, reason);
	return -EINVAL;
}

static bool begins(const char *bytes, size_t len, const char *with)
{
	while (len > 0 && strchr(" \t\r\n", *bytes)) {
		bytes++;
		len--;
	}
	return len >= strlen(with) && strncasecmp(bytes, with, strlen(with)) == 0;
}

struct doc_node *provider_old_list(struct doc *d)
{
	return doc_get(d, d->root, "proxies") ? NULL : doc_get(d, d->root, "Proxy");
}

/* `proxies` was told while it was read. */
static int parse_tree(struct doc *d, const struct endpoint_sink *sink)
{
	struct doc_node *old = provider_old_list(d);

	if (!d->root || d->root->kind != DOC_MAP)
		return refuse(sink, 1, "not a YAML map: share links and base64 are not read");
	if (!old && !doc_get(d, d->root, "proxies"))
		return refuse(sink, 1, "no proxies: in it");
	provider_entries(d, old, sink);
	return d->exhausted ? refuse(sink, 0, "too many merges and aliases") : 0;
}

static int parse_yaml(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	struct endpoint_sink own = *sink;
	const struct doc_stream entries = { "proxies", provider_entry, &own };
	char reason[ERR_MSG_MAX + 64];
	struct err e = ERR_INIT;
	struct doc *d;
	uint32_t line;
	int r;

	r = doc_load_stream(&d, bytes, len, &entries, &line, &e);
	if (r < 0 && r != -EINVAL)
		return refuse(sink, line, e.msg);
	if (r < 0) {
		snprintf(reason, sizeof(reason), "not YAML (%s): share links and base64 are not read", e.msg);
		return refuse(sink, line, reason);
	}
	r = parse_tree(d, sink);
	doc_free(d);
	return r;
}

int provider_parse(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	if (begins(bytes, len, "-----BEGIN AGE ENCRYPTED FILE-----"))
		return refuse(sink, 1, "encrypted with age: not readable");
	if (begins(bytes, len, "<!DOCTYPE html") || begins(bytes, len, "<html"))
		return refuse(sink, 1, "a web page, not a list of proxies");
	return parse_yaml(bytes, len, sink);
}
