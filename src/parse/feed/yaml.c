/*
 * From libyaml's events to the tree of doc.h, or to elements that are told and
 * forgotten.
 */
#include <yaml.h>

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/doc.h"

/* Look-ups may take this much and a share of the size: far above what honest files need. */
#define BUDGET_BASE (4u * 1024 * 1024)
#define BUDGET_PER_BYTE 32

#define HEAD_STEP 1024	  /* bytes fed at once before the document has begun */
#define PERCENTS_MAX 4096 /* among them */

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

	const char *bytes;
	size_t len, at, event_at; /* fed so far; fed when the present event was complete */
	unsigned percents;	  /* before the document's start: each may be a directive */
	bool started, refused;

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
		return err_set(b->err, EINVAL, "the alias *%.64s has no anchor", wanted.name);
	if ((*known)->node->open)
		return err_set(b->err, EINVAL, "the anchor &%.64s contains itself", wanted.name);
	*out = (*known)->node;
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

static int scalar(struct builder *b, const yaml_event_t *ev)
{
	bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !ev->data.scalar.tag;
	struct doc_node *n = new_node(b, DOC_SCALAR, plain);

	if (!n)
		return out_of_memory(b);
	n->text = arena_text(&b->doc->arena, ev->data.scalar.value, ev->data.scalar.length);
	if (!n->text)
		return out_of_memory(b);
	n->len = (uint32_t)ev->data.scalar.length;
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

	if (n && begins_stream(b, kind, anchor))
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

/* libyaml's word for failure is 0. */
static int refuse_input(struct builder *b, const char *reason)
{
	b->refused = true;
	(void)too_much(b, reason);
	return 0;
}

/*
 * What feeds libyaml. It looks for the end of a token however far that is, and
 * compares each directive with all others: both are cut short here.
 */
static int feed(void *ctx, unsigned char *buffer, size_t size, size_t *fed)
{
	struct builder *b = ctx;
	size_t n = b->len - b->at < size ? b->len - b->at : size;

	if (!b->started && n > HEAD_STEP)
		n = HEAD_STEP;
	for (size_t i = 0; !b->started && i < n; i++)
		b->percents += b->bytes[b->at + i] == '%';
	if (b->percents > PERCENTS_MAX)
		return refuse_input(b, "too many directives");
	if (b->at - b->event_at > DOC_TOKEN_MAX)
		return refuse_input(b, "a single text is too long");
	memcpy(buffer, b->bytes + b->at, n);
	b->at += n;
	*fed = n;
	return 1;
}

/* The reader knows an offset only, the scanner and the parser know a line. */
static int syntax_error(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;

	if (p->error == YAML_MEMORY_ERROR)
		return out_of_memory(b);
	if (b->refused) {
		b->line = (uint32_t)p->mark.line + 1;
		return -1;
	}
	b->line = (uint32_t)p->problem_mark.line + 1;
	if (p->error == YAML_READER_ERROR) {
		b->line = 1;
		for (size_t i = 0; i < p->problem_offset && i < b->len; i++)
			b->line += b->bytes[i] == '\n';
	}
	return err_set(b->err, EINVAL, "%s", p->problem ? p->problem : "not YAML");
}

static int build(struct builder *b)
{
	int r = 0;

	yaml_parser_set_input(&b->parser, feed, b);
	while (r == 0) {
		yaml_event_t ev;

		if (!yaml_parser_parse(&b->parser, &ev))
			return syntax_error(b);
		b->event_at = b->at;
		b->started |= ev.type == YAML_DOCUMENT_START_EVENT;
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
	b->bytes = bytes;
	b->len = len;
	b->stream = stream;
	b->err = e ? e : &local;
	b->doc = calloc(1, sizeof(*b->doc));
	if (b->doc && yaml_parser_initialize(&b->parser)) {
		b->doc->budget = BUDGET_BASE + (uint64_t)BUDGET_PER_BYTE * len;
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
