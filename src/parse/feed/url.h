/*
 * url: the part of Go's net/url (1.26) that decides which share links Mihomo
 * reads and what they say. Texts are taken apart and decoded where they lie.
 * A decoded NUL becomes \1, so that texts end where they end. Pure.
 */
#ifndef FEED_URL_H
#define FEED_URL_H

#include <stdbool.h>
#include <stddef.h>

/* All decoded but `query`; "" = none. They point into the text that was parsed. */
struct url {
	char *user;
	bool has_password; /* even an empty one: there was a ':' */
	char *authority;   /* host, or host:port, brackets kept */
	char *query;
	char *fragment;
};

/*
 * `text` is what follows "scheme://". NULL, or why Go refuses it (a static text).
 * A host may hold colons, with http and https too: Mihomo's go.mod says Go 1.20,
 * which switches the stricter rule of Go 1.26 off.
 */
const char *url_parse(struct url *u, char *text);

/* Parts an authority in place: brackets off the host; "" = no port. A port is digits only, of any number. */
void url_split(char *authority, const char **host, const char **port);

struct url_param {
	const char *key, *value;
};

struct url_query {
	struct url_param *params; /* in their order; to be freed */
	size_t n;
	bool malformed; /* some were left out */
};

#define URL_PARAMS_MAX 10000 /* with more of them, none is there */

/* 0 or -ENOMEM. */
int url_query(struct url_query *q, char *query);

/* The first value of a key, "" without one. */
const char *url_get(const struct url_query *q, const char *key);

/* The next value of a key from *at on, which starts at 0; NULL = no more. */
const char *url_next(const struct url_query *q, size_t *at, const char *key);

#endif
