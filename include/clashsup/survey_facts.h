/*
 * survey_facts: the facts of a survey as a value; sys/survey fills it, findings
 * judges it.
 */
#ifndef CLASHSUP_SURVEY_FACTS_H
#define CLASHSUP_SURVEY_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/addr.h"
#include "clashsup/selection.h"
#include "clashsup/survey_rules.h"

#define SURVEY_LINKS_MAX 32
#define SURVEY_SOCKETS_MAX 8
#define SURVEY_STRANGERS_MAX 8
#define SURVEY_UNKNOWN (-1)

/* An interface. Sysctls are as they stand, SURVEY_UNKNOWN where there is none. */
struct survey_link {
	char name[IFACE_TEXT + 1];
	bool lan;				     /* its clients are ours */
	bool uplink[IP_FAMILIES];		     /* the internet lies behind it */
	bool bridge;				     /* it is one */
	bool container;				     /* of Docker and the like */
	int rp_filter, src_valid_mark, accept_local; /* net.ipv4.conf.NAME */
	int accept_ra;				     /* net.ipv6.conf.NAME */
	int bridge_nf[IP_FAMILIES];		     /* the bridge's own nf_call_iptables, nf_call_ip6tables */
	bool private4, public4;			     /* has such an address */
};

/* One on port 53 that is not Mihomo's. */
struct survey_socket {
	struct addr addr; /* as bound; the wildcard too */
	int protocol;	  /* IPPROTO_ */
	pid_t pid;	  /* 0 = not seen */
	char name[16];
};

struct survey_facts {
	struct survey_rules rules;
	bool rules_known;  /* at least one listing was read */
	char unknown[256]; /* why a listing could not be; "" */

	struct survey_rule strangers[SURVEY_STRANGERS_MAX]; /* routing rules and routes that collide with ours */
	size_t n_strangers;

	struct survey_link links[SURVEY_LINKS_MAX]; /* those that are up, without lo */
	size_t n_links;
	int forward[IP_FAMILIES];				 /* net.ipv4.ip_forward, net.ipv6.conf.all.forwarding */
	int bridge_nf[IP_FAMILIES];				 /* net.bridge.bridge-nf-call-iptables, -ip6tables */
	int rp_filter_all, src_valid_mark_all, accept_local_all; /* net.ipv4.conf.all */

	char tun[IFACE_TEXT]; /* an interface that Mihomo has made; "" */

	struct survey_socket dns[SURVEY_SOCKETS_MAX];
	size_t n_dns;
};

#endif
