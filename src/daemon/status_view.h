/*
 * status_view: the answer of `status` for people. Pure: JSON in, text out.
 */
#ifndef DAEMON_STATUS_VIEW_H
#define DAEMON_STATUS_VIEW_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * `status` is the object that report_json makes (a member that is missing or
 * of another type is shown as unknown); `mono_now_ms` is CLOCK_MONOTONIC, for
 * the ages. Control characters in its texts are not passed on.
 */
void status_view(const cJSON *status, bool colour, int64_t mono_now_ms, FILE *out);

#endif
