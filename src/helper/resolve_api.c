/*
 * Asking Mihomo itself, over its API's socket: GET /dns/query answers from its
 * main resolver and never with fake addresses (Mihomo 1.19.30: hub/route/dns.go).
 */
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper/resolve.h"

#define ANSWER_MAX (64 * 1024)

struct question {
	struct resolve_lookup *lookup;
	size_t used;
	char body[ANSWER_MAX];
};

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
	struct question *q = ctx;
	size_t len = size * n;

	if (len > sizeof(q->body) - q->used)
		return 0;
	memcpy(q->body + q->used, data, len);
	q->used += len;
	return len;
}

/* Both kinds of record may be in the answer, behind the names it went through. */
static const char *read_answer(struct question *q)
{
	cJSON *json = cJSON_ParseWithLength(q->body, q->used);
	const cJSON *record;
	const char *why = json ? NULL : "Mihomo's answer is not JSON";

	cJSON_ArrayForEach(record, cJSON_GetObjectItemCaseSensitive(json, "Answer"))
	{
		const char *data = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "data"));
		struct addr a;

		const cJSON *ttl = cJSON_GetObjectItemCaseSensitive(record, "TTL");

		if (data && addr_parse(data, &a) == 0)
			resolve_add(q->lookup, &a,
				    cJSON_IsNumber(ttl) && ttl->valueint > 0 ? (uint32_t)ttl->valueint : 0);
	}
	cJSON_Delete(json);
	return why;
}

static CURL *new_request(const struct resolve_plan *plan, struct question *q, const char *type)
{
	CURL *easy = curl_easy_init();
	char *name = easy ? curl_easy_escape(easy, q->lookup->name, 0) : NULL;
	char url[1024];

	if (!name) {
		curl_easy_cleanup(easy);
		return NULL;
	}
	snprintf(url, sizeof(url), "http://localhost/dns/query?name=%s&type=%s", name, type);
	curl_free(name);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, plan->api);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)plan->name_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, q);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, q);
	return easy;
}

static void ask(CURLM *multi, struct resolve_lookup *l, const char *type)
{
	struct question *q = malloc(sizeof(*q));
	CURL *easy = NULL;

	if (q) {
		q->lookup = l;
		q->used = 0;
		easy = new_request(l->batch->plan, q, type);
	}
	if (easy && curl_multi_add_handle(multi, easy) == CURLM_OK)
		return;
	curl_easy_cleanup(easy);
	free(q);
	resolve_end(l, "out of memory");
}

static void finish_one(CURLM *multi, CURL *easy, CURLcode result)
{
	struct question *q;
	const char *why;
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&q);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (result == CURLE_OPERATION_TIMEDOUT)
		why = "no answer in time";
	else if (result != CURLE_OK)
		why = "Mihomo's API did not answer";
	else
		why = status == 200 ? read_answer(q) : "Mihomo could not resolve it";
	resolve_end(q->lookup, why);
	curl_multi_remove_handle(multi, easy);
	curl_easy_cleanup(easy);
	free(q);
}

static void finish(CURLM *multi)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(multi, &left)))
		finish_one(multi, m->easy_handle, m->data.result);
}

/* What is pending at the deadline ends by its own time-out, which is short. */
static int run(struct resolve_batch *b, CURLM *multi)
{
	int running;

	for (;;) {
		struct resolve_lookup *l;

		while ((l = resolve_begin(b))) {
			bool v4 = resolve_wants(l, IP_V4), v6 = resolve_wants(l, IP_V6);

			if (v4)
				ask(multi, l, "A");
			if (v6)
				ask(multi, l, "AAAA");
		}
		if (b->in_flight == 0)
			return 0;
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			return -EIO;
		finish(multi);
		if (running > 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
			return -EIO;
	}
}

int resolve_by_api(struct resolve_batch *b, struct err *e)
{
	CURLM *multi = curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK ? curl_multi_init() : NULL;
	int r = multi ? run(b, multi) : -ENOMEM;

	curl_multi_cleanup(multi);
	curl_global_cleanup();
	return r < 0 ? err_sys(e, -r, "cannot ask Mihomo's API") : 0;
}
