/*
 * What cost.py loads the router with.
 *
 *	load sink ADDR PORT                     UDP and TCP: reads TCP, lets UDP drop; ends with its stdin
 *	load greet ADDR PORT TO TOPORT          one datagram, so that the router knows the flow
 *	load flood ADDR PORT TO TOPORT BATCHES  datagrams, as fast as one CPU can send them;
 *	                                        prints the median of the batches, in ns of CPU a packet
 *	load stream TO TOPORT MS                a TCP stream; prints MB/s
 *
 * With veth links a packet is carried to its end on the CPU of its sender, below
 * its system call: the CPU time of the call holds all that the router does, and
 * nothing of what else this machine does.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CALL = 50, CALLS = 40, BATCHES_MAX = 4096, CHUNK = 128 * 1024, TURN = 64 };

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static struct sockaddr_in place(const char *address, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((in_port_t)strtoul(port, NULL, 10)) };

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", address);
		exit(2);
	}
	return a;
}

static int bound(int kind, char **at)
{
	struct sockaddr_in a = place(at[0], at[1]);
	int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0), on = 1;

	check(fd, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	check(bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind");
	return fd;
}

static int connected(int fd, char **to)
{
	struct sockaddr_in a = place(to[0], to[1]);

	check(connect(fd, (struct sockaddr *)&a, sizeof(a)), "connect");
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev), "epoll_ctl");
}

static int sink(char **at)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), listener = bound(SOCK_STREAM, at);
	struct epoll_event events[TURN];

	bound(SOCK_DGRAM, at);
	check(listen(listener, TURN), "listen");
	watch(epoll, listener);
	watch(epoll, STDIN_FILENO);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll, events, TURN, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == STDIN_FILENO)
				return 0;
			if (fd == listener)
				watch(epoll, accept(fd, NULL, NULL));
			else if (recv(fd, NULL, 1 << 24, MSG_TRUNC | MSG_DONTWAIT) == 0) /* thrown away unread */
				close(fd);
		}
	}
}

static int greet(char **arg)
{
	return send(connected(bound(SOCK_DGRAM, arg), arg + 2), "x", 1, 0) == 1 ? 0 : 1;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int flood(char **arg)
{
	static double batch[BATCHES_MAX];
	char payload[100] = { 0 };
	struct iovec part = { payload, sizeof(payload) };
	struct mmsghdr call[CALL] = { 0 };
	size_t n = strtoul(arg[4], NULL, 10);
	cpu_set_t one;
	int fd = connected(bound(SOCK_DGRAM, arg), arg + 2);

	if (n == 0 || n > BATCHES_MAX)
		return 2;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	check(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
	for (int i = 0; i < CALL; i++)
		call[i].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
	for (size_t b = 0; b < n; b++) {
		int64_t began = now_ns(CLOCK_THREAD_CPUTIME_ID);

		for (int i = 0; i < CALLS; i++)
			check(sendmmsg(fd, call, CALL, 0), "sendmmsg");
		batch[b] = (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - began) / (CALL * CALLS);
	}
	qsort(batch, n, sizeof(*batch), by_value);
	printf("%.1f\n", batch[n / 2]);
	return 0;
}

static int stream(char **arg)
{
	static char chunk[CHUNK];
	int fd = connected(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), arg);
	int64_t began = now_ns(CLOCK_MONOTONIC), end = began + (int64_t)strtoul(arg[2], NULL, 10) * 1000000, sent = 0;

	while (now_ns(CLOCK_MONOTONIC) < end) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		check((int)n, "send");
		sent += n;
	}
	printf("%.1f\n", (double)sent * 1000.0 / (double)(now_ns(CLOCK_MONOTONIC) - began));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char **arg);
	} verbs[] = { { "sink", 2, sink }, { "greet", 4, greet }, { "flood", 5, flood }, { "stream", 3, stream } };

	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[1], verbs[i].name) == 0 && argc == verbs[i].args + 2)
			return verbs[i].run(argv + 2);
	}
	fputs("usage: load sink|greet|flood|stream …, see the top of load.c\n", stderr);
	return 2;
}
