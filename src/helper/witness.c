#include "helper/witness.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "helper/helper.h"
#include "parse/feed/mihomo_api.h"

#define FIRST_MS 2000
#define EVERY_MS 5000
#define SHARE 200 /* of the time is its own: one part */
#define BODY_MAX ((size_t)4 * 1024 * 1024)
#define BODY_SMALL ((size_t)256 * 1024) /* beyond, memory is given back */
#define BYTES_A_MS ((size_t)128 * 1024) /* are judged, about */
#define TELL_AGAIN_MS (10 * 60 * 1000)
#define LEAF_KNOWN_MS (60 * 1000)

/* ---- what was told ---- */

static uint32_t set_of(const struct addr *a)
{
	uint32_t h = 2166136261u;

	for (unsigned i = 0; i < addr_len(a); i++)
		h = (h ^ a->bytes[i]) * 16777619u;
	return h % WITNESS_SETS;
}

static bool told_lately(const struct witness *w, const struct addr *a)
{
	uint32_t set = set_of(a);

	for (size_t i = 0; i < WITNESS_WAYS; i++)
		if (w->told[set][i].until_ms > w->now_ms && addr_cmp(&w->told[set][i].addr, a) == 0)
			return true;
	return false;
}

/* The one that was told longest ago makes room. */
static void tell(struct witness *w, const struct addr *a)
{
	uint32_t set = set_of(a);
	size_t oldest = 0;

	if (told_lately(w, a))
		return;
	for (size_t i = 1; i < WITNESS_WAYS; i++)
		if (w->told[set][i].until_ms < w->told[set][oldest].until_ms)
			oldest = i;
	w->told[set][oldest].addr = *a;
	w->told[set][oldest].until_ms = w->now_ms + TELL_AGAIN_MS;
	emit(&(struct wire_record){ .type = WIRE_DIALLED, .u.dialled = *a });
}

/* ---- the proxies at the end of chains ---- */

static void free_leaf(struct witness_leaf *l)
{
	free(l->provider);
	free(l->name);
}

/* Only between two looks: their places are remembered during one. */
static void forget_leaves(struct witness *w)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->n_leaves; i++) {
		if (w->leaves[i].kind == LEAF_UNKNOWN || w->leaves[i].until_ms <= w->now_ms)
			free_leaf(&w->leaves[i]);
		else
			w->leaves[kept++] = w->leaves[i];
	}
	w->n_leaves = kept;
}

/* NULL: no room for another one before the next look. */
static struct witness_leaf *leaf_of(struct witness *w, const struct mihomo_connection *c)
{
	struct witness_leaf *l;

	for (l = w->leaves; l < w->leaves + w->n_leaves; l++)
		if (strcmp(l->name, c->leaf) == 0 && strcmp(l->provider, c->provider) == 0)
			return l;
	if (w->n_leaves == WITNESS_LEAVES)
		return NULL;
	*l = (struct witness_leaf){ .provider = strdup(c->provider), .name = strdup(c->leaf) };
	if (l->provider && l->name) {
		w->n_leaves++;
		return l;
	}
	free_leaf(l);
	return NULL;
}

static void keep_seen(struct witness_leaf *l, const struct addr *a)
{
	for (size_t i = 0; i < l->n_seen; i++)
		if (addr_cmp(&l->seen[i], a) == 0)
			return;
	if (l->n_seen < WITNESS_SEEN)
		l->seen[l->n_seen++] = *a;
}

static void on_connection(void *ctx, const struct mihomo_connection *c)
{
	struct witness *w = ctx;
	struct witness_leaf *l;
	struct addr peer;

	if (!mihomo_peer(c, &peer) || told_lately(w, &peer))
		return;
	l = leaf_of(w, c);
	if (l && l->kind == LEAF_NAMES_SERVER)
		tell(w, &peer);
	else if (l && l->kind == LEAF_UNKNOWN)
		keep_seen(l, &peer);
}

static void on_proxy(void *ctx, const struct mihomo_proxy *p)
{
	struct witness_leaf *l = ((struct witness *)ctx)->asked;

	if (strcmp(p->name, l->name) == 0 && strcmp(p->provider, l->provider) == 0 && mihomo_names_server(p))
		l->kind = LEAF_NAMES_SERVER;
}

static void judge_asked(struct witness *w)
{
	struct witness_leaf *l = w->asked;

	l->kind = LEAF_OTHER;
	l->until_ms = w->now_ms + LEAF_KNOWN_MS;
	if (w->answer_good)
		mihomo_proxies(w->request.body, w->request.len, on_proxy, w);
	for (size_t i = 0; i < l->n_seen && l->kind == LEAF_NAMES_SERVER; i++)
		tell(w, &l->seen[i]);
}

/* ---- one look ---- */

static void end_look(struct witness *w)
{
	int64_t pause_ms = w->cost_us * SHARE / 1000;

	if (w->request.cap > BODY_SMALL) {
		api_request_drop(&w->request);
		malloc_trim(0);
	}
	w->state = WITNESS_WAITS;
	w->next_ms = w->now_ms + (pause_ms > EVERY_MS ? pause_ms : EVERY_MS);
}

static void ask(struct witness *w, struct witness_leaf *leaf, const char *path)
{
	w->asked = leaf;
	if (path && api_request_path(&w->request, path) == 0 &&
	    curl_multi_add_handle(w->multi, w->request.easy) == CURLM_OK)
		w->state = WITNESS_ASKS;
	else
		end_look(w);
}

static void ask_for(struct witness *w, struct witness_leaf *leaf)
{
	char *provider = curl_easy_escape(w->request.easy, leaf->provider, 0);
	char *name = curl_easy_escape(w->request.easy, leaf->name, 0);
	char *path = NULL;

	if (!provider || !name ||
	    asprintf(&path, *provider ? "/providers/proxies/%s/%s" : "%s/proxies/%s", provider, name) < 0)
		path = NULL;
	ask(w, leaf, path);
	free(path);
	curl_free(name);
	curl_free(provider);
}

static void ask_next(struct witness *w)
{
	for (size_t i = 0; i < w->n_leaves; i++) {
		if (w->leaves[i].kind == LEAF_UNKNOWN) {
			ask_for(w, &w->leaves[i]);
			return;
		}
	}
	end_look(w);
}

static void look(struct witness *w)
{
	w->cost_us = 0;
	forget_leaves(w);
	ask(w, NULL, "/connections");
}

static int64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void judge(struct witness *w)
{
	int64_t began = cpu_us();

	if (w->asked)
		judge_asked(w);
	else if (w->answer_good)
		mihomo_connections(w->request.body, w->request.len, on_connection, w);
	w->cost_us += cpu_us() - began;
	ask_next(w);
}

int witness_init(struct witness *w, CURLM *multi, const char *socket, int64_t timeout_ms, int64_t now_ms)
{
	w->multi = multi;
	w->next_ms = now_ms + FIRST_MS;
	if (api_request_init(&w->request, socket, BODY_MAX, timeout_ms) < 0)
		return -ENOMEM;
	curl_easy_setopt(w->request.easy, CURLOPT_FORBID_REUSE, 1L); /* nothing stays open in between */
	return 0;
}

static void forget(struct witness *w)
{
	if (w->state == WITNESS_ASKS)
		curl_multi_remove_handle(w->multi, w->request.easy);
	w->state = WITNESS_WAITS;
	for (size_t i = 0; i < w->n_leaves; i++)
		free_leaf(&w->leaves[i]);
	w->n_leaves = 0;
}

void witness_deinit(struct witness *w)
{
	forget(w);
	api_request_free(&w->request);
}

void witness_anew(struct witness *w, int64_t now_ms)
{
	forget(w);
	memset(w->told, 0, sizeof(w->told));
	w->next_ms = now_ms + FIRST_MS;
}

void witness_turn(struct witness *w, int64_t now_ms, int64_t free_ms)
{
	w->now_ms = now_ms;
	if (w->state == WITNESS_ANSWERED && !w->answered)
		end_look(w);
	else if (w->state == WITNESS_ANSWERED && free_ms > (int64_t)(w->request.len / BYTES_A_MS))
		judge(w);
	else if (w->state == WITNESS_WAITS && now_ms >= w->next_ms && free_ms > 0)
		look(w);
}

int64_t witness_next_ms(const struct witness *w)
{
	return w->state == WITNESS_WAITS ? w->next_ms : INT64_MAX;
}

/* The time of an answer that did not come is not its cost. */
void witness_answer(struct witness *w, CURLcode result)
{
	curl_off_t took_us = 0;

	curl_multi_remove_handle(w->multi, w->request.easy);
	curl_easy_getinfo(w->request.easy, CURLINFO_TOTAL_TIME_T, &took_us);
	if (result == CURLE_OK || result == CURLE_WRITE_ERROR)
		w->cost_us += took_us;
	if (result == CURLE_WRITE_ERROR && !w->told_of_size) {
		unsigned one = 0;

		w->told_of_size = true;
		emit_note(&one, true, "Mihomo's list of connections is too long to look at");
	}
	w->answered = result == CURLE_OK;
	w->answer_good = api_request_good(&w->request, result);
	w->state = WITNESS_ANSWERED;
}
