/* mihomo_dns: which name servers answer for proxy servers, and which of them can be asked. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/mihomo_dns.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BOTH (1u << IP_V4 | 1u << IP_V6)

static struct doc *load(const char *text)
{
	struct err e = ERR_INIT;
	struct doc *d = NULL;
	uint32_t line;

	if (doc_load(&d, text, strlen(text), &line, &e) < 0)
		fail_msg("line %u: %s", line, e.msg);
	return d;
}

static void servers_that_can_be_asked_are_told_from_others(void **state)
{
	static const struct {
		const char *text, *same; /* NULL = refused */
		uint8_t families;
	} rows[] = { { "192.0.2.1", "udp://192.0.2.1:53#", BOTH },
		     { "192.0.2.1:5353", "udp://192.0.2.1:5353#", BOTH },
		     { "udp://192.0.2.1/", "udp://192.0.2.1:53#", BOTH },
		     { "UDP://192.0.2.1", "udp://192.0.2.1:53#", BOTH },
		     { "tcp://[2001:db8::1]:54", "tcp://[2001:db8::1]:54#", BOTH },
		     { "2001:db8::1", "udp://[2001:db8::1]:53#", BOTH },
		     { "[2001:db8::1]:55", "udp://[2001:db8::1]:55#", BOTH },
		     { "192.0.2.1#DIRECT", "udp://192.0.2.1:53#", BOTH },
		     { "192.0.2.1#", "udp://192.0.2.1:53#", BOTH },
		     { "192.0.2.1#disable-ipv6=true", "udp://192.0.2.1:53#disable-ipv6=true", 1u << IP_V4 },
		     { "192.0.2.1#DIRECT&disable-ipv4=true", "udp://192.0.2.1:53#disable-ipv4=true&", 1u << IP_V6 },
		     { "192.0.2.1#disable-ipv4=false&ecs=1.2.3.0/24", "udp://192.0.2.1:53#", BOTH },
		     { "192.0.2.1#disable-ipv4=true&disable-ipv6=true",
		       "udp://192.0.2.1:53#disable-ipv4=true&disable-ipv6=true", 0 },
		     { "192.0.2.1#PROXY", NULL, 0 },
		     { "192.0.2.1#DIR", NULL, 0 },
		     { "192.0.2.1#ecs=1.2.3.4&PROXY", NULL, 0 },
		     { "tls://192.0.2.1", NULL, 0 },
		     { "https://192.0.2.1/dns-query", NULL, 0 },
		     { "quic://192.0.2.1", NULL, 0 },
		     { "dhcp://eth0", NULL, 0 },
		     { "rcode://success", NULL, 0 },
		     { "udp://dns.example", NULL, 0 },
		     { "system", NULL, 0 },
		     { "192.0.2.1:0", NULL, 0 },
		     { "192.0.2.1:99999", NULL, 0 },
		     { "", NULL, 0 } };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dns_server s, again;
		char text[DNS_SERVER_TEXT], twice[DNS_SERVER_TEXT];
		int r = dns_server_parse(rows[i].text, &s);

		if ((r == 0) != (rows[i].same != NULL))
			fail_msg("%s", rows[i].text);
		if (r < 0)
			continue;
		assert_string_equal(dns_server_text(&s, text), rows[i].same);
		assert_int_equal(s.families, rows[i].families);
		assert_int_equal(dns_server_parse(text, &again), 0);
		assert_string_equal(dns_server_text(&again, twice), text);
	}
}

static void resolv_conf_is_read_as_mihomo_reads_it(void **state)
{
	static const struct {
		const char *file, *servers;
	} rows[] = { { "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "192.0.2.1 192.0.2.2 " },
		     { "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n \tnameserver\t192.0.2.3 x\r\n", "192.0.2.3 " },
		     { "search a.example\nnameserver 2001:db8::1\nnameserver", "2001:db8::1 " },
		     { "nameserver name.example\nnameserver 192.0.2.1\nnameserver 192.0.2.1", "192.0.2.1 " },
		     { "", "114.114.114.114 8.8.8.8 " } };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		char found[512] = "", text[ADDR_TEXT];
		struct dns_group g;

		dns_resolv_conf(rows[i].file, strlen(rows[i].file), &g);
		for (size_t k = 0; k < g.n; k++)
			strcat(strcat(found, addr_text(&g.servers[k].addr, text)), " ");
		assert_string_equal(found, rows[i].servers);
		assert_false(g.api || g.left_out);
	}
}

/* "api! 192.0.2.1 ": the API, something left out, servers. */
static const char *group_text(const struct dns_group *g, char out[512])
{
	char text[ADDR_TEXT];

	strcpy(out, g->api ? g->left_out ? "api! " : "api " : g->left_out ? "! " : "");
	for (size_t i = 0; i < g->n; i++)
		strcat(strcat(out, addr_text(&g->servers[i].addr, text)), " ");
	return out;
}

static void the_plan_is_mihomos(void **state)
{
	static const struct {
		const char *config, *name, *group;
	} rows[] = {
		{ NULL, "a.example", "192.0.2.53 " },
		{ "dns: {enable: false, nameserver: [192.0.2.1]}", "a.example", "192.0.2.53 " },
		{ "dns: {enable: true}", "a.example", "api " },
		{ "dns: {enable: true, nameserver: [192.0.2.1, 'https://x/', system]}", "a.example",
		  "api 192.0.2.1 192.0.2.53 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: [192.0.2.9, 'tls://1.1.1.1']}",
		  "a.example", "! 192.0.2.9 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: ['tls://1.1.1.1']}",
		  "a.example", "api! 192.0.2.1 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: ['dhcp://system']}",
		  "a.example", "192.0.2.53 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: []}", "a.example",
		  "api 192.0.2.1 " },
		/* policies count only with proxy-server-nameserver */
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver-policy: {a.example: "
		  "192.0.2.8}}",
		  "a.example", "api 192.0.2.1 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: [192.0.2.9], "
		  "proxy-server-nameserver-policy: {'+.a.example,b.example': 192.0.2.8, 'geosite:cn': 192.0.2.7}}",
		  "x.a.example", "192.0.2.8 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: [192.0.2.9], "
		  "proxy-server-nameserver-policy: {'+.a.example,b.example': [192.0.2.8, 192.0.2.7]}}",
		  "b.example", "192.0.2.8 192.0.2.7 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: [192.0.2.9], "
		  "proxy-server-nameserver-policy: {a.example: 'https://192.0.2.8/'}}",
		  "a.example", "api! 192.0.2.1 " },
		{ "dns: {enable: true, nameserver: [192.0.2.1], proxy-server-nameserver: [192.0.2.9], "
		  "proxy-server-nameserver-policy: {a.example: 192.0.2.8}}",
		  "c.example", "192.0.2.9 " },
	};
	struct dns_group system;
	(void)state;

	dns_resolv_conf("nameserver 192.0.2.53", 21, &system);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = rows[i].config ? load(rows[i].config) : NULL;
		struct dns_plan p;
		char text[512];

		assert_int_equal(dns_plan_init(&p, d, &system), 0);
		if (strcmp(group_text(&p.groups[dns_plan_group(&p, rows[i].name)], text), rows[i].group) != 0)
			fail_msg("%s: %s", rows[i].config, text);
		assert_int_equal(p.unjudged, rows[i].config && strstr(rows[i].config, "geosite") != NULL);
		dns_plan_deinit(&p);
		doc_free(d);
	}
}

static void more_policies_than_there_is_room_for_are_noted(void **state)
{
	char yaml[4096] = "dns: {enable: true, proxy-server-nameserver: [192.0.2.9], proxy-server-nameserver-policy: {";
	struct dns_group system = { .n = 0 };
	struct dns_plan p;
	struct doc *d;
	(void)state;

	for (int i = 0; i < DNS_GROUPS_MAX + 5; i++)
		snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "n%d.example: 192.0.2.%d, ", i, i + 1);
	d = load(strcat(yaml, "}}"));
	assert_int_equal(dns_plan_init(&p, d, &system), 0);
	assert_int_equal(p.n, DNS_GROUPS_MAX);
	assert_true(p.unjudged);
	assert_int_equal(dns_plan_group(&p, "n0.example"), 1);
	assert_int_equal(dns_plan_group(&p, "n19.example"), 0);
	dns_plan_deinit(&p);
	doc_free(d);
}

static void settings_are_read_with_mihomos_defaults(void **state)
{
	static const struct {
		const char *config;
		bool enabled, ipv6, system_hosts, fake4, fake6;
	} rows[] = {
		{ "a: b", false, true, false, false, false },
		{ "{ipv6: false, dns: {enable: true}}", true, false, true, false, false },
		{ "dns: {enable: true, ipv6: false, use-system-hosts: false}", true, true, false, false, false },
		{ "dns: {enable: true, enhanced-mode: fake-ip}", true, true, true, true, false },
		{ "dns: {enable: true, enhanced-mode: Fake-IP, fake-ip-range6: 'fc00::/18'}", true, true, true, true,
		  true },
		{ "dns: {enable: true, enhanced-mode: fake-ip, fake-ip-range: 'fc00::/18'}", true, true, true, false,
		  false },
		{ "dns: {enable: false, enhanced-mode: fake-ip}", false, true, false, false, false },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = load(rows[i].config);
		struct mihomo_dns dns;

		mihomo_dns(d, &dns);
		if (dns.enabled != rows[i].enabled || dns.ipv6 != rows[i].ipv6 ||
		    dns.system_hosts != rows[i].system_hosts || dns.has_fake[IP_V4] != rows[i].fake4 ||
		    dns.has_fake[IP_V6] != rows[i].fake6)
			fail_msg("%s", rows[i].config);
		doc_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_that_can_be_asked_are_told_from_others),
		cmocka_unit_test(resolv_conf_is_read_as_mihomo_reads_it),
		cmocka_unit_test(the_plan_is_mihomos),
		cmocka_unit_test(more_policies_than_there_is_room_for_are_noted),
		cmocka_unit_test(settings_are_read_with_mihomos_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
