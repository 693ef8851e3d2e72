/* A document of links: its lines, their schemes, what all of them need. */
#include "parse/feed/links.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "parse/feed/hostport.h"
#include "parse/feed/link.h"
#include "parse/feed/number.h"

const char link_no_memory[] = "out of memory", link_no_host[] = "not a host",
	   link_no_range[] = "the port is out of range";

static const struct scheme {
	const char *name;
	const char *transport;
	link_reader read;
} schemes[] = {
	{ "hysteria", "udp", link_hysteria },
	{ "hysteria2", "udp", link_hysteria2 },
	{ "hy2", "udp", link_hysteria2 },
	{ "hysteria2+realm", "udp", link_hysteria2 },
	{ "hy2+realm", "udp", link_hysteria2 },
	{ "tuic", "udp", link_plain },
	{ "trojan", "tcp", link_plain },
	{ "vless", "tcp", link_vless },
	{ "vmess", "tcp", link_vmess },
	{ "ss", "tcp", link_ss },
	{ "ssr", "tcp", link_ssr },
	{ "socks", "tcp", link_named },
	{ "socks5", "tcp", link_named },
	{ "socks5h", "tcp", link_named },
	{ "http", "tcp", link_named },
	{ "https", "tcp", link_named },
	{ "anytls", "tcp", link_named },
	{ "mierus", "tcp", link_mierus },
};

struct line {
	const char *at;
	size_t len, scheme_len; /* 0 = no "://" */
};

static const struct scheme *find_scheme(const struct line *line)
{
	for (size_t i = 0; line->scheme_len > 0 && i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strlen(schemes[i].name) == line->scheme_len &&
		    strncasecmp(schemes[i].name, line->at, line->scheme_len) == 0)
			return &schemes[i];
	return NULL;
}

/* The next line without the blanks and CRs at its end; false at the end of the text. */
static bool next_line(const char **at, const char *end, struct line *out)
{
	const char *newline, *mark;

	if (*at >= end)
		return false;
	newline = memchr(*at, '\n', (size_t)(end - *at));
	*out = (struct line){ .at = *at, .len = (size_t)((newline ? newline : end) - *at) };
	*at += out->len + 1;
	while (out->len > 0 && strchr(" \r", out->at[out->len - 1]) && out->at[out->len - 1])
		out->len--;
	mark = memmem(out->at, out->len, "://", 3);
	out->scheme_len = mark ? (size_t)(mark - out->at) : 0;
	return true;
}

bool links_any(const char *bytes, size_t len)
{
	const char *at = bytes;
	struct line line;

	while (next_line(&at, bytes + len, &line))
		if (find_scheme(&line))
			return true;
	return false;
}

static bool ignored(const struct line *line)
{
	return line->len == 0 || line->at[0] == '#' || (line->len > 1 && memcmp(line->at, "//", 2) == 0);
}

/* The first that is neither blank nor a comment, which YAML passes over as well. */
static bool first_line(const char *bytes, size_t len, struct line *out)
{
	const char *at = bytes;

	while (next_line(&at, bytes + len, out))
		if (out->len > 0 && out->at[0] != '#')
			return true;
	return false;
}

/* Of a URL: what has blanks or signs before "://" is no such line, and may be anything. */
static bool has_scheme(const struct line *line)
{
	size_t i = 0;

	while (i < line->scheme_len && (isalnum((unsigned char)line->at[i]) || strchr("+-.", line->at[i])))
		i++;
	return i > 0 && i == line->scheme_len && isalpha((unsigned char)line->at[0]);
}

bool links_alike(const char *bytes, size_t len)
{
	struct line line;

	return first_line(bytes, len, &line) && has_scheme(&line);
}

bool links_first(const char *bytes, size_t len)
{
	struct line line;

	if (!first_line(bytes, len, &line) || !find_scheme(&line) || line.at[line.len - 1] == ':')
		return false;
	return !memmem(line.at, line.len, ": ", 2) && !memmem(line.at, line.len, ":\t", 2) &&
	       !memchr(line.at, '\r', line.len);
}

const char *link_url(struct link *l)
{
	const char *why = url_parse(&l->url, l->body);

	if (!why)
		url_split(l->url.authority, &l->host, &l->port);
	return why;
}

const char *link_query(struct link *l)
{
	return url_query(&l->query, l->url.query) < 0 ? link_no_memory : NULL;
}

const char *link_dial(struct link *l, enum endpoint_kind kind, const char *name, const char *host, int64_t port,
		      const char *ports)
{
	char clean[HOST_MAX];

	if (*host == '\0')
		return "no host";
	if (*host == '[' || host_clean(host, clean) < 0)
		return link_no_host;
	if (port < 0 || port > UINT16_MAX)
		return link_no_range;
	l->sink->found(l->sink->ctx, &(const struct endpoint){ .host = clean,
							       .port = (uint16_t)port,
							       .ports = ports,
							       .transport = l->transport,
							       .kind = kind,
							       .name = name,
							       .line = l->line,
							       .dialer = "",
							       .families = ENDPOINT_ANY_FAMILY });
	l->found++;
	return NULL;
}

const char *link_server(struct link *l, const char *name, const char *host, const char *port, const char *ports)
{
	int64_t number;

	if (*port == '\0')
		return "no port";
	if (number_int(port, &number) < 0)
		return "the port is not a number";
	return link_dial(l, ENDPOINT_SERVER, name, host, number, ports);
}

/* A NUL would end the text early: it becomes another control character, which is refused where a NUL is. */
static void copy_text(char *to, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (char)(from[i] ? from[i] : '\1');
	to[len] = '\0';
}

static const char *read_link(struct link *l, const struct line *line, const struct scheme *scheme)
{
	size_t len = line->len - line->scheme_len - 3;
	const char *why;

	l->body = malloc(2 * len + 4); // NOLINT(clang-analyzer-optin.portability.UnixAPI): len is less than a file
	if (!l->body)
		return link_no_memory;
	copy_text(l->body, line->at + line->scheme_len + 3, len);
	l->scratch = l->body + len + 1;
	l->transport = scheme->transport;
	l->realm = strchr(scheme->name, '+') != NULL;
	why = scheme->read(l);
	free(l->query.params);
	free(l->body);
	return why;
}

static const char *unknown_scheme(const struct line *line, char buf[64])
{
	static const char bom[] = "\xef\xbb\xbf";

	if (line->scheme_len >= 3 && memcmp(line->at, bom, 3) == 0)
		return "a byte order mark before the link: Mihomo does not read it";
	if (isspace((unsigned char)line->at[0]))
		return line->scheme_len ? "blanks before the link: Mihomo does not read it" : "not a share link";
	if (!has_scheme(line))
		return "not a share link";
	snprintf(buf, 64, "Mihomo reads no %.*s links", line->scheme_len < 32 ? (int)line->scheme_len : 32, line->at);
	return buf;
}

static int refuse(const struct endpoint_sink *sink, uint32_t line, const char *why)
{
	sink->skipped(sink->ctx, line, why);
	return -EINVAL;
}

int links_parse(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	const char *at = bytes;
	struct line line;
	unsigned found = 0, lines = 0;

	for (uint32_t n = 1; next_line(&at, bytes + len, &line); n++) {
		const struct scheme *scheme = find_scheme(&line);
		struct link l = { .sink = sink, .line = n };
		const char *why;
		char buf[64];

		if (ignored(&line))
			continue;
		why = scheme ? read_link(&l, &line, scheme) : unknown_scheme(&line, buf);
		if (why == link_no_memory)
			return refuse(sink, 0, why);
		if (why)
			sink->skipped(sink->ctx, n, why);
		found += l.found;
		if (found > LINKS_MAX || ++lines > LINKS_MAX)
			return refuse(sink, n, "more than 262144 links");
	}
	return found > 0 ? 0 : refuse(sink, 0, "no share link that can be read");
}
