/*
 * mihomo_yaml: Mihomo's own configuration to the facts that matter here: its
 * settings, its proxies and its providers. Pure: no I/O. Keys and defaults as
 * Mihomo 1.19.30: config/config.go has them.
 */
#ifndef FEED_MIHOMO_YAML_H
#define FEED_MIHOMO_YAML_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/wire.h"
#include "parse/feed/doc.h"
#include "parse/feed/endpoint.h"

/* One fact; value is text as enum wire_setting describes it. */
typedef void (*mihomo_setting_fn)(void *ctx, enum wire_setting key, const char *value);

/* 0, or as doc_load: then nothing was told. */
int mihomo_settings(const char *bytes, size_t len, const char *home, mihomo_setting_fn setting, void *ctx,
		    uint32_t *line_out, struct err *e);

/*
 * May a line `listeners: [...]` be appended behind these bytes, which `d` was read
 * from? NULL = yes, else why not (a static text). It is found out by trying.
 */
const char *mihomo_append_obstacle(struct doc *d, const char *bytes, size_t len);

struct mihomo_provider {
	const char *name;
	uint32_t line;
	bool http;		      /* its file is a cache, which may not be there yet */
	bool rewrites;		      /* override-expr may change anything, servers too */
	const char *dialer;	      /* of all its entries, in place of their own; NULL = their own */
	uint8_t families;	      /* the same: 0 = their own */
	char number[DOC_NUMBER_TEXT]; /* a dialer's name that is a number */
	char path[PATH_MAX];	      /* absolute; "" = none (inline) */
	struct doc_node *payload;     /* NULL = none: inline entries, or those until the first good load */
};

typedef void (*mihomo_provider_fn)(void *ctx, const struct mihomo_provider *p);

/* What the provider's settings make of one of its entries' endpoints. */
void mihomo_override(const struct mihomo_provider *p, struct endpoint *ep);

void mihomo_providers(struct doc *d, const char *home, mihomo_provider_fn provider, void *ctx);

#endif
