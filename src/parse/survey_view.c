#include "parse/survey_view.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/addr.h"

/* ---- interfaces ---- */

static bool name_matches(const char *pattern, const char *name)
{
	size_t len = strlen(pattern);

	if (len > 0 && (pattern[len - 1] == '+' || pattern[len - 1] == '*'))
		return strncmp(pattern, name, len - 1) == 0;
	return strcmp(pattern, name) == 0;
}

/* Docker names its bridges br-, with 12 hexadecimal digits of the network's id. */
static bool docker_bridge(const char *name)
{
	return strncmp(name, "br-", 3) == 0 && strlen(name) == 15 && strspn(name + 3, "0123456789abcdef") == 12;
}

bool survey_is_container(const char *name)
{
	static const char *const begin[] = { "docker", "veth", "virbr", "lxcbr", "lxdbr", "incusbr",
					     "podman", "cni",  "cali",	"vnet",	 "vmnet", "flannel" };

	for (size_t i = 0; i < sizeof(begin) / sizeof(begin[0]); i++) {
		if (strncmp(name, begin[i], strlen(begin[i])) == 0)
			return true;
	}
	return docker_bridge(name);
}

static bool no_lan(const char *name)
{
	return survey_is_container(name) || strcmp(name, "lo") == 0;
}

enum reach view_iif(const struct survey_view *v, const char *name, bool inverted)
{
	bool lan = !no_lan(name);

	if (v->lan_ifaces && v->lan_ifaces->n > 0) {
		lan = false;
		for (size_t i = 0; i < v->lan_ifaces->n && !lan; i++)
			lan = name_matches(name, v->lan_ifaces->ifaces[i].name) ||
			      name_matches(v->lan_ifaces->ifaces[i].name, name);
	}
	return lan != inverted ? REACH_ANY : REACH_NONE;
}

enum reach view_oif(const char *name, bool inverted)
{
	return no_lan(name) && !inverted ? REACH_NONE : REACH_ANY;
}

/* ---- addresses ---- */

enum reach view_source(const struct survey_view *v, const char *net, bool inverted)
{
	struct addr_net source;
	bool met = v->n_lan == 0 || addr_net_parse(net, &source) < 0;

	for (size_t i = 0; i < v->n_lan && !met; i++) {
		const struct addr_net *lan = &v->lan[i];

		met = addr_in(&lan->addr, &source) || addr_in(&source.addr, lan);
	}
	return met != inverted ? REACH_ANY : REACH_NONE;
}

bool view_loopback(const char *net)
{
	struct addr_net n;

	if (addr_net_parse(net, &n) < 0)
		return false;
	if (n.addr.family == IP_V4)
		return n.addr.bytes[0] == 127;
	return strcmp(net, "::1") == 0 || strcmp(net, "::1/128") == 0;
}

/* ---- findings ---- */

struct survey_rule *view_foreign(struct survey_rules *rules)
{
	if (rules->n_foreign == SURVEY_RULES_MAX) {
		rules->more_foreign++;
		return NULL;
	}
	return &rules->foreign[rules->n_foreign++];
}

bool view_our_chain(const char *chain)
{
	return strncmp(chain, "CLASH_", 6) == 0;
}

/*
 * Names as the programs' own sources have them: luci-app-passwall and -passwall2 (nftables.sh, iptables.sh),
 * homeproxy (firewall_post.ut), v2rayA (tproxy.go), ShellCrash (start.sh), OpenClash (init.d/openclash),
 * nikki and momo (hijack.ut), ssr-plus (ss-rules), ss-tproxy, XKeen (S24xray), sing-tun (redirect_nftables.go).
 */
static const struct known {
	const char *table, *chain; /* NULL: any; a chain's is a beginning, upper or lower case as it stands */
	struct survey_program program;
} known[] = {
	{ "passwall2", NULL, { "passwall2", true } },
	{ "passwall", NULL, { "passwall", true } },
	{ NULL, "PSW2", { "passwall2", true } },
	{ NULL, "PSW", { "passwall", true } },
	{ NULL, "homeproxy_", { "homeproxy", true } },
	{ "v2raya", NULL, { "v2rayA", true } },
	{ NULL, "TP_PRE", { "v2rayA", true } },
	{ NULL, "TP_OUT", { "v2rayA", true } },
	{ NULL, "TP_RULE", { "v2rayA", true } },
	{ "shellcrash", NULL, { "ShellCrash", true } },
	{ NULL, "shellcrash", { "ShellCrash", true } },
	{ NULL, "openclash", { "OpenClash", true } },
	{ "nikki", NULL, { "nikki", true } },
	{ "momo", NULL, { "momo", true } },
	{ "ss_spec", NULL, { "ShadowsocksR Plus+", true } },
	{ NULL, "SS_SPEC", { "ShadowsocksR Plus+", true } },
	{ NULL, "SSTP_", { "ss-tproxy", true } },
	{ NULL, "xkeen", { "XKeen", true } },
	{ "sing-box", NULL, { "sing-box auto-redirect", true } },
	{ "docker-bridges", NULL, { "Docker", false } },
	{ NULL, "DOCKER", { "Docker", false } },
	{ NULL, "ufw-", { "ufw", false } },
	{ NULL, "ufw6-", { "ufw", false } },
	{ "firewalld", NULL, { "firewalld", false } },
	{ "fw4", NULL, { "OpenWrt's firewall", false } },
};

const struct survey_program *survey_program_of(const char *table, const char *chain)
{
	for (size_t pass = 0; pass < 2; pass++) { /* OpenClash's chains stand in OpenWrt's table: chains first */
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
			const struct known *k = &known[i];

			if (pass == 0 && k->chain && chain && strncmp(chain, k->chain, strlen(k->chain)) == 0)
				return &k->program;
			if (pass == 1 && k->table && table && strcmp(table, k->table) == 0)
				return &k->program;
		}
	}
	return NULL;
}

void view_program(struct survey_rules *rules, const char *table, const char *chain)
{
	const struct survey_program *p = survey_program_of(table, chain);

	if (!p)
		return;
	for (size_t i = 0; i < rules->n_programs; i++) {
		if (strcmp(rules->programs[i].name, p->name) == 0)
			return;
	}
	if (rules->n_programs < SURVEY_PROGRAMS_MAX)
		rules->programs[rules->n_programs++] = *p;
}
