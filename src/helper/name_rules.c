#include "helper/name_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "helper/helper.h"

#define RESOLV_CONF_MAX (64 * 1024)
#define HOSTS_FILE_MAX (16 * 1024 * 1024)

void name_rules_system(dns_resolv_conf_fn read, struct dns_group *out)
{
	cleanup_free char *bytes = NULL;
	size_t len = 0;

	if (io_slurp_path("/etc/resolv.conf", RESOLV_CONF_MAX, &bytes, &len, NULL) < 0)
		len = 0;
	read(bytes, len, out);
}

/* One that cannot be read is one that is not there, for Mihomo too. */
static int read_hosts(struct hosts *h)
{
	cleanup_free char *bytes = NULL;
	size_t len;

	if (io_slurp_path("/etc/hosts", HOSTS_FILE_MAX, &bytes, &len, NULL) < 0)
		return 0;
	return hosts_add_system(h, bytes, len);
}

/* The group that takes the place of all others. */
static int fixed_group(const char *resolver, const struct dns_group *system, struct dns_group *out)
{
	char *copy, *rest, *one;

	*out = (struct dns_group){ .api = strcmp(resolver, "mihomo") == 0 };
	if (out->api)
		return 0;
	copy = strdup(resolver);
	if (!copy)
		return -ENOMEM;
	for (one = strtok_r(copy, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest))
		dns_group_add(out, one, system);
	free(copy);
	return out->n > 0 && !out->left_out ? 0 : -EINVAL;
}

int name_rules_check(const char *resolver)
{
	const struct dns_group any = { .n = 1 };
	struct dns_group g;

	return strcmp(resolver, "auto") == 0 ? 0 : fixed_group(resolver, &any, &g);
}

int name_rules_read(struct name_rules *r, struct doc *config, const char *resolver, bool system_hosts)
{
	struct dns_group system;
	int result;

	*r = (struct name_rules){ .dns = { .ipv6 = true } };
	if (config)
		mihomo_dns(config, &r->dns);
	name_rules_system(dns_resolv_conf, &system);
	result = hosts_new(&r->hosts, config);
	if (result == 0 && r->dns.system_hosts && system_hosts)
		result = read_hosts(r->hosts);
	result = result ? result : dns_plan_init(&r->plan, config, &system);
	if (result < 0 || strcmp(resolver, "auto") == 0)
		return result;
	r->plan.n = 1;
	r->plan.for_proxies = r->plan.unjudged = false;
	return fixed_group(resolver, &system, &r->plan.groups[0]);
}

void name_rules_deinit(struct name_rules *r)
{
	hosts_free(r->hosts);
	dns_plan_deinit(&r->plan);
}

const char *name_rules_note(const struct name_rules *r, bool have_api)
{
	const struct dns_group *g = &r->plan.groups[0];

	if (r->plan.for_proxies && g->api)
		return have_api ? "proxy-server-nameserver has only kinds that cannot be asked from here: Mihomo's API "
				  "is "
				  "asked instead"
				: "proxy-server-nameserver has only kinds that cannot be asked from here";
	if (r->plan.for_proxies && g->left_out)
		return "proxy-server-nameserver has kinds that cannot be asked from here: the others are asked";
	if (r->plan.unjudged)
		return "proxy-server-nameserver-policy has parts that cannot be judged from here: "
		       "proxy-server-nameserver "
		       "is asked for their names";
	return NULL;
}

/* ---- to the resolver ---- */

static void tell(enum wire_setting key, const char *value)
{
	emit(&(struct wire_record){ .type = WIRE_SETTING, .u.setting = { .key = key, .value = value } });
}

static void tell_group(size_t index, const struct dns_group *g)
{
	char server[DNS_SERVER_TEXT], text[WIRE_TEXT_MAX];

	if (g->api) {
		snprintf(text, sizeof(text), "%zu api", index);
		tell(WIRE_SET_RESOLVER, text);
	}
	for (size_t i = 0; i < g->n; i++) {
		snprintf(text, sizeof(text), "%zu %s", index, dns_server_text(&g->servers[i], server));
		tell(WIRE_SET_RESOLVER, text);
	}
}

void name_rules_tell(const struct name_rules *r)
{
	char text[ADDR_TEXT];

	tell(WIRE_SET_IPV6, r->dns.ipv6 ? "yes" : "no");
	for (int f = 0; f < IP_FAMILIES; f++)
		if (r->dns.has_fake[f])
			tell(WIRE_SET_FAKE_IP, addr_net_text(&r->dns.fake[f], text));
	for (size_t i = 0; i < r->plan.n; i++)
		tell_group(i, &r->plan.groups[i]);
}
