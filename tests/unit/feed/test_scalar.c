/* scalar: what Mihomo makes of one; the values were asked of go-yaml v3 and Mihomo's decoder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "parse/feed/doc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define REFUSED INT64_MIN

static struct doc *load(const char *text)
{
	struct err e = ERR_INIT;
	struct doc *d = NULL;
	uint32_t line;

	if (doc_load(&d, text, strlen(text), &line, &e) < 0)
		fail_msg("line %u: %s in: %s", line, e.msg, text);
	return d;
}

static void a_proxy_s_text_and_number_are_read_as_mihomo_reads_them(void **state)
{
	static const struct {
		const char *text, *string; /* NULL = none */
		int64_t number;
	} rows[] = {
		/* texts */
		{ "a", "a", REFUSED },
		{ "\"\"", "", REFUSED },
		{ "yes", "yes", REFUSED },
		{ "on", "on", REFUSED },
		{ "a\\x41", "a\\x41", REFUSED },
		{ "\"a\\x41\"", "aA", REFUSED },
		{ "'it''s'", "it's", REFUSED },
		{ "\"443\"", "443", 443 },
		{ "'443'", "443", 443 },
		{ "\"0443\"", "0443", 291 },
		{ "\"0x1bb\"", "0x1bb", 443 },
		{ "\"0o17\"", "0o17", 15 },
		{ "\"0b11\"", "0b11", 3 },
		{ "\"4_43\"", "4_43", 443 },
		{ "\"0x_1bb\"", "0x_1bb", 443 },
		{ "\"0_443\"", "0_443", 291 },
		{ "\"+443\"", "+443", 443 },
		{ "\"-5\"", "-5", -5 },
		{ "\"_443\"", "_443", REFUSED },
		{ "\"443_\"", "443_", REFUSED },
		{ "\"4__43\"", "4__43", REFUSED },
		{ "\"443.0\"", "443.0", REFUSED },
		{ "\"1e3\"", "1e3", REFUSED },
		{ "\"443 \"", "443 ", REFUSED },
		{ "\" 443\"", " 443", REFUSED },
		{ "\"0989\"", "0989", REFUSED },
		{ "\"99999999999999999999\"", "99999999999999999999", REFUSED },
		{ "_1", "_1", REFUSED },
		{ "0x", "0x", REFUSED },
		{ "0xg", "0xg", REFUSED },
		{ "--7", "--7", REFUSED },
		{ "1e", "1e", REFUSED },
		{ "0x0x1", "0x0x1", REFUSED },
		{ "1e400", "1e400", REFUSED },
		{ "12:30:45", "12:30:45", REFUSED },
		{ "._5", "._5", REFUSED },
		{ ".nAn", ".nAn", REFUSED },
		/* dates are neither */
		{ "2001-01-02", NULL, REFUSED },
		{ "2001-1-2", NULL, REFUSED },
		{ "\"2001-01-02\"", "2001-01-02", REFUSED },
		{ "2001-13-02", "2001-13-02", REFUSED },
		{ "01-01-02", "01-01-02", REFUSED },
		/* whole numbers */
		{ "443", "443", 443 },
		{ "443 ", "443", 443 },
		{ "+443", "443", 443 },
		{ "-443", "-443", -443 },
		{ "12345", "12345", 12345 },
		{ "0443", "291", 291 },
		{ "007", "7", 7 },
		{ "0x1bb", "443", 443 },
		{ "0X1F", "31", 31 },
		{ "-0x10", "-16", -16 },
		{ "0o673", "443", 443 },
		{ "0O17", "15", 15 },
		{ "0b101", "5", 5 },
		{ "1_000", "1000", 1000 },
		{ "1__0", "10", 10 },
		{ "1_", "1", 1 },
		{ "0_443", "291", 291 },
		{ "-0", "0", 0 },
		{ "9223372036854775807", "9223372036854775807", INT64_MAX },
		{ "18446744073709551615", "18446744073709551615", REFUSED },
		/* the others */
		{ "1.5", "1.5E+00", 1 },
		{ "443.9", "4.439E+02", 443 },
		{ "-443.9", "-4.439E+02", -443 },
		{ "1e3", "1E+03", 1000 },
		{ "4.43e2", "4.43E+02", 443 },
		{ "089", "8.9E+01", 89 },
		{ "0123e4", "1.23E+06", 1230000 },
		{ ".5", "5E-01", 0 },
		{ "5.", "5E+00", 5 },
		{ "+.5", "5E-01", 0 },
		{ "1_2.3_4", "1.234E+01", 12 },
		{ "0.1", "1E-01", 0 },
		{ "123456789.0", "1.23456789E+08", 123456789 },
		{ "1e16", "1E+16", 10000000000000000 },
		{ "1e99", "1E+99", REFUSED },
		{ "123456789012345678901234567890", "1.2345678901234568E+29", REFUSED },
		{ ".inf", "+Inf", REFUSED },
		{ "-.Inf", "-Inf", REFUSED },
		{ ".NaN", "NaN", REFUSED },
		/* neither */
		{ "true", NULL, REFUSED },
		{ "FALSE", NULL, REFUSED },
		{ "~", NULL, REFUSED },
		{ "null", NULL, REFUSED },
		{ "[443]", NULL, REFUSED },
		{ "{a: 443}", NULL, REFUSED },
		/* tags */
		{ "!!str 443", "443", 443 },
		{ "!!str 0443", "0443", 291 },
		{ "!!str true", "true", REFUSED },
		{ "!!str ~", "~", REFUSED },
		{ "!!int \"0443\"", "291", 291 },
		{ "!!float \"1.5\"", "1.5E+00", 1 },
		{ "!!null \"\"", NULL, REFUSED },
		{ "!!bool \"true\"", NULL, REFUSED },
		{ "! 0443", "291", 291 },
		{ "!mine 0443", "0443", 291 },
		{ "!<tag:yaml.org,2002:int> \"12\"", "12", 12 },
		{ "!!binary MjAzLjAuMTEzLjE=", "203.0.113.1", REFUSED },
		{ "!!binary |\n  MjAz\n  LjAu\n  MTEz\n  LjE=\n", "203.0.113.1", REFUSED },
		/* a NUL does not cut a text short */
		{ "\"a\\0b\"", "a\1b", REFUSED },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = load(rows[i].text);
		char buffer[DOC_NUMBER_TEXT];
		const char *string = doc_string(d->root, buffer);
		int64_t number = REFUSED;

		if (doc_int(d->root, &number) < 0)
			number = REFUSED;
		if (!string != !rows[i].string || (string && strcmp(string, rows[i].string) != 0) ||
		    number != rows[i].number)
			fail_msg("%s: %s, %lld", rows[i].text, string ? string : "none", (long long)number);
		doc_free(d);
	}
}

static void a_setting_s_text_and_switch_are_read_as_go_yaml_reads_them(void **state)
{
	static const struct {
		const char *text, *value; /* NULL = no text */
		bool is_true, is_flag, is_null;
	} rows[] = {
		{ "true", NULL, true, true, false },
		{ "TRUE", NULL, true, true, false },
		{ "false", NULL, false, false, false },
		{ "yes", "yes", true, false, false },
		{ "\"yes\"", "yes", true, false, false },
		{ "On", "On", true, false, false },
		{ "yEs", "yEs", false, false, false },
		{ "off", "off", false, false, false },
		{ "\"true\"", "true", false, false, false },
		{ "1", "1", false, true, false },
		{ "0", "0", false, false, false },
		{ "\"1\"", "1", false, false, false },
		{ "~", NULL, false, false, true },
		{ "Null", NULL, false, false, true },
		{ "\"\"", "", false, false, false },
		{ "\"~\"", "~", false, false, false },
		{ "0443", "0443", false, true, false },
		{ "08", "08", false, false, false },
		{ "0123e4", "0123e4", false, false, false },
		{ "[a]", NULL, false, false, false },
		{ "|\n  a\n  b\n", "a\nb\n", false, false, false },
		{ ">-\n  a\n  b\n", "a b", false, false, false },
		{ "2001-01-01", "2001-01-01", false, false, false },
	};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct doc *d = load(rows[i].text);
		const char *text = doc_text(d->root);

		if (!text != !rows[i].value || (text && strcmp(text, rows[i].value) != 0) ||
		    doc_true(d->root) != rows[i].is_true || doc_flag(d->root) != rows[i].is_flag ||
		    doc_is_null(d->root) != rows[i].is_null)
			fail_msg("%s", rows[i].text);
		doc_free(d);
	}
	assert_true(doc_is_null(NULL));
	assert_null(doc_text(NULL));
	assert_false(doc_flag(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proxy_s_text_and_number_are_read_as_mihomo_reads_them),
		cmocka_unit_test(a_setting_s_text_and_switch_are_read_as_go_yaml_reads_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
