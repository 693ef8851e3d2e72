/* From libyaml's events to the tree of doc.h. */
#include <yaml.h>

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/doc.h"

#define BLOCK_SIZE (64 * 1024)

/* Look-ups may take this much and a share of the size: far above what honest files need. */
#define BUDGET_BASE (4u * 1024 * 1024)
#define BUDGET_PER_BYTE 32

struct doc_block {
	struct doc_block *next;
	size_t used, cap;
	_Alignas(max_align_t) char bytes[];
};

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
	struct open_node stack[DOC_DEPTH_MAX];
	unsigned depth;
	uint32_t line; /* of the present event */
	unsigned column;
	struct err *err;
};

static void *allocate(struct doc *d, size_t size)
{
	struct doc_block *b = d->blocks;

	size = (size + 7) & ~(size_t)7;
	if (!b || size > b->cap - b->used) {
		size_t cap = size > BLOCK_SIZE ? size : BLOCK_SIZE;

		b = malloc(sizeof(*b) + cap);
		if (!b)
			return NULL;
		*b = (struct doc_block){ .next = d->blocks, .cap = cap };
		d->blocks = b;
	}
	b->used += size;
	return b->bytes + b->used - size;
}

static const char *keep_text(struct doc *d, const yaml_char_t *text, size_t len)
{
	char *copy = allocate(d, len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

static int out_of_memory(struct builder *b)
{
	return err_set(b->err, ENOMEM, "out of memory");
}

static struct doc_node *new_node(struct builder *b, enum doc_kind kind, bool plain)
{
	struct doc_node *n = allocate(b->doc, sizeof(*n));

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
	a = allocate(b->doc, sizeof(*a));
	if (!a)
		return out_of_memory(b);
	a->node = n;
	a->name = keep_text(b->doc, name, strlen((const char *)name));
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

/* Puts a node where it belongs: the root, a list's element, a map's key or value. */
static int place(struct builder *b, struct doc_node *n)
{
	struct open_node *top;
	struct doc_item *item;

	if (!n)
		return out_of_memory(b);
	if (++b->doc->nodes > DOC_NODES_MAX)
		return err_set(b->err, EINVAL, "more than %u nodes", DOC_NODES_MAX);
	if (b->depth == 0) {
		b->doc->root = n;
		b->doc->root_column = b->column;
		return 0;
	}
	top = &b->stack[b->depth - 1];
	if (top->node->kind == DOC_MAP && !top->key) {
		top->key = n;
		return 0;
	}
	item = allocate(b->doc, sizeof(*item));
	if (!item)
		return out_of_memory(b);
	*item = (struct doc_item){ .key = top->key, .value = n };
	*(top->last ? &top->last->next : &top->node->first) = item;
	top->last = item;
	top->key = NULL;
	top->node->len++;
	return 0;
}

static int scalar(struct builder *b, const yaml_event_t *ev)
{
	bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !ev->data.scalar.tag;
	struct doc_node *n = new_node(b, DOC_SCALAR, plain);

	if (!n)
		return out_of_memory(b);
	n->text = keep_text(b->doc, ev->data.scalar.value, ev->data.scalar.length);
	if (!n->text)
		return out_of_memory(b);
	n->len = (uint32_t)ev->data.scalar.length;
	return place(b, n) < 0 ? -1 : define(b, ev->data.scalar.anchor, n);
}

static int begin(struct builder *b, enum doc_kind kind, bool block, const yaml_char_t *anchor)
{
	struct doc_node *n = new_node(b, kind, block);

	if (place(b, n) < 0 || define(b, anchor, n) < 0)
		return -1;
	if (b->depth == DOC_DEPTH_MAX)
		return err_set(b->err, EINVAL, "nested more than %d levels deep", DOC_DEPTH_MAX);
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

/* The reader knows an offset only, the scanner and the parser know a line. */
static int syntax_error(struct builder *b, const char *bytes, size_t len)
{
	const yaml_parser_t *p = &b->parser;

	if (p->error == YAML_MEMORY_ERROR)
		return out_of_memory(b);
	b->line = (uint32_t)p->problem_mark.line + 1;
	if (p->error == YAML_READER_ERROR) {
		b->line = 1;
		for (size_t i = 0; i < p->problem_offset && i < len; i++)
			b->line += bytes[i] == '\n';
	}
	return err_set(b->err, EINVAL, "%s", p->problem ? p->problem : "not YAML");
}

static int build(struct builder *b, const char *bytes, size_t len)
{
	int r = 0;

	yaml_parser_set_input_string(&b->parser, (const unsigned char *)bytes, len);
	while (r == 0) {
		yaml_event_t ev;

		if (!yaml_parser_parse(&b->parser, &ev))
			return syntax_error(b, bytes, len);
		b->line = (uint32_t)ev.start_mark.line + 1;
		b->column = (unsigned)ev.start_mark.column;
		r = take(b, &ev);
		yaml_event_delete(&ev);
	}
	return r < 0 ? r : 0;
}

static void keep(void *in_arena)
{
	(void)in_arena;
}

int doc_load(struct doc **out, const char *bytes, size_t len, uint32_t *line_out, struct err *e)
{
	struct err local = ERR_INIT;
	struct builder *b = calloc(1, sizeof(*b));
	int r = -ENOMEM;

	*line_out = 0;
	if (!b)
		return err_set(e, ENOMEM, "out of memory");
	b->err = e ? e : &local;
	b->doc = calloc(1, sizeof(*b->doc));
	if (b->doc && yaml_parser_initialize(&b->parser)) {
		b->doc->budget = BUDGET_BASE + (uint64_t)BUDGET_PER_BYTE * len;
		r = build(b, bytes, len) < 0 ? -b->err->code : 0;
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

void doc_free(struct doc *d)
{
	struct doc_block *next;

	if (!d)
		return;
	for (struct doc_block *b = d->blocks; b; b = next) {
		next = b->next;
		free(b);
	}
	free(d);
}
