/* lease: real sets and real conntrack entries in a namespace of our own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/ipset.h"
#include "clashsup/lease.h"
#include "netns.h"

static const bool both[] = { true, true }, only_v4[] = { true, false }, only_v6[] = { false, true }, none[2];

struct fixture {
	struct ipset *sets;
	struct lease *lease;
};

static struct fixture begin(void)
{
	struct fixture f = { NULL, NULL };
	struct err e = ERR_INIT;

	assert_int_equal(ipset_open(&f.sets, &e), 0);
	assert_int_equal(ipset_create(f.sets, "clash_lease", LEASE_SET_TYPE_V4, &e), 0);
	assert_int_equal(ipset_create(f.sets, "clash_lease6", LEASE_SET_TYPE_V6, &e), 0);
	assert_int_equal(lease_open(&f.lease, 0x1, &e), 0);
	return f;
}

static void end(struct fixture *f)
{
	struct err e = ERR_INIT;

	assert_int_equal(ipset_destroy(f->sets, "clash_lease", &e), 0);
	assert_int_equal(ipset_destroy(f->sets, "clash_lease6", &e), 0);
	lease_close(f->lease);
	ipset_close(f->sets);
}

static size_t count(const struct fixture *f, const char *name)
{
	struct err e = ERR_INIT;
	size_t n = SIZE_MAX;

	assert_int_equal(ipset_exists(f->sets, name, &n, &e), 1);
	return n;
}

static bool holds_everything(void)
{
	return sh("ipset -q test clash_lease 1.2.3.4 && ipset -q test clash_lease 203.0.113.9 &&"
		  " ipset -q test clash_lease6 ::1 && ipset -q test clash_lease6 2001:db8::1 &&"
		  " ipset -q test clash_lease6 fe80::1");
}

static void a_refresh_covers_every_address_and_off_none(void **state)
{
	struct err e = ERR_INIT;
	struct fixture f;

	NEED_NETNS(state);
	f = begin();
	assert_int_equal(lease_refresh(f.lease, both, &e), 0);
	assert_int_equal(lease_refresh(f.lease, both, &e), 0);
	assert_true(holds_everything());
	assert_int_equal(count(&f, "clash_lease"), 2);
	assert_int_equal(count(&f, "clash_lease6"), 2);
	assert_int_equal(lease_off(f.lease, &e), 0);
	assert_int_equal(count(&f, "clash_lease"), 0);
	assert_int_equal(count(&f, "clash_lease6"), 0);
	end(&f);
}

static void only_the_families_asked_for_are_refreshed(void **state)
{
	struct err e = ERR_INIT;
	struct fixture f;

	NEED_NETNS(state);
	f = begin();
	assert_int_equal(lease_refresh(f.lease, none, &e), 0);
	assert_int_equal(count(&f, "clash_lease") + count(&f, "clash_lease6"), 0);
	assert_int_equal(lease_refresh(f.lease, only_v6, &e), 0);
	assert_int_equal(count(&f, "clash_lease"), 0);
	assert_int_equal(count(&f, "clash_lease6"), 2);
	assert_int_equal(lease_off(f.lease, &e), 0);
	assert_int_equal(lease_refresh(f.lease, only_v4, &e), 0);
	assert_int_equal(count(&f, "clash_lease"), 2);
	assert_int_equal(count(&f, "clash_lease6"), 0);
	end(&f);
}

static void a_refresh_renews_the_time_and_without_it_the_lease_ends(void **state)
{
	struct err e = ERR_INIT;
	struct fixture f;

	NEED_NETNS(state);
	f = begin();
	assert_int_equal(lease_refresh(f.lease, both, &e), 0);
	usleep(2000 * 1000);
	assert_int_equal(lease_refresh(f.lease, both, &e), 0);
	usleep(2000 * 1000);
	assert_true(holds_everything());
	usleep(1500 * 1000);
	assert_false(sh("ipset -q test clash_lease 1.2.3.4"));
	assert_false(sh("ipset -q test clash_lease6 2001:db8::1"));
	end(&f);
}

static void absent_sets_are_fine_for_off_and_an_error_for_a_refresh(void **state)
{
	struct err e = ERR_INIT;
	struct fixture f;

	NEED_NETNS(state);
	f = begin();
	assert_int_equal(ipset_destroy(f.sets, "clash_lease6", &e), 0);
	assert_int_equal(lease_refresh(f.lease, both, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "clash_lease6"));
	assert_int_equal(count(&f, "clash_lease"), 2);
	assert_int_equal(lease_off(f.lease, &e), 0); /* the absent one keeps nothing from the other */
	assert_int_equal(count(&f, "clash_lease"), 0);
	assert_int_equal(ipset_destroy(f.sets, "clash_lease", &e), 0);
	assert_int_equal(lease_off(f.lease, &e), 0);
	assert_int_equal(lease_refresh(f.lease, only_v4, &e), -ENOENT);
	assert_int_equal(lease_refresh(f.lease, only_v6, &e), -ENOENT);
	end(&f);
}

/* ---- conntrack ---- */

static void send_from_everywhere(uint16_t port)
{
	struct sockaddr_in four = { .sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6,
				    .sin6_port = htons(port),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(sendto(fd4, "x", 1, 0, (const void *)&four, sizeof(four)), 1);
	assert_int_equal(sendto(fd6, "x", 1, 0, (const void *)&six, sizeof(six)), 1);
	close(fd4);
	close(fd6);
}

static long entries(int port)
{
	char command[160];

	snprintf(command, sizeof(command),
		 "{ conntrack -L -f ipv4 -p udp --dport %d; conntrack -L -f ipv6 -p udp --dport %d; } 2>/dev/null | "
		 "grep -c "
		 "^udp",
		 port, port);
	return sh_number(command);
}

/* Ports 5001, 5002, 5003: our mark, none, one that only shares a bit with ours. */
static bool make_flows(void)
{
	static const char *const tool[] = { "iptables", "ip6tables" };
	char command[512];

	for (int i = 0; i < 2; i++) {
		snprintf(command, sizeof(command),
			 "%s -t mangle -A OUTPUT -p udp --dport 5001 -j CONNMARK --set-mark 0x1 &&"
			 " %s -t mangle -A OUTPUT -p udp --dport 5003 -j CONNMARK --set-mark 0x3 &&"
			 " %s -t mangle -A OUTPUT -p udp --dport 5002 -m conntrack --ctdir REPLY -j ACCEPT",
			 tool[i], tool[i], tool[i]);
		if (!sh(command))
			return false;
	}
	/* A listener each, since an ICMP error may end an entry that nobody has answered. */
	for (uint16_t port = 5001; port <= 5003; port++)
		send_from_everywhere(port);
	return true;
}

static int bind_any(uint16_t port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const void *)&any, sizeof(any)), 0);
	return fd;
}

static void only_flows_with_exactly_our_mark_are_forgotten_in_both_families(void **state)
{
	struct err e = ERR_INIT;
	struct fixture f;
	int fds[3];

	NEED_NETNS(state);
	if (!sh("command -v conntrack >/dev/null")) {
		printf("SKIP: no conntrack program to look at the entries with\n");
		skip();
	}
	f = begin();
	for (uint16_t i = 0; i < 3; i++)
		fds[i] = bind_any((uint16_t)(5001 + i));
	assert_true(make_flows());
	for (int port = 5001; port <= 5003; port++)
		assert_int_equal(entries(port), 2);
	assert_int_equal(lease_forget_flows(f.lease, &e), 0);
	assert_int_equal(entries(5001), 0);
	assert_int_equal(entries(5002), 2);
	assert_int_equal(entries(5003), 2);
	assert_int_equal(lease_forget_flows(f.lease, &e), 0);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	assert_true(sh("iptables -t mangle -F && ip6tables -t mangle -F"));
	end(&f);
}

static void a_mark_of_zero_is_refused_since_it_would_mean_everybody(void **state)
{
	struct lease *l = NULL;
	struct err e = ERR_INIT;
	(void)state;

	assert_int_equal(lease_open(&l, 0, &e), -EINVAL);
	assert_null(l);
	lease_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refresh_covers_every_address_and_off_none),
		cmocka_unit_test(only_the_families_asked_for_are_refreshed),
		cmocka_unit_test(a_refresh_renews_the_time_and_without_it_the_lease_ends),
		cmocka_unit_test(absent_sets_are_fine_for_off_and_an_error_for_a_refresh),
		cmocka_unit_test(only_flows_with_exactly_our_mark_are_forgotten_in_both_families),
		cmocka_unit_test(a_mark_of_zero_is_refused_since_it_would_mean_everybody),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
