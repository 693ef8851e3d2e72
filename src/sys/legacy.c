/* Stamps of legacy iptables' tables: what netwatch.h has instead of events for them. */
#include <arpa/inet.h> /* before linux/in.h, which then leaves out what is there */
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <string.h>
#include <sys/socket.h>

#include "clashsup/io.h"
#include "clashsup/netwatch.h"

#define NAMES_MAX 1024 /* five tables of up to eight letters: what is beyond is none of them */

static const struct {
	const char *names;
	int domain, level, question;
} of[IP_FAMILIES] = {
	{ "/proc/net/ip_tables_names", AF_INET, IPPROTO_IP, IPT_SO_GET_INFO },
	{ "/proc/net/ip6_tables_names", AF_INET6, IPPROTO_IPV6, IP6T_SO_GET_INFO },
};

/* Of the tables in use, one a line. 0, or -ENOENT also where there are no legacy tables at all. */
static int is_in_use(enum ip_family family, const char *table)
{
	cleanup_fd int fd = open(of[family].names, O_RDONLY | O_CLOEXEC);
	char names[NAMES_MAX], *rest = names, *name;
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = io_read(fd, names, sizeof(names) - 1);
	if (len < 0)
		return (int)len;
	names[len] = '\0';
	while ((name = strsep(&rest, "\n"))) {
		if (strcmp(name, table) == 0)
			return 0;
	}
	return -ENOENT;
}

/* struct ip6t_getinfo is the same. */
static int ask(enum ip_family family, const char *table, struct ipt_getinfo *info)
{
	cleanup_fd int fd = socket(of[family].domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	socklen_t len = sizeof(*info);

	if (fd < 0)
		return -errno;
	memcpy(info->name, table, strlen(table) + 1);
	if (getsockopt(fd, of[family].level, of[family].question, info, &len) < 0)
		return -errno;
	return len == sizeof(*info) ? 0 : -EPROTO;
}

int netwatch_legacy(enum ip_family family, const char *table, struct legacy_stamp *out, struct err *e)
{
	struct ipt_getinfo info = { 0 };
	int r = strlen(table) < sizeof(info.name) ? is_in_use(family, table) : -ENOENT;

	if (r == 0)
		r = ask(family, table, &info);
	if (r < 0)
		return err_sys(e, -r, "look at the legacy %s table %s", family == IP_V4 ? "IPv4" : "IPv6", table);
	*out = (struct legacy_stamp){ .hooks = info.valid_hooks, .rules = info.num_entries, .size = info.size };
	memcpy(out->entry, info.hook_entry, sizeof(out->entry));
	memcpy(out->underflow, info.underflow, sizeof(out->underflow));
	return 0;
}
