#include "clashsup/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };
static const char *const forward_sysctl[IP_FAMILIES] = { "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding" };
static const char *const bridge_sysctl[IP_FAMILIES] = { "net.bridge.bridge-nf-call-iptables",
							"net.bridge.bridge-nf-call-ip6tables" };
static const char *const bridge_own[IP_FAMILIES] = { "nf_call_iptables", "nf_call_ip6tables" };

/* ---- the list ---- */

void findings_add(struct findings *out, enum finding_kind kind, enum finding_weight weight, const char *command,
		  const char *fmt, ...)
{
	size_t at = out->n;
	struct finding *f;
	va_list ap;

	if (out->n == FINDINGS_MAX)
		return;
	while (at > 0 && out->list[at - 1].weight > weight)
		at--;
	f = &out->list[at];
	memmove(f + 1, f, (out->n++ - at) * sizeof(*f));
	*f = (struct finding){ .kind = kind, .weight = weight };
	snprintf(f->command, sizeof(f->command), "%s", command ? command : "");
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

const struct finding *findings_refusal(const struct findings *list)
{
	return list->n > 0 && list->list[0].weight == FINDING_REFUSE ? &list->list[0] : NULL;
}

/* ---- interfaces ---- */

static const struct survey_link *first_lan(const struct survey_facts *f)
{
	for (size_t i = 0; i < f->n_links; i++) {
		if (f->links[i].lan)
			return &f->links[i];
	}
	return NULL;
}

/* A parameter that holds when it is set for all or for the one. */
static bool either(int all, int one)
{
	return all == 1 || one == 1;
}

/* The bridge hands packets to iptables before they are routed: TPROXY finds no socket then (tried: TCP and UDP). */
static bool bridge_filters(const struct survey_facts *f, const struct survey_link *l, enum ip_family family)
{
	return l->lan && l->bridge && either(f->bridge_nf[family], l->bridge_nf[family]);
}

/*
 * The reverse path of an intercepted packet is looked up with our mark, ends in our table's local route, and so the
 * packet is dropped; whatever rp_filter says, since our local route makes the kernel look (fib_validate_source). With
 * accept_local it passes, unless rp_filter is strict (tried: all of 27).
 */
static bool mark_is_fatal(const struct survey_facts *f, const struct survey_link *l)
{
	int rp = l->rp_filter > f->rp_filter_all ? l->rp_filter : f->rp_filter_all;

	return l->lan && either(f->src_valid_mark_all, l->src_valid_mark) &&
	       !(either(f->accept_local_all, l->accept_local) && rp != 1);
}

/* ---- the direct path ---- */

enum path { PATH_OK, PATH_OFF, PATH_CLOSED, PATH_UNHIDDEN };

static const struct survey_link *uplink(const struct survey_facts *f, enum ip_family family)
{
	for (size_t i = 0; i < f->n_links; i++) {
		if (f->links[i].uplink[family])
			return &f->links[i];
	}
	return NULL;
}

/* Every address of the LAN is a private one: nobody beyond the uplink knows the way back. */
static bool lan_is_private(const struct survey_facts *f)
{
	bool any = false;

	for (size_t i = 0; i < f->n_links; i++) {
		if (f->links[i].lan && f->links[i].public4)
			return false;
		any = any || (f->links[i].lan && f->links[i].private4);
	}
	return any;
}

static enum path path_of(const struct survey_facts *f, enum ip_family family)
{
	const struct survey_link *up = uplink(f, family);

	if (family == IP_V6 && !up)
		return PATH_OK; /* a machine without IPv6 to the internet has no path to lose */
	if (f->forward[family] == 0)
		return PATH_OFF;
	if (f->rules.family[family].forward.closed)
		return PATH_CLOSED;
	if (family == IP_V4 && f->rules_known && !f->rules.family[family].masquerade && lan_is_private(f) && up &&
	    !up->lan)
		return PATH_UNHIDDEN;
	return PATH_OK;
}

static void why_no_path(const struct survey_facts *f, enum ip_family family, char *buf, size_t cap)
{
	switch (path_of(f, family)) {
	case PATH_OFF:
		snprintf(buf, cap, "%s is 0", forward_sysctl[family]);
		break;
	case PATH_CLOSED:
		snprintf(buf, cap, "%s", f->rules.family[family].forward.where);
		break;
	case PATH_UNHIDDEN:
		snprintf(buf, cap, "no masquerade for a LAN of private addresses");
		break;
	case PATH_OK:
		buf[0] = '\0';
		break;
	}
}

const char *findings_direct_path(const struct survey_facts *f, const struct findings_wish *w, char *buf, size_t cap)
{
	char why[IP_FAMILIES][160];
	bool gone[IP_FAMILIES];

	for (int i = 0; i < IP_FAMILIES; i++) {
		why_no_path(f, (enum ip_family)i, why[i], sizeof(why[i]));
		gone[i] = w->family[i] && why[i][0];
	}
	if (gone[IP_V4] && (gone[IP_V6] || !w->family[IP_V6]))
		snprintf(buf, cap, "none (%s)", why[IP_V4]);
	else if (gone[IP_V6] && !w->family[IP_V4])
		snprintf(buf, cap, "none (%s)", why[IP_V6]);
	else if (gone[IP_V4] || gone[IP_V6])
		snprintf(buf, cap, "%s only (%s)", family_name[gone[IP_V4] ? IP_V6 : IP_V4],
			 why[gone[IP_V4] ? IP_V4 : IP_V6]);
	else if (!f->rules_known)
		snprintf(buf, cap, "unknown (%s)", f->unknown[0] ? f->unknown : "neither iptables nor nft is there");
	else
		snprintf(buf, cap, "ok");
	return buf;
}

/* The program that closes FORWARD, if one does that by habit. */
static const char *closed_by(const struct survey_facts *f)
{
	for (size_t i = 0; i < f->rules.n_programs; i++) {
		if (!f->rules.programs[i].proxy)
			return f->rules.programs[i].name;
	}
	return NULL;
}

/* `replies`: and what comes back, which a chain that refuses by itself does not let through either. */
static void open_command(const struct survey_facts *f, const struct survey_hook *hook, bool replies, char *buf,
			 size_t cap)
{
	const struct survey_link *lan = first_lan(f);
	const char *name = lan ? lan->name : "LAN";
	int used;

	if (hook->nft)
		used = snprintf(buf, cap, "%s iifname %s accept", hook->open, name);
	else
		used = snprintf(buf, cap, "%s -i %s -j ACCEPT", hook->open, name);
	if (!replies || used < 0 || (size_t)used >= cap)
		return;
	if (hook->nft)
		snprintf(buf + used, cap - (size_t)used, "; %s oifname %s ct state established,related accept",
			 hook->open, name);
	else
		snprintf(buf + used, cap - (size_t)used,
			 "; %s -o %s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", hook->open, name);
}

static void judge_path(const struct survey_facts *f, const struct findings_wish *w, enum ip_family family,
		       struct findings *out)
{
	const struct survey_hook *hook = &f->rules.family[family].forward;
	enum finding_weight weight = w->closed ? FINDING_NOTE : FINDING_WARN;
	char command[FINDING_COMMAND] = "";
	const char *who = closed_by(f);

	switch (path_of(f, family)) {
	case PATH_OFF:
		snprintf(command, sizeof(command), "sysctl -w %s=1", forward_sysctl[family]);
		findings_add(out, FINDING_DIRECT_PATH, weight, command,
			     "no direct path for %s: %s is 0, so the LAN is cut off whenever Mihomo is down",
			     family_name[family], forward_sysctl[family]);
		break;
	case PATH_CLOSED:
		open_command(f, hook, true, command, sizeof(command));
		findings_add(out, FINDING_DIRECT_PATH, weight, command,
			     "no direct path for %s: forwarding is refused (%s)%s%s%s, so the LAN is cut off whenever"
			     " Mihomo is down",
			     family_name[family], hook->where, who ? "; " : "", who ? who : "",
			     who ? " has rules there" : "");
		break;
	case PATH_UNHIDDEN:
		snprintf(command, sizeof(command), "iptables -w -t nat -A POSTROUTING -o %s -j MASQUERADE",
			 uplink(f, family)->name);
		findings_add(out, FINDING_DIRECT_PATH, weight, command,
			     "no direct path for IPv4: the LAN has private addresses only and nothing hides them"
			     " (no masquerade), so it is cut off whenever Mihomo is down");
		break;
	case PATH_OK:
		break;
	}
}

/* ---- what keeps interception from working ---- */

static void judge_bridge(const struct survey_facts *f, enum ip_family family, struct findings *out)
{
	char command[FINDING_COMMAND];

	for (size_t i = 0; i < f->n_links; i++) {
		const struct survey_link *l = &f->links[i];
		bool all = f->bridge_nf[family] == 1;

		if (!bridge_filters(f, l, family))
			continue;
		if (all)
			snprintf(command, sizeof(command), "sysctl -w %s=0", bridge_sysctl[family]);
		else
			snprintf(command, sizeof(command), "ip link set %s type bridge %s 0", l->name,
				 bridge_own[family]);
		findings_add(out, FINDING_BRIDGE_NF, FINDING_WARN, command,
			     "%s of bridge %s cannot be proxied: %s%s is 1 (Docker sets it; bridges that need it have"
			     " a switch of their own)",
			     family_name[family], l->name, all ? "" : "its own ",
			     all ? bridge_sysctl[family] : bridge_own[family]);
		if (all)
			return; /* one command for all bridges */
	}
}

static void judge_mark(const struct survey_facts *f, struct findings *out)
{
	char command[FINDING_COMMAND];

	for (size_t i = 0; i < f->n_links; i++) {
		const struct survey_link *l = &f->links[i];
		bool all = f->src_valid_mark_all == 1;

		if (!mark_is_fatal(f, l))
			continue;
		snprintf(command, sizeof(command), "sysctl -w net/ipv4/conf/%s/src_valid_mark=0",
			 all ? "all" : l->name);
		findings_add(out, FINDING_VALID_MARK, FINDING_WARN, command,
			     "IPv4 of %s cannot be proxied: net.ipv4.conf.%s.src_valid_mark is 1 (VPN clients set it;"
			     " rp_filter = 2 does for them as well)",
			     l->name, all ? "all" : l->name);
		if (all && l->src_valid_mark != 1)
			return;
	}
}

static void judge_input(const struct survey_facts *f, const struct findings_wish *w, enum ip_family family,
			struct findings *out)
{
	const struct survey_hook *hook = &f->rules.family[family].input;
	char command[FINDING_COMMAND];

	/* CLASH_INPUT opens what is iptables' */
	if (!hook->closed || (!hook->nft && w->input_accept != WISH_NO))
		return;
	open_command(f, hook, false, command, sizeof(command));
	findings_add(out, FINDING_INPUT, FINDING_WARN, command, "%s of the LAN is refused on its way to Mihomo (%s)%s",
		     family_name[family], hook->where,
		     hook->nft ? ": no rule of clashsup's can open that chain" : ", and input_accept is no");
}

bool findings_input_accept(const struct survey_facts *f, const struct findings_wish *w)
{
	bool wanted = w->input_accept == WISH_YES;

	for (int i = 0; i < IP_FAMILIES; i++)
		wanted = wanted || (w->input_accept == WISH_AUTO && w->family[i] && f->rules.family[i].input.refuses);
	return wanted;
}

/* ---- other programs ---- */

static const struct survey_program *other_proxy(const struct survey_facts *f)
{
	for (size_t i = 0; i < f->rules.n_programs; i++) {
		if (f->rules.programs[i].proxy)
			return &f->rules.programs[i];
	}
	return NULL;
}

static void judge_neighbours(const struct survey_facts *f, struct findings *out)
{
	const struct survey_program *p = other_proxy(f);

	for (size_t i = 0; i < f->n_strangers; i++) {
		const struct survey_rule *s = &f->strangers[i];
		const char *who = s->program ? s->program : p ? p->name : NULL;

		if (s->same && !who) { /* left by a script, say: no harm, but it may go at any time */
			findings_add(out, FINDING_COLLISION, FINDING_NOTE, s->command,
				     "%s does what clashsup's own does, and is somebody else's", s->text);
			continue;
		}
		findings_add(out, FINDING_COLLISION, FINDING_REFUSE, s->command,
			     "%s collides with clashsup's own%s%s: choose another mark, table or pref in [tproxy], or"
			     " remove it",
			     s->text, who ? "; it may be of " : "", who ? who : "");
	}
	for (size_t i = 0; i < f->rules.n_foreign; i++) {
		const struct survey_rule *s = &f->rules.foreign[i];

		findings_add(out, FINDING_FOREIGN_RULE, FINDING_REFUSE, s->command,
			     "somebody else%s%s%s leads traffic to Mihomo's TPROXY port: %s", s->program ? " (" : "",
			     s->program ? s->program : "", s->program ? ")" : "", s->text);
	}
	for (size_t i = 0; i < f->rules.n_programs; i++) {
		if (f->rules.programs[i].proxy)
			findings_add(
				out, FINDING_OTHER_PROXY, FINDING_WARN, NULL,
				"%s has rules here too: two transparent proxies take each other's traffic, stop one",
				f->rules.programs[i].name);
	}
}

bool findings_dns_taken(const struct survey_facts *f, char *why, size_t cap)
{
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (f->rules.family[i].dns_by[0]) {
			snprintf(why, cap, "port 53 is redirected already: %s", f->rules.family[i].dns_by);
			return true;
		}
	}
	if (f->n_dns == 0)
		return false;
	if (f->dns[0].pid)
		snprintf(why, cap, "port 53 is served by %s (pid %d)", f->dns[0].name, (int)f->dns[0].pid);
	else
		snprintf(why, cap, "port 53 is served by a process that cannot be seen");
	return true;
}

static void judge_dns(const struct survey_facts *f, const struct findings_wish *w, struct findings *out)
{
	char why[SURVEY_TEXT + 64];

	if (w->dns == WISH_NO || !findings_dns_taken(f, why, sizeof(why)))
		return;
	if (w->dns == WISH_YES)
		findings_add(out, FINDING_DNS, FINDING_WARN, NULL,
			     "%s: with dns = on the LAN's queries are taken away from it", why);
	else
		findings_add(out, FINDING_DNS, FINDING_NOTE, NULL, "%s: dns = auto leaves it alone", why);
}

void findings_judge(const struct survey_facts *f, const struct findings_wish *w, struct findings *out)
{
	judge_neighbours(f, out);
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (!w->family[i])
			continue;
		judge_path(f, w, (enum ip_family)i, out);
		judge_bridge(f, (enum ip_family)i, out);
		judge_input(f, w, (enum ip_family)i, out);
	}
	if (w->family[IP_V4])
		judge_mark(f, out);
	judge_dns(f, w, out);
	if (f->tun[0])
		findings_add(out, FINDING_TUN, FINDING_WARN, NULL,
			     "Mihomo's tun is on (interface %s), perhaps by its API: two take the same traffic; switch "
			     "tun off, or run clashsup with [tproxy] mode = mixed",
			     f->tun);
	if (f->unknown[0])
		findings_add(out, FINDING_UNKNOWN, FINDING_NOTE, NULL, "not all could be looked at: %s", f->unknown);
}

/* ---- sysctls ---- */

struct wants {
	struct findings_sysctl *out;
	size_t n;
};

static void want(struct wants *w, const char *name, int value)
{
	for (size_t i = 0; i < w->n; i++) {
		if (strcmp(w->out[i].name, name) == 0)
			return;
	}
	if (w->n == FINDINGS_SYSCTLS_MAX)
		return;
	snprintf(w->out[w->n].name, sizeof(w->out[w->n].name), "%s", name);
	w->out[w->n++].value = value;
}

/* A machine that forwards listens to no router advertisement any more, unless it is told to: first that, then forward.
 */
static void want_forward(const struct survey_facts *f, enum ip_family family, struct wants *out)
{
	char name[FINDINGS_SYSCTL_NAME];

	if (f->forward[family] != 0)
		return;
	for (size_t i = 0; family == IP_V6 && i < f->n_links; i++) {
		if (!f->links[i].uplink[IP_V6] || f->links[i].accept_ra != 1)
			continue;
		snprintf(name, sizeof(name), "net/ipv6/conf/%s/accept_ra", f->links[i].name);
		want(out, name, 2);
	}
	want(out, forward_sysctl[family], 1);
}

static void want_no_mark(const struct survey_facts *f, struct wants *out)
{
	char name[FINDINGS_SYSCTL_NAME];

	for (size_t i = 0; i < f->n_links; i++) {
		if (!mark_is_fatal(f, &f->links[i]))
			continue;
		if (f->src_valid_mark_all == 1)
			want(out, "net/ipv4/conf/all/src_valid_mark", 0);
		snprintf(name, sizeof(name), "net/ipv4/conf/%s/src_valid_mark", f->links[i].name);
		if (f->links[i].src_valid_mark == 1)
			want(out, name, 0);
	}
}

size_t findings_sysctls(const struct survey_facts *f, const struct findings_wish *w,
			struct findings_sysctl out[FINDINGS_SYSCTLS_MAX])
{
	struct wants wants = { .out = out };

	for (int family = 0; family < IP_FAMILIES; family++) {
		if (!w->family[family])
			continue;
		if (!w->closed)
			want_forward(f, (enum ip_family)family, &wants);
		for (size_t i = 0; i < f->n_links; i++) {
			if (bridge_filters(f, &f->links[i], (enum ip_family)family) && f->bridge_nf[family] == 1)
				want(&wants, bridge_sysctl[family], 0);
		}
	}
	if (w->family[IP_V4])
		want_no_mark(f, &wants);
	return wants.n;
}
