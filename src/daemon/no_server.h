/* no_server: what Mihomo cannot have dialled: this machine's own addresses, and fake ones. */
#ifndef DAEMON_NO_SERVER_H
#define DAEMON_NO_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/addr.h"

#define NO_SERVER_OWN_MAX 128 /* more are not looked at */
#define NO_SERVER_FAKE_MAX 8

struct no_server {
	struct addr own[NO_SERVER_OWN_MAX];
	size_t n_own;
	struct addr_net fake[NO_SERVER_FAKE_MAX];
	size_t n_fake;
};

/* Asks the kernel for this machine's addresses; without an answer those of before stay. */
void no_server_learn(struct no_server *n);

bool no_server_has(const struct no_server *n, const struct addr *a);

#endif
