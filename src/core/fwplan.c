#include "clashsup/fwplan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static const char *const chains[] = { FWPLAN_CHAIN, FWPLAN_CHAIN_OUT, FWPLAN_CHAIN_SELECT, FWPLAN_CHAIN_DIVERT };

/* ---- the caller's buffer ---- */

struct text {
	char *buf;
	size_t cap, len;
	bool full;
};

static void put(struct text *t, const char *bytes, size_t n)
{
	if (t->full || n >= t->cap - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->buf + t->len, bytes, n);
	t->len += n;
	t->buf[t->len] = '\0';
}

static __attribute__((format(printf, 2, 3))) void put_fmt(struct text *t, const char *fmt, ...)
{
	char piece[64];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(piece, sizeof(piece), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(piece))
		t->full = true;
	else
		put(t, piece, (size_t)n);
}

static int text_end(const struct text *t, struct err *e)
{
	return t->full ? err_set(e, ENOSPC, "the firewall rules do not fit into %zu bytes", t->cap) : (int)t->len;
}

/* ---- the rules as data ---- */

enum when { ALWAYS, V4_ONLY, LOCAL, AGAIN, AGAIN_LOCAL, EACH_ROUTING_MARK };

struct row {
	enum when when;
	const char *line;
};

/*
 * In a line, '$' and a letter stand for a value: m our mark with its full mask,
 * p the port, i the address of the listener, s the server set, 6 the suffix of
 * the family's sets, g the core's gid, r one of the routing marks.
 */
#define IN "-A " FWPLAN_CHAIN " "
#define OUT "-A " FWPLAN_CHAIN_OUT " "
#define SELECT "-A " FWPLAN_CHAIN_SELECT " "
#define DIVERT "-A " FWPLAN_CHAIN_DIVERT " "
#define SET_MARK "-j MARK --set-xmark $m"
#define SET_CONNMARK "-j CONNMARK --set-xmark $m"
#define TPROXY "-j TPROXY --on-port $p --on-ip $i --tproxy-mark $m"
#define NO_LEASE "-m set ! --match-set " FWPLAN_LEASE_SET "$6 dst -j RETURN"
#define TO_PORT_ITSELF "--dport $p -m addrtype --dst-type LOCAL -m conntrack --ctdir ORIGINAL -j DROP"

/* Order is meaning; docs/decisions/0002-rules.md says why each is there. */
static const struct row rows[] = {
	{ ALWAYS, "*mangle" },
	{ ALWAYS, ":" FWPLAN_CHAIN " - [0:0]" },
	{ ALWAYS, ":" FWPLAN_CHAIN_OUT " - [0:0]" },
	{ ALWAYS, ":" FWPLAN_CHAIN_SELECT " - [0:0]" },
	{ ALWAYS, ":" FWPLAN_CHAIN_DIVERT " - [0:0]" },
	{ AGAIN, "-D PREROUTING -j " FWPLAN_CHAIN },
	{ AGAIN_LOCAL, "-D OUTPUT -j " FWPLAN_CHAIN_OUT },

	{ ALWAYS, DIVERT SET_MARK },
	{ ALWAYS, DIVERT "-j ACCEPT" },

	{ ALWAYS, IN NO_LEASE },
	{ ALWAYS, IN "-p tcp -m tcp " TO_PORT_ITSELF },
	{ ALWAYS, IN "-p udp -m udp " TO_PORT_ITSELF },
	{ ALWAYS, IN "-p tcp -m socket --transparent -j " FWPLAN_CHAIN_DIVERT },
	{ ALWAYS, IN "-i lo -m mark ! --mark $m -j RETURN" },
	{ ALWAYS, IN "-i lo -p tcp -m mark --mark $m " TPROXY },
	{ ALWAYS, IN "-i lo -p udp -m mark --mark $m " TPROXY },
	/* from here on the mark is the verdict of CLASH_SELECT alone */
	{ ALWAYS, IN "-m mark --mark $m -j MARK --set-xmark 0x0/0xffffffff" },
	{ ALWAYS, IN "-p udp -m connmark --mark $m -m addrtype ! --dst-type LOCAL " TPROXY },
	{ ALWAYS, IN "-m conntrack --ctdir REPLY -j RETURN" },
	{ ALWAYS, IN "-m set --match-set $s$6 dst -j RETURN" },
	{ ALWAYS, IN "-j " FWPLAN_CHAIN_SELECT },
	{ ALWAYS, IN "-p tcp -m mark --mark $m " TPROXY },
	{ ALWAYS, IN "-p udp -m mark --mark $m " TPROXY },

	{ ALWAYS, SELECT "-m addrtype --dst-type LOCAL -j RETURN" },
	{ ALWAYS, SELECT "-m addrtype --dst-type MULTICAST -j RETURN" },
	{ V4_ONLY, SELECT "-m addrtype --dst-type BROADCAST -j RETURN" },
	{ ALWAYS, SELECT "-m set --match-set " FWPLAN_RESERVED_SET "$6 dst -j RETURN" },
	{ ALWAYS, SELECT "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN " SET_MARK },
	{ ALWAYS, SELECT "-p udp -m conntrack --ctstate ESTABLISHED -m connmark ! --mark $m -j RETURN" },
	{ ALWAYS, SELECT "-p udp " SET_CONNMARK },
	{ ALWAYS, SELECT "-p udp " SET_MARK },

	{ ALWAYS, OUT NO_LEASE },
	{ ALWAYS, OUT
	  "-p udp -m owner --gid-owner $g -m conntrack --ctstate NEW -m addrtype ! --src-type LOCAL " SET_CONNMARK },
	{ ALWAYS, OUT "-o lo -j RETURN" },
	{ ALWAYS, OUT "-m owner --gid-owner $g -j RETURN" },
	{ EACH_ROUTING_MARK, OUT "-m mark --mark $r -j RETURN" },
	{ ALWAYS, OUT "-p udp -m connmark --mark $m " SET_MARK },
	{ ALWAYS, OUT "-m conntrack --ctdir REPLY -j RETURN" },
	{ ALWAYS, OUT "-p tcp -m connmark --mark $m " SET_MARK },
	{ ALWAYS, OUT "-m mark --mark $m -j RETURN" },
	{ ALWAYS, OUT "-m set --match-set $s$6 dst -j RETURN" },
	{ ALWAYS, OUT "-j " FWPLAN_CHAIN_SELECT },
	{ ALWAYS, OUT "-m mark --mark $m " SET_CONNMARK },

	{ ALWAYS, "-A PREROUTING -j " FWPLAN_CHAIN },
	{ LOCAL, "-A OUTPUT -j " FWPLAN_CHAIN_OUT },
	{ ALWAYS, "COMMIT" },
};

static void put_value(struct text *t, char which, const struct fwplan_params *p, enum ip_family family,
		      uint32_t routing_mark)
{
	switch (which) {
	case 'm':
		put_fmt(t, "0x%x/0xffffffff", p->mark);
		break;
	case 'r':
		put_fmt(t, "0x%x/0xffffffff", routing_mark);
		break;
	case 'p':
		put_fmt(t, "%u", (unsigned)p->port);
		break;
	case 'g':
		put_fmt(t, "%u", p->core_gid);
		break;
	case 's':
		put(t, p->server_set, strlen(p->server_set));
		break;
	case 'i':
		put_fmt(t, "%s", family == IP_V4 ? "127.0.0.1" : "::1");
		break;
	case '6':
		put_fmt(t, "%s", family == IP_V4 ? "" : "6");
		break;
	}
}

static void put_line(struct text *t, const char *line, const struct fwplan_params *p, enum ip_family family,
		     uint32_t routing_mark)
{
	while (*line != '\0') {
		size_t plain = strcspn(line, "$");

		put(t, line, plain);
		line += plain;
		if (*line == '$') {
			put_value(t, line[1], p, family, routing_mark);
			line += 2;
		}
	}
	put(t, "\n", 1);
}

/* How often a row is written. */
static size_t row_times(enum when when, const struct fwplan_params *p, enum ip_family family, bool again)
{
	switch (when) {
	case ALWAYS:
		return 1;
	case V4_ONLY:
		return family == IP_V4;
	case LOCAL:
		return p->local;
	case AGAIN:
		return again;
	case AGAIN_LOCAL:
		return again && p->local;
	case EACH_ROUTING_MARK:
		return p->n_routing_marks;
	}
	return 0;
}

static int check_params(const struct fwplan_params *p, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	const char *name = p->server_set ? p->server_set : "";
	size_t len = strlen(name);

	if (p->port == 0)
		return err_set(e, EINVAL, "the TPROXY port is 0");
	if (p->mark == 0)
		return err_set(e, EINVAL, "the mark is 0, which every packet carries");
	if (len == 0 || len > FWPLAN_SET_NAME_MAX || name[0] == '-' || strspn(name, allowed) != len)
		return err_set(e, EINVAL, "bad name of the server set");
	return 0;
}

const char *fwplan_set_name(const char *base, enum ip_family family, char buf[FWPLAN_SET_TEXT])
{
	snprintf(buf, FWPLAN_SET_TEXT, "%.*s%s", FWPLAN_SET_TEXT - 2, base, family == IP_V6 ? "6" : "");
	return buf;
}

int fwplan_restore(const struct fwplan_params *p, enum ip_family family, bool again, char *buf, size_t cap,
		   struct err *e)
{
	struct text t = { .buf = buf, .cap = cap };
	int r = check_params(p, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t times = row_times(rows[i].when, p, family, again);
		bool each_mark = rows[i].when == EACH_ROUTING_MARK;

		for (size_t k = 0; k < times; k++) {
			uint32_t routing_mark = each_mark ? p->routing_marks[k] : 0;

			if (!each_mark || routing_mark != 0)
				put_line(&t, rows[i].line, p, family, routing_mark);
		}
	}
	return text_end(&t, e);
}

/* ---- removal ---- */

struct span {
	const char *at;
	size_t len;
};

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static bool span_starts(struct span s, const char *text)
{
	return s.len >= strlen(text) && memcmp(s.at, text, strlen(text)) == 0;
}

/* The index of one of our chains, or -1. */
static int our_chain(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		if (span_is(name, chains[i]))
			return (int)i;
	}
	return -1;
}

/*
 * Takes the next word off the line. iptables-save quotes a text that has blanks
 * in it and escapes a quote with a backslash; a quoted word keeps its quotes
 * here, so it never equals an option or a name. Empty at the end.
 */
static struct span next_word(struct span *line)
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

/* "-A chain …": does it lead from a chain of others into one of ours? */
static bool leads_to_us(struct span line)
{
	struct span word, before = { "", 0 };

	(void)next_word(&line);
	if (our_chain(next_word(&line)) >= 0)
		return false; /* goes with its chain */
	while ((word = next_word(&line)).len > 0) {
		if ((span_is(before, "-j") || span_is(before, "-g")) && our_chain(word) >= 0)
			return true;
		before = word;
	}
	return false;
}

/* What one pass over the text has found. */
struct search {
	struct text *out;
	bool table;  /* some table began: it is a save */
	bool mangle; /* we are inside of this one */
	bool stray;  /* a line that no save would have outside of a table */
	bool found;
	bool chain[ARRAY_LEN(chains)];
};

static void search_line(struct search *s, struct span line)
{
	if (line.len == 0 || line.at[0] == '#')
		return;
	if (line.at[0] == '*') {
		s->table = true;
		s->mangle = span_is(line, "*mangle");
	} else if (span_is(line, "COMMIT")) {
		s->mangle = false;
	} else if (!s->mangle) {
		s->stray |= !s->table;
	} else if (line.at[0] == ':') {
		struct span rest = { line.at + 1, line.len - 1 };
		int i = our_chain(next_word(&rest));

		if (i >= 0)
			s->chain[i] = s->found = true;
	} else if (span_starts(line, "-A ") && leads_to_us(line)) {
		s->found = true;
		put(s->out, "-D", 2);
		put(s->out, line.at + 2, line.len - 2);
		put(s->out, "\n", 1);
	}
}

static void search_text(struct search *s, const char *save_text, size_t len)
{
	while (len > 0) {
		const char *end = memchr(save_text, '\n', len);
		size_t n;

		if (!end)
			return;
		n = (size_t)(end - save_text);
		search_line(s, (struct span){ save_text, n });
		save_text += n + 1;
		len -= n + 1;
	}
}

int fwplan_removal(const char *save_text, size_t len, char *buf, size_t cap, struct err *e)
{
	static const char *const verbs[] = { "-F", "-X" }; /* all are emptied first, since they refer to each other */
	struct text t = { .buf = buf, .cap = cap };
	struct search s = { .out = &t };

	put_fmt(&t, "*mangle\n");
	search_text(&s, save_text, len);
	if (!s.table && s.stray)
		return err_set(e, EINVAL, "this is no output of iptables-save");
	if (!s.found)
		return 0;
	for (size_t v = 0; v < ARRAY_LEN(verbs); v++) {
		for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
			if (s.chain[i])
				put_fmt(&t, "%s %s\n", verbs[v], chains[i]);
		}
	}
	put_fmt(&t, "COMMIT\n");
	return text_end(&t, e);
}

/* ---- reserved networks ---- */

/* Special-purpose registries of IPv4 and IPv6 (RFC 6890), without 198.18.0.0/15: fake-ip answers live there. */
static const char *const reserved4[] = {
	"0.0.0.0/8",	   "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8",	"169.254.0.0/16",
	"172.16.0.0/12",   "192.0.0.0/24",   "192.0.2.0/24",  "192.88.99.0/24", "192.168.0.0/16",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",   "240.0.0.0/4",
};

static const char *const reserved6[] = {
	"::/128",	"::1/128",	 "::ffff:0:0/96", "64:ff9b::/96", "100::/64",  "2001::/32",
	"2001:20::/28", "2001:db8::/32", "2002::/16",	  "fc00::/7",	  "fe80::/10", "ff00::/8",
};

const char *const *fwplan_reserved(enum ip_family family, size_t *n_out)
{
	*n_out = family == IP_V4 ? ARRAY_LEN(reserved4) : ARRAY_LEN(reserved6);
	return family == IP_V4 ? reserved4 : reserved6;
}
