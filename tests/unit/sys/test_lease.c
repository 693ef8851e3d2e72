/* lease: real sets and real conntrack entries in a namespace of our own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

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
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, both, &e), 0);
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, both, &e), 0);
	assert_true(holds_everything());
	assert_int_equal(count(&f, "clash_lease"), 2);
	assert_int_equal(count(&f, "clash_lease6"), 2);
	assert_int_equal(lease_off(f.lease, FW_IPTABLES, &e), 0);
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
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, none, &e), 0);
	assert_int_equal(count(&f, "clash_lease") + count(&f, "clash_lease6"), 0);
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, only_v6, &e), 0);
	assert_int_equal(count(&f, "clash_lease"), 0);
	assert_int_equal(count(&f, "clash_lease6"), 2);
	assert_int_equal(lease_off(f.lease, FW_IPTABLES, &e), 0);
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, only_v4, &e), 0);
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
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, both, &e), 0);
	usleep(2000 * 1000);
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, both, &e), 0);
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
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, both, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "clash_lease6"));
	assert_int_equal(count(&f, "clash_lease"), 2);
	assert_int_equal(lease_off(f.lease, FW_IPTABLES, &e), 0); /* the absent one keeps nothing from the other */
	assert_int_equal(count(&f, "clash_lease"), 0);
	assert_int_equal(ipset_destroy(f.sets, "clash_lease", &e), 0);
	assert_int_equal(lease_off(f.lease, FW_IPTABLES, &e), 0);
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, only_v4, &e), -ENOENT);
	assert_int_equal(lease_refresh(f.lease, FW_IPTABLES, only_v6, &e), -ENOENT);
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

static long all_entries(const char *protocol, int port)
{
	char command[200];

	snprintf(command, sizeof(command),
		 "{ conntrack -L -f ipv4 -p %s --dport %d; conntrack -L -f ipv6 -p %s --dport %d; } 2>/dev/null | "
		 "grep -c ^%s",
		 protocol, port, protocol, port, protocol);
	return sh_number(command);
}

static long entries(int port)
{
	return all_entries("udp", port);
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

static int listen_any(uint16_t port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const void *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int dial(int af, uint16_t port)
{
	struct sockaddr_in four = { .sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6,
				    .sin6_port = htons(port),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(af, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, af == AF_INET ? (const void *)&four : (const void *)&six,
				 af == AF_INET ? sizeof(four) : sizeof(six)),
			 0);
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

/* ---- the lease in the nft table ---- */

#define TABLE                                                                                                          \
	"nft -f - <<'E'\ntable inet clashsup {\n set clash_lease { typeof meta nfproto; flags timeout; }\n"            \
	" chain out { type filter hook output priority -200; udp dport != 6001 accept\n"                               \
	" meta nfproto @clash_lease counter drop\n}\n}\nE\n"

static size_t nft_elements(void)
{
	long n = sh_number("nft list set inet clashsup clash_lease | grep -o 'ipv[46]' | wc -l");

	assert_true(n >= 0);
	return (size_t)n;
}

static struct lease *begin_nft(void)
{
	struct lease *l = NULL;
	struct err e = ERR_INIT;

	assert_true(sh(TABLE));
	assert_int_equal(lease_open(&l, 0x1, &e), 0);
	return l;
}

static void end_nft(struct lease *l)
{
	lease_close(l);
	assert_true(sh("nft delete table inet clashsup"));
}

/* Does a datagram that the lease holds back come out? */
static bool goes_out(int fd, bool six)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(6001) };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(6001) };

	four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to6.sin6_addr = in6addr_loopback;
	return sendto(fd, "x", 1, 0, six ? (const void *)&to6 : (const void *)&four,
		      six ? sizeof(to6) : sizeof(four)) == 1; /* EPERM when a rule of OUTPUT drops it */
}

static void in_nft_a_refresh_takes_the_families_asked_for_and_off_none(void **state)
{
	struct err e = ERR_INIT;
	struct lease *l;

	NEED_NETNS(state);
	l = begin_nft();
	assert_int_equal(lease_refresh(l, FW_NFT, none, &e), 0);
	assert_int_equal(nft_elements(), 0);
	assert_int_equal(lease_refresh(l, FW_NFT, only_v6, &e), 0);
	assert_true(sh("nft list set inet clashsup clash_lease | grep -q 'ipv6 timeout 3s'"));
	assert_int_equal(nft_elements(), 1);
	assert_int_equal(lease_refresh(l, FW_NFT, both, &e), 0);
	assert_int_equal(lease_refresh(l, FW_NFT, both, &e), 0);
	assert_int_equal(nft_elements(), 2);
	assert_int_equal(lease_refresh(l, FW_NFT, only_v4, &e), 0);
	assert_true(sh("nft list set inet clashsup clash_lease | grep -q 'ipv4 timeout 3s'"));
	assert_int_equal(nft_elements(), 1);
	assert_int_equal(lease_off(l, FW_NFT, &e), 0);
	assert_int_equal(nft_elements(), 0);
	assert_int_equal(lease_off(l, FW_NFT, &e), 0);
	end_nft(l);
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Refreshed much oftener than in life, with a packet of each family all the time: the rule matches every one. */
static void in_nft_no_packet_slips_through_a_refresh_and_all_do_after_three_seconds(void **state)
{
	int four = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), six = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int64_t start, last = 0, spent = 0;
	unsigned refreshed = 0, sent = 0;
	struct err e = ERR_INIT;
	struct lease *l;
	pid_t child;
	int status;

	NEED_NETNS(state);
	l = begin_nft();
	assert_int_equal(lease_refresh(l, FW_NFT, both, &e), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) { /* on the other processor, so that packets meet a transaction in the middle */
		int64_t end = now_us() + 1500000;

		while (now_us() < end) {
			if (goes_out(four, false) || goes_out(six, true))
				_exit(1);
		}
		_exit(0);
	}
	while (waitpid(child, &status, WNOHANG) == 0) {
		start = now_us();
		assert_int_equal(lease_refresh(l, FW_NFT, both, &e), 0);
		last = now_us();
		spent += last - start;
		refreshed++;
		usleep(1000);
	}
	assert_int_equal(status, 0);
	for (start = now_us(); !goes_out(four, false) && now_us() - start < 5000000; sent++)
		usleep(1000);
	start = now_us() - last;
	printf("a refresh took %lld us (mean of %u); the lease ended after %lld ms\n", (long long)(spent / refreshed),
	       refreshed, (long long)(start / 1000));
	assert_true(sent > 100);
	assert_true(start > 2900000 && start < 3300000);
	assert_true(goes_out(six, true));
	assert_int_equal(lease_refresh(l, FW_NFT, both, &e), 0); /* the expired elements do no harm */
	assert_false(goes_out(four, false));
	assert_int_equal(lease_off(l, FW_NFT, &e), 0);
	assert_true(goes_out(four, false) && goes_out(six, true));
	close(four);
	close(six);
	end_nft(l);
}

static void without_the_table_or_the_set_off_is_fine_and_a_refresh_is_an_error(void **state)
{
	struct err e = ERR_INIT;
	struct lease *l;

	NEED_NETNS(state);
	l = begin_nft();
	assert_true(sh("nft flush ruleset && nft add table inet clashsup"));
	assert_int_equal(lease_off(l, FW_NFT, &e), 0);
	assert_int_equal(lease_refresh(l, FW_NFT, both, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "nft table clashsup"));
	assert_true(sh("nft delete table inet clashsup"));
	assert_int_equal(lease_off(l, FW_NFT, &e), 0);
	assert_int_equal(lease_refresh(l, FW_NFT, only_v4, &e), -ENOENT);
	assert_true(sh(TABLE));
	assert_int_equal(lease_refresh(l, FW_NFT, only_v4, &e), 0); /* the failures left nothing behind in the socket */
	end_nft(l);
}

static void connections_to_port_53_are_forgotten_in_both_protocols_and_families(void **state)
{
	struct err e = ERR_INIT;
	struct lease *l = NULL;
	int udp53, udp54, tcp53, tcp54, ends[4];

	NEED_NETNS(state);
	assert_true(sh("iptables -t mangle -A OUTPUT -m conntrack --ctdir REPLY -j ACCEPT &&"
		       " ip6tables -t mangle -A OUTPUT -m conntrack --ctdir REPLY -j ACCEPT"));
	assert_int_equal(lease_open(&l, 0x1, &e), 0);
	assert_int_equal(lease_forget_dns(l, &e), 0);
	udp53 = bind_any(53);
	udp54 = bind_any(54);
	tcp53 = listen_any(53);
	tcp54 = listen_any(54);
	for (int i = 0; i < 100; i++) /* more than one send of deletions */
		send_from_everywhere(53);
	send_from_everywhere(54);
	for (int i = 0; i < 4; i++)
		ends[i] = dial(i % 2 ? AF_INET6 : AF_INET, i < 2 ? 53 : 54);
	assert_true(all_entries("udp", 53) > 150); /* two may have met on one source port */
	assert_int_equal(all_entries("tcp", 53), 2);
	assert_int_equal(lease_forget_dns(l, &e), 0);
	assert_int_equal(all_entries("udp", 53), 0);
	assert_int_equal(all_entries("tcp", 53), 0);
	assert_int_equal(all_entries("udp", 54), 2);
	assert_int_equal(all_entries("tcp", 54), 2);
	assert_int_equal(lease_forget_dns(l, &e), 0);
	for (int i = 0; i < 4; i++)
		close(ends[i]);
	close(udp53);
	close(udp54);
	close(tcp53);
	close(tcp54);
	lease_close(l);
	assert_true(sh("iptables -t mangle -F && ip6tables -t mangle -F"));
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
		cmocka_unit_test(in_nft_a_refresh_takes_the_families_asked_for_and_off_none),
		cmocka_unit_test(in_nft_no_packet_slips_through_a_refresh_and_all_do_after_three_seconds),
		cmocka_unit_test(without_the_table_or_the_set_off_is_fine_and_a_refresh_is_an_error),
		cmocka_unit_test(connections_to_port_53_are_forgotten_in_both_protocols_and_families),
		cmocka_unit_test(a_mark_of_zero_is_refused_since_it_would_mean_everybody),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
