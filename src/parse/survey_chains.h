/*
 * chains: rules as a graph, and the way of an ordinary new connection through
 * it. For survey_iptables and survey_nft.
 */
#ifndef PARSE_SURVEY_CHAINS_H
#define PARSE_SURVEY_CHAINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/survey_rules.h"

#define CHAIN_NAME 160 /* "inet TABLE CHAIN"; longer ones are cut */

/* How much of the LAN's ordinary new connections a rule matches. */
enum reach { REACH_NONE, REACH_SOME, REACH_ANY, REACH_ALL };

enum verdict { VERDICT_NONE, VERDICT_ACCEPT, VERDICT_REFUSE, VERDICT_RETURN, VERDICT_JUMP, VERDICT_GOTO };

enum hook { HOOK_NONE, HOOK_FORWARD, HOOK_INPUT };

struct chain_rule {
	enum verdict verdict;
	enum reach reach[IP_FAMILIES];
	uint32_t target; /* of a jump: chains_find */
};

struct chains;

struct chains *chains_new(void); /* NULL: no memory */
void chains_free(struct chains *c);

/* The chain's number, made when it is new; -1 when there is no memory or there are too many. */
int64_t chains_find(struct chains *c, const char *name);

/* It stands at a hook, for the packets of some families; `refuse` is its policy. */
void chains_base(struct chains *c, uint32_t chain, enum hook hook, const bool of[IP_FAMILIES], bool refuse);

/* Behind the others of its chain. False when there is no memory. */
bool chains_add(struct chains *c, uint32_t chain, const struct chain_rule *rule);

/* Where a base chain of the hook stands, for people and for a command. */
struct chain_words {
	bool nft;
	char where[96], open[96];
};
typedef void (*chains_words_fn)(const char *chain, enum ip_family family, bool policy, struct chain_words *out);

/* Judges every base chain of the hook, and adds to *out. */
void chains_judge(const struct chains *c, enum hook hook, enum ip_family family, chains_words_fn words,
		  struct survey_hook *out);

#endif
