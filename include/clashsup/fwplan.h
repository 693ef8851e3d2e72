/*
 * fwplan: parameters in, the whole plan of our rules out, as data and as the
 * text of a backend. Pure: no kernel, no clock; memory only for the texts.
 *
 *	parameters -> ordered rules and sets (one table for both backends)
 *	           -> text for iptables-restore (a family each) or nft -f (both in one)
 *
 * The rules are those of docs/decisions/0002-rules.md and 0005-traffic.md:
 * selection happens once, on a connection's first packet; the core's gid, the
 * server set, the reply direction and the port itself are guarded; everything
 * hangs on the lease set, so emptying that set (or letting it expire) sends all
 * traffic direct.
 */
#ifndef CLASHSUP_FWPLAN_H
#define CLASHSUP_FWPLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/selection.h"

#define FWPLAN_SET_NAME_MAX 27	/* ipset allows 31; the longest suffix of ours takes the rest */
#define FWPLAN_SET_TEXT 36	/* room for a set's name with suffix and NUL */
#define FWPLAN_TABLE "clashsup" /* nft: inet */

/* Names in the kernel; all that we ever make carries one of them. */
#define FWPLAN_CHAIN "CLASH_TPROXY"
#define FWPLAN_CHAIN_OUT "CLASH_TPROXY_OUT"
#define FWPLAN_CHAIN_SELECT "CLASH_SELECT"
#define FWPLAN_CHAIN_DIVERT "CLASH_DIVERT"
#define FWPLAN_CHAIN_INPUT "CLASH_INPUT"   /* filter INPUT: lets our mark in */
#define FWPLAN_CHAIN_CLOSED "CLASH_CLOSED" /* filter FORWARD: on_death = closed */
#define FWPLAN_CHAIN_FAKE "CLASH_FAKE"	   /* filter FORWARD: refuses stale fake-ip addresses */
#define FWPLAN_CHAIN_DNS "CLASH_DNS"	   /* nat PREROUTING */
#define FWPLAN_CHAIN_DNS_OUT "CLASH_DNS_OUT"
#define FWPLAN_CHAIN_DNS_SNAT "CLASH_DNS_SNAT"
#define FWPLAN_CHAIN_PROBE "CLASH_PROBE" /* mangle, nat, filter: what ability asks with; taken out, never put in */
#define FWPLAN_LEASE_SET "clash_lease"	 /* + "6" for IPv6, as all sets with addresses */
#define FWPLAN_RESERVED_SET "clash_reserved"

enum fw_backend { FW_IPTABLES, FW_NFT, FW_SCRIPT, FW_BACKENDS };
const char *fw_backend_name(enum fw_backend b); /* "iptables", "nft", "script" */

/* What a text is to put in. Whatever else of ours is in the kernel, it takes out. */
#define FWPLAN_ARMED 1u	   /* interception: while Mihomo serves */
#define FWPLAN_STANDING 2u /* dns, refusal of fake-ip, closed: over deaths, until a clean stop */
#define FWPLAN_INPUT 4u	   /* CLASH_INPUT alone, beside the nft table; iptables: ARMED has it */

/* What a kernel cannot do, by family; found by sys/ability. */
#define FW_LACKS_SOCKET 1u    /* no socket match: running TCP is found by its conntrack mark instead */
#define FW_LACKS_OWNER 2u     /* no owner match: the machine's own traffic is left out, as with local = no */
#define FW_LACKS_CONNTRACK 4u /* no conntrack: neither marks nor directions; nothing can be done without it */
#define FW_LACKS_NAT 8u	      /* no REDIRECT or DNAT: no dns */
#define FW_LACKS_REJECT 16u   /* no REJECT: DROP instead */
#define FW_LACKS_MAC 32u      /* no look-up of MAC addresses */

struct fwplan_params {
	const char *server_set; /* IPv4 name; IPv6 is this + "6" */
	uint16_t port;
	uint32_t mark;
	uint32_t core_gid;
	const uint32_t *routing_marks; /* of Mihomo's config: such packets are its own; 0 in it is skipped */
	size_t n_routing_marks;
	bool local;			   /* the machine's own traffic too */
	bool servers_output_only;	   /* [ipset] scope = output: LAN clients may reach servers through the proxy */
	const struct selection *selection; /* NULL: all defaults */
	const struct net_list *fake;	   /* fake-ip ranges: proxied even inside the reserved networks; may be NULL */
	const struct net_list *lan;	   /* on-link prefixes of the LAN: never proxied; may be NULL */
	bool input_accept;		   /* CLASH_INPUT (part ARMED) */
	bool closed;			   /* CLASH_CLOSED (part STANDING) */
	bool refuse_fake;		   /* CLASH_FAKE (part STANDING), needs `fake` */
	struct {
		bool on;       /* redirect port 53 while the lease is on (part STANDING) */
		uint16_t port; /* of Mihomo's DNS on a wildcard address */
		bool has_fallback[IP_FAMILIES];
		struct addr fallback[IP_FAMILIES]; /* for queries addressed to the router without a lease */
	} dns;
	unsigned lacks[IP_FAMILIES];	 /* FW_LACKS_* */
	bool standing_only[IP_FAMILIES]; /* nothing of the part ARMED for this family */

	/* nft replaces its whole table in one step: what is in the sets that live goes with the text. */
	bool lease_on[IP_FAMILIES];
	const struct addr *servers; /* both families */
	size_t n_servers;
};

/* ---- sets ---- */

enum fw_set {
	FWSET_SERVERS,	 /* hash:ip; filled by others (servers) */
	FWSET_LEASE,	 /* filled by lease */
	FWSET_RESERVED,	 /* absent with proxy_cidrs */
	FWSET_WANT,	 /* clash_dst: proxy_cidrs and the fake-ip ranges */
	FWSET_FAKE,	 /* clash_fake */
	FWSET_INSIDE,	 /* clash_inside: private networks, whose queries dns takes where no lan_ifaces are named */
	FWSET_LAN,	 /* clash_lan: always there, may be empty */
	FWSET_SKIP_DST,	 /* clash_dst_skip */
	FWSET_SKIP_SRC,	 /* clash_src_skip */
	FWSET_ONLY_SRC,	 /* clash_src */
	FWSET_SKIP_MAC,	 /* clash_mac_skip: one for both families (as are the next two), told for each of them */
	FWSET_ONLY_MAC,	 /* clash_mac */
	FWSET_SKIP_PORT, /* clash_port_skip: bitmap:port */
	FW_SETS
};

/* Does this plan use the set? (FWSET_SERVERS, FWSET_LEASE and FWSET_LAN: always.) */
bool fwplan_has_set(const struct fwplan_params *p, enum ip_family family, enum fw_set set);

/* The kernel's name of a set: `server_set` or ours, with 6 behind it for IPv6. Returns `buf`. */
const char *fwplan_set(const struct fwplan_params *p, enum ip_family family, enum fw_set set,
		       char buf[FWPLAN_SET_TEXT]);

/* Is it one set for both families, of one name? To make, fill or destroy such a one twice does no harm. */
bool fwplan_set_is_shared(enum fw_set set);

/* The name of a family's set: BASE, or BASE with a 6 behind it. Returns `buf`. */
const char *fwplan_set_name(const char *base, enum ip_family family, char buf[FWPLAN_SET_TEXT]);

/* What ipset create takes: "hash:net family inet maxelem 131072". */
const char *fwplan_set_type(enum ip_family family, enum fw_set set);

/*
 * The fixed elements of a set in ipset's spelling ("10.0.0.0/8", "aa:bb:…", "22", "1000-2000"; no /0: two halves
 * instead), one call each, doubles included; stops at the first result that is not 0 and returns it. SERVERS and LEASE
 * have none.
 */
typedef int (*fwplan_element_fn)(void *ctx, const char *element);
int fwplan_elements(const struct fwplan_params *p, enum ip_family family, enum fw_set set, fwplan_element_fn each,
		    void *ctx);

/* The reserved networks of a family, which are not proxied unless the user names them. */
const char *const *fwplan_reserved(enum ip_family family, size_t *n_out);

/* ---- texts: *text_out is the caller's to free ---- */

/*
 * For iptables-restore --noflush, or its IPv6 twin. `save` is what iptables-save
 * (all tables) prints now, or NULL when nothing of ours is in the kernel: what
 * of ours it shows is deleted, and `parts` are put in, in one transaction a
 * table, mangle last. parts = 0 takes everything out (`p` may be NULL). Names decide, not the
 * present configuration; a last line that was cut off is left out. Returns the
 * length, 0 when there is nothing to do (*text_out = NULL), -EINVAL for bad
 * parameters or a save that is none, -ENOMEM.
 */
int fwplan_iptables(const struct fwplan_params *p, unsigned parts, enum ip_family family, const char *save,
		    size_t save_len, char **text_out, struct err *e);

/*
 * For nft -f: replaces the table `inet clashsup` in one transaction, whether it
 * is there or not. parts = 0 deletes it (`p` may be NULL). Families that are false are left out.
 */
int fwplan_nft(const struct fwplan_params *p, unsigned parts, const bool family[IP_FAMILIES], char **text_out,
	       struct err *e);

/* ---- what the kernel shows ---- */

/* Our part of a listing: of iptables-save (all tables), or of `nft -s -t list table inet clashsup`. */
struct fw_view {
	size_t lines;	 /* 0: nothing of ours */
	size_t input;	 /* of these, the ones of CLASH_INPUT beside the nft table; firewall_look fills it */
	uint64_t digest; /* of these lines in their order, without counters and comments */
};

int fwplan_view(enum fw_backend backend, const char *listing, size_t len, struct fw_view *out, struct err *e);

/*
 * Packet counters from `iptables-save -c -t mangle`, or `nft list counters table inet clashsup`: first segments
 * of TCP (SYN) that were chosen from the LAN, and later segments that found their socket (DIVERT). UDP is in
 * neither: it has no second kind, so "some chosen, none diverted" would say nothing.
 */
struct fw_counters {
	uint64_t chosen, diverted;
};

int fwplan_counters(enum fw_backend backend, const char *listing, size_t len, struct fw_counters *out, struct err *e);

#endif
