/*
 * Asking Mihomo itself, over its API's socket: GET /dns/query answers from its
 * main resolver and never with fake addresses (Mihomo 1.19.30: hub/route/dns.go).
 */
#include <arpa/nameser.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "helper/api_request.h"
#include "helper/resolve_lookup.h"

#define ANSWER_MAX ((size_t)64 * 1024)

struct request {
	struct api_request api; /* first: found by it */
	struct asked asked;
	LIST_ENTRY(request) link;
};

struct resolver_api {
	CURLM *multi;
	LIST_HEAD(, request) pending;
};

static int number(const cJSON *object, const char *key)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsNumber(n) ? n->valueint : -1;
}

/* Behind the names it went through. How many addresses. */
static unsigned read_records(const struct request *q, const cJSON *answer)
{
	unsigned n = 0;
	const cJSON *record;

	cJSON_ArrayForEach(record, answer)
	{
		const char *data = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "data"));
		int type = number(record, "type"), ttl = number(record, "TTL");
		struct addr a;

		asked_ttl(&q->asked, ttl > 0 ? (uint32_t)ttl : 0);
		if ((type != ns_t_a && type != ns_t_aaaa) || !data || addr_parse(data, &a) < 0)
			continue;
		asked_addr(&q->asked, &a);
		n++;
	}
	return n;
}

static void read_answer(const struct request *q)
{
	cJSON *json = cJSON_ParseWithLength(q->api.body, q->api.len);
	unsigned n = read_records(q, cJSON_GetObjectItemCaseSensitive(json, "Answer"));

	if (!json)
		asked_end(&q->asked, OUT_FAILED, "Mihomo's answer is not JSON");
	else if (n > 0)
		asked_end(&q->asked, OUT_FOUND, NULL);
	else if (number(json, "Status") == ns_r_nxdomain)
		asked_end(&q->asked, OUT_NO_NAME, "no such name");
	else if (number(json, "Status") > 0)
		asked_end(&q->asked, OUT_FAILED, "Mihomo's name server failed");
	else
		asked_end(&q->asked, OUT_NO_ADDRESS, "no address");
	cJSON_Delete(json);
}

static int prepare(struct request *q, const char *socket, int64_t timeout_ms)
{
	char *name = NULL, path[1024];
	int r = api_request_init(&q->api, socket, ANSWER_MAX, timeout_ms > 0 ? timeout_ms : 1);

	if (r == 0)
		name = curl_easy_escape(q->api.easy, q->asked.question->name, 0);
	if (!name)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/dns/query?name=%s&type=%s", name,
		 q->asked.question->family == IP_V4 ? "A" : "AAAA");
	curl_free(name);
	return api_request_path(&q->api, path);
}

void resolver_api_ask(struct resolver_api *a, const char *socket, struct lookup *l, struct question *q)
{
	struct request *new = calloc(1, sizeof(*new));
	struct asked lost;

	asked_begin(new ? &new->asked : &lost, l, q, RESOLVE_API);
	if (new) {
		lost = new->asked;
		if (prepare(new, socket, l->end_ms - resolve_now_ms()) == 0 &&
		    curl_multi_add_handle(a->multi, new->api.easy) == CURLM_OK) {
			LIST_INSERT_HEAD(&a->pending, new, link);
			return;
		}
		api_request_free(&new->api);
		free(new);
	}
	asked_end(&lost, OUT_FAILED, "out of memory");
}

static void finish(struct resolver_api *a, struct request *q, CURLcode result)
{
	if (api_request_good(&q->api, result))
		read_answer(q);
	else if (result == CURLE_OK)
		asked_end(&q->asked, OUT_FAILED, "Mihomo could not resolve it");
	else if (result == CURLE_OPERATION_TIMEDOUT)
		asked_end(&q->asked, OUT_NONE, "no answer in time");
	else
		asked_end(&q->asked, OUT_UNREACHABLE, "Mihomo's API did not answer");
	curl_multi_remove_handle(a->multi, q->api.easy);
	api_request_free(&q->api);
	LIST_REMOVE(q, link);
	free(q);
}

/* True when one has ended. */
static bool perform(struct resolver_api *a)
{
	bool ended = false;
	CURLMsg *m;
	int left;

	curl_multi_perform(a->multi, &left);
	while ((m = curl_multi_info_read(a->multi, &left))) {
		finish(a, (struct request *)api_request_of(m->easy_handle), m->data.result);
		ended = true;
	}
	return ended;
}

void resolver_api_turn(struct resolver_api *a, const struct pollfd *fds, unsigned n, int wait_ms)
{
	struct curl_waitfd extra[DNS_FDS_MAX];

	for (unsigned i = 0; i < n; i++)
		extra[i] = (struct curl_waitfd){ .fd = fds[i].fd,
						 .events = (short)((fds[i].events & POLLIN ? CURL_WAIT_POLLIN : 0) |
								   (fds[i].events & POLLOUT ? CURL_WAIT_POLLOUT : 0)) };
	if (perform(a))
		return;
	curl_multi_poll(a->multi, extra, n, wait_ms, NULL);
	perform(a);
}

bool resolver_api_busy(const struct resolver_api *a)
{
	return !LIST_EMPTY(&a->pending);
}

void resolver_api_cancel(struct resolver_api *a)
{
	for (struct request *q = LIST_FIRST(&a->pending), *next; q; q = next) {
		next = LIST_NEXT(q, link);
		finish(a, q, CURLE_OPERATION_TIMEDOUT);
	}
}

struct resolver_api *resolver_api_open(struct err *e)
{
	struct resolver_api *a = calloc(1, sizeof(*a));

	if (a && curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK) {
		a->multi = curl_multi_init();
		if (a->multi)
			return a;
		curl_global_cleanup();
	}
	free(a);
	err_sys(e, ENOMEM, "cannot ask Mihomo's API");
	return NULL;
}

void resolver_api_close(struct resolver_api *a)
{
	if (!a)
		return;
	curl_multi_cleanup(a->multi);
	curl_global_cleanup();
	free(a);
}
