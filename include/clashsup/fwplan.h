/*
 * fwplan: parameters in, text of one family's rules out. Pure: no kernel, no
 * allocation beyond the caller's buffer.
 *
 * The rules are those of docs/decisions/0002-rules.md: selection happens once,
 * on a connection's first packet; the core's gid, the server set, the reply
 * direction and the port itself are guarded; everything hangs on the lease set,
 * so emptying that set (or letting it expire) sends all traffic direct.
 */
#ifndef CLASHSUP_FWPLAN_H
#define CLASHSUP_FWPLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

#define FWPLAN_TEXT_MAX (32 * 1024)
#define FWPLAN_SET_NAME_MAX 27 /* ipset allows 31; the longest suffix of ours takes the rest */

/* Names in the kernel; all that we ever make carries one of them. */
#define FWPLAN_CHAIN "CLASH_TPROXY"
#define FWPLAN_CHAIN_OUT "CLASH_TPROXY_OUT"
#define FWPLAN_CHAIN_SELECT "CLASH_SELECT"
#define FWPLAN_CHAIN_DIVERT "CLASH_DIVERT"
#define FWPLAN_LEASE_SET "clash_lease" /* + "6" for IPv6, as all sets */
#define FWPLAN_RESERVED_SET "clash_reserved"

#define FWPLAN_SET_TEXT 36 /* room for a set's name with suffix and NUL */

/* The name of a family's set: BASE, or BASE with a 6 behind it. Returns `buf`. */
const char *fwplan_set_name(const char *base, enum ip_family family, char buf[FWPLAN_SET_TEXT]);

struct fwplan_params {
	const char *server_set; /* IPv4 name; IPv6 is this + "6" */
	uint16_t port;
	uint32_t mark;
	uint32_t core_gid;
	const uint32_t *routing_marks; /* of Mihomo's config: such packets are its own */
	size_t n_routing_marks;
	bool local; /* the machine's own traffic too */
};

/*
 * The text for iptables-restore --noflush (or its IPv6 twin): declares our
 * chains (which empties them), their bodies, then the two jumps. `again` says
 * that the jumps are in the kernel (made with the same `local`) and must first
 * be deleted in the same transaction. Returns the length, -ENOSPC, or -EINVAL
 * for a port or mark of 0 or a set name that ipset would not take. A routing
 * mark of 0 means none, as in Mihomo's configuration.
 */
int fwplan_restore(const struct fwplan_params *p, enum ip_family family, bool again, char *buf, size_t cap,
		   struct err *e);

/*
 * From the output of `iptables-save -t mangle`, the restore text that takes
 * out exactly what is ours: every rule that jumps to our chains, then the
 * chains. Names decide, not the present configuration. A last line that was cut
 * off is left out. Returns the length, 0 when nothing of ours is there, -ENOSPC,
 * or -EINVAL for text that is not a save.
 */
int fwplan_removal(const char *save_text, size_t len, char *buf, size_t cap, struct err *e);

/* The reserved networks of a family, which are never proxied. */
const char *const *fwplan_reserved(enum ip_family family, size_t *n_out);

#endif
