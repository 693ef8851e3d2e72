#include "sys/netlink.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define PENDING 1 /* no answer yet; real codes are 0 or negative */

struct talk {
	uint32_t first_seq;
	int *codes;
	size_t count, answered, messages;
	bool dump_changed;
	netlink_each_fn each;
	void *ctx;
};

/* The two ends of a transaction of nf_tables are answered only when it is refused. */
static bool is_answered(const struct nlmsghdr *msg)
{
	return (msg->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP)) != 0;
}

int netlink_open(struct netlink *n, int bus)
{
	int r;

	n->seq = 1;
	n->limit = 0;
	n->sock = mnl_socket_open2(bus, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!n->sock)
		return -errno;
	if (mnl_socket_bind(n->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		netlink_close(n);
		return r;
	}
	/* else a refusal brings the whole request back, which may be larger than our buffer (kernel 4.3) */
	(void)mnl_socket_setsockopt(n->sock, NETLINK_CAP_ACK, &(int){ 1 }, sizeof(int));
	return 0;
}

void netlink_close(struct netlink *n)
{
	if (n->sock)
		mnl_socket_close(n->sock);
	n->sock = NULL;
}

static int end_code(const struct nlmsghdr *msg, const struct talk *t)
{
	const int *code = mnl_nlmsg_get_payload(msg); /* struct nlmsgerr begins with it too */

	if (mnl_nlmsg_get_payload_len(msg) >= sizeof(*code) && *code < 0)
		return *code;
	return t->dump_changed ? -EINTR : 0;
}

static void take_one(struct talk *t, const struct nlmsghdr *msg)
{
	uint32_t i = msg->nlmsg_seq - t->first_seq;

	if (i >= t->count) /* the late answer to an exchange that was given up */
		return;
	if (msg->nlmsg_flags & NLM_F_DUMP_INTR)
		t->dump_changed = true;
	if (msg->nlmsg_type == NLMSG_ERROR || msg->nlmsg_type == NLMSG_DONE) {
		if (t->codes[i] == PENDING)
			t->answered++;
		t->codes[i] = end_code(msg, t);
	} else if (msg->nlmsg_type >= NLMSG_MIN_TYPE && t->each) {
		t->messages++;
		t->each(msg, t->ctx);
	}
}

/*
 * The kernel answers within the send, so what is not there now will not come. It
 * refuses a whole batch with one answer, to its first message (EPERM: nfnetlink_rcv).
 */
static int no_more_answers(struct talk *t)
{
	int refusal = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (t->codes[i] < 0)
			refusal = t->codes[i];
	}
	if (!refusal)
		return -ENODATA;
	for (size_t i = 0; i < t->count; i++) {
		if (t->codes[i] == PENDING)
			t->codes[i] = refusal;
	}
	return 0;
}

static int receive(struct netlink *n, struct talk *t)
{
	NETLINK_ALIGNED uint8_t buf[NETLINK_BUF];

	while (t->answered < t->count) {
		ssize_t got = mnl_socket_recvfrom(n->sock, buf, sizeof(buf));
		const struct nlmsghdr *msg = (const void *)buf;
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? no_more_answers(t) : -errno;
		for (; mnl_nlmsg_ok(msg, left); msg = mnl_nlmsg_next(msg, &left))
			take_one(t, msg);
		if (n->limit && t->messages > n->limit)
			return -E2BIG;
	}
	return 0;
}

static int exchange(struct netlink *n, void *buf, size_t len, struct talk *t)
{
	struct nlmsghdr *msg = buf;
	int left = (int)len;

	t->first_seq = n->seq;
	for (size_t i = 0; i < t->count && mnl_nlmsg_ok(msg, left); i++, msg = mnl_nlmsg_next(msg, &left)) {
		msg->nlmsg_seq = n->seq++;
		t->codes[i] = is_answered(msg) ? PENDING : 0;
		t->answered += !is_answered(msg);
	}
	if (n->seq - t->first_seq != t->count)
		return -EMSGSIZE;
	if (mnl_socket_sendto(n->sock, buf, len) < 0)
		return -errno;
	return receive(n, t);
}

int netlink_batch(struct netlink *n, void *buf, size_t len, int *codes, size_t count)
{
	struct talk t = { .codes = codes, .count = count };

	return exchange(n, buf, len, &t);
}

int netlink_ask(struct netlink *n, struct nlmsghdr *msg, netlink_each_fn each, void *ctx)
{
	int code = PENDING;
	struct talk t = { .codes = &code, .count = 1, .each = each, .ctx = ctx };
	int r = exchange(n, msg, msg->nlmsg_len, &t);

	return r < 0 ? r : code;
}

static const struct nlattr *find(const void *attrs, size_t size, uint16_t type)
{
	const struct nlattr *attr = attrs;
	const char *end = (const char *)attrs + size;

	for (; mnl_attr_ok(attr, (int)(end - (const char *)attr)); attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) == type)
			return attr;
	}
	return NULL;
}

static const struct nlattr *of_len(const struct nlattr *attr, size_t len)
{
	return attr && mnl_attr_get_payload_len(attr) == len ? attr : NULL;
}

const struct nlattr *netlink_nest(const struct nlmsghdr *msg, size_t offset, uint16_t type)
{
	size_t size = mnl_nlmsg_get_payload_len(msg);

	offset = NLMSG_ALIGN(offset);
	return size > offset ? find(mnl_nlmsg_get_payload_offset(msg, offset), size - offset, type) : NULL;
}

const struct nlattr *netlink_attr(const struct nlmsghdr *msg, size_t offset, uint16_t type, size_t len)
{
	return of_len(netlink_nest(msg, offset, type), len);
}

const struct nlattr *netlink_inner_nest(const struct nlattr *nest, uint16_t type)
{
	return find(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), type);
}

const struct nlattr *netlink_inner(const struct nlattr *nest, uint16_t type, size_t len)
{
	return of_len(netlink_inner_nest(nest, type), len);
}
