/*
 * Any bytes as the file of the last good addresses: as they are, and with a
 * checksum that is right, since a fuzzer does not guess one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/lastgood.h"
#include "clashsup/wire.h"
#include "parse/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void entry(void *ctx, const struct lastgood_entry *e)
{
	if (addr_is_special(&e->addr) || lastgood_put(ctx, e) < 0)
		abort();
}

/* A file that is taken is the one that its entries make. */
static void decode(const uint8_t *bytes, size_t len)
{
	struct lastgood again = { 0 };
	struct err e = ERR_INIT;

	if (lastgood_decode(bytes, len, entry, &again, &e) < 0) {
		if (again.count || !e.msg[0])
			abort();
		return;
	}
	if (lastgood_finish(&again) < 0 || again.len != len || memcmp(again.bytes, bytes, len) != 0)
		abort();
	lastgood_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	decode(data, size);
	if (size < 4)
		return 0;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	put32(copy + size - 4, wire_hash_more(WIRE_HASH_START, copy, size - 4));
	decode(copy, size);
	free(copy);
	return 0;
}
