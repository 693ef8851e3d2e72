/*
 * usage: which proxies Mihomo uses, by name, as its API tells: what a run may
 * look at first. A guess that costs little, never a condition.
 */
#ifndef HELPER_USAGE_H
#define HELPER_USAGE_H

#include <stdint.h>

#include "clashsup/err.h"

#define USAGE_WAIT_MS 500

enum usage_rank {
	USAGE_NOW,    /* a group leads to it, or a connection goes through it */
	USAGE_LATELY, /* it was tested and answered */
	USAGE_REST,
};

struct usage;

/*
 * Asks the API, for wait_ms and never longer than USAGE_WAIT_MS. One that answers
 * nothing, or none (NULL), makes all USAGE_REST. -ENOMEM: *out is NULL, which
 * usage_rank and usage_free take.
 */
int usage_load(const char *api_socket, int64_t wait_ms, struct usage **out, struct err *e);
void usage_free(struct usage *u);

/* Of a proxy by this name (wire_hash of it), whichever source has it. */
enum usage_rank usage_rank(const struct usage *u, uint32_t name);

#endif
