/*
 * doc: a YAML document as a tree, with the meaning that Mihomo's reader
 * (go-yaml v3) gives it: block, flow and JSON, anchors, merge keys, the first
 * document only. libyaml judges the syntax; it takes a little more than go-yaml
 * does (duplicate keys, "\/", %YAML 1.2), so that we see a superset, and refuses a
 * comma or a bracket in a tag, which go-yaml takes.
 *
 * The bytes are hostile: what a document may hold and the work of look-ups are
 * bounded, and an alias is a reference, never a copy. A tree lives until doc_free.
 *
 * A file of 100,000 proxies would be a large tree: doc_stream tells the elements
 * of one list as they are read, and reuses their memory.
 */
#ifndef FEED_DOC_H
#define FEED_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/err.h"
#include "parse/feed/arena.h"

#define DOC_DEPTH_MAX 256
#define DOC_TREE_MAX (1024u * 1024)	 /* nodes that are there at one time */
#define DOC_NODES_MAX (5u * 1024 * 1024) /* nodes in all; deep ones count more */
#define DOC_LIST_MAX (256u * 1024)	 /* elements of a list that is told one by one */
#define DOC_ANCHORS_MAX (64u * 1024)
#define DOC_TOKEN_MAX (16u * 1024 * 1024) /* bytes of one scalar, comment, or whatever else is one step */

enum doc_kind { DOC_SCALAR, DOC_LIST, DOC_MAP };

struct doc_item;

struct doc_node {
	uint8_t kind;  /* enum doc_kind */
	bool plain;    /* of a scalar: it may be a number, null and so on; of others: block style */
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

struct doc {
	struct doc_node *root; /* NULL = an empty stream */
	unsigned root_column;
	struct arena arena;
	uint32_t nodes;	 /* in the tree */
	uint32_t stamp;	 /* of the present look-up */
	uint64_t budget; /* steps that look-ups may still take */
	bool exhausted;	 /* a look-up was given up: what was found is not all */
};

/*
 * -EINVAL for bytes that are no YAML, -E2BIG for more than a bound allows, each with
 * a sentence and its line (0 = unknown); -ENOMEM. `bytes` is not needed afterwards.
 */
int doc_load(struct doc **out, const char *bytes, size_t len, uint32_t *line_out, struct err *e);

/*
 * The list that the root has under `key`. Look-ups work within the call; what
 * `element` is given lives no longer.
 */
struct doc_stream {
	const char *key;
	void (*element)(void *ctx, struct doc *d, struct doc_node *element);
	void *ctx;
};

/*
 * doc_load, which also tells each element of that list once and in order: while
 * the document is read (the list is then without elements in the tree), or behind its
 * end where the list comes by an alias or a merge or has an anchor. When it
 * fails, elements may have been told before; look-ups within it that were given
 * up are a failure too.
 */
int doc_load_stream(struct doc **out, const char *bytes, size_t len, const struct doc_stream *stream,
		    uint32_t *line_out, struct err *e);
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
const char *doc_text(const struct doc_node *n); /* as written; NULL for null, true, false, lists and maps */
bool doc_true(const struct doc_node *n);	/* true, yes, on and alike */

#define DOC_NUMBER_TEXT 80

/*
 * The same in proxies, which Mihomo reads from untyped values: a number becomes a text
 * (1.5 is "1.5E+00", 0x1bb is "443"), in `number` or static, and 1 is true.
 */
const char *doc_string(const struct doc_node *n, char number[DOC_NUMBER_TEXT]);
bool doc_flag(const struct doc_node *n);

/* Base prefixes as Go has them: 0443 is 291; a plain float is cut. 0, or -EINVAL. */
int doc_int(const struct doc_node *n, int64_t *out);

#endif
