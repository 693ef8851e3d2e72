/*
 * sockdiag: which socket listens where, asked of the kernel (NETLINK_SOCK_DIAG),
 * exactly: one address, port, family and protocol. Synchronous: microseconds.
 */
#ifndef CLASHSUP_SOCKDIAG_H
#define CLASHSUP_SOCKDIAG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

struct sockdiag_socket {
	uint64_t inode;
	uid_t uid;
};

/*
 * The socket that would take a packet to loopback:port, as our TPROXY rules
 * redirect (127.0.0.1 or ::1): one bound to that very address or to the
 * wildcard, a dual-stack one included. `protocol` is IPPROTO_TCP or IPPROTO_UDP.
 * 1 = found, 0 = nobody, -errno; -EPROTONOSUPPORT when the kernel has no diag
 * module for the protocol, which must not be taken for "nobody".
 */
int sockdiag_find(enum ip_family family, int protocol, uint16_t port, struct sockdiag_socket *out, struct err *e);

struct sockdiag_server {
	struct addr addr; /* as bound: the wildcard too */
	int protocol;	  /* IPPROTO_TCP, IPPROTO_UDP */
	uint64_t inode;
};

/* Who takes what comes to a port, whatever the address: TCP listeners and unconnected UDP sockets. The count, or
 * -errno. */
int sockdiag_servers(uint16_t port, struct sockdiag_server *out, size_t cap, struct err *e);

/*
 * Does `pid` hold the socket? 1 = yes, 0 = no, -errno when that cannot be seen:
 * a process with other ids or more capabilities shows its descriptors only to
 * CAP_SYS_PTRACE (proc(5), ptrace(2)). Reads /proc/PID/fd: once per readiness, not per probe.
 */
int sockdiag_owned_by(pid_t pid, uint64_t inode);

/* Who holds it: pid and name ("sshd"), by a walk through /proc. 1 found, 0 not. */
int sockdiag_owner(uint64_t inode, pid_t *pid_out, char *name, size_t cap);

#endif
