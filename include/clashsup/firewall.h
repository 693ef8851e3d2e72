/*
 * firewall: puts the plan's rules into the kernel, takes ours out again, and
 * looks at them, by one of three backends: iptables (jobs of iptables-save and
 * iptables-restore, both families side by side; the variant is that of plain
 * `iptables` on PATH), nft (one job for both families), script (the user's).
 *
 * One operation at a time, looking and counting too: -EBUSY else. Each ends
 * with one call of `done`, from the loop, never from the caller's own stack.
 * Jobs have 10 s, and 5 s for the lock of iptables.
 */
#ifndef CLASHSUP_FIREWALL_H
#define CLASHSUP_FIREWALL_H

#include <stdbool.h>

#include "clashsup/fwplan.h"
#include "clashsup/job.h"

struct firewall;

/*
 * The script of backend FW_SCRIPT, run as `path apply` and `path remove`; borrowed for good. Its environment is
 * made of each operation's params (script_env.h) and the routing table, which is in none of them.
 */
struct firewall_script {
	const char *path;
	uint32_t table;
};

/* Per family 0 or -errno, with the sentence in err[family]. */
struct firewall_result {
	int family[IP_FAMILIES];
	struct err err[IP_FAMILIES];
	bool aborted;
};

typedef void (*firewall_done_fn)(void *ctx, const struct firewall_result *result);
typedef void (*firewall_look_fn)(void *ctx, const struct firewall_result *result,
				 const struct fw_view view[IP_FAMILIES]);
typedef void (*firewall_count_fn)(void *ctx, const struct firewall_result *result, const struct fw_counters *counters);

/* `script` may be NULL. */
int firewall_new(struct firewall **out, struct reaper *r, const struct firewall_script *script, struct err *e);
void firewall_free(struct firewall *f); /* NULL-safe; abandons what runs */

/*
 * Leaves exactly `parts` of the plan in the kernel for the families that are
 * true, and nothing of ours for the others, as far as this backend's rules go:
 * in one transaction a family and table (nft: one for all), never with a moment
 * without the rules. parts = 0 takes everything out. `params` and all that it
 * points to is borrowed until `done`.
 *
 * iptables: where our own last operation left nothing, this is one job a family;
 * else iptables-save goes before it. A family whose first rules were refused is
 * left with nothing. nft: both families get the same code; with input_accept, CLASH_INPUT goes through iptables
 * behind it (and out with it), and where iptables cannot do that it is left out without an error.
 */
int firewall_apply(struct firewall *f, enum fw_backend backend, const struct fwplan_params *params, unsigned parts,
		   const bool family[IP_FAMILIES], firewall_done_fn done, void *ctx, struct err *e);

/*
 * As firewall_apply, and takes ours out of every other backend and variant
 * (legacy and nft iptables, nft) where they are in use already: no module is
 * loaded to look. The first operation of a life.
 */
int firewall_sweep(struct firewall *f, enum fw_backend present, const struct fwplan_params *params, unsigned parts,
		   const bool family[IP_FAMILIES], firewall_done_fn done, void *ctx, struct err *e);

/* What of ours is there. A view counts where result->family is 0; nft gives the same one for both families. */
int firewall_look(struct firewall *f, enum fw_backend backend, firewall_look_fn done, void *ctx, struct err *e);

/* A program that was executed before us in our process may have put in CLASH_INPUT: the next operation looks. */
void firewall_resume(struct firewall *f);

/* Did the last apply of nft put CLASH_INPUT in for this family? */
bool firewall_input_made(const struct firewall *f, enum ip_family family);

/* Packets, summed over both families. */
int firewall_count(struct firewall *f, enum fw_backend backend, firewall_count_fn done, void *ctx, struct err *e);

/* Kills the running jobs; `done` is called with aborted = true when they are reaped. */
void firewall_abort(struct firewall *f);

bool firewall_busy(const struct firewall *f);

#endif
