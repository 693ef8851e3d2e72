/* entry: what each outbound dials; "as Mihomo": its code differs from the fact, or says more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/mihomo_yaml.h"
#include "seen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void each_outbound_gives_what_it_dials(void **state)
{
	static const struct {
		const char *what, *entry, *want;
	} rows[] = {
		/* facts/mihomo.md 3: all outbound types */
		{ "ss", "{type: ss, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "ssr", "{type: ssr, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "socks5", "{type: socks5, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "http", "{type: http, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "vmess", "{type: vmess, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "vless", "{type: vless, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "snell", "{type: snell, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "trojan", "{type: trojan, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "ssh", "{type: ssh, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "anytls", "{type: anytls, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "sudoku", "{type: sudoku, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "trusttunnel", "{type: trusttunnel, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "gost-relay", "{type: gost-relay, server: a.example, port: 443}", "a.example|443||tcp|server;" },
		{ "shadowquic", "{type: shadowquic, server: a.example, port: 443}", "a.example|443||udp|server;" },
		{ "openvpn", "{type: openvpn, server: a.example, port: 443}", "a.example|443||udp|server;" },
		{ "masque", "{type: masque, server: a.example, port: 443}", "a.example|443||udp|server;" },
		{ "the transport changes nothing",
		  "{type: vmess, server: a.example, port: 443, network: ws, servername: s.example, ws-opts: {headers: "
		  "{Host: h.example}}, mekya-opts: {url: 'https://m.example'}}",
		  "a.example|443||tcp|server;" },
		{ "nor do plugins",
		  "{type: ss, server: a.example, port: 443, plugin: shadow-tls, plugin-opts: {host: h.example, mode: "
		  "tls}}",
		  "a.example|443||tcp|server;" },
		{ "nor a mask", "{type: sudoku, server: a.example, port: 443, http-mask-host: h.example}",
		  "a.example|443||tcp|server;" },
		{ "as Mihomo: kcptun", "{type: ss, server: a.example, port: 443, plugin: kcptun}",
		  "a.example|443||udp|server;" },
		{ "as Mihomo: mkcp", "{type: vmess, server: a.example, port: 443, network: mkcp}",
		  "a.example|443||udp|server;" },
		{ "as Mihomo: kcp", "{type: vmess, server: a.example, port: 443, network: kcp}",
		  "a.example|443||udp|server;" },
		{ "as Mihomo: masque over h2",
		  "{type: masque, server: a.example, port: 443, network: h2, uri: 'https://u.example'}",
		  "a.example|443||tcp|server;" },
		{ "as Mihomo: trusttunnel over quic", "{type: trusttunnel, server: a.example, port: 443, quic: true}",
		  "a.example|443||udp|server;" },
		{ "as Mihomo: openvpn over tcp", "{type: openvpn, server: a.example, port: 443, proto: tcp-client}",
		  "a.example|443||tcp|server;" },
		{ "as Mihomo: faketcp", "{type: hysteria, server: a.example, port: 443, protocol: faketcp}",
		  "a.example|443||tcp|server;" },
		{ "as Mihomo: xhttp over h3", "{type: vless, server: a.example, port: 443, network: xhttp, alpn: [h3]}",
		  "a.example|443||udp|server;" },
		{ "xhttp, the port only",
		  "{type: vless, server: a.example, port: 443, network: xhttp, alpn: [h3], xhttp-opts: "
		  "{download-settings: {port: 8443, alpn: [h2]}}}",
		  "a.example|443||udp|server;a.example|8443||tcp|download;" },
		{ "xhttp, download-settings without either",
		  "{type: vless, server: a.example, port: 443, network: xhttp, xhttp-opts: {download-settings: {path: "
		  "/x, server: ~}}}",
		  "a.example|443||tcp|server;" },
		{ "hysteria", "{type: hysteria, server: a.example, ports: 443}", "a.example|0|443|udp|server;" },
		{ "hysteria2", "{type: hysteria2, server: a.example, port: 443, hop-interval: 30}",
		  "a.example|443||udp|server;" },
		{ "as Mihomo: the server of a realm is not dialled",
		  "{type: hysteria2, server: a.example, port: 443, realm-opts: {enable: true, server-url: "
		  "'http://r.example', stun-servers: ['192.0.2.9']}}",
		  "r.example|80||tcp|realm;192.0.2.9|3478||udp|stun;" },
		{ "a realm, weakly typed",
		  "{type: hysteria2, server: a.example, port: 443, realm-opts: {enable: 1, server-url: "
		  "'https://r.example', stun-servers: []}}",
		  "r.example|443||tcp|realm;" },
		{ "a realm without a URL",
		  "{type: hysteria2, realm-opts: {enable: true, stun-servers: ['s.example:x']}}", "!2;!2;" },
		{ "tuic, an empty ip", "{type: tuic, server: a.example, ip: '', port: 443}",
		  "a.example|443||udp|server;" },
		{ "mieru", "{type: mieru, server: a.example, port: 443, transport: TCP}",
		  "a.example|443||tcp|server;" },
		{ "wireguard",
		  "{type: wireguard, server: a.example, port: 443, ip: 10.0.0.2, ipv6: 'fd00::2', dns: [192.0.2.5]}",
		  "a.example|443||udp|server;" },
		{ "a peer without a server",
		  "{type: wireguard, server: a.example, port: 443, peers: [{port: 1}, {server: b.example, port: 2}]}",
		  "!2;b.example|2||udp|peer;" },
		{ "zerotier", "{type: zerotier, network: 8056c2e21c000001, planet: p}", "" },
		{ "zerotier by a relay without a port", "{type: zerotier, network: n, tcp-fallback-relay: r.example}",
		  "!2;" },
		{ "faketcp of the other key",
		  "{type: hysteria, server: a.example, port: 1, protocol: udp, obfs-protocol: faketcp}",
		  "a.example|1||tcp|server;" },
		{ "faketcp in other letters", "{type: hysteria, server: a.example, port: 1, protocol: FakeTCP}",
		  "a.example|1||udp|server;" },
		{ "zerotier by a relay", "{type: zerotier, network: n, tcp-fallback-relay: '203.0.113.4:443'}",
		  "203.0.113.4|443||tcp|server;" },
		{ "zerotier without fallback",
		  "{type: zerotier, network: n, tcp-fallback-mode: disable, tcp-fallback-relay: '203.0.113.4:443'}",
		  "" },
		{ "tailscale, a bad URL", "{type: tailscale, control-url: x}", "!2;" },
		{ "tailscale, an empty URL", "{type: tailscale, control-url: ''}", "" },
		{ "reject-drop", "{type: reject-drop}", "" },
		/* facts/formats.md */
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
		  "a.example|1||tcp|server|via x;" },
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
		{ "F39 ports of another type", "{type: ss, server: a.example, port: 1, ports: 1-2}",
		  "a.example|1||tcp|server;" },
		{ "F42 openvpn", "{type: openvpn, server: a.example, port: 1, ip: 10.1.1.1, dns: [192.0.2.5]}",
		  "a.example|1||udp|server;" },
		{ "F47 loopback is found, and dropped later", "{type: ssh, server: 127.0.0.1, port: 22}",
		  "127.0.0.1|22||tcp|server;" },
		{ "F49 override in an entry is no key",
		  "{type: ss, server: a.example, port: 1, override: {server: b.example}}", "a.example|1||tcp|server;" },
		{ "F52 a name", "{name: 0123e4, type: ss, server: a.example, port: 1}", "a.example|1||tcp|server;" },
		{ "F54 a shared address in front of it",
		  "{type: vless, server: 203.0.113.54, port: 443, network: ws, servername: v.example, ws-opts: "
		  "{headers: {Host: h.example}}}",
		  "203.0.113.54|443||tcp|server;" },
		{ "F55 IDN",
		  "{type: ss, server: b\xc3\xbc"
		  "cher.example, port: 1}",
		  "b\xc3\xbc"
		  "cher.example|1||tcp|server;" },
		{ "F55 underscore", "{type: ss, server: _a._b.example, port: 1}", "_a._b.example|1||tcp|server;" },
		/* common/structure, ip-version, dialer-proxy */
		{ "ip-version dual", "{type: ss, server: a.example, port: 1, ip-version: dual}",
		  "a.example|1||tcp|server;" },
		{ "ip-version ipv4", "{type: ss, server: a.example, port: 1, ip-version: ipv4}",
		  "a.example|1||tcp|server|4;" },
		{ "ip-version ipv6", "{type: ss, server: a.example, port: 1, ip-version: IPv6}",
		  "a.example|1||tcp|server|6;" },
		{ "ip-version ipv4-prefer", "{type: ss, server: a.example, port: 1, ip-version: ipv4-prefer}",
		  "a.example|1||tcp|server;" },
		{ "ip-version ipv6-prefer", "{type: ss, server: a.example, port: 1, ip-version: ipv6-prefer}",
		  "a.example|1||tcp|server;" },
		{ "ip-version unknown", "{type: ss, server: a.example, port: 1, ip-version: 4}",
		  "a.example|1||tcp|server;" },
		{ "a realm resolves by itself",
		  "{type: hysteria2, ip-version: ipv4, realm-opts: {enable: true, server-url: 'https://r.example', "
		  "stun-servers: [s.example]}}",
		  "r.example|443||tcp|realm|4;s.example|3478||udp|stun;" },
		{ "dialer-proxy, a number", "{type: ss, server: a.example, port: 1, Dialer_Proxy: 0x10}",
		  "a.example|1||tcp|server|via 16;" },
		{ "dialer-proxy of peers",
		  "{type: wireguard, dialer-proxy: d, ip-version: ipv6, peers: [{server: b.example, port: 2}]}",
		  "b.example|2||udp|peer|6|via d;" },
		{ "a fraction as server", "{type: ss, server: 1.5, port: 1}", "1.5E+00|1||tcp|server;" },
		{ "base 16 as server", "{type: ss, server: 0x1bb, port: 1}", "443|1||tcp|server;" },
		{ "a map as server", "{type: ss, server: {a: b}, port: 1}", "!2;" },
		{ "an empty server", "{type: ss, server: '', port: 1}", "!2;" },
		{ "a NUL in the server", "{type: ss, server: \"a.example\\0b\", port: 1}", "!2;" },
		{ "a null port", "{type: ss, server: a.example, port: ~}", "a.example|0||tcp|server;" },
		{ "a port cut", "{type: ss, server: a.example, port: 443.9}", "a.example|443||tcp|server;" },
		{ "a port as bool", "{type: ss, server: a.example, port: true}", "!2;" },
		{ "a negative port", "{type: ss, server: a.example, port: -1}", "!2;" },
		{ "ports as a number", "{type: hysteria2, server: a.example, ports: 0443}",
		  "a.example|0|291|udp|server;" },
		{ "an exact key wins", "{type: ss, SERVER: b.example, server: a.example, port: 1}",
		  "a.example|1||tcp|server;" },
		{ "an exact null wins", "{type: ss, SERVER: b.example, server: ~, port: 1}", "!2;" },
		{ "no type", "{server: a.example, port: 1}", "a.example|1||tcp|server;" },
		{ "a type in other letters",
		  "{type: WireGuard, server: x.example, port: 1, peers: [{server: b.example, port: 2}]}",
		  "b.example|2||udp|peer;" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		char bytes[512];
		struct seen s;

		snprintf(bytes, sizeof(bytes), "proxies:\n- %s\n", rows[i].entry);
		if (seen_parse(bytes, strlen(bytes), &s) != (strchr(rows[i].want, '!') != NULL) ||
		    strcmp(s.text, rows[i].want) != 0)
			fail_msg("%s: %s (%s)", rows[i].what, s.text, s.reason);
	}
}

static void each_form_of_bytes_gives_its_entries_or_a_reason(void **state)
{
	static const struct {
		const char *what, *bytes, *want; /* NULL = refused */
	} rows[] = {
		{ "F1 not indented", "proxies:\n- name: a\n  type: ss\n  server: n1.example.net\n  port: 8388\n",
		  "n1.example.net|8388||tcp|server;" },
		{ "F1 indented", "proxies:\n  -\n    server: n1.example.net\n", "n1.example.net|0||tcp|server;" },
		{ "F2 many lines", "proxies:\n- {name: a,\n   server: n1.example.net,\n  port: 1,\n  }\n",
		  "n1.example.net|1||tcp|server;" },
		{ "F2 an address with :: at its end", "proxies:\n- {server: 2001:db8::, port: 1}\n",
		  "2001:db8::|1||tcp|server;" },
		{ "F3 escapes", "{\"proxies\":[{\"server\":\"n1\\u002eexample.net\",\"port\":443}]}",
		  "n1.example.net|443||tcp|server;" },
		{ "F4 groups first", "proxy-groups:\n- {name: g, proxies: [a]}\nproxies:\n- {server: a.example}\n",
		  "a.example|0||tcp|server;" },
		{ "F5 beside the new one", "Proxy: [{server: b.example}]\nproxies: [{server: a.example}]\n",
		  "a.example|0||tcp|server;" },
		{ "F6 groups only", "proxies:\nproxy-groups:\n- {name: g, type: select, proxies: [DIRECT]}\n", "" },
		{ "F7 a list of merges",
		  "x: &a {type: ss, port: 1}\ny: &b {port: 2, type: tuic}\nproxies:\n- {<<: [*b, *a], server: "
		  "a.example}\n",
		  "a.example|2||udp|server;" },
		{ "F7 a merge below its own key", "proxies:\n- &a {server: a.example, port: 1}\n- {port: 2, <<: *a}\n",
		  "a.example|1||tcp|server;a.example|2||tcp|server;" },
		{ "F20 lone CR", "proxies:\r- server: a.example\r", "a.example|0||tcp|server;" },
		{ "F20 emoji", "proxies: [{name: \xf0\x9f\x87\xa9\xf0\x9f\x87\xaa 1, server: a.example}]",
		  "a.example|0||tcp|server;" },
		{ "F20 an escaped control", "proxies: [{name: \"a\\u0001\\0\", server: a.example}]",
		  "a.example|0||tcp|server;" },
		{ "F20 a control", "proxies: [{name: \"a\x01\", server: a.example}]", NULL },
		{ "F20 invalid UTF-8", "proxies: [{name: \"\xff\", server: a.example}]", NULL },
		{ "F20 a tab as indent", "proxies:\n\t- server: a.example\n", NULL },
		{ "F20 a tab as blank", "proxies:\n-\tserver: a.example\n", NULL },
		{ "F51 one host, one name, twice",
		  "proxies: [{name: a, server: a.example, port: 1}, {name: a, server: a.example, port: 2}]",
		  "a.example|1||tcp|server;a.example|2||tcp|server;" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s;
		int r = seen_parse(rows[i].bytes, strlen(rows[i].bytes), &s);

		if (rows[i].want ? r != 0 || strcmp(s.text, rows[i].want) != 0 : r == 0 || !s.reason[0])
			fail_msg("%s: %s (%s)", rows[i].what, s.text, s.reason);
	}
}

struct inline_entries {
	struct doc *doc;
	struct seen seen;
};

static void read_payload(void *ctx, const struct mihomo_provider *p)
{
	struct inline_entries *in = ctx;
	const struct endpoint_sink sink = { .ctx = &in->seen, .found = seen_found, .skipped = seen_skipped };

	provider_entries(in->doc, p->payload, &sink);
}

/* F11 */
static void inline_providers_have_entries(void **state)
{
	static const char config[] =
		"d: &d {type: tuic}\n"
		"proxy-providers:\n"
		"  a: {type: inline, payload: [{server: a.example, port: 1}, {<<: *d, server: b.example}]}\n"
		"  b: {type: http, url: 'http://x.example', payload: [{server: c.example}]}\n"
		"  c: {type: inline}\n";
	struct inline_entries in = { 0 };
	uint32_t line;
	(void)state;

	assert_int_equal(doc_load(&in.doc, config, sizeof(config) - 1, &line, NULL), 0);
	mihomo_providers(in.doc, "/home", read_payload, &in);
	assert_string_equal(in.seen.text, "a.example|1||tcp|server;b.example|0||udp|server;c.example|0||tcp|server;");
	doc_free(in.doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_outbound_gives_what_it_dials),
		cmocka_unit_test(each_form_of_bytes_gives_its_entries_or_a_reason),
		cmocka_unit_test(inline_providers_have_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
