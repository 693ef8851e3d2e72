/*
 * scan: strict text to value. No locale, no leading blanks, no trailing bytes:
 * the whole of the NUL-terminated text must match. 0 or -EINVAL / -ERANGE;
 * outputs are untouched on failure.
 */
#ifndef CLASHSUP_SCAN_H
#define CLASHSUP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal, or hexadecimal after 0x. */
int scan_u64(const char *text, uint64_t max, uint64_t *out);

/* "250ms", "2s", "5m", "24h"; a bare number is refused. At most INT64_MAX/2 ms. */
int scan_duration(const char *text, int64_t *ms_out);

/* "65536", "64K", "64M": bytes. */
int scan_size(const char *text, uint64_t max, uint64_t *out);

/* A file's name that ends in .yaml or .yml and does not begin with a dot. */
bool scan_yaml_name(const char *name);

/* "TERM", "SIGTERM" (any case), "RTMIN+2", "15": 1 to 64, or -EINVAL. */
int scan_signal(const char *text);

/* yes, no, true, false, on, off. */
int scan_bool(const char *text, bool *out);

#endif
