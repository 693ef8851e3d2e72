#include "sys/survey_look.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/route.h"
#include "clashsup/sockdiag.h"
#include "clashsup/sysctl.h"
#include "sys/netlink.h"

#define MSG_MAX 128 /* always zeroed: libmnl leaves padding as it is */
#define DNS_PORT 53

/* ---- sysctls ---- */

static int read_number(const char *name)
{
	int value;

	return sysctl_read_int(name, &value, NULL) < 0 ? SURVEY_UNKNOWN : value;
}

/* net/ipv4/conf/NAME/KEY; an interface's name may hold dots and stands as it is */
static int read_conf(const char *family, const char *name, const char *key)
{
	char full[SYSCTL_NAME_MAX];

	snprintf(full, sizeof(full), "net/%s/conf/%s/%s", family, name, key);
	return read_number(full);
}

static void look_sysctls(struct survey_facts *f)
{
	f->forward[IP_V4] = read_number("net.ipv4.ip_forward");
	f->forward[IP_V6] = read_number("net.ipv6.conf.all.forwarding");
	f->bridge_nf[IP_V4] = read_number("net.bridge.bridge-nf-call-iptables");
	f->bridge_nf[IP_V6] = read_number("net.bridge.bridge-nf-call-ip6tables");
	f->rp_filter_all = read_conf("ipv4", "all", "rp_filter");
	f->accept_local_all = read_conf("ipv4", "all", "accept_local");
	f->src_valid_mark_all = read_conf("ipv4", "all", "src_valid_mark");
	for (size_t i = 0; i < f->n_links; i++) {
		struct survey_link *l = &f->links[i];

		l->rp_filter = read_conf("ipv4", l->name, "rp_filter");
		l->src_valid_mark = read_conf("ipv4", l->name, "src_valid_mark");
		l->accept_local = read_conf("ipv4", l->name, "accept_local");
		l->accept_ra = read_conf("ipv6", l->name, "accept_ra");
	}
}

/* ---- links ---- */

static const struct nlattr *inner(const struct nlattr *nest, uint16_t type)
{
	const uint8_t *end = (const uint8_t *)mnl_attr_get_payload(nest) + mnl_attr_get_payload_len(nest);
	const struct nlattr *attr = mnl_attr_get_payload(nest);

	while (mnl_attr_ok(attr, (int)(end - (const uint8_t *)attr)) && mnl_attr_get_type(attr) != type)
		attr = mnl_attr_next(attr);
	return mnl_attr_ok(attr, (int)(end - (const uint8_t *)attr)) ? attr : NULL;
}

static void read_bridge(const struct nlattr *info, struct survey_link *l)
{
	const struct nlattr *data = inner(info, IFLA_INFO_DATA), *v4, *v6;

	l->bridge = true;
	v4 = data ? netlink_inner(data, IFLA_BR_NF_CALL_IPTABLES, sizeof(uint8_t)) : NULL;
	v6 = data ? netlink_inner(data, IFLA_BR_NF_CALL_IP6TABLES, sizeof(uint8_t)) : NULL;
	l->bridge_nf[IP_V4] = v4 ? mnl_attr_get_u8(v4) : SURVEY_UNKNOWN;
	l->bridge_nf[IP_V6] = v6 ? mnl_attr_get_u8(v6) : SURVEY_UNKNOWN;
}

static void read_link(const struct nlmsghdr *msg, void *ctx)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(msg);
	const struct nlattr *name, *info, *kind;
	struct survey_facts *f = ctx;
	struct survey_link *l = &f->links[f->n_links];

	if (msg->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(msg) < sizeof(*head) ||
	    f->n_links == SURVEY_LINKS_MAX || !(head->ifi_flags & IFF_UP) || (head->ifi_flags & IFF_LOOPBACK))
		return;
	name = netlink_nest(msg, sizeof(*head), IFLA_IFNAME);
	if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 ||
	    mnl_attr_get_payload_len(name) > sizeof(l->name))
		return;
	memset(l, 0, sizeof(*l));
	snprintf(l->name, sizeof(l->name), "%s", mnl_attr_get_str(name));
	l->bridge_nf[IP_V4] = l->bridge_nf[IP_V6] = SURVEY_UNKNOWN;
	l->container = survey_is_container(l->name);
	info = netlink_nest(msg, sizeof(*head), IFLA_LINKINFO);
	kind = info ? inner(info, IFLA_INFO_KIND) : NULL;
	if (kind && mnl_attr_validate(kind, MNL_TYPE_NUL_STRING) == 0 && strcmp(mnl_attr_get_str(kind), "bridge") == 0)
		read_bridge(info, l);
	f->n_links++;
}

static void dump_links(struct netlink *n, struct survey_facts *f)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);

	msg->nlmsg_type = RTM_GETLINK;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(msg, sizeof(struct ifinfomsg));
	(void)netlink_ask(n, msg, read_link, f);
}

static void read_way(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *oif;
	uint32_t *out = ctx;

	if (msg->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(msg) < sizeof(struct rtmsg))
		return;
	oif = netlink_attr(msg, sizeof(struct rtmsg), RTA_OIF, sizeof(uint32_t));
	if (oif)
		*out = mnl_attr_get_u32(oif);
}

/* By which interface a packet to some address of the internet would leave; none is sent. */
static void find_uplink(struct netlink *n, struct survey_facts *f, enum ip_family family)
{
	static const char *const somewhere[IP_FAMILIES] = { "1.1.1.1", "2606:4700:4700::1111" };
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buf);
	struct rtmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));
	char name[IF_NAMESIZE];
	struct addr to;
	uint32_t oif = 0;

	(void)addr_parse(somewhere[family], &to);
	msg->nlmsg_type = RTM_GETROUTE;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	head->rtm_family = (uint8_t)addr_af(&to);
	head->rtm_dst_len = (uint8_t)(addr_len(&to) * 8);
	mnl_attr_put(msg, RTA_DST, addr_len(&to), to.bytes);
	if (netlink_ask(n, msg, read_way, &oif) < 0 || !if_indextoname(oif, name))
		return;
	for (size_t i = 0; i < f->n_links; i++) {
		if (strcmp(f->links[i].name, name) == 0)
			f->links[i].uplink[family] = true;
	}
}

/* ---- addresses ---- */

static struct survey_link *link_named(struct survey_facts *f, const char *name)
{
	for (size_t i = 0; i < f->n_links; i++) {
		if (strcmp(f->links[i].name, name) == 0)
			return &f->links[i];
	}
	return NULL;
}

static const uint8_t *bytes_of(const struct sockaddr *sa, unsigned *len)
{
	*len = sa->sa_family == AF_INET ? 4 : 16;
	return sa->sa_family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr
					: ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr;
}

/* False for what has no address of IP, or one of its link only. */
static bool net_of(const struct ifaddrs *a, struct addr *addr, struct addr_net *net)
{
	const uint8_t *mask, *bytes;
	char text[ADDR_TEXT], both[ADDR_TEXT + 8];
	unsigned len, bits = 0;

	if (!a->ifa_addr || !a->ifa_netmask ||
	    (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6))
		return false;
	bytes = bytes_of(a->ifa_addr, &len);
	if (addr_from_bytes(bytes, len, addr) < 0 || addr_is_special(addr))
		return false;
	mask = bytes_of(a->ifa_netmask, &len);
	for (unsigned i = 0; i < len; i++)
		bits += (unsigned)__builtin_popcount(mask[i]);
	snprintf(both, sizeof(both), "%s/%u", addr_text(addr, text), bits);
	return addr_net_parse(both, net) == 0;
}

/* RFC 1918 and RFC 6598 */
static bool is_private(const struct addr *a)
{
	const uint8_t *b = a->bytes;

	return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
	       (b[0] == 100 && (b[1] & 0xc0) == 64);
}

static void note_address(struct survey_link *l, const struct addr *a)
{
	if (a->family != IP_V4)
		return;
	if (is_private(a))
		l->private4 = true;
	else
		l->public4 = true;
}

/* Of the interfaces that `want` chooses; *any says whether one of them has an address. */
static void mark_lan(struct survey_facts *f, const struct ifaddrs *all, bool (*want)(const struct survey_link *l))
{
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		struct survey_link *l = link_named(f, a->ifa_name);
		struct addr_net net;
		struct addr addr;

		if (l && want(l) && net_of(a, &addr, &net))
			l->lan = true;
	}
}

static bool inside(const struct survey_link *l)
{
	return !l->uplink[IP_V4] && !l->uplink[IP_V6] && !l->container;
}

/* A router beside the router: its only interface leads to both. */
static bool both_ways(const struct survey_link *l)
{
	return l->uplink[IP_V4] || l->uplink[IP_V6];
}

static bool any_lan(const struct survey_facts *f)
{
	for (size_t i = 0; i < f->n_links; i++) {
		if (f->links[i].lan)
			return true;
	}
	return false;
}

static bool chosen(const struct iface_list *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++) {
		const char *pattern = list->ifaces[i].name;
		size_t len = strlen(pattern);

		if (len > 0 && pattern[len - 1] == '*' ? strncmp(pattern, name, len - 1) == 0
						       : strcmp(pattern, name) == 0)
			return true;
	}
	return false;
}

static void choose_lan(struct survey_facts *f, const struct iface_list *lan_ifaces, const struct ifaddrs *all)
{
	if (lan_ifaces && lan_ifaces->n > 0) {
		for (size_t i = 0; i < f->n_links; i++)
			f->links[i].lan = chosen(lan_ifaces, f->links[i].name);
		return;
	}
	mark_lan(f, all, inside);
	if (!any_lan(f))
		mark_lan(f, all, both_ways);
}

void survey_look_links(struct survey_facts *f, const struct iface_list *lan_ifaces,
		       struct addr_net lan[SURVEY_NETS_MAX], size_t *n_lan)
{
	struct ifaddrs *all = NULL;
	struct netlink n;

	*n_lan = 0;
	if (netlink_open(&n, NETLINK_ROUTE) == 0) {
		dump_links(&n, f);
		find_uplink(&n, f, IP_V4);
		find_uplink(&n, f, IP_V6);
		netlink_close(&n);
	}
	if (getifaddrs(&all) < 0)
		all = NULL;
	choose_lan(f, lan_ifaces, all);
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		struct survey_link *l = link_named(f, a->ifa_name);
		struct addr_net net;
		struct addr addr;

		if (!l || !net_of(a, &addr, &net))
			continue;
		note_address(l, &addr);
		if (l->lan && *n_lan < SURVEY_NETS_MAX)
			lan[(*n_lan)++] = net;
	}
	if (all)
		freeifaddrs(all);
	look_sysctls(f);
}

/* ---- routing ---- */

void survey_look_routing(struct survey_facts *f, const struct survey_ask *ask)
{
	struct route_stranger found[SURVEY_STRANGERS_MAX];

	if (ask->mark == 0)
		return;
	for (int family = 0; family < IP_FAMILIES; family++) {
		int n = route_strangers((enum ip_family)family, ask->mark, ask->table, ask->pref, found,
					SURVEY_STRANGERS_MAX - f->n_strangers, NULL);

		for (int i = 0; i < n; i++) {
			struct survey_rule *to = &f->strangers[f->n_strangers++];

			snprintf(to->text, sizeof(to->text), "%.*s", SURVEY_TEXT - 1, found[i].text);
			snprintf(to->command, sizeof(to->command), "%s", found[i].command);
			to->same = found[i].hits & ROUTE_SAME;
		}
	}
}

/* ---- port 53 ---- */

static bool is_loopback(const struct addr *a)
{
	struct addr one;

	if (a->family == IP_V4)
		return a->bytes[0] == 127;
	return addr_parse("::1", &one) == 0 && addr_cmp(a, &one) == 0;
}

static bool told_already(const struct survey_facts *f, pid_t pid)
{
	for (size_t i = 0; pid && i < f->n_dns; i++) {
		if (f->dns[i].pid == pid)
			return true;
	}
	return false;
}

void survey_look_dns(struct survey_facts *f, pid_t mihomo)
{
	struct sockdiag_server servers[32];
	int n = sockdiag_servers(DNS_PORT, servers, sizeof(servers) / sizeof(servers[0]), NULL);

	for (int i = 0; i < n && f->n_dns < SURVEY_SOCKETS_MAX; i++) {
		struct survey_socket *to = &f->dns[f->n_dns];

		if (is_loopback(&servers[i].addr) || (mihomo > 0 && sockdiag_owned_by(mihomo, servers[i].inode) == 1))
			continue;
		*to = (struct survey_socket){ .addr = servers[i].addr, .protocol = servers[i].protocol };
		if (sockdiag_owner(servers[i].inode, &to->pid, to->name, sizeof(to->name)) == 1 &&
		    told_already(f, to->pid))
			continue;
		f->n_dns++;
	}
}

/* ---- what may be asked ---- */

bool survey_on_path(const char *program)
{
	const char *path = getenv("PATH");

	for (const char *at = path ? path : ""; *at;) {
		size_t len = strcspn(at, ":");
		char file[PATH_MAX];

		if (io_path(file, sizeof(file), NULL, "%.*s/%s", (int)len, at, program) == 0 && access(file, X_OK) == 0)
			return true;
		at += len + (at[len] == ':');
	}
	return false;
}

/* One that is built in has no directory in /sys; but what is not a module cannot be loaded either. */
bool survey_nft_there(void)
{
	cleanup_free char *builtin = NULL;
	char path[PATH_MAX];
	struct utsname u;
	size_t len;

	if (access("/sys/module/nf_tables", F_OK) == 0 || access("/proc/modules", F_OK) < 0)
		return true;
	if (uname(&u) < 0 || io_path(path, sizeof(path), NULL, "/lib/modules/%s/modules.builtin", u.release) < 0 ||
	    io_slurp_path(path, (size_t)1024 * 1024, &builtin, &len, NULL) < 0)
		return false;
	return strstr(builtin, "/nf_tables.ko") != NULL;
}

bool survey_legacy_there(enum ip_family family)
{
	static const char *const names[IP_FAMILIES] = { "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names" };
	cleanup_fd int fd = open(names[family], O_RDONLY | O_CLOEXEC);
	char one;

	return fd >= 0 && io_read(fd, &one, 1) == 1;
}
