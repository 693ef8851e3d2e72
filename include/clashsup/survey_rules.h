/*
 * survey_rules: what the packet filter rules of others mean for us. Pure:
 * listings in, a few facts out.
 *
 * The question behind most of them: what becomes of an ordinary new connection
 * of the LAN, direct (FORWARD) or intercepted (INPUT)? It is followed through
 * the chains; a rule that only some of them match counts for "perhaps". All that
 * carries our names (CLASH_*, table clashsup) is left out.
 */
#ifndef CLASHSUP_SURVEY_RULES_H
#define CLASHSUP_SURVEY_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/selection.h"

#define SURVEY_LISTING_MAX ((size_t)4 * 1024 * 1024)
#define SURVEY_TEXT 200
#define SURVEY_COMMAND 300
#define SURVEY_RULES_MAX 8    /* foreign rules that are told */
#define SURVEY_PROGRAMS_MAX 8 /* programs that are told */

/* A program known by the names of its chains or tables. */
struct survey_program {
	const char *name;
	bool proxy; /* a transparent proxy as we are one; else a firewall */
};

/* Somebody else's rule, route or alike, and what deletes it. */
struct survey_rule {
	char text[SURVEY_TEXT];
	char command[SURVEY_COMMAND];
	const char *program; /* NULL = not known */
	bool same;	     /* of a routing rule or route: it does just what ours does */
};

/* What the base chains of one hook do with it. */
struct survey_hook {
	bool closed;	/* one refuses it and has no rule that lets it pass */
	bool refuses;	/* one of iptables' may refuse some of it */
	bool nft;	/* closed by a chain of nft's own, which no rule of iptables can open */
	char where[96]; /* "FORWARD of iptables, policy DROP" */
	char open[96];	/* the beginning of a command that opens it: "iptables -w -I FORWARD" */
};

struct survey_family {
	struct survey_hook forward, input;
	bool masquerade;	  /* something hides the LAN's addresses */
	char dns_by[SURVEY_TEXT]; /* the rule that redirects port 53, "" = none */
};

struct survey_rules {
	struct survey_family family[IP_FAMILIES];
	struct survey_rule foreign[SURVEY_RULES_MAX]; /* lead traffic to our port */
	size_t n_foreign, more_foreign;
	struct survey_program programs[SURVEY_PROGRAMS_MAX];
	size_t n_programs;
	bool ours; /* rules of ours are there */

	bool nft_variant[IP_FAMILIES]; /* iptables-save speaks nft: its tables are not looked at again by survey_nft */
	unsigned tables[IP_FAMILIES];  /* those that it listed */
};

/* Borrowed for the call. */
struct survey_view {
	uint16_t port;			     /* of Mihomo's TPROXY listener */
	const struct iface_list *lan_ifaces; /* by name; empty or NULL: all that are no container's */
	const struct addr_net *lan;	     /* the LAN's networks; none: any */
	size_t n_lan;
};

/*
 * Adds what the output of `iptables-save` says (all tables), or its IPv6 twin.
 * `tool` is what deletes a rule: "iptables", "ip6tables-legacy", …
 * 0, -EFBIG or -ENOMEM. Lines that it does not understand are skipped.
 */
int survey_iptables(const char *listing, size_t len, enum ip_family family, const char *tool,
		    const struct survey_view *view, struct survey_rules *rules, struct err *e);

/*
 * Adds what `nft -j -t list ruleset` says (of nft 1.0.6, whose rules have their
 * handles in JSON without -a), behind the calls of survey_iptables. 0, -EFBIG
 * for too large or too deep, -EINVAL for no JSON, -ENOMEM.
 */
int survey_nft(const char *listing, size_t len, const struct survey_view *view, struct survey_rules *rules,
	       struct err *e);

/* The machine's own side of containers and virtual machines, by its name: docker0, br-0123456789ab, veth1, … */
bool survey_is_container(const char *iface);

/* Whose chain or table that is; NULL when unknown. Either name may be NULL. */
const struct survey_program *survey_program_of(const char *table, const char *chain);

#endif
