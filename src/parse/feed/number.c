#include "parse/feed/number.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (isxdigit((unsigned char)c))
		return (unsigned)(tolower((unsigned char)c) - 'a') + 10;
	return 255;
}

static int parse(const char *text, unsigned base, bool minus, int64_t *out)
{
	int64_t value = 0;
	bool any = false;

	for (; *text; text++) {
		unsigned d = digit(*text);

		if (*text == '_')
			continue;
		if (d >= base || __builtin_mul_overflow(value, (int64_t)base, &value) ||
		    __builtin_add_overflow(value, (int64_t)d, &value))
			return -EINVAL;
		any = true;
	}
	if (!any)
		return -EINVAL;
	*out = minus ? -value : value;
	return 0;
}

int number_int(const char *text, int64_t *out)
{
	bool minus = *text == '-';
	unsigned base = 10;

	text += *text == '-' || *text == '+';
	if (text[0] == '0' && text[1] != '\0') {
		int prefix = tolower((unsigned char)text[1]);

		base = prefix == 'x' ? 16 : prefix == 'b' ? 2 : 8;
		text += prefix == 'x' || prefix == 'b' || prefix == 'o' ? 2 : 1;
	}
	return parse(text, base, minus, out);
}

int number_decimal(const char *text, int64_t *out)
{
	bool minus = *text == '-';

	text += *text == '-' || *text == '+';
	for (const char *c = text; *c; c++)
		if (*c == '_')
			return -EINVAL;
	return parse(text, 10, minus, out);
}

const char *number_float_text(double f, char buf[NUMBER_TEXT_MAX])
{
	for (int digits = 0; digits < 17; digits++) {
		snprintf(buf, NUMBER_TEXT_MAX, "%.*E", digits, f);
		if (strtod(buf, NULL) == f)
			break;
	}
	return buf;
}
