/*
 * fwplan_options: every option that the firewall's plan has, one by one, for
 * tests that take them alone and in pairs. One plan at a time.
 */
#ifndef TESTS_FWPLAN_OPTIONS_H
#define TESTS_FWPLAN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"

struct option_plan {
	struct fwplan_params p;
	struct selection s;
};

/* ---- values ---- */

static inline struct addr option_addr(const char *text)
{
	struct addr a;

	if (addr_parse(text, &a) < 0)
		abort();
	return a;
}

#define OPTION_NETS(name, ...)                                                                                         \
	static inline struct net_list name(void)                                                                       \
	{                                                                                                              \
		static const char *const texts[] = { __VA_ARGS__ };                                                    \
		static struct addr_net nets[sizeof(texts) / sizeof(texts[0])];                                         \
                                                                                                                       \
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {                                        \
			if (addr_net_parse(texts[i], &nets[i]) < 0)                                                    \
				abort();                                                                               \
		}                                                                                                      \
		return (struct net_list){ nets, sizeof(texts) / sizeof(texts[0]) };                                    \
	}

OPTION_NETS(option_want, "203.0.113.0/24", "8.8.8.8", "10.0.0.0/8", "::/0")
OPTION_NETS(option_want4, "0.0.0.0/0")
OPTION_NETS(option_skip_dst, "198.51.100.7", "198.51.0.0/16", "2001:db8:7::/48", "::ffff:0:0/96")
OPTION_NETS(option_skip_src, "192.168.1.50", "fd00:1::50")
OPTION_NETS(option_only_src, "192.168.1.0/24", "fd00:1::/64")
OPTION_NETS(option_only_src4, "192.168.2.0/24")
OPTION_NETS(option_fake, "198.18.0.0/16", "28.0.0.0/8", "fdfe:dcba:9876::/64")
OPTION_NETS(option_lan, "192.0.2.0/25", "2001:db8:1::/64")

static inline struct iface option_iface(const char *name)
{
	struct iface i;

	snprintf(i.name, sizeof(i.name), "%s", name);
	return i;
}

/* ---- the options ---- */

static inline void option_local_off(struct option_plan *o)
{
	o->p.local = false;
}

static inline void option_scope_output(struct option_plan *o)
{
	o->p.servers_output_only = true;
}

static inline void option_routing_marks(struct option_plan *o)
{
	static const uint32_t marks[] = { 0x1a2b, 0, 255 };

	o->p.routing_marks = marks;
	o->p.n_routing_marks = 3;
}

static inline void option_port_mark_gid(struct option_plan *o)
{
	o->p.port = 17893;
	o->p.mark = 0xdeadbeef;
	o->p.core_gid = 4294967294u;
}

static inline void option_set_name(struct option_plan *o)
{
	o->p.server_set = "my-servers.0_abcdefghijklmn";
}

static inline void option_want_both(struct option_plan *o)
{
	o->s.want = option_want();
}

static inline void option_want_v4(struct option_plan *o)
{
	o->s.want = option_want4();
}

static inline void option_skip_dsts(struct option_plan *o)
{
	o->s.skip_dst = option_skip_dst();
}

static inline void option_skip_srcs(struct option_plan *o)
{
	o->s.skip_src = option_skip_src();
}

static inline void option_skip_macs(struct option_plan *o)
{
	static struct mac macs[] = { { { 2, 0, 0, 0, 0, 0x50 } }, { { 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff } } };

	o->s.skip_mac = (struct mac_list){ macs, 2 };
}

static inline void option_only_srcs(struct option_plan *o)
{
	o->s.only_src = option_only_src();
}

static inline void option_only_srcs_v4(struct option_plan *o)
{
	o->s.only_src = option_only_src4();
}

static inline void option_only_macs(struct option_plan *o)
{
	static struct mac macs[] = { { { 2, 0, 0, 0, 0, 0x51 } } };

	o->s.only_mac = (struct mac_list){ macs, 1 };
}

static inline void option_skip_ports(struct option_plan *o)
{
	static struct port_range ports[] = { { 22, 22 }, { 1000, 2000 }, { 1500, 65535 } };

	o->s.skip_ports = (struct port_list){ ports, 3 };
}

static inline void option_skip_ifaces(struct option_plan *o)
{
	static struct iface ifaces[3];

	ifaces[0] = option_iface("docker0");
	ifaces[1] = option_iface("br-*");
	ifaces[2] = option_iface("abcdefghijklmno*");
	o->s.skip_ifaces = (struct iface_list){ ifaces, 3 };
}

static inline void option_lan_ifaces(struct option_plan *o)
{
	static struct iface ifaces[2];

	ifaces[0] = option_iface("br-lan");
	ifaces[1] = option_iface("wg*");
	o->s.lan_ifaces = (struct iface_list){ ifaces, 2 };
}

static inline void option_any_iface(struct option_plan *o)
{
	static struct iface any;

	any = option_iface("*");
	o->s.lan_ifaces = (struct iface_list){ &any, 1 };
}

static inline void option_fakes(struct option_plan *o)
{
	static struct net_list fake;

	fake = option_fake();
	o->p.fake = &fake;
}

static inline void option_refuse_fake(struct option_plan *o)
{
	option_fakes(o);
	o->p.refuse_fake = true;
}

static inline void option_lans(struct option_plan *o)
{
	static struct net_list lan;

	lan = option_lan();
	o->p.lan = &lan;
}

static inline void option_input(struct option_plan *o)
{
	o->p.input_accept = true;
}

static inline void option_closed(struct option_plan *o)
{
	o->p.closed = true;
}

static inline void option_dns(struct option_plan *o)
{
	o->p.dns.on = true;
	o->p.dns.port = 1053;
}

static inline void option_fallback(struct option_plan *o)
{
	option_dns(o);
	o->p.dns.has_fallback[IP_V4] = o->p.dns.has_fallback[IP_V6] = true;
	o->p.dns.fallback[IP_V4] = option_addr("9.9.9.9");
	o->p.dns.fallback[IP_V6] = option_addr("2620:fe::fe");
}

static inline void option_lease(struct option_plan *o)
{
	o->p.lease_on[IP_V4] = o->p.lease_on[IP_V6] = true;
}

static inline void option_servers(struct option_plan *o)
{
	static struct addr servers[3];

	servers[0] = option_addr("1.1.1.1");
	servers[1] = option_addr("2606:4700::1111");
	servers[2] = option_addr("2.2.2.2");
	o->p.servers = servers;
	o->p.n_servers = 3;
}

#define OPTION_LACKS(name, what)                                                                                       \
	static inline void name(struct option_plan *o)                                                                 \
	{                                                                                                              \
		o->p.lacks[IP_V4] |= what;                                                                             \
		o->p.lacks[IP_V6] |= what;                                                                             \
	}

OPTION_LACKS(option_no_socket, FW_LACKS_SOCKET)
OPTION_LACKS(option_no_owner, FW_LACKS_OWNER)
OPTION_LACKS(option_no_nat, FW_LACKS_NAT)
OPTION_LACKS(option_no_reject, FW_LACKS_REJECT)
OPTION_LACKS(option_no_mac, FW_LACKS_MAC)

static const struct option {
	const char *name;
	void (*apply)(struct option_plan *o);
} options[] = {
	{ "local off", option_local_off },
	{ "scope output", option_scope_output },
	{ "routing marks", option_routing_marks },
	{ "port, mark, gid", option_port_mark_gid },
	{ "set name", option_set_name },
	{ "want", option_want_both },
	{ "want IPv4 only", option_want_v4 },
	{ "skip dst", option_skip_dsts },
	{ "skip src", option_skip_srcs },
	{ "skip mac", option_skip_macs },
	{ "only src", option_only_srcs },
	{ "only src of IPv4", option_only_srcs_v4 },
	{ "only mac", option_only_macs },
	{ "skip ports", option_skip_ports },
	{ "skip ifaces", option_skip_ifaces },
	{ "lan ifaces", option_lan_ifaces },
	{ "any iface", option_any_iface },
	{ "fake", option_fakes },
	{ "refuse fake", option_refuse_fake },
	{ "lan", option_lans },
	{ "input", option_input },
	{ "closed", option_closed },
	{ "dns", option_dns },
	{ "dns with fallback", option_fallback },
	{ "lease on", option_lease },
	{ "servers", option_servers },
	{ "no socket match", option_no_socket },
	{ "no owner match", option_no_owner },
	{ "no nat", option_no_nat },
	{ "no reject", option_no_reject },
	{ "no mac match", option_no_mac },
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))
#define OPTIONS_ALL (FWPLAN_ARMED | FWPLAN_STANDING)

static const bool both_families[IP_FAMILIES] = { true, true };

/* The defaults, and the options a and b on them (OPTIONS = none). */
static inline struct fwplan_params *option_params(struct option_plan *o, size_t a, size_t b)
{
	memset(o, 0, sizeof(*o));
	o->p = (struct fwplan_params){ .server_set = "clash_proxy_ips",
				       .port = 7893,
				       .mark = 1,
				       .core_gid = 7893,
				       .local = true,
				       .selection = &o->s };
	if (a < OPTIONS)
		options[a].apply(o);
	if (b < OPTIONS)
		options[b].apply(o);
	return &o->p;
}

/* What there is at most: each option that takes nothing away. */
static inline struct fwplan_params *option_everything(struct option_plan *o)
{
	option_params(o, OPTIONS, OPTIONS);
	for (size_t i = 0; i < OPTIONS; i++) {
		if (strncmp(options[i].name, "no ", 3) != 0 && options[i].apply != option_local_off &&
		    options[i].apply != option_any_iface && options[i].apply != option_want_v4 &&
		    options[i].apply != option_only_srcs_v4 && options[i].apply != option_closed)
			options[i].apply(o);
	}
	return &o->p;
}

#endif
