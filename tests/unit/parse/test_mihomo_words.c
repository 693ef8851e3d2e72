/* mihomo_words: what Mihomo 1.19.30 has printed, and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/mihomo_words.h"

#define LINE(level, msg) "time=\"2026-01-01T00:00:00.1Z\" level=" level " msg=\"" msg "\"\n"
#define FAILED "configuration file /run/clashsup/mihomo/config.yaml.new test failed\n"
#define LATEST "https://github.com/MetaCubeX/meta-rules-dat/releases/download/latest/"
#define NO_NAME "\\\": dns resolve failed: couldn't find ip"

static void says(const char *output, const char *sentence)
{
	char out[320];

	mihomo_complaint(output, "/h/config.yaml", "/h", out, sizeof(out));
	assert_string_equal(out, sentence);
}

static void a_fault_of_the_yaml_has_file_and_line(void **state)
{
	(void)state;
	says(LINE("error", "yaml: line 3: did not find expected node content") FAILED,
	     "/h/config.yaml:3: did not find expected node content");
}

static void the_first_of_several_values_of_a_wrong_type_has_file_and_line(void **state)
{
	(void)state;
	says(LINE("error", "yaml: unmarshal errors:\\n  line 2: cannot unmarshal !!str `abc` into int") FAILED,
	     "/h/config.yaml:2: cannot unmarshal !!str `abc` into int");
	says(LINE("error", "yaml: unmarshal errors:\\n  line 2: mapping key \\\"mode\\\" already defined at line 1")
		     FAILED,
	     "/h/config.yaml:2: mapping key \"mode\" already defined at line 1");
}

static void what_has_no_line_is_told_with_the_file(void **state)
{
	(void)state;
	says(LINE("info", "Start initial configuration in progress")
		     LINE("error", "rules[0] [NO-SUCH,x,DIRECT] error: unsupported rule type: NO-SUCH") FAILED,
	     "/h/config.yaml: rules[0] [NO-SUCH,x,DIRECT] error: unsupported rule type: NO-SUCH");
	says(LINE("error", "yaml: mapping values are not allowed in this context") FAILED,
	     "/h/config.yaml: yaml: mapping values are not allowed in this context");
}

static void a_line_of_something_else_is_not_taken_for_one_of_the_file(void **state)
{
	(void)state;
	says(LINE("error", "proxy 0: line 7: odd"), "/h/config.yaml: proxy 0: line 7: odd");
	says(LINE("error", "yaml: line up"), "/h/config.yaml: yaml: line up");
}

static void a_download_that_failed_names_the_file_and_its_place_and_no_url(void **state)
{
	static const char *const cases[][3] = { { "MMDB", "geoip.metadb", "geoip.metadb" },
						{ "GeoSite.dat", "geosite.dat", "GeoSite.dat" },
						{ "GeoIP.dat", "geoip.dat", "GeoIP.dat" },
						{ "ASN.mmdb", "GeoLite2-ASN.mmdb", "ASN.mmdb" } };
	char output[1024], sentence[256];
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(output, sizeof(output),
			 LINE("error", "rules[0] [X,CN,DIRECT] error: can't download %s: Get \\\"" LATEST "%s" NO_NAME)
				 FAILED,
			 cases[i][0], cases[i][1]);
		snprintf(sentence, sizeof(sentence),
			 "/h/config.yaml: its rules need /h/%s: put that file there; it cannot be downloaded from "
			 "github.com (dns "
			 "resolve failed: couldn't find ip)",
			 cases[i][2]);
		says(output, sentence);
	}
}

static void a_download_that_does_not_end_names_the_file_too(void **state)
{
	char out[320];
	(void)state;

	assert_true(mihomo_downloads(LINE("info", "Can't find GeoSite.dat, start download"), "/h/config.yaml", "/h",
				     out, sizeof(out)));
	assert_string_equal(out, "/h/config.yaml: its rules need /h/GeoSite.dat: put that file there; its download "
				 "does not come to an end");
	assert_false(mihomo_downloads(LINE("info", "Can't find peace"), "/h/config.yaml", "/h", out, sizeof(out)));
	assert_false(mihomo_downloads("", "/h/config.yaml", "/h", out, sizeof(out)));
}

static void output_without_a_log_line_is_told_by_its_first_line(void **state)
{
	(void)state;
	says("panic: oh\nmore\n", "/h/config.yaml: panic: oh");
	says("", "");
}

static void what_is_cut_off_is_not_read_past_its_end(void **state)
{
	const char whole[] = LINE("error", "yaml: line 3: a \\\"b\\\"")
		LINE("error", "x: can't download MMDB: Get \\\"https://h/p" NO_NAME);
	char cut[sizeof(whole)], out[64];
	(void)state;

	for (size_t n = 0; n < sizeof(whole); n++) {
		memcpy(cut, whole, n);
		cut[n] = '\0';
		mihomo_complaint(cut, "/h/config.yaml", "/h", out, sizeof(out));
		assert_true(strlen(out) < sizeof(out));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fault_of_the_yaml_has_file_and_line),
		cmocka_unit_test(the_first_of_several_values_of_a_wrong_type_has_file_and_line),
		cmocka_unit_test(what_has_no_line_is_told_with_the_file),
		cmocka_unit_test(a_line_of_something_else_is_not_taken_for_one_of_the_file),
		cmocka_unit_test(a_download_that_failed_names_the_file_and_its_place_and_no_url),
		cmocka_unit_test(a_download_that_does_not_end_names_the_file_too),
		cmocka_unit_test(output_without_a_log_line_is_told_by_its_first_line),
		cmocka_unit_test(what_is_cut_off_is_not_read_past_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
