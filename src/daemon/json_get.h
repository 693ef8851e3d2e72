/* json_get: single members of a cJSON object that may be missing or of another type. NULL for the object is fine. */
#ifndef DAEMON_JSON_GET_H
#define DAEMON_JSON_GET_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* "" for what is no text. */
static inline const char *json_get_text(const cJSON *o, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));

	return text ? text : "";
}

/* `fallback` for what is no number, or none that a double holds exactly. */
static inline int64_t json_get_number(const cJSON *o, const char *name, int64_t fallback)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);

	if (!cJSON_IsNumber(n) || !(n->valuedouble > -9e15 && n->valuedouble < 9e15))
		return fallback;
	return (int64_t)n->valuedouble;
}

static inline bool json_get_true(const cJSON *o, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, name));
}

#endif
