#include <errno.h>
#include <string.h>

#include "core/fwplan_listing.h"

bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

bool span_starts(struct span s, const char *text)
{
	return s.len >= strlen(text) && memcmp(s.at, text, strlen(text)) == 0;
}

bool span_line(struct span *text, struct span *line)
{
	const char *end = text->len ? memchr(text->at, '\n', text->len) : NULL;

	if (!end)
		return false;
	*line = (struct span){ text->at, (size_t)(end - text->at) };
	text->at += line->len + 1;
	text->len -= line->len + 1;
	return true;
}

/* iptables-save quotes a text that has blanks in it and escapes a quote with a backslash. */
struct span span_word(struct span *line)
{
	struct span word;
	bool quoted = false;
	size_t n = 0;

	while (line->len > 0 && (*line->at == ' ' || *line->at == '\t')) {
		line->at++;
		line->len--;
	}
	for (; n < line->len; n++) {
		char c = line->at[n];

		if (c == '\\' && quoted && n + 1 < line->len)
			n++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == ' ' || c == '\t'))
			break;
	}
	word = (struct span){ line->at, n };
	line->at += n;
	line->len -= n;
	return word;
}

/* What one pass over the text has found. */
struct reading {
	save_line_fn each;
	void *ctx;
	bool began; /* some table did: it is a save */
	bool stray; /* a line that no save would have outside of a table */
	int table;  /* enum fw_table of the one that we are in, or -1 */
};

/* The index of one of our chains in its own table, or -1. */
static int our_chain(const struct reading *r, struct span name)
{
	for (int i = 0; i < FW_CHAINS; i++) {
		if ((int)fw_chain_info[i].table == r->table && span_is(name, fw_chain_info[i].name))
			return i;
	}
	return -1;
}

/* Where a rule leads to, of ours, or -1. */
static int leads_to(const struct reading *r, struct span rule)
{
	struct span word, before = { "", 0 };

	while ((word = span_word(&rule)).len > 0) {
		if (span_is(before, "-j") || span_is(before, "-g"))
			return our_chain(r, word);
		before = word;
	}
	return -1;
}

static void read_chain(struct reading *r, struct span text)
{
	struct span rest = { text.at + 1, text.len - 1 };
	struct span name = span_word(&rest);
	int chain = our_chain(r, name);

	if (chain >= 0)
		r->each(r->ctx, &(struct save_line){ .table = (enum fw_table)r->table,
						     .kind = SAVE_CHAIN,
						     .chain = (enum fw_chain)chain,
						     .where = name,
						     .text = { text.at, name.len + 1 } });
}

static void read_rule(struct reading *r, struct span line)
{
	struct save_line l = { .table = (enum fw_table)r->table, .kind = SAVE_RULE };
	struct span rest;
	int chain;

	if (line.at[0] == '[') {
		l.counters = span_word(&line);
		if (line.len && *line.at == ' ') {
			line.at++;
			line.len--;
		}
	}
	if (!span_starts(line, "-A ") && !span_starts(line, "-I ")) /* -I: in what iptables-restore gets from us */
		return;
	l.text = rest = line;
	(void)span_word(&rest);
	l.where = span_word(&rest);
	chain = our_chain(r, l.where);
	if (chain < 0) {
		l.kind = SAVE_JUMP;
		chain = leads_to(r, rest);
	}
	l.chain = (enum fw_chain)chain;
	if (chain >= 0)
		r->each(r->ctx, &l);
}

static int table_of(struct span name)
{
	for (int i = 0; i < FW_TABLES; i++) {
		if (span_is(name, fw_table_name[i]))
			return i;
	}
	return -1;
}

static void read_line(struct reading *r, struct span line)
{
	if (line.len == 0 || line.at[0] == '#')
		return;
	if (line.at[0] == '*') {
		r->began = true;
		r->table = table_of((struct span){ line.at + 1, line.len - 1 });
	} else if (span_is(line, "COMMIT")) {
		r->table = -1;
	} else if (r->table < 0) {
		r->stray |= !r->began;
	} else if (line.at[0] == ':') {
		read_chain(r, line);
	} else {
		read_rule(r, line);
	}
}

int save_read(const char *save, size_t len, save_line_fn each, void *ctx, struct err *e)
{
	struct reading r = { .each = each, .ctx = ctx, .table = -1 };
	struct span text = { save, len }, line;

	while (span_line(&text, &line))
		read_line(&r, line);
	if (!r.began && r.stray)
		return err_set(e, EINVAL, "this is no output of iptables-save");
	return 0;
}
