/* format: what Mihomo cannot read is refused as a whole, and by its name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "parse/feed/format.h"
#include "seen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void what_mihomo_cannot_read_is_refused_by_name(void **state)
{
	static const struct {
		const char *what, *bytes, *reason; /* its beginning */
	} rows[] = {
		{ "F8 URL alphabet", "dHJvamFuOi8vcEBhLmV4YW1wbGU6MSPDv8O_w78=", "base64 with the URL alphabet" },
		{ "F13", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
		  "encrypted with age: not readable" },
		{ "F13 after a blank line", "\n-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n",
		  "encrypted with age: not readable" },
		{ "F13 binary", "age-encryption.org/v1\n-> X25519 abc\n\x01\x02", "encrypted with age (binary)" },
		{ "F14", "ssd://eyJwb3J0Ijo4Mzg4LCJzZXJ2ZXJzIjpbeyJzZXJ2ZXIiOiJzMS5leGFtcGxlLm5ldCJ9XX0=",
		  "an SSD subscription" },
		{ "F15",
		  "{\"version\":1,\"servers\":[{\"server\":\"203.0.113.10\",\"server_port\":8388,\"method\":\"x\"}]}",
		  "SIP008 JSON" },
		{ "F15 as a list", "[{\"server\":\"203.0.113.10\",\"server_port\":8388}]", "JSON of Shadowsocks" },
		{ "F16 Surge", "#!MANAGED-CONFIG\n[General]\nx = y\n\n[Proxy]\na = ss, n2.example.net, 8388\n",
		  "a Surge, Quantumult or Loon configuration" },
		{ "F16 Quantumult X", "[general]\n[server_local]\nshadowsocks=n2.example.net:8388, method=x\n",
		  "a Quantumult X configuration" },
		{ "F16 Loon", "[Remote Proxy]\na = https://panel.example/x\n", "a Loon configuration" },
		{ "F17", "{\"outbounds\":[{\"type\":\"vless\",\"server\":\"n3.example.net\",\"server_port\":443}]}",
		  "sing-box or Xray JSON" },
		{ "F17 behind a BOM", "\xef\xbb\xbf{ \"log\": {}, \"outbounds\": []}", "sing-box or Xray JSON" },
		{ "F18", "Netch://eyJUeXBlIjoiU1MifQ==", "a Netch link" },
		{ "F19", "<!DOCTYPE html>\n<html><title>log in</title></html>", "a web page" },
		{ "F19 lower case", "\r\n<!doctype HTML>", "a web page" },
		{ "F19 no doctype", "<html>\n<body>x: y</body>", "a web page" },
		{ "F19 in base64", "PCFET0NUWVBFIGh0bWw+PGh0bWw+PC9odG1sPg==", "a web page" },
		{ "empty", "", "empty" },
		{ "blank", " \r\n\t\n", "empty" },
		{ "comments alone", "# nothing here\n", "empty: nothing but blanks and comments" },
		{ "the word null", "null", "base64, but of neither" },
		{ "gzip", "\x1f\x8b\x08\x01", "compressed with gzip" },
		{ "XML", "<?xml version='1.0'?><x/>", "XML" },
		{ "WireGuard", "[Interface]\nPrivateKey = x\n", "a WireGuard configuration" },
		{ "a rule provider", "payload:\n- DOMAIN,x.example\n", "a rule provider" },
		{ "YAML of something else", "rules: []\n", "no proxies: in it" },
		{ "JSON of an error", "{\"message\":\"token expired\"}", "no proxies: in it" },
		{ "words", "token expired", "neither a YAML map nor share links" },
		{ "damaged base64", "dHJvamFuOi8vcEBhLmV4YW1wbGU6MSPDv8O/w78=x",
		  "neither YAML nor links, and base64 that is" },
		{ "base64 of words", "dG9rZW4gZXhwaXJlZA==", "base64, but of neither" },
		{ "broken YAML", "proxies:\n- {name: a\n", "not YAML (line " },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s;

		assert_int_equal(seen_parse(rows[i].bytes, strlen(rows[i].bytes), &s), -EINVAL);
		if (s.found != 0 || s.skipped != 1 || strncmp(s.reason, rows[i].reason, strlen(rows[i].reason)) != 0)
			fail_msg("%s: %u skipped, %s", rows[i].what, s.skipped, s.reason);
	}
}

static void a_name_never_stands_against_what_mihomo_reads(void **state)
{
	static const char *const rows[] = {
		"{\"outbounds\":[],\"proxies\":[{\"type\":\"ss\",\"name\":\"a\",\"server\":\"a.example\",\"port\":1}]}",
		"payload: []\nproxies: [{name: a, type: ss, server: a.example, port: 1}]\n",
		"<!DOCTYPE html>\ntrojan://p@a.example:1\n",
		"[Proxy]\ntrojan://p@a.example:1\n",
		"ssd://x\ntrojan://p@a.example:1\n",
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct seen s;

		assert_int_equal(seen_parse(rows[i], strlen(rows[i]), &s), 0);
		assert_int_equal(s.found, 1);
	}
}

static void a_section_counts_at_the_start_of_a_line_only(void **state)
{
	static const char text[] = "see [Proxy] there";
	(void)state;

	assert_null(format_name(text, strlen(text)));
}

/* The last letters may be anything: what would be slow if something were quadratic. */
static void bombs_end_soon_with_one_reason(void **state)
{
	static const struct {
		const char *fill, *first, *reason;
	} rows[] = {
		{ "A", "", "base64, but of neither" },
		{ "=", "", "neither YAML nor links, and base64" },
		{ "-", "A", "base64 with the URL alphabet" },
		{ "\n", "", "empty" },
		{ "@", "trojan://", "no share link that can be read" },
		{ "&", "mierus://a?", "no share link that can be read" },
		{ "%41", "ss://", "no share link that can be read" },
		{ "ss://\n", "", "more than 262144 links" },
		{ "x\n", "ss://\n", "more than 262144 links" },
	};
	size_t len = (size_t)8 << 20;
	char *text = malloc(len);
	(void)state;

	assert_non_null(text);
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t at = strlen(rows[i].first), n = strlen(rows[i].fill);
		clock_t began = clock();
		struct seen s;

		memcpy(text, rows[i].first, at);
		for (; at + n <= len; at += n)
			memcpy(text + at, rows[i].fill, n);
		assert_int_equal(seen_parse(text, at, &s), -EINVAL);
		if (s.found != 0 || strncmp(s.reason, rows[i].reason, strlen(rows[i].reason)) != 0)
			fail_msg("%s: %s", rows[i].fill, s.reason);
		assert_true(clock() - began < 20 * CLOCKS_PER_SEC); /* a sanitizer's share included */
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_mihomo_cannot_read_is_refused_by_name),
		cmocka_unit_test(a_name_never_stands_against_what_mihomo_reads),
		cmocka_unit_test(a_section_counts_at_the_start_of_a_line_only),
		cmocka_unit_test(bombs_end_soon_with_one_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
