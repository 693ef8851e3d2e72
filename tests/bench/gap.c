/*
 * The packet-gap meter: a client that sends something at each tick of
 * a clock and says of each thing how it went.
 *
 *	gap serve PORT ADDR4 ADDR6         the far server; ends with its stdin
 *	gap probe PORT ADDR4 ADDR6 FROM US says "ready", then sends until its stdin ends
 *
 * At each tick of US microseconds probe opens a TCP connection, sends a UDP
 * datagram from a port that was not used before (from FROM on; the kernel's choice
 * would soon meet a flow that conntrack still knows), and sends a message on one
 * of four flows, TCP and UDP, that live throughout. Ticks take turns with IPv4 and
 * IPv6. The server answers each with the peer that it saw: our own address means
 * direct, any other one proxied (so no masquerade may stand between). At its end
 * probe prints
 *
 *	SENT KIND FAMILY RESULT END
 *
 * a line each: microseconds of CLOCK_MONOTONIC; t, u (fresh), T, U (flows); 4, 6;
 * p proxied, d direct, r refused or reset, l no answer within a second. A flow
 * that ended has a line with the KIND T and the RESULT e. "# N" at last: so many
 * ticks were slept through.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	PATIENCE_US = 1000000,
	PROBES_MAX = 3 * 120 * 1000, /* two minutes of milliseconds */
	FDS_MAX = 65536,
	CATCH_UP = 20,
	TURN = 256
};

struct answer {
	uint32_t id;
	struct in6_addr peer; /* IPv4 mapped */
};

enum what { TIMER, STDIN, FLOW, PROBE, LISTENER, DATAGRAMS, CONNECTION };

static uint64_t tag(enum what what, uint32_t n)
{
	return (uint64_t)what << 32 | n;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void watch(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl");
}

/* ---- addresses ---- */

struct place {
	struct sockaddr_storage addr;
	socklen_t len;
};

static struct place far[2];

static struct place place_of(const char *text, const char *port)
{
	struct place p = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&p.addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&p.addr;
	in_port_t number = htons((in_port_t)strtoul(port, NULL, 10));

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = number;
		p.len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = number;
		p.len = sizeof(*v6);
	} else {
		fprintf(stderr, "%s is no address\n", text);
		exit(2);
	}
	return p;
}

static struct in6_addr mapped(const struct place *p)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&p->addr;
	struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (p->addr.ss_family == AF_INET6)
		return ((const struct sockaddr_in6 *)&p->addr)->sin6_addr;
	memcpy(a.s6_addr + 12, &v4->sin_addr, 4);
	return a;
}

/* ---- the far server ---- */

struct peer {
	struct in6_addr address;
	unsigned char part[4]; /* of a message that came in pieces */
	unsigned have;
};

static struct peer *peers; /* by descriptor */

static void serve_listener(int epoll, int listener)
{
	struct place from = { .len = sizeof(from.addr) };
	int fd;

	while ((fd = accept4(listener, (struct sockaddr *)&from.addr, &from.len, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= FDS_MAX) {
			close(fd);
			continue;
		}
		peers[fd] = (struct peer){ .address = mapped(&from) };
		watch(epoll, fd, EPOLLIN, tag(CONNECTION, (uint32_t)fd));
		from.len = sizeof(from.addr);
	}
}

static void serve_datagrams(int fd)
{
	struct place from = { .len = sizeof(from.addr) };
	struct answer a;

	while (recvfrom(fd, &a.id, sizeof(a.id), 0, (struct sockaddr *)&from.addr, &from.len) == sizeof(a.id)) {
		a.peer = mapped(&from);
		sendto(fd, &a, sizeof(a), 0, (struct sockaddr *)&from.addr, from.len);
		from.len = sizeof(from.addr);
	}
}

static void serve_connection(int fd)
{
	struct peer *p = &peers[fd];
	struct answer a = { .peer = p->address };
	unsigned char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			close(fd);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		p->part[p->have++] = bytes[i];
		if (p->have < sizeof(p->part))
			continue;
		p->have = 0;
		memcpy(&a.id, p->part, sizeof(a.id));
		if (send(fd, &a, sizeof(a), MSG_NOSIGNAL) < 0)
			break; /* its reader will tell */
	}
}

static void serve_open(int epoll, const struct place *at, int kind)
{
	int fd = socket(at->addr.ss_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, room = 1 << 22;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (bind(fd, (const struct sockaddr *)&at->addr, at->len) < 0)
		die("bind");
	if (kind == SOCK_STREAM && listen(fd, 4096) < 0)
		die("listen");
	watch(epoll, fd, EPOLLIN, tag(kind == SOCK_STREAM ? LISTENER : DATAGRAMS, (uint32_t)fd));
}

static int serve(int epoll)
{
	struct epoll_event events[TURN];

	peers = calloc(FDS_MAX, sizeof(*peers));
	if (!peers)
		die("calloc");
	for (unsigned f = 0; f < 2; f++) {
		serve_open(epoll, &far[f], SOCK_STREAM);
		serve_open(epoll, &far[f], SOCK_DGRAM);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll, events, TURN, -1);

		for (int i = 0; i < n; i++) {
			int fd = (int)(uint32_t)events[i].data.u64;

			switch ((enum what)(events[i].data.u64 >> 32)) {
			case LISTENER:
				serve_listener(epoll, fd);
				break;
			case DATAGRAMS:
				serve_datagrams(fd);
				break;
			case CONNECTION:
				serve_connection(fd);
				break;
			default: /* stdin */
				return 0;
			}
		}
	}
}

/* ---- the client: what was sent ---- */

struct probe {
	int64_t sent, end;
	char kind, family, result; /* result 0: pending */
	bool asked;		   /* of a connection: its question is out */
	int fd;			   /* its own, or -1 */
};

static struct probe *probes;
static uint32_t n_probes, oldest; /* all before `oldest` have their result */

static struct in6_addr own_address(int fd)
{
	struct place p = { .len = sizeof(p.addr) };

	getsockname(fd, (struct sockaddr *)&p.addr, &p.len);
	return mapped(&p);
}

static struct probe *probe_new(char kind, unsigned f, int fd)
{
	struct probe *p;

	if (n_probes == PROBES_MAX)
		exit(3);
	p = &probes[n_probes++];
	*p = (struct probe){ .sent = now_us(), .kind = kind, .family = f ? '6' : '4', .fd = fd };
	return p;
}

static void probe_end(struct probe *p, char result)
{
	if (p->result)
		return;
	p->result = result;
	p->end = now_us();
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static void answered(int fd, const struct answer *a)
{
	struct in6_addr own = own_address(fd);

	if (a->id < n_probes)
		probe_end(&probes[a->id], memcmp(&own, &a->peer, sizeof(own)) == 0 ? 'd' : 'p');
}

static void expire(void)
{
	int64_t limit = now_us() - PATIENCE_US;

	for (; oldest < n_probes && (probes[oldest].result || probes[oldest].sent < limit); oldest++)
		probe_end(&probes[oldest], 'l');
}

static int far_socket(unsigned f, int kind, uint16_t from)
{
	int fd = socket(far[f].addr.ss_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 own = { .sin6_family = far[f].addr.ss_family, .sin6_port = htons(from) };
	int on = 1;

	if (fd < 0)
		die("socket");
	/* Both families use the same ports; IPv4 has its port in the same place of the address. */
	if (f)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (from && bind(fd, (struct sockaddr *)&own, far[f].len) < 0)
		die("bind");
	if (connect(fd, (struct sockaddr *)&far[f].addr, far[f].len) < 0 && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- fresh connections and datagrams ---- */

static uint16_t next_port[2];

static void send_fresh(int epoll, unsigned f)
{
	uint32_t id = n_probes;
	struct probe *tcp = probe_new('t', f, far_socket(f, SOCK_STREAM, 0)), *udp;

	if (tcp->fd < 0)
		probe_end(tcp, 'r');
	else
		watch(epoll, tcp->fd, EPOLLIN | EPOLLOUT | EPOLLET, tag(PROBE, id));
	id = n_probes;
	udp = probe_new('u', f, far_socket(f, SOCK_DGRAM, next_port[f]++));
	if (udp->fd < 0 || send(udp->fd, &id, sizeof(id), 0) < 0)
		probe_end(udp, 'r');
	else
		watch(epoll, udp->fd, EPOLLIN, tag(PROBE, id));
}

static void on_probe(uint32_t id, uint32_t events)
{
	struct probe *p = &probes[id];
	struct answer a;
	ssize_t n;

	if (p->result)
		return;
	if (p->kind == 't' && !p->asked && (events & EPOLLOUT)) {
		p->asked = true;
		if (send(p->fd, &id, sizeof(id), MSG_NOSIGNAL) < 0) {
			probe_end(p, 'r');
			return;
		}
	}
	n = recv(p->fd, &a, sizeof(a), 0);
	if (n == sizeof(a) && a.id == id)
		answered(p->fd, &a);
	else if (n >= 0 || errno != EAGAIN)
		probe_end(p, 'r');
}

/* ---- flows ---- */

struct flow {
	int fd;
	bool up; /* may be written to */
	struct answer part;
	size_t have;
};

static struct flow flows[4]; /* TCP, then UDP; of each IPv4, then IPv6 */

static void flow_open(int epoll, unsigned i)
{
	bool tcp = i < 2;

	flows[i] = (struct flow){ .fd = far_socket(i % 2, tcp ? SOCK_STREAM : SOCK_DGRAM, 0), .up = !tcp };
	if (flows[i].fd >= 0)
		watch(epoll, flows[i].fd, EPOLLIN | (tcp ? EPOLLOUT : 0) | EPOLLET, tag(FLOW, i));
}

static void flow_ended(int epoll, unsigned i)
{
	if (flows[i].up)
		probe_end(probe_new('T', i % 2, -1), 'e');
	close(flows[i].fd);
	flow_open(epoll, i);
}

static void flow_read(int epoll, unsigned i)
{
	struct flow *f = &flows[i];

	for (;;) {
		ssize_t n = recv(f->fd, (char *)&f->part + f->have, sizeof(f->part) - f->have, 0);

		if (n <= 0) {
			if (i < 2 && (n == 0 || errno != EAGAIN))
				flow_ended(epoll, i);
			else if (n < 0 && errno != EAGAIN)
				continue; /* an ICMP error of before */
			return;
		}
		f->have += (size_t)n;
		if (f->have < sizeof(f->part))
			continue;
		f->have = 0;
		answered(f->fd, &f->part);
	}
}

static void on_flow(int epoll, unsigned i, uint32_t events)
{
	if ((events & EPOLLOUT) && !(events & EPOLLERR))
		flows[i].up = true;
	flow_read(epoll, i);
}

static void send_flow(int epoll, unsigned i)
{
	uint32_t id = n_probes;

	if (flows[i].fd < 0)
		flow_open(epoll, i);
	if (!flows[i].up)
		return;
	probe_new(i < 2 ? 'T' : 'U', i % 2, -1);
	if (send(flows[i].fd, &id, sizeof(id), MSG_NOSIGNAL) < 0 && i >= 2)
		send(flows[i].fd, &id, sizeof(id), MSG_NOSIGNAL); /* the first told of an ICMP error */
}

/* ---- the client's loop ---- */

static uint64_t slept;

static void on_tick(int epoll, int timer)
{
	static unsigned turn;
	uint64_t n;

	if (read(timer, &n, sizeof(n)) != sizeof(n))
		return;
	if (n > CATCH_UP) {
		slept += n - CATCH_UP;
		n = CATCH_UP;
	}
	for (; n > 0; n--) {
		send_fresh(epoll, turn % 2);
		send_flow(epoll, turn++ % 4);
	}
}

static void set_timer(int timer, long ns)
{
	struct itimerspec every = { { 0, ns }, { 0, ns } };

	timerfd_settime(timer, 0, &every, NULL);
}

static bool flows_up(void)
{
	return flows[0].up && flows[1].up;
}

static void print_all(void)
{
	for (uint32_t i = 0; i < n_probes; i++) {
		const struct probe *p = &probes[i];

		printf("%" PRId64 " %c %c %c %" PRId64 "\n", p->sent, p->kind, p->family, p->result, p->end);
	}
	printf("# %" PRIu64 "\n", slept);
}

/* One turn; true when stdin has ended. */
static bool turn(int epoll, int timer)
{
	struct epoll_event events[TURN];
	int n = epoll_wait(epoll, events, TURN, 20);
	bool ended = false;

	for (int i = 0; i < n; i++) {
		uint32_t which = (uint32_t)events[i].data.u64;

		switch ((enum what)(events[i].data.u64 >> 32)) {
		case TIMER:
			on_tick(epoll, timer);
			break;
		case FLOW:
			on_flow(epoll, which, events[i].events);
			break;
		case PROBE:
			on_probe(which, events[i].events);
			break;
		default:
			ended = true;
		}
	}
	expire();
	return ended;
}

static int probe(int epoll, long tick_us)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	int64_t limit = now_us() + PATIENCE_US;

	probes = calloc(PROBES_MAX, sizeof(*probes));
	if (!probes || timer < 0)
		die("calloc");
	for (unsigned i = 0; i < 4; i++)
		flow_open(epoll, i);
	while (!flows_up() && now_us() < limit)
		turn(epoll, timer);
	puts("ready");
	fflush(stdout);
	watch(epoll, timer, EPOLLIN, tag(TIMER, 0));
	set_timer(timer, tick_us * 1000);
	while (!turn(epoll, timer))
		;
	epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
	set_timer(timer, 0);
	while (oldest < n_probes)
		turn(epoll, timer);
	print_all();
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = { FDS_MAX, FDS_MAX };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	bool server = argc == 5 && strcmp(argv[1], "serve") == 0;

	if (!server && (argc != 7 || strcmp(argv[1], "probe") != 0)) {
		fprintf(stderr, "usage: gap serve PORT ADDR4 ADDR6 | gap probe PORT ADDR4 ADDR6 FROM US\n");
		return 2;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	for (unsigned f = 0; f < 2; f++)
		far[f] = place_of(argv[3 + f], argv[2]);
	watch(epoll, STDIN_FILENO, EPOLLIN, tag(STDIN, 0));
	if (server)
		return serve(epoll);
	next_port[0] = next_port[1] = (uint16_t)strtoul(argv[5], NULL, 10);
	return probe(epoll, strtol(argv[6], NULL, 10));
}
