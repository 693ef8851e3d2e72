/*
 * From libyaml's events to the tree of doc.h, or to elements that are told and
 * forgotten.
 */
#include <yaml.h>

#include <errno.h>
#include <nettle/base64.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/doc.h"
#include "parse/feed/source.h"

/* Pairs that look-ups may pass: far above what honest files need. */
#define BUDGET_BASE (4u * 1024 * 1024)
#define BUDGET_PER_BYTE 16
#define BUDGET_MAX (160u * 1024 * 1024)

#define BINARY_TAG "tag:yaml.org,2002:binary"
#define MERGE_TAG "tag:yaml.org,2002:merge"

struct anchor {
	const char *name;
	struct doc_node *node;
};

struct open_node {
	struct doc_node *node;
	struct doc_item *last;
	struct doc_node *key; /* of a map: its value is still to come */
};

struct builder {
	struct doc *doc;
	yaml_parser_t parser;
	void *anchors; /* of tsearch(3) */
	uint32_t n_anchors, n_nodes;
	struct open_node stack[DOC_DEPTH_MAX];
	unsigned depth;
	uint32_t line; /* of the present event */
	unsigned column;
	struct err *err;

	struct source source;

	const struct doc_stream *stream;
	struct doc_node *streamed; /* the list whose elements are told */
	struct doc_node *element;  /* of that: the one that is being read */
	struct {
		struct arena_mark arena;
		uint32_t nodes, anchors;
	} before; /* the element */
};

static int out_of_memory(struct builder *b)
{
	return err_set(b->err, ENOMEM, "out of memory");
}

static int too_much(struct builder *b, const char *reason)
{
	return err_set(b->err, E2BIG, "%s", reason);
}

static struct doc_node *new_node(struct builder *b, enum doc_kind kind, bool plain)
{
	struct doc_node *n = arena_alloc(&b->doc->arena, sizeof(*n));

	if (n)
		*n = (struct doc_node){ .kind = (uint8_t)kind, .plain = plain, .line = b->line };
	return n;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct anchor *)a)->name, ((const struct anchor *)b)->name);
}

/* A later anchor of the same name takes its place from there on. */
static int define(struct builder *b, const yaml_char_t *name, struct doc_node *n)
{
	struct anchor *a, **known;

	if (!name)
		return 0;
	if (++b->n_anchors > DOC_ANCHORS_MAX)
		return too_much(b, "too many anchors");
	a = arena_alloc(&b->doc->arena, sizeof(*a));
	if (!a)
		return out_of_memory(b);
	a->node = n;
	a->name = arena_text(&b->doc->arena, name, strlen((const char *)name));
	known = a->name ? tsearch(a, &b->anchors, by_name) : NULL;
	if (!known)
		return out_of_memory(b);
	*known = a;
	return 0;
}

static int refer(struct builder *b, const yaml_char_t *name, struct doc_node **out)
{
	const struct anchor wanted = { .name = (const char *)name };
	struct anchor **known = tfind(&wanted, &b->anchors, by_name);

	if (!known)
		return err_set(b->err, EINVAL, "an alias has no anchor"); /* its name may be a password with a '*' */
	*out = (*known)->node;
	if ((*known)->node->open) { /* go-yaml minds only where it is read: nothing can be meant by it */
		*out = new_node(b, DOC_SCALAR, true);
		if (*out)
			(*out)->text = "";
	}
	return 0;
}

static bool in_streamed(const struct builder *b)
{
	return b->streamed && b->depth == 2 && b->stack[1].node == b->streamed;
}

static int count_node(struct builder *b)
{
	b->n_nodes += 1 + b->depth / 16; /* libyaml looks at each open level for each token */
	if (b->n_nodes > DOC_NODES_MAX || ++b->doc->nodes > DOC_TREE_MAX)
		return too_much(b, "too many nodes");
	return 0;
}

static int link_item(struct builder *b, struct open_node *top, struct doc_node *n)
{
	struct doc_item *item = arena_alloc(&b->doc->arena, sizeof(*item));

	if (!item)
		return out_of_memory(b);
	*item = (struct doc_item){ .key = top->key, .value = n };
	*(top->last ? &top->last->next : &top->node->first) = item;
	top->last = item;
	top->key = NULL;
	top->node->len++;
	return 0;
}

/* Puts a node where it belongs: the root, a list's element, a map's key or value, or what is told. */
static int place(struct builder *b, struct doc_node *n)
{
	struct open_node *top = b->depth > 0 ? &b->stack[b->depth - 1] : NULL;

	if (!n)
		return out_of_memory(b);
	if (count_node(b) < 0)
		return -1;
	if (!top) {
		b->doc->root = n;
		b->doc->root_column = b->column;
	} else if (in_streamed(b)) {
		b->element = n;
	} else if (top->node->kind == DOC_MAP && !top->key) {
		top->key = n;
	} else {
		return link_item(b, top, n);
	}
	return 0;
}

/* May it be a number, null and so on? Tags that are not known make texts, as quotes do. */
static bool may_be_other(const yaml_event_t *ev)
{
	static const char *const tags[] = { YAML_INT_TAG,	YAML_FLOAT_TAG, YAML_BOOL_TAG, YAML_NULL_TAG,
					    YAML_TIMESTAMP_TAG, MERGE_TAG,	NULL };
	const char *tag = (const char *)ev->data.scalar.tag;
	size_t i = 0;

	if (!tag || strcmp(tag, "!") == 0)
		return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	while (tags[i] && strcmp(tag, tags[i]) != 0)
		i++;
	return tags[i] != NULL;
}

/* Base64, in place. Of what is no such thing nothing can be said: go-yaml refuses the document. */
static size_t decode_binary(char *text, size_t len)
{
	struct base64_decode_ctx ctx;
	size_t n = len;

	base64_decode_init(&ctx);
	if (!base64_decode_update(&ctx, &n, (uint8_t *)text, len, text) || !base64_decode_final(&ctx))
		n = 0;
	text[n] = '\0';
	return n;
}

static int scalar(struct builder *b, const yaml_event_t *ev)
{
	const char *tag = (const char *)ev->data.scalar.tag;
	struct doc_node *n = new_node(b, DOC_SCALAR, may_be_other(ev));
	char *text = n ? arena_text(&b->doc->arena, ev->data.scalar.value, ev->data.scalar.length) : NULL;
	size_t len;

	if (!text)
		return out_of_memory(b);
	len = source_restore(&b->source, text, ev->data.scalar.length);
	if (tag && strcmp(tag, BINARY_TAG) == 0)
		len = decode_binary(text, len);
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0')
			text[i] = '\1'; /* no text that anybody means has either */
	n->text = text;
	n->len = (uint32_t)len;
	return place(b, n) < 0 ? -1 : define(b, ev->data.scalar.anchor, n);
}

/* Is what begins here the list that shall be told? */
static bool begins_stream(const struct builder *b, enum doc_kind kind, const yaml_char_t *anchor)
{
	const struct doc_node *key = b->depth == 1 ? b->stack[0].key : NULL;

	return b->stream && kind == DOC_LIST && !anchor && key && key->kind == DOC_SCALAR &&
	       strcmp(key->text, b->stream->key) == 0;
}

static int begin(struct builder *b, enum doc_kind kind, bool block, const yaml_char_t *anchor)
{
	struct doc_node *n = new_node(b, kind, block);

	if (!n)
		return out_of_memory(b);
	if (begins_stream(b, kind, anchor))
		b->streamed = n;
	if (place(b, n) < 0 || define(b, anchor, n) < 0)
		return -1;
	if (b->depth == DOC_DEPTH_MAX)
		return too_much(b, "nested too deep");
	n->open = true;
	b->stack[b->depth++] = (struct open_node){ .node = n };
	return 0;
}

/* 1 = the first document, or the stream, has ended. Failures have set b->err. */
static int take(struct builder *b, const yaml_event_t *ev)
{
	struct doc_node *n = NULL;

	switch (ev->type) {
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_START_EVENT:
		return 0;
	case YAML_SCALAR_EVENT:
		return scalar(b, ev);
	case YAML_ALIAS_EVENT:
		return refer(b, ev->data.alias.anchor, &n) < 0 ? -1 : place(b, n);
	case YAML_SEQUENCE_START_EVENT:
		return begin(b, DOC_LIST, ev->data.sequence_start.style == YAML_BLOCK_SEQUENCE_STYLE,
			     ev->data.sequence_start.anchor);
	case YAML_MAPPING_START_EVENT:
		return begin(b, DOC_MAP, ev->data.mapping_start.style == YAML_BLOCK_MAPPING_STYLE,
			     ev->data.mapping_start.anchor);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->stack[--b->depth].node->open = false;
		return 0;
	case YAML_DOCUMENT_END_EVENT:
	case YAML_STREAM_END_EVENT:
		break;
	}
	return 1;
}

/* The element is complete: unless an anchor lies in it, it is forgotten. */
static int tell_element(struct builder *b)
{
	struct doc *d = b->doc;

	if (++b->streamed->len > DOC_LIST_MAX)
		return too_much(b, "too many entries");
	b->stream->element(b->stream->ctx, d, b->element);
	b->element = NULL;
	if (b->n_anchors == b->before.anchors) {
		arena_release(&d->arena, b->before.arena);
		d->nodes = b->before.nodes;
	}
	return d->exhausted ? too_much(b, "too many merges and aliases") : 0;
}

static int take_streaming(struct builder *b, const yaml_event_t *ev)
{
	int r;

	if (in_streamed(b)) {
		b->before.arena = arena_mark(&b->doc->arena);
		b->before.nodes = b->doc->nodes;
		b->before.anchors = b->n_anchors;
	}
	r = take(b, ev);
	return r == 0 && b->element && in_streamed(b) ? tell_element(b) : r;
}

/* Behind the end: the list was anchored, or is another's by an alias or a merge. */
static int tell_kept(struct builder *b)
{
	struct doc *d = b->doc;
	const struct doc_node *list;

	if (!b->stream || b->streamed)
		return 0;
	list = doc_get(d, d->root, b->stream->key);
	if (list && list->kind == DOC_LIST && list->len > DOC_LIST_MAX)
		return too_much(b, "too many entries");
	for (const struct doc_item *i = list && list->kind == DOC_LIST ? list->first : NULL; i && !d->exhausted;
	     i = i->next)
		b->stream->element(b->stream->ctx, d, i->value);
	return d->exhausted ? too_much(b, "too many merges and aliases") : 0;
}

/* The reader knows an offset only, the scanner and the parser know a line. */
static int syntax_error(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;

	if (p->error == YAML_MEMORY_ERROR)
		return out_of_memory(b);
	if (b->source.refused) {
		b->line = (uint32_t)p->mark.line + 1;
		return too_much(b, b->source.refused);
	}
	b->line = (uint32_t)p->problem_mark.line + 1;
	if (p->error == YAML_READER_ERROR) {
		b->line = 1;
		for (size_t i = 0; i < p->problem_offset && i < b->source.len; i++)
			b->line += b->source.bytes[i] == '\n';
	}
	return err_set(b->err, EINVAL, "%s", p->problem ? p->problem : "not YAML");
}

static int build(struct builder *b)
{
	int r = 0;

	yaml_parser_set_input(&b->parser, source_read, &b->source);
	while (r == 0) {
		yaml_event_t ev;

		if (!yaml_parser_parse(&b->parser, &ev))
			return syntax_error(b);
		source_event(&b->source, ev.type == YAML_DOCUMENT_START_EVENT);
		b->line = (uint32_t)ev.start_mark.line + 1;
		b->column = (unsigned)ev.start_mark.column;
		r = take_streaming(b, &ev);
		yaml_event_delete(&ev);
	}
	return r < 0 ? r : tell_kept(b);
}

static void keep(void *in_arena)
{
	(void)in_arena;
}

int doc_load_stream(struct doc **out, const char *bytes, size_t len, const struct doc_stream *stream,
		    uint32_t *line_out, struct err *e)
{
	struct err local = ERR_INIT;
	struct builder *b = calloc(1, sizeof(*b));
	int r = -ENOMEM;

	*line_out = 0;
	if (!b)
		return err_set(e, ENOMEM, "out of memory");
	b->source = (struct source){ .bytes = bytes, .len = len, .token_max = DOC_TOKEN_MAX };
	b->stream = stream;
	b->err = e ? e : &local;
	b->doc = calloc(1, sizeof(*b->doc));
	if (b->doc && yaml_parser_initialize(&b->parser)) {
		b->doc->budget = BUDGET_BASE + (uint64_t)BUDGET_PER_BYTE * len;
		if (b->doc->budget > BUDGET_MAX)
			b->doc->budget = BUDGET_MAX;
		r = build(b) < 0 ? -b->err->code : 0;
		yaml_parser_delete(&b->parser);
		tdestroy(b->anchors, keep);
	} else {
		out_of_memory(b);
	}
	if (r < 0) {
		*line_out = b->line;
		doc_free(b->doc);
	} else {
		*out = b->doc;
	}
	free(b);
	return r;
}

int doc_load(struct doc **out, const char *bytes, size_t len, uint32_t *line_out, struct err *e)
{
	return doc_load_stream(out, bytes, len, NULL, line_out, e);
}

void doc_free(struct doc *d)
{
	if (d)
		arena_free(&d->arena);
	free(d);
}
