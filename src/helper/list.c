/*
 * list: the implementation of `clashsup extract`: files in, endpoints out, for
 * people or as JSON (version 1). Standard output is plain here, not the wire.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/helper.h"
#include "helper/name_rules.h"
#include "helper/resolve.h"
#include "parse/feed/dialer.h"
#include "parse/feed/mihomo_yaml.h"
#include "parse/feed/provider.h"

#define LIST_TIMEOUT_MS 60000
#define NAMES_MAX 131072

static const char usage[] = "list [--json] [--no-resolve] FILE...|-";

struct list {
	bool json, resolve;
	struct resolver *asker;
	const char *file; /* that is being read */
	cJSON *endpoints; /* of all documents that were read to their end */
	cJSON *found;	  /* of the present one */
	cJSON *skipped;
	char **names;
	size_t n_names, cap_names;
	struct addr *addrs;
	size_t n_addrs, cap_addrs;
};

static void check_memory(const void *p)
{
	if (p)
		return;
	fprintf(stderr, "clashsup-helper: out of memory\n");
	exit(1);
}

/* Room for one element more. */
static void *grow(void *array, size_t n, size_t *cap, size_t size)
{
	if (n == *cap) {
		*cap = n ? n * 2 : 64;
		array = reallocarray(array, *cap, size);
		check_memory(array);
	}
	return array;
}

static void keep_addr(struct list *l, const struct addr *a)
{
	if (addr_is_special(a))
		return;
	l->addrs = grow(l->addrs, l->n_addrs, &l->cap_addrs, sizeof(*l->addrs));
	l->addrs[l->n_addrs++] = *a;
}

/* What would be in the set: not what is reached through another proxy. */
static void keep_host(struct list *l, const struct endpoint *ep)
{
	struct addr a;

	if (!dialer_is_direct(NULL, ep->dialer))
		return;
	if (addr_parse(ep->host, &a) == 0) {
		if (!addr_is_special(&a))
			keep_addr(l, &a);
	} else if (l->n_names < NAMES_MAX) {
		l->names = grow(l->names, l->n_names, &l->cap_names, sizeof(*l->names));
		l->names[l->n_names] = strdup(ep->host);
		check_memory(l->names[l->n_names++]);
	}
}

static void add_text(cJSON *o, const char *key, const char *text)
{
	check_memory(text[0] ? cJSON_AddStringToObject(o, key, text) : cJSON_AddNullToObject(o, key));
}

static void found(void *ctx, const struct endpoint *ep)
{
	struct list *l = ctx;
	cJSON *o = cJSON_CreateObject();

	check_memory(o);
	cJSON_AddStringToObject(o, "host", ep->host);
	if (ep->port)
		cJSON_AddNumberToObject(o, "port", ep->port);
	else
		cJSON_AddNullToObject(o, "port");
	add_text(o, "ports", ep->ports);
	cJSON_AddStringToObject(o, "transport", ep->transport);
	cJSON_AddStringToObject(o, "kind", endpoint_kind_name(ep->kind));
	cJSON_AddStringToObject(o, "name", ep->name);
	add_text(o, "dialer-proxy", ep->dialer);
	cJSON_AddStringToObject(o, "file", l->file);
	cJSON_AddNumberToObject(o, "line", ep->line);
	cJSON_AddItemToArray(l->found, o);
	keep_host(l, ep);
}

/* For a terminal: controls of foreign texts become '?'. */
static void print_clean(FILE *out, const char *text)
{
	for (; *text; text++)
		putc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
}

static const char *text_of(const cJSON *o, const char *key)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

	return text ? text : "";
}

static void print_line(const cJSON *o)
{
	const cJSON *port = cJSON_GetObjectItemCaseSensitive(o, "port");
	const char *host = text_of(o, "host");

	printf(strchr(host, ':') ? "[%s]" : "%s", host);
	if (cJSON_IsNumber(port))
		printf(":%d", port->valueint);
	if (text_of(o, "ports")[0]) {
		printf(" ports ");
		print_clean(stdout, text_of(o, "ports"));
	}
	printf(" %s %s %s:%d ", text_of(o, "transport"), text_of(o, "kind"), text_of(o, "file"),
	       cJSON_GetObjectItemCaseSensitive(o, "line")->valueint);
	print_clean(stdout, text_of(o, "name"));
	if (text_of(o, "dialer-proxy")[0]) {
		printf(" via ");
		print_clean(stdout, text_of(o, "dialer-proxy"));
	}
	putchar('\n');
}

static void skipped(void *ctx, uint32_t line, const char *reason)
{
	struct list *l = ctx;
	cJSON *o;

	if (!l->json) {
		fprintf(stderr, "%s:%u: skipped: ", l->file, line);
		print_clean(stderr, reason);
		putc('\n', stderr);
		return;
	}
	o = cJSON_CreateObject();
	check_memory(o);
	cJSON_AddStringToObject(o, "file", l->file);
	cJSON_AddNumberToObject(o, "line", line);
	cJSON_AddStringToObject(o, "reason", reason);
	cJSON_AddItemToArray(l->skipped, o);
}

struct inline_entries {
	struct doc *doc;
	const struct endpoint_sink *sink;
};

static void pass_over(void *ctx, struct doc *d, struct doc_node *element)
{
	(void)ctx;
	(void)d;
	(void)element;
}

static void read_payload(void *ctx, const struct mihomo_provider *p)
{
	const struct inline_entries *in = ctx;

	provider_entries(in->doc, p->payload, in->sink);
}

/* A whole config may be given: the inline entries of its providers count too. */
static void read_payloads(const char *bytes, size_t len, const struct endpoint_sink *sink)
{
	const struct doc_stream proxies = { "proxies", pass_over, NULL }; /* told by provider_parse */
	struct inline_entries in = { .sink = sink };
	uint32_t line;

	if (doc_load_stream(&in.doc, bytes, len, &proxies, &line, NULL) < 0)
		return;
	mihomo_providers(in.doc, "", read_payload, &in);
	doc_free(in.doc);
}

/* Standard input may be a pipe, which io_slurp refuses. */
static int read_stdin(char **out, size_t *len_out, struct err *e)
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
		n = io_read(STDIN_FILENO, buf + len, cap - len - 1);
		if (n <= 0 || (len += (size_t)n) > HELPER_FILE_MAX) {
			*out = buf;
			*len_out = len;
			return n == 0 ? 0 : err_set(e, n < 0 ? (int)-n : EFBIG, "standard input cannot be read whole");
		}
	}
}

/* Of a document that could not be read to its end nothing counts. */
static void forget_since(struct list *l, size_t names, size_t addrs)
{
	for (; l->n_names > names; l->n_names--)
		free(l->names[l->n_names - 1]);
	l->n_addrs = addrs;
	cJSON_Delete(l->found);
	l->found = cJSON_CreateArray();
	check_memory(l->found);
}

static void take_found(struct list *l)
{
	while (l->found->child) {
		cJSON *o = cJSON_DetachItemViaPointer(l->found, l->found->child);

		if (l->json) {
			cJSON_AddItemToArray(l->endpoints, o);
			continue;
		}
		print_line(o);
		cJSON_Delete(o);
	}
}

static int read_file(struct list *l, const char *path)
{
	size_t names = l->n_names, addrs = l->n_addrs;
	const struct endpoint_sink sink = { .ctx = l, .found = found, .skipped = skipped };
	cleanup_free char *bytes = NULL;
	struct err e = ERR_INIT;
	size_t len;
	int r;

	l->file = path;
	r = strcmp(path, "-") == 0 ? read_stdin(&bytes, &len, &e)
				   : io_slurp_path(path, HELPER_FILE_MAX, &bytes, &len, &e);
	if (r < 0) {
		fprintf(stderr, "clashsup-helper: %s\n", e.msg);
		return r;
	}
	if (provider_parse(bytes, len, &sink) < 0)
		forget_since(l, names, addrs);
	read_payloads(bytes, len, &sink);
	take_found(l);
	return 0;
}

static void resolved(void *ctx, size_t index, const struct resolve_answer *answer)
{
	struct list *l = ctx;

	for (size_t i = 0; i < answer->n; i++)
		keep_addr(l, &answer->addrs[i]);
	if (answer->n == 0)
		fprintf(stderr, "clashsup-helper: %s: %s\n", l->names[index], answer->why);
}

static int by_text(const void *a, const void *b)
{
	return strcasecmp(*(char *const *)a, *(char *const *)b);
}

static void resolve_all(struct list *l)
{
	struct resolve_plan plan = { .ipv6 = true,
				     .deadline_ms = resolve_now_ms() + LIST_TIMEOUT_MS,
				     .concurrency = 64 };
	cleanup_free struct resolve_name *asked = NULL;
	struct name_rules rules;
	size_t n = 0;

	if (l->n_names == 0)
		return;
	qsort(l->names, l->n_names, sizeof(*l->names), by_text);
	for (size_t i = 0; i < l->n_names; i++) {
		if (n > 0 && strcasecmp(l->names[n - 1], l->names[i]) == 0)
			free(l->names[i]);
		else
			l->names[n++] = l->names[i];
	}
	l->n_names = n;
	asked = calloc(n, sizeof(*asked));
	check_memory(asked);
	for (size_t i = 0; i < n; i++)
		asked[i] = (struct resolve_name){ l->names[i], ENDPOINT_ANY_FAMILY, 0 };
	if (name_rules_read(&rules, NULL, "auto", true) < 0)
		check_memory(NULL);
	plan.groups = rules.plan.groups;
	plan.n_groups = rules.plan.n;
	resolve_names(l->asker, &plan, asked, n, resolved, l);
	name_rules_deinit(&rules);
}

static int by_addr(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static void print_json(struct list *l)
{
	cJSON *root = cJSON_CreateObject(), *addresses = cJSON_CreateArray();
	char text[ADDR_TEXT], *out;

	check_memory(root);
	check_memory(addresses);
	if (l->n_addrs > 0)
		qsort(l->addrs, l->n_addrs, sizeof(*l->addrs), by_addr);
	for (size_t i = 0; i < l->n_addrs; i++)
		if (i == 0 || addr_cmp(&l->addrs[i - 1], &l->addrs[i]) != 0)
			cJSON_AddItemToArray(addresses, cJSON_CreateString(addr_text(&l->addrs[i], text)));
	cJSON_AddNumberToObject(root, "version", 1);
	cJSON_AddItemToObject(root, "endpoints", l->endpoints);
	cJSON_AddItemToObject(root, "addresses", addresses);
	cJSON_AddItemToObject(root, "skipped", l->skipped);
	out = cJSON_PrintUnformatted(root);
	check_memory(out);
	puts(out);
	cJSON_free(out);
	cJSON_Delete(root);
}

static int run(struct list *l, char **files)
{
	int status = 0;

	l->endpoints = cJSON_CreateArray();
	l->found = cJSON_CreateArray();
	l->skipped = cJSON_CreateArray();
	check_memory(l->endpoints);
	check_memory(l->found);
	check_memory(l->skipped);
	for (; *files; files++)
		if (read_file(l, *files) < 0)
			status = 1;
	if (l->json && l->resolve)
		resolve_all(l);
	if (l->json) {
		print_json(l);
	} else {
		cJSON_Delete(l->endpoints);
		cJSON_Delete(l->skipped);
	}
	cJSON_Delete(l->found);
	for (size_t i = 0; i < l->n_names; i++)
		free(l->names[i]);
	free(l->names);
	free(l->addrs);
	resolve_close(l->asker);
	return fflush(stdout) == 0 ? status : 1;
}

int role_list(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "no-resolve", no_argument, NULL, 'n' },
						 { NULL, 0, NULL, 0 } };
	struct list l = { .resolve = true };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j' && c != 'n')
			return usage_error(usage);
		if (c == 'j')
			l.json = true;
		else
			l.resolve = false;
	}
	if (optind == argc)
		return usage_error(usage);
	l.asker = resolve_open(5000, NULL);
	if (!l.asker || confine(CONFINE_BOTH, (const char *const *)argv + optind) < 0)
		return 1;
	return run(&l, argv + optind);
}
