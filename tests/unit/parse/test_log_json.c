/* log_json: whatever a line holds, it is one object on one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "parse/log_json.h"

static char out[LOG_ROOM];

/* What a reader of the line takes for the message; freed with the next call. */
static const char *message_of(enum log_level level, const char *area, const char *text, size_t len)
{
	static cJSON *line;
	size_t n = log_json(out, level, area, text, len);

	assert_true(n > 1 && n < sizeof(out));
	assert_ptr_equal(memchr(out, '\n', n), out + n - 1);
	cJSON_Delete(line);
	line = cJSON_ParseWithLength(out, n);
	assert_non_null(line);
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, "msg"));
}

static void a_line_of_ours_and_one_of_mihomos(void **state)
{
	(void)state;
	assert_string_equal(message_of(LOG_LEVEL_WARN, LOG_MONITOR, "a \"b\" \\", 7), "a \"b\" \\");
	assert_non_null(
		strstr(out, "\",\"level\":\"warn\",\"area\":\"clash-monitor\",\"msg\":\"a \\\"b\\\" \\\\\"}\n"));
	assert_memory_equal(out, "{\"time\":\"20", 11);
	assert_string_equal(message_of(LOG_LEVEL_DEBUG, NULL, "x", 1), "x");
	assert_non_null(strstr(out, "\"level\":\"debug\",\"area\":\"mihomo\""));
}

static void what_is_no_text_becomes_a_question_mark(void **state)
{
	(void)state;
	assert_string_equal(message_of(LOG_LEVEL_INFO, NULL, "a\0b\x01\x7f\xff\xc3(\t\xc3\xa9", 11), "a?b???"
												     "?(\t\xc3\xa9");
	assert_string_equal(message_of(LOG_LEVEL_INFO, NULL, "\xe2\x82", 2), "??");
	assert_string_equal(message_of(LOG_LEVEL_INFO, NULL, "", 0), "");
	for (unsigned c = 0; c < 256; c++) {
		char byte = (char)c;

		assert_int_equal(strlen(message_of(LOG_LEVEL_INFO, NULL, &byte, 1)), 1);
	}
}

static void the_longest_line_that_quotes_the_most_is_whole(void **state)
{
	static char quotes[2 * LOG_PASS_MAX];
	(void)state;

	memset(quotes, '"', sizeof(quotes));
	assert_int_equal(strlen(message_of(LOG_LEVEL_ERROR, LOG_PROXY_IPS, quotes, LOG_PASS_MAX)), LOG_PASS_MAX);
	assert_int_equal(strlen(message_of(LOG_LEVEL_ERROR, LOG_PROXY_IPS, quotes, sizeof(quotes))), LOG_PASS_MAX);
}

static void *no_memory(size_t n)
{
	(void)n;
	return NULL;
}

static void without_memory_there_is_none(void **state)
{
	cJSON_Hooks hooks = { .malloc_fn = no_memory };
	(void)state;

	cJSON_InitHooks(&hooks);
	assert_int_equal(log_json(out, LOG_LEVEL_INFO, LOG_CLASH, "x", 1), 0);
	cJSON_InitHooks(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_of_ours_and_one_of_mihomos),
		cmocka_unit_test(what_is_no_text_becomes_a_question_mark),
		cmocka_unit_test(the_longest_line_that_quotes_the_most_is_whole),
		cmocka_unit_test(without_memory_there_is_none),
	};

	return cmocka_run_group_tests_name("log_json", tests, NULL, NULL);
}
