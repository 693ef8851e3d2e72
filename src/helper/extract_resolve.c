/*
 * The resolver: passes on what the reader tells, asks for the names, those in
 * use first. It opens no file and distrusts the reader as the supervisor does.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "helper/extract.h"
#include "helper/helper.h"
#include "helper/resolve.h"
#include "helper/split.h"
#include "helper/targets.h"
#include "helper/usage.h"

#define SETTINGS_MAX 512

static const uint32_t reader_caps[WIRE_TYPES] = {
	[WIRE_SETTING] = SETTINGS_MAX, [WIRE_ADDRESS] = 4 * TARGETS_MAX,    [WIRE_FRESH] = TARGETS_MAX,
	[WIRE_NAME] = TARGETS_MAX,     [WIRE_SOURCE] = EXTRACT_SOURCES_MAX, [WIRE_SUMMARY] = 1,
	[WIRE_NOTE] = HELPER_NOTES_MAX
};

/* One host as one source names it. */
struct asked {
	char *host;
	uint32_t source, hash;
	uint8_t families, group, rank;
	uint32_t proxy;
};

struct resolver_run {
	const struct extract_options *options;
	struct resolve_plan plan;
	struct dns_group groups[DNS_GROUPS_MAX];
	struct addr_net fake[IP_FAMILIES * 4];
	size_t n_fake;
	struct asked *asked; /* in the end: neighbours have one host, those in use come first */
	size_t n, cap;
	struct resolve_name *names;
	size_t *first; /* of each name: its first in `asked`; one more at the end */
	size_t n_names;
	struct {
		uint32_t source;
		bool complete;
	} sources[EXTRACT_SOURCES_MAX];
	size_t n_sources;
	uint32_t n_addresses; /* told */
	bool overflow;	      /* more were found than the supervisor takes */
	struct wire_summary sum;
	bool whole; /* the reader's summary has come */
	unsigned notes;
};

/* One more than the supervisor takes would be the end of the whole run. */
static void tell_address(struct resolver_run *x, const struct wire_record *r)
{
	if (x->n_addresses < TARGETS_MAX) {
		x->n_addresses++;
		emit(r);
		return;
	}
	if (!x->overflow)
		emit_note(&x->notes, true, "more than %u addresses, the rest is left out", TARGETS_MAX);
	x->overflow = true;
}

/* ---- what the reader tells ---- */

/* "GROUP SERVER" */
static int take_server(struct resolver_run *x, const char *text)
{
	static const struct dns_group none = { 0 };
	const char *blank = strchr(text, ' ');
	char number[8] = "";
	uint64_t index;

	if (!blank || (size_t)(blank - text) >= sizeof(number))
		return -EPROTO;
	memcpy(number, text, (size_t)(blank - text));
	if (scan_u64(number, DNS_GROUPS_MAX - 1, &index) < 0)
		return -EPROTO;
	if (index >= x->plan.n_groups)
		x->plan.n_groups = (size_t)index + 1;
	if (strcmp(blank + 1, "api") == 0)
		x->groups[index].api = x->options->api != NULL;
	else
		dns_group_add(&x->groups[index], blank + 1, &none);
	return 0;
}

static int take_setting(struct resolver_run *x, enum wire_setting key, const char *value)
{
	if (key == WIRE_SET_RESOLVER)
		return take_server(x, value);
	if (key == WIRE_SET_IPV6)
		x->plan.ipv6 = strcmp(value, "yes") == 0;
	else if (key == WIRE_SET_FAKE_IP && x->n_fake < sizeof(x->fake) / sizeof(x->fake[0]) &&
		 addr_net_parse(value, &x->fake[x->n_fake]) == 0)
		x->n_fake++;
	return 0;
}

static void take_name(struct resolver_run *x, const struct wire_record *r)
{
	if (x->n == x->cap) {
		x->cap = x->cap ? x->cap * 2 : 256;
		x->asked = reallocarray(x->asked, x->cap, sizeof(*x->asked));
		check_memory(x->asked);
	}
	x->asked[x->n] = (struct asked){ .host = strdup(r->u.name.host),
					 .hash = wire_hash(r->u.name.host),
					 .source = r->u.name.source,
					 .families = r->u.name.families,
					 .group = r->u.name.group,
					 .proxy = r->u.name.proxy };
	check_memory(x->asked[x->n++].host);
}

static int take(struct resolver_run *x, const struct wire_record *r)
{
	switch (r->type) {
	case WIRE_SETTING:
		return take_setting(x, r->u.setting.key, r->u.setting.value);
	case WIRE_NAME:
		take_name(x, r);
		return 0;
	case WIRE_SOURCE: /* told when its names are */
		x->sources[x->n_sources].source = r->u.source.source;
		x->sources[x->n_sources++].complete = r->u.source.complete;
		return 0;
	case WIRE_SUMMARY:
		x->sum = r->u.summary;
		x->whole = true;
		return 0;
	case WIRE_NOTE:
		x->notes++;
		emit(r);
		return 0;
	case WIRE_ADDRESS:
		tell_address(x, r);
		return 0;
	case WIRE_FRESH:
		emit(r);
		return 0;
	case WIRE_UNRESOLVED:
	case WIRE_HEALTH:
	case WIRE_DIALLED:
	case WIRE_TYPES:
		break;
	}
	return -EPROTO;
}

static int take_all(struct resolver_run *x, struct wire_in *in, const uint8_t *bytes, size_t len)
{
	struct wire_record r;
	int n;

	while ((n = wire_next(in, &bytes, &len, &r)) > 0) {
		if (take(x, &r) < 0)
			return -EPROTO;
	}
	return n;
}

/* To the reader's end, or until the time is up. */
static int hear_reader(struct resolver_run *x, struct reader *reader, struct err *e)
{
	struct pollfd p = { .fd = reader->records, .events = POLLIN };
	uint8_t bytes[65536];
	struct wire_in in;
	ssize_t n = 1;

	wire_in_init(&in, reader_caps);
	while (n > 0) {
		int64_t left = x->options->deadline_ms - resolve_now_ms();

		if (left <= 0)
			return err_set(e, ETIMEDOUT, "the files could not be read in time");
		if (poll(&p, 1, left > 60000 ? 60000 : (int)left) <= 0)
			continue;
		n = io_read(p.fd, bytes, sizeof(bytes));
		if (n > 0 && take_all(x, &in, bytes, (size_t)n) < 0)
			return err_set(e, EPROTO, "the reader sent a bad record");
		emit_flush(); /* literals are in the set while files are still being read */
	}
	if (reader_end(reader, e) < 0)
		return -EIO;
	return x->whole ? 0 : err_set(e, EIO, "the reader ended before it was through");
}

/* ---- names ---- */

/* In use first; a name is as urgent as the most urgent proxy that has it. */
static int by_host(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;
	int r = strcmp(x->host, y->host);

	return r ? r : x->rank - y->rank;
}

static int by_rank(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;
	int r = x->rank != y->rank ? x->rank - y->rank : strcmp(x->host, y->host);

	return r ? r : (x->source > y->source) - (x->source < y->source);
}

static void sort_by_use(struct resolver_run *x)
{
	struct usage *use = NULL;

	if (x->options->api)
		(void)usage_load(x->options->api, x->options->deadline_ms - resolve_now_ms(), &use, NULL);
	for (size_t i = 0; i < x->n; i++)
		x->asked[i].rank = (uint8_t)usage_rank(use, x->asked[i].proxy);
	usage_free(use);
	qsort(x->asked, x->n, sizeof(*x->asked), by_host);
	for (size_t i = 1; i < x->n; i++) {
		if (strcmp(x->asked[i - 1].host, x->asked[i].host) == 0)
			x->asked[i].rank = x->asked[i - 1].rank;
	}
	qsort(x->asked, x->n, sizeof(*x->asked), by_rank);
}

/* Neighbours with one host become one name. */
static void group_names(struct resolver_run *x)
{
	x->names = calloc(x->n, sizeof(*x->names));
	x->first = calloc(x->n + 1, sizeof(*x->first));
	check_memory(x->names);
	check_memory(x->first);
	for (size_t i = 0; i < x->n; i++) {
		const struct asked *a = &x->asked[i];

		if (i == 0 || strcmp(a->host, a[-1].host) != 0) {
			x->first[x->n_names] = i;
			x->names[x->n_names++] = (struct resolve_name){ .name = a->host, .group = a->group };
		}
		x->names[x->n_names - 1].families |= a->families;
	}
	x->first[x->n_names] = x->n;
}

static bool possible(const struct resolver_run *x, const struct addr *a)
{
	bool possible = !addr_is_special(a);

	for (size_t i = 0; i < x->n_fake; i++)
		possible = possible && !addr_in(a, &x->fake[i]);
	return possible;
}

/* Of the neighbours with one host, those of one source (proxies behind one server) are told of once. */
static bool is_repeated(const struct asked *first, size_t i)
{
	return i > 0 && first[i].source == first[i - 1].source;
}

static void tell_found(struct resolver_run *x, const struct asked *a, size_t n, const struct addr *addr, uint32_t ttl_s)
{
	for (size_t i = 0; i < n; i++) {
		struct wire_record r = { .type = WIRE_ADDRESS };

		if (is_repeated(a, i))
			continue;
		r.u.address.addr = *addr;
		r.u.address.source = a[i].source;
		r.u.address.host = a[i].hash;
		r.u.address.ttl_s = ttl_s;
		tell_address(x, &r);
	}
}

static void tell_unresolved(const struct asked *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_repeated(a, i))
			emit(&(struct wire_record){ .type = WIRE_UNRESOLVED,
						    .u.unresolved = { a[i].source, a[i].hash } });
}

static void resolved(void *ctx, size_t index, const struct resolve_answer *answer)
{
	struct resolver_run *x = ctx;
	const struct asked *a = &x->asked[x->first[index]];
	size_t n = x->first[index + 1] - x->first[index], told = 0;
	const char *why = answer->why;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < answer->n; i++) {
		if (!possible(x, &answer->addrs[i])) {
			why = "no real address";
			emit_note(&x->notes, true, "%s: the answer %s cannot be a server", a->host,
				  addr_text(&answer->addrs[i], text));
			continue;
		}
		told++;
		tell_found(x, a, n, &answer->addrs[i], answer->ttl_s);
	}
	if (!told) {
		x->sum.unresolved++;
		emit_note(&x->notes, true, "%s: %s", a->host, why);
		tell_unresolved(a, n);
	}
	emit_flush();
}

static void resolve_all(struct resolver_run *x, struct resolver *resolver)
{
	if (x->n == 0)
		return;
	sort_by_use(x);
	group_names(x);
	resolve_names(resolver, &x->plan, x->names, x->n_names, resolved, x);
}

/* The reader tells names when all sources are read: where it failed or something was left out, none was read whole. */
static void tell_sources(const struct resolver_run *x, bool all_told)
{
	for (size_t i = 0; i < x->n_sources; i++)
		emit(&(struct wire_record){ .type = WIRE_SOURCE,
					    .u.source = { x->sources[i].source, all_told && x->sources[i].complete } });
}

static void deinit(struct resolver_run *x)
{
	for (size_t i = 0; i < x->n; i++)
		free(x->asked[i].host);
	free(x->asked);
	free(x->names);
	free(x->first);
}

int extract_resolve(const struct extract_options *o, struct resolver *resolver, struct reader *reader)
{
	struct resolver_run *x = calloc(1, sizeof(*x));
	struct err e = ERR_INIT;
	int r;

	check_memory(x);
	x->options = o;
	x->plan.groups = x->groups;
	x->plan.api = o->api;
	x->plan.deadline_ms = o->deadline_ms;
	x->plan.concurrency = o->concurrency;
	r = hear_reader(x, reader, &e);
	if (r < 0)
		emit_note(&x->notes, true, "%s", e.msg);
	resolve_all(x, resolver);
	tell_sources(x, r == 0 && !x->overflow);
	if (x->notes > HELPER_NOTES_MAX)
		fprintf(stderr, "clashsup-helper: %u more notes\n", x->notes - HELPER_NOTES_MAX);
	if (r == 0)
		emit(&(struct wire_record){ .type = WIRE_SUMMARY, .u.summary = x->sum });
	emit_flush();
	deinit(x);
	free(x);
	return r == 0 ? 0 : 1;
}
