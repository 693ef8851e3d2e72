/* bytes: numbers, big endian, and addresses in records and files of ours. */
#ifndef PARSE_BYTES_H
#define PARSE_BYTES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clashsup/addr.h"

#define BYTES_ADDR_MAX 17 /* family 1, address 4 or 16 */

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* These return the end of what they wrote. */
static inline uint8_t *put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static inline uint8_t *put32(uint8_t *p, uint32_t v)
{
	return put16(put16(p, (uint16_t)(v >> 16)), (uint16_t)v);
}

static inline uint8_t *put_addr(uint8_t *p, const struct addr *a)
{
	*p++ = a->family;
	memcpy(p, a->bytes, addr_len(a));
	return p + addr_len(a);
}

/* How many of the `len` bytes are the address; -EPROTO. An address has one form only. */
static inline int get_addr(const uint8_t *p, size_t len, struct addr *out)
{
	unsigned n = len > 0 && p[0] == IP_V4 ? 4 : 16;

	if (len < 1 + n || p[0] >= IP_FAMILIES || addr_from_bytes(p + 1, n, out) < 0 || out->family != p[0])
		return -EPROTO;
	return (int)(1 + n);
}

#endif
