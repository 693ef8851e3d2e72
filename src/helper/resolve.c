#include "helper/resolve.h"

#include <errno.h>
#include <idn2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "helper/resolve_lookup.h"

/*
 * A name of 5 s is asked for at 0, 250, 560, 950, 1440, 2050, 2800 and 3800 ms as long
 * as a server is silent; whichever answer comes counts. Where a quarter of the packets
 * is lost either way, one question of 700 stays without an answer.
 */
#define FIRST_PAUSE(timeout_ms) ((timeout_ms) / 20)
#define NEXT_PAUSE(pause_ms) ((pause_ms)*5 / 4)
#define FAILURES_MAX 2 /* of a server that says it cannot */
#define DEAF_MAX 128   /* when nobody has said anything to so many names, the rest is given up */
#define GRACE_MS 100   /* for the other servers, when one has answered: at least */

struct batch {
	struct resolver *resolver;
	const struct resolve_plan *plan;
	const struct resolve_name *names;
	size_t n, next;
	resolve_done_fn done;
	void *ctx;
	struct lookup *active[RESOLVE_CONCURRENCY_MAX];
	unsigned n_active;
	size_t n_done;
};

int64_t resolve_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- one question at one server ---- */

static void lookup_unref(struct lookup *l)
{
	if (--l->refs > 0)
		return;
	idn2_free(l->ascii);
	free(l);
}

void asked_begin(struct asked *a, struct lookup *l, struct question *q, unsigned server)
{
	*a = (struct asked){ l, q, server };
	q->sent |= (uint16_t)(1u << server);
	l->refs++;
}

void asked_addr(const struct asked *a, const struct addr *addr)
{
	struct lookup *l = a->lookup;

	for (size_t i = 0; i < l->n; i++)
		if (addr_cmp(&l->addrs[i], addr) == 0)
			return;
	if (l->n < RESOLVE_ADDRS_MAX)
		l->addrs[l->n++] = *addr;
}

void asked_ttl(const struct asked *a, uint32_t ttl_s)
{
	if (ttl_s < a->lookup->ttl_s)
		a->lookup->ttl_s = ttl_s;
}

/* A server that cannot be reached is asked on when somebody has spoken already: it may only have closed its connection.
 */
static bool is_final(const struct asked *a, enum outcome outcome)
{
	if (outcome >= OUT_NO_NAME || a->server == RESOLVE_API)
		return true;
	if (outcome == OUT_UNREACHABLE && a->lookup->resolver->spoken)
		return false;
	return ++a->question->failures[a->server] >= FAILURES_MAX;
}

void asked_end(const struct asked *a, enum outcome outcome, const char *why)
{
	struct resolver *r = a->lookup->resolver;
	struct question *q = a->question;

	r->spoken = r->spoken || outcome >= OUT_FAILED;
	if (is_final(a, outcome))
		q->done |= (uint16_t)(1u << a->server);
	if (outcome > q->outcome || !q->why) {
		q->outcome = outcome;
		q->why = why;
	}
	if (a->server == RESOLVE_API && outcome == OUT_UNREACHABLE)
		r->api_down = true;
	lookup_unref(a->lookup);
}

/* ---- one name ---- */

static uint16_t servers_for(const struct dns_group *g, enum ip_family family)
{
	unsigned wanted = 0;

	for (size_t i = 0; i < g->n; i++)
		if (g->servers[i].families >> family & 1)
			wanted |= 1u << i;
	return (uint16_t)wanted;
}

static void add_questions(struct lookup *l, const char *name, unsigned families)
{
	for (enum ip_family f = IP_V4; f < IP_FAMILIES; f++)
		if (families >> f & 1)
			l->questions[l->n_questions++] = (struct question){ .name = name, .family = f };
}

static bool is_ascii(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text >= 0x80)
			return false;
	return true;
}

static struct lookup *lookup_new(const struct batch *b, size_t index)
{
	const struct resolve_name *n = &b->names[index];
	unsigned families = b->plan->ipv6 ? n->families : n->families & 1u << IP_V4;
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->resolver = b->resolver;
	l->group = &b->plan->groups[n->group < b->plan->n_groups ? n->group : 0];
	l->index = index;
	l->refs = 1;
	l->ttl_s = UINT32_MAX;
	l->begun_ms = resolve_now_ms();
	l->end_ms = l->begun_ms + b->resolver->name_timeout_ms;
	if (l->end_ms > b->plan->deadline_ms)
		l->end_ms = b->plan->deadline_ms;
	l->pause_ms = FIRST_PAUSE(b->resolver->name_timeout_ms) + 1;
	l->retry_ms = l->begun_ms + l->pause_ms;
	add_questions(l, n->name, families);
	if (!is_ascii(n->name) &&
	    idn2_to_ascii_8z(n->name, &l->ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK)
		add_questions(l, l->ascii, families);
	return l;
}

/* The API, or else the servers; after the API where that turned out not to be there. */
static void choose_servers(const struct batch *b, struct lookup *l, struct question *q)
{
	if (l->group->api && b->plan->api && !b->resolver->api_down)
		q->wanted = 1u << RESOLVE_API;
	else
		q->wanted |= servers_for(l->group, q->family);
}

static void send_question(const struct batch *b, struct lookup *l, struct question *q, unsigned servers)
{
	if (servers >> RESOLVE_API & 1)
		resolver_api_ask(b->resolver->api, b->plan->api, l, q);
	for (unsigned i = 0; i < DNS_SERVERS_MAX; i++)
		if (servers >> i & 1)
			resolver_dns_ask(b->resolver->dns, l, q, i);
}

static void send_all(const struct batch *b, struct lookup *l, int64_t now)
{
	bool again = now >= l->retry_ms;

	for (struct question *q = l->questions; q < l->questions + l->n_questions; q++) {
		if (q->outcome < OUT_NO_NAME)
			choose_servers(b, l, q);
		send_question(b, l, q, q->wanted & ~(unsigned)q->sent);
		if (again)
			send_question(b, l, q, q->wanted & q->sent & ~(unsigned)q->done & ~(1u << RESOLVE_API));
	}
	if (again) {
		l->pause_ms = NEXT_PAUSE(l->pause_ms);
		l->retry_ms = now + l->pause_ms;
	}
}

/* Mihomo takes the first answer; when each question has one, the other servers get as long again as that took. */
static int64_t grace_end(const struct lookup *l)
{
	int64_t took = l->answered_ms - l->begun_ms;

	if (l->answered_ms == 0)
		return INT64_MAX;
	return l->answered_ms + (took > GRACE_MS ? took : GRACE_MS);
}

static bool is_done(struct lookup *l, int64_t now)
{
	bool all = true, answered = true;

	for (const struct question *q = l->questions; q < l->questions + l->n_questions; q++) {
		all = all && (q->wanted & ~(unsigned)q->done) == 0;
		answered = answered && (q->outcome >= OUT_NO_NAME || q->wanted == 0);
	}
	if (answered && l->answered_ms == 0)
		l->answered_ms = now;
	return all || now >= l->end_ms || now >= grace_end(l);
}

/* Of a name without an address the question that is known least about tells why. */
static const char *reason(const struct batch *b, const struct lookup *l, int64_t now)
{
	const struct question *least = NULL;

	for (const struct question *q = l->questions; q < l->questions + l->n_questions; q++)
		if (q->wanted && (!least || q->outcome < least->outcome))
			least = q;
	if (now >= b->plan->deadline_ms)
		return "the time is up";
	if (!least)
		return l->n_questions ? "there is no name server to ask" : "IPv6 is off";
	if (least->outcome == OUT_FOUND)
		return "no address";
	return least->why ? least->why : "no answer in time";
}

/* A network that is down is not waited for with every name. */
static bool is_deaf(const struct batch *b)
{
	return !b->resolver->spoken && b->n_done >= DEAF_MAX;
}

static void finish(struct batch *b, struct lookup *l, int64_t now)
{
	b->n_done++;
	b->done(b->ctx, l->index,
		&(struct resolve_answer){ .addrs = l->addrs,
					  .n = l->n,
					  .ttl_s = l->n ? l->ttl_s : 0,
					  .why = l->n ? NULL : reason(b, l, now) });
	lookup_unref(l);
}

/* ---- all of them ---- */

static void begin_some(struct batch *b, int64_t now)
{
	unsigned most = b->plan->concurrency < RESOLVE_CONCURRENCY_MAX ? b->plan->concurrency : RESOLVE_CONCURRENCY_MAX;

	for (; b->next < b->n && b->n_active < (most ? most : 1); b->next++) {
		const char *why = now >= b->plan->deadline_ms ? "the time is up"
				  : is_deaf(b)		      ? "no name server answers"
							      : NULL;
		struct lookup *l = why ? NULL : lookup_new(b, b->next);

		if (l)
			b->active[b->n_active++] = l;
		else
			b->done(b->ctx, b->next, &(struct resolve_answer){ .why = why ? why : "out of memory" });
	}
}

/* What may fail at once does so while it is sent: so this comes before the judgement. */
static void settle(struct batch *b, int64_t now)
{
	for (unsigned i = 0; i < b->n_active;) {
		struct lookup *l = b->active[i];

		send_all(b, l, now);
		if (!is_done(l, now)) {
			i++;
			continue;
		}
		b->active[i] = b->active[--b->n_active];
		finish(b, l, now);
	}
}

static int64_t next_ms(const struct batch *b)
{
	int64_t next = INT64_MAX;

	for (unsigned i = 0; i < b->n_active; i++) {
		const struct lookup *l = b->active[i];

		if (l->retry_ms < next)
			next = l->retry_ms;
		if (l->end_ms < next)
			next = l->end_ms;
		if (grace_end(l) < next)
			next = grace_end(l);
	}
	return next;
}

static void wait_and_read(const struct batch *b)
{
	struct resolver *r = b->resolver;
	int64_t ms = next_ms(b) - resolve_now_ms();
	struct pollfd fds[DNS_FDS_MAX];
	unsigned n = resolver_dns_fds(r->dns, fds, &ms);
	int wait_ms = ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;

	if (resolver_api_busy(r->api)) {
		resolver_api_turn(r->api, fds, n, wait_ms);
		wait_ms = 0; /* it does not tell errors of descriptors that are not its own */
	}
	if (poll(fds, n, wait_ms) < 0)
		n = 0;
	resolver_dns_process(r->dns, fds, n);
}

void resolve_names(struct resolver *r, const struct resolve_plan *plan, const struct resolve_name *names, size_t n,
		   resolve_done_fn done, void *ctx)
{
	struct batch b = { .resolver = r, .plan = plan, .names = names, .n = n, .done = done, .ctx = ctx };

	for (;;) {
		int64_t now = resolve_now_ms();

		begin_some(&b, now);
		settle(&b, now);
		if (b.n_active == 0 && b.next == n)
			break;
		if (b.n_active > 0)
			wait_and_read(&b);
	}
	resolver_dns_cancel(r->dns);
	resolver_api_cancel(r->api);
}

struct resolver *resolve_open(int64_t name_timeout_ms, struct err *e)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r) {
		err_sys(e, ENOMEM, "cannot resolve names");
		return NULL;
	}
	/* c-ares writes into connections that a server has closed. */
	signal(SIGPIPE, SIG_IGN);
	r->name_timeout_ms = name_timeout_ms;
	r->dns = resolver_dns_open(name_timeout_ms, e);
	r->api = r->dns ? resolver_api_open(e) : NULL;
	if (r->api)
		return r;
	resolve_close(r);
	return NULL;
}

void resolve_close(struct resolver *r)
{
	if (!r)
		return;
	resolver_api_close(r->api);
	resolver_dns_close(r->dns);
	free(r);
}
