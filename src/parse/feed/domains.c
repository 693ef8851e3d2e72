#include "parse/feed/domains.h"

#include <ctype.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define NAME_MAX_LEN 255
/* '*' makes a look-up try two ways at a label: what one may cost is bounded. */
#define STEPS_MAX 4096

struct label {
	uint32_t parent, id; /* of labels; the root has 0 */
	uint32_t value;
	bool set; /* a pattern ends here */
	size_t len;
	const char *text;
	char own[];
};

struct domains {
	void *tree; /* of tsearch(3), which is balanced whatever is put in */
	uint32_t n;
};

static int by_place(const void *a, const void *b)
{
	const struct label *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->text, y->text, x->len);
}

static struct label *child(const struct domains *d, uint32_t parent, const char *text, size_t len)
{
	const struct label key = { .parent = parent, .text = text, .len = len };
	struct label *const *found = tfind(&key, &d->tree, by_place);

	return found ? *found : NULL;
}

/* A label must be whole when it is special, and only the first may be empty or '+'. */
static bool label_ok(const char *text, size_t len, bool first, bool only)
{
	if (len == 0)
		return first && !only;
	if (memchr(text, '+', len))
		return len == 1 && first && !only;
	return len == 1 || !memchr(text, '*', len);
}

/* Lower case; the length, or -1 for what the trie takes neither as a pattern nor as a name. */
static ssize_t normalize(const char *text, char out[NAME_MAX_LEN + 1])
{
	size_t len = strlen(text);

	if (len == 0 || len > NAME_MAX_LEN || isspace((unsigned char)text[0]) || isspace((unsigned char)text[len - 1]))
		return -1;
	for (size_t i = 0; i <= len; i++)
		out[i] = (char)tolower((unsigned char)text[i]);
	for (size_t from = 0, n; from <= len; from += n + 1) {
		n = strcspn(out + from, ".");
		if (!label_ok(out + from, n, from == 0, n == len))
			return -1;
	}
	return (ssize_t)len;
}

/* Where the last label of the first `len` bytes begins. */
static ssize_t last_label(const char *name, ssize_t len)
{
	while (len > 0 && name[len - 1] != '.')
		len--;
	return len;
}

static struct label *add_label(struct domains *d, uint32_t parent, const char *text, size_t len)
{
	struct label *l = child(d, parent, text, len);

	if (l || d->n == DOMAINS_LABELS_MAX)
		return l;
	l = calloc(1, sizeof(*l) + len);
	if (!l)
		return NULL;
	memcpy(l->own, text, len);
	*l = (struct label){ .parent = parent, .id = d->n + 1, .len = len, .text = l->own };
	if (!tsearch(l, &d->tree, by_place)) {
		free(l);
		return NULL;
	}
	d->n++;
	return l;
}

static int add_path(struct domains *d, const char *pattern, ssize_t len, uint32_t value)
{
	struct label *l = NULL;
	ssize_t start;

	do {
		start = last_label(pattern, len);
		l = add_label(d, l ? l->id : 0, pattern + start, (size_t)(len - start));
		if (!l)
			return d->n == DOMAINS_LABELS_MAX ? -ENOSPC : -ENOMEM;
		len = start - 1;
	} while (len >= 0);
	l->value = value;
	l->set = true;
	return 0;
}

int domains_add(struct domains *d, const char *pattern, uint32_t value)
{
	char name[NAME_MAX_LEN + 1];
	ssize_t len = normalize(pattern, name);
	int r;

	if (len < 0)
		return -EINVAL;
	if (name[0] != '+')
		return add_path(d, name, len, value);
	r = add_path(d, name + 1, len - 1, value); /* ".example" */
	return r ? r : add_path(d, name + 2, len - 2, value);
}

struct walk {
	const struct domains *d;
	const char *name;
	unsigned steps;
};

static const struct label *search(struct walk *w, const struct label *at, ssize_t len)
{
	ssize_t start = last_label(w->name, len);
	uint32_t id = at ? at->id : 0;
	const struct label *way, *found;

	if (len < 0 || w->steps == STEPS_MAX)
		return len < 0 ? at : NULL;
	w->steps++;
	way = child(w->d, id, w->name + start, (size_t)(len - start));
	found = way ? search(w, way, start - 1) : NULL;
	if (found && found->set)
		return found;
	way = child(w->d, id, "*", 1);
	found = way ? search(w, way, start - 1) : NULL;
	return found && found->set ? found : child(w->d, id, "", 0);
}

bool domains_find(const struct domains *d, const char *name, uint32_t *value_out)
{
	char lower[NAME_MAX_LEN + 1];
	struct walk w = { .d = d, .name = lower };
	ssize_t len = normalize(name, lower);
	const struct label *l = len > 0 && lower[0] != '.' ? search(&w, NULL, len) : NULL;

	if (!l || !l->set)
		return false;
	*value_out = l->value;
	return true;
}

struct domains *domains_new(void)
{
	return calloc(1, sizeof(struct domains));
}

void domains_free(struct domains *d)
{
	if (!d)
		return;
	tdestroy(d->tree, free);
	free(d);
}
