/*
 * firewall: puts one family's plan into the kernel and takes ours out again, as
 * jobs of iptables-restore and iptables-save (both families side by side).
 * One operation at a time; the variant is that of plain `iptables` on PATH.
 */
#ifndef CLASHSUP_FIREWALL_H
#define CLASHSUP_FIREWALL_H

#include <stdbool.h>

#include "clashsup/fwplan.h"
#include "clashsup/job.h"

struct firewall;

/* Per family 0 or -errno, with the sentence in err[family]. */
struct firewall_result {
	int family[IP_FAMILIES];
	struct err err[IP_FAMILIES];
	bool aborted;
};

typedef void (*firewall_done_fn)(void *ctx, const struct firewall_result *result);

int firewall_new(struct firewall **out, struct reaper *r, struct err *e);
void firewall_free(struct firewall *f); /* NULL-safe; abandons what runs */

/* Applies to the families that are true. -EBUSY when an operation runs. */
int firewall_apply(struct firewall *f, const struct fwplan_params *params, const bool family[IP_FAMILIES],
		   firewall_done_fn done, void *ctx, struct err *e);

/*
 * Removes all that is ours from both families of the present variant, or with
 * `every_variant` also from the other one (legacy, nft) if its tables are in
 * use already: modules are never loaded to look. Nothing there is success.
 */
int firewall_remove(struct firewall *f, bool every_variant, firewall_done_fn done, void *ctx, struct err *e);

/* Kills the running jobs; `done` is called with aborted = true when they are reaped. */
void firewall_abort(struct firewall *f);

bool firewall_busy(const struct firewall *f);

#endif
