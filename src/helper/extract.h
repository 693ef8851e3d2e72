/*
 * extract: the addresses of all servers that Mihomo may dial, by two processes:
 *
 *	files -> reader (no network) -- records --> resolver (opens no file) -- records --> supervisor
 *
 * The reader tells literals as their files are read, and the names that are left;
 * the resolver passes on, resolves, and tells at the end how each source was read.
 */
#ifndef HELPER_EXTRACT_H
#define HELPER_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXTRACT_SOURCES_MAX 4096

struct reader;
struct resolver;

struct extract_options {
	const char *config, *home, *stray_dir; /* stray_dir: NULL = none */
	const char *original;		       /* what `config` is a copy of, NULL = itself */
	const char *resolver;		       /* auto, system, mihomo, or name servers */
	const char *api;		       /* Mihomo's API socket, NULL = none */
	size_t max_file;
	bool literals; /* names are told as fresh, none is resolved */
	bool fresh;    /* standard input has pairs (source, host), 4 + 4 bytes, whose answers are good yet */
	int64_t deadline_ms, name_timeout_ms; /* deadline: of resolve_now_ms */
	unsigned concurrency;
};

/* Exit statuses. Both write records to standard output. */
int extract_read(const struct extract_options *o);
int extract_resolve(const struct extract_options *o, struct resolver *resolver, struct reader *reader);

#endif
