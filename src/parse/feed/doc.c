/* Look-ups in the tree. */
#include "parse/feed/doc.h"

#include <ctype.h>
#include <string.h>

#define MERGE_DEPTH_MAX 64 /* merges within merges */

const struct doc_item *doc_first(const struct doc_node *n)
{
	return n && n->kind != DOC_SCALAR ? n->first : NULL;
}

const struct doc_item *doc_pairs(const struct doc_node *n)
{
	return n && n->kind == DOC_MAP ? n->first : NULL;
}

/* The next letter, folded as Go's strings.EqualFold does: U+017F is an s and U+212A a k. */
static int fold(const char **text)
{
	const char *t = *text;
	size_t len = strncmp(t, "\xc5\xbf", 2) == 0 ? 2 : strncmp(t, "\xe2\x84\xaa", 3) == 0 ? 3 : 1;

	*text += len;
	return len == 2 ? 's' : len == 3 ? 'k' : *t == '_' ? '-' : tolower((unsigned char)*t);
}

static bool folded_equal(const char *a, const char *b)
{
	if (((*a ^ *b) & ~0x20) && !(*a & 0x80)) /* most are done here; no key begins with '-' */
		return false;
	while (*a && *b)
		if (fold(&a) != fold(&b))
			return false;
	return *a == *b;
}

struct search {
	struct doc *doc;
	const char *key;
	struct doc_node **folded; /* the first that matches folded only; NULL = not wanted */
	unsigned depth;
};

static struct doc_node *search_map(struct search *s, struct doc_node *map);

/* The value of "<<": a map, or a list of maps. */
static struct doc_node *search_merge(struct search *s, struct doc_node *from)
{
	struct doc_node *found = NULL;

	if (from->kind != DOC_LIST)
		return search_map(s, from);
	for (struct doc_item *i = from->first; i && !found; i = i->next)
		found = search_map(s, i->value);
	return found;
}

/*
 * A map seen in this look-up did not have the key, so it is not entered again:
 * merges of merges cost their size once, not to the power of their depth.
 */
static struct doc_node *search_map(struct search *s, struct doc_node *map)
{
	struct doc_node *merge = NULL, *found = NULL;

	if (map->kind != DOC_MAP || map->stamp == s->doc->stamp)
		return NULL;
	map->stamp = s->doc->stamp;
	for (struct doc_item *i = map->first; i; i = i->next) {
		const struct doc_node *key = i->key;

		if (s->doc->budget == 0) {
			s->doc->exhausted = true;
			return NULL;
		}
		s->doc->budget--;
		if (key->kind != DOC_SCALAR)
			continue;
		if (key->plain && strcmp(key->text, "<<") == 0)
			merge = i->value;
		else if (strcmp(key->text, s->key) == 0)
			return i->value;
		else if (s->folded && !*s->folded && folded_equal(key->text, s->key))
			*s->folded = i->value;
	}
	if (!merge)
		return NULL;
	if (s->depth == MERGE_DEPTH_MAX) {
		s->doc->exhausted = true;
		return NULL;
	}
	s->depth++;
	found = search_merge(s, merge);
	s->depth--;
	return found;
}

struct doc_node *doc_get(struct doc *d, struct doc_node *map, const char *key)
{
	struct search s = { .doc = d, .key = key };

	d->stamp++;
	return map ? search_map(&s, map) : NULL;
}

struct doc_node *doc_find(struct doc *d, struct doc_node *map, const char *key)
{
	struct doc_node *folded = NULL, *exact;
	struct search s = { .doc = d, .key = key, .folded = &folded };

	d->stamp++;
	exact = map ? search_map(&s, map) : NULL;
	return exact ? exact : folded;
}
