/*
 * conntrack: deletes entries of the kernel's connection table; for lease, which
 * says when and why.
 */
#ifndef CLASHSUP_SYS_CONNTRACK_H
#define CLASHSUP_SYS_CONNTRACK_H

#include <stddef.h>
#include <stdint.h>

#include "sys/netlink.h"

#define CONNTRACK_FORGET_MAX 65536 /* most entries of a family and protocol that a call looks at */
#define CONNTRACK_MARK_MSG 64	   /* room for the message of conntrack_put_mark */

/*
 * Builds the deletion of every entry that has exactly this mark, in both
 * families. To be sent by netlink_ask, whose result goes through
 * conntrack_result: what there is nothing to delete in is fine.
 */
size_t conntrack_put_mark(void *at, uint32_t mark);
int conntrack_result(int r);

/*
 * Deletes the entries of UDP and of TCP, both families, whose original
 * destination port this is. `deletions` carries the deletions, a socket of the
 * call's own the listing. -E2BIG when there were more than
 * CONNTRACK_FORGET_MAX: those that were seen are gone.
 */
int conntrack_forget_port(struct netlink *deletions, uint16_t port);

#endif
