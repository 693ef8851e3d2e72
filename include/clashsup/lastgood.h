/*
 * lastgood: the file of the last good addresses: what the ledger knew, for the
 * next start. Pure: bytes in and out.
 *
 *	"clashsup addresses 1\n"
 *	entries   family 1, address 4 or 16, source 4, host 4, seen 4
 *	count 4, checksum 4 (FNV-1a, 32 bits, of all before it)
 *
 * Numbers are big endian; `seen` is in seconds since 1970. The file is refused
 * whole when anything in it is wrong: it is remembered, not needed.
 */
#ifndef CLASHSUP_LASTGOOD_H
#define CLASHSUP_LASTGOOD_H

#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/ledger.h"

#define LASTGOOD_HEAD "clashsup addresses "
#define LASTGOOD_VERSION "1\n"
#define LASTGOOD_ENTRY_MAX 29
#define LASTGOOD_MAX                                                                                                   \
	(sizeof(LASTGOOD_HEAD LASTGOOD_VERSION) - 1 + (size_t)LEDGER_MAX * LASTGOOD_ENTRY_MAX + 8) /* bytes */

struct lastgood_entry {
	struct addr addr;
	uint32_t source, host; /* as the ledger has them */
	uint32_t seen_s;
};

/* A file that is being made; all 0 at first. */
struct lastgood {
	uint8_t *bytes; /* the caller's to take, or lastgood_free */
	size_t len, cap;
	uint32_t count, sum;
};

/* One entry more. 0, -ENOMEM, or -ENOSPC when there are LEDGER_MAX; then the file is as before. */
int lastgood_put(struct lastgood *f, const struct lastgood_entry *entry);

/* The file is whole now. 0 or -ENOMEM. */
int lastgood_finish(struct lastgood *f);

void lastgood_free(struct lastgood *f);

typedef void (*lastgood_fn)(void *ctx, const struct lastgood_entry *entry);

/* 0, or -EINVAL and why, and then `each` was not called. NULL for `each` only checks. */
int lastgood_decode(const void *bytes, size_t len, lastgood_fn each, void *ctx, struct err *e);

#endif
