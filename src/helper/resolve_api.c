/*
 * Asking Mihomo itself, over its API's socket: GET /dns/query answers from its
 * main resolver and never with fake addresses (Mihomo 1.19.30: hub/route/dns.go).
 */
#include <arpa/nameser.h>
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "helper/resolve_lookup.h"

#define ANSWER_MAX (64 * 1024)

struct request {
	struct asked asked;
	CURL *easy;
	LIST_ENTRY(request) link;
	size_t used;
	char body[ANSWER_MAX];
};

struct resolver_api {
	CURLM *multi;
	LIST_HEAD(, request) pending;
};

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
	struct request *q = ctx;
	size_t len = size * n;

	if (len > sizeof(q->body) - q->used)
		return 0;
	memcpy(q->body + q->used, data, len);
	q->used += len;
	return len;
}

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
	cJSON *json = cJSON_ParseWithLength(q->body, q->used);
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

static CURL *new_request(struct request *q, const char *socket, long timeout_ms)
{
	CURL *easy = curl_easy_init();
	char *name = easy ? curl_easy_escape(easy, q->asked.question->name, 0) : NULL;
	char url[1024];

	if (!name) {
		curl_easy_cleanup(easy);
		return NULL;
	}
	snprintf(url, sizeof(url), "http://localhost/dns/query?name=%s&type=%s", name,
		 q->asked.question->family == IP_V4 ? "A" : "AAAA");
	curl_free(name);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms > 0 ? timeout_ms : 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, q);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, q);
	return easy;
}

void resolver_api_ask(struct resolver_api *a, const char *socket, struct lookup *l, struct question *q)
{
	struct request *new = malloc(sizeof(*new));
	struct asked lost;

	asked_begin(new ? &new->asked : &lost, l, q, RESOLVE_API);
	if (new) {
		lost = new->asked;
		new->used = 0;
		new->easy = new_request(new, socket, (long)(l->end_ms - resolve_now_ms()));
		if (new->easy && curl_multi_add_handle(a->multi, new->easy) == CURLM_OK) {
			LIST_INSERT_HEAD(&a->pending, new, link);
			return;
		}
		curl_easy_cleanup(new->easy);
		free(new);
	}
	asked_end(&lost, OUT_FAILED, "out of memory");
}

static void finish(struct resolver_api *a, struct request *q, CURLcode result)
{
	long status = 0;

	curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
	if (result == CURLE_OK && status == 200)
		read_answer(q);
	else if (result == CURLE_OK)
		asked_end(&q->asked, OUT_FAILED, "Mihomo could not resolve it");
	else if (result == CURLE_OPERATION_TIMEDOUT)
		asked_end(&q->asked, OUT_NONE, "no answer in time");
	else
		asked_end(&q->asked, OUT_UNREACHABLE, "Mihomo's API did not answer");
	curl_multi_remove_handle(a->multi, q->easy);
	curl_easy_cleanup(q->easy);
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
		struct request *q;

		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&q);
		finish(a, q, m->data.result);
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
	while (!LIST_EMPTY(&a->pending))
		finish(a, LIST_FIRST(&a->pending), CURLE_OPERATION_TIMEDOUT);
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
