/*
 * base64: texts as Go's encoding/base64 reads them (RFC 4648, 4 and 5): CR and LF
 * are passed over, the bits behind the last byte may be anything, each other stray
 * byte is a fault. nettle alone would take blanks and insist on zero bits. What
 * comes out is text: a NUL becomes \1, which is as wrong, but ends nothing. Pure.
 */
#ifndef FEED_BASE64_H
#define FEED_BASE64_H

#include <stdbool.h>
#include <stddef.h>

enum base64_how {
	BASE64_STD = 0,	   /* '+' and '/', no padding */
	BASE64_URL = 1,	   /* '-' and '_' */
	BASE64_PADDED = 2, /* '=' up to a multiple of four */
};

/* Bytes that hold what `len` letters give, and a NUL. */
#define BASE64_BUFFER(len) ((len) / 4 * 3 + 3)

/*
 * `out` has BASE64_BUFFER(len) bytes, or is `text` itself; a NUL is put behind.
 * -EINVAL for a fault: what stood before it, in groups of four, has been read.
 */
int base64_read(const char *text, size_t len, unsigned how, char *out, size_t *len_out);

/* Standard letters, without padding or else with it: what Mihomo means by base64. `out` is not `text`. */
int base64_read_std(const char *text, size_t len, char *out, size_t *len_out);

/* Nothing but the standard letters, '=', CR and LF, and at least one of them. */
bool base64_letters(const char *text, size_t len);

#endif
