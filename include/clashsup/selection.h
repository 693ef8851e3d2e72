/*
 * selection: which traffic the user wants proxied, as values: the lists of
 * [tproxy] after parsing. Pure data; settings fills it, fwplan reads it.
 *
 * Lists are owned by whoever filled them; an empty one has n = 0 and may have a
 * NULL pointer. Networks of both families stand in one list, in the order given.
 */
#ifndef CLASHSUP_SELECTION_H
#define CLASHSUP_SELECTION_H

#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"

#define SELECTION_NETS_MAX 131072 /* of one list */
#define SELECTION_NAMES_MAX 64
#define SELECTION_PORTS_MAX 1024
#define IFACE_TEXT 16 /* IFNAMSIZ of linux/if.h */

struct net_list {
	struct addr_net *nets;
	size_t n;
};

struct mac {
	uint8_t bytes[6];
};

struct mac_list {
	struct mac *macs;
	size_t n;
};

struct port_range {
	uint16_t first, last; /* inclusive; equal for a single port */
};

struct port_list {
	struct port_range *ranges;
	size_t n;
};

/* An interface's name; a '*' at its end, and only there, stands for any rest. */
struct iface {
	char name[IFACE_TEXT + 1];
};

struct iface_list {
	struct iface *ifaces;
	size_t n;
};

struct selection {
	struct net_list want;	       /* proxy_cidrs; empty: everything that is not reserved */
	struct net_list skip_dst;      /* exclude_ips */
	struct net_list skip_src;      /* exclude_src_cidrs, networks */
	struct mac_list skip_mac;      /* exclude_src_cidrs, MAC addresses */
	struct net_list only_src;      /* include_src, networks; both empty: everybody */
	struct mac_list only_mac;      /* include_src, MAC addresses */
	struct port_list skip_ports;   /* exclude_ports: destination ports, TCP and UDP */
	struct iface_list skip_ifaces; /* exclude_ifaces */
	struct iface_list lan_ifaces;  /* lan_ifaces; empty: all */
};

#endif
