/* mihomo_api: what Mihomo says of its proxies and connections, true answers and hostile ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/mihomo_api.h"

/* Everything that was told, as one text: a line each. */
struct told {
	char text[4096];
	size_t len;
	unsigned count;
};

static void put(struct told *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct told *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (t->len < sizeof(t->text))
		t->len += (size_t)vsnprintf(t->text + t->len, sizeof(t->text) - t->len, fmt, ap);
	va_end(ap);
	t->count++;
}

static void on_proxy(void *ctx, const struct mihomo_proxy *p)
{
	put(ctx, "%s/%s %s now=%s via=%s%s%s\n", p->provider, p->name, p->type, p->now, p->dialer, p->mux ? " mux" : "",
	    p->works ? " works" : "");
}

static void on_connection(void *ctx, const struct mihomo_connection *c)
{
	struct addr a;
	char text[ADDR_TEXT];

	put(ctx, "%s/%s %s\n", c->provider, c->leaf, mihomo_peer(c, &a) ? addr_text(&a, text) : "-");
}

static struct told proxies_of(const char *json, int want)
{
	struct told t = { .len = 0 };

	assert_int_equal(mihomo_proxies(json, strlen(json), on_proxy, &t), want);
	return t;
}

static struct told connections_of(const char *json, int want)
{
	struct told t = { .len = 0 };

	assert_int_equal(mihomo_connections(json, strlen(json), on_connection, &t), want);
	return t;
}

#define SS1                                                                                                            \
	"{\"alive\":true,\"dialer-proxy\":\"\",\"extra\":{},\"history\":[],\"name\":\"ss1\",\"provider-name\":\"\","   \
	"\"smux\":false,\"type\":\"Shadowsocks\"}"

static void every_shape_of_answer_tells_its_proxies(void **state)
{
	static const struct {
		const char *json, *want;
	} cases[] = {
		{ "{\"proxies\":{\"ss1\":" SS1 "}}", "/ss1 Shadowsocks now= via=\n" },
		{ SS1, "/ss1 Shadowsocks now= via=\n" },
		{ "{\"proxies\":[{\"name\":\"G\",\"type\":\"Selector\",\"all\":[\"a\",\"b\"],\"now\":\"b\",\"alive\":"
		  "true}]}",
		  "/G Selector now=b via=\n" },
		{ "{\"providers\":{\"p\":{\"name\":\"p\",\"type\":\"Proxy\",\"proxies\":[{\"name\":\"s\",\"type\":"
		  "\"Trojan\","
		  "\"provider-name\":\"p\",\"dialer-proxy\":\"up\",\"smux\":true,\"alive\":true,"
		  "\"history\":[{\"time\":\"2026-01-01T00:00:00Z\",\"delay\":12}]}]},"
		  "\"q\":{\"proxies\":[{\"name\":\"s\",\"type\":\"Vmess\",\"provider-name\":\"q\",\"alive\":false,"
		  "\"history\":[{\"delay\":0}]}]}}}",
		  "p/s Trojan now= via=up mux works\nq/s Vmess now= via=\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(proxies_of(cases[i].json, 0).text, cases[i].want);
}

#define CONNECTION(leaf, provider, remote, destination)                                                                \
	"{\"metadata\":{\"network\":\"tcp\",\"type\":\"Inner\",\"destinationIP\":\"" destination                       \
	"\",\"remoteDestination\":\"" remote "\"},\"chains\":[\"" leaf "\",\"G\"],\"providerChains\":[\"" provider     \
	"\",\"\"]}"
#define CONNECTIONS(list) "{\"downloadTotal\":14,\"uploadTotal\":162,\"connections\":[" list "],\"memory\":0}"

static void a_connection_tells_its_leaf_and_its_peer(void **state)
{
	static const struct {
		const char *json, *want;
	} cases[] = {
		{ CONNECTIONS(CONNECTION("s", "", "203.0.113.7", "198.51.100.1")), "/s 203.0.113.7\n" },
		{ CONNECTIONS(CONNECTION("s", "p", "2001:db8::7", "")), "p/s 2001:db8::7\n" },
		{ CONNECTIONS(CONNECTION("s", "", "::ffff:203.0.113.7", "")), "/s 203.0.113.7\n" },
		{ CONNECTIONS(CONNECTION("s", "", "proxy.example", "")), "/s -\n" }, /* a name, of a UDP session */
		{ CONNECTIONS(CONNECTION("s", "", "", "198.51.100.1")), "/s -\n" },  /* DIRECT by UDP */
		{ CONNECTIONS(CONNECTION("s", "", "fe80::1%eth0", "")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("s", "", "127.0.0.2", "")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("s", "", "0.0.0.0", "")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("s", "", "::1", "")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("s", "", "ff02::1", "")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("s", "", "239.1.2.3", "")), "/s -\n" },
		/* Its peer is the client's destination: it is direct, or multiplexed, or inside a tunnel. */
		{ CONNECTIONS(CONNECTION("s", "", "203.0.113.7", "203.0.113.7")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("s", "", "203.0.113.7", "::ffff:203.0.113.7")), "/s -\n" },
		{ CONNECTIONS(CONNECTION("a", "", "203.0.113.7", "") "," CONNECTION("b", "", "203.0.113.8", "")),
		  "/a 203.0.113.7\n/b 203.0.113.8\n" },
		{ "{\"connections\":[{\"chains\":[\"a\"]},{\"chains\":[]},{\"metadata\":{}}]}", "/a -\n" },
		{ "{\"connections\":null}", "" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(connections_of(cases[i].json, 0).text, cases[i].want);
}

static void only_a_plain_proxy_that_this_host_dials_names_a_server(void **state)
{
	static const struct {
		struct mihomo_proxy proxy;
		bool want;
	} cases[] = {
		{ { .type = "Shadowsocks", .dialer = "" }, true },
		{ { .type = "Socks5", .dialer = "" }, true },
		{ { .type = "Hysteria2", .dialer = "" }, true },
		{ { .type = "Trojan", .dialer = "" }, true },
		{ { .type = "Trojan", .dialer = "other" }, false },
		{ { .type = "Trojan", .dialer = "", .mux = true }, false },
		{ { .type = "Direct", .dialer = "" }, false },
		{ { .type = "Reject", .dialer = "" }, false },
		{ { .type = "RejectDrop", .dialer = "" }, false },
		{ { .type = "Compatible", .dialer = "" }, false },
		{ { .type = "Pass", .dialer = "" }, false },
		{ { .type = "PassRule", .dialer = "" }, false },
		{ { .type = "Rematch", .dialer = "" }, false },
		{ { .type = "Dns", .dialer = "" }, false },
		{ { .type = "Relay", .dialer = "" }, false },
		{ { .type = "Selector", .dialer = "" }, false },
		{ { .type = "URLTest", .dialer = "" }, false },
		{ { .type = "WireGuard", .dialer = "" }, false }, /* its peers are those within the tunnel */
		{ { .type = "OpenVPN", .dialer = "" }, false },
		{ { .type = "Masque", .dialer = "" }, false },
		{ { .type = "Tailscale", .dialer = "" }, false },
		{ { .type = "ZeroTier", .dialer = "" }, false },
		{ { .type = "Unknown", .dialer = "" }, false },
		{ { .type = "socks5", .dialer = "" }, false },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(mihomo_names_server(&cases[i].proxy), cases[i].want);
}

static void wrong_shapes_tell_nothing(void **state)
{
	static const char *const cases[] = {
		"0",
		"null",
		"[]",
		"{}",
		"\"x\"",
		"[{\"name\":\"a\",\"type\":\"b\"}]",
		"{\"proxies\":null,\"connections\":7}",
		"{\"proxies\":\"x\",\"connections\":{}}",
		"{\"proxies\":[1,null,[],\"x\",{}],\"connections\":[1,null,[],\"x\",{}]}",
		"{\"proxies\":{\"a\":{\"name\":1,\"type\":2}},\"connections\":[{\"chains\":[1]}]}",
		"{\"connections\":[{\"chains\":{\"a\":{}}}]}",
		"{\"proxies\":{\"a\":{\"name\":\"\",\"type\":\"x\"}},\"connections\":[{\"chains\":[\"\"]}]}",
		"{\"providers\":[1,{\"proxies\":2},{\"proxies\":{\"a\":3}}],\"connections\":[{\"chains\":\"a\"}]}",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(proxies_of(cases[i], 0).count, 0);
		assert_int_equal(connections_of(cases[i], 0).count, 0);
	}
}

static void what_is_no_json_is_refused(void **state)
{
	static const char *const cases[] = { "", "{", "<html>", "{\"proxies\":{\"a\":", "{\"connections\":[{]}" };
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		proxies_of(cases[i], -EINVAL);
		connections_of(cases[i], -EINVAL);
	}
}

static void depth_is_bounded(void **state)
{
	static char deep[200000];
	(void)state;

	memset(deep, '[', sizeof(deep) - 1);
	proxies_of(deep, -EINVAL);
	connections_of(deep, -EINVAL);
}

/* A name of `len` bytes in the place of @. */
static struct told with_name(size_t len, const char *before, const char *after, struct told (*read)(const char *, int))
{
	struct told t;
	char *json = calloc(1, len + strlen(before) + strlen(after) + 1);

	assert_non_null(json);
	memcpy(json, before, strlen(before));
	memset(json + strlen(before), 'n', len);
	memcpy(json + strlen(before) + len, after, strlen(after));
	t = read(json, 0);
	free(json);
	return t;
}

static void a_name_that_is_too_long_is_passed_over(void **state)
{
	static const struct {
		const char *before, *after;
		struct told (*read)(const char *, int);
	} cases[] = {
		{ "{\"name\":\"", "\",\"type\":\"Vless\"}", proxies_of },
		{ "{\"name\":\"a\",\"provider-name\":\"", "\",\"type\":\"Vless\"}", proxies_of },
		{ "{\"name\":\"a\",\"now\":\"", "\",\"type\":\"Vless\"}", proxies_of },
		{ "{\"connections\":[{\"chains\":[\"", "\"]}]}", connections_of },
		{ "{\"connections\":[{\"chains\":[\"a\"],\"providerChains\":[\"", "\"]}]}", connections_of },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(with_name(MIHOMO_NAME_MAX, cases[i].before, cases[i].after, cases[i].read).count, 1);
		assert_int_equal(with_name(MIHOMO_NAME_MAX + 1, cases[i].before, cases[i].after, cases[i].read).count,
				 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_shape_of_answer_tells_its_proxies),
		cmocka_unit_test(a_connection_tells_its_leaf_and_its_peer),
		cmocka_unit_test(only_a_plain_proxy_that_this_host_dials_names_a_server),
		cmocka_unit_test(wrong_shapes_tell_nothing),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(a_name_that_is_too_long_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
