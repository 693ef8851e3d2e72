/*
 * domains: patterns of names, each with a number, and the one that a name
 * matches, as Mihomo's domain trie has them (Mihomo 1.19.30: component/trie):
 *
 *	a.example	this name
 *	*.example	one label in this place; it may stand anywhere
 *	.example	everything below, at any depth
 *	+.example	that, and the name itself
 *
 * From the right, label by label: the label itself before '*' before the name's
 * nearest dot pattern. ASCII letters are compared without case. Pure: no I/O.
 */
#ifndef FEED_DOMAINS_H
#define FEED_DOMAINS_H

#include <stdbool.h>
#include <stdint.h>

#define DOMAINS_LABELS_MAX (1u << 19) /* of all patterns together */

struct domains;

struct domains *domains_new(void);    /* NULL = out of memory */
void domains_free(struct domains *d); /* NULL-safe */

/* The last of equal patterns counts. -EINVAL for what is no pattern, -ENOSPC, -ENOMEM. */
int domains_add(struct domains *d, const char *pattern, uint32_t value);

/* False without a match. A name with a dot at its end matches nothing, as in Mihomo. */
bool domains_find(const struct domains *d, const char *name, uint32_t *value_out);

#endif
