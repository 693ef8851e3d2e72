/*
 * log_json: a line of the log as one JSON object, for log_set_format:
 *
 *	{"time":"2026-01-02T03:04:05.678Z","level":"warn","area":"clash","msg":"sentence"}
 *
 * The area of another program's line is "mihomo". What is no UTF-8, and control characters but tabs, are written as
 *'?'.
 */
#ifndef PARSE_LOG_JSON_H
#define PARSE_LOG_JSON_H

#include "clashsup/log.h"

size_t log_json(char *out, enum log_level level, const char *area, const char *text, size_t len);

#endif
