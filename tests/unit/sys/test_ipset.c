/* ipset: real kernel sets in a namespace of our own; the ipset program is the second opinion. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/fwplan.h"
#include "clashsup/ipset.h"
#include "netns.h"

#define V4_TYPE "hash:ip family inet maxelem 131072"
#define V6_TYPE "hash:ip family inet6 maxelem 131072"
#define MANY 100000

static struct ipset *open_sets(void)
{
	struct ipset *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(ipset_open(&s, &e), 0);
	assert_non_null(s);
	return s;
}

static void close_sets(struct ipset *s)
{
	assert_true(sh("ipset destroy"));
	ipset_close(s);
}

static struct addr addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static struct addr numbered(uint32_t i)
{
	const uint8_t bytes[4] = { 11, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
	struct addr a;

	assert_int_equal(addr_from_bytes(bytes, 4, &a), 0);
	return a;
}

static size_t count(struct ipset *s, const char *name)
{
	struct err e = ERR_INIT;
	size_t n = SIZE_MAX;

	assert_int_equal(ipset_exists(s, name, &n, &e), 1);
	return n;
}

static void a_set_can_be_created_twice_but_not_with_other_parameters(void **state)
{
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_exists(s, "a", NULL, &e), 0);
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_exists(s, "a", NULL, &e), 1);
	assert_true(sh("ipset list a -t | grep -q 'family inet .*maxelem 131072'"));
	assert_int_equal(ipset_create(s, "a", V6_TYPE, &e), -EEXIST);
	assert_non_null(strstr(e.msg, "create set a: "));
	assert_int_equal(ipset_create(s, "a6", V6_TYPE, &e), 0);
	assert_int_equal(ipset_create(s, "l", "hash:net family inet timeout 3", &e), 0);
	assert_true(sh("ipset list l -t | grep -q 'timeout 3'"));
	close_sets(s);
}

static void bad_names_and_types_are_refused_with_a_sentence(void **state)
{
	static const struct {
		const char *name, *type;
		int code;
	} rows[] = { { "", V4_TYPE, -EINVAL },
		     { "a_name_of_thirty_two_characters_", V4_TYPE, -EINVAL },
		     { "a", "", -EINVAL },
		     { "a", "hash:nothing", -EIO },
		     { "a", "hash:ip colour red", -EINVAL },
		     { "a", "hash:ip maxelem", -EINVAL },
		     { "a", "hash:ip maxelem many", -EIO },
		     { "a", "hash:ip family inet family inet6", -EIO } };
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err e = ERR_INIT;
		int r = ipset_create(s, rows[i].name, rows[i].type, &e);

		if (r != rows[i].code)
			print_message("row %zu: %s\n", i, e.msg);
		assert_true(r < 0 && (r == rows[i].code));
		assert_true(e.msg[0] != '\0');
	}
	assert_int_equal(sh_number("ipset list -n | wc -l"), 0);
	close_sets(s);
}

/* FLUSH and DESTROY without a name mean all sets. */
static void an_empty_name_never_means_every_set(void **state)
{
	struct addr one = addr("192.0.2.1");
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_change(s, "a", &one, 1, NULL, 0, &e), 0);
	assert_int_equal(ipset_flush(s, "", &e), -EINVAL);
	assert_int_equal(ipset_destroy(s, "", &e), -EINVAL);
	assert_int_equal(ipset_exists(s, "", NULL, &e), -EINVAL);
	assert_int_equal(ipset_change(s, "", &one, 1, NULL, 0, &e), -EINVAL);
	assert_int_equal(count(s, "a"), 1);
	close_sets(s);
}

static void changes_apply_and_repeat_without_complaint(void **state)
{
	struct addr add[] = { addr("192.0.2.1"), addr("192.0.2.2") }, del[] = { addr("192.0.2.2"), addr("192.0.2.9") };
	struct addr six = addr("2001:db8::1");
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_create(s, "a6", V6_TYPE, &e), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ipset_change(s, "a", add, 2, del, 2, &e), 0);
		assert_int_equal(ipset_change(s, "a6", &six, 1, NULL, 0, &e), 0);
	}
	assert_true(sh("ipset -q test a 192.0.2.1"));
	assert_false(sh("ipset -q test a 192.0.2.2"));
	assert_true(sh("ipset -q test a6 2001:db8::1"));
	assert_int_equal(count(s, "a"), 1);
	assert_int_equal(ipset_change(s, "a", NULL, 0, NULL, 0, &e), 0);
	assert_int_equal(ipset_flush(s, "a", &e), 0);
	assert_int_equal(count(s, "a"), 0);
	assert_int_equal(count(s, "a6"), 1);
	close_sets(s);
}

static void the_reserved_networks_of_both_families_go_in_as_they_are(void **state)
{
	static const char *const name[] = { "r", "r6" };
	static const char *const type[] = { "hash:net family inet", "hash:net family inet6" };
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	for (int f = 0; f < IP_FAMILIES; f++) {
		const char *const *nets;
		size_t n;

		nets = fwplan_reserved((enum ip_family)f, &n);
		assert_int_equal(ipset_create(s, name[f], type[f], &e), 0);
		assert_int_equal(ipset_add_nets(s, name[f], nets, n, &e), 0);
		assert_int_equal(ipset_add_nets(s, name[f], nets, n, &e), 0);
		assert_int_equal(count(s, name[f]), n);
	}
	assert_true(sh("ipset -q test r 10.1.2.3 && ipset -q test r6 fe80::1"));
	assert_false(sh("ipset -q test r 11.1.2.3"));
	assert_int_equal(ipset_add_nets(s, "r", (const char *const[]){ "localhost" }, 1, &e), -EINVAL);
	close_sets(s);
}

static void an_error_says_which_and_the_next_call_knows_nothing_of_it(void **state)
{
	struct addr mixed[] = { addr("192.0.2.1"), addr("2001:db8::1") },
		    full[] = { addr("192.0.2.3"), addr("192.0.2.4") };
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_change(s, "none", mixed, 1, NULL, 0, &e), -ENOENT);
	assert_int_equal(ipset_create(s, "a", "hash:ip family inet maxelem 1", &e), 0);
	assert_int_equal(ipset_change(s, "a", mixed, 2, NULL, 0, &e), -EAFNOSUPPORT);
	assert_non_null(strstr(e.msg, "element 2"));
	assert_int_equal(count(s, "a"), 0); /* what waited behind the error was not sent later */
	assert_int_equal(ipset_change(s, "a", full, 2, NULL, 0, &e), -EIO);
	assert_non_null(strstr(e.msg, "full"));
	assert_int_equal(ipset_flush(s, "a", &e), 0);
	assert_int_equal(ipset_change(s, "a", mixed, 1, NULL, 0, &e), 0);
	assert_true(sh("ipset -q test a 192.0.2.1"));
	close_sets(s);
}

/* A library session that outlived the change would still believe the old type. */
static void a_set_that_a_stranger_replaced_is_taken_as_it_is_now(void **state)
{
	struct addr six = addr("2001:db8::1"), four = addr("192.0.2.1");
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_change(s, "a", &four, 1, NULL, 0, &e), 0);
	assert_true(sh("ipset destroy a"));
	assert_int_equal(ipset_change(s, "a", &four, 1, NULL, 0, &e), -ENOENT);
	assert_true(sh("ipset create a hash:ip family inet6"));
	assert_int_equal(ipset_change(s, "a", &six, 1, NULL, 0, &e), 0);
	assert_int_equal(ipset_change(s, "a", &four, 1, NULL, 0, &e), -EAFNOSUPPORT);
	assert_true(sh("ipset destroy a"));
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	close_sets(s);
}

static void destroying_an_absent_set_is_fine_and_a_used_one_is_busy(void **state)
{
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_destroy(s, "none", &e), 0);
	assert_int_equal(ipset_flush(s, "none", &e), -ENOENT);
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_true(sh("iptables -t mangle -A OUTPUT -m set --match-set a dst -j RETURN"));
	assert_int_equal(ipset_destroy(s, "a", &e), -EBUSY);
	assert_true(sh("iptables -t mangle -F OUTPUT"));
	for (int i = 0; i < 50 && ipset_destroy(s, "a", &e) == -EBUSY; i++) /* the nft variant frees its rules late */
		usleep(10000);
	assert_int_equal(ipset_exists(s, "a", NULL, &e), 0);
	close_sets(s);
}

static void a_large_set_is_filled_in_batches_and_counted_by_its_head(void **state)
{
	static struct addr batch[IPSET_BATCH];
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	for (uint32_t at = 0; at < MANY; at += IPSET_BATCH) {
		for (uint32_t i = 0; i < IPSET_BATCH; i++)
			batch[i] = numbered(at + i);
		assert_int_equal(ipset_change(s, "a", batch, IPSET_BATCH, NULL, 0, &e), 0);
	}
	assert_int_equal(count(s, "a"), MANY);
	assert_int_equal(ipset_change(s, "a", NULL, 0, batch, IPSET_BATCH, &e), 0);
	assert_int_equal(count(s, "a"), MANY - IPSET_BATCH);
	close_sets(s);
}

static void no_descriptor_would_reach_a_child(void **state)
{
	struct addr one = addr("192.0.2.1");
	bool inherited[256];
	struct err e = ERR_INIT;
	struct ipset *s;
	int ours = 0;

	NEED_NETNS(state);
	for (int fd = 0; fd < 256; fd++)
		inherited[fd] = fcntl(fd, F_GETFD) >= 0;
	s = open_sets();
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_change(s, "a", &one, 1, NULL, 0, &e), 0);
	for (int fd = 0; fd < 256; fd++) {
		int flags = inherited[fd] ? -1 : fcntl(fd, F_GETFD);

		if (flags < 0)
			continue;
		ours++;
		assert_true(flags & FD_CLOEXEC);
	}
	assert_int_equal(ours, 1);
	close_sets(s);
}

static void two_may_be_open_and_nothing_may_be_closed(void **state)
{
	struct ipset *a, *b;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	a = open_sets();
	b = open_sets();
	assert_int_equal(ipset_create(a, "a", V4_TYPE, &e), 0);
	ipset_close(a);
	assert_int_equal(ipset_create(b, "a", V4_TYPE, &e), 0);
	ipset_close(NULL);
	close_sets(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_set_can_be_created_twice_but_not_with_other_parameters),
		cmocka_unit_test(bad_names_and_types_are_refused_with_a_sentence),
		cmocka_unit_test(an_empty_name_never_means_every_set),
		cmocka_unit_test(changes_apply_and_repeat_without_complaint),
		cmocka_unit_test(the_reserved_networks_of_both_families_go_in_as_they_are),
		cmocka_unit_test(an_error_says_which_and_the_next_call_knows_nothing_of_it),
		cmocka_unit_test(a_set_that_a_stranger_replaced_is_taken_as_it_is_now),
		cmocka_unit_test(destroying_an_absent_set_is_fine_and_a_used_one_is_busy),
		cmocka_unit_test(a_large_set_is_filled_in_batches_and_counted_by_its_head),
		cmocka_unit_test(no_descriptor_would_reach_a_child),
		cmocka_unit_test(two_may_be_open_and_nothing_may_be_closed),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
