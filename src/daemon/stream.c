#include "daemon/stream.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "parse/json_text.h"

#define PART_LINES 64

/* What is not UTF-8 would be no JSON. */
static char *as_utf8(const char *text)
{
	char *clean = strdup(text);

	for (char *at = clean; at && *at;) {
		size_t len = utf8_length(at);

		if (!len)
			*at = '?';
		at += len ? len : 1;
	}
	return clean;
}

static bool put_line(FILE *out, const char *member, uint64_t number, const char *text)
{
	cleanup_free char *clean = member ? as_utf8(text) : NULL, *quoted = NULL;
	cJSON *item;

	if (!member)
		return fprintf(out, "%s\n", text) > 0;
	item = clean ? cJSON_CreateStringReference(clean) : NULL;
	quoted = item ? cJSON_PrintUnformatted(item) : NULL;
	cJSON_Delete(item);
	return quoted && fprintf(out, "{\"seq\":%" PRIu64 ",\"%s\":%s}\n", number, member, quoted) > 0;
}

static bool put_lines(FILE *out, const struct ring *r, const char *member, uint64_t *at)
{
	if (*at < r->first) {
		fprintf(out, "{\"lost\":%" PRIu64 "}\n", r->first - *at);
		*at = r->first;
	}
	for (int n = 0; n < PART_LINES && *at < r->next; n++, (*at)++) {
		const char *text = ring_get(r, *at);

		if (text && !put_line(out, member, *at, text))
			return false;
	}
	return true;
}

/* The cursor is the next line's number and one, since 0 is the beginning. The last part gets its newline from ctl. */
char *stream_answer(const struct ring *r, const char *member, const struct ctl_request *request, size_t *cursor)
{
	uint64_t at = *cursor ? *cursor - 1 : ring_latest(r, request->count);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	bool good;

	if (!out)
		return NULL;
	if (!*cursor)
		fprintf(out, "{\"version\":%d,\"ok\":true}\n", CTL_VERSION);
	good = put_lines(out, r, member, &at) && !ferror(out);
	*cursor = request->follow || at < r->next ? (size_t)at + 1 : 0;
	if (fclose(out) == 0 && good) {
		if (!*cursor && len)
			text[len - 1] = '\0';
		return text;
	}
	free(text);
	return NULL;
}
