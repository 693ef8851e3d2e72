/*
 * A stand-in for Mihomo that is ready within milliseconds and can misbehave.
 *
 *	standin [-t] -d HOME -f CONFIG -ext-ctl-unix PATH -post-up COMMAND
 *
 * It takes the arguments that clashsup gives to Mihomo, has a TPROXY listener
 * for each family and protocol on the port that CONFIG names, runs the post-up
 * command, and serves the few API paths that clashsup asks for. What it gets
 * it answers itself, with the line of the far side's echo server
 * (tests/lib/servers.py), the proxy's address as the peer and the packet's
 * original destination as "local": so a client sees that it was proxied, and
 * where it had wanted to go. The text "dial" makes it open a connection to
 * that destination from here, as Mihomo's DIRECT does, and give back what came.
 * Where CONFIG has `dns: {…, listen: 'ADDRESS:PORT'}` it answers each query for
 * an IPv4 address with 44.55.66.77, on loopback alone if ADDRESS begins with 127.
 *
 * It misbehaves by words in the file HOME/core, read at its start:
 *
 *	deaf            SIGTERM does not end it
 *	late=MS         its listeners come that long after post-up
 *	no-udp no-tcp no-v4 no-v6   without these listeners
 *	orphan          leaves a child that holds the listeners, in its group
 *	orphan-session  in a session of its own, so that a kill of the group misses it
 *
 *	tell            what it was given goes to HOME/got.NAME first, out of /proc/self:
 *	                status, limits, environ, cgroup, stat, oom_score_adj, and as links
 *	                fd (one a line) and cwd
 *
 * and by requests to its API: POST /core/close/WHAT and /core/open/WHAT (tcp,
 * udp, all), /core/exit/STATUS, /core/mute (no request is answered any more),
 * /restart (executes itself in place). GET /core/seen lists what came in.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SEEN_MAX 256
#define TEXT_MAX 2048

enum kind { LISTEN_TCP, LISTEN_UDP, TCP, LISTEN_API, API, DNS_UDP, LISTEN_DNS, DNS_TCP };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct source {
	enum kind kind;
	int fd;
};

static const char *home = ".", *config, *api_path, *post_up;
static char *const *arguments;
static char flags[512];
static struct source listeners[2][2]; /* [IPv6][UDP], TPROXY */
static unsigned port = 7893, dns_port;
static bool dns_loopback;
static int epoll;
static bool muted;
static struct {
	unsigned tcp, udp, inner, next;
	char line[SEEN_MAX][160];
} seen;

static void die(const char *what)
{
	printf("level=fatal msg=\"stand-in: %s: %s\"\n", what, strerror(errno));
	exit(1);
}

static bool flagged(const char *word)
{
	const char *at = strstr(flags, word);
	size_t len = strlen(word);

	return at && (at == flags || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' ' || at[len] == '\n');
}

static char *read_file(const char *path)
{
	static char text[256 * 1024];
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	text[n] = '\0';
	if (f)
		fclose(f);
	return f ? text : NULL;
}

static void read_config(void)
{
	char *text = read_file(config), *at;
	char path[4096];

	if (!text)
		die(config);
	if ((at = strstr(text, "type: tproxy, port: ")) != NULL)
		port = (unsigned)atoi(at + strlen("type: tproxy, port: "));
	if ((at = strstr(text, "\ntproxy-port: ")) != NULL)
		port = (unsigned)atoi(at + strlen("\ntproxy-port: "));
	if ((at = strstr(text, "\ndns: ")) != NULL) {
		at[1 + strcspn(at + 1, "\n")] = '\0';
		at = strstr(at, "listen: ");
		dns_loopback = at && strstr(at, "listen: '127.") == at;
		at = at ? strchr(at + strlen("listen: "), ':') : NULL;
		dns_port = at ? (unsigned)atoi(at + 1) : 0;
	}
	snprintf(path, sizeof(path), "%s/core", home);
	text = read_file(path);
	snprintf(flags, sizeof(flags), "%.500s", text ? text : "");
}

/* ---- sockets ---- */

static void watch(struct source *s)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &ev) < 0)
		die("epoll");
}

static void watch_new(enum kind kind, int fd)
{
	struct source *s = calloc(1, sizeof(*s));

	if (fd < 0 || !s)
		return;
	*s = (struct source){ kind, fd };
	watch(s);
}

static void drop(struct source *s)
{
	close(s->fd);
	free(s);
}

static int make_socket(bool v6, bool udp)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (v6)
		setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	return fd;
}

static void set_transparent(int fd, bool v6)
{
	int on = 1;

	if (setsockopt(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof(on)) < 0)
		die("transparent");
	setsockopt(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVORIGDSTADDR : IP_RECVORIGDSTADDR, &on, sizeof(on));
}

static socklen_t wildcard(union address *a, bool v6, unsigned at_port)
{
	memset(a, 0, sizeof(*a));
	a->any.sa_family = v6 ? AF_INET6 : AF_INET;
	*(v6 ? &a->v6.sin6_port : &a->v4.sin_port) = htons((uint16_t)at_port);
	return v6 ? sizeof(a->v6) : sizeof(a->v4);
}

static socklen_t length_of(const union address *a)
{
	return a->any.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

static void bind_or_die(int fd, bool v6, unsigned at_port, bool loopback)
{
	union address a;
	socklen_t len = wildcard(&a, v6, at_port);

	if (loopback && v6)
		a.v6.sin6_addr = in6addr_loopback;
	else if (loopback)
		a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, &a.any, len) < 0)
		die("bind");
}

static void open_listener(bool v6, bool udp)
{
	struct source *s = &listeners[v6][udp];

	if (s->fd > 0)
		return;
	*s = (struct source){ udp ? LISTEN_UDP : LISTEN_TCP, make_socket(v6, udp) };
	set_transparent(s->fd, v6);
	bind_or_die(s->fd, v6, port, false);
	if (!udp && listen(s->fd, 1024) < 0)
		die("listen");
	watch(s);
}

static void close_listener(bool v6, bool udp)
{
	struct source *s = &listeners[v6][udp];

	if (s->fd > 0) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, s->fd, NULL); /* a child may hold it still */
		close(s->fd);
	}
	s->fd = 0;
}

static void each_listener(const char *what, void (*act)(bool v6, bool udp))
{
	for (int v6 = 0; v6 < 2; v6++) {
		for (int udp = 0; udp < 2; udp++) {
			if (strncmp(what, "all", 3) == 0 || strncmp(what, udp ? "udp" : "tcp", 3) == 0)
				act(v6, udp);
		}
	}
}

static void open_unless_flagged(bool v6, bool udp)
{
	if (!flagged(udp ? "no-udp" : "no-tcp") && !flagged(v6 ? "no-v6" : "no-v4"))
		open_listener(v6, udp);
}

static void open_dns(void)
{
	for (int v6 = 0; dns_port && v6 < 2; v6++) {
		int udp = make_socket(v6, true), tcp = make_socket(v6, false), on = 1;

		setsockopt(udp, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &on, sizeof(on));
		bind_or_die(udp, v6, dns_port, dns_loopback);
		bind_or_die(tcp, v6, dns_port, dns_loopback);
		listen(tcp, 64);
		watch_new(DNS_UDP, udp);
		watch_new(LISTEN_DNS, tcp);
	}
}

static void open_api(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!api_path)
		return;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", api_path);
	unlink(api_path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
		die(api_path);
	chmod(api_path, 0666);
	watch_new(LISTEN_API, fd);
}

/* ---- what is answered ---- */

static const char *text_of(const union address *a, char buf[INET6_ADDRSTRLEN])
{
	bool v6 = a->any.sa_family == AF_INET6;

	return inet_ntop(a->any.sa_family, v6 ? (void *)&a->v6.sin6_addr : (void *)&a->v4.sin_addr, buf,
			 INET6_ADDRSTRLEN);
}

static unsigned port_of(const union address *a)
{
	return ntohs(a->any.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
}

static void note(bool udp, const union address *from, const union address *to, const char *text)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	++*(udp ? &seen.udp : &seen.tcp);
	seen.inner += strncmp(text, "inner", 5) == 0;
	snprintf(seen.line[seen.next++ % SEEN_MAX], sizeof(seen.line[0]), "%s %s %u from %s", udp ? "udp" : "tcp",
		 text_of(to, dst), port_of(to), text_of(from, src));
}

/* The echo server's line, as if the proxy had asked. */
static size_t report(char out[TEXT_MAX], const union address *from, const union address *to, char *text)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	text[strcspn(text, "\r\n\"\\")] = '\0';
	return (size_t)snprintf(out, TEXT_MAX,
				"{\"peer\": \"%s\", \"port\": %u, \"local\": \"%s\", \"text\": \"%.500s\", "
				"\"client\": \"%s\"}\n",
				to->any.sa_family == AF_INET6 ? "2a0f:4545::8" : "45.45.45.8", port_of(from),
				text_of(to, dst), text, text_of(from, src));
}

/* As Mihomo's DIRECT: a plain connection to where the client wanted to go. 0 = nothing came. */
static size_t dial(char out[TEXT_MAX], const union address *to, bool udp)
{
	int fd = socket(to->any.sa_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = 1 };
	ssize_t n = -1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, &to->any, length_of(to)) == 0 && send(fd, "inner\n", 6, MSG_NOSIGNAL) == 6)
		n = recv(fd, out, TEXT_MAX, 0);
	close(fd);
	return n > 0 ? (size_t)n : 0;
}

static void answer_tcp(const struct source *s, char *text)
{
	union address from, to;
	socklen_t len = sizeof(from);
	char out[TEXT_MAX];

	getpeername(s->fd, &from.any, &len);
	len = sizeof(to);
	getsockname(s->fd, &to.any, &len);
	note(false, &from, &to, text);
	if (strncmp(text, "dial", 4) != 0) {
		send(s->fd, out, report(out, &from, &to, text), MSG_NOSIGNAL);
	} else if (fork() == 0) {
		send(s->fd, out, dial(out, &to, false), MSG_NOSIGNAL);
		_exit(0);
	}
}

/* From the address that the client had asked, so that it looks like the answer. */
static void send_as(const union address *to, const union address *client, const char *out, size_t len)
{
	bool v6 = to->any.sa_family == AF_INET6;
	int fd = make_socket(v6, true);

	set_transparent(fd, v6);
	if (len && bind(fd, &to->any, length_of(to)) == 0)
		sendto(fd, out, len, 0, &client->any, length_of(client));
	close(fd);
}

static bool original_destination(struct msghdr *msg, union address *to)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_ORIGDSTADDR) ||
		    (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR)) {
			memcpy(to, CMSG_DATA(c), c->cmsg_level == SOL_IP ? sizeof(to->v4) : sizeof(to->v6));
			return true;
		}
	}
	return false;
}

static void answer_udp(const struct source *s)
{
	char text[TEXT_MAX], out[TEXT_MAX], control[256];
	union address from, to;
	struct iovec part = { text, sizeof(text) - 1 };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT);

	if (n < 0 || !original_destination(&msg, &to))
		return;
	text[n] = '\0';
	note(true, &from, &to, text);
	if (strncmp(text, "dial", 4) != 0) {
		send_as(&to, &from, out, report(out, &from, &to, text));
	} else if (fork() == 0) {
		send_as(&to, &from, out, dial(out, &to, true));
		_exit(0);
	}
}

/* The question again, with one address behind it if it was for IPv4. */
static size_t answer_dns(char *query, size_t n)
{
	static const char record[] = "\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x2c\x37\x42\x4d";
	size_t end = 12;

	while (end < n && query[end])
		end += 1 + (unsigned char)query[end];
	end += 5;
	if (end > n || n + sizeof(record) > TEXT_MAX)
		return 0;
	query[2] = (char)0x81, query[3] = (char)0x80;
	memset(query + 6, 0, 6);
	if (query[end - 3] != 1)
		return end;
	query[7] = 1;
	memcpy(query + end, record, sizeof(record) - 1);
	return end + sizeof(record) - 1;
}

/* From the address that was asked, as Mihomo's server does: the message that came names it, and is sent back. */
static void dns_udp(const struct source *s)
{
	char text[TEXT_MAX], control[256];
	union address from;
	struct iovec part = { text, sizeof(text) };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT);

	if (n <= 12)
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO)
			((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex = 0;
		else if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
	}
	part.iov_len = answer_dns(text, (size_t)n);
	sendmsg(s->fd, &msg, 0);
}

static void dns_tcp(struct source *s)
{
	char text[2 + TEXT_MAX];
	ssize_t n = recv(s->fd, text, sizeof(text), MSG_DONTWAIT);
	size_t len = n > 14 ? answer_dns(text + 2, (size_t)n - 2) : 0;

	if (len) {
		text[0] = (char)(len >> 8), text[1] = (char)len;
		send(s->fd, text, len + 2, MSG_NOSIGNAL);
	}
	drop(s);
}

/* ---- its API ---- */

static void say(const struct source *s, const char *status, const char *body)
{
	dprintf(s->fd, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
		strlen(body), body);
}

static void say_seen(const struct source *s)
{
	static char body[SEEN_MAX * 170];
	unsigned first = seen.next > SEEN_MAX ? seen.next - SEEN_MAX : 0;
	size_t n = (size_t)snprintf(body, sizeof(body), "{\"tcp\":%u,\"udp\":%u,\"inner\":%u,\"seen\":[", seen.tcp,
				    seen.udp, seen.inner);

	for (unsigned i = first; i < seen.next; i++)
		n += (size_t)snprintf(body + n, sizeof(body) - n, "%s\"%s\"", i > first ? "," : "",
				      seen.line[i % SEEN_MAX]);
	snprintf(body + n, sizeof(body) - n, "]}");
	say(s, "200 OK", body);
}

static void restart(const struct source *s)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return;
	self[n] = '\0';
	say(s, "200 OK", "{\"status\":\"ok\"}");
	execv(self, arguments);
	die("exec");
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static void command(const struct source *s, const char *words)
{
	if (starts(words, "close/"))
		each_listener(words + 6, close_listener);
	else if (starts(words, "open/"))
		each_listener(words + 5, open_listener);
	else if (starts(words, "exit/"))
		exit(atoi(words + 5));
	else if (starts(words, "mute"))
		muted = true;
	say(s, "200 OK", "{}");
}

static const char *const pages[][2] = {
	{ "/version ", "{\"meta\":true,\"version\":\"stand-in\"}" },
	{ "/configs ", "{\"tproxy-port\":0,\"mode\":\"rule\"}" },
	{ "/proxies ", "{\"proxies\":{}}" },
	{ "/group ", "{\"proxies\":[]}" },
	{ "/providers/proxies ", "{\"providers\":{}}" },
	{ "/connections ", "{\"downloadTotal\":0,\"uploadTotal\":0,\"connections\":null,\"memory\":0}" },
};

static void serve_api(struct source *s)
{
	char text[8192];
	ssize_t n = recv(s->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	char *path;

	if (n <= 0) {
		drop(s);
		return;
	}
	text[n] = '\0';
	path = strchr(text, ' ');
	if (!path || muted)
		return;
	path++;
	if (starts(path, "/core/seen"))
		say_seen(s);
	else if (starts(path, "/core/"))
		command(s, path + strlen("/core/"));
	else if (starts(path, "/restart"))
		restart(s);
	else {
		for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
			if (starts(path, pages[i][0])) {
				say(s, "200 OK", pages[i][1]);
				return;
			}
		}
		say(s, "404 Not Found", "{\"message\":\"Resource not found\"}");
	}
}

/* ---- life ---- */

static void run(const char *text)
{
	if (text && fork() == 0) {
		signal(SIGCHLD, SIG_DFL);
		execl("/bin/sh", "sh", "-c", text, (char *)NULL);
		_exit(127);
	}
}

static void leave_orphan(void)
{
	bool session = flagged("orphan-session");

	if ((!session && !flagged("orphan")) || fork() != 0)
		return;
	if (session)
		setsid();
	close(0), close(1), close(2);
	sleep(30); /* nothing of a test may stay for ever */
	_exit(0);
}

static void tell_file(const char *name)
{
	char from[64], to[4096], text[65536];
	ssize_t n;
	int in, out;

	snprintf(from, sizeof(from), "/proc/self/%s", name);
	snprintf(to, sizeof(to), "%s/got.%s", home, name);
	in = open(from, O_RDONLY | O_CLOEXEC);
	n = in < 0 ? 0 : read(in, text, sizeof(text));
	close(in);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (out < 0 || write(out, text, n > 0 ? (size_t)n : 0) < 0)
		die(to);
	close(out);
}

/* The links of a directory's numbers: looked at without a descriptor of our own. */
static void tell_links(void)
{
	char from[64], to[4096], target[4096];
	FILE *out;
	char *text;
	size_t len;

	out = open_memstream(&text, &len);
	for (int fd = 0; fd <= 65535; fd++) {
		ssize_t n;

		snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
		n = readlink(from, target, sizeof(target));
		if (n >= 0)
			fprintf(out, "%d %.*s\n", fd, (int)n, target);
	}
	fclose(out);
	snprintf(to, sizeof(to), "%s/got.fd", home);
	out = fopen(to, "we");
	if (!out || fputs(text, out) < 0 || fclose(out) != 0)
		die(to);
	snprintf(to, sizeof(to), "%s/got.cwd", home);
	out = fopen(to, "we");
	if (!out || !getcwd(target, sizeof(target)) || fputs(target, out) < 0 || fclose(out) != 0)
		die(to);
}

static void tell_what_it_got(void)
{
	static const char *const files[] = { "status", "limits", "environ", "cgroup", "stat", "oom_score_adj" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		tell_file(files[i]);
	tell_links();
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void handle(struct source *s)
{
	char text[TEXT_MAX];
	ssize_t n;

	switch (s->kind) {
	case LISTEN_TCP:
		watch_new(TCP, accept4(s->fd, NULL, NULL, SOCK_CLOEXEC));
		break;
	case LISTEN_API:
		watch_new(API, accept4(s->fd, NULL, NULL, SOCK_CLOEXEC));
		break;
	case LISTEN_DNS:
		watch_new(DNS_TCP, accept4(s->fd, NULL, NULL, SOCK_CLOEXEC));
		break;
	case LISTEN_UDP:
		answer_udp(s);
		break;
	case DNS_UDP:
		dns_udp(s);
		break;
	case DNS_TCP:
		dns_tcp(s);
		break;
	case API:
		serve_api(s);
		break;
	case TCP:
		n = recv(s->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
		if (n <= 0) {
			drop(s);
			break;
		}
		text[n] = '\0';
		answer_tcp(s, text);
	}
}

static void serve(void)
{
	const char *late = strstr(flags, "late=");
	long due = late ? now_ms() + atol(late + 5) : 0;
	struct epoll_event ev;

	for (;;) {
		int wait = late ? (int)(due - now_ms()) : -1;

		if (late && wait <= 0) {
			each_listener("all", open_unless_flagged);
			late = NULL;
			continue;
		}
		if (epoll_wait(epoll, &ev, 1, wait) == 1) /* one each, since an event may close the next one's socket */
			handle(ev.data.ptr);
	}
}

static void on_term(int sig)
{
	(void)sig;
	_exit(0);
}

int main(int argc, char *argv[])
{
	bool test = false;

	arguments = argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		const char **into = strcmp(argv[i], "-d") == 0		    ? &home
				    : strcmp(argv[i], "-f") == 0	    ? &config
				    : strcmp(argv[i], "-ext-ctl-unix") == 0 ? &api_path
				    : strcmp(argv[i], "-post-up") == 0	    ? &post_up
									    : NULL;

		test |= strcmp(argv[i], "-t") == 0;
		if (into && i + 1 < argc)
			*into = argv[++i];
	}
	if (!config)
		die("no -f");
	read_config();
	if (test)
		return 0;
	if (flagged("tell"))
		tell_what_it_got();
	signal(SIGTERM, flagged("deaf") ? SIG_IGN : on_term);
	signal(SIGINT, on_term);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN); /* no zombies */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	open_api();
	open_dns();
	if (!strstr(flags, "late="))
		each_listener("all", open_unless_flagged);
	leave_orphan();
	run(post_up);
	printf("level=info msg=\"the stand-in is up on port %u\"\n", port);
	serve();
}
