#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/survey_rules.h"
#include "parse/survey_chains.h"
#include "parse/survey_view.h"

#define DEPTH_MAX 64
#define VALUES_MAX 400000 /* a cJSON value takes some 100 bytes */
#define OUR_TABLE "clashsup"

struct reader {
	const struct survey_view *view;
	struct survey_rules *rules;
	struct chains *chains;
	bool no_memory;
};

/* Which rule is being read. */
struct place {
	const char *family, *table, *chain;
	double handle;
	bool of[IP_FAMILIES]; /* whose packets the table sees */
};

static const cJSON *member(const cJSON *o, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text(const cJSON *o, const char *name)
{
	const char *t = cJSON_GetStringValue(member(o, name));

	return t ? t : "";
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* ---- before it is parsed: neither too deep nor too much ---- */

static bool bounded(const char *json, size_t len)
{
	size_t depth = 0, values = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		char c = json[i];

		if (quoted) {
			if (c == '\\')
				i++;
			quoted = c != '"';
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > DEPTH_MAX)
				return false;
		} else if (c == '}' || c == ']') {
			depth -= depth > 0;
		} else if (c == ',' || c == ':') {
			if (++values > VALUES_MAX)
				return false;
		}
	}
	return true;
}

/* ---- values: a text or number, {"set": […]}, […], {"range": [a, b]}, {"prefix": {addr, len}} ---- */

static const cJSON *items_of(const cJSON *value)
{
	const cJSON *set = member(value, "set");

	return cJSON_IsArray(set) ? set : value;
}

static bool one_is_text(const cJSON *v, const char *wanted)
{
	return cJSON_IsString(v) && is(v->valuestring, wanted);
}

static bool has_text(const cJSON *value, const char *wanted)
{
	const cJSON *items = items_of(value), *item;

	if (!cJSON_IsArray(items))
		return one_is_text(value, wanted);
	cJSON_ArrayForEach(item, items)
	{
		if (one_is_text(item, wanted))
			return true;
	}
	return false;
}

static bool one_has_port(const cJSON *v, uint16_t port)
{
	const cJSON *range = member(v, "range");

	if (cJSON_IsNumber(v))
		return v->valuedouble == port;
	return cJSON_IsNumber(cJSON_GetArrayItem(range, 0)) && cJSON_IsNumber(cJSON_GetArrayItem(range, 1)) &&
	       cJSON_GetArrayItem(range, 0)->valuedouble <= port && port <= cJSON_GetArrayItem(range, 1)->valuedouble;
}

static bool has_port(const cJSON *value, uint16_t port)
{
	const cJSON *items = items_of(value), *item;

	if (!cJSON_IsArray(items))
		return one_has_port(value, port);
	cJSON_ArrayForEach(item, items)
	{
		if (one_has_port(item, port))
			return true;
	}
	return false;
}

/* "10.0.0.0/8" out of a prefix; "" for what is no network, as a set's name. */
static const char *net_text(const cJSON *v, char *buf, size_t cap)
{
	const cJSON *prefix = member(v, "prefix"), *bits = member(prefix, "len");

	buf[0] = '\0';
	if (cJSON_IsString(v))
		snprintf(buf, cap, "%s", v->valuestring);
	else if (cJSON_IsNumber(bits) && bits->valuedouble >= 0 && bits->valuedouble <= 128)
		snprintf(buf, cap, "%s/%d", text(prefix, "addr"), (int)bits->valuedouble);
	return buf;
}

/* ---- matches ---- */

struct meaning {
	enum reach reach[IP_FAMILIES];
	enum verdict verdict;
	const char *target;
	bool to_port, dns, loopback, hides, leads; /* leads: redirect or dnat */
};

static void limit(struct meaning *m, enum reach reach)
{
	for (int f = 0; f < IP_FAMILIES; f++)
		m->reach[f] = reach_min(m->reach[f], reach);
}

static void only(struct meaning *m, enum ip_family family)
{
	m->reach[family == IP_V4 ? IP_V6 : IP_V4] = REACH_NONE;
}

/* The best of several interfaces or sources. */
typedef enum reach (*reach_fn)(const struct survey_view *v, const char *name, bool inverted);

static enum reach best_of(const struct survey_view *v, const cJSON *value, bool inverted, reach_fn fn)
{
	const cJSON *items = items_of(value), *item;
	enum reach best = inverted ? REACH_ANY : REACH_NONE;
	char buf[64];

	if (!cJSON_IsArray(items))
		return fn(v, net_text(value, buf, sizeof(buf)), inverted);
	cJSON_ArrayForEach(item, items)
	{
		enum reach one = fn(v, net_text(item, buf, sizeof(buf)), inverted);

		if (inverted ? one < best : one > best)
			best = one;
	}
	return best;
}

static enum reach by_oif(const struct survey_view *v, const char *name, bool inverted)
{
	(void)v;
	return view_oif(name, inverted);
}

/* A named set of interfaces or addresses: some of them are the LAN's, perhaps. */
static bool named_set(const cJSON *value)
{
	return cJSON_IsString(value) && value->valuestring[0] == '@';
}

static bool carried(const cJSON *protocols)
{
	return named_set(protocols) || has_text(protocols, "tcp") || has_text(protocols, "udp") ||
	       has_port(protocols, 6) || has_port(protocols, 17);
}

static void read_meta(const struct reader *r, const char *key, const cJSON *right, bool inverted, struct meaning *m)
{
	if ((is(key, "iifname") || is(key, "iif")) && !named_set(right))
		limit(m, best_of(r->view, right, inverted, view_iif));
	else if ((is(key, "oifname") || is(key, "oif")) && !named_set(right))
		limit(m, best_of(r->view, right, inverted, by_oif));
	else if (is(key, "l4proto"))
		limit(m, carried(right) != inverted ? REACH_ANY : REACH_NONE);
	else if (is(key, "nfproto") && !inverted && (has_text(right, "ipv4") != has_text(right, "ipv6")))
		only(m, has_text(right, "ipv4") ? IP_V4 : IP_V6);
	else if (is(key, "mark") && !inverted)
		limit(m, REACH_SOME);
	else
		limit(m, REACH_ANY);
}

static void read_address(const struct reader *r, const char *field, const cJSON *right, bool inverted,
			 struct meaning *m)
{
	char buf[64];

	if (is(field, "saddr") && !named_set(right))
		limit(m, best_of(r->view, right, inverted, view_source));
	else if (is(field, "daddr") && !inverted)
		limit(m, REACH_SOME);
	else if (is(field, "protocol") || is(field, "nexthdr"))
		limit(m, carried(right) != inverted ? REACH_ANY : REACH_NONE);
	else
		limit(m, REACH_ANY);
	if (is(field, "daddr") && !inverted && view_loopback(net_text(right, buf, sizeof(buf))))
		m->loopback = true;
}

static void read_payload(const struct reader *r, const cJSON *payload, const cJSON *right, bool inverted,
			 struct meaning *m)
{
	const char *protocol = text(payload, "protocol"), *field = text(payload, "field");

	if (is(protocol, "ip") || is(protocol, "ip6")) {
		only(m, is(protocol, "ip") ? IP_V4 : IP_V6);
		read_address(r, field, right, inverted, m);
	} else if (is(protocol, "tcp") || is(protocol, "udp") || is(protocol, "th")) {
		limit(m, strstr(field, "port") && !inverted ? REACH_SOME : REACH_ANY);
		if (is(field, "dport") && !inverted && has_port(right, 53))
			m->dns = true;
	} else if (is(protocol, "ether") || is(protocol, "vlan")) {
		limit(m, REACH_ANY);
	} else {
		limit(m, REACH_NONE); /* icmp and what else is neither TCP nor UDP */
	}
}

/* left OP right; `inverted` for != */
static void read_compared(const struct reader *r, const cJSON *left, const cJSON *right, bool inverted,
			  struct meaning *m)
{
	const cJSON *meta = member(left, "meta"), *payload = member(left, "payload"), *ct = member(left, "ct");

	if (meta)
		read_meta(r, text(meta, "key"), right, inverted, m);
	else if (payload)
		read_payload(r, payload, right, inverted, m);
	else if (ct && is(text(ct, "key"), "state"))
		limit(m, has_text(right, "new") != inverted ? REACH_ANY : REACH_NONE);
	else if ((ct || member(left, "fib") || member(left, "&")) && !inverted)
		limit(m, REACH_SOME); /* a status, a mark, a kind of destination */
	else
		limit(m, REACH_ANY);
}

/* ---- statements ---- */

static bool read_verdict(const cJSON *statement, struct meaning *m)
{
	static const struct {
		const char *name;
		enum verdict verdict;
	} verdicts[] = { { "accept", VERDICT_ACCEPT }, { "drop", VERDICT_REFUSE },  { "reject", VERDICT_REFUSE },
			 { "return", VERDICT_RETURN }, { "queue", VERDICT_ACCEPT }, { "jump", VERDICT_JUMP },
			 { "goto", VERDICT_GOTO },     { "continue", VERDICT_NONE } };

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		const cJSON *is_this = member(statement, verdicts[i].name);

		if (!is_this)
			continue;
		m->verdict = verdicts[i].verdict;
		m->target = text(is_this, "target");
		return true;
	}
	return false;
}

static void read_statement(const struct reader *r, const cJSON *s, struct meaning *m)
{
	const cJSON *match = member(s, "match"), *xt = member(s, "xt"), *to = member(s, "tproxy");

	if (!to)
		to = member(s, "redirect");
	if (match)
		read_compared(r, member(match, "left"), member(match, "right"), is(text(match, "op"), "!="), m);
	else if (member(s, "limit") || (xt && !is(text(xt, "type"), "target")))
		limit(m, REACH_ANY); /* something of iptables' that nft cannot read */
	else if (to)
		m->to_port = has_port(member(to, "port"), r->view->port);
	else
		(void)read_verdict(s, m);
	if (member(s, "masquerade") || member(s, "snat"))
		m->hides = true;
	if (member(s, "redirect") || member(s, "dnat"))
		m->leads = true;
}

/* ---- what it is for us ---- */

/* Anything but iptables' own tables that were read already by its tool. */
static bool seen_by_iptables(const struct reader *r, const struct place *p)
{
	static const char *const tables[] = { "filter", "nat", "mangle", "raw", "security" };
	enum ip_family family = is(p->family, "ip") ? IP_V4 : IP_V6;

	if ((!is(p->family, "ip") && !is(p->family, "ip6")) || !r->rules->nft_variant[family])
		return false;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (is(p->table, tables[i]))
			return r->rules->tables[family] & 1u << i;
	}
	return false;
}

/* False for what is not to be looked at. */
static bool read_place(struct reader *r, const cJSON *o, const char *chain, struct place *p)
{
	const cJSON *handle = member(o, "handle");

	*p = (struct place){ .family = text(o, "family"), .table = text(o, "table"), .chain = text(o, chain) };
	p->handle = cJSON_IsNumber(handle) ? handle->valuedouble : 0;
	p->of[IP_V4] = is(p->family, "inet") || is(p->family, "ip");
	p->of[IP_V6] = is(p->family, "inet") || is(p->family, "ip6");
	if ((!p->of[IP_V4] && !p->of[IP_V6]) || !p->table[0] || !p->chain[0])
		return false;
	if (is(p->table, OUR_TABLE)) {
		r->rules->ours = true;
		return false;
	}
	return !seen_by_iptables(r, p);
}

static int64_t chain_of(struct reader *r, const struct place *p, const char *chain)
{
	char name[CHAIN_NAME];
	int64_t n;

	snprintf(name, sizeof(name), "%s %s %s", p->family, p->table, chain);
	n = chains_find(r->chains, name);
	if (n < 0)
		r->no_memory = true;
	return n;
}

static void add(struct reader *r, const struct place *p, const struct meaning *m)
{
	struct chain_rule rule = { .verdict = m->verdict };
	int64_t chain = chain_of(r, p, p->chain), target = 0;

	if (m->verdict == VERDICT_JUMP || m->verdict == VERDICT_GOTO)
		target = chain_of(r, p, m->target);
	memcpy(rule.reach, m->reach, sizeof(rule.reach));
	rule.target = (uint32_t)target;
	if (chain < 0 || target < 0 || !chains_add(r->chains, (uint32_t)chain, &rule))
		r->no_memory = true;
}

/* A verdict map: {"vmap": {key, data: {"set": [[value, verdict], …]}}}; of a named one the list shows nothing. */
static void add_map(struct reader *r, const struct place *p, const struct meaning *before, const cJSON *vmap)
{
	const cJSON *entries = member(member(vmap, "data"), "set"), *entry;
	struct meaning m = *before;

	if (!cJSON_IsArray(entries)) {
		limit(&m, REACH_ANY);
		m.verdict = VERDICT_ACCEPT; /* for all we know */
		add(r, p, &m);
		return;
	}
	cJSON_ArrayForEach(entry, entries)
	{
		m = *before;
		read_compared(r, member(vmap, "key"), cJSON_GetArrayItem(entry, 0), false, &m);
		if (read_verdict(cJSON_GetArrayItem(entry, 1), &m))
			add(r, p, &m);
	}
}

static void note_foreign(struct reader *r, const struct place *p)
{
	const struct survey_program *known = survey_program_of(p->table, p->chain);
	struct survey_rule *foreign = view_foreign(r->rules);

	if (!foreign)
		return;
	snprintf(foreign->text, sizeof(foreign->text), "rule %.0f of nft's table %s %.48s, chain %.48s", p->handle,
		 p->family, p->table, p->chain);
	snprintf(foreign->command, sizeof(foreign->command), "nft delete rule %s %.100s %.100s handle %.0f", p->family,
		 p->table, p->chain, p->handle);
	foreign->program = known ? known->name : NULL;
}

static void note(struct reader *r, const struct place *p, const struct meaning *m)
{
	if (m->to_port)
		note_foreign(r, p);
	for (int f = 0; f < IP_FAMILIES; f++) {
		struct survey_family *of = &r->rules->family[f];

		if (m->reach[f] == REACH_NONE)
			continue;
		if (m->hides && m->reach[f] >= REACH_ANY)
			of->masquerade = true;
		if (m->leads && m->dns && !m->loopback && !of->dns_by[0])
			snprintf(of->dns_by, sizeof(of->dns_by), "rule %.0f of nft's table %s %.48s, chain %.48s",
				 p->handle, p->family, p->table, p->chain);
	}
}

static void read_rule(struct reader *r, const cJSON *rule)
{
	const cJSON *statement, *vmap;
	struct meaning m = { .target = "" };
	struct place p;

	if (!read_place(r, rule, "chain", &p))
		return;
	for (int f = 0; f < IP_FAMILIES; f++)
		m.reach[f] = p.of[f] ? REACH_ALL : REACH_NONE;
	cJSON_ArrayForEach(statement, member(rule, "expr"))
	{
		vmap = member(statement, "vmap");
		if (vmap)
			add_map(r, &p, &m, vmap);
		else
			read_statement(r, statement, &m);
	}
	if (m.verdict != VERDICT_NONE)
		add(r, &p, &m);
	note(r, &p, &m);
}

static void read_chain(struct reader *r, const cJSON *o)
{
	const char *hook = text(o, "hook"), *type = text(o, "type");
	enum hook at = is(hook, "forward") ? HOOK_FORWARD : is(hook, "input") ? HOOK_INPUT : HOOK_NONE;
	struct place p;
	int64_t chain;

	if (!read_place(r, o, "name", &p))
		return;
	view_program(r->rules, p.table, p.chain);
	chain = chain_of(r, &p, p.chain);
	if (chain >= 0 && at != HOOK_NONE && is(type, "filter"))
		chains_base(r->chains, (uint32_t)chain, at, p.of, is(text(o, "policy"), "drop"));
}

/* `chain` is "inet TABLE CHAIN" */
static void words(const char *chain, enum ip_family family, bool policy, struct chain_words *out)
{
	(void)family;
	out->nft = true;
	snprintf(out->where, sizeof(out->where), "nft, chain %.60s, %s", chain,
		 policy ? "policy drop" : "its last rule");
	snprintf(out->open, sizeof(out->open), "nft insert rule %.70s", chain);
}

static void read_list(struct reader *r, const cJSON *list)
{
	const cJSON *o;

	cJSON_ArrayForEach(o, list)
	{
		const cJSON *table = member(o, "table"), *chain = member(o, "chain"), *rule = member(o, "rule");

		if (table)
			view_program(r->rules, text(table, "name"), NULL);
		if (chain)
			read_chain(r, chain);
		if (rule)
			read_rule(r, rule);
		if (r->no_memory)
			return;
	}
}

static void judge(const struct reader *r)
{
	for (int f = 0; f < IP_FAMILIES; f++) {
		chains_judge(r->chains, HOOK_FORWARD, (enum ip_family)f, words, &r->rules->family[f].forward);
		chains_judge(r->chains, HOOK_INPUT, (enum ip_family)f, words, &r->rules->family[f].input);
	}
}

int survey_nft(const char *listing, size_t len, const struct survey_view *view, struct survey_rules *rules,
	       struct err *e)
{
	struct reader r = { .view = view, .rules = rules };
	const char *json = memchr(listing, '{', len);
	cJSON *root;

	if (len > SURVEY_LISTING_MAX)
		return err_set(e, EFBIG, "nft's list of rules is too long");
	if (!json)
		return err_set(e, EINVAL, "nft's list of rules is not JSON");
	len -= (size_t)(json - listing);
	if (!bounded(json, len))
		return err_set(e, EFBIG, "nft's list of rules is too long or too deep");
	root = cJSON_ParseWithLength(json, len);
	r.chains = chains_new();
	if (!root || !r.chains) {
		cJSON_Delete(root);
		chains_free(r.chains);
		return root ? err_sys(e, ENOMEM, "cannot read nft's list of rules")
			    : err_set(e, EINVAL, "nft's list of rules is not JSON");
	}
	read_list(&r, member(root, "nftables"));
	if (!r.no_memory)
		judge(&r);
	cJSON_Delete(root);
	chains_free(r.chains);
	return r.no_memory ? err_sys(e, ENOMEM, "cannot read nft's list of rules") : 0;
}
