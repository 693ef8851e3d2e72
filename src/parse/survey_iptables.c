#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "clashsup/survey_rules.h"
#include "parse/survey_chains.h"
#include "parse/survey_view.h"

#define WORDS_MAX 256
#define LINE_MAX_BYTES 8192

/* In the order of the bits in survey_rules.tables. */
static const char *const table_name[] = { "filter", "nat", "mangle", "raw", "security" };

enum { FILTER, NAT, MANGLE, RAW, SECURITY, TABLES, NO_TABLE };

struct reader {
	const struct survey_view *view;
	struct survey_rules *rules;
	enum ip_family family;
	const char *tool;
	unsigned table;
	struct chains *filter;
	unsigned number; /* of the rule in its chain */
	char chain[64];
	bool no_memory;
};

/* One rule, taken apart. Words point into `text`. */
struct line {
	char text[LINE_MAX_BYTES];
	char *word[WORDS_MAX];
	size_t n;
};

/* ---- words ---- */

/* As iptables-save quotes: "…" with \ before what it escapes. False when there is too much. */
static bool split(struct line *l, const char *line, size_t len)
{
	char *to = l->text;
	size_t at = 0;

	l->n = 0;
	if (len >= sizeof(l->text))
		return false;
	while (at < len) {
		bool quoted = false;

		while (at < len && line[at] == ' ')
			at++;
		if (at == len)
			break;
		if (l->n == WORDS_MAX)
			return false;
		l->word[l->n++] = to;
		for (; at < len && (quoted || line[at] != ' '); at++) {
			if (line[at] == '"')
				quoted = !quoted;
			else if (line[at] == '\\' && quoted && at + 1 < len)
				*to++ = line[++at];
			else
				*to++ = line[at];
		}
		*to++ = '\0';
	}
	return true;
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* Puts a word for a shell; false when there is no room. */
static bool put_word(char *buf, size_t cap, size_t *used, const char *word)
{
	bool plain = word[0] && word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
						  "_./:,+=@%^-!")] == '\0';
	size_t at = *used;

	if (at + strlen(word) * 4 + 4 > cap)
		return false;
	buf[at++] = ' ';
	if (!plain)
		buf[at++] = '\'';
	for (; *word; word++) {
		if (*word == '\'') {
			memcpy(buf + at, "'\\''", 4);
			at += 4;
		} else {
			buf[at++] = *word;
		}
	}
	if (!plain)
		buf[at++] = '\'';
	buf[at] = '\0';
	*used = at;
	return true;
}

/* The rule as saved, or by its number where that is too long. */
static void delete_command(const struct reader *r, const struct line *l, char *buf, size_t cap)
{
	size_t used = (size_t)snprintf(buf, cap, "%s -w -t %s -D %s", r->tool, table_name[r->table], l->word[1]);

	for (size_t i = 2; i < l->n; i++) {
		if (used >= cap || !put_word(buf, cap, &used, l->word[i])) {
			snprintf(buf, cap, "%s -w -t %s -D %s %u", r->tool, table_name[r->table], l->word[1],
				 r->number);
			return;
		}
	}
}

/* ---- what a rule says ---- */

struct meaning {
	enum reach reach;
	const char *target; /* "" = none */
	bool go;	    /* -g */
	bool to_port;	    /* TPROXY or REDIRECT to our port */
	bool dns;	    /* its destination is port 53 */
	bool loopback;	    /* its destination is loopback */
};

/* "53", "50:60", "53,80", "1000-2000": does a port stand in it? */
static bool names_port(const char *list, uint16_t port)
{
	char text[256], *rest = text;

	snprintf(text, sizeof(text), "%s", list);
	for (char *item = strsep(&rest, ","); item; item = strsep(&rest, ",")) {
		uint64_t first, last;
		char *dash = strpbrk(item, ":-");

		if (dash)
			*dash++ = '\0';
		if (scan_u64(item, UINT16_MAX, &first) < 0)
			continue;
		if (!dash || scan_u64(dash, UINT16_MAX, &last) < 0)
			last = first;
		if (first <= port && port <= last)
			return true;
	}
	return false;
}

static enum reach of_protocol(const char *name, bool inverted)
{
	bool carried = is(name, "tcp") || is(name, "udp") || is(name, "all") || is(name, "0") || is(name, "6") ||
		       is(name, "17");

	return carried != inverted ? REACH_ANY : REACH_NONE;
}

static enum reach of_state(const char *list, bool inverted)
{
	bool fresh = strstr(list, "NEW") != NULL;

	return fresh != inverted ? REACH_ANY : REACH_NONE;
}

/* Matches that a few of the LAN's connections pass: ports, destinations, marks. */
static bool narrows(const char *option)
{
	static const char *const some[] = { "-d",	  "--dport",	 "--dports",   "--sport",
					    "--sports",	  "--mark",	 "--dst-type", "--ports",
					    "--ctstatus", "--uid-owner", "--dst-range" };

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		if (is(option, some[i]))
			return true;
	}
	return false;
}

static void read_match(const struct reader *r, const char *option, const char *value, bool inverted, struct meaning *m)
{
	enum reach reach = REACH_ANY;

	if (is(option, "-i"))
		reach = view_iif(r->view, value, inverted);
	else if (is(option, "-o"))
		reach = view_oif(value, inverted);
	else if (is(option, "-s"))
		reach = view_source(r->view, value, inverted);
	else if (is(option, "-p"))
		reach = of_protocol(value, inverted);
	else if (is(option, "--ctstate") || is(option, "--state"))
		reach = of_state(value, inverted);
	else if (narrows(option) && !inverted)
		reach = REACH_SOME;
	m->reach = reach_min(m->reach, reach);
	if ((is(option, "--dport") || is(option, "--dports")) && !inverted && names_port(value, 53))
		m->dns = true;
	if (is(option, "-d") && !inverted && view_loopback(value))
		m->loopback = true;
}

/* -A CHAIN matches -j TARGET options */
static struct meaning understand(const struct reader *r, const struct line *l)
{
	struct meaning m = { .reach = REACH_ALL, .target = "" };
	bool inverted = false;

	for (size_t i = 2; i < l->n; i++) {
		const char *word = l->word[i], *next = i + 1 < l->n ? l->word[i + 1] : "";

		if (is(word, "!")) {
			inverted = true;
			continue;
		}
		if (is(word, "-j") || is(word, "-g")) {
			m.target = next;
			m.go = word[1] == 'g';
		} else if (m.target[0]) {
			if (is(word, "--on-port") || is(word, "--to-ports"))
				m.to_port = m.to_port || names_port(next, r->view->port);
		} else if (is(word, "--comment") || is(word, "-m")) {
			i++;
		} else if (word[0] == '-') {
			read_match(r, word, next, inverted, &m);
		}
		inverted = false;
	}
	return m;
}

static bool is_any(const char *name, const char *const *of, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is(name, of[i]))
			return true;
	}
	return false;
}

static enum verdict verdict_of(const struct meaning *m)
{
	static const char *const refuse[] = { "DROP", "REJECT", "TARPIT" };
	static const char *const go_on[] = { "LOG",   "NFLOG",	  "ULOG", "MARK",  "CONNMARK", "TCPMSS",     "SET",
					     "CT",    "CHECKSUM", "DSCP", "TOS",   "TTL",      "HL",	     "TRACE",
					     "AUDIT", "CLASSIFY", "TEE",  "HMARK", "NOTRACK",  "CONNSECMARK" };

	if (!m->target[0] || is_any(m->target, go_on, sizeof(go_on) / sizeof(go_on[0])))
		return VERDICT_NONE;
	if (is(m->target, "ACCEPT") || is(m->target, "NFQUEUE"))
		return VERDICT_ACCEPT;
	if (is(m->target, "RETURN"))
		return VERDICT_RETURN;
	if (is_any(m->target, refuse, sizeof(refuse) / sizeof(refuse[0])))
		return VERDICT_REFUSE;
	return m->go ? VERDICT_GOTO : VERDICT_JUMP;
}

/* ---- what it is for us ---- */

static void add_to_filter(struct reader *r, const struct line *l, const struct meaning *m)
{
	struct chain_rule rule = { .verdict = verdict_of(m) };
	int64_t chain = chains_find(r->filter, l->word[1]), target = 0;

	rule.reach[r->family] = m->reach;
	if (rule.verdict == VERDICT_JUMP || rule.verdict == VERDICT_GOTO)
		target = chains_find(r->filter, m->target);
	rule.target = (uint32_t)target;
	if (chain < 0 || target < 0 || !chains_add(r->filter, (uint32_t)chain, &rule))
		r->no_memory = true;
}

static void note_foreign(struct reader *r, const struct line *l, const char *line, size_t len)
{
	struct survey_rule *foreign = view_foreign(r->rules);
	const struct survey_program *p = survey_program_of(NULL, l->word[1]);

	if (!foreign)
		return;
	snprintf(foreign->text, sizeof(foreign->text), "%.*s (table %s)", (int)(len > 150 ? 150 : len), line,
		 table_name[r->table]);
	delete_command(r, l, foreign->command, sizeof(foreign->command));
	foreign->program = p ? p->name : NULL;
}

static void note_nat(struct reader *r, const struct meaning *m, const char *line, size_t len)
{
	struct survey_family *f = &r->rules->family[r->family];

	if ((is(m->target, "MASQUERADE") || is(m->target, "SNAT")) && m->reach >= REACH_ANY)
		f->masquerade = true;
	if (m->dns && !m->loopback && !f->dns_by[0] && (is(m->target, "REDIRECT") || is(m->target, "DNAT")))
		snprintf(f->dns_by, sizeof(f->dns_by), "%.*s", (int)(len > 150 ? 150 : len), line);
}

static void read_rule(struct reader *r, const char *line, size_t len)
{
	struct meaning m;
	struct line l;

	if (!split(&l, line, len) || l.n < 2)
		return;
	r->number = is(r->chain, l.word[1]) ? r->number + 1 : 1;
	snprintf(r->chain, sizeof(r->chain), "%s", l.word[1]);
	m = understand(r, &l);
	if (view_our_chain(l.word[1]) || view_our_chain(m.target)) {
		r->rules->ours = true;
		return;
	}
	if (r->table == FILTER)
		add_to_filter(r, &l, &m);
	else if (r->table == NAT)
		note_nat(r, &m, line, len);
	if (m.to_port && (is(m.target, "TPROXY") || is(m.target, "REDIRECT")))
		note_foreign(r, &l, line, len);
}

/* ":FORWARD DROP [0:0]", ":DOCKER - [0:0]" */
static void read_chain(struct reader *r, const char *line, size_t len)
{
	const bool of[IP_FAMILIES] = { r->family == IP_V4, r->family == IP_V6 };
	struct line l;
	int64_t chain;
	enum hook hook;

	if (!split(&l, line + 1, len - 1) || l.n < 2)
		return;
	if (view_our_chain(l.word[0])) {
		r->rules->ours = true;
		return;
	}
	view_program(r->rules, NULL, l.word[0]);
	if (r->table != FILTER)
		return;
	hook = is(l.word[0], "FORWARD") ? HOOK_FORWARD : is(l.word[0], "INPUT") ? HOOK_INPUT : HOOK_NONE;
	chain = chains_find(r->filter, l.word[0]);
	if (chain < 0)
		r->no_memory = true;
	else
		chains_base(r->filter, (uint32_t)chain, hook, of, is(l.word[1], "DROP"));
}

static void read_table(struct reader *r, const char *line, size_t len)
{
	r->table = NO_TABLE;
	r->chain[0] = '\0';
	for (unsigned i = 0; i < TABLES; i++) {
		if (strlen(table_name[i]) == len - 1 && strncmp(line + 1, table_name[i], len - 1) == 0)
			r->table = i;
	}
	if (r->table != NO_TABLE)
		r->rules->tables[r->family] |= 1u << r->table;
}

static void read_line(struct reader *r, const char *line, size_t len)
{
	if (len == 0)
		return;
	if (line[0] == '*')
		read_table(r, line, len);
	else if (line[0] == '#' && memmem(line, len, "(nf_tables)", 11))
		r->rules->nft_variant[r->family] = true;
	else if (r->table == NO_TABLE)
		return;
	else if (line[0] == ':')
		read_chain(r, line, len);
	else if (len > 3 && memcmp(line, "-A ", 3) == 0)
		read_rule(r, line, len);
}

static void words(const char *chain, enum ip_family family, bool policy, struct chain_words *out)
{
	const char *tool = family == IP_V4 ? "iptables" : "ip6tables";

	snprintf(out->where, sizeof(out->where), "%s, chain %.40s, %s", tool, chain,
		 policy ? "policy DROP" : "its last rule");
	snprintf(out->open, sizeof(out->open), "%s -w -I %.40s", tool, chain);
}

int survey_iptables(const char *listing, size_t len, enum ip_family family, const char *tool,
		    const struct survey_view *view, struct survey_rules *rules, struct err *e)
{
	struct reader r = { .view = view, .rules = rules, .family = family, .tool = tool, .table = NO_TABLE };
	struct survey_family *f = &rules->family[family];

	if (len > SURVEY_LISTING_MAX)
		return err_set(e, EFBIG, "the list of rules is too long");
	r.filter = chains_new();
	if (!r.filter)
		return err_sys(e, ENOMEM, "cannot read the list of rules");
	for (size_t at = 0; at < len && !r.no_memory;) {
		const char *end = memchr(listing + at, '\n', len - at);
		size_t n = end ? (size_t)(end - listing) - at : len - at;

		if (end) /* a last line that was cut off says nothing */
			read_line(&r, listing + at, n);
		at += n + 1;
	}
	if (!r.no_memory) {
		chains_judge(r.filter, HOOK_FORWARD, family, words, &f->forward);
		chains_judge(r.filter, HOOK_INPUT, family, words, &f->input);
	}
	chains_free(r.filter);
	return r.no_memory ? err_sys(e, ENOMEM, "cannot read the list of rules") : 0;
}
