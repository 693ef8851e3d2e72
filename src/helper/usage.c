#include "helper/usage.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/wire.h"
#include "helper/api_request.h"
#include "parse/feed/mihomo_api.h"

#define BODY_MAX ((size_t)4 * 1024 * 1024)
#define HOPS_MAX 32 /* of groups within groups */

struct entry {
	uint32_t name, now; /* hashes; now: of a group, else 0 */
	enum usage_rank rank;
};

struct usage {
	struct entry *entries; /* sorted by name, each once, when all is read */
	size_t n, cap;
	bool no_memory;
};

static void add(struct usage *u, const char *name, const char *now, enum usage_rank rank)
{
	if (u->n == u->cap) {
		size_t cap = u->cap ? u->cap * 2 : 256;
		struct entry *grown = realloc(u->entries, cap * sizeof(*grown));

		if (!grown) {
			u->no_memory = true;
			return;
		}
		u->entries = grown;
		u->cap = cap;
	}
	u->entries[u->n++] = (struct entry){ wire_hash(name), *now ? wire_hash(now) : 0, rank };
}

/* The member of a group gets an entry here: it may be a provider's. */
static void on_proxy(void *ctx, const struct mihomo_proxy *p)
{
	struct usage *u = ctx;

	if (*p->now)
		add(u, p->now, "", USAGE_REST);
	add(u, p->name, p->now, p->works ? USAGE_LATELY : USAGE_REST);
}

static void on_connection(void *ctx, const struct mihomo_connection *c)
{
	add(ctx, c->leaf, "", USAGE_NOW);
}

static int by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->name > y->name) - (x->name < y->name);
}

/* Entries of one name become one: the best rank, and the member if any knows it. */
static void merge(struct usage *u)
{
	size_t kept = 0;

	if (u->n > 0)
		qsort(u->entries, u->n, sizeof(*u->entries), by_name);
	for (size_t i = 0; i < u->n; i++) {
		struct entry *e = &u->entries[i], *last = kept ? &u->entries[kept - 1] : NULL;

		if (!last || last->name != e->name) {
			u->entries[kept++] = *e;
			continue;
		}
		if (e->rank < last->rank)
			last->rank = e->rank;
		if (!last->now)
			last->now = e->now;
	}
	u->n = kept;
}

static struct entry *find(const struct usage *u, uint32_t name)
{
	const struct entry key = { .name = name };

	return u && u->n > 0 ? bsearch(&key, u->entries, u->n, sizeof(key), by_name) : NULL;
}

/* From every group to the proxy that it leads to; a circle leads nowhere. */
static void follow_groups(struct usage *u)
{
	for (size_t i = 0; i < u->n; i++) {
		struct entry *e = &u->entries[i];

		if (!e->now)
			continue;
		for (int hops = 0; e && e->now && hops < HOPS_MAX; hops++)
			e = find(u, e->now);
		if (e && !e->now)
			e->rank = USAGE_NOW;
	}
}

static const struct question {
	const char *path;
	bool connections;
} questions[] = {
	{ "/group", false }, { "/connections", true }, { "/proxies", false }, { "/providers/proxies", false }
};

#define QUESTIONS (sizeof(questions) / sizeof(questions[0]))

static void read_answers(struct usage *u, CURLM *multi, const struct api_request *requests)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(multi, &left))) {
		struct api_request *r = api_request_of(m->easy_handle);

		if (!api_request_good(r, m->data.result))
			continue;
		if (questions[r - requests].connections)
			mihomo_connections(r->body, r->len, on_connection, u);
		else
			mihomo_proxies(r->body, r->len, on_proxy, u);
		api_request_drop(r);
	}
}

/* Each has the time that is left; what came until then counts. */
static int ask_all(struct usage *u, CURLM *multi, struct api_request *requests, const char *socket, int64_t wait_ms)
{
	int running = 0;

	for (size_t i = 0; i < QUESTIONS; i++)
		if (api_request_init(&requests[i], socket, BODY_MAX, wait_ms) < 0 ||
		    api_request_path(&requests[i], questions[i].path) < 0 ||
		    curl_multi_add_handle(multi, requests[i].easy) != CURLM_OK)
			return -ENOMEM;
	do {
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			return -ENOMEM;
		read_answers(u, multi, requests);
	} while (running > 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) == CURLM_OK);
	return u->no_memory ? -ENOMEM : 0;
}

static int ask(struct usage *u, const char *socket, int64_t wait_ms)
{
	struct api_request requests[QUESTIONS] = { 0 };
	CURLM *multi = curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK ? curl_multi_init() : NULL;
	int r = multi ? ask_all(u, multi, requests, socket, wait_ms) : -ENOMEM;

	for (size_t i = 0; i < QUESTIONS; i++) {
		if (multi && requests[i].easy)
			curl_multi_remove_handle(multi, requests[i].easy);
		api_request_free(&requests[i]);
	}
	curl_multi_cleanup(multi);
	curl_global_cleanup();
	return r;
}

int usage_load(const char *api_socket, int64_t wait_ms, struct usage **out, struct err *e)
{
	struct usage *u = calloc(1, sizeof(*u));
	int r = u ? 0 : -ENOMEM;

	*out = NULL;
	if (u && api_socket && wait_ms > 0)
		r = ask(u, api_socket, wait_ms < USAGE_WAIT_MS ? wait_ms : USAGE_WAIT_MS);
	if (r < 0) {
		usage_free(u);
		return err_sys(e, -r, "cannot ask which proxies are in use");
	}
	merge(u);
	follow_groups(u);
	*out = u;
	return 0;
}

void usage_free(struct usage *u)
{
	if (u)
		free(u->entries);
	free(u);
}

enum usage_rank usage_rank(const struct usage *u, uint32_t name)
{
	const struct entry *e = find(u, name);

	return e ? e->rank : USAGE_REST;
}
