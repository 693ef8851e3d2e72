#include "parse/feed/url.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/addr.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* The byte that "%XX" means, or -1. */
static int escaped(const char *at)
{
	int high = hex(at[1]), low = high < 0 ? -1 : hex(at[2]);

	return low < 0 ? -1 : high * 16 + low;
}

static const char bad_escape[] = "a % that no two hex digits follow";

/* In place. NULL or why not. */
static const char *unescape(char *text, bool plus)
{
	char *to = text;

	for (const char *from = text; *from;) {
		bool coded = *from == '%';
		int byte = coded ? escaped(from) : *from == '+' && plus ? ' ' : (unsigned char)*from;

		if (byte < 0)
			return bad_escape;
		from += coded ? 3 : 1;
		*to++ = (char)(byte ? byte : '\1');
	}
	*to = '\0';
	return NULL;
}

/* What Go lets through is more than DNS knows; escapes are for other bytes than ASCII, and for '%' itself. */
static const char *unescape_host(char *text)
{
	for (const char *c = text; *c; c++) {
		if (*c == '%' && escaped(c) < 0x80 && strncmp(c, "%25", 3) != 0)
			return "an escape that a host may not have";
		if (*c != '%' && (unsigned char)*c < 0x80 && !isalnum((unsigned char)*c) &&
		    !strchr("!$&'()*+,;=:[]<>\"-_.~", *c))
			return "a character that a host may not have";
	}
	return unescape(text, false);
}

/* "" or ":" and digits. */
static bool port_or_nothing(const char *text)
{
	return *text == '\0' || (*text == ':' && text[1 + strspn(text + 1, "0123456789")] == '\0');
}

/* "[...]" at the start of the authority: nothing but an IPv6 address, maybe with a zone behind "%25". */
static const char *parse_bracketed(char *host)
{
	char *end = strrchr(host, ']'), *zone = strstr(host, "%25"), *stop = zone ? zone : end, was;
	struct addr literal;
	bool good;

	if (!end || !port_or_nothing(end + 1))
		return end ? "the port is not a number" : "a bracket that is not closed";
	was = *stop;
	*stop = '\0';
	good = strchr(host, ':') && addr_parse(host + 1, &literal) == 0;
	*stop = was;
	if (!good)
		return "not an IPv6 address between brackets";
	return zone ? unescape(zone, false) : NULL;
}

static const char *parse_host(char *host)
{
	char *bracket = strrchr(host, '['), *colon = strrchr(host, ':');

	if (bracket == host)
		return parse_bracketed(host);
	if (bracket)
		return "a bracket within the host";
	if (colon && !port_or_nothing(colon))
		return "the port is not a number";
	return unescape_host(host);
}

static const char *parse_user(struct url *u, char *user)
{
	char *colon = strchr(user, ':');
	const char *why;

	for (const char *c = user; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-._:~!$&'()*+,;=%@", *c))
			return "a character that the user part may not have";
	u->has_password = colon != NULL;
	u->user = user;
	if (!colon)
		return unescape(user, false);
	*colon = '\0';
	why = unescape(user, false);
	return why ? why : unescape(colon + 1, false);
}

static char *cut(char *text, int at)
{
	char *end = strchr(text, at);

	if (!end)
		return text + strlen(text);
	*end = '\0';
	return end + 1;
}

const char *url_parse(struct url *u, char *text)
{
	const char *why;
	char *path, *at;

	*u = (struct url){ .fragment = cut(text, '#') };
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return "a control character";
	u->query = cut(text, '?');
	path = cut(text, '/');
	at = strrchr(text, '@');
	u->user = text + strlen(text);
	u->authority = at ? at + 1 : text;
	if (at)
		*at = '\0';
	why = parse_host(u->authority);
	if (!why && at)
		why = parse_user(u, text);
	if (!why)
		why = unescape(path, false);
	return why ? why : unescape(u->fragment, false);
}

void url_split(char *authority, const char **host, const char **port)
{
	char *colon = strrchr(authority, ':');
	size_t len;

	*port = "";
	if (colon && port_or_nothing(colon)) {
		*colon = '\0';
		*port = colon + 1;
	}
	len = strlen(authority);
	*host = authority;
	if (len >= 2 && authority[0] == '[' && authority[len - 1] == ']') {
		authority[len - 1] = '\0';
		*host = authority + 1;
	}
}

static size_t count(const char *text, char c)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == c;
	return n;
}

int url_query(struct url_query *q, char *query)
{
	size_t max = count(query, '&') + 1;
	char *next;

	*q = (struct url_query){ .malformed = max > URL_PARAMS_MAX };
	if (q->malformed)
		return 0;
	q->params = calloc(max, sizeof(*q->params));
	if (!q->params)
		return -ENOMEM;
	for (; *query; query = next) {
		char *value;

		next = cut(query, '&');
		if (*query == '\0')
			continue;
		if (strchr(query, ';')) {
			q->malformed = true;
			continue;
		}
		value = cut(query, '=');
		if (unescape(query, true) || unescape(value, true))
			q->malformed = true;
		else
			q->params[q->n++] = (struct url_param){ query, value };
	}
	return 0;
}

const char *url_next(const struct url_query *q, size_t *at, const char *key)
{
	while (*at < q->n) {
		const struct url_param *p = &q->params[(*at)++];

		if (strcmp(p->key, key) == 0)
			return p->value;
	}
	return NULL;
}

const char *url_get(const struct url_query *q, const char *key)
{
	size_t at = 0;
	const char *value = url_next(q, &at, key);

	return value ? value : "";
}
