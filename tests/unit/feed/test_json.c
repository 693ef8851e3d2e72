/* json: objects as Go's encoding/json reads them, on top of cJSON, and Go's numbers; the rows were tried with Go. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/json.h"
#include "parse/feed/number.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The value of "a" as compact JSON, "" = not there, "!" = refused. */
static void value_of_a(const char *text, bool whole, char out[256])
{
	char *copy = strdup(text), *printed;
	cJSON *root;

	assert_non_null(copy);
	strcpy(out, "!");
	if (json_object(copy, strlen(copy), whole, &root) == 0) {
		const cJSON *a = json_get(root, "a");

		printed = a ? cJSON_PrintUnformatted(a) : NULL;
		strcpy(out, printed ? printed : "");
		cJSON_free(printed);
		cJSON_Delete(root);
	}
	free(copy);
}

static void objects_are_read_as_go_reads_them(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "{\"a\":1}", "1" },
		{ " \t\r\n{ \"a\" : \"x\" } ", "\"x\"" },
		{ "{\"a\":1}trailing", "1" },
		{ "{\"a\":1,\"a\":{\"b\":[2]}}", "{\"b\":[2]}" },
		{ "{\"A\":1}", "" },
		{ "{}", "" },
		{ "{\"a\":-0.5e+2}", "-50" },
		{ "{\"a\":\"\\u00e9\\ud83d\\ude00\"}", "\"\xc3\xa9\xf0\x9f\x98\x80\"" },
		{ "{\"a\":\"\\ud83d\"}", "\"\xef\xbf\xbd\"" },
		{ "{\"a\":\"\\ude00x\"}", "\"\xef\xbf\xbdx\"" },
		{ "{\"a\":\"\\ud83d\\u0041\"}", "\"\xef\xbf\xbd"
						"A\"" },
		{ "{\"a\":\"\\u0000\"}", "\"\\u0001\"" },
		{ "{\"a\":\"}{\\\"\"}", "\"}{\\\"\"" },
		{ "", "!" },
		{ "null", "!" },
		{ "[1]", "!" },
		{ "{", "!" },
		{ "{\"a\":1", "!" },
		{ "{\"a\":1]", "!" },
		{ "{\"a\":1,}", "!" },
		{ "{a:1}", "!" },
		{ "{'a':1}", "!" },
		{ "{\"a\":01}", "!" },
		{ "{\"a\":1.}", "!" },
		{ "{\"a\":.5}", "!" },
		{ "{\"a\":+1}", "!" },
		{ "{\"a\":1e}", "!" },
		{ "{\"a\":1e400}", "!" },
		{ "{\"a\":nul}", "!" },
		{ "{\"a\":\"\t\"}", "!" },
		{ "{\"a\":\"\\x\"}", "!" },
		{ "{\"a\":\"\\uZZZZ\"}", "!" },
		{ "{\"a\":\"\\u12\"}", "!" },
		{ "{\"a\":\"x", "!" },
		{ "{\"a\":\"\\", "!" },
		{ "\xef\xbb\xbf{\"a\":1}", "!" },
		{ "\x01{\"a\":1}", "!" },
		{ "{\"a\"\v:1}", "!" },
		{ "{\"a\":1 /* */}", "!" },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		char got[256];

		value_of_a(rows[i].text, false, got);
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].text, got);
	}
}

static void a_whole_text_has_nothing_behind_its_object(void **state)
{
	char got[256];
	(void)state;

	value_of_a("{\"a\":1} \n", true, got);
	assert_string_equal(got, "1");
	value_of_a("{\"a\":1}x", true, got);
	assert_string_equal(got, "!");
}

static void too_long_a_text_is_refused(void **state)
{
	size_t len = JSON_MAX + 1;
	char *text = malloc(len + 1);
	cJSON *root;
	(void)state;

	assert_non_null(text);
	memset(text, ' ', len);
	memcpy(text, "{}", 2);
	text[len] = '\0';
	assert_int_equal(json_object(text, len, false, &root), -EINVAL);
	assert_int_equal(json_object(text, len - 1, false, &root), 0);
	cJSON_Delete(root);
	free(text);
}

static void values_of_another_kind_are_not_there(void **state)
{
	char text[] = "{\"a\":{\"b\":1}}";
	cJSON *root;
	(void)state;

	assert_int_equal(json_object(text, strlen(text), true, &root), 0);
	assert_null(json_get_text(root, "a"));
	assert_null(json_get(json_get(json_get(root, "a"), "b"), "c"));
	assert_null(json_get(NULL, "a"));
	cJSON_Delete(root);
}

static void numbers_are_those_of_go(void **state)
{
	static const struct {
		const char *text;
		int64_t based, decimal; /* -9 = refused */
	} rows[] = {
		{ "443", 443, 443 },
		{ "0443", 291, 443 },
		{ "0x1bb", 443, -9 },
		{ "0X1BB", 443, -9 },
		{ "0b11", 3, -9 },
		{ "0o17", 15, -9 },
		{ "08", -9, 8 },
		{ "0", 0, 0 },
		{ "00", 0, 0 },
		{ "-1", -1, -1 },
		{ "+7", 7, 7 },
		{ "4_43", 443, -9 },
		{ "0x", -9, -9 },
		{ "0x0x1", -9, -9 },
		{ "", -9, -9 },
		{ "_", -9, -9 },
		{ " 1", -9, -9 },
		{ "1 ", -9, -9 },
		{ "1.5", -9, -9 },
		{ "--1", -9, -9 },
		{ "9223372036854775808", -9, -9 },
		{ "9223372036854775807", INT64_MAX, INT64_MAX },
	};
	char buf[NUMBER_TEXT_MAX];
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t based = -9, decimal = -9;

		number_int(rows[i].text, &based);
		number_decimal(rows[i].text, &decimal);
		if (based != rows[i].based || decimal != rows[i].decimal)
			fail_msg("\"%s\": %lld %lld", rows[i].text, (long long)based, (long long)decimal);
	}
	assert_string_equal(number_float_text(1.5, buf), "1.5E+00");
	assert_string_equal(number_float_text(12345, buf), "1.2345E+04");
	assert_string_equal(number_float_text(0.1, buf), "1E-01");
	assert_string_equal(number_float_text(-1.7976931348623157e308, buf), "-1.7976931348623157E+308");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_read_as_go_reads_them),
		cmocka_unit_test(a_whole_text_has_nothing_behind_its_object),
		cmocka_unit_test(too_long_a_text_is_refused),
		cmocka_unit_test(values_of_another_kind_are_not_there),
		cmocka_unit_test(numbers_are_those_of_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
