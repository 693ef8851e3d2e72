/*
 * netlink: the one place that talks to a netlink socket for lease, route,
 * sockdiag and the questions of ipset.
 *
 * The kernel works on a request inside send(2), so its answers are there when
 * send returns; the receive time-out only keeps a lost answer from hanging us.
 * Functions return 0 or -errno; the caller knows what it was doing and writes
 * the sentence. Codes of ipset are -4096 and below, see sys/ipset_msg.h.
 */
#ifndef CLASHSUP_SYS_NETLINK_H
#define CLASHSUP_SYS_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#define NETLINK_BUF 8192 /* no dump comes in larger pieces to who reads with this: NLMSG_GOODSIZE is at most 8 KiB */
#define NETLINK_ALIGNED __attribute__((aligned(NLMSG_ALIGNTO)))

struct netlink {
	struct mnl_socket *sock;
	uint32_t seq;
	size_t limit; /* most messages in an answer, 0 = any; -E2BIG beyond, and the socket is of no further use */
};

/* Called with each message of an answer that is neither an ack nor an error. */
typedef void (*netlink_each_fn)(const struct nlmsghdr *msg, void *ctx);

/* `bus` is NETLINK_NETFILTER or alike. Close-on-exec, and it never waits: the kernel answers within the send. */
int netlink_open(struct netlink *n, int bus);
void netlink_close(struct netlink *n); /* also fine after a failed open */

/*
 * Sends the `count` messages that stand one behind the other in `buf`, in one
 * go, and waits for all acks: every message must carry NLM_F_ACK, but for the
 * begin and the end of a transaction of nf_tables. The kernel goes on after one
 * that it refuses (a transaction is then taken back). codes[i] = 0 or -errno of the i-th; the
 * result is negative only when the exchange itself failed. Numbers the messages
 * (nlmsg_seq), nothing else is written to `buf`.
 */
int netlink_batch(struct netlink *n, void *buf, size_t len, int *codes, size_t count);

/* One message, with NLM_F_ACK or a dump; -EINTR when the dump changed on the way. */
int netlink_ask(struct netlink *n, struct nlmsghdr *msg, netlink_each_fn each, void *ctx);

/* The attribute of that type with a payload of `len` bytes, at `offset` in the message's payload; NULL when absent. */
const struct nlattr *netlink_attr(const struct nlmsghdr *msg, size_t offset, uint16_t type, size_t len);

/* As netlink_attr, of any length, and inside another one. */
const struct nlattr *netlink_nest(const struct nlmsghdr *msg, size_t offset, uint16_t type);
const struct nlattr *netlink_inner_nest(const struct nlattr *nest, uint16_t type);
const struct nlattr *netlink_inner(const struct nlattr *nest, uint16_t type, size_t len);

#endif
