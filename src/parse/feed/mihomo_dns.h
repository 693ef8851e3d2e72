/*
 * mihomo_dns: how Mihomo resolves its proxy servers' names, from its config: which
 * name servers it asks, which of them can be asked from outside, and what its
 * false answers look like (Mihomo 1.19.30: config/config.go, dns/). Pure: no I/O.
 */
#ifndef FEED_MIHOMO_DNS_H
#define FEED_MIHOMO_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "parse/feed/doc.h"

#define DNS_SERVERS_MAX 8 /* of one group; more are left out */
#define DNS_GROUPS_MAX 16 /* the usual one, and those of policies */
#define DNS_SERVER_TEXT 128

struct mihomo_dns {
	bool enabled;
	bool ipv6;	   /* top level: AAAA is asked for */
	bool system_hosts; /* the system's hosts file is looked into, if DISABLE_SYSTEM_HOSTS is not set */
	struct addr_net fake[IP_FAMILIES]; /* valid where has_fake */
	bool has_fake[IP_FAMILIES];
};

void mihomo_dns(struct doc *d, struct mihomo_dns *out);

struct dns_server {
	struct addr addr;
	uint16_t port;
	bool tcp;
	uint8_t families; /* that it is asked for: 1u << enum ip_family each */
};

/* Servers that are asked side by side; an answer of any counts. */
struct dns_group {
	bool api;      /* Mihomo is asked first; the servers only when it cannot be */
	bool left_out; /* some that Mihomo asks cannot be asked from here */
	struct dns_server servers[DNS_SERVERS_MAX];
	size_t n;
};

/* "ADDRESS", "ADDRESS:PORT", "udp://..." or "tcp://...", "#DIRECT&key=value..."; -EINVAL for other kinds. */
int dns_server_parse(const char *text, struct dns_server *out);
/* As dns_server_parse takes it. */
const char *dns_server_text(const struct dns_server *s, char buf[DNS_SERVER_TEXT]);

/* One of a config's texts: a server, or "system" = those of `system`. What cannot be asked is noted in left_out. */
void dns_group_add(struct dns_group *g, const char *text, const struct dns_group *system);

/* The name servers that resolv.conf's bytes name. */
void dns_resolv_conf_named(const char *bytes, size_t len, struct dns_group *out);

/* As Mihomo reads them: when none is named, those it takes then. */
void dns_resolv_conf(const char *bytes, size_t len, struct dns_group *out);

struct domains;

struct dns_plan {
	struct dns_group groups[DNS_GROUPS_MAX]; /* the first is the usual one */
	size_t n;
	bool for_proxies; /* proxy-server-nameserver is set: the API would ask others */
	bool unjudged;	  /* policies for geosite or rule-set, or too many: as if they were not there */
	struct domains *policies;
};

/* Without a config (NULL), or with dns off, `system` is asked. -ENOMEM. */
int dns_plan_init(struct dns_plan *p, struct doc *d, const struct dns_group *system);
void dns_plan_deinit(struct dns_plan *p);

/* Index of the group that is asked for this name. */
uint8_t dns_plan_group(const struct dns_plan *p, const char *name);

#endif
