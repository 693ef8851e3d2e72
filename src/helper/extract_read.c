/*
 * The reader: files to literals, names and how to ask for them. Never a socket.
 * Literals are told source by source; names when all sources are read, so that
 * each is asked for once and only where its answer is not good any more.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/extract.h"
#include "helper/helper.h"
#include "helper/name_rules.h"
#include "helper/sources.h"
#include "parse/feed/dialer.h"

#define HOSTS_TTL_S 86400 /* files are read again when they change, and by the clock */
#define HOST_ADDRS_MAX 64
#define SKIPPED_TOLD 8 /* entries of one source */

/* A host as one source names it: a literal, or a name to resolve. */
struct target {
	char *host;   /* NULL = literal */
	char *dialer; /* that is not judged yet; NULL = none: it is dialled from here */
	struct addr addr;
	uint32_t source, proxy;
	uint8_t families;
};

struct reader_run {
	const struct extract_options *options;
	struct sources sources;
	struct doc *config;
	struct name_rules rules;
	struct dialers *dialers;
	bool rules_read;	/* the config's turn is over; it may have been unreadable */
	struct target *targets; /* of names: sorted by host in the end */
	size_t n, cap, first_of_source;
	struct { /* of the source that is being read */
		uint32_t endpoints, skipped;
		bool overflow;	  /* some of it was left out */
		char reason[256]; /* why the last one was skipped, where that was not told */
	} now;
	uint32_t (*fresh)[2]; /* sorted */
	size_t n_fresh;
	struct wire_summary sum;
	unsigned notes;
};

/* ---- what a source names ---- */

static void check_memory(const void *p)
{
	if (!p)
		exit(1); /* no summary was sent: nothing shrinks */
}

static bool grow(struct reader_run *x)
{
	size_t cap = x->cap ? x->cap * 2 : 256;

	if (x->n < x->cap)
		return true;
	if (cap > EXTRACT_TARGETS_MAX)
		return false;
	x->targets = reallocarray(x->targets, cap, sizeof(*x->targets));
	check_memory(x->targets);
	x->cap = cap;
	return true;
}

void extract_fold(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

static char *copy(const char *text)
{
	char *new = strdup(text);

	check_memory(new);
	return new;
}

/* What is reached through another proxy is not dialled from here. The config's groups come behind its proxies. */
static void found(void *ctx, const struct endpoint *ep)
{
	struct reader_run *x = ctx;
	struct target t = { .source = x->sources.id, .families = ep->families };

	x->now.endpoints++;
	if (x->rules_read && !dialers_direct(x->dialers, ep->dialer))
		return;
	if (!grow(x)) {
		x->now.skipped++;
		if (!x->now.overflow)
			emit_note(&x->notes, true, "%s:%u: more than %u servers, the rest is left out", x->sources.path,
				  ep->line, EXTRACT_TARGETS_MAX);
		x->now.overflow = true;
		return;
	}
	if (addr_parse(ep->host, &t.addr) < 0) {
		t.host = copy(ep->host);
		extract_fold(t.host);
		t.proxy = wire_hash(ep->name);
	}
	if (!x->rules_read && ep->dialer[0])
		t.dialer = copy(ep->dialer);
	x->targets[x->n++] = t;
}

static void skipped(void *ctx, const char *path, uint32_t line, const char *reason)
{
	struct reader_run *x = ctx;

	if (x->now.skipped++ < SKIPPED_TOLD)
		emit_note(&x->notes, true, "%s:%u: %s", path, line, reason);
	else
		snprintf(x->now.reason, sizeof(x->now.reason), "line %u: %s", line, reason);
}

/* One bad file must not have all the room for notes; why it was refused comes last, and is told. */
static void tell_skipped(struct reader_run *x, bool counts)
{
	const char *path = x->sources.path;

	if (x->now.reason[0] && !counts)
		emit_note(&x->notes, true, "%s: %s", path, x->now.reason);
	else if (x->now.reason[0])
		emit_note(&x->notes, true, "%s: %u more entries were skipped", path, x->now.skipped - SKIPPED_TOLD);
	x->sum.skipped += counts ? x->now.skipped : x->now.skipped > 0;
	x->sum.endpoints += counts ? x->now.endpoints : 0;
}

static int by_host(const void *a, const void *b)
{
	const struct target *x = a, *y = b;
	int r = !x->host || !y->host ? (x->host != NULL) - (y->host != NULL) : strcmp(x->host, y->host);

	if (r == 0 && !x->host)
		r = addr_cmp(&x->addr, &y->addr);
	if (r == 0)
		r = (x->source > y->source) - (x->source < y->source);
	return r ? r : (x->proxy > y->proxy) - (x->proxy < y->proxy);
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

static void tell_literal(struct reader_run *x, const struct target *t)
{
	const char *path = x->sources.path;
	const struct addr *a = &t->addr;
	char text[ADDR_TEXT];

	if (addr_is_special(a) || (x->rules.dns.has_fake[a->family] && addr_in(a, &x->rules.dns.fake[a->family])))
		emit_note(&x->notes, false, "%s: %s cannot be a server", path, addr_text(a, text));
	else if (a->family == IP_V6 && !x->rules.dns.ipv6)
		emit_note(&x->notes, false, "%s: %s is not dialled: ipv6 is off", path, addr_text(a, text));
	else if (t->families >> a->family & 1)
		tell_address(t, a, 0);
}

/* Behind the config, which comes first and may be missing. */
static void read_rules(struct reader_run *x)
{
	const char *note;

	if (x->rules_read)
		return;
	x->rules_read = true;
	if (name_rules_read(&x->rules, x->config, x->options->resolver, true) < 0 ||
	    dialers_new(&x->dialers, x->config) < 0)
		exit(1);
	note = name_rules_note(&x->rules, x->options->api != NULL);
	if (note && !x->options->literals)
		emit_note(&x->notes, false, "%s", note);
}

static void note(void *ctx, bool warn, const char *text)
{
	struct reader_run *x = ctx;

	emit_note(&x->notes, warn, "%s", text);
}

/* Each once: what is named twice is dialled in the families of either. How many are left. */
static size_t unite(struct target *targets, size_t n)
{
	struct target *to = targets;

	if (n > 0)
		qsort(targets, n, sizeof(*targets), by_host);
	for (size_t i = 0; i < n; i++) {
		struct target *t = &targets[i];

		if (to > targets && by_host(to - 1, t) == 0) {
			to[-1].families |= t->families;
			free(t->host);
		} else {
			*to++ = *t;
		}
	}
	return (size_t)(to - targets);
}

/* Keeps those that are dialled from here; none of a document that could not be read to its end. */
static void judge_source(struct reader_run *x, bool counts)
{
	size_t to = x->first_of_source;

	for (size_t i = to; i < x->n; i++) {
		struct target *t = &x->targets[i];
		bool stays = counts && (!t->dialer || dialers_direct(x->dialers, t->dialer));

		free(t->dialer);
		t->dialer = NULL;
		if (stays)
			x->targets[to++] = *t;
		else
			free(t->host);
	}
	x->n = to;
}

/* Tells the literals of this source, keeps its names. */
static void tell_source(struct reader_run *x)
{
	struct target *from = x->targets + x->first_of_source;
	size_t n = unite(from, x->n - x->first_of_source), literals = 0;

	for (; literals < n && !from[literals].host; literals++)
		tell_literal(x, &from[literals]);
	n -= literals;
	memmove(from, from + literals, n * sizeof(*from));
	x->n = x->first_of_source += n;
}

static void end_of_source(void *ctx, enum source_read how)
{
	struct reader_run *x = ctx;

	read_rules(x);
	judge_source(x, how != SOURCE_REFUSED);
	if (x->n > x->first_of_source)
		tell_source(x);
	x->sum.sources++;
	tell_skipped(x, how != SOURCE_REFUSED);
	emit(&(struct wire_record){ .type = WIRE_SOURCE,
				    .u.source = { x->sources.id, how == SOURCE_WHOLE && !x->now.overflow } });
	emit_flush();
	memset(&x->now, 0, sizeof(x->now));
}

/* ---- names ---- */

static int by_pair(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(uint32_t[2]));
}

static void read_fresh(struct reader_run *x)
{
	const size_t max = (size_t)EXTRACT_TARGETS_MAX * sizeof(*x->fresh);
	cleanup_free char *bytes = NULL;
	size_t len;

	if (!x->options->fresh || io_slurp(STDIN_FILENO, max, &bytes, &len) < 0)
		return; /* then everything is asked for */
	x->fresh = (void *)bytes;
	bytes = NULL;
	x->n_fresh = len / sizeof(*x->fresh);
	if (x->n_fresh > 0)
		qsort(x->fresh, x->n_fresh, sizeof(*x->fresh), by_pair);
}

static bool is_fresh(const struct reader_run *x, const struct target *t)
{
	const uint32_t pair[2] = { t->source, wire_hash(t->host) };

	return x->options->literals ||
	       (x->n_fresh && bsearch(pair, x->fresh, x->n_fresh, sizeof(pair), by_pair) != NULL);
}

/* The targets of one name. A name is fresh when it is so for all sources that name it. */
static void tell_name(struct reader_run *x, const struct target *t, size_t n)
{
	uint8_t group = dns_plan_group(&x->rules.plan, t->host);
	bool fresh = true;

	for (size_t i = 0; i < n && fresh; i++)
		fresh = is_fresh(x, &t[i]);
	for (size_t i = 0; i < n; i++) {
		struct wire_record r = { .type = fresh ? WIRE_FRESH : WIRE_NAME };

		if (fresh) {
			r.u.fresh.source = t[i].source;
			r.u.fresh.host = wire_hash(t[i].host);
		} else {
			r.u.name.source = t[i].source;
			r.u.name.proxy = t[i].proxy;
			r.u.name.families = t[i].families;
			r.u.name.group = group;
			r.u.name.host = t[i].host;
		}
		emit(&r);
	}
}

/* Mihomo looks into `hosts:` and the system's file before it asks anybody. */
static bool told_by_hosts(struct reader_run *x, const struct target *t)
{
	uint8_t families = x->rules.dns.ipv6 ? t->families : t->families & 1u << IP_V4;
	struct addr addrs[HOST_ADDRS_MAX];
	int found = hosts_find(x->rules.hosts, t->host, families, addrs, HOST_ADDRS_MAX);

	for (int i = 0; i < found; i++)
		if (!addr_is_special(&addrs[i]))
			tell_address(t, &addrs[i], HOSTS_TTL_S);
	return found >= 0;
}

static void tell_names(struct reader_run *x)
{
	if (x->n > 0)
		qsort(x->targets, x->n, sizeof(*x->targets), by_host);
	for (size_t i = 0, next; i < x->n; i = next) {
		struct target *t = &x->targets[i];
		size_t left = 0;

		for (next = i; next < x->n && strcmp(t->host, x->targets[next].host) == 0; next++) {
			const struct target one = x->targets[next];

			if (told_by_hosts(x, &one))
				continue;
			x->targets[next] = t[left]; /* to be asked for come first */
			t[left++] = one;
		}
		x->sum.names++;
		tell_name(x, t, left);
	}
}

int extract_read(const struct extract_options *o)
{
	struct reader_run x = { .options = o,
				.sources = { .config = o->config,
					     .home = o->home,
					     .stray_dir = o->stray_dir,
					     .original = o->original,
					     .max_file = o->max_file,
					     .found = found,
					     .skipped = skipped,
					     .note = note,
					     .end = end_of_source,
					     .ctx = &x } };

	read_fresh(&x);
	sources_read(&x.sources, &x.config);
	read_rules(&x);
	name_rules_tell(&x.rules);
	tell_names(&x);
	if (x.notes > HELPER_NOTES_MAX)
		fprintf(stderr, "clashsup-helper: %u more notes\n", x.notes - HELPER_NOTES_MAX);
	emit(&(struct wire_record){ .type = WIRE_SUMMARY, .u.summary = x.sum });
	emit_flush();
	for (size_t i = 0; i < x.n; i++)
		free(x.targets[i].host);
	free(x.targets);
	free(x.fresh);
	name_rules_deinit(&x.rules);
	dialers_free(x.dialers);
	doc_free(x.config);
	return 0;
}
