#include "parse/feed/json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static char *digits(char *at)
{
	return at + strspn(at, "0123456789");
}

/* Behind the number that begins here (RFC 8259, 6), NULL when it is none or has no double. */
static char *number_end(char *at)
{
	char *from = at;

	at += *at == '-';
	if (!isdigit((unsigned char)*at))
		return NULL;
	at = *at == '0' ? at + 1 : digits(at);
	if (*at == '.') {
		if (!isdigit((unsigned char)at[1]))
			return NULL;
		at = digits(at + 1);
	}
	if (*at == 'e' || *at == 'E') {
		at += 1 + (at[1] == '+' || at[1] == '-');
		if (!isdigit((unsigned char)*at))
			return NULL;
		at = digits(at);
	}
	return isdigit((unsigned char)*at) || isinf(strtod(from, NULL)) ? NULL : at;
}

/* The four digits of \uXXXX, or -1. */
static int32_t unit(const char *at)
{
	char hex[5] = { 0 };

	for (int i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)at[i]))
			return -1;
		hex[i] = at[i];
	}
	return (int32_t)strtol(hex, NULL, 16);
}

/* Behind \uXXXX, a pair of them perhaps; half a pair becomes U+FFFD, and NUL, which would end the text, \1. */
static char *unicode_end(char *at)
{
	static const char replacement[4] = { 'f', 'f', 'f', 'd' };
	int32_t first = unit(at + 2), second = first >= 0 && at[6] == '\\' && at[7] == 'u' ? unit(at + 8) : -1;

	if (first < 0)
		return NULL;
	if (first >= 0xd800 && first < 0xdc00 && second >= 0xdc00 && second < 0xe000)
		return at + 12;
	if (first == 0)
		at[5] = '1';
	else if (first >= 0xd800 && first < 0xe000)
		memcpy(at + 2, replacement, sizeof(replacement));
	return at + 6;
}

/* Behind the string that begins here. */
static char *string_end(char *at)
{
	at++;
	while (at && *at != '"') {
		if ((unsigned char)*at < ' ')
			return NULL;
		if (*at != '\\')
			at++;
		else
			at = at[1] == 'u' ? unicode_end(at) : at[1] ? at + 2 : NULL;
	}
	return at ? at + 1 : NULL;
}

static char *blanks(char *at)
{
	return at + strspn(at, " \t\r\n");
}

/* Behind the object that begins here: tokens and brackets are judged, the rest is cJSON's. */
static char *object_end(char *at)
{
	size_t depth = 0;

	if (*at != '{')
		return NULL;
	do {
		if (*at == '"')
			at = string_end(at);
		else if (*at == '-' || isdigit((unsigned char)*at))
			at = number_end(at);
		else if (strchr("{[", *at) && *at)
			depth++, at++;
		else if (strchr("}]", *at) && *at)
			depth--, at++;
		else if (*at && (strchr(",: \t\r\n", *at) || islower((unsigned char)*at)))
			at++;
		else
			at = NULL;
	} while (at && depth > 0);
	return at;
}

int json_object(char *text, size_t len, bool whole, cJSON **out)
{
	char *from = blanks(text), *end = len <= JSON_MAX ? object_end(from) : NULL;

	if (!end || (whole && *blanks(end) != '\0') || (whole && strlen(text) != len))
		return -EINVAL;
	errno = 0;
	*out = cJSON_ParseWithLengthOpts(from, (size_t)(end - from), NULL, 0);
	if (*out)
		return 0;
	return errno == ENOMEM ? -ENOMEM : -EINVAL;
}

const cJSON *json_get(const cJSON *object, const char *key)
{
	const cJSON *found = NULL;

	if (!cJSON_IsObject(object))
		return NULL;
	for (const cJSON *i = object->child; i; i = i->next)
		if (strcmp(i->string, key) == 0)
			found = i;
	return found;
}

int64_t json_cut(const cJSON *number)
{
	double value = cJSON_GetNumberValue(number);

	return value > -1 && value < 1e9 ? (int64_t)value : -1;
}

const char *json_get_text(const cJSON *object, const char *key)
{
	return cJSON_GetStringValue(json_get(object, key));
}
