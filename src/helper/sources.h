/*
 * sources: the files that name proxy servers (Mihomo's config, its providers'
 * files, stray files in the provider directory) to endpoints, file by file.
 */
#ifndef HELPER_SOURCES_H
#define HELPER_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parse/feed/doc.h"
#include "parse/feed/endpoint.h"

#define SOURCES_MAX 512

struct sources {
	const char *config, *home;
	const char *stray_dir; /* NULL = none */
	size_t max_file;

	/* One endpoint of the source that is being read. */
	void (*found)(void *ctx, const struct endpoint *ep);
	/* Something of it could not be used; line 0 = unknown. */
	void (*skipped)(void *ctx, const char *path, uint32_t line, const char *reason);
	/* A source is done; complete = read to its end. `why` (or NULL) is a sentence, of a fault if `warn`. */
	void (*end)(void *ctx, const char *path, bool complete, bool warn, const char *why);
	void *ctx;

	/* private */
	uint32_t seen[SOURCES_MAX];
	size_t n_seen;
	const char *path;
	bool any_found; /* of path */
};

/* Reads all; *config_out is the config's tree (the caller frees it), NULL when it could not be read. */
void sources_read(struct sources *s, struct doc **config_out);

#endif
