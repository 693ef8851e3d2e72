#include "clashsup/sockdiag.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "sys/netlink.h"

#define MSG_MAX 128 /* always zeroed: libmnl leaves padding as it is */

struct found {
	bool any;
	uint8_t state;
	struct sockdiag_socket socket;
};

static void read_socket(const struct nlmsghdr *msg, void *ctx)
{
	const struct inet_diag_msg *d = mnl_nlmsg_get_payload(msg);
	struct found *f = ctx;

	if (msg->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(msg) < sizeof(*d))
		return;
	f->any = true;
	f->state = d->idiag_state;
	f->socket = (struct sockdiag_socket){ .inode = d->idiag_inode, .uid = d->idiag_uid };
}

/*
 * The look-up takes the four numbers of a packet: ours to the port, theirs none,
 * so that no connection matches. In a request for UDP the two sides stand
 * swapped, "for historical reasons" (udp_dump_one in the kernel's udp_diag.c).
 */
static int ask_exact(struct netlink *n, uint8_t af, uint8_t protocol, uint16_t port, struct found *f)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(msg, sizeof(*req));
	bool swapped = protocol == IPPROTO_UDP;
	__be32 *address = swapped ? req->id.idiag_dst : req->id.idiag_src;

	msg->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	req->sdiag_family = af;
	req->sdiag_protocol = protocol;
	req->idiag_states = UINT32_MAX;
	req->id.idiag_cookie[0] = req->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	*(swapped ? &req->id.idiag_dport : &req->id.idiag_sport) = htons(port);
	if (af == AF_INET)
		address[0] = htonl(INADDR_LOOPBACK);
	else
		memcpy(address, &in6addr_loopback, sizeof(in6addr_loopback));
	return netlink_ask(n, msg, read_socket, f);
}

/* A kernel without the module for a protocol says ENOENT as for "no such socket"; to a dump of nothing as well. */
static int ask_supported(struct netlink *n, uint8_t af, uint8_t protocol)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(msg, sizeof(*req));

	msg->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	req->sdiag_family = af;
	req->sdiag_protocol = protocol;
	req->idiag_states = 0;
	return netlink_ask(n, msg, NULL, NULL);
}

/* A connected UDP socket takes no other peer's packets, and TPROXY does not take it either. */
static bool would_take(const struct found *f, int protocol)
{
	return f->any && (protocol == IPPROTO_TCP ? f->state == TCP_LISTEN : f->state != TCP_ESTABLISHED);
}

int sockdiag_find(enum ip_family family, int protocol, uint16_t port, struct sockdiag_socket *out, struct err *e)
{
	uint8_t af = family == IP_V4 ? AF_INET : AF_INET6;
	struct found f = { .any = false };
	struct netlink n;
	int r = netlink_open(&n, NETLINK_SOCK_DIAG);

	if (r < 0)
		return err_sys(e, -r, "open sock_diag");
	r = ask_exact(&n, af, (uint8_t)protocol, port, &f);
	if (r == -ENOENT) {
		r = ask_supported(&n, af, (uint8_t)protocol);
		r = r == -ENOENT ? -EPROTONOSUPPORT : r;
	}
	netlink_close(&n);
	if (r < 0)
		return err_sys(e, -r, "look up the socket of port %u by sock_diag", port);
	if (!would_take(&f, protocol))
		return 0;
	*out = f.socket;
	return 1;
}

/* ---- all of a port ---- */

struct servers {
	struct sockdiag_server *out;
	size_t n, cap;
	int protocol;
};

static void read_server(const struct nlmsghdr *msg, void *ctx)
{
	const struct inet_diag_msg *d = mnl_nlmsg_get_payload(msg);
	struct servers *s = ctx;
	struct sockdiag_server *to = &s->out[s->n];

	if (msg->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(msg) < sizeof(*d) || s->n == s->cap)
		return;
	to->protocol = s->protocol;
	to->inode = d->idiag_inode;
	if (addr_from_bytes(d->id.idiag_src, d->idiag_family == AF_INET ? 4 : 16, &to->addr) == 0)
		s->n++;
}

/*
 * The port is chosen in the kernel, by its little language: each test and its operand take four bytes; what fails
 * jumps behind the end, which means no.
 */
static void put_port_filter(struct nlmsghdr *msg, uint16_t port)
{
	const struct inet_diag_bc_op code[] = {
		{ .code = INET_DIAG_BC_S_GE, .yes = 8, .no = 20 },
		{ .no = port },
		{ .code = INET_DIAG_BC_S_LE, .yes = 8, .no = 12 },
		{ .no = port },
	};

	mnl_attr_put(msg, INET_DIAG_REQ_BYTECODE, sizeof(code), code);
}

static int dump_servers(struct netlink *n, uint8_t af, int protocol, uint16_t port, struct servers *s)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(msg, sizeof(*req));

	msg->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	req->sdiag_family = af;
	req->sdiag_protocol = (uint8_t)protocol;
	req->idiag_states = 1u << (protocol == IPPROTO_TCP ? TCP_LISTEN : TCP_CLOSE);
	s->protocol = protocol;
	put_port_filter(msg, port);
	return netlink_ask(n, msg, read_server, s);
}

int sockdiag_servers(uint16_t port, struct sockdiag_server *out, size_t cap, struct err *e)
{
	static const uint8_t afs[] = { AF_INET, AF_INET6 };
	static const int protocols[] = { IPPROTO_UDP, IPPROTO_TCP };
	struct servers s = { .out = out, .cap = cap };
	struct netlink n;
	int r = netlink_open(&n, NETLINK_SOCK_DIAG);

	if (r < 0)
		return err_sys(e, -r, "open sock_diag");
	for (size_t i = 0; i < 4; i++) {
		int one = dump_servers(&n, afs[i / 2], protocols[i % 2], port, &s);

		if (one < 0 && one != -ENOENT) /* without the module nothing is told */
			r = one;
	}
	netlink_close(&n);
	return r < 0 ? err_sys(e, -r, "look up the sockets of port %u by sock_diag", port) : (int)s.n;
}

/* ---- who holds it ---- */

/* 1 = yes, 0 = no, -errno = some could not be looked at. */
static int fds_hold(int fds, uint64_t inode)
{
	DIR *dir = fdopendir(fds);
	char want[64], have[64];
	const struct dirent *entry;
	int held = 0;

	if (!dir) {
		held = -errno;
		close(fds);
		return held;
	}
	snprintf(want, sizeof(want), "socket:[%" PRIu64 "]", inode);
	while (held <= 0 && (entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, have, sizeof(have) - 1);

		if (len < 0) {
			if (errno == EACCES || errno == EPERM)
				held = -EACCES;
			continue;
		}
		have[len] = '\0';
		if (strcmp(have, want) == 0)
			held = 1;
	}
	closedir(dir);
	return held;
}

int sockdiag_owned_by(pid_t pid, uint64_t inode)
{
	char path[64];
	int fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fds < 0 ? -errno : fds_hold(fds, inode);
}

static void read_name(pid_t pid, char *name, size_t cap)
{
	cleanup_fd int fd = -1;
	char path[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : io_read(fd, name, cap - 1);
	name[len < 0 ? 0 : len] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

int sockdiag_owner(uint64_t inode, pid_t *pid_out, char *name, size_t cap)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	int found = 0;

	while (dir && !found && (entry = readdir(dir))) {
		uint64_t pid;

		if (scan_u64(entry->d_name, INT32_MAX, &pid) < 0 || sockdiag_owned_by((pid_t)pid, inode) != 1)
			continue;
		*pid_out = (pid_t)pid;
		if (cap > 0)
			read_name((pid_t)pid, name, cap);
		found = 1;
	}
	if (dir)
		closedir(dir);
	return found;
}
