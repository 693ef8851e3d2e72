/*
 * resolve: many names to addresses, A and AAAA side by side, a bounded number at
 * a time, each within its own time and all before one deadline.
 */
#ifndef HELPER_RESOLVE_H
#define HELPER_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/err.h"
#include "parse/feed/mihomo_yaml.h"

#define RESOLVE_ADDRS_MAX 64 /* of one name; more are left out */

enum resolve_how {
	RESOLVE_SYSTEM,	 /* the servers of resolv.conf */
	RESOLVE_SERVERS, /* those named in the plan */
	RESOLVE_API,	 /* Mihomo: GET /dns/query */
};

struct resolve_plan {
	enum resolve_how how;
	struct mihomo_dns_server servers[MIHOMO_SERVERS_MAX];
	size_t n_servers;
	const char *api; /* path of Mihomo's API socket */
	bool ipv6;	 /* ask for AAAA too */
	int64_t name_timeout_ms;
	int64_t deadline_ms; /* of resolve_now_ms */
	unsigned concurrency;
};

struct resolve_name {
	const char *name;
	uint8_t families; /* to ask for: 1u << enum ip_family each */
};

struct resolve_answer {
	const struct addr *addrs;
	size_t n;
	uint32_t ttl_s;	 /* the least of the answer's records */
	const char *why; /* there are none, when n is 0 */
};

/* Called once for each name. */
typedef void (*resolve_done_fn)(void *ctx, size_t index, const struct resolve_answer *answer);

int64_t resolve_now_ms(void); /* CLOCK_MONOTONIC */

/* Fails only when nothing could be asked at all; the names that are left are told first. */
int resolve_names(const struct resolve_plan *plan, const struct resolve_name *names, size_t n, resolve_done_fn done,
		  void *ctx, struct err *e);

/* ---- between resolve.c and its two ways of asking ---- */

struct resolve_batch {
	const struct resolve_plan *plan;
	const struct resolve_name *names;
	size_t n, next;
	unsigned in_flight;
	resolve_done_fn done;
	void *ctx;
};

struct resolve_lookup {
	struct resolve_batch *batch;
	size_t index;
	const char *name;
	unsigned pending; /* questions without an answer */
	struct addr addrs[RESOLVE_ADDRS_MAX];
	size_t n;
	uint32_t ttl_s;
	const char *why; /* of the last failure; static text */
};

/* The next name, with a question pending for each family to ask for; NULL when none may begin now. */
struct resolve_lookup *resolve_begin(struct resolve_batch *b);
void resolve_add(struct resolve_lookup *l, const struct addr *a, uint32_t ttl_s);
bool resolve_wants(const struct resolve_lookup *l, enum ip_family f);
/* One question was answered (why is NULL) or failed; the last one reports and frees. */
void resolve_end(struct resolve_lookup *l, const char *why);
/* Milliseconds to the deadline, at most `ms` (< 0 = no other bound). */
int resolve_wait_ms(const struct resolve_batch *b, int64_t ms);

int resolve_by_dns(struct resolve_batch *b, struct err *e);
int resolve_by_api(struct resolve_batch *b, struct err *e);

#endif
