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
#include "seen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* One skipped entry of YAML is enough for Mihomo to refuse the file. */
static int spoilt(const char *want)
{
	return strchr(want, '!') != NULL;
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

		if (seen_parse(rows[i].bytes, strlen(rows[i].bytes), &s) != spoilt(rows[i].want) ||
		    strcmp(s.text, rows[i].want) != 0)
			fail_msg("%s: %s (%s)", rows[i].what, s.text, s.reason);
	}
}

static void a_bad_entry_is_skipped_with_its_line_and_the_others_go_on(void **state)
{
	static const char text[] =
		"proxies:\n- {server: a.example}\n-\n  server:\n  port: 1\n- {name: last, server: b.example}\n";
	struct seen s;
	(void)state;

	assert_int_equal(seen_parse(text, strlen(text), &s), 1);
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

		assert_int_equal(seen_parse(rows[i].bytes, strlen(rows[i].bytes), &s), -EINVAL);
		if (strncmp(s.reason, rows[i].reason, strlen(rows[i].reason)) != 0)
			fail_msg("%s: %s", rows[i].bytes, s.reason);
	}
}

/* Reasons go into logs. */
static void no_reason_tells_what_may_be_a_secret(void **state)
{
	static const char *const rows[] = {
		"proxies: [{server: 'https://a.example/sub?token=hunter2'}]",
		"proxies: [{server: 'hunter2@a.example'}]",
		"proxies: [{server: a.example, port: '443/?p=hunter2'}]",
		"proxies: [{server: a.example, password: *hunter2}]",
		"hunter2 https://a.example\n",
		"token=hunter2://a.example\nss://YTpi@a.example:1\n",
		"ss://hunter2@\nvless://hunter2@a.example:hunter2\n",
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s;

		print_message("%s\n", rows[i]);
		(void)seen_parse(rows[i], strlen(rows[i]), &s);
		assert_non_null(strchr(s.text, '!'));
		assert_null(strstr(s.reason, "hunter2"));
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
		cmocka_unit_test(a_bad_entry_is_skipped_with_its_line_and_the_others_go_on),
		cmocka_unit_test(what_is_no_provider_is_refused_with_a_reason),
		cmocka_unit_test(no_reason_tells_what_may_be_a_secret),
		cmocka_unit_test(hosts_and_ports_come_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
