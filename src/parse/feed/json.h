/*
 * json: an object as Go's encoding/json reads it into a map: keys exactly as
 * written, the last of equal ones counts. cJSON builds the tree; what it takes
 * and Go does not (leading zeros, raw controls, a BOM, "\uZZZZ", 1e400) is refused
 * first, what Go takes and it does not (half a surrogate pair) becomes U+FFFD, a NUL \1. Pure.
 */
#ifndef FEED_JSON_H
#define FEED_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX ((size_t)64 * 1024) /* bytes: far more than a share link holds */

/*
 * `text` has a NUL behind `len` and is changed. `whole`: only blanks may follow the
 * object; else anything. 0, -EINVAL, or -ENOMEM. To be freed by cJSON_Delete.
 */
int json_object(char *text, size_t len, bool whole, cJSON **out);

/* NULL when it is absent, or `object` is NULL or no object. */
const cJSON *json_get(const cJSON *object, const char *key);

/* A number without its fraction; -1 for what no port can be, or is no number. */
int64_t json_cut(const cJSON *number);

/* Of a text; NULL for anything else. */
const char *json_get_text(const cJSON *object, const char *key);

#endif
