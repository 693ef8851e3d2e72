#include "daemon/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clashsup/fwplan.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "daemon/clock.h"
#include "daemon/memory.h"

static const uint32_t extract_caps[WIRE_TYPES] = { [WIRE_ADDRESS] = LEDGER_MAX,
						   [WIRE_UNRESOLVED] = LEDGER_MAX,
						   [WIRE_SOURCE] = 4096,
						   [WIRE_SUMMARY] = 1,
						   [WIRE_NOTE] = 64 };

static struct report_time now(void)
{
	return (struct report_time){ clock_wall_ms(), clock_ms() };
}

static size_t known(const struct servers *s)
{
	return ledger_count(s->ledger, IP_V4) + ledger_count(s->ledger, IP_V6);
}

/* ---- the queue to the kernel ---- */

static void queue_start(struct servers *s)
{
	if (ev_is_active(&s->flush))
		return;
	ev_timer_set(&s->flush, 0.0, 0.0);
	ev_timer_start(s->loop, &s->flush);
}

static void queue_clear(struct servers *s)
{
	free(s->queue);
	s->queue = NULL;
	s->queued = s->at = s->cap = 0;
	ev_timer_stop(s->loop, &s->flush);
}

static void queue_put(void *ctx, const struct addr *a, bool enters)
{
	struct servers *s = ctx;

	if (s->queued == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 256;
		struct servers_change *grown = realloc(s->queue, cap * sizeof(*grown));

		if (!grown) {
			log_error(LOG_PROXY_IPS, "out of memory: the set is not true until the next run");
			s->lost = true;
			return;
		}
		s->queue = grown;
		s->cap = cap;
	}
	s->queue[s->queued++] = (struct servers_change){ *a, enters };
	s->changed = true;
	queue_start(s);
}

static void queue_all(struct servers *s)
{
	size_t cursor = 0;

	while (ledger_each(s->ledger, &cursor, queue_put, s))
		;
}

/* Changes of one family out of the `n` that are next. */
static int flush_family(struct servers *s, enum ip_family f, size_t n, struct err *e)
{
	struct addr add[IPSET_BATCH], del[IPSET_BATCH];
	size_t n_add = 0, n_del = 0;
	char name[FWPLAN_SET_TEXT];

	for (size_t i = 0; i < n; i++) {
		const struct servers_change *c = &s->queue[s->at + i];

		if (c->addr.family == f && c->enters)
			add[n_add++] = c->addr;
		else if (c->addr.family == f)
			del[n_del++] = c->addr;
	}
	if (!n_add && !n_del)
		return 0;
	return ipset_change(s->ipset, fwplan_set_name(s->settings->ipset.name, f, name), add, n_add, del, n_del, e);
}

/* How many changes make one batch: within it additions come first, so none may follow a deletion. */
static size_t next_batch(const struct servers *s)
{
	size_t n = 0;

	while (n < IPSET_BATCH && s->at + n < s->queued &&
	       !(n && s->queue[s->at + n].enters && !s->queue[s->at + n - 1].enters))
		n++;
	return n;
}

static void on_flush(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct servers *s = w->data;
	size_t n = next_batch(s);
	struct err e = ERR_INIT;
	(void)loop;
	(void)revents;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (flush_family(s, (enum ip_family)f, n, &e) < 0) {
			log_error(LOG_PROXY_IPS, "cannot update ipset (again with the next run): %s", e.msg);
			s->lost = true;
		}
	}
	s->at += n;
	s->updated = now();
	if (s->at < s->queued) {
		queue_start(s);
		return;
	}
	queue_clear(s);
	memory_give_back();
}

/* ---- a run ---- */

/* This machine's addresses, once a run: they never go into the set. */
static void learn_own(struct servers *s)
{
	struct ifaddrs *list;

	s->n_own = 0;
	if (getifaddrs(&list) < 0)
		return;
	for (const struct ifaddrs *i = list; i && s->n_own < SERVERS_OWN_MAX; i = i->ifa_next) {
		const void *at = i->ifa_addr;

		if (at && i->ifa_addr->sa_family == AF_INET)
			addr_from_bytes(&((const struct sockaddr_in *)at)->sin_addr, 4, &s->own[s->n_own++]);
		else if (at && i->ifa_addr->sa_family == AF_INET6)
			addr_from_bytes(&((const struct sockaddr_in6 *)at)->sin6_addr, 16, &s->own[s->n_own++]);
	}
	freeifaddrs(list);
}

static bool own_address(const struct servers *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n_own; i++) {
		if (addr_cmp(a, &s->own[i]) == 0)
			return true;
	}
	return false;
}

static bool in_fake_range(const struct servers *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n_fake; i++) {
		if (addr_in(a, &s->fake[i]))
			return true;
	}
	return false;
}

static void run_over(struct servers *s);

static void sweep(struct servers *s)
{
	while (ledger_sweep(s->ledger, queue_put, s))
		;
}

/* A record that no honest helper sends: it is ended, and all that its run brought is taken back. */
static void distrust(struct servers *s, const char *what)
{
	log_error(LOG_PROXY_IPS, "the extractor sent %s: ended, the set stays as it is", what);
	snprintf(s->warning, sizeof(s->warning), "the extractor sent %.200s", what);
	helper_abandon(s->helper);
	s->helper = NULL;
	s->refused = true;
	ledger_rollback(s->ledger);
	sweep(s);
	run_over(s);
}

static void take_address(struct servers *s, const struct wire_record *r)
{
	const struct addr *a = &r->u.address.addr;
	uint32_t host = r->u.address.host;
	int64_t now_ms = clock_ms();
	char text[ADDR_TEXT], what[128];
	int n;

	if (addr_is_special(a)) {
		snprintf(what, sizeof(what), "the forbidden address %s", addr_text(a, text));
		distrust(s, what);
		return;
	}
	if (in_fake_range(s, a) || own_address(s, a))
		return;
	n = ledger_add(s->ledger, a, r->u.address.source, host, now_ms,
		       host ? now_ms + r->u.address.ttl_s * INT64_C(1000) : 0);
	if (n == 1)
		queue_put(s, a, true);
	else if (n < 0)
		log_error(LOG_PROXY_IPS, "%s is left out: %s", addr_text(a, text),
			  n == -ENOSPC ? "more addresses than the ledger takes" : "out of memory");
}

static void on_record(void *ctx, const struct wire_record *r)
{
	struct servers *s = ctx;

	if (s->refused)
		return;
	switch (r->type) {
	case WIRE_ADDRESS:
		take_address(s, r);
		break;
	case WIRE_UNRESOLVED:
		ledger_unresolved(s->ledger, r->u.unresolved.source, r->u.unresolved.host);
		break;
	case WIRE_SOURCE:
		ledger_source(s->ledger, r->u.source.source, r->u.source.complete);
		break;
	case WIRE_SUMMARY:
		s->whole = true;
		s->summary = r->u.summary;
		break;
	case WIRE_NOTE:
		log_line(r->u.note.warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, LOG_PROXY_IPS, "%s", r->u.note.text);
		break;
	case WIRE_FRESH:
	case WIRE_NAME:
	case WIRE_SETTING:
	case WIRE_HEALTH:
	case WIRE_DIALLED:
	case WIRE_TYPES:
		break;
	}
}

static void say_result(const struct servers *s)
{
	const char *set = s->settings->ipset.name;
	size_t count = known(s);

	if (s->by_clock) {
		if (!s->changed)
			return;
		log_info(LOG_PROXY_IPS, "Proxy IPs changed, updating ipset (old: %zu, new: %zu)", s->before, count);
		log_info(LOG_PROXY_IPS, "ipset updated successfully");
		return;
	}
	if (!count) {
		log_info(LOG_CLASH, "No proxy IPs found");
		return;
	}
	log_info(LOG_CLASH, "Found %zu unique proxy IPs, updating ipset...", count);
	if (!s->changed)
		log_info(LOG_CLASH, "Proxy IPs unchanged, skipping update");
	else
		log_info(LOG_CLASH, "Updated ipset %s: %zu → %zu IPs", set, s->before, count);
}

/* Behind a run, however it ended. */
static void run_over(struct servers *s)
{
	s->last = now();
	s->duration_ms = s->last.mono_ms - s->began_ms;
	if (s->again && s->on) {
		s->again = false;
		servers_extract(s, false);
	}
}

static void on_end(void *ctx, enum helper_end end, const char *why)
{
	struct servers *s = ctx;

	s->helper = NULL;
	if (end == HELPER_OK && s->whole) {
		ledger_end(s->ledger, true, clock_ms(), s->settings->extract.grace_ms);
		sweep(s);
		s->warning[0] = '\0';
		say_result(s);
	} else {
		log_error(LOG_CLASH, "Failed to update proxy IPs (will retry in monitoring loop): %s", why);
		snprintf(s->warning, sizeof(s->warning), "the last extraction failed: %.200s", why);
		if (end == HELPER_BAD_RECORD)
			ledger_rollback(s->ledger);
		else
			ledger_end(s->ledger, false, clock_ms(), s->settings->extract.grace_ms);
		sweep(s);
	}
	run_over(s);
}

struct arguments {
	char config[PATH_MAX], api[PATH_MAX], timeout[24], name_timeout[24], concurrency[24], max_file[24];
	const char *argv[24];
};

static int build_arguments(const struct servers *s, struct arguments *a, struct err *e)
{
	const struct settings *c = s->settings;
	size_t n = 0;
	int r = io_path(a->config, sizeof(a->config), e, "%s/config.yaml", s->run_dir);

	if (r == 0)
		r = io_path(a->api, sizeof(a->api), e, "%s/api.sock", s->run_dir);
	snprintf(a->timeout, sizeof(a->timeout), "%lld", (long long)c->extract.timeout_ms);
	snprintf(a->name_timeout, sizeof(a->name_timeout), "%lld", (long long)c->extract.name_timeout_ms);
	snprintf(a->concurrency, sizeof(a->concurrency), "%u", c->extract.concurrency);
	snprintf(a->max_file, sizeof(a->max_file), "%llu", (unsigned long long)c->extract.max_file);
	a->argv[n++] = a->config;
	a->argv[n++] = s->home;
	a->argv[n++] = "--api";
	a->argv[n++] = a->api;
	a->argv[n++] = "--timeout";
	a->argv[n++] = a->timeout;
	a->argv[n++] = "--name-timeout";
	a->argv[n++] = a->name_timeout;
	a->argv[n++] = "--concurrency";
	a->argv[n++] = a->concurrency;
	a->argv[n++] = "--max-file";
	a->argv[n++] = a->max_file;
	a->argv[n++] = "--resolver";
	a->argv[n++] = c->extract.resolver;
	a->argv[n++] = "--provider-dir";
	a->argv[n++] = c->extract.provider_dir[0] ? c->extract.provider_dir : s->home;
	a->argv[n] = NULL;
	return r;
}

void servers_extract(struct servers *s, bool by_clock)
{
	static const struct helper_ops ops = { on_record, on_end };
	struct helper_spec spec = { .role = "extract",
				    .exec_fd = s->helper_fd,
				    .path = s->helper_path,
				    .ids = s->ids,
				    .caps = extract_caps,
				    /* its own deadline comes first; this one is for a helper that does not keep it */
				    .deadline_ms = s->settings->extract.timeout_ms + 2000 };
	struct arguments a;
	struct err e = ERR_INIT;

	if (!s->on)
		return;
	if (s->helper) {
		s->again = true;
		return;
	}
	if (by_clock)
		log_info(LOG_PROXY_IPS, "Checking for proxy IP updates...");
	else
		log_info(LOG_CLASH, "Extracting proxy server IPs (async)...");
	if (s->lost) { /* what was known and may be missing; there already is fine */
		s->lost = false;
		queue_all(s);
	}
	s->by_clock = by_clock;
	s->whole = s->changed = s->refused = false;
	s->before = known(s);
	s->began_ms = clock_ms();
	learn_own(s);
	ledger_begin(s->ledger);
	spec.args = a.argv;
	if (build_arguments(s, &a, &e) < 0 || helper_start(&s->helper, s->reaper, &spec, &ops, s, &e) < 0) {
		s->helper = NULL;
		on_end(s, HELPER_FAILED, e.msg);
	}
}

/* ---- on and off ---- */

static void on_periodic(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	servers_extract(w->data, true);
}

void servers_on(struct servers *s)
{
	s->on = true;
	queue_clear(s);
	queue_all(s);
	if (s->queued)
		on_flush(s->loop, &s->flush, 0);
	ev_timer_again(s->loop, &s->periodic);
}

void servers_off(struct servers *s)
{
	s->on = s->again = false;
	helper_abandon(s->helper);
	s->helper = NULL;
	queue_clear(s);
	ev_timer_stop(s->loop, &s->periodic);
}

bool servers_busy(const struct servers *s)
{
	return s->helper || s->queued;
}

void servers_forget(struct servers *s)
{
	servers_off(s);
	ledger_clear(s->ledger);
}

int servers_init(struct servers *s, struct err *e)
{
	uint64_t secret = (uint64_t)clock_ms();

	(void)getrandom(&secret, sizeof(secret), GRND_NONBLOCK); /* early at boot it may have none yet */
	s->ledger = ledger_new(secret);
	if (!s->ledger)
		return err_set(e, ENOMEM, "out of memory");
	ev_timer_init(&s->flush, on_flush, 0.0, 0.0);
	ev_timer_init(&s->periodic, on_periodic, 0.0, (double)s->settings->extract.interval_ms / 1000.0);
	s->flush.data = s->periodic.data = s;
	return 0;
}

void servers_deinit(struct servers *s)
{
	servers_off(s);
	ledger_free(s->ledger);
}
