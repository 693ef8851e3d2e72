/* fwplan_listing: what an iptables-save tells of ours. */
#ifndef CLASHSUP_CORE_FWPLAN_LISTING_H
#define CLASHSUP_CORE_FWPLAN_LISTING_H

#include "core/fwplan_rules.h"

struct span {
	const char *at;
	size_t len;
};

/* One line of ours: a chain that is there, a rule in it, or a rule elsewhere that leads to it. */
enum save_kind { SAVE_CHAIN, SAVE_RULE, SAVE_JUMP };

struct save_line {
	enum fw_table table;
	enum save_kind kind;
	enum fw_chain chain;  /* the one that it is, stands in or leads to */
	struct span where;    /* the name of the chain that it stands in */
	struct span counters; /* "[packets:bytes]" in front of a rule, or empty */
	struct span text;     /* the line without them */
};

typedef void (*save_line_fn)(void *ctx, const struct save_line *line);

/* Each line of ours, in order; a last line that was cut off is left out. -EINVAL for text that is no save. */
int save_read(const char *save, size_t len, save_line_fn each, void *ctx, struct err *e);

/* Takes the next line off the text; false at its end, where a line without '\n' does not count. */
bool span_line(struct span *text, struct span *line);

/* Takes the next word off a line; empty at the end. Quoted words keep their quotes. */
struct span span_word(struct span *line);

bool span_is(struct span s, const char *text);
bool span_starts(struct span s, const char *text);

#endif
