/* What a provider's bytes are: this decides, each format's reader does the rest. */
#include "parse/feed/provider.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/base64.h"
#include "parse/feed/format.h"
#include "parse/feed/links.h"

static int refuse(const struct endpoint_sink *sink, uint32_t line, const char *reason)
{
	sink->skipped(sink->ctx, line, reason);
	return -EINVAL;
}

struct doc_node *provider_old_list(struct doc *d)
{
	return doc_get(d, d->root, "proxies") ? NULL : doc_get(d, d->root, "Proxy");
}

/* A known format is told by its name. */
static int refuse_format(const char *bytes, size_t len, const struct endpoint_sink *sink, uint32_t line,
			 const char *otherwise)
{
	const char *name = format_name(bytes, len);

	return refuse(sink, name ? 1 : line, name ? name : otherwise);
}

/* No map of YAML: links, if only such that are skipped one by one, or nothing we know. */
static int parse_other(const char *bytes, size_t len, const struct endpoint_sink *sink, uint32_t line,
		       const char *otherwise)
{
	if (links_any(bytes, len) || (links_alike(bytes, len) && !format_name(bytes, len)))
		return links_parse(bytes, len, sink);
	return refuse_format(bytes, len, sink, line, otherwise);
}

/* `proxies` was told while it was read. */
static int parse_tree(struct doc *d, const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	struct doc_node *old = provider_old_list(d);

	if (doc_is_null(d->root))
		return refuse(sink, 1, "empty: nothing but blanks and comments");
	if (d->root->kind != DOC_MAP)
		return parse_other(bytes, len, sink, 1, "neither a YAML map nor share links");
	if (!old && !doc_get(d, d->root, "proxies"))
		return refuse_format(bytes, len, sink, 1, "no proxies: in it");
	provider_entries(d, old, sink);
	return d->exhausted ? refuse(sink, 0, "too many merges and aliases") : 0;
}

/* Passes on, and counts what is skipped: a line of links may be bad, an entry of YAML may not. */
struct strict {
	const struct endpoint_sink *sink;
	size_t skipped;
};

static void pass_found(void *ctx, const struct endpoint *ep)
{
	const struct strict *s = ctx;

	s->sink->found(s->sink->ctx, ep);
}

static void pass_skipped(void *ctx, uint32_t line, const char *reason)
{
	struct strict *s = ctx;

	s->skipped++;
	s->sink->skipped(s->sink->ctx, line, reason);
}

static int parse_yaml(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	struct strict strict = { sink, 0 };
	struct endpoint_sink own = { &strict, pass_found, pass_skipped };
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
		snprintf(reason, sizeof(reason), "not YAML (line %u: %s) and no share links", line, e.msg);
		return parse_other(bytes, len, sink, line, reason);
	}
	r = parse_tree(d, bytes, len, &own);
	doc_free(d);
	return r == 0 && strict.skipped > 0 ? 1 : r;
}

static void check_entry(void *ctx, struct doc *d, struct doc_node *entry)
{
	bool *fits = ctx;

	(void)d;
	*fits &= entry->kind == DOC_MAP || doc_is_null(entry);
}

/* A map with a list of maps, or without proxies: else Mihomo's decoder fails, and it looks for links. */
static bool is_yaml_map(const char *bytes, size_t len)
{
	bool fits = true;
	const struct doc_stream entries = { "proxies", check_entry, &fits };
	const struct doc_node *list;
	struct doc *d;
	uint32_t line;
	int r = doc_load_stream(&d, bytes, len, &entries, &line, NULL);

	if (r < 0)
		return r == -E2BIG || r == -ENOMEM; /* to be told why */
	list = doc_get(d, d->root, "proxies");
	fits &= d->root && d->root->kind == DOC_MAP && (doc_is_null(list) || list->kind == DOC_LIST);
	doc_free(d);
	return fits;
}

/* As Mihomo does: YAML that fits is never read as links. */
static int parse_text(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	if (links_first(bytes, len) || (links_any(bytes, len) && !is_yaml_map(bytes, len)))
		return links_parse(bytes, len, sink);
	return parse_yaml(bytes, len, sink);
}

/*
 * One level of base64, as Mihomo has it for links; YAML within it is our own addition.
 * Such letters alone are no YAML map, so that nothing is passed over by looking here first.
 */
static int parse_base64(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	char *inner = malloc(BASE64_BUFFER(len));
	size_t inner_len;
	int r;

	if (!inner)
		return refuse(sink, 0, "out of memory");
	if (base64_read_std(bytes, len, inner, &inner_len) < 0)
		r = refuse(sink, 1, "neither YAML nor links, and base64 that is cut off or damaged");
	else if (links_any(inner, inner_len))
		r = links_parse(inner, inner_len, sink);
	else if (memmem(inner, inner_len, "proxies", 7) || memmem(inner, inner_len, "Proxy", 5))
		r = parse_text(inner, inner_len, sink);
	else
		r = refuse_format(inner, inner_len, sink, 1,
				  "base64, but of neither share links nor YAML with proxies");
	free(inner);
	return r;
}

int provider_parse(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	static const char age[] = "-----BEGIN AGE ENCRYPTED FILE-----";

	if (len >= strlen(age) && memcmp(bytes, age, strlen(age)) == 0)
		return refuse(sink, 1, format_name(bytes, len));
	return (base64_letters(bytes, len) ? parse_base64 : parse_text)(bytes, len, sink);
}
