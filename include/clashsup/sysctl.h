/*
 * sysctl: kernel parameters of the network, read and, where the user wants it,
 * changed and put back. Synchronous: microseconds. Acts in the network namespace
 * of the caller. Reading one is safe after fork; what has a journal allocates.
 *
 * Names are those of sysctl(8): "net.ipv4.ip_forward", or with slashes, where a
 * dot is a part of a name: "net/ipv4/conf/eth0.5/rp_filter" (the same as
 * "net.ipv4.conf.eth0/5.rp_filter"). Only names below net are taken: -EINVAL.
 *
 * What is changed is journaled first, so that a later life can put it back. The
 * journal is one small text file: a line that names this boot and this network
 * namespace, then "NAME OLD NEW" for each change, in order. One of another boot
 * or namespace has nothing to say and is dropped.
 */
#ifndef CLASHSUP_SYSCTL_H
#define CLASHSUP_SYSCTL_H

#include <stddef.h>

#include "clashsup/err.h"

#define SYSCTL_NAME_MAX 128	 /* bytes of a name with its NUL; longer ones are -EINVAL */
#define SYSCTL_JOURNAL_MAX 16384 /* bytes of a journal; a larger one is refused */

/* Without the newline. -ENOENT when this kernel does not have it (a module may be missing), -ENOSPC for `cap`. */
int sysctl_read(const char *name, char *buf, size_t cap, struct err *e);

/* -ERANGE for a value that is no int. */
int sysctl_read_int(const char *name, int *out, struct err *e);

struct sysctl_want {
	const char *name;
	int value;
};

/*
 * Sets what differs. All of them are tried; the first error is returned, with
 * advice where /proc/sys is read-only, as it is in containers. What the kernel
 * does not have is -ENOENT. Nothing is changed that could not be journaled.
 */
int sysctl_fix(const char *journal_path, const struct sysctl_want *want, size_t n, struct err *e);

/*
 * Puts back old values, newest change first, where the value is still the one
 * that was set: later changes of others are left alone. Then the journal goes,
 * unless an old value could not be put back; that is an error. No journal: 0.
 * *restored_out (may be NULL) counts.
 */
int sysctl_restore(const char *journal_path, size_t *restored_out, struct err *e);

#endif
