/*
 * extract: the addresses of all servers that Mihomo may dial. Literals are told
 * as their files are read, names as they are resolved, and what became of each
 * source at the end, when all of its addresses are out.
 */
#include <ctype.h>
#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "helper/helper.h"
#include "helper/name_rules.h"
#include "helper/resolve.h"
#include "helper/sources.h"

#define TARGETS_MAX 131072 /* names, each once a source */

static const char usage[] = "extract [--api SOCKET] [--timeout MS] [--name-timeout MS] [--concurrency N] "
			    "[--resolver auto|system|mihomo|ADDRESS,...] [--max-file BYTES] [--provider-dir DIR] "
			    "CONFIGFILE HOME";

/* A host as one source names it: a literal, or a name to resolve. */
struct target {
	char *host; /* NULL = literal */
	struct addr addr;
	uint32_t source;
};

struct extract {
	struct sources sources;
	const char *resolver;
	struct resolver *asker;
	struct resolve_plan plan;
	int64_t name_timeout_ms;
	int64_t timeout_ms;
	struct name_rules rules; /* as soon as the config is there */
	bool dns_learnt;
	struct doc *config;
	struct target *targets; /* of names: sorted by host before they are resolved */
	size_t n, cap, first_of_source;
	bool overflow; /* of the source that is being read: some of it was left out */
	struct {
		uint32_t source;
		bool complete;
	} ends[SOURCES_MAX];
	struct wire_summary sum;
	unsigned notes;
};

static bool is_fake(const struct extract *x, const struct addr *a)
{
	return x->rules.dns.has_fake[a->family] && addr_in(a, &x->rules.dns.fake[a->family]);
}

static void tell_address(const struct target *t, const struct addr *a, uint32_t ttl_s)
{
	struct wire_record r = { .type = WIRE_ADDRESS };

	r.u.address.addr = *a;
	r.u.address.source = t->source;
	r.u.address.host = t->host ? wire_hash(t->host) : 0;
	r.u.address.ttl_s = ttl_s;
	emit(&r);
}

static int by_host(const void *a, const void *b)
{
	const struct target *x = a, *y = b;
	int r = !x->host || !y->host ? (x->host != NULL) - (y->host != NULL) : strcmp(x->host, y->host);

	if (r == 0 && !x->host)
		r = addr_cmp(&x->addr, &y->addr);
	return r ? r : (x->source > y->source) - (x->source < y->source);
}

static void found(void *ctx, const struct endpoint *ep)
{
	struct extract *x = ctx;
	struct target t = { .source = wire_hash(x->sources.path) };

	x->sum.endpoints++;
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 256;
		struct target *grown = cap <= TARGETS_MAX ? realloc(x->targets, cap * sizeof(*grown)) : NULL;

		if (!grown) {
			x->sum.skipped++;
			x->overflow = true;
			emit_note(&x->notes, true, "%s:%u: one server too many", x->sources.path, ep->line);
			return;
		}
		x->targets = grown;
		x->cap = cap;
	}
	if (addr_parse(ep->host, &t.addr) < 0) {
		t.host = strdup(ep->host);
		if (!t.host)
			exit(1);
		for (char *p = t.host; *p; p++)
			*p = (char)tolower((unsigned char)*p);
	}
	x->targets[x->n++] = t;
}

static void skipped(void *ctx, const char *path, uint32_t line, const char *reason)
{
	struct extract *x = ctx;

	x->sum.skipped++;
	emit_note(&x->notes, true, "%s:%u: %s", path, line, reason);
}

/* As near to Mihomo's own way as can be asked from outside. */
static void learn_dns(struct extract *x)
{
	const char *note;

	if (x->dns_learnt)
		return;
	x->dns_learnt = true;
	if (name_rules_read(&x->rules, x->config, x->resolver, true) < 0)
		exit(1);
	x->plan.groups = x->rules.plan.groups;
	x->plan.n_groups = x->rules.plan.n;
	x->plan.ipv6 = x->rules.dns.ipv6;
	note = name_rules_note(&x->rules, x->plan.api != NULL);
	if (note)
		emit_note(&x->notes, false, "%s", note);
}

/* Sorts what this source brought, tells its literals, keeps its names: each once. */
static void end_of_source(void *ctx, const char *path, bool complete, bool warn, const char *why)
{
	struct extract *x = ctx;
	struct target *from = x->targets + x->first_of_source, *to = from;
	size_t n = x->n - x->first_of_source;
	char text[ADDR_TEXT];

	if (why)
		emit_note(&x->notes, warn, "%s", why);
	learn_dns(x);
	if (n > 0)
		qsort(from, n, sizeof(*from), by_host);
	for (size_t i = 0; i < n; i++) {
		struct target *t = &from[i];
		bool again = i > 0 && by_host(t->host && to > from ? to - 1 : t - 1, t) == 0;

		if (t->host && again)
			free(t->host);
		else if (t->host)
			*to++ = *t;
		else if (!again && (addr_is_special(&t->addr) || is_fake(x, &t->addr)))
			emit_note(&x->notes, false, "%s: %s cannot be a server", path, addr_text(&t->addr, text));
		else if (!again)
			tell_address(t, &t->addr, 0);
	}
	x->n = (size_t)(to - x->targets);
	x->first_of_source = x->n;
	x->ends[x->sum.sources].source = wire_hash(path);
	x->ends[x->sum.sources++].complete = complete && !x->overflow;
	x->overflow = false;
}

/* The targets of one name, which are neighbours. */
struct name {
	size_t first, n;
};

struct names {
	struct extract *x;
	struct name *list;
	struct resolve_name *hosts;
	size_t n;
};

static void resolved(void *ctx, size_t index, const struct resolve_answer *answer)
{
	const struct names *names = ctx;
	struct extract *x = names->x;
	const struct target *t = x->targets + names->list[index].first;
	const char *why = answer->why;
	char text[ADDR_TEXT];
	size_t told = 0;

	for (size_t i = 0; i < answer->n; i++) {
		const struct addr *a = &answer->addrs[i];

		if (addr_is_special(a) || is_fake(x, a)) {
			why = "no real address";
			emit_note(&x->notes, true, "%s: the answer %s cannot be a server", t->host, addr_text(a, text));
			continue;
		}
		told++;
		for (size_t j = 0; j < names->list[index].n; j++)
			tell_address(&t[j], a, answer->ttl_s);
	}
	if (told > 0)
		return;
	x->sum.unresolved++;
	emit_note(&x->notes, true, "%s: %s", t->host, why);
	for (size_t j = 0; j < names->list[index].n; j++)
		emit(&(struct wire_record){ .type = WIRE_UNRESOLVED,
					    .u.unresolved = { t[j].source, wire_hash(t->host) } });
}

/* Mihomo looks into its `hosts:` before it asks anybody. */
static bool by_hosts(struct names *names, size_t index)
{
	struct addr addrs[RESOLVE_ADDRS_MAX];
	int n = hosts_find(names->x->rules.hosts, names->hosts[index].name, names->hosts[index].families, addrs,
			   RESOLVE_ADDRS_MAX);

	if (n >= 0)
		resolved(names, index,
			 &(struct resolve_answer){ .addrs = addrs, .n = (size_t)n, .why = "no address in hosts" });
	return n >= 0;
}

/* Neighbours with one host become one name; those that `hosts:` answers are done here. */
static void group_names(struct names *names)
{
	struct extract *x = names->x;

	for (size_t i = 0, next; i < x->n; i = next) {
		struct name *name = &names->list[names->n];

		for (next = i + 1; next < x->n && strcmp(x->targets[i].host, x->targets[next].host) == 0; next++)
			;
		*name = (struct name){ .first = i, .n = next - i };
		names->hosts[names->n] = (struct resolve_name){ x->targets[i].host, ENDPOINT_ANY_FAMILY,
								dns_plan_group(&x->rules.plan, x->targets[i].host) };
		x->sum.names++;
		if (!by_hosts(names, names->n))
			names->n++;
	}
}

static void resolve_all(struct extract *x)
{
	struct names names = { .x = x };

	if (x->n == 0)
		return;
	qsort(x->targets, x->n, sizeof(*x->targets), by_host);
	names.list = calloc(x->n, sizeof(*names.list));
	names.hosts = calloc(x->n, sizeof(*names.hosts));
	if (!names.list || !names.hosts)
		exit(1);
	group_names(&names);
	resolve_names(x->asker, &x->plan, names.hosts, names.n, resolved, &names);
	free(names.list);
	free(names.hosts);
}

static int extract(struct extract *x)
{
	x->plan.deadline_ms = resolve_now_ms() + x->timeout_ms;
	sources_read(&x->sources, &x->config);
	resolve_all(x);
	for (uint32_t i = 0; i < x->sum.sources; i++)
		emit(&(struct wire_record){ .type = WIRE_SOURCE,
					    .u.source = { x->ends[i].source, x->ends[i].complete } });
	if (x->notes > HELPER_NOTES_MAX)
		fprintf(stderr, "clashsup-helper: %u more notes\n", x->notes - HELPER_NOTES_MAX);
	emit(&(struct wire_record){ .type = WIRE_SUMMARY, .u.summary = x->sum });
	for (size_t i = 0; i < x->n; i++)
		free(x->targets[i].host);
	free(x->targets);
	name_rules_deinit(&x->rules);
	resolve_close(x->asker);
	doc_free(x->config);
	return 0;
}

static int scan_number(const char *text, uint64_t max, int64_t *out)
{
	uint64_t n;

	if (scan_u64(text, max, &n) < 0 || n == 0)
		return -1;
	*out = (int64_t)n;
	return 0;
}

static int option(struct extract *x, int c, const char *value)
{
	int64_t number = 0;
	uint64_t size;

	switch (c) {
	case 'a':
		x->plan.api = value;
		return 0;
	case 't':
		return scan_number(value, 24 * 3600 * 1000, &x->timeout_ms);
	case 'n':
		return scan_number(value, 3600 * 1000, &x->name_timeout_ms);
	case 'c':
		if (scan_number(value, RESOLVE_CONCURRENCY_MAX, &number) < 0)
			return -1;
		x->plan.concurrency = (unsigned)number;
		return 0;
	case 'r':
		x->resolver = value;
		return 0;
	case 'm':
		if (scan_size(value, HELPER_FILE_MAX, &size) < 0)
			return -1;
		x->sources.max_file = (size_t)size;
		return 0;
	case 'd':
		x->sources.stray_dir = value;
		return 0;
	default:
		return -1;
	}
}

static int parse_args(struct extract *x, int argc, char **argv)
{
	static const struct option options[] = {
		{ "api", required_argument, NULL, 'a' },	  { "timeout", required_argument, NULL, 't' },
		{ "name-timeout", required_argument, NULL, 'n' }, { "concurrency", required_argument, NULL, 'c' },
		{ "resolver", required_argument, NULL, 'r' },	  { "max-file", required_argument, NULL, 'm' },
		{ "provider-dir", required_argument, NULL, 'd' }, { NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (option(x, c, optarg) < 0)
			return -1;
	if (argc - optind != 2)
		return -1;
	x->sources.config = argv[optind];
	x->sources.home = argv[optind + 1];
	if (strcmp(x->resolver, "mihomo") == 0 && !x->plan.api)
		return -1;
	return name_rules_check(x->resolver);
}

int role_extract(int argc, char **argv)
{
	struct extract x = {
		.sources = { .max_file = HELPER_FILE_MAX, .found = found, .skipped = skipped, .end = end_of_source },
		.resolver = "auto",
		.timeout_ms = 60000,
		.name_timeout_ms = 5000,
		.plan = { .ipv6 = true, .concurrency = 64 }
	};
	cleanup_free char *copy = NULL;

	if (parse_args(&x, argc, argv) < 0)
		return usage_error(usage);
	x.sources.ctx = &x;
	copy = strdup(x.sources.config);
	x.asker = resolve_open(x.name_timeout_ms, NULL);
	if (!copy || !x.asker ||
	    confine(CONFINE_BOTH, (const char *const[]){ x.sources.config, dirname(copy), x.sources.home,
							 x.sources.stray_dir, NULL }) < 0)
		return 1;
	return extract(&x);
}
