#include "parse/feed/base64.h"

#include <errno.h>
#include <nettle/base64.h>
#include <stdint.h>
#include <string.h>

/* nettle passes over these. */
static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

static size_t skip_newlines(const char *text, size_t len, size_t at)
{
	while (at < len && (text[at] == '\r' || text[at] == '\n'))
		at++;
	return at;
}

/* The '=' that `used` letters of a group need, or false; *at moves behind them and the newlines there. */
static bool padding(const char *text, size_t len, size_t *at, size_t used)
{
	if (used < 2)
		return false;
	for (; used < 4; used++) {
		if (*at == len || text[*at] != '=')
			return false;
		*at = skip_newlines(text, len, *at + 1);
	}
	return true;
}

int base64_read(const char *text, size_t len, unsigned how, char *out, size_t *len_out)
{
	size_t letters = 0, n = 0, at;
	bool padded = how & BASE64_PADDED, whole = false;
	struct base64_decode_ctx ctx;

	(how & BASE64_URL ? base64url_decode_init : base64_decode_init)(&ctx);
	for (at = 0; at < len && text[at] != '='; at++) {
		int got;

		if (text[at] == '\r' || text[at] == '\n')
			continue;
		got = blank(text[at]) ? -1 : base64_decode_single(&ctx, (uint8_t *)out + n, text[at]);
		if (got < 0)
			break;
		if (got > 0 && out[n] == '\0')
			out[n] = '\1';
		n += (size_t)got;
		letters++;
	}
	if (at == len)
		whole = padded ? letters % 4 == 0 : letters % 4 != 1;
	else if (padded && padding(text, len, &at, letters % 4))
		whole = at == len;
	else
		at = len;
	if (!whole && at == len)
		n = letters / 4 * 3;
	out[n] = '\0';
	*len_out = n;
	return whole ? 0 : -EINVAL;
}

int base64_read_std(const char *text, size_t len, char *out, size_t *len_out)
{
	if (base64_read(text, len, BASE64_STD, out, len_out) == 0)
		return 0;
	return base64_read(text, len, BASE64_STD | BASE64_PADDED, out, len_out);
}

bool base64_letters(const char *text, size_t len)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n";
	bool wanted[256] = { false };

	for (const char *c = letters; *c; c++)
		wanted[(unsigned char)*c] = true;
	for (size_t i = 0; i < len; i++)
		if (!wanted[(unsigned char)text[i]])
			return false;
	return len > 0;
}
