/*
 * ability: what iptables, nft and the script can do on this kernel, per family:
 * asked by doing it, on a scratch chain that nothing leads to.
 *
 * iptables  one restore of CLASH_PROBE with every match and target of the plan,
 *           put in and taken out by the same process; only when it fails, one
 *           small restore a feature tells which is lacking. Its sets
 *           (clash_probe and clash_probe6) are gone when the answer comes.
 * nft       the same with `nft -c -f -`, which leaves nothing: the kernel makes
 *           every expression, loads modules for it, and drops the transaction
 *           (tried: an expression that this kernel was built without is refused).
 *
 * A backend is asked only when the setting may choose it, since asking loads
 * modules; `auto` asks nft only when iptables is not whole. Families and
 * backends are asked side by side; nothing blocks; each job ends within 5 s.
 *
 * Not beside a firewall operation: a sweep takes CLASH_PROBE and the sets for
 * leftovers of a run that was killed, which is what their names are for.
 */
#ifndef CLASHSUP_ABILITY_H
#define CLASHSUP_ABILITY_H

#include <stdbool.h>

#include "clashsup/choice.h"
#include "clashsup/job.h"

#define ABILITY_CHAIN FWPLAN_CHAIN_PROBE
#define ABILITY_SET "clash_probe"      /* and clash_probe6 */
#define ABILITY_TABLE "clashsup_probe" /* nft, inet: never really there */

struct ability_run;

struct ability_ask {
	enum choice_setting setting;
	bool family[IP_FAMILIES]; /* false for ipv4 = no, ipv6 = no */
	/*
	 * FW_LACKS_* of what the settings do without, which is then not asked and
	 * never counts against a backend: OWNER without `local`, NAT without dns,
	 * REJECT without CLOSED and FAKE, MAC without lists of MAC addresses. Many
	 * kernels have no hash:mac, and asking for NAT makes tables that would slow
	 * down a machine without NAT.
	 */
	unsigned skip;
	const char *script; /* for CHOICE_SCRIPT; "" or NULL = not set */
};

typedef void (*ability_done_fn)(void *ctx, const struct ability *found);

/* 0 and `done` is called once, from the loop; *out is valid until then. Or -errno and nothing was started. */
int ability_probe(struct ability_run **out, struct reaper *r, const struct ability_ask *ask, ability_done_fn done,
		  void *ctx, struct err *e);

/* Kills the jobs and forgets the owner: `done` is not called. The chain may stay, for the next sweep. NULL-safe. */
void ability_abandon(struct ability_run *run);

#endif
