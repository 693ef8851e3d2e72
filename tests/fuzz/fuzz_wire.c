/* Any bytes as records of a helper, in pieces of any size: what comes out encodes to what went in, or all ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint32_t caps[WIRE_TYPES] = { 0, 100, 100, 100, 100, 100, 100, 2, 100, 100, 3 };

static bool is_text(enum wire_type type)
{
	return type == WIRE_SETTING || type == WIRE_NAME || type == WIRE_NOTE;
}

/* Texts are cleaned on the way in, so that only their length is kept. */
static void check(const struct wire_record *r, const uint8_t *from, size_t len)
{
	uint8_t again[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	int n = wire_encode(r, again);

	if (r->type == 0 || r->type >= WIRE_TYPES || n < WIRE_HEADER || (size_t)n != len ||
	    (!is_text(r->type) && memcmp(again, from, len) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size > 0 ? data[0] % 64 + 1u : 1, at = size > 0, begun = at;
	struct wire_record r;
	struct wire_in in;
	int n = 0;

	wire_in_init(&in, caps);
	while (at < size && n >= 0) {
		const uint8_t *from = data + at;
		size_t len = piece < size - at ? piece : size - at;

		while ((n = wire_next(&in, &from, &len, &r)) > 0) {
			check(&r, data + begun, (size_t)(from - data) - begun);
			begun = (size_t)(from - data);
		}
		at = (size_t)(from - data) + len;
	}
	return 0;
}
