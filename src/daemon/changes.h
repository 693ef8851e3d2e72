/*
 * changes: addresses on their way into and out of the kernel's server sets, in
 * order, IPSET_BATCH at a time.
 */
#ifndef DAEMON_CHANGES_H
#define DAEMON_CHANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/ipset.h"

struct change {
	struct addr addr;
	bool enters;
};

struct changes {
	struct change *list;
	size_t n, cap, at; /* at: the next one */
	bool lost;	   /* one did not get into the sets: what is known has to be fed again */
};

void changes_put(struct changes *c, const struct addr *a, bool enters);
bool changes_left(const struct changes *c);

/* What brings one family's batch into the kernel: net_change_servers, or a test's own. */
typedef int (*change_fn)(void *ctx, enum ip_family family, const struct addr *add, size_t n_add, const struct addr *del,
			 size_t n_del, struct err *e);

/* One batch goes into the sets of both families. False when there was none. */
bool changes_flush(struct changes *c, change_fn change, void *ctx);

/* Forgets what is left, and gives the memory back. */
void changes_clear(struct changes *c);

#endif
