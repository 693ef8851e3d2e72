/*
 * fwplan_rules: our chains and our rules as data, and how a backend spells
 * them. For the renderers (fwplan_iptables, fwplan_nft) and for fwplan_listing.
 */
#ifndef CLASHSUP_CORE_FWPLAN_RULES_H
#define CLASHSUP_CORE_FWPLAN_RULES_H

#include "clashsup/fwplan.h"
#include "core/text.h"

/* In the order in which they are written. */
enum fw_table { TABLE_NAT, TABLE_FILTER, TABLE_MANGLE, FW_TABLES };

/* A chain stands behind those that it leads to. */
enum fw_chain {
	CHAIN_DIVERT,
	CHAIN_SELECT,
	CHAIN_IN,
	CHAIN_OUT,
	CHAIN_INPUT,
	CHAIN_CLOSED,
	CHAIN_FAKE,
	CHAIN_DNS,
	CHAIN_DNS_OUT,
	CHAIN_DNS_SNAT,
	CHAIN_PROBE_NAT, /* of no part: leftovers */
	CHAIN_PROBE_FILTER,
	CHAIN_PROBE_MANGLE,
	FW_CHAINS
};

struct fw_chain_info {
	const char *name;
	enum fw_table table;
	unsigned part;
	const char *from; /* the chain of others that leads here, NULL: only chains of ours do */
	bool first;	  /* before all that stands there */
	bool dns;	  /* only port 53 comes here */
	const char *hook; /* nft's words for the chain that takes the place of `from`; NULL: nft has no use for it */
};

extern const char *const fw_table_name[FW_TABLES];
extern const struct fw_chain_info fw_chain_info[FW_CHAINS];

/* ---- words and actions ---- */

enum fw_word {
	END,
	TCP,
	UDP,
	LEASE_ON,
	LEASE_OFF,
	TO_PORT_ITSELF,
	TO_PORT_53,
	TO_PORT_OF_DNS,
	WAS_REDIRECTED,
	TO_LOCAL,
	NOT_TO_LOCAL,
	NOT_FROM_LOCAL,
	TO_MULTICAST,
	TO_BROADCAST,
	TO_FALLBACK,
	ORIGINAL,
	REPLY,
	NEW,
	ESTABLISHED,
	SYN,
	SOCKET,
	CORE,
	MARKED,
	UNMARKED,
	CT_MARKED,
	CT_UNMARKED,
	IN_LO,
	OUT_LO,
	TO_SERVERS,
	TO_LAN,
	NOT_FROM_INSIDE,
	NOT_FROM_LAN,
	TO_FAKE,
	NOT_TO_FAKE,
	TO_RESERVED,
	NOT_TO_WANT,
	TO_SKIP_DST,
	TO_SKIP_PORT,
	FROM_SKIP_SRC,
	FROM_SKIP_MAC,
	/* these stand for several rules, one each: */
	ROUTING_MARK,
	IN_SKIP_IFACE,
	OUT_SKIP_IFACE,
	FROM_WHOM, /* an interface of the LAN x what the user has restricted us to; nothing where that is everybody */
	WORDS
};

enum fw_action {
	RETURN,
	ACCEPT,
	DROP,
	MARK,
	UNMARK,
	CT_MARK,
	FORGET, /* nft: the rule before had no listener to give the packet to */
	DIVERT,
	DIVERT_LO, /* not counted */
	SELECT,
	TPROXY,
	TPROXY_CHOSEN,
	TPROXY_RUNNING,
	REJECT,
	REDIRECT,
	DNAT,
	MASQUERADE,
	ACTIONS
};

struct fw_spelling {
	const char *in[FW_SCRIPT];
};

struct fw_from_only {
	enum fw_set set;
	struct fw_spelling spelling;
};

#define FW_FROM_ONLY 2

extern const struct fw_spelling fw_words[WORDS];
extern const struct fw_spelling fw_from_iface; /* FROM_WHOM: the parts that such a rule has */
extern const struct fw_from_only fw_from_only[FW_FROM_ONLY];
extern const struct fw_spelling fw_actions[ACTIONS];
extern const struct fw_spelling fw_reject_tcp;

/* The set that a word asks, plus one. The rule is left out when the plan has no such set. */
extern const unsigned char fw_set_of[WORDS];

/* ---- the rules ---- */

#define FW_WORDS_MAX 5

/* What must be so for a rule to be written. */
#define NEED_V4 1u
#define NEED_NFT 2u
#define NEED_SOCKET 4u
#define NEED_NO_SOCKET 8u
#define NEED_REJECT 16u
#define NEED_LAN_SERVERS 32u /* [ipset] scope = all */
#define NEED_DNS 64u
#define NEED_FALLBACK 128u
#define NEED_FAKE 256u
#define NEED_NO_FAKE 512u
#define NEED_ANY_LAN 1024u /* no lan_ifaces */

struct fw_rule {
	unsigned chains; /* bits of enum fw_chain: one that several chains need stands here once */
	unsigned need;
	enum fw_word match[FW_WORDS_MAX];
	enum fw_action action;
};

/* In their order, which is meaning. */
extern const struct fw_rule fw_rules[];
extern const size_t fw_n_rules;

/* ---- a plan under way ---- */

/* One family's plan under way in one backend. */
struct fw_plan {
	const struct fwplan_params *p;
	enum fw_backend backend; /* FW_IPTABLES or FW_NFT */
	enum ip_family family;
	unsigned parts;
};

/* -EINVAL with the sentence for what makes no text. */
int fw_plan_check(const struct fwplan_params *p, enum ip_family family, struct err *e);

bool fw_plan_has_chain(const struct fw_plan *plan, enum fw_chain chain);

/* As fwplan_set; nft has one lease set for both families. */
const char *fw_plan_set(const struct fw_plan *plan, enum fw_set set, char buf[FWPLAN_SET_TEXT]);

/* Writes a chain's rules, a line each with `before` in front. */
void fw_plan_put_rules(const struct fw_plan *plan, enum fw_chain chain, const char *before, struct text *t);

#endif
