#include "helper/resolve.h"

#include <stdlib.h>
#include <time.h>

int64_t resolve_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct resolve_lookup *resolve_begin(struct resolve_batch *b)
{
	struct resolve_lookup *l;

	if (b->next == b->n || b->in_flight >= b->plan->concurrency || resolve_now_ms() >= b->plan->deadline_ms)
		return NULL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->batch = b;
	l->index = b->next++;
	l->name = b->names[l->index].name;
	l->ttl_s = UINT32_MAX;
	l->pending = (unsigned)resolve_wants(l, IP_V4) + resolve_wants(l, IP_V6);
	b->in_flight++;
	return l;
}

bool resolve_wants(const struct resolve_lookup *l, enum ip_family f)
{
	return (l->batch->names[l->index].families >> f & 1) && (f == IP_V4 || l->batch->plan->ipv6);
}

void resolve_add(struct resolve_lookup *l, const struct addr *a, uint32_t ttl_s)
{
	if (ttl_s < l->ttl_s)
		l->ttl_s = ttl_s;
	for (size_t i = 0; i < l->n; i++)
		if (addr_cmp(&l->addrs[i], a) == 0)
			return;
	if (l->n < RESOLVE_ADDRS_MAX)
		l->addrs[l->n++] = *a;
}

void resolve_end(struct resolve_lookup *l, const char *why)
{
	struct resolve_batch *b = l->batch;

	if (why)
		l->why = why;
	if (--l->pending > 0)
		return;
	b->in_flight--;
	b->done(b->ctx, l->index,
		&(struct resolve_answer){ l->addrs, l->n, l->n ? l->ttl_s : 0, l->why ? l->why : "no address" });
	free(l);
}

int resolve_wait_ms(const struct resolve_batch *b, int64_t ms)
{
	int64_t left = b->plan->deadline_ms - resolve_now_ms();

	if (ms < 0 || ms > left)
		ms = left;
	return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

int resolve_names(const struct resolve_plan *plan, const struct resolve_name *names, size_t n, resolve_done_fn done,
		  void *ctx, struct err *e)
{
	struct resolve_batch b = { .plan = plan, .names = names, .n = n, .done = done, .ctx = ctx };
	int r = 0;

	if (n > 0)
		r = plan->how == RESOLVE_API ? resolve_by_api(&b, e) : resolve_by_dns(&b, e);
	for (; b.next < n; b.next++)
		done(ctx, b.next, &(struct resolve_answer){ .why = r < 0 ? "no resolver" : "the time is up" });
	return r;
}
