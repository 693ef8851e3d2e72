#include "parse/feed/hosts.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/domains.h"

#define REDIRECTS_MAX 64
#define MERGE_DEPTH_MAX 16
#define STEPS_MAX (1024u * 1024) /* aliases make much of little: pairs and values, all in all */
#define BOTH_FAMILIES (1u << IP_V4 | 1u << IP_V6)

/* Either another name of `hosts:`, or some of the addresses. */
struct value {
	char *name;
	size_t first, n;
};

/* A name of the system's file; text is not terminated. */
struct line {
	const char *name;
	size_t len;
	struct addr addr;
};

struct hosts {
	struct domains *patterns; /* to indices of values */
	struct value *values;
	size_t n_values, cap_values;
	struct addr *addrs;
	size_t n_addrs, cap_addrs;
	char *text;	    /* of lines */
	struct line *lines; /* sorted */
	size_t n_lines, cap_lines;
	unsigned steps;
};

/* Room for one element more. */
static int grow(void *array_ptr, size_t n, size_t *cap, size_t size)
{
	void **array = array_ptr, *grown;
	size_t wanted = *cap ? *cap * 2 : 16;

	if (n < *cap)
		return 0;
	grown = realloc(*array, wanted * size); /* bounded by what was read, which is in memory too */
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*cap = wanted;
	return 0;
}

static int add_addr(struct hosts *h, struct value *v, const struct addr *a)
{
	int r = grow(&h->addrs, h->n_addrs, &h->cap_addrs, sizeof(*h->addrs));

	if (r < 0)
		return r;
	h->addrs[h->n_addrs++] = *a;
	v->n++;
	return 0;
}

/* -EINVAL when it is neither an address nor a name of two labels. */
static int read_text(struct hosts *h, struct value *v, const char *text, bool alone)
{
	struct addr a;
	size_t len;

	if (!text)
		return -EINVAL;
	if (addr_parse(text, &a) == 0)
		return add_addr(h, v, &a);
	if (!alone)
		return -EINVAL;
	if (strcmp(text, "lan") == 0)
		return 0;
	text += strspn(text, ".");
	for (len = strlen(text); len > 0 && text[len - 1] == '.'; len--)
		;
	if (!memchr(text, '.', len))
		return -EINVAL;
	v->name = strndup(text, len);
	return v->name ? 0 : -ENOMEM;
}

static int read_value(struct hosts *h, struct value *v, const struct doc_node *node)
{
	const struct doc_item *first = doc_first(node);
	int r = -EINVAL;

	if (node->kind != DOC_LIST)
		return read_text(h, v, doc_text(node), true);
	for (const struct doc_item *i = first; i; i = i->next) {
		r = h->steps++ < STEPS_MAX ? read_text(h, v, doc_text(i->value), i == first && !i->next) : -ENOSPC;
		if (r < 0)
			return r;
	}
	return r;
}

static int add_value(struct hosts *h, const char *pattern, struct value *v)
{
	int r = grow(&h->values, h->n_values, &h->cap_values, sizeof(*h->values));

	r = r ? r : domains_add(h->patterns, pattern, (uint32_t)h->n_values);
	if (r == 0)
		h->values[h->n_values++] = *v;
	else
		free(v->name);
	return r;
}

static int add_pair(struct hosts *h, const struct doc_item *pair)
{
	struct value v = { .first = h->n_addrs };
	const char *pattern = doc_text(pair->key);
	int r = pattern ? read_value(h, &v, pair->value) : -EINVAL;

	return r ? r : add_value(h, pattern, &v);
}

static int add_map(struct hosts *h, const struct doc_node *map, unsigned depth);

/* Of a list the earlier wins, so it is put in later. */
static int add_merged(struct hosts *h, const struct doc_item *i, unsigned depth)
{
	int r = i && depth < MERGE_DEPTH_MAX ? add_merged(h, i->next, depth + 1) : 0;

	return i && r == 0 ? add_map(h, i->value, depth + 1) : r;
}

static int add_merges(struct hosts *h, const struct doc_item *pair, unsigned depth)
{
	const char *key = pair->key->plain ? doc_text(pair->key) : NULL;

	if (!key || strcmp(key, "<<") != 0)
		return 0;
	return pair->value->kind == DOC_LIST ? add_merged(h, doc_first(pair->value), depth)
					     : add_map(h, pair->value, depth + 1);
}

/* Merged maps first: what is written out takes their place. Only a lack of memory is a failure. */
static int add_map(struct hosts *h, const struct doc_node *map, unsigned depth)
{
	const struct doc_item *pair;

	for (pair = depth < MERGE_DEPTH_MAX ? doc_pairs(map) : NULL; pair && h->steps++ < STEPS_MAX; pair = pair->next)
		if (add_merges(h, pair, depth) == -ENOMEM)
			return -ENOMEM;
	for (pair = doc_pairs(map); pair && h->steps++ < STEPS_MAX; pair = pair->next)
		if (add_pair(h, pair) == -ENOMEM)
			return -ENOMEM;
	return 0;
}

int hosts_new(struct hosts **out, struct doc *d)
{
	const struct addr loopback = { IP_V4, { 127, 0, 0, 1 } };
	struct hosts *h = calloc(1, sizeof(*h));
	struct value v = { .first = 0 };
	int r = -ENOMEM;

	if (!h)
		return -ENOMEM;
	h->patterns = domains_new();
	if (h->patterns)
		r = add_addr(h, &v, &loopback);
	r = r ? r : add_value(h, "localhost", &v);
	if (r == 0 && d)
		r = add_map(h, doc_get(d, d->root, "hosts"), 0);
	if (r < 0)
		hosts_free(h);
	else
		*out = h;
	return r;
}

void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n_values; i++)
		free(h->values[i].name);
	domains_free(h->patterns);
	free(h->values);
	free(h->addrs);
	free(h->text);
	free(h->lines);
	free(h);
}

/* ---- the system's file ---- */

static int by_name(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->name, y->name, x->len);
}

/* A dot at the end says nothing new of a name that has others. */
static size_t key_len(const char *name, size_t len)
{
	return len > 1 && name[len - 1] == '.' && memchr(name, '.', len - 1) ? len - 1 : len;
}

static int add_line(struct hosts *h, char *line)
{
	char *rest, *word;
	struct addr a;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, " \r\t", &rest);
	if (!word || addr_parse(word, &a) < 0)
		return 0;
	while ((word = strtok_r(NULL, " \r\t", &rest))) {
		if (grow(&h->lines, h->n_lines, &h->cap_lines, sizeof(*h->lines)) < 0)
			return -ENOMEM;
		h->lines[h->n_lines++] = (struct line){ word, key_len(word, strlen(word)), a };
	}
	return 0;
}

int hosts_add_system(struct hosts *h, const char *bytes, size_t len)
{
	int r = 0;

	h->text = malloc(len + 1);
	if (!h->text)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		h->text[i] = (char)(bytes[i] ? tolower((unsigned char)bytes[i]) : '?');
	h->text[len] = '\0';
	for (char *line = h->text, *next; line && r == 0; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		r = add_line(h, line);
	}
	if (h->n_lines > 0)
		qsort(h->lines, h->n_lines, sizeof(*h->lines), by_name);
	return r;
}

/* ---- look-up ---- */

struct answer {
	struct addr *out;
	size_t n, max;
	uint8_t families;
};

static void take(struct answer *an, const struct addr *a)
{
	if (an->n < an->max && (an->families >> a->family & 1))
		an->out[an->n++] = *a;
}

static const struct value *find_value(const struct hosts *h, const char *name)
{
	const struct value *v = NULL;
	uint32_t index;

	for (unsigned i = 0; i < REDIRECTS_MAX && domains_find(h->patterns, name, &index); i++) {
		v = &h->values[index];
		if (!v->name)
			return v;
		name = v->name;
	}
	return v;
}

static bool find_lines(const struct hosts *h, const char *name, struct answer *an)
{
	char lower[256];
	const struct line key = { lower, key_len(name, strlen(name)), { 0 } };
	const struct line *l;

	if (key.len >= sizeof(lower) || h->n_lines == 0)
		return false;
	for (size_t i = 0; i < key.len; i++)
		lower[i] = (char)tolower((unsigned char)name[i]);
	l = bsearch(&key, h->lines, h->n_lines, sizeof(*l), by_name);
	if (!l)
		return false;
	while (l > h->lines && by_name(l - 1, &key) == 0)
		l--;
	for (; l < h->lines + h->n_lines && by_name(l, &key) == 0; l++)
		take(an, &l->addr);
	return true;
}

int hosts_find(const struct hosts *h, const char *name, uint8_t families, struct addr *out, size_t max)
{
	struct answer an = { .out = out, .max = max, .families = families };
	const struct value *v = find_value(h, name);

	if (v ? v->name != NULL : !find_lines(h, name, &an))
		return -ENOENT; /* a name that is no name of ours stands for nothing, and nothing else is looked into */
	for (size_t i = 0; v && i < v->n; i++)
		take(&an, &h->addrs[v->first + i]);
	if (an.n == 0 && families != BOTH_FAMILIES)
		return -ENOENT; /* Mihomo goes on where it wants one family and finds the other */
	return (int)an.n;
}
