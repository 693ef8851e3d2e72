/*
 * doc: a YAML document as a tree, with the meaning that Mihomo's reader
 * (go-yaml v3) gives it: block, flow and JSON, anchors, merge keys, the first
 * document only. libyaml judges the syntax; it takes a little more than go-yaml
 * does (duplicate keys, "\/", %YAML 1.2), so that we see a superset.
 *
 * The bytes are hostile: depth, nodes and the work of look-ups are bounded, and
 * an alias is a reference, never a copy. All of a tree lives until doc_free.
 */
#ifndef FEED_DOC_H
#define FEED_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/err.h"

#define DOC_DEPTH_MAX 256
#define DOC_NODES_MAX (4u * 1024 * 1024)

enum doc_kind { DOC_SCALAR, DOC_LIST, DOC_MAP };

struct doc_item;

struct doc_node {
	uint8_t kind;  /* enum doc_kind */
	bool plain;    /* of a scalar: neither quotes nor a tag; of others: block style */
	bool open;     /* still being read: an alias to it would contain itself */
	uint32_t line; /* from 1 */
	uint32_t stamp;
	uint32_t len; /* bytes of a scalar, items of others */
	union {
		const char *text; /* NUL-terminated */
		struct doc_item *first;
	};
};

/* One element of a list (key is NULL), or one pair of a map as written. */
struct doc_item {
	struct doc_node *key, *value;
	struct doc_item *next;
};

struct doc_block;

struct doc {
	struct doc_node *root; /* NULL = an empty stream */
	unsigned root_column;
	struct doc_block *blocks;
	uint32_t nodes;
	uint32_t stamp;	 /* of the present look-up */
	uint64_t budget; /* steps that look-ups may still take */
	bool exhausted;	 /* a look-up was given up: what was found is not all */
};

/*
 * -EINVAL with a sentence and its line (0 = unknown) for bytes that are no YAML or
 * exceed a bound, -ENOMEM. `bytes` is not needed afterwards.
 */
int doc_load(struct doc **out, const char *bytes, size_t len, uint32_t *line_out, struct err *e);
void doc_free(struct doc *d); /* NULL-safe */

/* The items of a list or a map; NULL for anything else, NULL included. */
const struct doc_item *doc_first(const struct doc_node *n);

/* The pairs of a map as written, each with its key; NULL for anything else. */
const struct doc_item *doc_pairs(const struct doc_node *n);

/*
 * The value of a key, merge keys followed: explicit keys win wherever they
 * stand, in a list of merges the earlier wins. NULL when absent or not a map.
 */
struct doc_node *doc_get(struct doc *d, struct doc_node *map, const char *key);

/* As doc_get; else case-insensitively with '_' = '-', as Mihomo reads proxies. */
struct doc_node *doc_find(struct doc *d, struct doc_node *map, const char *key);

/* What a scalar means. */
bool doc_is_null(const struct doc_node *n);	/* absent, empty, ~ or null */
const char *doc_text(const struct doc_node *n); /* NULL for null, true, false, lists and maps */
bool doc_true(const struct doc_node *n);	/* true, yes, on and alike, without quotes */

/* Base prefixes as Go has them: 0443 is 291; a plain float is cut. 0, or -EINVAL. */
int doc_int(const struct doc_node *n, int64_t *out);

#endif
