/* Look-ups in the tree, and what its scalars mean. */
#include "parse/feed/doc.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/number.h"

#define MERGE_DEPTH_MAX 64 /* merges within merges */

const struct doc_item *doc_first(const struct doc_node *n)
{
	return n && n->kind != DOC_SCALAR ? n->first : NULL;
}

const struct doc_item *doc_pairs(const struct doc_node *n)
{
	return n && n->kind == DOC_MAP ? n->first : NULL;
}

static bool folded_equal(const char *a, const char *b)
{
	for (; *a && *b; a++, b++) {
		int x = *a == '_' ? '-' : tolower((unsigned char)*a);
		int y = *b == '_' ? '-' : tolower((unsigned char)*b);

		if (x != y)
			return false;
	}
	return *a == *b;
}

struct search {
	struct doc *doc;
	const char *key;
	bool folded;
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
		else if (s->folded ? folded_equal(key->text, s->key) : strcmp(key->text, s->key) == 0)
			return i->value;
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

static struct doc_node *search(struct doc *d, struct doc_node *map, const char *key, bool folded)
{
	struct search s = { .doc = d, .key = key, .folded = folded };

	d->stamp++;
	return map ? search_map(&s, map) : NULL;
}

struct doc_node *doc_get(struct doc *d, struct doc_node *map, const char *key)
{
	return search(d, map, key, false);
}

struct doc_node *doc_find(struct doc *d, struct doc_node *map, const char *key)
{
	struct doc_node *exact = search(d, map, key, false);

	return exact ? exact : search(d, map, key, true);
}

static bool one_of(const char *text, const char *const *words)
{
	while (*words && strcmp(text, *words) != 0)
		words++;
	return *words != NULL;
}

bool doc_is_null(const struct doc_node *n)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL", NULL };

	return !n || (n->kind == DOC_SCALAR && n->plain && one_of(n->text, words));
}

const char *doc_text(const struct doc_node *n)
{
	static const char *const bools[] = { "true", "True", "TRUE", "false", "False", "FALSE", NULL };

	if (doc_is_null(n) || n->kind != DOC_SCALAR || (n->plain && one_of(n->text, bools)))
		return NULL;
	return n->text;
}

/* go-yaml takes the words of YAML 1.1 where a bool is expected. */
bool doc_true(const struct doc_node *n)
{
	static const char *const words[] = { "true", "True", "TRUE", "yes", "Yes", "YES",
					     "y",    "Y",    "on",   "On",  "ON",  NULL };

	return n && n->kind == DOC_SCALAR && n->plain && one_of(n->text, words);
}

int doc_int(const struct doc_node *n, int64_t *out)
{
	const char *text = doc_text(n);
	char *end;
	double f;

	if (!text)
		return -EINVAL;
	if (number_int(text, out) == 0)
		return 0;
	if (!n->plain || text[strspn(text, "+-.0123456789eE")] != '\0')
		return -EINVAL;
	f = strtod(text, &end);
	if (end == text || *end != '\0' || !(f > -1e15 && f < 1e15))
		return -EINVAL;
	*out = (int64_t)f;
	return 0;
}
