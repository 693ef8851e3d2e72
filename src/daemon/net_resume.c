/*
 * Over a reexec, when armed: what is in the kernel stays there. The new program
 * keeps the lease at once, and when the surroundings are known puts its own plan
 * in the place of the former one (net_replan): what it would make of it may
 * differ. Until then nothing is looked after, since nobody knows what is whole.
 */
#include <stdio.h>
#include <string.h>

#include "clashsup/log.h"
#include "daemon/json_get.h"
#include "daemon/net.h"
#include "daemon/plan_params.h"

static const char *const family_key[IP_FAMILIES] = { "v4", "v6" };

static void save_family(const struct net *n, enum ip_family f, cJSON *to)
{
	char text[ADDR_TEXT];
	unsigned there = 0;

	for (unsigned set = 0; set < FW_SETS; set++)
		there |= n->sets.there[f][set] ? 1u << set : 0;
	cJSON_AddBoolToObject(to, "on", n->family[f]);
	cJSON_AddNumberToObject(to, "sets", there);
	cJSON_AddStringToObject(to, "note", n->note[f]);
	if (n->plan.dns.on && n->plan.dns.has_fallback[f])
		cJSON_AddStringToObject(to, "dns_fallback", addr_text(&n->plan.dns.fallback[f], text));
}

void net_save(const struct net *n, cJSON *to)
{
	cJSON_AddBoolToObject(to, "on", n->on);
	cJSON_AddBoolToObject(to, "clean", n->direct && !n->sweep && net_is_clean(n));
	cJSON_AddBoolToObject(to, "armed_before", n->armed_before);
	if (!n->on)
		return;
	cJSON_AddStringToObject(to, "backend", fw_backend_name(n->backend));
	cJSON_AddBoolToObject(to, "standing", n->standing);
	cJSON_AddBoolToObject(to, "no_ipset", n->no_ipset);
	cJSON_AddNumberToObject(to, "armed_ms", (double)n->armed_ms);
	cJSON_AddNumberToObject(to, "dns_port", n->plan.dns.on ? n->plan.dns.port : 0);
	cJSON_AddStringToObject(to, "dns_note", n->dns_note);
	for (unsigned f = 0; f < IP_FAMILIES; f++)
		save_family(n, (enum ip_family)f, cJSON_AddObjectToObject(to, family_key[f]));
}

static void load_family(struct net *n, enum ip_family f, const cJSON *from)
{
	unsigned there = (unsigned)json_get_number(from, "sets", 0);

	for (unsigned set = 0; set < FW_SETS; set++)
		n->sets.there[f][set] = there >> set & 1u;
	n->family[f] = json_get_true(from, "on");
	snprintf(n->note[f], sizeof(n->note[f]), "%s", json_get_text(from, "note"));
	n->plan.dns.has_fallback[f] = addr_parse(json_get_text(from, "dns_fallback"), &n->plan.dns.fallback[f]) == 0;
}

static bool load_backend(struct net *n, const char *name)
{
	for (int b = FW_IPTABLES; b <= FW_SCRIPT; b++) {
		n->backend = (enum fw_backend)b;
		if (strcmp(fw_backend_name(n->backend), name) == 0)
			return true;
	}
	return false;
}

/* What a removal asks of it, should it come to that before the next plan is made. */
static void guess_plan(struct net *n)
{
	n->mihomo = n->next;
	n->plan = plan_params(n->settings);
	n->plan.port = n->mihomo.port;
	n->plan.core_gid = n->mihomo.core_gid;
	n->fake = (struct net_list){ n->mihomo.fake, n->mihomo.n_fake };
	n->plan.fake = &n->fake;
	n->plan.lan = &n->lan;
	n->plan.refuse_fake = n->settings->tproxy.dns != SETTING_NO && n->fake.n > 0;
}

enum net_state net_resume(struct net *n, const cJSON *from, const struct net_plan *plan)
{
	struct err e = ERR_INIT;

	n->armed_before = json_get_true(from, "armed_before");
	if (json_get_true(from, "clean")) {
		n->sweep = false;
		n->direct = true;
		return NET_DIRECT;
	}
	if (!json_get_true(from, "on") || n->powerless || !load_backend(n, json_get_text(from, "backend")))
		return NET_DISARMING;
	net_copy_plan(n, plan);
	guess_plan(n);
	n->plan.dns.port = (uint16_t)json_get_number(from, "dns_port", 0);
	n->plan.dns.on = n->plan.dns.port != 0;
	for (unsigned f = 0; f < IP_FAMILIES; f++)
		load_family(n, (enum ip_family)f, cJSON_GetObjectItemCaseSensitive(from, family_key[f]));
	snprintf(n->dns_note, sizeof(n->dns_note), "%s", json_get_text(from, "dns_note"));
	n->no_ipset = json_get_true(from, "no_ipset");
	n->standing = n->stand = json_get_true(from, "standing");
	n->armed_ms = json_get_number(from, "armed_ms", 0);
	n->on = n->filled = true;
	firewall_resume(n->firewall);
	n->sweep = false;
	n->resumed = n->repair.replan = n->backend != FW_SCRIPT; /* which knows "apply" and "remove" */
	if (!n->resumed)
		net_repair_begin(n);
	if (lease_refresh(n->lease, n->backend, n->family, &e) <
	    0) /* it went meanwhile, and is put back with the rest */
		log_warn(LOG_MONITOR, "%s", e.msg);
	return NET_ARMED;
}
