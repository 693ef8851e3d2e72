#include "daemon/no_server.h"

#include <ifaddrs.h>
#include <netinet/in.h>

void no_server_learn(struct no_server *n)
{
	struct ifaddrs *list;

	if (getifaddrs(&list) < 0)
		return;
	n->n_own = 0;
	for (const struct ifaddrs *i = list; i && n->n_own < NO_SERVER_OWN_MAX; i = i->ifa_next) {
		const void *at = i->ifa_addr;

		if (at && i->ifa_addr->sa_family == AF_INET)
			addr_from_bytes(&((const struct sockaddr_in *)at)->sin_addr, 4, &n->own[n->n_own++]);
		else if (at && i->ifa_addr->sa_family == AF_INET6)
			addr_from_bytes(&((const struct sockaddr_in6 *)at)->sin6_addr, 16, &n->own[n->n_own++]);
	}
	freeifaddrs(list);
}

bool no_server_has(const struct no_server *n, const struct addr *a)
{
	for (size_t i = 0; i < n->n_own; i++) {
		if (addr_cmp(a, &n->own[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < n->n_fake; i++) {
		if (addr_in(a, &n->fake[i]))
			return true;
	}
	return false;
}
