#include <string.h>

#include "core/fwplan_rules.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- what of it a plan has ---- */

static bool lacks(const struct fw_plan *plan, unsigned what)
{
	return plan->p->lacks[plan->family] & what;
}

static bool has_dns(const struct fw_plan *plan)
{
	return plan->p->dns.on && !lacks(plan, FW_LACKS_NAT);
}

static bool has_fallback(const struct fw_plan *plan)
{
	return has_dns(plan) && !plan->p->closed && plan->p->dns.has_fallback[plan->family];
}

static bool has_set(const struct fw_plan *plan, enum fw_set set)
{
	return fwplan_has_set(plan->p, plan->family, set);
}

bool fw_plan_has_chain(const struct fw_plan *plan, enum fw_chain chain)
{
	bool local;

	if (!(plan->parts & fw_chain_info[chain].part) ||
	    (plan->p->standing_only[plan->family] && fw_chain_info[chain].part == FWPLAN_ARMED))
		return false;
	local = plan->p->local && !lacks(plan, FW_LACKS_OWNER);
	switch (chain) {
	case CHAIN_DIVERT:
		return !lacks(plan, FW_LACKS_SOCKET);
	case CHAIN_IN:
	case CHAIN_SELECT:
		return true;
	case CHAIN_OUT:
		return local;
	case CHAIN_INPUT:
		return plan->p->input_accept && plan->backend == FW_IPTABLES;
	case CHAIN_CLOSED:
		return plan->p->closed;
	case CHAIN_FAKE:
		return plan->p->refuse_fake && has_set(plan, FWSET_FAKE);
	case CHAIN_DNS:
		return has_dns(plan);
	case CHAIN_DNS_OUT:
		return has_dns(plan) && local;
	case CHAIN_DNS_SNAT:
		return has_fallback(plan);
	case CHAIN_PROBE_NAT:
	case CHAIN_PROBE_FILTER:
	case CHAIN_PROBE_MANGLE:
	case FW_CHAINS:
		break;
	}
	return false;
}

const char *fw_plan_set(const struct fw_plan *plan, enum fw_set set, char buf[FWPLAN_SET_TEXT])
{
	bool one = plan->backend == FW_NFT && set == FWSET_LEASE;

	return fwplan_set(plan->p, one ? IP_V4 : plan->family, set, buf);
}

static const struct iface_list *ifaces_of(const struct fw_plan *plan, enum fw_word w)
{
	static const struct iface_list none;

	if (!plan->p->selection)
		return &none;
	return w == FROM_WHOM ? &plan->p->selection->lan_ifaces : &plan->p->selection->skip_ifaces;
}

static unsigned what_is_so(const struct fw_plan *plan)
{
	return (plan->family == IP_V4 ? NEED_V4 : 0) | (plan->backend == FW_NFT ? NEED_NFT : 0) |
	       (lacks(plan, FW_LACKS_SOCKET) ? NEED_NO_SOCKET : NEED_SOCKET) |
	       (lacks(plan, FW_LACKS_REJECT) ? 0 : NEED_REJECT) |
	       (plan->p->servers_output_only ? 0 : NEED_LAN_SERVERS) | (has_dns(plan) ? NEED_DNS : 0) |
	       (has_fallback(plan) ? NEED_FALLBACK : 0) | (has_set(plan, FWSET_FAKE) ? NEED_FAKE : NEED_NO_FAKE) |
	       (ifaces_of(plan, FROM_WHOM)->n ? 0 : NEED_ANY_LAN);
}

/* ---- rules that stand for several ---- */

/* How many sets we are restricted to; 0 = to everybody. */
static size_t count_only(const struct fw_plan *plan)
{
	size_t n = 0;

	for (size_t i = 0; i < FW_FROM_ONLY; i++)
		n += has_set(plan, fw_from_only[i].set);
	return n;
}

/* How many rules a word makes of its row. */
static size_t times(const struct fw_plan *plan, enum fw_word w)
{
	size_t ifaces, only;

	switch (w) {
	case ROUTING_MARK:
		return plan->p->n_routing_marks;
	case IN_SKIP_IFACE:
	case OUT_SKIP_IFACE:
		return ifaces_of(plan, w)->n;
	case FROM_WHOM: /* interfaces x sets, and where there are none nothing is asked */
		ifaces = ifaces_of(plan, w)->n;
		only = count_only(plan);
		return (ifaces ? ifaces : 1) * (only ? only : 1);
	default:
		return fw_set_of[w] == 0 || has_set(plan, (enum fw_set)(fw_set_of[w] - 1));
	}
}

/* ---- printing ---- */

/* One rule that is being written, and which of those that its row stands for. */
struct line {
	const struct fw_plan *plan;
	const struct fw_rule *rule;
	size_t nth;
	struct text *t;
	const struct iface *iface; /* what is asked by the word at hand */
	enum fw_set set;
};

static const char *protocol(const struct fw_rule *r)
{
	for (size_t i = 0; i < FW_WORDS_MAX; i++) {
		if (r->match[i] == TCP || r->match[i] == UDP)
			return r->match[i] == TCP ? "tcp" : "udp";
	}
	return "";
}

/* iptables writes '+' for '*', and has no room for it behind a name of full length. */
static void put_iface(const struct line *l)
{
	const char *name = l->iface->name;
	size_t n = strlen(name);
	bool any = n > 0 && name[n - 1] == '*';

	text_put(l->t, name, any ? n - 1 : n);
	if (any && n < IFACE_TEXT)
		text_puts(l->t, l->plan->backend == FW_NFT ? "*" : "+");
}

static void put_addr(const struct line *l, const struct addr *a, bool as_in_url)
{
	bool brackets = as_in_url && a->family == IP_V6;
	char buf[ADDR_TEXT];

	text_fmt(l->t, "%s%s%s", brackets ? "[" : "", addr_text(a, buf), brackets ? "]" : "");
}

static void put_mark(const struct line *l, uint32_t mark, bool mask)
{
	text_fmt(l->t, mask ? "0x%x/0xffffffff" : "0x%x", mark);
}

/* The letters whose values the family alone decides. */
static const char *family_value(char letter, enum ip_family family)
{
	static const struct {
		char letter;
		const char *value[IP_FAMILIES];
	} values[] = {
		{ '4', { "4", "6" } },
		{ 'a', { "ip", "ip6" } },
		{ 'u', { "224.0.0.0/4", "ff00::/8" } },
		{ 'i', { "127.0.0.1", "::1" } },
		{ 'I', { "127.0.0.1", "[::1]" } },
	};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		if (values[i].letter == letter)
			return values[i].value[family];
	}
	return "";
}

static void put_value(const struct line *l, char letter)
{
	const struct fwplan_params *p = l->plan->p;
	enum ip_family family = l->plan->family;
	char name[FWPLAN_SET_TEXT];

	switch (letter) {
	case 'm':
	case 'M':
		put_mark(l, p->mark, letter == 'm');
		break;
	case 'r':
	case 'R':
		put_mark(l, p->routing_marks[l->nth], letter == 'r');
		break;
	case 'p':
		text_fmt(l->t, "%u", (unsigned)p->port);
		break;
	case 'd':
		text_fmt(l->t, "%u", (unsigned)p->dns.port);
		break;
	case 'g':
		text_fmt(l->t, "%u", p->core_gid);
		break;
	case 'b':
	case 'B':
		put_addr(l, &p->dns.fallback[family], letter == 'B');
		break;
	case 's':
		text_puts(l->t, fw_plan_set(l->plan, l->set, name));
		break;
	case 'f':
		put_iface(l);
		break;
	case 'l':
		text_puts(l->t, protocol(l->rule));
		break;
	default:
		text_puts(l->t, family_value(letter, family));
	}
}

static void put_spelling(const struct line *l, const struct fw_spelling *spelling)
{
	const char *s = spelling->in[l->plan->backend];

	while (*s != '\0') {
		size_t plain = strcspn(s, "$");

		text_put(l->t, s, plain);
		s += plain;
		if (*s == '$') {
			put_value(l, s[1]);
			s += 2;
		}
	}
	text_puts(l->t, " ");
}

/* A lone '*' asks nothing. */
static void put_asked_iface(struct line *l, const struct fw_spelling *spelling, const struct iface *iface)
{
	l->iface = iface;
	if (strcmp(iface->name, "*") != 0)
		put_spelling(l, spelling);
}

static void put_from_whom(struct line *l)
{
	const struct iface_list *ifaces = ifaces_of(l->plan, FROM_WHOM);
	size_t only = count_only(l->plan), nth = only ? l->nth % only : 0;

	if (ifaces->n)
		put_asked_iface(l, &fw_from_iface, &ifaces->ifaces[l->nth / (only ? only : 1)]);
	for (size_t i = 0; i < FW_FROM_ONLY && only; i++) {
		if (!has_set(l->plan, fw_from_only[i].set) || nth-- != 0)
			continue;
		l->set = fw_from_only[i].set;
		put_spelling(l, &fw_from_only[i].spelling);
		return;
	}
}

static void put_word(struct line *l, enum fw_word w)
{
	if (fw_set_of[w])
		l->set = (enum fw_set)(fw_set_of[w] - 1);
	if (w == FROM_WHOM)
		put_from_whom(l);
	else if (w == IN_SKIP_IFACE || w == OUT_SKIP_IFACE)
		put_asked_iface(l, &fw_words[w], &ifaces_of(l->plan, w)->ifaces[l->nth]);
	else
		put_spelling(l, &fw_words[w]);
}

static void put_action(const struct line *l)
{
	enum fw_action a = l->rule->action;

	if (a == REJECT && lacks(l->plan, FW_LACKS_REJECT))
		a = DROP;
	if (a == REJECT && strcmp(protocol(l->rule), "tcp") == 0)
		put_spelling(l, &fw_reject_tcp);
	else
		put_spelling(l, &fw_actions[a]);
	if (!l->t->failed)
		l->t->buf[l->t->len - 1] = '\n'; /* in the place of the last blank */
}

static void put_rule(const struct fw_plan *plan, const struct fw_rule *rule, const char *before, struct text *t)
{
	size_t n = 1;

	for (size_t i = 0; i < FW_WORDS_MAX && rule->match[i] != END; i++)
		n *= times(plan, rule->match[i]);
	for (size_t nth = 0; nth < n; nth++) {
		struct line l = { .plan = plan, .rule = rule, .nth = nth, .t = t };

		if (rule->match[0] == ROUTING_MARK && plan->p->routing_marks[nth] == 0)
			continue;
		text_puts(t, before);
		for (size_t i = 0; i < FW_WORDS_MAX && rule->match[i] != END; i++)
			put_word(&l, rule->match[i]);
		put_action(&l);
		if (t->failed)
			return;
	}
}

void fw_plan_put_rules(const struct fw_plan *plan, enum fw_chain chain, const char *before, struct text *t)
{
	unsigned so = what_is_so(plan);

	for (size_t i = 0; i < fw_n_rules; i++) {
		if ((fw_rules[i].chains & 1u << chain) && (fw_rules[i].need & ~so) == 0)
			put_rule(plan, &fw_rules[i], before, t);
	}
}
