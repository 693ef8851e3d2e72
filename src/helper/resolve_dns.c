/*
 * Asking name servers by c-ares 1.18: UDP, TCP for what was cut. Names are asked
 * as they are, without search domains, as Mihomo does; the hosts file comes first.
 */
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>

#include "helper/resolve.h"

#define TRIES 2

static const char *reason(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
		return "no such name";
	case ARES_ENODATA:
		return "no address";
	case ARES_ETIMEOUT:
		return "no answer in time";
	case ARES_ECONNREFUSED:
		return "no name server could be reached";
	case ARES_ECANCELLED:
	case ARES_EDESTRUCTION:
		return "the time is up";
	default:
		return ares_strerror(status);
	}
}

static void add_raw(struct resolve_lookup *l, const void *bytes, unsigned len, int ttl)
{
	struct addr a;

	if (addr_from_bytes(bytes, len, &a) == 0)
		resolve_add(l, &a, ttl > 0 ? (uint32_t)ttl : 0);
}

static void answered_a(void *arg, int status, int timeouts, unsigned char *abuf, int alen)
{
	struct ares_addrttl found[RESOLVE_ADDRS_MAX];
	struct resolve_lookup *l = arg;
	int n = RESOLVE_ADDRS_MAX;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		status = ares_parse_a_reply(abuf, alen, NULL, found, &n);
	for (int i = 0; status == ARES_SUCCESS && i < n; i++)
		add_raw(l, &found[i].ipaddr, 4, found[i].ttl);
	resolve_end(l, status == ARES_SUCCESS ? NULL : reason(status));
}

static void answered_aaaa(void *arg, int status, int timeouts, unsigned char *abuf, int alen)
{
	struct ares_addr6ttl found[RESOLVE_ADDRS_MAX];
	struct resolve_lookup *l = arg;
	int n = RESOLVE_ADDRS_MAX;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		status = ares_parse_aaaa_reply(abuf, alen, NULL, found, &n);
	for (int i = 0; status == ARES_SUCCESS && i < n; i++)
		add_raw(l, &found[i].ip6addr, 16, found[i].ttl);
	/* Most names have no AAAA: the other question knows the better reason. */
	resolve_end(l, status == ARES_SUCCESS || status == ARES_ENODATA ? NULL : reason(status));
}

static void by_hosts_file(ares_channel channel, struct resolve_lookup *l, int af)
{
	struct hostent *h;

	if (ares_gethostbyname_file(channel, l->name, af, &h) != ARES_SUCCESS)
		return;
	for (char **a = h->h_addr_list; *a; a++)
		add_raw(l, *a, (unsigned)h->h_length, 0);
	ares_free_hostent(h);
}

static void ask(ares_channel channel, struct resolve_lookup *l)
{
	bool v4 = resolve_wants(l, IP_V4), v6 = resolve_wants(l, IP_V6);

	if (v4)
		by_hosts_file(channel, l, AF_INET);
	if (v6)
		by_hosts_file(channel, l, AF_INET6);
	if (l->n > 0) {
		l->pending = 1;
		resolve_end(l, NULL);
		return;
	}
	if (v4)
		ares_query(channel, l->name, ns_c_in, ns_t_a, answered_a, l);
	if (v6)
		ares_query(channel, l->name, ns_c_in, ns_t_aaaa, answered_aaaa, l);
}

static int name_servers(ares_channel channel, const struct resolve_plan *plan)
{
	struct ares_addr_port_node nodes[MIHOMO_SERVERS_MAX];

	for (size_t i = 0; i < plan->n_servers; i++) {
		const struct mihomo_dns_server *s = &plan->servers[i];

		memset(&nodes[i], 0, sizeof(nodes[i]));
		nodes[i].family = addr_af(&s->addr);
		memcpy(&nodes[i].addr, s->addr.bytes, addr_len(&s->addr));
		nodes[i].udp_port = nodes[i].tcp_port = s->port;
		nodes[i].next = i + 1 < plan->n_servers ? &nodes[i + 1] : NULL;
	}
	return ares_set_servers_ports(channel, nodes);
}

/*
 * c-ares asks every server once, then once more with twice the patience: all of
 * it must fit into one name's time. TCP is for the whole channel, so it is used
 * when every server wants it.
 */
static int open_channel(ares_channel *out, const struct resolve_plan *plan)
{
	size_t servers = plan->how == RESOLVE_SERVERS ? plan->n_servers : 1;
	struct ares_options o = { .tries = TRIES, .lookups = "b" };
	bool tcp = plan->how == RESOLVE_SERVERS;
	int r;

	o.timeout = (int)(plan->name_timeout_ms / (int64_t)(3 * servers));
	if (o.timeout < 20)
		o.timeout = 20;
	for (size_t i = 0; i < plan->n_servers; i++)
		tcp = tcp && plan->servers[i].tcp;
	o.flags = tcp ? ARES_FLAG_USEVC : 0;
	r = ares_init_options(out, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_FLAGS);
	if (r != ARES_SUCCESS || plan->how != RESOLVE_SERVERS)
		return r;
	r = name_servers(*out, plan);
	if (r != ARES_SUCCESS)
		ares_destroy(*out);
	return r;
}

static void turn(ares_channel channel, const struct resolve_batch *b)
{
	ares_socket_t socks[ARES_GETSOCK_MAXNUM];
	struct pollfd fds[ARES_GETSOCK_MAXNUM];
	/* A bit for reading each, those for writing above them; unsigned, as the macros of c-ares are not. */
	unsigned mask = (unsigned)ares_getsock(channel, socks, ARES_GETSOCK_MAXNUM);
	struct timeval tv, *next = ares_timeout(channel, NULL, &tv);
	int64_t ms = next ? (int64_t)next->tv_sec * 1000 + (next->tv_usec + 999) / 1000 : -1;
	nfds_t n = 0;
	int ready;

	for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
		short events =
			(short)((mask >> i & 1 ? POLLIN : 0) | (mask >> (i + ARES_GETSOCK_MAXNUM) & 1 ? POLLOUT : 0));

		if (events)
			fds[n++] = (struct pollfd){ .fd = socks[i], .events = events };
	}
	ready = poll(fds, n, resolve_wait_ms(b, ms));
	for (nfds_t i = 0; i < n && ready > 0; i++)
		if (fds[i].revents)
			ares_process_fd(channel,
					fds[i].revents & (POLLIN | POLLERR | POLLHUP) ? fds[i].fd : ARES_SOCKET_BAD,
					fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
	ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* time-outs */
}

int resolve_by_dns(struct resolve_batch *b, struct err *e)
{
	ares_channel channel;
	int r = ares_library_init(ARES_LIB_INIT_ALL);

	if (r == ARES_SUCCESS)
		r = open_channel(&channel, b->plan);
	if (r != ARES_SUCCESS)
		return err_set(e, EIO, "cannot resolve names: %s", ares_strerror(r));
	for (;;) {
		struct resolve_lookup *l;

		while ((l = resolve_begin(b)))
			ask(channel, l);
		if (b->in_flight == 0)
			break;
		turn(channel, b);
		if (resolve_now_ms() >= b->plan->deadline_ms)
			ares_cancel(channel);
	}
	ares_destroy(channel);
	ares_library_cleanup();
	return 0;
}
