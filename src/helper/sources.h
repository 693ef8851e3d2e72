/*
 * sources: the files that name proxy servers (Mihomo's config, its providers'
 * files, stray files in the provider directory) to endpoints, file by file.
 */
#ifndef HELPER_SOURCES_H
#define HELPER_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helper/extract.h"
#include "parse/feed/doc.h"
#include "parse/feed/endpoint.h"
#include "parse/feed/mihomo_yaml.h"

enum source_read {
	SOURCE_WHOLE,	/* what it names is all that Mihomo takes from it */
	SOURCE_PARTLY,	/* Mihomo may go on with what it named before */
	SOURCE_REFUSED, /* nothing of it counts */
};

struct sources {
	const char *config, *home;
	const char *stray_dir; /* NULL = none */
	const char *original;  /* what `config` is a copy of: named in its place, and no stray file. NULL = itself */
	size_t max_file;

	/* One endpoint of the source that is being read. */
	void (*found)(void *ctx, const struct endpoint *ep);
	/* Something of it could not be used; line 0 = unknown. */
	void (*skipped)(void *ctx, const char *path, uint32_t line, const char *reason);
	/* A sentence, of a fault if `warn`. */
	void (*note)(void *ctx, bool warn, const char *text);
	/* The source that was read is done. */
	void (*end)(void *ctx, enum source_read how);
	void *ctx;

	/* of the source that is being read; a file that two providers read differently is two sources */
	const char *path;
	uint32_t id; /* on the wire */

	/* private */
	struct {
		uint32_t path, id;
	} seen[EXTRACT_SOURCES_MAX];
	size_t n_seen;
	bool overflow;
	const struct mihomo_provider *provider; /* whose settings count, NULL = nobody's */
	bool any_found, any_skipped;		/* of path */
};

/* Reads all; *config_out is the config's tree (the caller frees it), NULL when it could not be read. */
void sources_read(struct sources *s, struct doc **config_out);

#endif
