/* ipset: real kernel sets in a namespace of our own; the ipset program is the second opinion. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

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

static void swapped_sets_have_each_others_content_also_for_a_rule_that_uses_one(void **state)
{
	struct err e = ERR_INIT;
	struct addr one = addr("11.0.0.1");
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "a", V4_TYPE, &e), 0);
	assert_int_equal(ipset_create(s, "b", V4_TYPE, &e), 0);
	assert_int_equal(ipset_create(s, "six", V6_TYPE, &e), 0);
	assert_int_equal(ipset_change(s, "b", &one, 1, NULL, 0, &e), 0);
	assert_true(sh("iptables -A OUTPUT -m set --match-set a dst -j ACCEPT"));
	assert_int_equal(ipset_swap(s, "a", "b", &e), 0);
	assert_int_equal(count(s, "a"), 1);
	assert_int_equal(count(s, "b"), 0);
	assert_true(sh("iptables -S OUTPUT | grep -q 'match-set a dst'"));
	assert_int_equal(ipset_destroy(s, "b", &e), 0);
	assert_int_equal(ipset_destroy(s, "a", &e), -EBUSY);
	assert_int_equal(ipset_swap(s, "a", "gone", &e), -EPROTO);
	assert_int_equal(ipset_swap(s, "a", "six", &e), -EPROTO);
	assert_int_equal(ipset_swap(s, "a", "", &e), -EINVAL);
	assert_true(sh("iptables -F OUTPUT"));
	close_sets(s);
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
		assert_int_equal(ipset_add_elements(s, name[f], nets, n, &e), 0);
		assert_int_equal(ipset_add_elements(s, name[f], nets, n, &e), 0);
		assert_int_equal(count(s, name[f]), n);
	}
	assert_true(sh("ipset -q test r 10.1.2.3 && ipset -q test r6 fe80::1"));
	assert_false(sh("ipset -q test r 11.1.2.3"));
	assert_int_equal(ipset_add_elements(s, "r", (const char *const[]){ "localhost" }, 1, &e), -EINVAL);
	close_sets(s);
}

/* `ipset list` prints elements one a line behind the head; sorted, joined by blanks. */
static bool holds(const char *set, const char *elements)
{
	char command[1024];

	snprintf(command, sizeof(command),
		 "test \"$(ipset list %s | sed '1,/^Members/d' | LC_ALL=C sort | xargs)\" = '%s'", set, elements);
	return sh(command);
}

/* Not every kernel has it (CONFIG_IP_SET_HASH_MAC). */
static bool kernel_has_macs(void)
{
	bool has = sh("ipset create probe hash:mac 2>/dev/null && ipset destroy probe");

	if (!has)
		printf("SKIP: this kernel has no hash:mac\n");
	return has;
}

static void elements_are_what_the_type_says(void **state)
{
	static const char *const macs[] = { "02:00:5E:00:00:0a", "aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff" };
	static const char *const ports[] = { "22", "1000-1002", "65535", "0" };
	static const char *const nets[] = { "10.0.0.0/8", "192.0.2.1" };
	struct err e = ERR_INIT;
	struct ipset *s;
	bool macs_too;

	NEED_NETNS(state);
	macs_too = kernel_has_macs();
	s = open_sets();
	assert_int_equal(ipset_create(s, "p", "bitmap:port range 0-65535", &e), 0);
	assert_int_equal(ipset_create(s, "p", "bitmap:port range 0-65535", &e), 0);
	assert_int_equal(ipset_create(s, "n", "hash:net family inet maxelem 131072", &e), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ipset_add_elements(s, "p", ports, 4, &e), 0);
		assert_int_equal(ipset_add_elements(s, "n", nets, 2, &e), 0);
	}
	assert_true(holds("p", "0 1000 1001 1002 22 65535"));
	assert_true(holds("n", "10.0.0.0/8 192.0.2.1"));
	for (int i = 0; i < 2 && macs_too; i++) {
		assert_int_equal(ipset_create(s, "m", "hash:mac", &e), 0);
		assert_int_equal(ipset_add_elements(s, "m", macs, 3, &e), 0);
		assert_true(holds("m", "02:00:5E:00:00:0A AA:BB:CC:DD:EE:FF"));
	}
	close_sets(s);
}

static void what_is_no_element_is_refused_and_no_name_is_looked_up(void **state)
{
	static const struct {
		const char *set, *element;
	} rows[] = { { "m", "aa:bb:cc:dd:ee" },
		     { "m", "aa:bb:cc:dd:ee:fg" },
		     { "m", "aa:bb:cc:dd:ee:ff:" },
		     { "m", "aa-bb-cc-dd-ee-ff" },
		     { "m", " a:bb:cc:dd:ee:ff" },
		     { "m", "22" },
		     { "m", "" },
		     { "p", "ssh" },
		     { "p", "tcp:22" },
		     { "p", "65536" },
		     { "p", "2000-1000" },
		     { "p", "1-" },
		     { "p", "-1" },
		     { "p", "1-2-3" },
		     { "p", "0000000000001" },
		     { "p", "" },
		     { "n", "localhost" },
		     { "n", "127.1" },
		     { "n", "10.0.0.0/33" },
		     { "n", "10.0.0.1-10.0.0.9" },
		     { "n", "" } };
	struct err e = ERR_INIT;
	struct ipset *s;
	bool macs_too;

	NEED_NETNS(state);
	macs_too = kernel_has_macs();
	s = open_sets();
	if (macs_too)
		assert_int_equal(ipset_create(s, "m", "hash:mac", &e), 0);
	assert_int_equal(ipset_create(s, "p", "bitmap:port range 0-65535", &e), 0);
	assert_int_equal(ipset_create(s, "n", "hash:net family inet", &e), 0);
	assert_int_equal(ipset_create(s, "two", "hash:ip,port family inet", &e), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].set[0] == 'm' && !macs_too)
			continue;
		if (ipset_add_elements(s, rows[i].set, &rows[i].element, 1, &e) != -EINVAL)
			fail_msg("row %zu: %s", i, e.msg);
		assert_non_null(strstr(e.msg, "element 1"));
	}
	assert_int_equal(ipset_add_elements(s, "two", (const char *const[]){ "10.0.0.1" }, 1, &e), -EOPNOTSUPP);
	assert_int_equal(ipset_add_elements(s, "n", (const char *const[]){ "::/64" }, 1, &e), -EAFNOSUPPORT);
	assert_int_equal(ipset_add_elements(s, "none", (const char *const[]){ "10.0.0.1" }, 1, &e), -ENOENT);
	assert_int_equal(ipset_add_elements(s, "", (const char *const[]){ "10.0.0.1" }, 1, &e), -EINVAL);
	assert_true(holds("p", "") && holds("n", ""));
	close_sets(s);
}

static struct addr_net net(const char *text)
{
	struct addr_net n;

	assert_int_equal(addr_net_parse(text, &n), 0);
	return n;
}

static void a_small_set_is_made_to_hold_exactly_the_wanted(void **state)
{
	const struct addr_net first[] = { net("203.0.114.0/24"), net("198.20.0.0/16") },
			      second[] = { net("198.20.0.0/16"), net("198.20.0.0/17"), net("45.0.0.1/32") },
			      six[] = { net("2001:db8:1::/64"), net("2001:db8:2::/64") };
	static struct addr_net many[IPSET_REPLACE_MAX + 1];
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "n", "hash:net family inet", &e), 0);
	assert_int_equal(ipset_create(s, "n6", "hash:net family inet6", &e), 0);
	assert_int_equal(ipset_replace_nets(s, "n", first, 2, &e), 0);
	assert_int_equal(ipset_replace_nets(s, "n6", six, 2, &e), 0);
	assert_true(holds("n", "198.20.0.0/16 203.0.114.0/24"));
	assert_int_equal(ipset_replace_nets(s, "n", second, 3, &e), 0);
	assert_int_equal(ipset_replace_nets(s, "n6", six + 1, 1, &e), 0);
	assert_true(holds("n", "198.20.0.0/16 198.20.0.0/17 45.0.0.1"));
	assert_true(holds("n6", "2001:db8:2::/64"));
	assert_true(sh("for i in $(seq 0 255); do echo add n 11.0.$i.0/24; echo add n 11.1.$i.0/24;"
		       " echo add n 11.2.$i.0/24; done | ipset restore")); /* more than one look holds */
	assert_int_equal(ipset_replace_nets(s, "n", second, 1, &e), 0);
	assert_true(holds("n", "198.20.0.0/16"));
	for (size_t i = 0; i < IPSET_REPLACE_MAX; i++) {
		many[i] = net("12.0.0.0/24");
		many[i].addr.bytes[2] = (uint8_t)i;
	}
	assert_int_equal(ipset_replace_nets(s, "n", many, IPSET_REPLACE_MAX + 1, &e), -E2BIG);
	assert_int_equal(ipset_replace_nets(s, "n", many, IPSET_REPLACE_MAX, &e), 0);
	assert_int_equal(count(s, "n"), IPSET_REPLACE_MAX);
	assert_int_equal(ipset_replace_nets(s, "n", six, 1, &e), -EAFNOSUPPORT);
	assert_int_equal(ipset_replace_nets(s, "none", first, 1, &e), -ENOENT);
	assert_int_equal(ipset_replace_nets(s, "", first, 1, &e), -EINVAL);
	assert_int_equal(ipset_replace_nets(s, "n", NULL, 0, &e), 0);
	assert_int_equal(count(s, "n"), 0);
	close_sets(s);
}

static void ten_thousand_networks_go_in_by_ten_calls(void **state)
{
	static char texts[10000][24];
	static const char *elements[10000];
	struct timespec from, to;
	struct err e = ERR_INIT;
	struct ipset *s;

	NEED_NETNS(state);
	s = open_sets();
	assert_int_equal(ipset_create(s, "n", "hash:net family inet maxelem 131072", &e), 0);
	for (int i = 0; i < 10000; i++) {
		snprintf(texts[i], sizeof(texts[i]), "11.%d.%d.0/24", i / 250, i % 250);
		elements[i] = texts[i];
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 10000; i += IPSET_BATCH)
		assert_int_equal(ipset_add_elements(s, "n", elements + i, IPSET_BATCH, &e), 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	print_message("10 calls: %.1f ms\n",
		      (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
	assert_int_equal(count(s, "n"), 10000);
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
		cmocka_unit_test(swapped_sets_have_each_others_content_also_for_a_rule_that_uses_one),
		cmocka_unit_test(a_set_can_be_created_twice_but_not_with_other_parameters),
		cmocka_unit_test(bad_names_and_types_are_refused_with_a_sentence),
		cmocka_unit_test(an_empty_name_never_means_every_set),
		cmocka_unit_test(changes_apply_and_repeat_without_complaint),
		cmocka_unit_test(the_reserved_networks_of_both_families_go_in_as_they_are),
		cmocka_unit_test(elements_are_what_the_type_says),
		cmocka_unit_test(what_is_no_element_is_refused_and_no_name_is_looked_up),
		cmocka_unit_test(a_small_set_is_made_to_hold_exactly_the_wanted),
		cmocka_unit_test(ten_thousand_networks_go_in_by_ten_calls),
		cmocka_unit_test(an_error_says_which_and_the_next_call_knows_nothing_of_it),
		cmocka_unit_test(a_set_that_a_stranger_replaced_is_taken_as_it_is_now),
		cmocka_unit_test(destroying_an_absent_set_is_fine_and_a_used_one_is_busy),
		cmocka_unit_test(a_large_set_is_filled_in_batches_and_counted_by_its_head),
		cmocka_unit_test(no_descriptor_would_reach_a_child),
		cmocka_unit_test(two_may_be_open_and_nothing_may_be_closed),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
