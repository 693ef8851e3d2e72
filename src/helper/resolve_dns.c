/*
 * Asking name servers by c-ares 1.18. Each server has a channel of its own: TCP is
 * a property of a channel, and all servers are asked at once, as Mihomo does. The
 * channels are made before they are needed, since making one opens /dev/urandom.
 * Each question is sent once by c-ares, which waits for its answer as long as a
 * name may take: repeating is done above, so that a late answer counts as well.
 */
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "helper/resolve_lookup.h"

#define CHANNELS_MAX 16 /* of UDP, and of TCP */
#define TCP_TRIES 5	/* a server may end a connection with questions in it: they are sent again at once */
#define ALL_CHANNELS ((size_t)2 * CHANNELS_MAX)

struct channel {
	ares_channel ares;
	struct dns_server server;
	bool used;
};

struct resolver_dns {
	struct channel channels[ALL_CHANNELS]; /* those of UDP, those of TCP */
};

static void add_raw(const struct asked *a, const void *bytes, unsigned len, int ttl)
{
	struct addr addr;

	if (addr_from_bytes(bytes, len, &addr) < 0)
		return;
	asked_addr(a, &addr);
	asked_ttl(a, ttl > 0 ? (uint32_t)ttl : 0);
}

static int read_a(const struct asked *a, const unsigned char *abuf, int alen)
{
	struct ares_addrttl found[RESOLVE_ADDRS_MAX];
	int n = RESOLVE_ADDRS_MAX, status = ares_parse_a_reply(abuf, alen, NULL, found, &n);

	for (int i = 0; status == ARES_SUCCESS && i < n; i++)
		add_raw(a, &found[i].ipaddr, 4, found[i].ttl);
	return status;
}

static int read_aaaa(const struct asked *a, const unsigned char *abuf, int alen)
{
	struct ares_addr6ttl found[RESOLVE_ADDRS_MAX];
	int n = RESOLVE_ADDRS_MAX, status = ares_parse_aaaa_reply(abuf, alen, NULL, found, &n);

	for (int i = 0; status == ARES_SUCCESS && i < n; i++)
		add_raw(a, &found[i].ip6addr, 16, found[i].ttl);
	return status;
}

static void end(const struct asked *a, int status)
{
	switch (status) {
	case ARES_SUCCESS:
		asked_end(a, OUT_FOUND, NULL);
		break;
	case ARES_ENODATA:
		asked_end(a, OUT_NO_ADDRESS, "no address");
		break;
	case ARES_ENOTFOUND:
		asked_end(a, OUT_NO_NAME, "no such name");
		break;
	case ARES_EBADNAME:
		asked_end(a, OUT_NO_NAME, "not a name that can be asked for");
		break;
	case ARES_ETIMEOUT:
	case ARES_ECANCELLED:
	case ARES_EDESTRUCTION:
		asked_end(a, OUT_NONE, "no answer in time");
		break;
	case ARES_ECONNREFUSED:
		asked_end(a, OUT_UNREACHABLE, "no name server could be reached");
		break;
	case ARES_ESERVFAIL:
		asked_end(a, OUT_FAILED, "the name server failed (SERVFAIL)");
		break;
	case ARES_EREFUSED:
		asked_end(a, OUT_FAILED, "the name server refused");
		break;
	default:
		asked_end(a, OUT_FAILED, ares_strerror(status));
	}
}

static void answered(void *arg, int status, int timeouts, unsigned char *abuf, int alen)
{
	struct asked *a = arg;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		status = a->question->family == IP_V4 ? read_a(a, abuf, alen) : read_aaaa(a, abuf, alen);
	end(a, status);
	free(a);
}

static int name_server(ares_channel channel, const struct dns_server *s)
{
	struct ares_addr_port_node node = { .family = addr_af(&s->addr), .udp_port = s->port, .tcp_port = s->port };

	memcpy(&node.addr, s->addr.bytes, addr_len(&s->addr));
	return ares_set_servers_ports(channel, &node);
}

/* The server's channel, or a free one that becomes it. */
static ares_channel channel_of(struct resolver_dns *d, const struct dns_server *s)
{
	struct channel *c = &d->channels[s->tcp ? CHANNELS_MAX : 0];

	for (size_t i = 0; i < CHANNELS_MAX; i++, c++) {
		if (!c->used) {
			if (name_server(c->ares, s) != ARES_SUCCESS)
				return NULL;
			c->server = *s;
			c->used = true;
			return c->ares;
		}
		if (addr_cmp(&c->server.addr, &s->addr) == 0 && c->server.port == s->port)
			return c->ares;
	}
	return NULL;
}

void resolver_dns_ask(struct resolver_dns *d, struct lookup *l, struct question *q, unsigned server)
{
	struct asked *a = malloc(sizeof(*a)), lost;
	ares_channel channel = a ? channel_of(d, &l->group->servers[server]) : NULL;

	asked_begin(channel ? a : &lost, l, q, server);
	if (channel) {
		ares_query(channel, q->name, ns_c_in, q->family == IP_V4 ? ns_t_a : ns_t_aaaa, answered, a);
		return;
	}
	asked_end(&lost, OUT_UNREACHABLE, a ? "too many name servers" : "out of memory");
	free(a);
}

static unsigned channel_fds(ares_channel channel, struct pollfd *fds, unsigned max)
{
	ares_socket_t socks[ARES_GETSOCK_MAXNUM];
	/* A bit for reading each, those for writing above them; unsigned, as the macros of c-ares are not. */
	unsigned mask = (unsigned)ares_getsock(channel, socks, ARES_GETSOCK_MAXNUM), n = 0;

	for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM && n < max; i++) {
		bool in = mask >> i & 1, out = mask >> (i + ARES_GETSOCK_MAXNUM) & 1;

		if (in || out)
			fds[n++] = (struct pollfd){ .fd = socks[i],
						    .events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0)) };
	}
	return n;
}

unsigned resolver_dns_fds(struct resolver_dns *d, struct pollfd fds[DNS_FDS_MAX], int64_t *wait_ms)
{
	unsigned n = 0;

	for (struct channel *c = d->channels; c < d->channels + ALL_CHANNELS; c++) {
		struct timeval tv, *next = c->used ? ares_timeout(c->ares, NULL, &tv) : NULL;
		int64_t ms = next ? (int64_t)next->tv_sec * 1000 + (next->tv_usec + 999) / 1000 : INT64_MAX;

		if (ms < *wait_ms)
			*wait_ms = ms;
		if (c->used)
			n += channel_fds(c->ares, fds + n, DNS_FDS_MAX - n);
	}
	return n;
}

static void process(ares_channel channel, const struct pollfd *fds, unsigned n)
{
	struct pollfd own[ARES_GETSOCK_MAXNUM];
	unsigned n_own = channel_fds(channel, own, ARES_GETSOCK_MAXNUM);

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n_own; j++)
			if (fds[i].revents && fds[i].fd == own[j].fd)
				ares_process_fd(channel, fds[i].revents & ~POLLOUT ? fds[i].fd : ARES_SOCKET_BAD,
						fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
	ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* time-outs */
}

void resolver_dns_process(struct resolver_dns *d, const struct pollfd *fds, unsigned n)
{
	for (struct channel *c = d->channels; c < d->channels + ALL_CHANNELS; c++)
		if (c->used)
			process(c->ares, fds, n);
}

void resolver_dns_cancel(struct resolver_dns *d)
{
	for (struct channel *c = d->channels; c < d->channels + ALL_CHANNELS; c++)
		if (c->used)
			ares_cancel(c->ares);
}

/* Everything is given, so that no file is read but /dev/urandom. */
static int open_channel(struct channel *c, bool tcp, int64_t timeout_ms)
{
	struct in_addr nobody = { 0 };
	struct ares_options o = { .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_NOCHECKRESP |
					   (tcp ? ARES_FLAG_USEVC : 0),
				  .timeout = (int)timeout_ms,
				  .tries = tcp ? TCP_TRIES : 1,
				  .ndots = 1,
				  .lookups = "b",
				  .servers = &nobody,
				  .nservers = 1 };

	return ares_init_options(&c->ares, &o,
				 ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
					 ARES_OPT_LOOKUPS | ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_SORTLIST);
}

struct resolver_dns *resolver_dns_open(int64_t timeout_ms, struct err *e)
{
	struct resolver_dns *d = calloc(1, sizeof(*d));
	int r = d ? ares_library_init(ARES_LIB_INIT_ALL) : ARES_ENOMEM;

	for (size_t i = 0; i < ALL_CHANNELS && r == ARES_SUCCESS; i++)
		r = open_channel(&d->channels[i], i >= CHANNELS_MAX, timeout_ms);
	if (r == ARES_SUCCESS)
		return d;
	err_set(e, EIO, "cannot resolve names: %s", ares_strerror(r));
	resolver_dns_close(d);
	return NULL;
}

void resolver_dns_close(struct resolver_dns *d)
{
	if (!d)
		return;
	for (struct channel *c = d->channels; c < d->channels + ALL_CHANNELS; c++)
		if (c->ares)
			ares_destroy(c->ares);
	ares_library_cleanup();
	free(d);
}
