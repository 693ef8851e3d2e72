/* url: Go's net/url as far as share links depend on it; the rows were tried with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/url.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* "USER|HOST|PORT|QUERY|FRAGMENT"; "!REASON" */
static void describe(const char *text, char out[512])
{
	char copy[256];
	const char *why, *host, *port;
	struct url u;

	snprintf(copy, sizeof(copy), "%s", text);
	why = url_parse(&u, copy);
	if (why) {
		snprintf(out, 512, "!%s", why);
		return;
	}
	url_split(u.authority, &host, &port);
	snprintf(out, 512, "%s%s|%s|%s|%s|%s", u.user, u.has_password ? "+" : "", host, port, u.query, u.fragment);
}

static void urls_come_apart_as_go_takes_them_apart(void **state)
{
	static const struct {
		const char *text, *want; /* "!..." = refused, for a reason that begins so */
	} rows[] = {
		{ "u@a.example:443/p?q=1#f", "u|a.example|443|q=1|f" },
		{ "a.example", "|a.example|||" },
		{ "", "||||" },
		{ "a.example:", "|a.example|||" },
		{ "u:p@a.example:1", "u+|a.example|1||" },
		{ "u:@a.example:1", "u+|a.example|1||" },
		{ "u%3Ap@a.example:1", "u:p|a.example|1||" },
		{ "u@v@a.example:1", "u@v|a.example|1||" },
		{ "u@a.example:1#a # b", "u|a.example|1||a # b" },
		{ "a.example:1?x?y#z?#", "|a.example|1|x?y|z?#" },
		{ "a.example:1#a%20b+c", "|a.example|1||a b+c" },
		{ "a.example:1#a\tb", "|a.example|1||a\tb" },
		{ "a.example:1#%00", "|a.example|1||\1" },
		{ "a.example:1?a=%zz", "|a.example|1|a=%zz|" },
		{ "a.example:1?a b", "|a.example|1|a b|" },
		{ "a.example:1/a b", "|a.example|1||" },
		{ "[2001:db8::1]:443", "|2001:db8::1|443||" },
		{ "[2001:db8::1]", "|2001:db8::1|||" },
		{ "[::ffff:192.0.2.1]:1", "|::ffff:192.0.2.1|1||" },
		{ "2001:db8::2:443", "|2001:db8::2|443||" },
		{ "b%C3%BCcher.example:1", "|b\xc3\xbc"
					   "cher.example|1||" },
		{ "b\xc3\xbc"
		  "cher.example:1",
		  "|b\xc3\xbc"
		  "cher.example|1||" },
		{ "UPPER_case.example:1", "|UPPER_case.example|1||" },
		{ "a%25b:1", "|a%b|1||" },
		{ "a.example:00443", "|a.example|00443||" },
		{ "a.example:99999", "|a.example|99999||" },
		{ "a.example:44x", "!the port" },
		{ "a.example:-1", "!the port" },
		{ "a.example:1:x", "!the port" },
		{ "[2001:db8::1]x", "!the port" },
		{ "[2001:db8::1", "!a bracket" },
		{ "x[2001:db8::1]:1", "!a bracket" },
		{ "[192.0.2.1]:1", "!not an IPv6" },
		{ "[a.example]:1", "!not an IPv6" },
		{ "[fe80::1%25eth0]:1", "|fe80::1%eth0|1||" }, /* which is no host to us */
		{ "a%2eb:1", "!an escape" },
		{ "a%zzb:1", "!an escape" },
		{ "a%4", "!an escape" },
		{ "a b:1", "!a character" },
		{ "a\\b:1", "!a character" },
		{ "a{b:1", "!a character" },
		{ "u p@a.example:1", "!a character" },
		{ "\xc3\xbc@a.example:1", "!a character" },
		{ "u/p@a.example:1", "|u|||" },
		{ "u%zz@a.example:1", "!a %" },
		{ "u:%z@a.example:1", "!a %" },
		{ "a.example:1/%zz", "!a %" },
		{ "a.example:1#%zz", "!a %" },
		{ "a.example:1#%", "!a %" },
		{ "a.example:1?a\tb", "!a control" },
		{ "a.example\x7f:1", "!a control" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = rows[i].want[0] == '!' ? strlen(rows[i].want) : 512;
		char got[512];

		describe(rows[i].text, got);
		if (strncmp(got, rows[i].want, n) != 0)
			fail_msg("%s: %s", rows[i].text, got);
	}
}

static void an_authority_that_was_not_checked_comes_apart_too(void **state)
{
	static const struct {
		const char *text, *host, *port;
	} rows[] = {
		{ "a:b@c:1", "a:b@c", "1" },
		{ "a:1x", "a:1x", "" },
		{ "[a]:1", "a", "1" },
		{ "[", "[", "" },
		{ "[]", "", "" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *host, *port;
		char copy[32];

		strcpy(copy, rows[i].text);
		url_split(copy, &host, &port);
		assert_string_equal(host, rows[i].host);
		assert_string_equal(port, rows[i].port);
	}
}

static void a_query_gives_its_first_and_all_values(void **state)
{
	char text[] = "a=1&b=%20+&a=2&&c&d=%zz&e;f=1&%61=3&=x", huge[2 * URL_PARAMS_MAX + 2];
	struct url_query q;
	size_t at = 0;
	(void)state;

	assert_int_equal(url_query(&q, text), 0);
	assert_true(q.malformed);
	assert_string_equal(url_get(&q, "a"), "1");
	assert_string_equal(url_get(&q, "b"), "  ");
	assert_string_equal(url_get(&q, "c"), "");
	assert_string_equal(url_get(&q, "d"), "");
	assert_string_equal(url_get(&q, ""), "x");
	assert_string_equal(url_next(&q, &at, "a"), "1");
	assert_string_equal(url_next(&q, &at, "a"), "2");
	assert_string_equal(url_next(&q, &at, "a"), "3");
	assert_null(url_next(&q, &at, "a"));
	assert_int_equal(q.n, 6);
	free(q.params);

	for (size_t i = 0; i < URL_PARAMS_MAX; i++)
		memcpy(huge + 2 * i, "a&", 3);
	assert_int_equal(url_query(&q, huge), 0);
	assert_true(q.malformed && q.n == 0);
	free(q.params);
	huge[0] = '\0';
	assert_int_equal(url_query(&q, huge), 0);
	assert_true(!q.malformed && q.n == 0);
	free(q.params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_come_apart_as_go_takes_them_apart),
		cmocka_unit_test(an_authority_that_was_not_checked_comes_apart_too),
		cmocka_unit_test(a_query_gives_its_first_and_all_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
