#include "parse/survey_chains.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAINS_MAX 32768
#define RULES_MAX 262144
#define BUCKETS 4096
#define DEPTH_MAX 16 /* the kernel's own for nft; a loop ends here too */
#define STEPS_MAX 200000
#define NONE UINT32_MAX

struct rule {
	struct chain_rule is;
	uint32_t next;
};

struct chain {
	char name[CHAIN_NAME];
	uint32_t same_hash, first, last;
	enum hook hook;
	bool of[IP_FAMILIES];
	bool refuse; /* the policy */
};

struct chains {
	struct chain *chain;
	struct rule *rule;
	uint32_t n_chains, cap_chains, n_rules, cap_rules;
	uint32_t bucket[BUCKETS];
};

struct chains *chains_new(void)
{
	struct chains *c = calloc(1, sizeof(*c));

	if (c)
		memset(c->bucket, 0xff, sizeof(c->bucket));
	return c;
}

void chains_free(struct chains *c)
{
	if (!c)
		return;
	free(c->chain);
	free(c->rule);
	free(c);
}

/* Room for one more element. */
static bool grow(void **list, uint32_t n, uint32_t *cap, uint32_t max, size_t size)
{
	uint32_t wanted = *cap ? *cap * 2 : 64;
	void *grown;

	if (n < *cap)
		return true;
	if (n >= max)
		return false;
	grown = realloc(*list, wanted * size);
	if (!grown)
		return false;
	*list = grown;
	*cap = wanted;
	return true;
}

/* FNV-1a */
static uint32_t hash(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h % BUCKETS;
}

int64_t chains_find(struct chains *c, const char *name)
{
	struct chain fresh = { .first = NONE, .last = NONE };
	uint32_t *bucket;

	snprintf(fresh.name, sizeof(fresh.name), "%s", name);
	bucket = &c->bucket[hash(fresh.name)];
	for (uint32_t i = *bucket; i != NONE; i = c->chain[i].same_hash) {
		if (strcmp(c->chain[i].name, fresh.name) == 0)
			return i;
	}
	if (!grow((void **)&c->chain, c->n_chains, &c->cap_chains, CHAINS_MAX, sizeof(*c->chain)))
		return -1;
	fresh.same_hash = *bucket;
	*bucket = c->n_chains;
	c->chain[c->n_chains] = fresh;
	return c->n_chains++;
}

void chains_base(struct chains *c, uint32_t chain, enum hook hook, const bool of[IP_FAMILIES], bool refuse)
{
	memcpy(c->chain[chain].of, of, sizeof(c->chain[chain].of));
	c->chain[chain].hook = hook;
	c->chain[chain].refuse = refuse;
}

bool chains_add(struct chains *c, uint32_t chain, const struct chain_rule *rule)
{
	struct chain *in = &c->chain[chain];

	if (!grow((void **)&c->rule, c->n_rules, &c->cap_rules, RULES_MAX, sizeof(*c->rule)))
		return false;
	c->rule[c->n_rules] = (struct rule){ .is = *rule, .next = NONE };
	if (in->last == NONE)
		in->first = c->n_rules;
	else
		c->rule[in->last].next = c->n_rules;
	in->last = c->n_rules++;
	return true;
}

/* ---- the way through ---- */

struct walk {
	const struct chains *c;
	enum ip_family family;
	uint32_t steps;
	bool accepts, refuses;
};

/*
 * What every such connection meets in the end: ACCEPT, REFUSE, or NONE when the
 * chain comes to its end; what only some meet is noted. `reach` is how many come here.
 */
static enum verdict follow(struct walk *w, uint32_t chain, enum reach reach, unsigned depth)
{
	const struct chains *c = w->c;

	for (uint32_t i = c->chain[chain].first; i != NONE; i = c->rule[i].next) {
		const struct chain_rule *rule = &c->rule[i].is;
		enum reach here = rule->reach[w->family] < reach ? rule->reach[w->family] : reach;
		bool every = rule->reach[w->family] == REACH_ALL;
		enum verdict v = rule->verdict;

		if (here == REACH_NONE || v == VERDICT_NONE)
			continue;
		if (++w->steps > STEPS_MAX || depth > DEPTH_MAX) {
			w->accepts = true; /* not understood: no reason for an alarm */
			return VERDICT_NONE;
		}
		if (v == VERDICT_JUMP || v == VERDICT_GOTO) {
			enum verdict inner = follow(w, rule->target, here, depth + 1);

			/* what goes to a chain does not come back from it */
			v = v == VERDICT_GOTO && inner == VERDICT_NONE ? VERDICT_RETURN : inner;
		}
		if (v == VERDICT_ACCEPT && here >= REACH_ANY)
			w->accepts = true;
		if (v == VERDICT_REFUSE)
			w->refuses = true;
		if (every && v == VERDICT_RETURN)
			return VERDICT_NONE;
		if (every && v != VERDICT_NONE)
			return v;
	}
	return VERDICT_NONE;
}

void chains_judge(const struct chains *c, enum hook hook, enum ip_family family, chains_words_fn words,
		  struct survey_hook *out)
{
	uint32_t steps = 0; /* of all: what is beyond the maximum is not understood */

	for (uint32_t i = 0; i < c->n_chains; i++) {
		struct walk w = { .c = c, .family = family, .steps = steps };
		const struct chain *chain = &c->chain[i];
		struct chain_words as = { .nft = false };
		enum verdict end;
		bool policy;

		if (chain->hook != hook || !chain->of[family])
			continue;
		end = follow(&w, i, REACH_ALL, 0);
		steps = w.steps;
		policy = end == VERDICT_NONE;
		if (policy)
			end = chain->refuse ? VERDICT_REFUSE : VERDICT_ACCEPT;
		words(chain->name, family, policy, &as);
		out->refuses = out->refuses || (!as.nft && (w.refuses || end == VERDICT_REFUSE));
		/* of two that are closed, nft's is told: it is the harder one */
		if (end != VERDICT_REFUSE || w.accepts || (out->closed && !as.nft))
			continue;
		out->closed = true;
		out->nft = as.nft;
		snprintf(out->where, sizeof(out->where), "%s", as.where);
		snprintf(out->open, sizeof(out->open), "%s", as.open);
	}
}
