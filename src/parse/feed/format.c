#include "parse/feed/format.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define LOOK_AT ((size_t)64 * 1024) /* what tells a format stands near its start */

static const struct format {
	const char *begins;   /* behind blanks and a BOM, any case; NULL = anything */
	const char *contains; /* NULL = nothing more */
	const char *sentence;
} formats[] = {
	{ "-----BEGIN AGE ENCRYPTED FILE-----", NULL, "encrypted with age: not readable" },
	{ "age-encryption.org/", NULL, "encrypted with age (binary): Mihomo does not read it" },
	{ "\x1f\x8b", NULL, "compressed with gzip: Mihomo does not read it" },
	{ "<!DOCTYPE", NULL, "a web page (HTML), not a list of proxies" },
	{ "<html", NULL, "a web page (HTML), not a list of proxies" },
	{ "<head", NULL, "a web page (HTML), not a list of proxies" },
	{ "<?xml", NULL, "XML, not a list of proxies" },
	{ "{", "\"outbounds\"", "sing-box or Xray JSON: Mihomo does not read it" },
	{ "{", "\"server_port\"", "SIP008 JSON of Shadowsocks: Mihomo does not read it" },
	{ "[", "\"server_port\"", "JSON of Shadowsocks: Mihomo does not read it" },
	{ "ssd://", NULL, "an SSD subscription: Mihomo does not read it" },
	{ "netch://", NULL, "a Netch link: Mihomo does not read it" },
	{ NULL, "[server_local]", "a Quantumult X configuration: Mihomo does not read it" },
	{ NULL, "[server_remote]", "a Quantumult X configuration: Mihomo does not read it" },
	{ NULL, "[Remote Proxy]", "a Loon configuration: Mihomo does not read it" },
	{ NULL, "[Proxy]", "a Surge, Quantumult or Loon configuration: Mihomo does not read it" },
	{ NULL, "[SERVER]", "a Quantumult configuration: Mihomo does not read it" },
	{ "[Interface]", NULL, "a WireGuard configuration: Mihomo does not read it" },
	{ "payload:", NULL, "a rule provider, not a list of proxies" },
};

/* At the start of a line when it is a section of an ini file. */
static bool contains(const char *bytes, size_t len, const char *what)
{
	const char *at = bytes, *end = bytes + len;

	while ((at = memmem(at, (size_t)(end - at), what, strlen(what)))) {
		if (*what != '[' || at == bytes || at[-1] == '\n' || at[-1] == '\r')
			return true;
		at++;
	}
	return false;
}

/* One word, or lines of one, in base64 with '-' or '_'. */
static bool url_alphabet(const char *bytes, size_t len)
{
	bool telling = false;
	size_t i;

	for (i = 0; i < len && (isalnum((unsigned char)bytes[i]) || (bytes[i] && strchr("-_=\r\n", bytes[i]))); i++)
		telling |= bytes[i] == '-' || bytes[i] == '_';
	return i == len && telling && len >= 16;
}

const char *format_name(const char *bytes, size_t len)
{
	if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
		bytes += 3;
		len -= 3;
	}
	for (; len > 0 && isspace((unsigned char)*bytes); len--)
		bytes++;
	if (len == 0)
		return "empty";
	if (url_alphabet(bytes, len))
		return "base64 with the URL alphabet: Mihomo reads the standard one alone";
	len = len < LOOK_AT ? len : LOOK_AT;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		const struct format *f = &formats[i];

		if (f->begins && (len < strlen(f->begins) || strncasecmp(bytes, f->begins, strlen(f->begins)) != 0))
			continue;
		if (!f->contains || contains(bytes, len, f->contains))
			return f->sentence;
	}
	return NULL;
}
