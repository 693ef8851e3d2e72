/*
 * survey_view: what the readers of both listings have in common: how much of
 * the LAN a match leaves, and where a finding goes.
 */
#ifndef PARSE_SURVEY_VIEW_H
#define PARSE_SURVEY_VIEW_H

#include "clashsup/survey_rules.h"
#include "parse/survey_chains.h"

/* Matches on the interface a packet came in by, or leaves by; "eth+" of iptables, "eth*" of nft. */
enum reach view_iif(const struct survey_view *v, const char *name, bool inverted);
enum reach view_oif(const char *name, bool inverted);

/* On its source: "10.0.0.0/8", an address; what is none counts for any. */
enum reach view_source(const struct survey_view *v, const char *net, bool inverted);

/* "127.0.0.11", "::1": a loopback address or network */
bool view_loopback(const char *net);

static inline enum reach reach_min(enum reach a, enum reach b)
{
	return a < b ? a : b;
}

/* An empty foreign rule to be filled; NULL when no more are told. */
struct survey_rule *view_foreign(struct survey_rules *rules);

/* Notes the program, if the names are those of one. */
void view_program(struct survey_rules *rules, const char *table, const char *chain);

/* A chain that is ours. */
bool view_our_chain(const char *chain);

#endif
