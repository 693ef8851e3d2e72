/*
 * api_request: one question to Mihomo's API over its UNIX socket, by libcurl.
 * The answer's body is kept, up to a hard maximum that ends the transfer. Whoever
 * uses it drives the handle, alone or within a multi handle.
 */
#ifndef HELPER_API_REQUEST_H
#define HELPER_API_REQUEST_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_request {
	CURL *easy; /* its CURLOPT_PRIVATE is this request */
	char *body; /* no NUL behind it */
	size_t len, cap, max;
};

/* A zeroed request, which api_request_free may always follow. 0 or -ENOMEM. */
int api_request_init(struct api_request *r, const char *socket, size_t max, int64_t timeout_ms);
void api_request_free(struct api_request *r);

/* What is asked for next: GET of a path that begins with '/'; the old body is gone. 0 or -ENOMEM. */
int api_request_path(struct api_request *r, const char *path);

/* Gives the body's memory back. */
void api_request_drop(struct api_request *r);

/* After the transfer: HTTP 200, and its body is whole. */
bool api_request_good(const struct api_request *r, CURLcode result);

/* The request that a handle belongs to. */
struct api_request *api_request_of(CURL *easy);

#endif
