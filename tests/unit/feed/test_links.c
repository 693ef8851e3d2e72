/*
 * links: every row about links of the formats people have (F8 to F36) and of Mihomo's
 * scheme table. What is wanted is what Mihomo 1.19.30's converter and outbounds
 * gave for the same line; where its reading and a format's description differ, Mihomo
 * wins and the row says so.
 */
#include <errno.h>
#include <nettle/base64.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/links.h"
#include "parse/feed/provider.h"

#define NO_VMESS "!1 neither base64 of JSON nor a URL with a port (Shadowrocket's form is not read by Mihomo);"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* "HOST|PORT|PORTS|TRANSPORT|KIND|NAME;" of each endpoint, "!LINE REASON;" of each line skipped. */
struct seen {
	char text[4096];
	size_t used;
	unsigned found;
	uint32_t line;
};

static void add(struct seen *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct seen *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->used, sizeof(s->text) - s->used, fmt, ap);
	va_end(ap);
	s->used += (size_t)n < sizeof(s->text) - s->used ? (size_t)n : 0;
}

static void found(void *ctx, const struct endpoint *ep)
{
	struct seen *s = ctx;

	assert_int_equal(ep->families, ENDPOINT_ANY_FAMILY);
	assert_string_equal(ep->dialer, "");
	add(s, "%s|%u|%s|%s|%s|%s;", ep->host, ep->port, ep->ports, ep->transport, endpoint_kind_name(ep->kind),
	    ep->name);
	s->found++;
	s->line = ep->line;
}

static void skipped(void *ctx, uint32_t line, const char *reason)
{
	add(ctx, "!%u %s;", line, reason);
}

static int parse(const char *bytes, size_t len, struct seen *s)
{
	const struct endpoint_sink sink = { .ctx = s, .found = found, .skipped = skipped };

	memset(s, 0, sizeof(*s));
	return provider_parse(bytes, len, &sink);
}

/* Texts between "<<" and ">>" become base64; ">-" leaves the padding out, ">_" means the URL alphabet. */
static void encode(const char *from, char *to)
{
	const char *open, *close;

	while ((open = strstr(from, "<<"))) {
		size_t len, n;

		memcpy(to, from, (size_t)(open - from));
		to += open - from;
		for (close = open + 2; !(close[0] == '>' && strchr(">-_", close[1]) && close[1]); close++)
			assert_true(*close);
		len = (size_t)(close - open) - 2;
		base64_encode_raw(to, len, (const uint8_t *)open + 2);
		n = BASE64_ENCODE_RAW_LENGTH(len);
		for (size_t i = 0; i < n && close[1] == '_'; i++)
			to[i] = to[i] == '+' ? '-' : to[i] == '/' ? '_' : to[i];
		while (close[1] != '>' && n > 0 && to[n - 1] == '=')
			n--;
		to += n;
		from = close + 2;
	}
	strcpy(to, from);
}

struct row {
	const char *what, *link, *want;
};

static void check(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char link[1024];
		struct seen s;
		int r;

		encode(rows[i].link, link);
		r = parse(link, strlen(link), &s);
		if (r != (s.found > 0 ? 0 : -EINVAL) || strncmp(s.text, rows[i].want, strlen(rows[i].want)) != 0 ||
		    (s.found > 0 && strcmp(s.text, rows[i].want) != 0))
			fail_msg("%s: %s: %d %s", rows[i].what, link, r, s.text);
	}
}

static void each_link_people_have_gives_what_mihomo_dials(void **state)
{
	static const struct row rows[] = {
		{ "F22 text",
		  "vmess://"
		  "<<{\"v\":\"2\",\"ps\":\"a\",\"add\":\"203.0.113.11\",\"port\":\"443\",\"id\":\"x\",\"aid\":0}>>",
		  "203.0.113.11|443||tcp|server|a;" },
		{ "F22 number", "vmess://<<{\"ps\":\"a\",\"add\":\"203.0.113.11\",\"port\":443,\"aid\":\"0\"}>>",
		  "203.0.113.11|443||tcp|server|a;" },
		{ "F22 no padding", "vmess://<<{\"ps\":\"ab\",\"add\":\"203.0.113.11\",\"port\":443}>-",
		  "203.0.113.11|443||tcp|server|ab;" },
		{ "F23", "vmess://uuid@n4.example.net:443?type=ws&security=tls#a",
		  "n4.example.net|443||tcp|server|a;" },
		/* Mihomo wins: it takes this for base64 of JSON, or for a URL without a port. */
		{ "F24 Shadowrocket", "vmess://<<auto:uuid@203.0.113.12:443>-?remarks=a", NO_VMESS },
		{ "F24 Kitsunebi", "vmess://<<auto:uuid@203.0.113.12:443>>", "!1 base64, but not of a JSON object;" },
		{ "F25", "ss://<<aes-256-gcm:pw>-@203.0.113.13:8388/?plugin=obfs-local%3Bobfs%3Dhttp#a",
		  "203.0.113.13|8388||tcp|server|a;" },
		{ "F25 a plain user part", "ss://2022-blake3-aes-128-gcm:cGFzcw%3D%3D@203.0.113.13:8388#a",
		  "203.0.113.13|8388||tcp|server|a;" },
		{ "F26", "ss://<<aes-256-gcm:p@ss@203.0.113.14:8388>-#a", "203.0.113.14|8388||tcp|server|a;" },
		{ "the seed's own", "ss://YWVzLTI1Ni1nY206a2V5QGlfMTkyLjE2OC4xLjEwMDo4Mzg4#proxy1",
		  "i_192.168.1.100|8388||tcp|server|proxy1;" },
		/* Mihomo wins: it knows obfs and v2ray-plugin, neither of which moves the server. */
		{ "F27 v2ray-plugin",
		  "ss://<<aes-256-gcm:pw>-@203.0.113.13:8388?v2ray-plugin=<<{\"address\":\"x.example\",\"port\":1}>>#a",
		  "203.0.113.13|8388||tcp|server|a;" },
		{ "F27 shadow-tls",
		  "ss://"
		  "<<aes-256-gcm:pw>-@203.0.113.13:8388?shadow-tls=<<{\"address\":\"x.example\",\"port\":\"1\"}>>#a",
		  "203.0.113.13|8388||tcp|server|a;" },
		{ "F28", "ssr://<<203.0.113.15:443:origin:aes-256-cfb:plain:cGFzcw/?remarks=YQ>_",
		  "203.0.113.15|443||tcp|server|a;" },
		/* Mihomo wins: it counts six fields, so that an IPv6 host has too many. */
		{ "F28 IPv6", "ssr://<<2001:db8::5:443:origin:aes-256-cfb:plain:cGFzcw/?remarks=YQ>_",
		  "!1 not six fields before /?;" },
		{ "F29", "trojan://pass@[2001:db8::15]:443?sni=x#a", "2001:db8::15|443||tcp|server|a;" },
		/* Mihomo wins: it refuses the whole list for a port that is missing. */
		{ "F29 no port", "trojan://pass@[2001:db8::15]?sni=x#a", "!1 no port;" },
		{ "F30", "vless://uuid@n5.example.net:443?security=reality&pbk=x&sid=08#a",
		  "n5.example.net|443||tcp|server|a;" },
		{ "F30 base64", "vless://<<n5.example.net:443>>?security=tls#a", "n5.example.net|443||tcp|server|a;" },
		/* Mihomo wins: what Shadowrocket has before '@' becomes part of a host that nobody can dial. */
		{ "F30 Shadowrocket", "vless://<<auto:uuid@n5.example.net:443>>?tls=1#a", "!1 not a host;" },
		{ "F31 a range", "hysteria2://pw@n6.example.net:8443-8445?obfs=salamander#a",
		  "n6.example.net|8443|8443-8445|udp|server|a;" },
		{ "F31 mport is not read", "hy2://pw@n6.example.net:443?mport=9000,9002-9004#a",
		  "n6.example.net|443||udp|server|a;" },
		{ "F31 the usual port", "hy2://pw@n6.example.net#a", "n6.example.net|443||udp|server|a;" },
		{ "F32", "hysteria://n7.example.net:8443?auth=x&mport=2000,3000#a",
		  "n7.example.net|8443||udp|server|a;" },
		{ "F32 hy", "hy://n7.example.net:8443?auth=x", "!1 Mihomo reads no hy links;" },
		{ "F33 v5", "tuic://uuid:pa%3Ass@n8.example.net:443#a", "n8.example.net|443||udp|server|a;" },
		{ "F33 v4", "tuic://token@n8.example.net:443#a", "n8.example.net|443||udp|server|a;" },
		{ "F34",
		  "wireguard://key@203.0.113.16:51820?address=x&publickey=y=", "!1 Mihomo reads no wireguard links;" },
		{ "F34 short", "wg://key@203.0.113.16:51820", "!1 Mihomo reads no wg links;" },
		/* Mihomo wins: no port is implied by these. */
		{ "F35 anytls", "anytls://pw@n9.example.net", "!1 no port;" },
		{ "F35 https", "https://u:p@n10.example.net", "!1 no port;" },
		{ "F35 socks", "socks://<<u:p>>@203.0.113.17:1080#a # b", "203.0.113.17|1080||tcp|server|a # b;" },
		{ "F36 a subscription", "https://panel.example/sub?token=x", "!1 no port;" },
		/* Mihomo wins: with a port it is an HTTP proxy, which Mihomo would dial. */
		{ "F36 with a port", "https://panel.example:8443/sub?token=x",
		  "panel.example|8443||tcp|server|panel.example:8443;" },
	};
	(void)state;

	check(rows, COUNT(rows));
}

static void each_scheme_of_mihomo_is_read_by_its_own_rules(void **state)
{
	static const struct row rows[] = {
		{ "hysteria without a port", "hysteria://h.example", "!1 no port;" },
		{ "hysteria, faketcp", "hysteria://h.example:1?protocol=faketcp#a", "h.example|1||tcp|server|a;" },
		{ "hysteria2, a list", "hysteria2://pw@h.example:443,5000-6000/?sni=x#a",
		  "h.example|443|443,5000-6000|udp|server|a;" },
		{ "hysteria2, a list and '@' in the user", "hysteria2://p@w@h.example:1-2#a",
		  "h.example|1|1-2|udp|server|a;" },
		{ "hysteria2, brackets and a list", "hysteria2://pw@[2001:db8::1]:443,5000#a", "!1 the port" },
		{ "hysteria2, a list without a first", "hysteria2://pw@h.example:,5000#a", "!1 the port" },
		{ "hysteria2, octal", "hysteria2://pw@h.example:0443,5000#a", "h.example|291|0443,5000|udp|server|a;" },
		{ "realm", "hysteria2+realm://t@r.example:8443/id?auth=x&stun=s1.example:3479&stun=s2.example#a",
		  "r.example|8443||tcp|realm|a;s1.example|3479||udp|stun|a;s2.example|3478||udp|stun|a;" },
		{ "realm, short", "hy2+realm://t@[2001:db8::1]/id#a", "2001:db8::1|443||tcp|realm|a;" },
		{ "realm with a zone", "hy2+realm://t@[fe80::1%25eth0]?stun=s.example#a",
		  "s.example|3478||udp|stun|a;!1 not a host;" },
		{ "realm that cannot be asked", "hy2+realm://t@r.example:70000?stun=s.example#a",
		  "s.example|3478||udp|stun|a;!1 the port is out of range;" },
		{ "realm, a wrong STUN server", "hy2+realm://t@r.example/id?stun=:1#a",
		  "r.example|443||tcp|realm|a;!1 a STUN server is not HOST:PORT;" },
		{ "tuic without a port", "tuic://t@h.example", "!1 no port;" },
		{ "a trojan host is decoded", "trojan://p@b%C3%BCcher.example:443",
		  "b\xc3\xbc"
		  "cher.example|443||tcp|server|;" },
		{ "an escaped letter", "trojan://p@%61.example:443", "!1 an escape that a host may not have;" },
		{ "a zone", "trojan://p@[fe80::1%25eth0]:443", "!1 not a host;" },
		{ "IPv6 without brackets", "http://2001:db8::2:8080#a", "2001:db8::2|8080||tcp|server|a;" },
		{ "octal", "trojan://p@h.example:0443", "h.example|291||tcp|server|;" },
		{ "no octal", "trojan://p@h.example:08", "!1 the port is not a number;" },
		{ "port 0", "trojan://p@h.example:0", "h.example|0||tcp|server|;" },
		{ "too large", "trojan://p@h.example:65536", "!1 the port is out of range;" },
		{ "far too large", "trojan://p@h.example:99999999999999999999", "!1 the port is not a number;" },
		{ "no host", "trojan://p@:443", "!1 no host;" },
		{ "a character", "trojan://p@a,b:443", "!1 not a host;" },
		{ "case and underscore stay", "TROJAN://p@A_b.Example.:443", "A_b.Example.|443||tcp|server|;" },
		{ "a name is decoded", "trojan://p@h.example:1#a%20b%F0%9F%87%A9",
		  "h.example|1||tcp|server|a b\xf0\x9f\x87\xa9;" },
		{ "a bad name kills the link", "trojan://p@h.example:1#%zz", "!1 a % that no two hex digits follow;" },
		{ "vless without a port", "vless://u@h.example", "!1 no port;" },
		{ "vless, unpadded", "vless://<<[2001:db8::1]:443>-#a", "2001:db8::1|443||tcp|server|a;" },
		{ "vless, early data", "vless://u@h.example:1?type=WS&ed=2048", "h.example|1||tcp|server|;" },
		{ "vless, wrong early data", "vless://u@h.example:1?type=WS&ed=x", "!1 ed is not a number;" },
		{ "vless, early data of no use", "vless://u@h.example:1?type=tcp&ed=x", "h.example|1||tcp|server|;" },
		{ "vless, xhttp",
		  "vless://"
		  "u@h.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22address%22%3A%22d.example%22%2C%"
		  "22port%22%3A8443%7D%7D#a",
		  "h.example|443||tcp|server|a;d.example|8443||tcp|download|a;" },
		{ "vless, xhttp, the address alone",
		  "vless://"
		  "u@h.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22address%22%3A%22d.example%22%2C%"
		  "22port%22%3A%228443%22%7D%7D",
		  "h.example|443||tcp|server|;d.example|443||tcp|download|;" },
		{ "vless, xhttp, the port alone",
		  "vless://u@h.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22port%22%3A8443.9%7D%7D",
		  "h.example|443||tcp|server|;h.example|8443||tcp|download|;" },
		{ "vless, xhttp, neither",
		  "vless://"
		  "u@h.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22path%22%3A%22%2F%22%7D%7D",
		  "h.example|443||tcp|server|;" },
		{ "vless, xhttp, the second alone",
		  "vless://u@h.example:65536?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22port%22%3A1%7D%7D",
		  "h.example|1||tcp|download|;!1 the port is out of range;" },
		{ "vless, xhttp over HTTP/3",
		  "vless://"
		  "u@h.example:443?type=xhttp&security=TLS&alpn=h3&extra=%7B%22downloadSettings%22%3A%7B%22port%22"
		  "%3A1%7D%7D",
		  "h.example|443||udp|server|;h.example|1||udp|download|;" },
		{ "vless, xhttp, HTTP/3 for the second alone",
		  "vless://u@h.example:443?type=xhttp&alpn=h3&extra=%7B%22downloadSettings%22%3A%7B%22port%22%3A1%2C"
		  "%22security%22%3A%22tls%22%2C%22tlsSettings%22%3A%7B%22alpn%22%3A%5B%22h3%22%5D%7D%7D%7D",
		  "h.example|443||tcp|server|;h.example|1||udp|download|;" },
		{ "vmess, kcp", "vmess://u@h.example:443?type=mKCP", "h.example|443||udp|server|;" },
		{ "vmess, JSON, kcp", "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":1,\"net\":\"KCP\"}>>",
		  "a|1||udp|server|;" },
		{ "vmess, JSON, http rather than kcp",
		  "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":1,\"net\":\"kcp\",\"type\":\"http\"}>>",
		  "a|1||tcp|server|;" },
		{ "hysteria, faketcp in other letters", "hysteria://h.example:1?protocol=FakeTCP#a",
		  "h.example|1||udp|server|a;" },
		{ "vless, xhttp, broken", "vless://u@h.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B",
		  "h.example|443||tcp|server|;" },
		{ "vless, xhttp, something behind",
		  "vless://u@h.example:443?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22port%22%3A1%7D%7Dx",
		  "h.example|443||tcp|server|;" },
		{ "vless, another network",
		  "vless://u@h.example:443?type=ws&extra=%7B%22downloadSettings%22%3A%7B%22port%22%3A1%7D%7D",
		  "h.example|443||tcp|server|;" },
		{ "vmess, the URL alphabet", "vmess://<<{\"ps\":\"\xff\xff\xfe\",\"add\":\"a\"}>_", NO_VMESS },
		{ "vmess, no name", "vmess://<<{\"add\":\"a.example\",\"port\":1}>>", "!1 no name (ps) in it;" },
		{ "vmess, a number as name", "vmess://<<{\"ps\":1,\"add\":\"a.example\",\"port\":1}>>",
		  "!1 no name (ps) in it;" },
		{ "vmess, bytes behind", "vmess://<<{\"ps\":\"\",\"add\":\"a.example\",\"port\":1}, x>>",
		  "a.example|1||tcp|server|;" },
		{ "vmess, the last key",
		  "vmess://<<{\"ps\":\"\",\"add\":\"a.example\",\"add\":\"b.example\",\"Add\":\"c\"} >>",
		  "b.example|0||tcp|server|;" },
		{ "vmess, no port", "vmess://<<{\"ps\":\"\",\"add\":\"a.example\",\"port\":null}>>",
		  "a.example|0||tcp|server|;" },
		{ "vmess, no server", "vmess://<<{\"ps\":\"\",\"port\":1}>>", "!1 no host;" },
		{ "vmess, a number as server", "vmess://<<{\"ps\":\"\",\"add\":12345,\"port\":1}>>",
		  "1.2345E+04|1||tcp|server|;" },
		{ "vmess, true as server", "vmess://<<{\"ps\":\"\",\"add\":true,\"port\":1}>>",
		  "!1 the server is not text;" },
		{ "vmess, octal", "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":\"0443\"}>>", "a|291||tcp|server|;" },
		{ "vmess, hex", "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":\"0x1bb\"}>>", "a|443||tcp|server|;" },
		{ "vmess, a fraction", "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":443.9}>>",
		  "a|443||tcp|server|;" },
		{ "vmess, words", "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":\"https\"}>>",
		  "!1 the port is not a number;" },
		{ "vmess, a list", "vmess://<<{\"ps\":\"\",\"add\":\"a\",\"port\":[1]}>>",
		  "!1 the port is not a number;" },
		{ "vmess, brackets stay", "vmess://<<{\"ps\":\"\",\"add\":\"[2001:db8::1]\",\"port\":1}>>",
		  "!1 not a host;" },
		{ "vmess, IPv6", "vmess://<<{\"ps\":\"\",\"add\":\"2001:db8::1\",\"port\":1}>>",
		  "2001:db8::1|1||tcp|server|;" },
		{ "vmess, half an emoji", "vmess://<<{\"ps\":\"\\ud83d\",\"add\":\"a\",\"port\":1}>>",
		  "a|1||tcp|server|\xef\xbf\xbd;" },
		{ "vmess, a NUL", "vmess://<<{\"ps\":\"\",\"add\":\"a.example\\u0000.b\",\"port\":1}>>",
		  "!1 not a host;" },
		{ "vmess, a list at the top", "vmess://<<[]>>", "!1 base64, but not of a JSON object;" },
		{ "vmess, nothing", "vmess://", "!1 base64, but not of a JSON object;" },
		{ "vmess, URL without a port", "vmess://uuid@h.example", NO_VMESS },
		{ "ss, padded whole", "ss://<<aes-128-gcm:pw@203.0.113.4:1>>",
		  "!1 no port, and not unpadded base64 of all;" },
		{ "ss, padded user", "ss://<<aes-128-gcm:pw>>@203.0.113.4:1", "203.0.113.4|1||tcp|server|;" },
		{ "ss, user in the URL alphabet", "ss://<<a:\xff\xff\xfe\xff>_@203.0.113.4:1",
		  "203.0.113.4|1||tcp|server|;" },
		{ "ss, no password", "ss://<<aes-128-gcm>-@203.0.113.4:1", "!1 no method and password;" },
		{ "ss, nobody", "ss://203.0.113.4:1", "!1 no method and password;" },
		{ "ss, whole without a port", "ss://<<aes-128-gcm:pw@203.0.113.4>-", "!1 no port;" },
		{ "ss, whole with a name inside", "ss://<<a:b@203.0.113.4:1#in>-#out",
		  "203.0.113.4|1||tcp|server|out;" },
		{ "ssr, padded", "ssr://<<h.example:1:a:b:c:d/?x=1>>", "h.example|1||tcp|server|;" },
		{ "ssr, no parameters", "ssr://<<h.example:1:a:b:c:d>>", "!1 no /? in it;" },
		{ "ssr, five fields", "ssr://<<h.example:1:a:b:c/?>>", "!1 not six fields before /?;" },
		{ "ssr, a bad parameter", "ssr://<<h.example:1:a:b:c:d/?x=%zz>>", "!1 a malformed parameter;" },
		{ "ssr, a damaged name", "ssr://<<h.example:1:a:b:c:d/?remarks=Q>>", "h.example|1||tcp|server|;" },
		{ "ssr, plain", "ssr://h.example:1:a:b:c:d/?", "!1 not base64;" },
		{ "socks5", "socks5://h.example:1080", "h.example|1080||tcp|server|h.example:1080;" },
		{ "socks5h", "socks5h://u:p@[2001:db8::1]:1080#a", "2001:db8::1|1080||tcp|server|a;" },
		{ "http", "http://u:p@h.example:8080/#a", "h.example|8080||tcp|server|a;" },
		{ "http without a host", "http://:8080", "!1 no host;" },
		{ "anytls", "anytls://pw@n9.example:443?sni=x", "n9.example|443||tcp|server|n9.example:443;" },
		{ "mierus",
		  "mierus://"
		  "u:p@h.example:9?port=6666&port=9998-9999&port=0443&protocol=TCP&protocol=udp&protocol=UDP&profile=p",
		  "h.example|6666||tcp|server|p:6666/TCP;h.example|0|9998-9999|udp|server|p:9998-9999/udp;"
		  "h.example|443||udp|server|p:0443/UDP;" },
		{ "mierus, one bad port", "mierus://h.example?port=1&port=x&protocol=TCP&protocol=TCP#a",
		  "h.example|1||tcp|server|a:1/TCP;!1 the port is not a number;" },
		{ "mierus, pairs that do not fit", "mierus://h.example?port=1&port=2&protocol=TCP",
		  "!1 not as many protocols as ports;" },
		{ "mierus, no port", "mierus://h.example:443", "!1 no port;" },
		{ "mierus, no host", "mierus://?port=1&protocol=TCP", "!1 no host;" },
		{ "snell", "snell://pw@h.example:1", "!1 Mihomo reads no snell links;" },
		{ "ssh", "ssh://u@h.example:22", "!1 Mihomo reads no ssh links;" },
		{ "socks4", "socks4://h.example:1", "!1 Mihomo reads no socks4 links;" },
		{ "trojan-go", "trojan-go://p@h.example:1", "!1 Mihomo reads no trojan-go links;" },
		{ "mieru", "mieru://x", "!1 Mihomo reads no mieru links;" },
		{ "naive", "naive+https://u:p@h.example:443", "!1 Mihomo reads no naive+https links;" },
	};
	(void)state;

	check(rows, COUNT(rows));
}

static void a_document_of_links_is_read_by_lines(void **state)
{
	static const struct row rows[] = {
		{ "F8 standard", "<<trojan://p@a.example:1#a\ntrojan://p@b.example:2>>",
		  "a.example|1||tcp|server|a;b.example|2||tcp|server|;" },
		{ "F8 no padding", "<<trojan://p@a.example:1#aa>-", "a.example|1||tcp|server|aa;" },
		{ "F8 wrapped, CRLF at the end", "dHJvamFuOi8v\r\ncEBhLmV4YW1w\nbGU6MQ==\r\n",
		  "a.example|1||tcp|server|;" },
		/* Mihomo wins: it takes neither the URL alphabet nor a blank for base64. */
		{ "F8 URL alphabet", "<<trojan://p@a.example:1#\xc3\xbf\xc3\xbf\xc3\xbf>_",
		  "!1 base64 with the URL alphabet" },
		{ "F8 a blank behind", "<<trojan://p@a.example:1>> ", "!1 neither a YAML map nor share links;" },
		{ "F9", "<<proxies:\n- {name: a, type: ss, server: a.example, port: 1}\n>>",
		  "a.example|1||tcp|server|a;" },
		{ "F9 one level only", "<<dHJvamFuOi8vcEBhLmV4YW1wbGU6MQ==>>", "!1 base64, but of neither" },
		{ "F10", "# one\r\n\r\ntrojan://p@a.example:1#a\r\n  \n// two\ntrojan://p@b.example:2#b \r\r\n",
		  "a.example|1||tcp|server|a;b.example|2||tcp|server|b;" },
		{ "F10 a lone CR does not part", "trojan://p@a.example:1\rtrojan://p@b.example:2",
		  "!1 a control character;" },
		{ "leading blanks", " trojan://p@a.example:1\ntrojan://p@b.example:2",
		  "!1 blanks before the link: Mihomo does not read it;b.example|2||tcp|server|;" },
		{ "F20 a BOM loses the first line", "\xef\xbb\xbftrojan://p@a.example:1\ntrojan://p@b.example:2",
		  "!1 a byte order mark before the link: Mihomo does not read it;b.example|2||tcp|server|;" },
		{ "F20 invalid UTF-8", "trojan://p@a.example:1#\xff\xfe", "a.example|1||tcp|server|\xff\xfe;" },
		{ "F20 controls in a name", "trojan://p@a.example:1#\x02\ttab", "a.example|1||tcp|server|\x02\ttab;" },
		{ "F20 an emoji as it is", "trojan://p@a.example:1#\xf0\x9f\x87\xa9",
		  "a.example|1||tcp|server|\xf0\x9f\x87\xa9;" },
		{ "F21 the name of the file counts for nothing", "trojan://p@a.example:1",
		  "a.example|1||tcp|server|;" },
		{ "words between", "hello\ntrojan://p@a.example:1\nhello: world",
		  "!1 not a share link;a.example|1||tcp|server|;!3 not a share link;" },
		{ "repeated names stay as written", "trojan://p@a.example:1#x\ntrojan://p@b.example:2#x",
		  "a.example|1||tcp|server|x;b.example|2||tcp|server|x;" },
		/* YAML sees a map here, so that Mihomo never tries links. */
		{ "a name with a colon and a blank", "trojan://p@a.example:1#a: b", "!1 no proxies: in it;" },
		{ "the same beside proxies that are no list", "proxies: x\ntrojan://p@a.example:1#a: b",
		  "!1 not a share link;a.example|1||tcp|server|a: b;" },
		{ "the same beside an entry that is no map", "proxies: [x]\ntrojan://p@a.example:1#a: b",
		  "!1 not a share link;a.example|1||tcp|server|a: b;" },
		{ "the same beside proxies that fit", "proxies: []\ntrojan://p@a.example:1#a: b", "" },
		{ "the same in a list", "trojan://p@a.example:1#x\ntrojan://p@b.example:2#a: b",
		  "a.example|1||tcp|server|x;b.example|2||tcp|server|a: b;" },
		{ "the same first in a list", "trojan://p@a.example:1#a: b\ntrojan://p@b.example:2#x",
		  "a.example|1||tcp|server|a: b;b.example|2||tcp|server|x;" },
		{ "a comment of YAML behind", "trojan://p@a.example:1#x #y: z", "a.example|1||tcp|server|x #y: z;" },
		{ "YAML with a map wins", "proxies: []\ntrojan://p@a.example:1: x", "" },
		{ "none can be read", "trojan://p@a.example\nsnell://x",
		  "!1 no port;!2 Mihomo reads no snell links;!0 no share link that can be read;" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		if (*rows[i].want)
			check(&rows[i], 1);
		else
			assert_int_equal(parse(rows[i].link, strlen(rows[i].link), &(struct seen){ 0 }), 0);
	}
}

static void a_nul_is_a_control_character(void **state)
{
	static const char in_host[] = "trojan://p@a\0b.example:1", in_name[] = "trojan://p@a.example:1#a\0b";
	struct seen s;
	(void)state;

	assert_int_equal(parse(in_host, sizeof(in_host) - 1, &s), -EINVAL);
	assert_int_equal(parse(in_name, sizeof(in_name) - 1, &s), 0);
	assert_string_equal(s.text, "a.example|1||tcp|server|a\1b;");
}

static void lines_are_counted_from_one(void **state)
{
	static const char text[] = "\n# c\nvless://u@a.example:1";
	struct seen s;
	(void)state;

	assert_int_equal(parse(text, strlen(text), &s), 0);
	assert_int_equal(s.line, 3);
}

static void too_many_links_are_refused(void **state)
{
	static const char one[] = "ss://\n";
	size_t n = LINKS_MAX + 1, len = n * strlen(one);
	char *text = malloc(len);
	struct seen s;
	(void)state;

	assert_non_null(text);
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * strlen(one), one, strlen(one));
	assert_int_equal(parse(text, len, &s), -EINVAL);
	memset(&s, 0, sizeof(s));
	assert_int_equal(parse(text, len - strlen(one), &s), -EINVAL);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_link_people_have_gives_what_mihomo_dials),
		cmocka_unit_test(each_scheme_of_mihomo_is_read_by_its_own_rules),
		cmocka_unit_test(a_document_of_links_is_read_by_lines),
		cmocka_unit_test(a_nul_is_a_control_character),
		cmocka_unit_test(lines_are_counted_from_one),
		cmocka_unit_test(too_many_links_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
