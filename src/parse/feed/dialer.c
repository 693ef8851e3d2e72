#include "parse/feed/dialer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIRECT_MAX 256
#define GROUPS_DEPTH_MAX 8
#define STEPS_MAX (1u << 22) /* groups may share a long list by an alias */

struct group {
	const char *name;
	const struct doc_item *members;
	bool direct;
};

struct dialers {
	char *direct[DIRECT_MAX]; /* sorted behind all entries */
	size_t n_direct;
	struct group *groups; /* sorted by name */
	size_t n;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

static const struct group *find(const struct dialers *d, const char *name)
{
	const struct group key = { .name = name };

	return d && d->n ? bsearch(&key, d->groups, d->n, sizeof(key), by_name) : NULL;
}

/* GLOBAL holds everything, unless the config has its own (Mihomo 1.19.30: config/config.go, parseProxies). */
bool dialers_direct(const struct dialers *d, const char *name)
{
	const struct group *g;

	if (!name[0] || strcmp(name, "DIRECT") == 0 || strcmp(name, "COMPATIBLE") == 0)
		return true;
	if (d && bsearch(&name, d->direct, d->n_direct, sizeof(d->direct[0]), by_text))
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

struct dialers *dialers_new(void)
{
	return calloc(1, sizeof(struct dialers));
}

void dialers_entry(void *dialers, struct doc *doc, struct doc_node *entry)
{
	const char *type = doc_text(doc_get(doc, entry, "type")), *name = doc_text(doc_get(doc, entry, "name"));
	struct dialers *d = dialers;

	if (d->n_direct == DIRECT_MAX || !type || !name || strcmp(type, "direct") != 0)
		return;
	d->direct[d->n_direct] = strdup(name);
	d->n_direct += d->direct[d->n_direct] != NULL;
}

int dialers_groups(struct dialers *d, struct doc *config)
{
	const struct doc_node *list = doc_get(config, config->root, "proxy-groups");
	unsigned steps = STEPS_MAX;

	qsort(d->direct, d->n_direct, sizeof(d->direct[0]), by_text);
	if (!list || list->kind != DOC_LIST || !list->first)
		return 0;
	d->groups = calloc(list->len, sizeof(d->groups[0]));
	if (!d->groups)
		return -ENOMEM;
	for (const struct doc_item *i = list->first; i; i = i->next) {
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
	for (size_t i = 0; d && i < d->n_direct; i++)
		free(d->direct[i]);
	if (d)
		free(d->groups);
	free(d);
}
