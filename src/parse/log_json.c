#include "parse/log_json.h"

#include <cjson/cJSON.h>
#include <string.h>
#include <time.h>

#include "clashsup/report.h"
#include "parse/json_text.h"

static const char *const level_names[] = { "debug", "info", "warn", "error" };

/* So that quoting at most doubles it. */
static void clean(char *text)
{
	while (*text) {
		size_t len = utf8_length(text);

		if (len == 0 || ((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f) {
			*text++ = '?';
			continue;
		}
		text += len;
	}
}

static int64_t wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

size_t log_json(char *out, enum log_level level, const char *area, const char *text, size_t len)
{
	char msg[LOG_PASS_MAX + 1], time[REPORT_TIME_TEXT];
	cJSON *line = cJSON_CreateObject();
	bool whole;

	len = len < LOG_PASS_MAX ? len : LOG_PASS_MAX;
	memcpy(msg, text, len);
	msg[len] = '\0';
	for (char *nul = msg; (nul = memchr(nul, '\0', len - (size_t)(nul - msg)));)
		*nul = '?';
	clean(msg);
	whole = cJSON_AddStringToObject(line, "time", report_wall(wall_ms(), time) ? time : "") &&
		cJSON_AddStringToObject(line, "level", level_names[level]) &&
		cJSON_AddStringToObject(line, "area", area ? area : "mihomo") &&
		cJSON_AddStringToObject(line, "msg", msg) && cJSON_PrintPreallocated(line, out, LOG_ROOM - 1, false);
	cJSON_Delete(line);
	if (!whole)
		return 0;
	len = strlen(out);
	out[len++] = '\n';
	return len;
}
