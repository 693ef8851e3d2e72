#include "parse/feed/dialer.h"

#include <string.h>

#define GROUPS_DEPTH_MAX 8
#define STEPS_MAX 10000

struct search {
	struct doc *config;
	unsigned steps; /* left: groups may name each other many times over */
};

static bool leads_to_direct(struct search *s, const char *name, unsigned depth);

static bool group_may_be_direct(struct search *s, struct doc_node *group, unsigned depth)
{
	for (const struct doc_item *i = doc_first(doc_find(s->config, group, "proxies")); i && s->steps; i = i->next) {
		s->steps--;
		if (doc_text(i->value) && leads_to_direct(s, doc_text(i->value), depth + 1))
			return true;
	}
	return false;
}

static bool leads_to_direct(struct search *s, const char *name, unsigned depth)
{
	const struct doc_item *i;

	if (strcmp(name, "DIRECT") == 0)
		return true;
	if (depth == GROUPS_DEPTH_MAX)
		return false;
	for (i = doc_first(doc_get(s->config, s->config->root, "proxy-groups")); i && s->steps; i = i->next) {
		const char *group = doc_text(doc_find(s->config, i->value, "name"));

		s->steps--;
		if (group && strcmp(group, name) == 0)
			return group_may_be_direct(s, i->value, depth);
	}
	return false;
}

bool dialer_is_direct(struct doc *config, const char *name)
{
	struct search s = { config, STEPS_MAX };

	if (!name[0] || strcmp(name, "DIRECT") == 0)
		return true;
	return config && leads_to_direct(&s, name, 0);
}
