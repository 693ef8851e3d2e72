/*
 * list: the implementation of `clashsup extract`: files in, endpoints out, for
 * people or as JSON (version 1). For JSON it is two processes, as `extract` is:
 *
 *	files -> reader -- endpoints, what was skipped --> standard output
 *	           `-- literals, names --> resolver -- addresses --> standard output
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/extract.h"
#include "helper/helper.h"
#include "helper/list.h"
#include "helper/name_rules.h"
#include "helper/resolve.h"
#include "helper/split.h"

#define LIST_TIMEOUT_MS 60000
#define NAME_TIMEOUT_MS 5000

static const char usage[] = "list [--json] [--no-resolve] FILE...|-";

static int role_for_people(struct list *l, char **files)
{
	if (confine(CONFINE_READING, (const char *const *)files) < 0)
		return 1;
	l->out = stdout;
	return list_files(l, files) < 0 || l->unread;
}

/* ---- for JSON: the reader ---- */

static int tell_rules(void)
{
	struct name_rules rules;
	int r = name_rules_read(&rules, NULL, "auto", false);

	if (r == 0)
		name_rules_tell(&rules);
	name_rules_deinit(&rules);
	return r;
}

static int reader(struct list *l, char **files)
{
	int r;

	if (confine(CONFINE_READING, (const char *const *)files) < 0)
		return 1;
	emit_buffered();
	text_begin(&l->skipped);
	fputs("{\"version\":1,\"endpoints\":[", l->out);
	r = list_files(l, files);
	text_end(&l->skipped);
	fputs("],\"skipped\":[", l->out);
	text_print(l->out, &l->skipped, true);
	free(l->skipped.bytes);
	if (r < 0 || fclose(l->out) != 0 || (l->resolve && tell_rules() < 0))
		return 1;
	emit(&(struct wire_record){ .type = WIRE_SOURCE, .u.source = { LIST_SOURCE, !l->unread } });
	emit(&(struct wire_record){ .type = WIRE_SUMMARY });
	emit_flush();
	return 0;
}

/* ---- the other ---- */

struct collected {
	struct addr *addrs;
	size_t n, cap;
	bool whole; /* all files were read */
};

static void on_record(void *ctx, const struct wire_record *r)
{
	struct collected *c = ctx;

	if (r->type == WIRE_ADDRESS) {
		c->addrs = list_grow(c->addrs, c->n, &c->cap, sizeof(*c->addrs));
		c->addrs[c->n++] = r->u.address.addr;
	} else if (r->type == WIRE_NOTE) {
		fprintf(stderr, "clashsup-helper: %s\n", r->u.note.text);
	} else if (r->type == WIRE_SOURCE) {
		c->whole = r->u.source.complete;
	}
}

static int by_addr(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static void print_addresses(const struct collected *c)
{
	const char *comma = "";
	char text[ADDR_TEXT];

	if (c->n > 0)
		qsort(c->addrs, c->n, sizeof(*c->addrs), by_addr);
	printf("],\"addresses\":[");
	for (size_t i = 0; i < c->n; i++) {
		if (i > 0 && addr_cmp(&c->addrs[i - 1], &c->addrs[i]) == 0)
			continue;
		printf("%s\"%s\"", comma, addr_text(&c->addrs[i], text));
		comma = ",";
	}
	printf("]}\n");
}

static int resolver(struct reader *from, struct resolver *asker)
{
	const struct extract_options o = { .deadline_ms = resolve_now_ms() + LIST_TIMEOUT_MS, .concurrency = 64 };
	struct collected c = { 0 };
	int r;

	if (confine(CONFINE_RESOLVING, NULL) < 0)
		return 1;
	emit_to(on_record, &c);
	r = extract_resolve(&o, asker, from);
	if (r == 0)
		print_addresses(&c);
	free(c.addrs);
	return r == 0 && fflush(stdout) == 0 && c.whole ? 0 : 1;
}

static int role_for_programs(struct list *l, char **files)
{
	int out = dup(STDOUT_FILENO), r;
	struct resolver *asker;
	struct err e = ERR_INIT;
	struct reader from;

	l->out = out < 0 ? NULL : fdopen(out, "w");
	check_memory(l->out);
	r = split_reader(&from, &e);
	if (r == 1)
		return reader(l, files);
	fclose(l->out);
	asker = r < 0 ? NULL : resolve_open(NAME_TIMEOUT_MS, &e);
	if (!asker) {
		fprintf(stderr, "clashsup-helper: %s\n", e.msg);
		return 1;
	}
	r = resolver(&from, asker);
	resolve_close(asker);
	return r;
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
	return l.json ? role_for_programs(&l, argv + optind) : role_for_people(&l, argv + optind);
}
