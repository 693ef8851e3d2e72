#include "helper/api_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
	struct api_request *r = ctx;
	size_t more = size * n;

	if (more > r->max - r->len)
		return CURL_WRITEFUNC_ERROR;
	if (more > r->cap - r->len) {
		size_t cap = (r->len + more) * 2;
		char *grown = realloc(r->body, cap);

		if (!grown)
			return CURL_WRITEFUNC_ERROR;
		r->body = grown;
		r->cap = cap;
	}
	if (more > 0)
		memcpy(r->body + r->len, data, more);
	r->len += more;
	return more;
}

int api_request_init(struct api_request *r, const char *socket, size_t max, int64_t timeout_ms)
{
	r->max = max;
	r->easy = curl_easy_init();
	if (!r->easy || curl_easy_setopt(r->easy, CURLOPT_UNIX_SOCKET_PATH, socket) != CURLE_OK ||
	    curl_easy_setopt(r->easy, CURLOPT_NOPROXY, "*") != CURLE_OK)
		return -ENOMEM;
	curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	return 0;
}

void api_request_free(struct api_request *r)
{
	curl_easy_cleanup(r->easy);
	r->easy = NULL;
	api_request_drop(r);
}

void api_request_drop(struct api_request *r)
{
	free(r->body);
	r->body = NULL;
	r->len = r->cap = 0;
}

int api_request_path(struct api_request *r, const char *path)
{
	char *url = NULL;
	CURLcode code;

	r->len = 0;
	if (asprintf(&url, "http://localhost%s", path) < 0)
		return -ENOMEM;
	code = curl_easy_setopt(r->easy, CURLOPT_URL, url);
	free(url);
	return code == CURLE_OK ? 0 : -ENOMEM;
}

bool api_request_good(const struct api_request *r, CURLcode result)
{
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	return result == CURLE_OK && status == 200;
}

struct api_request *api_request_of(CURL *easy)
{
	struct api_request *r = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&r);
	return r;
}
