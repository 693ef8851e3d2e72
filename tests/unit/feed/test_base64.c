/* base64: what Go's encoding/base64 takes and gives; the rows were tried with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/base64.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define STD BASE64_STD
#define URL BASE64_URL
#define PAD BASE64_PADDED

static void texts_are_read_as_go_reads_them(void **state)
{
	static const struct {
		unsigned how;
		const char *text;
		int r;
		const char *want; /* on failure: what stood before the fault */
	} rows[] = {
		{ STD, "", 0, "" },
		{ STD, "QUJD", 0, "ABC" },
		{ STD, "QUI", 0, "AB" },
		{ STD, "QQ", 0, "A" },
		{ STD, "Q", -EINVAL, "" },
		{ STD, "QUJDQ", -EINVAL, "ABC" },
		{ STD, "QUI=", -EINVAL, "" },
		{ STD, "QR", 0, "A" }, /* the bits behind the last byte may be anything */
		{ STD | PAD, "QR==", 0, "A" },
		{ STD | PAD, "", 0, "" },
		{ STD | PAD, "QUJD", 0, "ABC" },
		{ STD | PAD, "QUI=", 0, "AB" },
		{ STD | PAD, "QQ==", 0, "A" },
		{ STD | PAD, "QUI", -EINVAL, "" },
		{ STD | PAD, "QQ=", -EINVAL, "" },
		{ STD | PAD, "QQ", -EINVAL, "" },
		{ STD | PAD, "Q===", -EINVAL, "" },
		{ STD | PAD, "====", -EINVAL, "" },
		{ STD | PAD, "QUJD=", -EINVAL, "ABC" },
		{ STD | PAD, "QUI==", -EINVAL, "AB" },
		{ STD | PAD, "QQ==QQ==", -EINVAL, "A" },
		{ STD | PAD, "QQ=Q", -EINVAL, "" },
		{ STD, "QU\r\nJD\n", 0, "ABC" },
		{ STD | PAD, "Q\nQ\r=\n=\r\n", 0, "A" },
		{ STD, "\r\n", 0, "" },
		{ STD, "QU JD", -EINVAL, "" }, /* nettle alone passes over blanks */
		{ STD, "QUJD ", -EINVAL, "ABC" },
		{ STD, "QU\tJD", -EINVAL, "" },
		{ STD, "QU\vJD", -EINVAL, "" },
		{ STD, "QU\fJD", -EINVAL, "" },
		{ STD, "QUJD\xef\xbb\xbf", -EINVAL, "ABC" },
		{ STD, "+/+/", 0, "\xfb\xff\xbf" },
		{ STD, "-_-_", -EINVAL, "" },
		{ URL, "-_-_", 0, "\xfb\xff\xbf" },
		{ URL, "+/+/", -EINVAL, "" },
		{ STD, "QUJDQUI-", -EINVAL, "ABC" },
		{ STD, "AEFC", 0, "\1AB" }, /* a NUL would end the text */
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t len = strlen(rows[i].text), n = 99;
		char *out = malloc(BASE64_BUFFER(len)), *itself = malloc(len + 1);

		assert_true(out && itself);
		if (base64_read(rows[i].text, len, rows[i].how, out, &n) != rows[i].r || n != strlen(rows[i].want) ||
		    strcmp(out, rows[i].want) != 0)
			fail_msg("row %zu, %s: \"%s\"", i, rows[i].text, out);
		strcpy(itself, rows[i].text);
		assert_int_equal(base64_read(itself, len, rows[i].how, itself, &n), rows[i].r);
		assert_string_equal(itself, rows[i].want);
		free(out);
		free(itself);
	}
}

static void a_raw_nul_is_a_fault(void **state)
{
	char out[BASE64_BUFFER(5)];
	size_t n;
	(void)state;

	assert_int_equal(base64_read("QUJD\0", 5, STD, out, &n), -EINVAL);
	assert_false(base64_letters("QUJD\0", 5));
}

static void the_standard_alphabet_is_tried_without_padding_first(void **state)
{
	static const struct {
		const char *text;
		int r;
	} rows[] = { { "QUI", 0 }, { "QUI=", 0 }, { "QUI==", -EINVAL }, { "QUI-", -EINVAL }, { "", 0 } };
	char out[BASE64_BUFFER(8)];
	size_t n;
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(base64_read_std(rows[i].text, strlen(rows[i].text), out, &n), rows[i].r);
}

static void only_letters_padding_and_newlines_may_be_a_base64_document(void **state)
{
	(void)state;
	assert_true(base64_letters("QUI=\r\n+/9z", 10));
	assert_false(base64_letters("", 0));
	assert_false(base64_letters("QUI= ", 5));
	assert_false(base64_letters("QUI-", 4));
	assert_false(base64_letters("a:b", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_read_as_go_reads_them),
		cmocka_unit_test(a_raw_nul_is_a_fault),
		cmocka_unit_test(the_standard_alphabet_is_tried_without_padding_first),
		cmocka_unit_test(only_letters_padding_and_newlines_may_be_a_base64_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
