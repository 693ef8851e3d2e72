#include "parse/feed/source.h"

#include <string.h>

#define HEAD_STEP 1024	  /* bytes fed at once before the document has begun */
#define PERCENTS_MAX 4096 /* '%' among them: each may begin a directive */

/* U+10F7C3, a private one, in the place of a ':' that is a letter. */
#define MARK "\xf4\x8f\x9f\x83"
#define MARK_LEN (sizeof(MARK) - 1)
#define UNIT_MAX 4

/* libyaml's word for failure is 0. */
static int refuse(struct source *s, const char *reason)
{
	s->refused = reason;
	return 0;
}

/*
 * In flow style, "{server: 2001:db8::, port: 1}": go-yaml takes the last ':' of a plain
 * scalar as a letter of it where no blank follows, libyaml refuses the document. In
 * quotes, comments or block style the change does no harm.
 */
static bool is_letter(const struct source *s, size_t colon)
{
	size_t before = colon;

	if (colon + 1 >= s->len || s->bytes[colon + 1] == '\0' || !strchr(",]}", s->bytes[colon + 1]))
		return false;
	while (before > 0 && (s->bytes[before - 1] == ' ' || s->bytes[before - 1] == '\t'))
		before--;
	return before > 0 && !strchr("\r\n\"'[]{},", s->bytes[before - 1]);
}

static bool is_utf16(const struct source *s)
{
	return s->len >= 2 && (memcmp(s->bytes, "\xff\xfe", 2) == 0 || memcmp(s->bytes, "\xfe\xff", 2) == 0);
}

/* Quotes open behind a separator and do not outlive their line: this is a guess, needed for one escape only. */
static void follow_quotes(struct source *s, char c)
{
	char before = (char)(s->at > 0 ? s->bytes[s->at - 1] : '\n');

	if (c == '\n' || c == '\r' || c == s->quote)
		s->quote = '\0';
	else if (!s->quote && (c == '"' || c == '\'') && strchr(" \t\r\n,[{:-", before))
		s->quote = c;
}

/* The next byte, an escape as a whole, or what stands for it: UNIT_MAX bytes at most. */
static size_t put(struct source *s, unsigned char *to)
{
	const char *from = s->bytes + s->at;
	bool two = s->at + 1 < s->len && (s->quote == '"' ? *from == '\\' : s->quote && !memcmp(from, "\'\'", 2));

	if (two && memcmp(from, "\\\'", 2) == 0) { /* go-yaml knows this escape, libyaml does not */
		s->at += 2;
		memcpy(to, "\\x27", UNIT_MAX);
		return UNIT_MAX;
	}
	if (*from == ':' && is_letter(s, s->at)) {
		s->at++;
		s->marked = true;
		memcpy(to, MARK, UNIT_MAX);
		return UNIT_MAX;
	}
	if (!two)
		follow_quotes(s, *from);
	memcpy(to, from, 1 + two);
	s->at += 1 + two;
	return 1 + two;
}

static size_t copy(struct source *s, unsigned char *buffer, size_t size)
{
	bool wide = is_utf16(s);
	size_t n = 0;

	if (s->at == 0)
		s->escapes = !wide && memmem(s->bytes, s->len, "\\\'", 2);
	while (s->at < s->len && n + UNIT_MAX <= size) {
		size_t max = s->len - s->at < size - n ? s->len - s->at : size - n;
		const char *colon = wide || s->escapes ? NULL : memchr(s->bytes + s->at, ':', max);
		size_t span = s->escapes ? 0 : colon ? (size_t)(colon - s->bytes) - s->at : max;

		memcpy(buffer + n, s->bytes + s->at, span);
		s->at += span;
		n += span;
		if (s->at < s->len && n + UNIT_MAX <= size)
			n += put(s, buffer + n);
	}
	return n;
}

/* libyaml passes over a byte order mark at each line's begin, to go-yaml it is a letter: U+FFFD is one to both. */
static void hide_order_marks(unsigned char *buffer, size_t len)
{
	unsigned char *end = buffer + len, *at = buffer;

	while ((at = memmem(at, (size_t)(end - at), "\n\xef\xbb\xbf", 4)))
		memcpy(++at, "\xef\xbf\xbd", 3);
}

int source_read(void *source, unsigned char *buffer, size_t size, size_t *read_out)
{
	struct source *s = source;

	if (!s->started && size > HEAD_STEP)
		size = HEAD_STEP;
	*read_out = copy(s, buffer, size);
	hide_order_marks(buffer, *read_out);
	for (size_t i = 0; !s->started && i < *read_out; i++)
		s->percents += buffer[i] == '%';
	if (s->percents > PERCENTS_MAX)
		return refuse(s, "too many directives");
	if (s->at - s->event_at > s->token_max)
		return refuse(s, "a single text is too long");
	return 1;
}

void source_event(struct source *s, bool document)
{
	s->event_at = s->at;
	s->started |= document;
}

size_t source_restore(const struct source *s, char *text, size_t len)
{
	char *to = text, *from = text, *mark;

	while (s->marked && (mark = memmem(from, len - (size_t)(from - text), MARK, MARK_LEN))) {
		memmove(to, from, (size_t)(mark - from));
		to += mark - from;
		*to++ = ':';
		from = mark + MARK_LEN;
	}
	memmove(to, from, len - (size_t)(from - text) + 1);
	return (size_t)(to - text) + len - (size_t)(from - text);
}
