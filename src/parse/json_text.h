/*
 * json_text: bytes that may come from files and other programs, made fit for
 * a JSON string: what is not UTF-8 (RFC 3629) becomes '?', and so do control
 * characters. Cut at JSON_TEXT_MAX.
 */
#ifndef PARSE_JSON_TEXT_H
#define PARSE_JSON_TEXT_H

#include <stddef.h>

#define JSON_TEXT_MAX 1024

/* The length of the UTF-8 sequence (RFC 3629) at `text`, 0 when there is none. */
size_t utf8_length(const char *text);

/* Returns `buf`, which has JSON_TEXT_MAX bytes. */
const char *json_text(const char *text, char *buf);

#endif
