#include "helper/list.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/helper.h"
#include "parse/feed/dialer.h"
#include "parse/feed/mihomo_yaml.h"
#include "parse/feed/provider.h"
#include "parse/json_text.h"

#define SKIPPED_MAX 1000 /* of one file */

void text_begin(struct text *t)
{
	t->to = open_memstream(&t->bytes, &t->len);
	check_memory(t->to);
}

void text_end(struct text *t)
{
	check_memory(fclose(t->to) == 0 ? t->bytes : NULL);
}

void text_print(FILE *out, const struct text *t, bool json)
{
	fwrite(t->bytes, 1, json && t->len ? t->len - 1 : t->len, out);
}

/* ---- one endpoint ---- */

/* What is not UTF-8 becomes U+FFFD: no JSON could hold it. */
static void add_text(cJSON *o, const char *key, const char *text)
{
	char *clean = calloc(3, strlen(text) + 1), *to = clean;
	const cJSON *added;

	check_memory(clean);
	while (*text) {
		size_t len = utf8_length(text);

		to = len ? mempcpy(to, text, len) : mempcpy(to, "\xef\xbf\xbd", 3);
		text += len ? len : 1;
	}
	added = cJSON_AddStringToObject(o, key, clean);
	free(clean);
	check_memory(added);
}

static void add_text_or_null(cJSON *o, const char *key, const char *text)
{
	if (text[0])
		add_text(o, key, text);
	else
		check_memory(cJSON_AddNullToObject(o, key));
}

/* A comma behind each: the last is cut off in the end. */
static void print_object(FILE *to, cJSON *o)
{
	char *text = cJSON_PrintUnformatted(o);

	check_memory(text);
	fprintf(to, "%s,", text);
	cJSON_free(text);
	cJSON_Delete(o);
}

static void print_json(const struct list *l, const struct endpoint *ep)
{
	cJSON *o = cJSON_CreateObject();

	check_memory(o);
	add_text(o, "host", ep->host);
	check_memory(ep->port ? cJSON_AddNumberToObject(o, "port", ep->port) : cJSON_AddNullToObject(o, "port"));
	add_text_or_null(o, "ports", ep->ports);
	add_text(o, "transport", ep->transport);
	add_text(o, "kind", endpoint_kind_name(ep->kind));
	add_text(o, "name", ep->name);
	add_text_or_null(o, "dialer-proxy", ep->dialer);
	add_text(o, "file", l->file);
	check_memory(cJSON_AddNumberToObject(o, "line", ep->line));
	print_object(l->found.to, o);
}

/* For a terminal: controls of foreign texts become '?', those beyond ASCII and what is not UTF-8 too. */
static void print_clean(FILE *out, const char *text)
{
	while (*text) {
		size_t len = utf8_length(text);
		bool c1 = len == 2 && memcmp(text, "\xc2\x80", 2) >= 0 && memcmp(text, "\xc2\xa0", 2) < 0;

		if (len == 0 || c1 || (unsigned char)*text < ' ' || *text == 0x7f)
			putc('?', out);
		else
			fwrite(text, 1, len, out);
		text += len ? len : 1;
	}
}

static void print_line(const struct list *l, const struct endpoint *ep)
{
	FILE *to = l->found.to;

	fputs(strchr(ep->host, ':') ? "[" : "", to);
	print_clean(to, ep->host);
	fputs(strchr(ep->host, ':') ? "]" : "", to);
	if (ep->port)
		fprintf(to, ":%u", ep->port);
	fputs(ep->ports[0] ? " ports " : "", to);
	print_clean(to, ep->ports);
	fprintf(to, " %s %s %s:%u ", ep->transport, endpoint_kind_name(ep->kind), l->file, ep->line);
	print_clean(to, ep->name);
	fputs(ep->dialer[0] ? " via " : "", to);
	print_clean(to, ep->dialer);
	putc('\n', to);
}

static void found(void *ctx, const struct endpoint *ep)
{
	struct endpoint own = *ep;
	struct list *l = ctx;

	if (l->provider)
		mihomo_override(l->provider, &own);
	if (!l->json) {
		print_line(l, &own);
		return;
	}
	print_json(l, &own);
	(void)targets_add(&l->targets, &own, LIST_SOURCE); /* what the resolver may be told of is bounded */
}

/* Of a file with a million bad entries some are enough. */
static void skipped(void *ctx, uint32_t line, const char *reason)
{
	struct list *l = ctx;
	cJSON *o;

	if (l->n_skipped++ >= SKIPPED_MAX)
		return;
	if (!l->json) {
		fprintf(stderr, "%s:%u: skipped: ", l->file, line);
		print_clean(stderr, reason);
		putc('\n', stderr);
		return;
	}
	o = cJSON_CreateObject();
	check_memory(o);
	add_text(o, "file", l->file);
	check_memory(cJSON_AddNumberToObject(o, "line", line));
	add_text(o, "reason", reason);
	print_object(l->skipped.to, o);
}

/* ---- the files ---- */

struct inline_entries {
	struct list *list;
	struct doc *doc;
	const struct endpoint_sink *sink;
};

static void read_payload(void *ctx, const struct mihomo_provider *p)
{
	const struct inline_entries *in = ctx;

	in->list->provider = p;
	provider_entries(in->doc, p->payload, in->sink);
	in->list->provider = NULL;
}

/* What a whole config says beside its proxies. NULL for what is no map of YAML. */
static struct doc *read_config(struct dialers *d, const char *bytes, size_t len)
{
	const struct doc_stream proxies = { "proxies", dialers_entry, d };
	struct doc *doc;
	uint32_t line;

	if (doc_load_stream(&doc, bytes, len, &proxies, &line, NULL) < 0)
		return NULL;
	check_memory(dialers_groups(d, doc) == 0 ? doc : NULL);
	return doc;
}

static bool resolves(struct doc *d)
{
	return doc_get(d, d->root, "dns") || doc_get(d, d->root, "hosts") || doc_get(d, d->root, "ipv6");
}

/* A pipe, which io_slurp refuses: to its end. */
static int read_pipe(int fd, const char *path, char **out, size_t *len_out, struct err *e)
{
	size_t len = 0, cap = 0;
	char *buf = NULL;

	for (;;) {
		ssize_t n;

		if (len + 1 >= cap) {
			cap = cap ? cap * 2 : 65536;
			buf = reallocarray(buf, cap, 1);
			check_memory(buf);
		}
		n = io_read(fd, buf + len, cap - len - 1);
		if (n <= 0 || (len += (size_t)n) > HELPER_FILE_MAX) {
			*out = buf;
			*len_out = len;
			return n == 0 ? 0 : err_set(e, n < 0 ? (int)-n : EFBIG, "%s cannot be read whole", path);
		}
	}
}

/* A file, or a pipe that the shell has put behind a name (/dev/fd/63, /dev/stdin). */
static int read_path(const char *path, char **out, size_t *len_out, struct err *e)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISFIFO(st.st_mode))
		return io_slurp_path(path, HELPER_FILE_MAX, out, len_out, e);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "%s", path) : read_pipe(fd, path, out, len_out, e);
}

static void print_found(struct list *l)
{
	text_end(&l->found);
	if (l->json && l->found.len && l->any)
		putc(',', l->out);
	l->any |= l->found.len > 0;
	text_print(l->out, &l->found, l->json);
	free(l->found.bytes);
}

/* Of a document that could not be read to its end nothing counts. */
static void read_list(struct list *l, const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	if (provider_parse(bytes, len, sink) >= 0)
		return;
	targets_judge(&l->targets, NULL, false);
	text_end(&l->found);
	free(l->found.bytes);
	text_begin(&l->found);
}

/* A list of proxies, or a whole config: then the inline entries of its providers count too. */
static void read_bytes(struct list *l, const char *bytes, size_t len)
{
	const struct endpoint_sink sink = { .ctx = l, .found = found, .skipped = skipped };
	struct inline_entries in = { .list = l, .sink = &sink };
	struct dialers *d = dialers_new();
	bool lists = true;

	check_memory(d);
	in.doc = read_config(d, bytes, len);
	if (in.doc)
		lists = doc_get(in.doc, in.doc->root, "proxies") || !doc_get(in.doc, in.doc->root, "proxy-providers");
	if (lists)
		read_list(l, bytes, len, &sink);
	if (in.doc)
		mihomo_providers(in.doc, "", read_payload, &in);
	targets_judge(&l->targets, d, true);
	l->targets.first = l->targets.n;
	dialers_free(d);
	if (in.doc && !l->config && resolves(in.doc))
		l->config = in.doc;
	else
		doc_free(in.doc);
}

static void read_file(struct list *l, const char *path)
{
	cleanup_free char *bytes = NULL;
	struct err e = ERR_INIT;
	size_t len = 0;
	int r;

	l->file = path;
	l->n_skipped = 0;
	r = strcmp(path, "-") == 0 ? read_pipe(STDIN_FILENO, "standard input", &bytes, &len, &e)
				   : read_path(path, &bytes, &len, &e);
	if (r < 0) {
		fprintf(stderr, "clashsup-helper: %s\n", e.msg);
		l->unread = true;
		return;
	}
	text_begin(&l->found);
	read_bytes(l, bytes, len);
	print_found(l);
}

int list_files(struct list *l, char **files)
{
	for (; *files; files++)
		read_file(l, *files);
	return fflush(l->out) == 0 && !ferror(l->out) ? 0 : -1;
}
