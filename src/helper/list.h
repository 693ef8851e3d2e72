/*
 * list: `clashsup extract`'s own: files to endpoints, for people or as parts of
 * JSON (version 1), and to the hosts that a resolver is told of.
 */
#ifndef HELPER_LIST_H
#define HELPER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "helper/targets.h"

#define LIST_SOURCE 1 /* on the wire: all files are one */

/* A text that grows. */
struct text {
	FILE *to;
	char *bytes;
	size_t len;
};

struct mihomo_provider;

struct list {
	bool json, resolve;
	FILE *out;
	const char *file;			/* that is being read */
	const struct mihomo_provider *provider; /* whose settings count, NULL = nobody's */
	struct text found;			/* endpoints of the present document */
	struct text skipped;
	size_t n_skipped; /* of the present file */
	struct targets targets;
	struct doc
		*config; /* the first file that says how names are resolved, NULL = none; to be freed by the caller */
	bool any;	 /* an endpoint was printed */
	bool unread;	 /* a file could not be read at all */
};

void text_begin(struct text *t);
void text_end(struct text *t); /* then `bytes` and `len` are good, to be freed by the caller */

/* Without the last comma. */
void text_print(FILE *out, const struct text *t, bool json);

/* Reads all, prints to `out`, and keeps the hosts. -1 when it could not be written. */
int list_files(struct list *l, char **files);

#endif
