#include "parse/feed/dialer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_DEPTH_MAX 8
#define STEPS_MAX (1u << 22) /* groups may share a long list by an alias */

struct group {
	const char *name;
	const struct doc_item *members;
	bool direct;
};

struct dialers {
	size_t n;
	struct group groups[]; /* sorted by name */
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

static const struct group *find(const struct dialers *d, const char *name)
{
	const struct group key = { .name = name };

	return d ? bsearch(&key, d->groups, d->n, sizeof(key), by_name) : NULL;
}

/* GLOBAL holds everything, unless the config has its own (Mihomo 1.19.30: config/config.go, parseProxies). */
bool dialers_direct(const struct dialers *d, const char *name)
{
	const struct group *g;

	if (!name[0] || strcmp(name, "DIRECT") == 0 || strcmp(name, "COMPATIBLE") == 0)
		return true;
	g = find(d, name);
	return g ? g->direct : strcmp(name, "GLOBAL") == 0;
}

static bool may_be_direct(const struct dialers *d, const struct group *g, unsigned *steps)
{
	for (const struct doc_item *i = g->members; i && *steps; i = i->next, --*steps)
		if (doc_text(i->value) && doc_text(i->value)[0] && dialers_direct(d, doc_text(i->value)))
			return true;
	return false;
}

int dialers_new(struct dialers **out, struct doc *config)
{
	const struct doc_node *list = config ? doc_get(config, config->root, "proxy-groups") : NULL;
	unsigned steps = STEPS_MAX;
	const struct doc_item *first = list && list->kind == DOC_LIST ? list->first : NULL;
	struct dialers *d = calloc(1, sizeof(*d) + (first ? list->len : 0) * sizeof(d->groups[0]));

	*out = d;
	if (!d)
		return -ENOMEM;
	for (const struct doc_item *i = first; i; i = i->next) {
		const char *name = doc_text(doc_find(config, i->value, "name"));

		if (name)
			d->groups[d->n++] =
				(struct group){ name, doc_first(doc_find(config, i->value, "proxies")), false };
	}
	if (d->n > 0)
		qsort(d->groups, d->n, sizeof(d->groups[0]), by_name);
	for (int depth = 0; depth < GROUPS_DEPTH_MAX; depth++)
		for (size_t i = 0; i < d->n; i++)
			d->groups[i].direct = d->groups[i].direct || may_be_direct(d, &d->groups[i], &steps);
	return 0;
}

void dialers_free(struct dialers *d)
{
	free(d);
}
