/*
 * choice: which backend makes the rules, and why: from the setting and from
 * what sys/ability has found that each could do here. Pure.
 */
#ifndef CLASHSUP_CHOICE_H
#define CLASHSUP_CHOICE_H

#include <stdbool.h>

#include "clashsup/addr.h"
#include "clashsup/fwplan.h"

#define ABILITY_WHY 160
#define CHOICE_WHY 384

/* What one backend can do for one family. All false: it was not asked. */
struct ability_part {
	bool asked;
	bool ok;
	bool absent;	       /* not ok, and no backend can change that: no IPv6 here, or ipv4/ipv6 = no */
	bool again;	       /* not ok for now (a lock is held, no memory): ask again in a while */
	unsigned lacks;	       /* FW_LACKS_*; ok without FW_LACKS_CONNTRACK only */
	char why[ABILITY_WHY]; /* not ok: the reason; lacks: what is lacking; else "" */
};

struct ability {
	struct ability_part part[FW_BACKENDS][IP_FAMILIES];
	bool ipset;	  /* sets of all types that we need; asked for unless the setting is nft */
	char variant[16]; /* of plain iptables: "nf_tables" or "legacy"; "" when not known */
};

/* The setting [tproxy] backend, in the order in which the man page names the words. */
enum choice_setting { CHOICE_AUTO, CHOICE_IPTABLES, CHOICE_NFT, CHOICE_SCRIPT };

struct choice {
	bool found;
	bool again;		  /* not found for now: ask again in a while */
	enum fw_backend backend;  /* when found */
	bool family[IP_FAMILIES]; /* that it works for; one at least when found */
	unsigned lacks[IP_FAMILIES];
	char why[CHOICE_WHY]; /* "auto: iptables (nf_tables variant) with ipset works for IPv4 and IPv6" */
};

/* Does iptables do everything for every family that is there? If not, `auto` asks nft too. */
bool choice_iptables_whole(const struct ability *a);

/*
 * auto takes iptables when it is whole; else nft, where that works for more
 * families, or for as many and lacks less; else iptables. Never the script.
 */
void choice_make(enum choice_setting setting, const struct ability *a, struct choice *out);

/* For status: "ok", "ok, without …", "IPv4 only: …", a reason, or "not needed" when it was not asked. Returns `buf`. */
const char *choice_backend_text(const struct ability *a, enum fw_backend b, char buf[CHOICE_WHY]);

#endif
