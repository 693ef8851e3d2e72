#include "parse/json_text.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t utf8_length(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
	uint32_t code;

	if (len <= 1)
		return len;
	code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return len;
}

const char *json_text(const char *text, char *buf)
{
	const char *at = text;
	size_t used = 0;

	while (*at) {
		size_t len = utf8_length(at);

		if ((len ? len : 1) > JSON_TEXT_MAX - 1 - used)
			break;
		if (len == 0 || (unsigned char)*at < 0x20 || *at == 0x7f) {
			buf[used++] = '?';
			at++;
			continue;
		}
		memcpy(buf + used, at, len);
		used += len;
		at += len;
	}
	buf[used] = '\0';
	return buf;
}
