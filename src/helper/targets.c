#include "helper/targets.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper/helper.h"

#define HOSTS_TTL_S 86400 /* files are read again when they change, and by the clock */
#define HOST_ADDRS_MAX 64

static bool grow(struct targets *t)
{
	size_t cap = t->cap ? t->cap * 2 : 256;

	if (t->n < t->cap)
		return true;
	if (cap > TARGETS_MAX)
		return false;
	t->list = reallocarray(t->list, cap, sizeof(*t->list));
	check_memory(t->list);
	t->cap = cap;
	return true;
}

static char *copy(const char *text)
{
	char *new = strdup(text);

	check_memory(new);
	return new;
}

bool targets_add(struct targets *t, const struct endpoint *ep, uint32_t source)
{
	struct target new = { .source = source, .families = ep->families };

	if (!grow(t))
		return false;
	if (addr_parse(ep->host, &new.addr) < 0) {
		new.host = copy(ep->host);
		new.proxy = wire_hash(ep->name);
		for (char *c = new.host; *c; c++) /* names that differ in this alone are one */
			*c = (char)tolower((unsigned char)*c);
	}
	if (ep->dialer[0])
		new.dialer = copy(ep->dialer);
	t->list[t->n++] = new;
	return true;
}

void targets_judge(struct targets *t, const struct dialers *d, bool counts)
{
	size_t to = t->first;

	for (size_t i = to; i < t->n; i++) {
		struct target *one = &t->list[i];
		bool stays = counts && (!one->dialer || dialers_direct(d, one->dialer));

		free(one->dialer);
		one->dialer = NULL;
		if (stays)
			t->list[to++] = *one;
		else
			free(one->host);
	}
	t->n = to;
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

/* Each once: what is named twice is dialled in the families of either. How many are left. */
static size_t unite(struct target *targets, size_t n)
{
	struct target *to = targets;

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

static void tell_address(const struct target *t, const struct addr *a, uint32_t ttl_s)
{
	struct wire_record r = { .type = WIRE_ADDRESS };

	r.u.address.addr = *a;
	r.u.address.source = t->source;
	r.u.address.host = t->host ? wire_hash(t->host) : 0;
	r.u.address.ttl_s = ttl_s;
	emit(&r);
}

static void tell_literal(const struct target *t, const struct name_rules *r, targets_note_fn note, void *ctx)
{
	const struct addr *a = &t->addr;
	char addr[ADDR_TEXT], text[128];

	if (addr_is_special(a) || (r->dns.has_fake[a->family] && addr_in(a, &r->dns.fake[a->family]))) {
		snprintf(text, sizeof(text), "%s cannot be a server", addr_text(a, addr));
		note(ctx, text);
	} else if (a->family == IP_V6 && !r->dns.ipv6) {
		snprintf(text, sizeof(text), "%s is not dialled: ipv6 is off", addr_text(a, addr));
		note(ctx, text);
	} else if (t->families >> a->family & 1) {
		tell_address(t, a, 0);
	}
}

void targets_tell_literals(struct targets *t, const struct name_rules *r, targets_note_fn note, void *ctx)
{
	struct target *from;
	size_t n, literals = 0;

	if (t->n == t->first)
		return;
	from = t->list + t->first;
	n = unite(from, t->n - t->first);
	for (; literals < n && !from[literals].host; literals++)
		tell_literal(&from[literals], r, note, ctx);
	n -= literals;
	memmove(from, from + literals, n * sizeof(*from));
	t->n = t->first += n;
}

/* The targets of one name. A name is fresh when it is so for all sources that name it. */
static void tell_name(const struct target *t, size_t n, const struct name_rules *rules, targets_fresh_fn is_fresh,
		      void *ctx)
{
	uint8_t group = dns_plan_group(&rules->plan, t->host);
	bool fresh = is_fresh != NULL;

	for (size_t i = 0; i < n && fresh; i++)
		fresh = is_fresh(ctx, &t[i]);
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
static bool told_by_hosts(const struct target *t, const struct name_rules *r)
{
	uint8_t families = r->dns.ipv6 ? t->families : t->families & 1u << IP_V4;
	struct addr addrs[HOST_ADDRS_MAX];
	int found = hosts_find(r->hosts, t->host, families, addrs, HOST_ADDRS_MAX);

	for (int i = 0; i < found; i++)
		if (!addr_is_special(&addrs[i]))
			tell_address(t, &addrs[i], HOSTS_TTL_S);
	return found >= 0;
}

uint32_t targets_tell_names(struct targets *t, const struct name_rules *r, targets_fresh_fn fresh, void *ctx)
{
	uint32_t names = 0;

	if (t->n > 0)
		qsort(t->list, t->n, sizeof(*t->list), by_host);
	for (size_t i = 0, next; i < t->n; i = next) {
		struct target *first = &t->list[i];
		size_t left = 0;

		for (next = i; next < t->n && strcmp(first->host, t->list[next].host) == 0; next++) {
			const struct target one = t->list[next];

			if (told_by_hosts(&one, r))
				continue;
			t->list[next] = first[left]; /* to be asked for come first */
			first[left++] = one;
		}
		names++;
		tell_name(first, left, r, fresh, ctx);
	}
	return names;
}

void targets_deinit(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->list[i].host);
		free(t->list[i].dialer);
	}
	free(t->list);
}
