/* nft_set: real sets in a table of our name, in a namespace of our own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "clashsup/nft_set.h"
#include "netns.h"

#define TABLE                                                                                                          \
	"nft -f - <<'E'\ntable inet clashsup\ndelete table inet clashsup\ntable inet clashsup {\n"                     \
	" set servers { type ipv4_addr; }\n set servers6 { type ipv6_addr; }\n set small { type ipv4_addr; size 4; "   \
	"}\n"                                                                                                          \
	"}\nE\n"

static struct nft_set *begin(void)
{
	struct nft_set *s = NULL;
	struct err e = ERR_INIT;

	assert_true(sh(TABLE));
	assert_int_equal(nft_set_open(&s, &e), 0);
	return s;
}

static struct addr v4(unsigned n)
{
	struct addr a = { .family = IP_V4, .bytes = { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } };

	return a;
}

static struct addr v6(unsigned n)
{
	struct addr a = { .family = IP_V6, .bytes = { 0x20, 1, 0x0d, 0xb8, 0, 0, (uint8_t)(n >> 8), (uint8_t)n } };

	return a;
}

static size_t count(struct nft_set *s, const char *name)
{
	struct err e = ERR_INIT;
	size_t n = SIZE_MAX;

	assert_int_equal(nft_set_count(s, name, &n, &e), 1);
	return n;
}

static bool holds(const char *name, const char *text)
{
	char command[160];

	snprintf(command, sizeof(command), "nft get element inet clashsup %s '{ %s }' >/dev/null 2>&1", name, text);
	return sh(command);
}

static void addresses_come_and_go_in_both_families(void **state)
{
	const struct addr four[] = { v4(1), v4(2), v4(3) }, six[] = { v6(1), v6(2) };
	struct err e = ERR_INIT;
	struct nft_set *s;

	NEED_NETNS(state);
	s = begin();
	assert_int_equal(count(s, "servers"), 0);
	assert_int_equal(nft_set_change(s, "servers", four, 3, NULL, 0, &e), 0);
	assert_int_equal(nft_set_change(s, "servers6", six, 2, NULL, 0, &e), 0);
	assert_int_equal(count(s, "servers"), 3);
	assert_int_equal(count(s, "servers6"), 2);
	assert_true(holds("servers", "10.0.0.2"));
	assert_true(holds("servers6", "2001:db8:0:2::"));
	assert_int_equal(nft_set_change(s, "servers", NULL, 0, four, 2, &e), 0);
	assert_int_equal(count(s, "servers"), 1);
	assert_true(holds("servers", "10.0.0.3"));
	assert_int_equal(nft_set_change(s, "servers", NULL, 0, NULL, 0, &e), 0);
	nft_set_close(s);
}

static void what_is_there_or_absent_already_keeps_nothing_else_from_happening(void **state)
{
	const struct addr one[] = { v4(1) }, mixed[] = { v4(7), v4(1), v4(8) }, next[] = { v4(2), v4(3), v4(2) };
	struct err e = ERR_INIT;
	struct nft_set *s;

	NEED_NETNS(state);
	s = begin();
	assert_int_equal(nft_set_change(s, "servers", one, 1, NULL, 0, &e), 0);
	assert_int_equal(nft_set_change(s, "servers", one, 1, NULL, 0, &e), 0);
	assert_int_equal(nft_set_change(s, "servers", next, 3, mixed, 3, &e), 0);
	assert_int_equal(count(s, "servers"), 2);
	assert_true(holds("servers", "10.0.0.2") && holds("servers", "10.0.0.3"));
	assert_int_equal(nft_set_change(s, "servers", one, 1, one, 1, &e), 0); /* named on both sides: it stays */
	assert_true(holds("servers", "10.0.0.1"));
	nft_set_close(s);
}

static void errors_are_told_and_change_nothing(void **state)
{
	const struct addr five[] = { v4(1), v4(2), v4(3), v4(4), v4(5) }, wrong[] = { v4(9), v6(9) };
	char long_name[100];
	struct err e = ERR_INIT;
	struct nft_set *s;
	size_t n;

	NEED_NETNS(state);
	s = begin();
	assert_int_equal(nft_set_change(s, "absent", five, 1, NULL, 0, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "set absent of the nft table clashsup"));
	assert_int_equal(nft_set_count(s, "absent", &n, &e), 0);
	assert_int_equal(nft_set_change(s, "small", five, 5, NULL, 0, &e), -ENFILE);
	assert_int_equal(count(s, "small"), 0);
	assert_int_equal(nft_set_change(s, "servers", wrong, 2, NULL, 0, &e), -EINVAL);
	assert_int_equal(count(s, "servers"), 0);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(nft_set_change(s, long_name, five, 1, NULL, 0, &e), -ENAMETOOLONG);
	assert_int_equal(nft_set_count(s, long_name, &n, &e), -ENAMETOOLONG);
	assert_true(sh("nft delete table inet clashsup"));
	assert_int_equal(nft_set_change(s, "servers", five, 5, NULL, 0, &e), -ENOENT);
	assert_int_equal(nft_set_count(s, "servers", &n, &e), 0);
	nft_set_close(s);
	nft_set_close(NULL);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void many_changes_take_milliseconds_and_more_than_a_batch_fits_too(void **state)
{
	enum { MANY = 2500, BATCH = 1000 };
	static struct addr four[MANY], six[MANY];
	struct err e = ERR_INIT;
	double t0, add, del;
	struct nft_set *s;

	NEED_NETNS(state);
	for (unsigned i = 0; i < MANY; i++) {
		four[i] = v4(i);
		six[i] = v6(i);
	}
	s = begin();
	t0 = now_ms();
	assert_int_equal(nft_set_change(s, "servers6", six, BATCH, NULL, 0, &e), 0);
	add = now_ms() - t0;
	t0 = now_ms();
	assert_int_equal(nft_set_change(s, "servers6", NULL, 0, six, BATCH, &e), 0);
	del = now_ms() - t0;
	printf("1000 IPv6 addresses added in %.2f ms, deleted in %.2f ms\n", add, del);
	assert_true(add < 200 && del < 200); /* a bound against blunders: a machine under load is slow */
	assert_int_equal(count(s, "servers6"), 0);
	assert_int_equal(nft_set_change(s, "servers", four, MANY, NULL, 0, &e), 0);
	assert_int_equal(count(s, "servers"), MANY);
	assert_int_equal(nft_set_change(s, "servers", four, 1200, four + 1200, MANY - 1200, &e), 0);
	assert_int_equal(count(s, "servers"), 1200);
	nft_set_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_come_and_go_in_both_families),
		cmocka_unit_test(what_is_there_or_absent_already_keeps_nothing_else_from_happening),
		cmocka_unit_test(errors_are_told_and_change_nothing),
		cmocka_unit_test(many_changes_take_milliseconds_and_more_than_a_batch_fits_too),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
