/*
 * resolve: many names to addresses, A and AAAA side by side, a bounded number at
 * a time, each within its own time and all before one deadline. Opens no file.
 *
 * A name with letters beyond ASCII is asked for as it is, which is what Mihomo
 * does, and in its ASCII form (IDNA 2008) too.
 */
#ifndef HELPER_RESOLVE_H
#define HELPER_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/err.h"
#include "parse/feed/mihomo_dns.h"

#define RESOLVE_ADDRS_MAX 64 /* of one name; more are left out */
#define RESOLVE_CONCURRENCY_MAX 1024

struct resolver;

/*
 * Before the program confines itself, since c-ares reads /dev/urandom. A name has
 * `name_timeout_ms` for all its questions and their repetitions. NULL with *e set.
 */
struct resolver *resolve_open(int64_t name_timeout_ms, struct err *e);
void resolve_close(struct resolver *r); /* NULL-safe */

struct resolve_plan {
	const struct dns_group *groups;
	size_t n_groups;
	const char *api;      /* path of Mihomo's API socket (GET /dns/query), NULL = there is none */
	bool ipv6;	      /* ask for AAAA too */
	int64_t deadline_ms;  /* of resolve_now_ms */
	unsigned concurrency; /* names at a time */
};

struct resolve_name {
	const char *name;
	uint8_t families; /* to ask for: 1u << enum ip_family each */
	uint8_t group;	  /* of the plan */
};

struct resolve_answer {
	const struct addr *addrs; /* as they came: impossible ones too */
	size_t n;
	uint32_t ttl_s;	 /* the least of the answers' records, names on the way included */
	const char *why; /* there are none, when n is 0; a static text */
};

/* Called once for each name. */
typedef void (*resolve_done_fn)(void *ctx, size_t index, const struct resolve_answer *answer);

int64_t resolve_now_ms(void); /* CLOCK_MONOTONIC */

/* Each name is told of, whatever happens. */
void resolve_names(struct resolver *r, const struct resolve_plan *plan, const struct resolve_name *names, size_t n,
		   resolve_done_fn done, void *ctx);

#endif
