#include "daemon/changes.h"

#include <stdlib.h>

#include "clashsup/log.h"

void changes_put(struct changes *c, const struct addr *a, bool enters)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 256;
		struct change *grown = realloc(c->list, cap * sizeof(*grown));

		if (!grown) {
			log_error(LOG_PROXY_IPS, "out of memory: the set is not true until the next run");
			c->lost = true;
			return;
		}
		c->list = grown;
		c->cap = cap;
	}
	c->list[c->n++] = (struct change){ *a, enters };
}

bool changes_left(const struct changes *c)
{
	return c->at < c->n;
}

/* Those of one family out of the `n` that are next. */
static int flush_family(const struct changes *c, change_fn change, void *ctx, enum ip_family f, size_t n, struct err *e)
{
	struct addr add[IPSET_BATCH], del[IPSET_BATCH];
	size_t n_add = 0, n_del = 0;

	for (size_t i = 0; i < n; i++) {
		const struct change *one = &c->list[c->at + i];

		if (one->addr.family == f && one->enters)
			add[n_add++] = one->addr;
		else if (one->addr.family == f)
			del[n_del++] = one->addr;
	}
	if (!n_add && !n_del)
		return 0;
	return change(ctx, f, add, n_add, del, n_del, e);
}

/* How many make one batch: within it additions come first, so none may follow a deletion. */
static size_t next_batch(const struct changes *c)
{
	size_t n = 0;

	while (n < IPSET_BATCH && c->at + n < c->n &&
	       !(n && c->list[c->at + n].enters && !c->list[c->at + n - 1].enters))
		n++;
	return n;
}

bool changes_flush(struct changes *c, change_fn change, void *ctx)
{
	size_t n = next_batch(c);
	struct err e = ERR_INIT;

	for (unsigned f = 0; f < IP_FAMILIES && n > 0; f++) {
		if (flush_family(c, change, ctx, (enum ip_family)f, n, &e) < 0) {
			log_error(LOG_PROXY_IPS, "cannot update ipset (again with the next run): %s", e.msg);
			c->lost = true;
		}
	}
	c->at += n;
	return n > 0;
}

void changes_clear(struct changes *c)
{
	free(c->list);
	*c = (struct changes){ .lost = c->lost };
}
