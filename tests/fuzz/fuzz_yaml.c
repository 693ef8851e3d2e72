/* Any bytes: the tree, the elements told on the way, and what look-ups find in both. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_up(struct doc *d, struct doc_node *n)
{
	static const char *const keys[] = { "server", "port", "a", "<<", "peers" };
	char number[DOC_NUMBER_TEXT];
	int64_t i;

	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		struct doc_node *exact = doc_get(d, n, keys[k]), *found = doc_find(d, n, keys[k]);
		const char *text = doc_string(found, number);

		if ((exact && exact != found && !d->exhausted) || (text && doc_is_null(found)))
			abort();
		if (text && doc_text(found) && strlen(doc_text(found)) != found->len)
			abort();
		if (doc_int(found, &i) == 0 && !text)
			abort();
		(void)doc_flag(found);
		(void)doc_true(found);
	}
}

static void element(void *ctx, struct doc *d, struct doc_node *n)
{
	++*(uint32_t *)ctx;
	look_up(d, n);
}

/* Every node, aliases followed: as far as `steps` reach. */
static void walk(struct doc *d, struct doc_node *n, unsigned *steps)
{
	for (const struct doc_item *i = doc_first(n); i && *steps > 0; i = i->next) {
		--*steps;
		if (!i->value || !i->key != (n->kind == DOC_LIST))
			abort();
		look_up(d, i->value);
		walk(d, i->value, steps);
	}
}

static unsigned times(const struct doc_node *map, const char *key)
{
	unsigned n = 0;

	for (const struct doc_item *i = doc_pairs(map); i; i = i->next)
		n += i->key->kind == DOC_SCALAR && strcmp(i->key->text, key) == 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t told = 0, line;
	const struct doc_stream stream = { "a", element, &told };
	const char *bytes = (const char *)data;
	struct doc *tree = NULL, *rest = NULL;
	unsigned steps = 10000;
	int r = doc_load(&tree, bytes, size, &line, NULL), s;
	const struct doc_node *list;

	s = doc_load_stream(&rest, bytes, size, &stream, &line, NULL);
	if (r < 0 && s == 0)
		abort();
	if (r == 0 && s == 0) {
		list = doc_get(tree, tree->root, "a");
		/* a key that stands twice is refused by go-yaml: of two lists either may be told, or both */
		if (list && list->kind == DOC_LIST && told < list->len && times(tree->root, "a") < 2)
			abort();
		look_up(tree, tree->root);
		walk(tree, tree->root, &steps);
	}
	if (r == 0)
		doc_free(tree);
	if (s == 0)
		doc_free(rest);
	return 0;
}
