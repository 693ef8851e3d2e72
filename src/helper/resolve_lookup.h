/*
 * resolve_lookup: what resolve.c shares with its two ways of asking. Both only
 * send and note results; resolve.c decides when a name is done.
 */
#ifndef HELPER_RESOLVE_LOOKUP_H
#define HELPER_RESOLVE_LOOKUP_H

#include <poll.h>

#include "helper/resolve.h"

#define QUESTIONS_MAX 4		    /* two forms of a name, A and AAAA each */
#define RESOLVE_API DNS_SERVERS_MAX /* its number among the servers */

/* In the order of how much is known. */
enum outcome { OUT_NONE, OUT_UNREACHABLE, OUT_FAILED, OUT_NO_NAME, OUT_NO_ADDRESS, OUT_FOUND };

struct question {
	const char *name;
	enum ip_family family;
	uint16_t wanted, sent, done; /* servers: 1u << number each */
	uint8_t failures[DNS_SERVERS_MAX + 1];
	enum outcome outcome; /* the best of its servers */
	const char *why;
};

struct lookup {
	struct resolver *resolver;
	const struct dns_group *group;
	size_t index;
	unsigned refs;		  /* questions on their way, and the batch while the look-up is not over */
	int64_t begun_ms, end_ms; /* of resolve_now_ms */
	int64_t answered_ms;	  /* since when each question has an answer, 0 = not yet */
	int64_t retry_ms, pause_ms;
	char *ascii; /* the name's other form, or NULL */
	struct question questions[QUESTIONS_MAX];
	size_t n_questions;
	struct addr addrs[RESOLVE_ADDRS_MAX];
	size_t n;
	uint32_t ttl_s;
};

struct resolver_dns;
struct resolver_api;

struct resolver {
	int64_t name_timeout_ms;
	struct resolver_dns *dns;
	struct resolver_api *api;
	bool spoken;   /* somebody has answered a question */
	bool api_down; /* it could not be reached: the servers are asked */
};

/* A question that is on its way, and what became of it. */
struct asked {
	struct lookup *lookup;
	struct question *question;
	unsigned server;
};

void asked_begin(struct asked *a, struct lookup *l, struct question *q, unsigned server);
void asked_addr(const struct asked *a, const struct addr *addr);
void asked_ttl(const struct asked *a, uint32_t ttl_s);
/* `why` is a static text. The look-up may be gone afterwards. */
void asked_end(const struct asked *a, enum outcome outcome, const char *why);

/* ---- name servers, by c-ares ---- */

#define DNS_FDS_MAX 64

struct resolver_dns *resolver_dns_open(int64_t timeout_ms, struct err *e);
void resolver_dns_close(struct resolver_dns *d);
void resolver_dns_ask(struct resolver_dns *d, struct lookup *l, struct question *q, unsigned server);
/* What to wait for; lowers *wait_ms. How many. */
unsigned resolver_dns_fds(struct resolver_dns *d, struct pollfd fds[DNS_FDS_MAX], int64_t *wait_ms);
void resolver_dns_process(struct resolver_dns *d, const struct pollfd *fds, unsigned n);
void resolver_dns_cancel(struct resolver_dns *d);

/* ---- Mihomo's API, by libcurl ---- */

struct resolver_api *resolver_api_open(struct err *e);
void resolver_api_close(struct resolver_api *a);
void resolver_api_ask(struct resolver_api *a, const char *socket, struct lookup *l, struct question *q);
bool resolver_api_busy(const struct resolver_api *a);
/* Waits for the API and for fds (of which it says nothing); then notes what the API said. */
void resolver_api_turn(struct resolver_api *a, const struct pollfd *fds, unsigned n, int wait_ms);
void resolver_api_cancel(struct resolver_api *a);

#endif
