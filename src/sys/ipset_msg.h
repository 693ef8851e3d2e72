/*
 * ipset_msg: heads of ipset netlink messages, for lease (prebuilt messages) and
 * for those commands of ipset whose outcome we need as a code: libipset tells
 * outcomes as English sentences only.
 */
#ifndef CLASHSUP_SYS_IPSET_MSG_H
#define CLASHSUP_SYS_IPSET_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#include "clashsup/err.h"

/* A usable name: 1 to 31 bytes. FLUSH and DESTROY without a name mean every set there is, so check before. */
bool ipset_msg_name_ok(const char *name);

/* Begins a message about the set `name` at `at` (NLMSG_ALIGNTO aligned, room for 64 bytes). */
struct nlmsghdr *ipset_msg_start(void *at, uint8_t cmd, uint16_t flags, const char *name);

/* The kernel's answer r < 0 as an error; its own codes beyond errno become EBUSY, ENOSPC or EPROTO. */
int ipset_msg_err(struct err *e, int r, const char *what, const char *name);

#endif
