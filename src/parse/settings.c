#include "clashsup/settings.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "parse/settings_keys.h"
#include "parse/settings_lists.h"

#define WORD_MAX 48 /* longer words are near nothing */

/*
 * inih splits lines into names and values. Lines are fed to it one by one by
 * next_line, which judges all that inih would cut or take for something else
 * (compiled-in options differ between distributions): long lines, NUL bytes,
 * the mark at the start of UTF-8 files, section lines, and indented lines,
 * which inih can take for more values of the name before.
 */
struct parser {
	struct settings *s;
	const char *file;
	const char *at, *end;
	unsigned line;				   /* of the last line taken */
	bool wants_value;			   /* the handler has not been called for that line yet */
	bool skip;				   /* in a section which was a problem itself */
	unsigned seen[SETTING_KEYS_MAX];	   /* by row: the line which set it */
	const char *environment[SETTING_KEYS_MAX]; /* by row: a value that counts more, or NULL */
	const char *list;			   /* the key whose list is being read */
	unsigned problems;
	bool lax; /* what is good stays, whatever the problems */
	settings_problem_fn problem;
	void *ctx;
};

static void complain_at(struct parser *p, const char *file, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void complain_at(struct parser *p, const char *file, unsigned line, const char *fmt, ...)
{
	char text[PATH_MAX + ERR_MSG_MAX];
	int used = line ? snprintf(text, sizeof(text), "%.*s:%u: ", PATH_MAX - 1, file, line)
			: snprintf(text, sizeof(text), "%.*s: ", PATH_MAX - 1, file);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + used, sizeof(text) - (size_t)used, fmt, ap);
	va_end(ap);
	p->problems++;
	if (p->problem)
		p->problem(p->ctx, text);
}

#define complain(p, line, ...) complain_at(p, (p)->file, line, __VA_ARGS__)

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Levenshtein's distance by one row of its table; both are shorter than WORD_MAX. */
static unsigned distance(const char *a, const char *b)
{
	size_t n = strlen(b);
	unsigned row[WORD_MAX];

	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[n];
}

/* The known word (a section, or a key of `section`) nearest to `word`. */
static const char *nearest(const char *section, const char *word)
{
	const char *best = NULL;
	unsigned least = 0;

	if (strlen(word) >= WORD_MAX)
		return section ? setting_keys[0].name : setting_keys[0].section;
	for (size_t i = 0; i < setting_n_keys; i++) {
		const char *known = section ? setting_keys[i].name : setting_keys[i].section;
		unsigned d;

		if (section && strcmp(setting_keys[i].section, section) != 0)
			continue;
		d = distance(word, known);
		if (!best || d < least) {
			best = known;
			least = d;
		}
	}
	return best;
}

static bool is_section(const char *name)
{
	for (size_t i = 0; i < setting_n_keys; i++)
		if (strcmp(setting_keys[i].section, name) == 0)
			return true;
	return false;
}

static void complain_unknown_key(struct parser *p, const char *section, const char *name)
{
	for (size_t i = 0; i < setting_n_keys; i++) {
		if (strcmp(setting_keys[i].name, name) != 0)
			continue;
		complain(p, p->line, "\"%s\" is not a key of [%s] but of [%s]", name, section, setting_keys[i].section);
		return;
	}
	complain(p, p->line, "unknown key \"%.100s\" in [%s]; the nearest known one is \"%s\"", name, section,
		 nearest(section, name));
}

static void on_list_problem(void *ctx, const char *file, unsigned line, const char *sentence)
{
	struct parser *p = ctx;

	if (file)
		complain_at(p, file, line, "%s", sentence);
	else
		complain(p, p->line, "%s: %s", p->list, sentence);
}

static void store(struct parser *p, const struct setting_key *key, const char *value)
{
	struct err e = ERR_INIT;
	int r;

	if (key->kind == SETTING_LIST) {
		p->list = key->name;
		settings_list_store((enum settings_list)key->min, value, p->s, on_list_problem, p);
		return;
	}
	r = setting_store(key, value, p->s, &e);
	if (r < 0)
		complain(p, p->line, "%s = %.100s: %s%s", key->name, value, r == -EINVAL ? "must be " : "", e.msg);
}

/* inih's handler: always content, since problems are counted here. */
static int on_value(void *user, const char *section, const char *name, const char *value)
{
	struct parser *p = user;
	size_t i = 0;

	p->wants_value = false;
	if (p->skip)
		return 1;
	if (!value || value[0] == ';') /* "key=;words": a comment, as it is after a blank */
		value = "";
	if (section[0] == '\0') {
		complain(p, p->line, "\"%.100s\" stands before the first [section]", name);
		return 1;
	}
	while (i < setting_n_keys &&
	       (strcmp(setting_keys[i].section, section) != 0 || strcmp(setting_keys[i].name, name) != 0))
		i++;
	if (i == setting_n_keys) {
		complain_unknown_key(p, section, name);
	} else if (p->seen[i]) {
		complain(p, p->line, "\"%s\" is set twice, first in line %u", name, p->seen[i]);
	} else {
		p->seen[i] = p->line;
		if (!p->environment[i])
			store(p, &setting_keys[i], value);
	}
	return 1;
}

/* A control character makes no sense in any value and can fool a reader of messages. */
static bool has_control(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* ---- CLASHSUP_SECTION_KEY ---- */

#define PREFIX "CLASHSUP_"

/* The section that a variable's name begins with, behind the prefix, and its key in lower case; NULL = none of ours. */
static const char *split_variable(const char *name, char key[WORD_MAX])
{
	for (size_t i = 0; i < setting_n_keys; i++) {
		const char *section = setting_keys[i].section;
		size_t len = strlen(section), n = 0;

		if (strncasecmp(name, section, len) != 0 || name[len] != '_')
			continue;
		for (name += len + 1; name[n] && name[n] != '=' && n < WORD_MAX - 1; n++)
			key[n] = (char)tolower((unsigned char)name[n]);
		key[n] = '\0';
		return n ? section : NULL;
	}
	return NULL;
}

static void take_variable(struct parser *p, const char *variable)
{
	const char *value = strchr(variable, '='), *section;
	char key[WORD_MAX], name[2 * WORD_MAX];

	if (!value || strncmp(variable, PREFIX, strlen(PREFIX)) != 0)
		return;
	section = split_variable(variable + strlen(PREFIX), key);
	for (size_t i = 0; section && i < setting_n_keys; i++) {
		if (strcmp(setting_keys[i].section, section) != 0 || strcmp(setting_keys[i].name, key) != 0)
			continue;
		p->environment[i] = value + 1;
		return;
	}
	if (!section) /* somebody else's */
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(value - variable), variable);
	complain_at(p, name, 0, "unknown key \"%s\" in [%s]; the nearest known one is \"%s\"", key, section,
		    nearest(section, key));
}

/* A container has no file of its own for a value or two. */
static void look_at_environment(struct parser *p)
{
	for (char **at = environ; at && *at; at++)
		take_variable(p, *at);
}

static void put_environment(struct parser *p)
{
	const char *file = p->file;

	for (size_t i = 0; i < setting_n_keys; i++) {
		const struct setting_key *key = &setting_keys[i];
		char name[2 * WORD_MAX];

		if (!p->environment[i])
			continue;
		snprintf(name, sizeof(name), PREFIX "%s_%s", key->section, key->name);
		for (char *c = name; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		p->file = name;
		p->line = p->seen[i] = 0;
		if (has_control(p->environment[i], strlen(p->environment[i])))
			complain(p, 0, "a control character");
		else
			store(p, key, p->environment[i]);
	}
	p->file = file;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* "[name]", perhaps a comment behind; tells and skips the section when it is anything else. */
static void judge_section(struct parser *p, const char *line, size_t len)
{
	const char *close = memchr(line, ']', len);
	const char *rest = close ? close + 1 : line + len;
	char name[WORD_MAX];

	while (rest < line + len && is_blank(*rest))
		rest++;
	p->skip = true;
	if (!close || (rest < line + len && *rest != ';' && *rest != '#')) {
		complain(p, p->line, "a section is written as [name]");
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(close - line - 1), line + 1);
	if (!is_section(name))
		complain(p, p->line, "unknown section [%s]; the nearest known one is [%s]", name, nearest(NULL, name));
	else
		p->skip = false;
}

/* What inih gets to see of a line: *len_io becomes 0 for one that is told as a problem, or a comment. */
static void judge_line(struct parser *p, const char *line, size_t *len_io, size_t room)
{
	size_t len = *len_io;

	*len_io = 0;
	if (len == 0)
		return;
	if (memchr(line, '\0', len)) {
		complain(p, p->line, "a NUL byte: this is not a text file in UTF-8");
	} else if (has_control(line, len)) {
		complain(p, p->line, "a control character");
	} else if (line[0] == '[') {
		judge_section(p, line, len);
		*len_io = p->skip ? 0 : len;
	} else if (line[0] != ';' && line[0] != '#' && len > room) {
		complain(p, p->line,
			 "the line has %zu bytes, the limit is %zu; a long list goes into a file: key = @/etc/list.txt",
			 len, room);
	} else if (line[0] != ';' && line[0] != '#') {
		p->wants_value = true;
		*len_io = len;
	}
}

static void finish_line(struct parser *p)
{
	if (p->wants_value && !p->skip)
		complain(p, p->line, "neither [section] nor key = value");
	p->wants_value = false;
}

/* inih's reader, as fgets: the next line without blanks around it. */
static char *next_line(char *buf, int num, void *stream)
{
	struct parser *p = stream;
	const char *line = p->at, *newline;
	size_t len, room = (size_t)num - 2; /* inih wants to see that it was not filled */

	finish_line(p);
	if (line == p->end)
		return NULL;
	newline = memchr(line, '\n', (size_t)(p->end - line));
	p->at = newline ? newline + 1 : p->end;
	p->line++;
	len = (size_t)((newline ? newline : p->end) - line);
	if (len && line[len - 1] == '\r')
		len--;
	for (; len && is_blank(*line); len--)
		line++;
	while (len && is_blank(line[len - 1]))
		len--;
	judge_line(p, line, &len, room);
	if (len > room)
		len = room; /* a section line with a long comment */
	memcpy(buf, line, len);
	buf[len] = '\0';
	return buf;
}

/* The later of the lines that set two keys of a section; 0 for defaults. */
static unsigned line_of(const struct parser *p, const char *section, const char *one, const char *other)
{
	unsigned line = 0;

	for (size_t i = 0; i < setting_n_keys; i++) {
		const struct setting_key *k = &setting_keys[i];

		if (strcmp(k->section, section) == 0 && (!strcmp(k->name, one) || !strcmp(k->name, other)) &&
		    p->seen[i] > line)
			line = p->seen[i];
	}
	return line;
}

/* Problems between keys, told at the line of the one that was written. */
static void judge_together(struct parser *p)
{
	const struct settings *s = p->s;

	if (s->restart.backoff_max_ms < s->restart.backoff_min_ms)
		complain(p, line_of(p, "restart", "backoff_min", "backoff_max"),
			 "backoff_max must not be less than backoff_min");
	if (s->tproxy.backend == BACKEND_SCRIPT && !s->tproxy.script[0])
		complain(p, line_of(p, "tproxy", "backend", "backend"),
			 "backend = script needs a program: script = /path/to/it");
	if (s->tproxy.backend == BACKEND_SCRIPT && s->tproxy.on_death == ON_DEATH_CLOSED)
		complain(p, line_of(p, "tproxy", "on_death", "on_death"),
			 "on_death = closed needs rules of clashsup's own: backend = iptables, nft or auto");
}

void settings_default(struct settings *s)
{
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < setting_n_keys; i++) /* the table's own texts: a test proves that they are good */
		setting_store(&setting_keys[i], setting_keys[i].fallback, s, NULL);
}

void settings_free(struct settings *s)
{
	settings_lists_free(s);
	settings_default(s);
}

static int parse(struct parser *p, const char *bytes, size_t len)
{
	static const char mark[] = { '\xef', '\xbb', '\xbf' };

	p->at = bytes;
	p->end = bytes + len;
	settings_default(p->s);
	if (len > SETTINGS_MAX) {
		complain(p, 0, "larger than the limit of %d bytes", SETTINGS_MAX);
		return -EINVAL;
	}
	if (len >= sizeof(mark) && memcmp(bytes, mark, sizeof(mark)) == 0)
		p->at += sizeof(mark);
	/* Its value, the first wrong line, was told already; below 0 its line buffer was not to be had. */
	if (ini_parse_stream(next_line, p, on_value, p) < 0)
		complain(p, 0, "not enough memory");
	put_environment(p);
	if (!p->problems)
		judge_together(p);
	if (!p->problems || p->lax)
		return 0;
	settings_free(p->s);
	return -EINVAL;
}

int settings_parse(struct settings *s, const char *file, const char *bytes, size_t len, settings_problem_fn problem,
		   void *ctx)
{
	struct parser p = { .s = s, .file = file, .problem = problem, .ctx = ctx };

	return parse(&p, bytes, len);
}

static int load(struct parser *p, bool must_exist)
{
	cleanup_free char *bytes = NULL;
	struct err e = ERR_INIT;
	size_t len = 0;
	int r = io_slurp_path(p->file, SETTINGS_MAX, &bytes, &len, &e);

	settings_default(p->s);
	look_at_environment(p);
	if (r == -ENOENT && !must_exist)
		return parse(p, "", 0);
	if (r < 0) {
		if (p->problem)
			p->problem(p->ctx, e.msg);
		return r;
	}
	return parse(p, bytes, len);
}

int settings_load(struct settings *s, const char *file, bool must_exist, settings_problem_fn problem, void *ctx)
{
	struct parser p = { .s = s, .file = file, .problem = problem, .ctx = ctx };

	return load(&p, must_exist);
}

int settings_load_lax(struct settings *s, const char *file, bool must_exist)
{
	struct parser p = { .s = s, .file = file, .lax = true };

	return load(&p, must_exist);
}

size_t settings_changes(const struct settings *a, const struct settings *b, settings_key_fn each, void *ctx)
{
	size_t n = 0;

	for (size_t i = 0; i < setting_n_keys; i++) {
		const struct setting_key *key = &setting_keys[i];

		if (setting_same(key, a, b))
			continue;
		n++;
		each(ctx, key->section, key->name);
	}
	return n;
}

void settings_copy_key(struct settings *to, const struct settings *from, const char *section, const char *name)
{
	for (size_t i = 0; i < setting_n_keys; i++) {
		const struct setting_key *key = &setting_keys[i];

		if (key->kind != SETTING_LIST && key->kind != SETTING_ARGS && key->kind != SETTING_ENV &&
		    strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
			memcpy((char *)to + key->offset, (const char *)from + key->offset, key->size);
	}
}

void settings_print(const struct settings *s, FILE *out)
{
	const char *section = "";

	for (size_t i = 0; i < setting_n_keys; i++) {
		const struct setting_key *key = &setting_keys[i];

		if (strcmp(key->section, section) != 0)
			fprintf(out, "%s[%s]\n", i ? "\n" : "", key->section);
		section = key->section;
		fprintf(out, "%s = ", key->name);
		setting_show(key, s, out);
		fputc('\n', out);
	}
}
