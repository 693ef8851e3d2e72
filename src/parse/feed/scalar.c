/* What a scalar means: go-yaml v3 (resolve.go), and Mihomo where it reads proxies (common/structure/). */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "parse/feed/doc.h"
#include "parse/feed/number.h"

enum type { TYPE_NULL, TYPE_BOOL, TYPE_INT, TYPE_UINT, TYPE_FLOAT, TYPE_DATE, TYPE_TEXT, TYPE_NONE };

struct value {
	enum type type;
	union {
		bool yes;
		int64_t i;
		uint64_t u; /* above INT64_MAX */
		double f;
	};
};

static bool one_of(const char *text, const char *const *words)
{
	while (*words && strcmp(text, *words) != 0)
		words++;
	return *words != NULL;
}

/* Without its '_'. -EINVAL when it is too long to be a number. */
static int copy_number(const char *text, char out[DOC_NUMBER_TEXT])
{
	size_t n = 0;

	for (; *text && n < DOC_NUMBER_TEXT - 1; text++)
		if (*text != '_')
			out[n++] = *text;
	out[n] = '\0';
	return *text ? -EINVAL : 0;
}

/* Go's strconv.ParseInt(text, 0, 64), else ParseUint: prefixes 0x, 0o, 0b and a bare 0. */
static bool parse_int(const char *text, struct value *out)
{
	bool minus = *text == '-';
	unsigned long long u;
	int base = 10;
	char *end;

	text += *text == '-' || *text == '+';
	if (text[0] == '0' && text[1] != '\0') {
		char prefix = (char)tolower((unsigned char)text[1]);

		base = prefix == 'x' ? 16 : prefix == 'b' ? 2 : 8;
		text += prefix == 'x' || prefix == 'b' || prefix == 'o' ? 2 : 1;
	}
	if (!isxdigit((unsigned char)*text) || (base == 16 && text[0] == '0' && tolower((unsigned char)text[1]) == 'x'))
		return false;
	errno = 0;
	u = strtoull(text, &end, base);
	if (*end != '\0' || errno != 0 || (minus && u > (uint64_t)INT64_MAX + 1))
		return false;
	out->type = u > INT64_MAX && !minus ? TYPE_UINT : TYPE_INT;
	if (minus)
		out->i = (int64_t)(0 - u);
	else
		out->u = u;
	return true;
}

/* [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent. */
static bool parse_float(const char *text, struct value *out)
{
	const char *p = text + (*text == '-' || *text == '+');
	size_t whole = strspn(p, "0123456789"), part = 0;

	p += whole;
	if (*p == '.')
		p += 1 + (part = strspn(p + 1, "0123456789"));
	if (whole + part == 0)
		return false;
	if (*p == 'e' || *p == 'E') {
		p += 1 + (p[1] == '+' || p[1] == '-');
		if (!isdigit((unsigned char)*p))
			return false;
		p += strspn(p, "0123456789");
	}
	out->type = TYPE_FLOAT;
	out->f = strtod(text, NULL);
	return *p == '\0' && isfinite(out->f);
}

static bool parse_special(const char *text, struct value *out)
{
	static const char *const infinite[] = { ".inf", ".Inf", ".INF", NULL };
	static const char *const none[] = { ".nan", ".NaN", ".NAN", NULL };
	bool sign = *text == '-' || *text == '+';

	if (!one_of(text + sign, infinite) && !one_of(text, none))
		return false;
	out->type = TYPE_FLOAT;
	out->f = one_of(text, none) ? (double)NAN : *text == '-' ? -(double)INFINITY : (double)INFINITY;
	return true;
}

/* A time of day behind it has colons, so that it fits nowhere else either. */
static bool parse_date(const char *text, struct value *out)
{
	struct tm date;
	const char *end = strspn(text, "0123456789") == 4 ? strptime(text, "%Y-%m-%d", &date) : NULL;

	out->type = TYPE_DATE;
	return end && *end == '\0';
}

static bool parse_number(const char *text, struct value *out)
{
	char number[DOC_NUMBER_TEXT];

	if (*text == '.')
		return parse_special(text, out) || parse_float(text, out);
	if (*text != '-' && *text != '+' && !isdigit((unsigned char)*text))
		return false;
	return parse_special(text, out) || parse_date(text, out) ||
	       (copy_number(text, number) == 0 && (parse_int(number, out) || parse_float(number, out)));
}

static struct value parse_word(const char *text)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const trues[] = { "true", "True", "TRUE", NULL };
	static const char *const falses[] = { "false", "False", "FALSE", NULL };
	bool yes = one_of(text, trues);

	if (yes || one_of(text, falses))
		return (struct value){ .type = TYPE_BOOL, .yes = yes };
	return (struct value){ .type = one_of(text, nulls) ? TYPE_NULL : TYPE_TEXT };
}

static struct value resolve(const struct doc_node *n)
{
	struct value v = { .type = TYPE_TEXT };

	if (!n)
		v.type = TYPE_NULL;
	else if (n->kind != DOC_SCALAR)
		v.type = TYPE_NONE;
	else if (n->plain && strchr("~nNtTfF", *n->text)) /* or empty */
		v = parse_word(n->text);
	else if (n->plain && !parse_number(n->text, &v))
		v.type = TYPE_TEXT;
	return v;
}

bool doc_is_null(const struct doc_node *n)
{
	return resolve(n).type == TYPE_NULL;
}

const char *doc_text(const struct doc_node *n)
{
	enum type type = resolve(n).type;

	return type == TYPE_NULL || type == TYPE_BOOL || type == TYPE_NONE ? NULL : n->text;
}

/* As Go's strconv.FormatFloat(f, 'E', -1, 64). */
static const char *float_text(double f, char out[DOC_NUMBER_TEXT])
{
	if (!isfinite(f))
		return isnan(f) ? "NaN" : f < 0 ? "-Inf" : "+Inf";
	return number_float_text(f, out);
}

const char *doc_string(const struct doc_node *n, char number[DOC_NUMBER_TEXT])
{
	struct value v = resolve(n);

	if (v.type == TYPE_FLOAT)
		return float_text(v.f, number);
	if (v.type == TYPE_INT)
		snprintf(number, DOC_NUMBER_TEXT, "%lld", (long long)v.i);
	else if (v.type == TYPE_UINT)
		snprintf(number, DOC_NUMBER_TEXT, "%llu", (unsigned long long)v.u);
	else
		return v.type == TYPE_TEXT ? n->text : NULL;
	return number;
}

bool doc_true(const struct doc_node *n)
{
	static const char *const words[] = { "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", NULL };
	struct value v = resolve(n);

	return v.type == TYPE_BOOL ? v.yes : v.type == TYPE_TEXT && one_of(n->text, words);
}

bool doc_flag(const struct doc_node *n)
{
	struct value v = resolve(n);

	return v.type == TYPE_BOOL ? v.yes : (v.type == TYPE_INT || v.type == TYPE_UINT) && v.u != 0;
}

/* In Go's texts '_' stands between digits, or behind a prefix. */
static bool underscores_fit(const char *text)
{
	for (const char *p = strchr(text, '_'); p; p = strchr(p + 1, '_'))
		if (p == text || !isxdigit((unsigned char)p[1]) ||
		    !strchr("xXoO", p[-1]) == !isxdigit((unsigned char)p[-1]))
			return false;
	return true;
}

int doc_int(const struct doc_node *n, int64_t *out)
{
	char number[DOC_NUMBER_TEXT];
	struct value v = resolve(n);

	if (v.type == TYPE_TEXT &&
	    (copy_number(n->text, number) < 0 || !underscores_fit(n->text) || !parse_int(number, &v)))
		return -EINVAL;
	if (v.type == TYPE_INT)
		*out = v.i;
	else if (v.type == TYPE_FLOAT && v.f > -9e18 && v.f < 9e18)
		*out = (int64_t)v.f;
	else
		return -EINVAL;
	return 0;
}
