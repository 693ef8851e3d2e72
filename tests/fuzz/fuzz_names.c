/*
 * Any bytes: the system's hosts file, resolv.conf, and the parts of a config that
 * say how names are resolved.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/hosts.h"
#include "parse/feed/mihomo_dns.h"

#define BOTH (1u << IP_V4 | 1u << IP_V6)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "n1.example", "a.b.c.d.example", "N1.Example.", "localhost", "*.example", "." };

static void look_up(const struct hosts *h, const char *name)
{
	struct addr found[4];
	int n = hosts_find(h, name, BOTH, found, 4);

	if (n > 4)
		abort();
	for (int i = 0; i < n; i++)
		if (found[i].family >= IP_FAMILIES)
			abort();
}

/* What a group promises: each of its servers survives being told and read again. */
static void check_group(const struct dns_group *g)
{
	char text[DNS_SERVER_TEXT];
	struct dns_server again;

	if (g->n > DNS_SERVERS_MAX)
		abort();
	for (size_t i = 0; i < g->n; i++)
		if (dns_server_parse(dns_server_text(&g->servers[i], text), &again) < 0 ||
		    addr_cmp(&again.addr, &g->servers[i].addr) != 0 || again.families != g->servers[i].families)
			abort();
}

static void check_plan(struct doc *d, const struct dns_group *system)
{
	struct dns_plan p;

	if (dns_plan_init(&p, d, system) < 0)
		return;
	for (size_t i = 0; i < p.n; i++)
		check_group(&p.groups[i]);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (dns_plan_group(&p, names[i]) >= p.n)
			abort();
	dns_plan_deinit(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	struct doc *d = NULL;
	struct mihomo_dns dns;
	struct dns_group system;
	struct hosts *h;
	uint32_t line;

	dns_resolv_conf(bytes, size, &system);
	check_group(&system);
	if (doc_load(&d, bytes, size, &line, NULL) < 0)
		d = NULL;
	if (d)
		mihomo_dns(d, &dns);
	check_plan(d, &system);
	if (hosts_new(&h, d) == 0) {
		if (hosts_add_system(h, bytes, size) == 0)
			for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
				look_up(h, names[i]);
		hosts_free(h);
	}
	doc_free(d);
	return 0;
}
