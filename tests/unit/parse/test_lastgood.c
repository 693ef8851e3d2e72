/* lastgood: what was written is read again; what is damaged is refused whole. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/lastgood.h"
#include "clashsup/wire.h"

#define HEAD "clashsup addresses 1\n"
#define V4_HEAD HEAD "\x00\x2d\x00\x00\x01" /* one entry for 45.0.0.1 begins */
#define TIMES "\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03"

struct read_back {
	struct lastgood_entry list[8];
	size_t n;
};

static void note(void *ctx, const struct lastgood_entry *entry)
{
	struct read_back *b = ctx;

	assert_true(b->n < 8);
	b->list[b->n++] = *entry;
}

static void never(void *ctx, const struct lastgood_entry *entry)
{
	(void)ctx;
	(void)entry;
	fail_msg("an entry of a refused file was told");
}

static void put(struct lastgood *f, const char *text, uint32_t source, uint32_t host, uint32_t seen)
{
	struct lastgood_entry entry = { .source = source, .host = host, .seen_s = seen };

	assert_int_equal(addr_parse(text, &entry.addr), 0);
	assert_int_equal(lastgood_put(f, &entry), 0);
}

static void fill(struct lastgood *f)
{
	*f = (struct lastgood){ 0 };
	put(f, "45.0.0.1", 1, 0, 1700000000);
	put(f, "2a00::1", 0xffffffff, 2, 0);
	put(f, "45.0.0.2", 3, 4, 0xffffffff);
	assert_int_equal(lastgood_finish(f), 0);
}

static void what_was_written_is_read_again(void **state)
{
	struct read_back back = { .n = 0 };
	struct lastgood f;
	char text[ADDR_TEXT];
	(void)state;

	fill(&f);
	assert_int_equal(lastgood_decode(f.bytes, f.len, note, &back, NULL), 0);
	assert_int_equal(lastgood_decode(f.bytes, f.len, NULL, NULL, NULL), 0);
	assert_int_equal(back.n, 3);
	assert_string_equal(addr_text(&back.list[1].addr, text), "2a00::1");
	assert_int_equal(back.list[1].source, 0xffffffff);
	assert_int_equal(back.list[1].host, 2);
	assert_int_equal(back.list[0].seen_s, 1700000000);
	assert_int_equal(back.list[2].seen_s, 0xffffffff);
	lastgood_free(&f);
	assert_null(f.bytes);
}

static void a_file_of_nothing_is_a_good_one(void **state)
{
	struct lastgood f = { 0 };
	(void)state;

	assert_int_equal(lastgood_finish(&f), 0);
	assert_int_equal(lastgood_decode(f.bytes, f.len, never, NULL, NULL), 0);
	lastgood_free(&f);
}

static void every_file_cut_short_or_grown_is_refused(void **state)
{
	struct lastgood f;
	struct err e;
	uint8_t *copy;
	(void)state;

	fill(&f);
	copy = malloc(f.len + 1);
	assert_non_null(copy);
	for (size_t len = 0; len <= f.len + 1; len++) {
		memcpy(copy, f.bytes, len < f.len ? len : f.len);
		if (len > f.len)
			copy[f.len] = 0;
		assert_int_equal(lastgood_decode(copy, len, len == f.len ? NULL : never, NULL, &e),
				 len == f.len ? 0 : -EINVAL);
	}
	free(copy);
	lastgood_free(&f);
}

static void every_single_byte_that_changes_is_seen(void **state)
{
	struct lastgood f;
	struct err e;
	(void)state;

	fill(&f);
	for (size_t i = 0; i < f.len; i++) {
		for (unsigned flip = 1; flip < 256; flip++) {
			f.bytes[i] = (uint8_t)(f.bytes[i] ^ flip);
			assert_int_equal(lastgood_decode(f.bytes, f.len, never, NULL, &e), -EINVAL);
			f.bytes[i] = (uint8_t)(f.bytes[i] ^ flip);
		}
	}
	lastgood_free(&f);
}

/* `body` with a checksum that is right. */
static void refused(const char *body, size_t len, const char *why)
{
	uint32_t sum = wire_hash_more(WIRE_HASH_START, body, len);
	const uint8_t tail[4] = { (uint8_t)(sum >> 24), (uint8_t)(sum >> 16), (uint8_t)(sum >> 8), (uint8_t)sum };
	struct err e = ERR_INIT;
	char bytes[256];

	assert_true(len + 4 <= sizeof(bytes));
	memcpy(bytes, body, len);
	memcpy(bytes + len, tail, 4);
	assert_int_equal(lastgood_decode(bytes, len + 4, why ? never : NULL, NULL, &e), why ? -EINVAL : 0);
	assert_string_equal(e.msg, why ? why : "");
}

#define REFUSED(body, why) refused(body, sizeof(body) - 1, why)

static void what_is_wrong_behind_a_good_checksum_is_refused_by_name(void **state)
{
	(void)state;

	REFUSED(V4_HEAD TIMES "\x00\x00\x00\x01", NULL);
	REFUSED(V4_HEAD TIMES "\x00\x00\x00\x02", "it holds 1 entries, not 2");
	REFUSED(V4_HEAD TIMES "\xff\xff\xff\xff", "it holds 1 entries, not 4294967295");
	REFUSED(V4_HEAD "\x00\x00\x00\x01", "entry 1 is wrong");
	REFUSED(HEAD "\x02" TIMES TIMES "\x00\x00\x00\x01", "entry 1 is wrong");
	REFUSED(V4_HEAD TIMES "\x01\x00\x00\x00\x01", "entry 2 is wrong");
	REFUSED(HEAD "\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\x2d\0\0\x01" TIMES "\x00\x00\x00\x01", "entry 1 is wrong");
	REFUSED(HEAD "\x00\x7f\x00\x00\x01" TIMES "\x00\x00\x00\x01", "it holds the forbidden address 127.0.0.1");
	REFUSED(HEAD "\x01\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01" TIMES "\x00\x00\x00\x01",
		"it holds the forbidden address fe80::1");
	REFUSED("clashsup addresses 2\n\x00\x00\x00\x00", "it was written by another version of clashsup");
	REFUSED("clashsup addresses 10\n\x00\x00\x00\x00", "it was written by another version of clashsup");
	REFUSED("proxies: [] # something else ", "it is no file of server addresses");
	REFUSED("", "it is no file of server addresses");
	REFUSED(HEAD, "it is cut short");
}

static void many(struct lastgood *f)
{
	struct lastgood_entry entry = { .addr = { IP_V6, { 0x2a } } };

	*f = (struct lastgood){ 0 };
	for (uint32_t i = 0; i < LEDGER_MAX; i++) {
		memcpy(entry.addr.bytes + 8, &i, sizeof(i));
		assert_int_equal(lastgood_put(f, &entry), 0);
	}
	assert_int_equal(lastgood_put(f, &entry), -ENOSPC);
	assert_int_equal(lastgood_finish(f), 0);
}

static void count(void *ctx, const struct lastgood_entry *entry)
{
	(void)entry;
	++*(size_t *)ctx;
}

static void the_largest_file_holds_as_many_as_the_ledger_and_not_one_more(void **state)
{
	struct lastgood f;
	uint8_t *larger;
	size_t n = 0;
	struct err e;
	(void)state;

	many(&f);
	assert_int_equal(f.len, LASTGOOD_MAX);
	assert_int_equal(lastgood_decode(f.bytes, f.len, count, &n, NULL), 0);
	assert_int_equal(n, LEDGER_MAX);
	larger = calloc(1, f.len + 1);
	assert_non_null(larger);
	memcpy(larger, f.bytes, f.len);
	assert_int_equal(lastgood_decode(larger, f.len + 1, never, NULL, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "larger than"));
	free(larger);
	lastgood_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read_again),
		cmocka_unit_test(a_file_of_nothing_is_a_good_one),
		cmocka_unit_test(every_file_cut_short_or_grown_is_refused),
		cmocka_unit_test(every_single_byte_that_changes_is_seen),
		cmocka_unit_test(what_is_wrong_behind_a_good_checksum_is_refused_by_name),
		cmocka_unit_test(the_largest_file_holds_as_many_as_the_ledger_and_not_one_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
