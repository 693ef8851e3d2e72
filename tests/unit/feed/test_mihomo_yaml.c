/* mihomo_yaml: what a configuration says about the things that matter here. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/mihomo_yaml.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct doc *load_bytes(const char *bytes, size_t len)
{
	struct err e = ERR_INIT;
	struct doc *d = NULL;
	uint32_t line;

	if (doc_load(&d, bytes, len, &line, &e) < 0)
		fail_msg("line %u: %s", line, e.msg);
	return d;
}

static struct doc *load(const char *text)
{
	return load_bytes(text, strlen(text));
}

/* All values of one setting, ";" behind each. */
struct values {
	enum wire_setting key;
	char text[2048];
};

static void keep(void *ctx, enum wire_setting key, const char *value)
{
	struct values *v = ctx;
	size_t used = strlen(v->text);

	if (key == v->key)
		snprintf(v->text + used, sizeof(v->text) - used, "%s;", value);
}

static void each_setting_is_read_as_mihomo_reads_it(void **state)
{
	static const struct {
		enum wire_setting key;
		const char *config, *want;
	} rows[] = {
		{ WIRE_SET_TPROXY_PORT, "tproxy-port: 7893", "7893;" },
		{ WIRE_SET_TPROXY_PORT, "tproxy-port: 0", "" },
		{ WIRE_SET_TPROXY_PORT, "mixed-port: 7890", "" },
		{ WIRE_SET_TPROXY_LISTENER,
		  "listeners:\n- {name: a, type: tproxy, port: 7893, listen: '::', udp: true}\n"
		  "- {name: b, type: mixed, port: 1}\n- {name: c, type: tproxy, port: '7900-7901/7905'}\n",
		  "7893 :: udp;7900 0.0.0.0 tcp;7901 0.0.0.0 tcp;7905 0.0.0.0 tcp;" },
		{ WIRE_SET_TPROXY_LISTENER, "listeners: [{type: tproxy, port: 1-65535}]",
		  "1 0.0.0.0 tcp;2 0.0.0.0 tcp;3 0.0.0.0 tcp;4 0.0.0.0 tcp;5 0.0.0.0 tcp;6 0.0.0.0 tcp;7 0.0.0.0 tcp;"
		  "8 0.0.0.0 tcp;9 0.0.0.0 tcp;10 0.0.0.0 tcp;11 0.0.0.0 tcp;12 0.0.0.0 tcp;13 0.0.0.0 tcp;"
		  "14 0.0.0.0 tcp;15 0.0.0.0 tcp;16 0.0.0.0 tcp;" },
		{ WIRE_SET_ALLOW_LAN, "allow-lan: true", "yes;" },
		{ WIRE_SET_ALLOW_LAN, "a: b", "no;" },
		{ WIRE_SET_BIND_ADDRESS, "bind-address: '*'", "*;" },
		/* F50: equal to ours it is refused by the supervisor */
		{ WIRE_SET_ROUTING_MARK,
		  "routing-mark: 6666\nproxies:\n- {routing-mark: 7}\n- {routing-mark: 6666}\nproxy-providers:\n"
		  "  p: {type: inline, override: {routing-mark: 0x1}, payload: [{routing_mark: 9}]}\n",
		  "7 3;6666 1;1 6;9 6;" },
		{ WIRE_SET_IPTABLES, "\niptables: {enable: true}", "2;" },
		{ WIRE_SET_IPTABLES, "iptables: {enable: 'true'}", "" },
		{ WIRE_SET_TUN, "tun:\n  enable: yes", "2;" },
		{ WIRE_SET_TUN, "tun:\n  enable: false", "" },
		{ WIRE_SET_IPV6, "a: b", "yes;" },
		{ WIRE_SET_IPV6, "ipv6: false", "no;" },
		{ WIRE_SET_FAKE_IP, "dns: {enable: true, enhanced-mode: fake-ip}", "198.18.0.0/16;" },
		{ WIRE_SET_FAKE_IP,
		  "dns: {enable: true, enhanced-mode: fake-ip, fake-ip-range: 28.0.0.1/8, fake-ip-range6: 'fc00::/18'}",
		  "28.0.0.0/8;fc00::/18;" },
		{ WIRE_SET_FAKE_IP, "dns: {enable: true, enhanced-mode: redir-host}", "" },
		{ WIRE_SET_FAKE_IP, "dns: {enable: false, enhanced-mode: fake-ip}", "" },
		{ WIRE_SET_DNS_LISTEN, "dns: {enable: true, listen: '0.0.0.0:1053'}", "0.0.0.0:1053;" },
		{ WIRE_SET_DNS_LISTEN, "dns: {listen: '0.0.0.0:1053'}", "" },
		{ WIRE_SET_DNS_FALLBACK,
		  "dns: {enable: true, default-nameserver: [1.1.1.1, tcp://8.8.8.8, 9.9.9.9:5353, 'tls://1.0.0.1', "
		  "'2620:fe::fe']}",
		  "1.1.1.1;2620:fe::fe;" },
		{ WIRE_SET_DNS_FALLBACK, "dns: {default-nameserver: [1.1.1.1]}", "" },
		{ WIRE_SET_CONTROLLER_UNIX, "external-controller-unix: mihomo.sock", "mihomo.sock;" },
		{ WIRE_SET_WATCH,
		  "proxy-providers:\n  a: {type: file, path: ./a.yaml}\n  b: {type: http, url: 'http://x/', path: /b}\n"
		  "  c: {type: http, url: 'https://x.example/sub?token=1'}\n  d: {type: inline, payload: []}\n"
		  "  e: {type: file}\n",
		  "/home/a.yaml;/b;/home/proxies/8348ce0246a26d7420c2c6a937c22a53;" }, /* F12; md5sum's answer */
		{ WIRE_SET_TPROXY_PORT, "x: &x {tproxy-port: 1}\n<<: *x", "1;" },
		{ WIRE_SET_ALLOW_LAN, "- a list", "no;" },
		{ WIRE_SET_WATCH, "proxy-providers: [{type: file, path: a}]\nhosts: [a]\ndns: []\ntun: x", "" },
		{ WIRE_SET_ALLOW_LAN, "", "no;" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct values v = { .key = rows[i].key };
		struct err e = ERR_INIT;
		uint32_t line;

		assert_int_equal(mihomo_settings(rows[i].config, strlen(rows[i].config), "/home", keep, &v, &line, &e),
				 0);
		if (strcmp(v.text, rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].config, v.text);
	}
}

static void a_line_is_appended_only_where_it_belongs_to_the_first_document(void **state)
{
	static const struct {
		const char *config;
		bool may;
	} rows[] = {
		{ "a: 1\n", true },
		{ "a: 1", true },
		{ "a: 1\r\n", true },
		{ "a:\n- b\n- c", true },
		{ "a: |\n  text\n  more", true },
		{ "a: |+\n  text\n\n\n", true },
		{ "a: plain\n  going on", true },
		{ "a:", true },
		{ "a: &x", true },
		{ "a: 1 # a comment", true },
		{ "---\na: 1\n", true },
		{ "a: [1,\n 2]\n", true },
		{ "a: 1\n...\n", false },
		{ "a: 1\n---\nb: 2\n", false },
		{ "a: 1\n---", false },
		{ "{a: 1}\n", false },
		{ "  a: 1\n  b: 2\n", false },
		{ "- a\n", false },
		{ "text\n", false },
		{ "", false },
		{ "listeners: []\n", false },
		{ "listeners:\na: 1\n", false },
		{ "x: &x {listeners: []}\n<<: *x\n", false },
		{ "\xef\xbb\xbf"
		  "a: 1\n",
		  false },
	};
	static const char utf16[] = "\xff\xfe"
				    "a\0:\0 \0"
				    "1\0\n\0";
	struct doc *d;
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *why;

		d = load(rows[i].config);
		why = mihomo_append_obstacle(d, rows[i].config, strlen(rows[i].config));
		if (rows[i].may != (why == NULL))
			fail_msg("%s: %s", rows[i].config, why ? why : "appended");
		doc_free(d);
	}
	d = load_bytes(utf16, sizeof(utf16) - 1);
	assert_string_equal(mihomo_append_obstacle(d, utf16, sizeof(utf16) - 1), "it is UTF-16");
	doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_setting_is_read_as_mihomo_reads_it),
		cmocka_unit_test(a_line_is_appended_only_where_it_belongs_to_the_first_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
