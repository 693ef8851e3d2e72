/* sockdiag: real sockets on lo of a namespace of our own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "clashsup/sockdiag.h"
#include "netns.h"

#define PORT 7893

static const int protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

#define EACH_PROTOCOL(p) (size_t p = 0; p < 2; p++)

/* `address` NULL = the wildcard of the family. A TCP socket listens. */
static int bound(int protocol, int af, const char *address, uint16_t port, bool v6only)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(af, (protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	int on = v6only, reuse = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)), 0);
	if (af == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
	if (address)
		assert_int_equal(
			inet_pton(af, address, af == AF_INET ? (void *)&four.sin_addr : (void *)&six.sin6_addr), 1);
	if (af == AF_INET)
		assert_int_equal(bind(fd, (const void *)&four, sizeof(four)), 0);
	else
		assert_int_equal(bind(fd, (const void *)&six, sizeof(six)), 0);
	if (protocol == IPPROTO_TCP)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* The inode found, 0 for nobody. */
static uint64_t find(enum ip_family family, int protocol)
{
	struct sockdiag_socket found = { 0, 0 };
	struct err e = ERR_INIT;
	int r = sockdiag_find(family, protocol, PORT, &found, &e);

	if (r < 0)
		print_message("%s\n", e.msg);
	assert_true(r == 0 || r == 1);
	assert_int_equal(found.inode != 0, r == 1);
	assert_int_equal(found.uid, r == 1 ? getuid() : 0);
	return found.inode;
}

static void nobody_is_found_where_nobody_is(void **state)
{
	NEED_NETNS(state);
	for
		EACH_PROTOCOL(p)
		{
			int other = bound(protocols[p], AF_INET6, NULL, PORT + 1, false);
			int wrong = bound(protocols[1 - p], AF_INET6, NULL, PORT, false);

			assert_int_equal(find(IP_V4, protocols[p]), 0);
			assert_int_equal(find(IP_V6, protocols[p]), 0);
			close(other);
			close(wrong);
		}
}

static void each_kind_of_listener_answers_for_its_families(void **state)
{
	static const struct {
		int af;
		const char *address;
		bool v6only, v4_found, v6_found;
	} rows[] = {
		{ AF_INET, NULL, false, true, false },
		{ AF_INET, "127.0.0.1", false, true, false },
		{ AF_INET6, NULL, false, true, true },
		{ AF_INET6, NULL, true, false, true },
		{ AF_INET6, "::1", false, false, true },
		{ AF_INET, "127.0.0.2", false, false, false },
		{ AF_INET6, "::ffff:127.0.0.1", false, true, false },
	};

	NEED_NETNS(state);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for
			EACH_PROTOCOL(p)
			{
				int fd = bound(protocols[p], rows[i].af, rows[i].address, PORT, rows[i].v6only);

				assert_int_equal(find(IP_V4, protocols[p]), rows[i].v4_found ? inode_of(fd) : 0);
				assert_int_equal(find(IP_V6, protocols[p]), rows[i].v6_found ? inode_of(fd) : 0);
				close(fd);
			}
	}
}

static void the_more_exact_of_two_is_the_one_that_would_take_the_packet(void **state)
{
	NEED_NETNS(state);
	for
		EACH_PROTOCOL(p)
		{
			int exact = bound(protocols[p], AF_INET, "127.0.0.1", PORT, false);
			int other = bound(protocols[p], AF_INET, "127.0.0.2", PORT, false);

			assert_int_equal(find(IP_V4, protocols[p]), inode_of(exact));
			close(exact);
			assert_int_equal(find(IP_V4, protocols[p]), 0);
			close(other);
		}
}

static void a_tcp_socket_that_does_not_listen_is_nobody(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(PORT),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener, client, served, merely_bound;

	NEED_NETNS(state);
	listener = bound(IPPROTO_TCP, AF_INET, "127.0.0.1", PORT, false);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (const void *)&at, sizeof(at)), 0);
	served = accept(listener, NULL, NULL);
	assert_true(served >= 0);
	assert_int_equal(find(IP_V4, IPPROTO_TCP), inode_of(listener));
	close(listener);
	assert_int_equal(find(IP_V4, IPPROTO_TCP), 0); /* the accepted one lives on at that port */
	close(served);
	close(client);
	merely_bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	at.sin_port = htons(PORT);
	(void)setsockopt(merely_bound, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	assert_int_equal(bind(merely_bound, (const void *)&at, sizeof(at)), 0);
	assert_int_equal(find(IP_V4, IPPROTO_TCP), 0);
	close(merely_bound);
}

static void a_connected_udp_socket_is_nobody(void **state)
{
	struct sockaddr_in peer = { .sin_family = AF_INET,
				    .sin_port = htons(9),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

	NEED_NETNS(state);
	fd = bound(IPPROTO_UDP, AF_INET, "127.0.0.1", PORT, false);
	assert_int_equal(find(IP_V4, IPPROTO_UDP), inode_of(fd));
	assert_int_equal(connect(fd, (const void *)&peer, sizeof(peer)), 0);
	assert_int_equal(find(IP_V4, IPPROTO_UDP), 0);
	close(fd);
}

static void a_kernel_without_the_protocol_is_an_error_not_nobody(void **state)
{
	struct sockdiag_socket found;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	assert_int_equal(sockdiag_find(IP_V4, 200, PORT, &found, &e), -EPROTONOSUPPORT);
}

/* A child that holds the socket alone, until it is killed. */
static pid_t hand_over(int *fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "a holder");
		close(STDOUT_FILENO); /* its output is nobody's; and a sign that the name is set */
		for (;;)
			pause();
	}
	close(*fd);
	*fd = -1;
	return pid;
}

static void the_holder_of_a_socket_is_found_by_pid_and_by_walk(void **state)
{
	char name[32] = "", tiny[3] = "";
	uint64_t inode;
	pid_t child, found = 0;
	int fd;

	NEED_NETNS(state);
	fd = bound(IPPROTO_TCP, AF_INET, NULL, PORT, false);
	inode = inode_of(fd);
	assert_int_equal(sockdiag_owned_by(getpid(), inode), 1);
	child = hand_over(&fd);
	assert_int_not_equal(sockdiag_owned_by(getpid(), inode), 1);
	assert_int_equal(sockdiag_owned_by(child, inode), 1);
	for (int i = 0; i < 200 && strcmp(name, "a holder") != 0; i++) {
		usleep(5000);
		assert_int_equal(sockdiag_owner(inode, &found, name, sizeof(name)), 1);
	}
	assert_int_equal(found, child);
	assert_string_equal(name, "a holder");
	assert_int_equal(sockdiag_owner(inode, &found, tiny, sizeof(tiny)), 1);
	assert_string_equal(tiny, "a ");
	assert_int_equal(find(IP_V4, IPPROTO_TCP), inode);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_not_equal(sockdiag_owned_by(child, inode), 1);
	assert_int_equal(sockdiag_owner(inode, &found, name, sizeof(name)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_found_where_nobody_is),
		cmocka_unit_test(each_kind_of_listener_answers_for_its_families),
		cmocka_unit_test(the_more_exact_of_two_is_the_one_that_would_take_the_packet),
		cmocka_unit_test(a_tcp_socket_that_does_not_listen_is_nobody),
		cmocka_unit_test(a_connected_udp_socket_is_nobody),
		cmocka_unit_test(a_kernel_without_the_protocol_is_an_error_not_nobody),
		cmocka_unit_test(the_holder_of_a_socket_is_found_by_pid_and_by_walk),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
