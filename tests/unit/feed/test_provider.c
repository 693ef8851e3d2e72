/* provider: each form of a provider's file, each outbound's dialled addresses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/hostport.h"
#include "parse/feed/provider.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* "HOST|PORT|PORTS|TRANSPORT|KIND;" of each endpoint, "!LINE;" of each thing skipped. */
struct seen {
	char text[2048];
	char reason[256];
	char name[64];
	uint32_t line;
	size_t used;
};

static void found(void *ctx, const struct endpoint *ep)
{
	struct seen *s = ctx;
	const char *kind = endpoint_kind_name(ep->kind);
	int n = snprintf(s->text + s->used, sizeof(s->text) - s->used, "%s|%u|%s|%s|%s;", ep->host, ep->port, ep->ports,
			 ep->transport, kind);

	s->used += (size_t)n;
	s->line = ep->line;
	snprintf(s->name, sizeof(s->name), "%s", ep->name);
}

static void skipped(void *ctx, uint32_t line, const char *reason)
{
	struct seen *s = ctx;

	s->used += (size_t)snprintf(s->text + s->used, sizeof(s->text) - s->used, "!%u;", line);
	snprintf(s->reason, sizeof(s->reason), "%s", reason);
}

static int parse(const char *bytes, struct seen *s)
{
	const struct endpoint_sink sink = { .ctx = s, .found = found, .skipped = skipped };

	memset(s, 0, sizeof(*s));
	return provider_parse(bytes, strlen(bytes), &sink);
}

static void each_container_gives_its_endpoints(void **state)
{
	static const struct {
		const char *what, *bytes, *want;
	} rows[] = {
		{ "F1 block", "proxies:\n- name: \"a\"\n  type: ss\n  server: n1.example.net\n  port: 8388\n",
		  "n1.example.net|8388||tcp|server;" },
		{ "F2 flow", "proxies:\n- {name: a, type: vmess, server: 203.0.113.7, port: 443}\n",
		  "203.0.113.7|443||tcp|server;" },
		{ "F3 JSON", "{\"proxies\":[{\"name\":\"a\",\"server\":\"203.0.113.8\",\"port\":\"443\"}]}",
		  "203.0.113.8|443||tcp|server;" },
		{ "F4 a whole config",
		  "dns: {nameserver: [192.0.2.1]}\nproxies: [{type: ss, server: a.example, port: 1}]\n"
		  "proxy-groups:\n- {name: g, type: select, proxies: [a]}\nrules: ['MATCH,g']\n",
		  "a.example|1||tcp|server;" },
		{ "F5 the old spelling", "Proxy:\n- {name: a, type: ss, server: b.example, port: 2}\nProxy Group: []\n",
		  "b.example|2||tcp|server;" },
		{ "F6 null", "proxies:\n", "" },
		{ "F6 tilde", "proxies: ~\n", "" },
		{ "F6 empty", "proxies: []\n", "" },
		{ "F6 text", "proxies: invalid\n", "" },
		{ "F7 merge", "x: &d {type: ss, port: 443}\nproxies:\n- {<<: *d, server: 203.0.113.9}\n",
		  "203.0.113.9|443||tcp|server;" },
		{ "F20 CRLF, BOM, emoji",
		  "\xef\xbb\xbfproxies:\r\n- {name: \xf0\x9f\x87\xa9, type: ss, server: c.example, port: 3}\r\n",
		  "c.example|3||tcp|server;" },
		{ "names in place of maps", "proxies: [a, {server: d.example}]\n", "!1;d.example|0||tcp|server;" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s;

		if (parse(rows[i].bytes, &s) != 0 || strcmp(s.text, rows[i].want) != 0)
			fail_msg("%s: %s (%s)", rows[i].what, s.text, s.reason);
	}
}

static void each_outbound_gives_what_it_dials(void **state)
{
	static const struct {
		const char *what, *entry, *want;
	} rows[] = {
		{ "F37 brackets", "{type: ss, server: '[2001:db8::1]', port: 1}", "2001:db8::1|1||tcp|server;" },
		{ "F37 none", "{type: ss, server: '2001:db8::1', port: 1}", "2001:db8::1|1||tcp|server;" },
		{ "F37 zone", "{type: ss, server: 'fe80::1%eth0', port: 1}", "!2;" },
		{ "F38 text", "{type: ss, server: a.example, port: '443'}", "a.example|443||tcp|server;" },
		{ "F38 none", "{type: ss, server: a.example}", "a.example|0||tcp|server;" },
		{ "octal", "{type: ss, server: a.example, port: 0443}", "a.example|291||tcp|server;" },
		{ "not a number", "{type: ss, server: a.example, port: https}", "!2;" },
		{ "out of range", "{type: ss, server: a.example, port: 65536}", "!2;" },
		{ "F39", "{type: hysteria2, server: a.example, ports: '114-514/810-1919,65530'}",
		  "a.example|0|114-514/810-1919,65530|udp|server;" },
		{ "F39 both", "{type: hysteria, server: a.example, port: 443, ports: '5000-6000'}",
		  "a.example|443|5000-6000|udp|server;" },
		{ "F40", "{type: tuic, server: a.example, ip: 203.0.113.18, port: 443}", "203.0.113.18|443||udp|ip;" },
		{ "tuic by name", "{type: tuic, server: a.example, port: 443}", "a.example|443||udp|server;" },
		{ "F41",
		  "{type: wireguard, server: x.example, port: 1, ip: 10.0.0.2, peers: "
		  "[{server: 203.0.113.19, port: 51820}, {server: p.example, port: 51821}]}",
		  "203.0.113.19|51820||udp|peer;p.example|51821||udp|peer;" },
		{ "wireguard without peers", "{type: wireguard, server: x.example, port: 1, ip: 10.0.0.2, peers: []}",
		  "x.example|1||udp|server;" },
		{ "F42", "{type: masque, server: m.example, port: 443, ip: 10.1.1.1, dns: [192.0.2.5]}",
		  "m.example|443||udp|server;" },
		{ "F43",
		  "{type: vless, server: v.example, port: 443, network: xhttp, xhttp-opts: "
		  "{download-settings: {server: d.example, port: 8443}}}",
		  "v.example|443||tcp|server;d.example|8443||tcp|download;" },
		{ "F43 half",
		  "{type: vless, server: v.example, port: 443, network: xhttp, xhttp-opts: "
		  "{download-settings: {server: d.example}}}",
		  "v.example|443||tcp|server;d.example|443||tcp|download;" },
		{ "F43 another network",
		  "{type: vless, server: v.example, port: 443, network: ws, xhttp-opts: "
		  "{download-settings: {server: d.example}}}",
		  "v.example|443||tcp|server;" },
		{ "F44",
		  "{type: hysteria2, realm-opts: {enable: true, server-url: 'https://r.example:8443/x', "
		  "stun-servers: ['s.example:3479', '[2001:db8::5]:3478', t.example]}}",
		  "r.example|8443||tcp|realm;s.example|3479||udp|stun;2001:db8::5|3478||udp|stun;"
		  "t.example|3478||udp|stun;" },
		{ "F44 off",
		  "{type: hysteria2, server: h.example, port: 1, realm-opts: {server-url: 'https://r.example'}}",
		  "h.example|1||udp|server;" },
		{ "F45", "{type: tailscale, control-url: 'https://c.example', exit-node: 10.0.0.9}",
		  "c.example|443||tcp|server;" },
		{ "F45 the vendor's", "{type: tailscale}", "" },
		{ "F46 direct", "{type: direct, name: d}", "" },
		{ "F46 dns", "{type: dns}", "" },
		{ "F46 reject", "{type: reject}", "" },
		{ "F46 rematch", "{type: rematch}", "" },
		{ "F46 pass", "{type: pass}", "" },
		{ "F48 is listed", "{type: ss, server: a.example, port: 1, dialer-proxy: x}",
		  "a.example|1||tcp|server;" },
		{ "F52", "{type: vless, server: a.example, port: 1, reality-opts: {short-id: 08}}",
		  "a.example|1||tcp|server;" },
		{ "mieru", "{type: mieru, server: a.example, port-range: 2090-2099, transport: UDP}",
		  "a.example|0|2090-2099|udp|server;" },
		{ "keys folded", "{type: ss, Server: a.example, PORT: 7}", "a.example|7||tcp|server;" },
		{ "folded with _", "{type: mieru, server: a.example, Port_Range: 1-2}", "a.example|0|1-2|tcp|server;" },
		{ "a number as server", "{type: ss, server: 12345, port: 1}", "12345|1||tcp|server;" },
		{ "true as server", "{type: ss, server: true, port: 1}", "!2;" },
		{ "a list as server", "{type: ss, server: [2001:db8::4], port: 1}", "!2;" },
		{ "null server", "{type: ss, server: ~, port: 1}", "!2;" },
		{ "a port inside server", "{type: ss, server: 'a.example:443', port: 1}", "!2;" },
		{ "a type of tomorrow", "{type: warp9, server: a.example, port: 1}", "a.example|1||tcp|server;" },
		{ "a trailing dot stays", "{type: ss, server: A.example., port: 1}", "A.example.|1||tcp|server;" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		char bytes[512];
		struct seen s;

		snprintf(bytes, sizeof(bytes), "proxies:\n- %s\n", rows[i].entry);
		if (parse(bytes, &s) != 0 || strcmp(s.text, rows[i].want) != 0)
			fail_msg("%s: %s (%s)", rows[i].what, s.text, s.reason);
	}
}

static void a_bad_entry_is_skipped_with_its_line_and_the_others_go_on(void **state)
{
	struct seen s;
	(void)state;

	assert_int_equal(
		parse("proxies:\n- {server: a.example}\n-\n  server:\n  port: 1\n- {name: last, server: b.example}\n",
		      &s),
		0);
	assert_string_equal(s.text, "a.example|0||tcp|server;!4;b.example|0||tcp|server;");
	assert_string_equal(s.reason, "no server");
	assert_string_equal(s.name, "last");
	assert_int_equal(s.line, 6);
}

static void what_is_no_provider_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *bytes, *reason;
	} rows[] = {
		{ "", "empty" },
		{ "just words\n", "neither a YAML map nor share links" },
		{ "rules: []\n", "no proxies" },
		{ "proxies: [\n", "not YAML (line " },
		{ "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "encrypted" },
		{ "<!DOCTYPE html><title>log in</title>", "a web page" },
		{ " \n<HTML>", "a web page" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s;

		assert_int_equal(parse(rows[i].bytes, &s), -EINVAL);
		if (strncmp(s.reason, rows[i].reason, strlen(rows[i].reason)) != 0)
			fail_msg("%s: %s", rows[i].bytes, s.reason);
	}
}

static void hosts_and_ports_come_apart(void **state)
{
	static const struct {
		const char *text, *host; /* NULL = refused */
		unsigned port;		 /* 9 = left alone */
	} rows[] = { { "a.example:53", "a.example", 53 },
		     { "a.example", "a.example", 9 },
		     { "[2001:db8::1]:53", "2001:db8::1", 53 },
		     { "[2001:db8::1]", "2001:db8::1", 9 },
		     { "2001:db8::1", "2001:db8::1", 9 },
		     { "192.0.2.1:65535", "192.0.2.1", 65535 },
		     { "a:65536", NULL, 9 },
		     { ":53", NULL, 9 },
		     { "a b", NULL, 9 },
		     { "", NULL, 9 },
		     { "a:", NULL, 9 },
		     { "[::1", NULL, 9 } };
	char host[HOST_MAX], longest[400];
	uint16_t port;
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		int r;

		port = 9;
		r = hostport_parse(rows[i].text, host, &port);
		if ((r == 0) != (rows[i].host != NULL) || (r == 0 && strcmp(host, rows[i].host) != 0) ||
		    port != rows[i].port)
			fail_msg("%s", rows[i].text);
	}
	memset(longest, 'a', sizeof(longest));
	longest[HOST_MAX - 1] = '\0';
	assert_int_equal(host_clean(longest, host), 0);
	longest[HOST_MAX - 1] = 'a';
	longest[HOST_MAX] = '\0';
	assert_int_equal(host_clean(longest, host), -EINVAL);
	assert_int_equal(hostport_of_url("http://u:p@a.example/x?y", host, &port), 0);
	assert_string_equal(host, "a.example");
	assert_int_equal(port, 80);
	assert_int_equal(hostport_of_url("HTTPS://a.example:", host, &port), 0);
	assert_int_equal(port, 443);
	assert_int_equal(hostport_of_url("a.example", host, &port), -EINVAL);
	assert_int_equal(hostport_of_url(" https://a.example", host, &port), -EINVAL);
	assert_int_equal(hostport_of_url("https://a.example/\n", host, &port), -EINVAL);
	assert_int_equal(hostport_of_url("ftp://a.example", host, &port), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_container_gives_its_endpoints),
		cmocka_unit_test(each_outbound_gives_what_it_dials),
		cmocka_unit_test(a_bad_entry_is_skipped_with_its_line_and_the_others_go_on),
		cmocka_unit_test(what_is_no_provider_is_refused_with_a_reason),
		cmocka_unit_test(hosts_and_ports_come_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
