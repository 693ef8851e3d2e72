#include "daemon/reload_effects.h"

#include <stddef.h>
#include <string.h>

/* In the order of the man page. */
static const struct {
	const char *section, *name;
	unsigned effects;
} table[] = {
	{ "mihomo", "binary", RELOAD_CORE },
	{ "mihomo", "home", RELOAD_CORE | RELOAD_EXTRACT },
	{ "mihomo", "config", RELOAD_CHECK },
	{ "mihomo", "user", RELOAD_USER | RELOAD_PROBE },
	{ "mihomo", "group", RELOAD_USER | RELOAD_PROBE },
	{ "mihomo", "groups", RELOAD_CORE },
	{ "mihomo", "args", RELOAD_CORE },
	{ "mihomo", "env", RELOAD_CORE },
	{ "mihomo", "nofile", RELOAD_CORE },
	{ "mihomo", "limits", RELOAD_CORE },
	{ "mihomo", "umask", RELOAD_CORE },
	{ "mihomo", "nice", RELOAD_CORE },
	{ "mihomo", "oom_score_adj", RELOAD_CORE },
	{ "mihomo", "no_new_privs", RELOAD_CORE },
	{ "mihomo", "cgroup", RELOAD_CORE },
	{ "mihomo", "stop_timeout", RELOAD_LIVE },
	{ "mihomo", "hang_kill", RELOAD_LIVE },
	{ "probe", "interval", RELOAD_PROBE },
	{ "probe", "timeout", RELOAD_PROBE },
	{ "probe", "fall", RELOAD_LIVE },
	{ "probe", "rise", RELOAD_LIVE },
	{ "tproxy", "mode", RELOAD_MODE },
	{ "tproxy", "backend", RELOAD_ANEW },
	{ "tproxy", "script", RELOAD_ANEW },
	{ "tproxy", "port", RELOAD_CHECK },
	{ "tproxy", "mark", RELOAD_ANEW | RELOAD_CHECK },
	{ "tproxy", "table", RELOAD_ANEW },
	{ "tproxy", "pref", RELOAD_ANEW },
	{ "tproxy", "ipv4", RELOAD_ANEW },
	{ "tproxy", "ipv6", RELOAD_ANEW },
	{ "tproxy", "local", RELOAD_PLAN },
	{ "tproxy", "lan_ifaces", RELOAD_PLAN },
	{ "tproxy", "proxy_cidrs", RELOAD_PLAN },
	{ "tproxy", "include_src", RELOAD_PLAN },
	{ "tproxy", "exclude_src_cidrs", RELOAD_PLAN },
	{ "tproxy", "exclude_ifaces", RELOAD_PLAN },
	{ "tproxy", "exclude_ips", RELOAD_PLAN },
	{ "tproxy", "exclude_ports", RELOAD_PLAN },
	{ "tproxy", "on_death", RELOAD_PLAN },
	{ "tproxy", "dns", RELOAD_PLAN },
	{ "tproxy", "dns_fallback", RELOAD_PLAN },
	{ "tproxy", "input_accept", RELOAD_PLAN },
	{ "tproxy", "fix_sysctls", RELOAD_SYSCTLS },
	{ "ipset", "name", RELOAD_ANEW },
	{ "ipset", "scope", RELOAD_PLAN },
	{ "extract", "interval", RELOAD_LIVE },
	{ "extract", "timeout", RELOAD_LIVE },
	{ "extract", "provider_dir", RELOAD_EXTRACT },
	{ "extract", "resolver", RELOAD_EXTRACT },
	{ "extract", "concurrency", RELOAD_LIVE },
	{ "extract", "name_timeout", RELOAD_LIVE },
	{ "extract", "grace", RELOAD_LIVE },
	{ "extract", "max_file", RELOAD_EXTRACT },
	{ "restart", "backoff_min", RELOAD_LIVE },
	{ "restart", "backoff_max", RELOAD_LIVE },
	{ "restart", "stable", RELOAD_LIVE },
	{ "restart", "give_up", RELOAD_LIVE },
	{ "restart", "give_up_after", RELOAD_LIVE },
	{ "control", "socket", RELOAD_SOCKET },
	{ "control", "control_group", RELOAD_LIVE },
	{ "state", "run", RELOAD_NEVER },
	{ "state", "dir", RELOAD_NEVER },
	{ "hooks", "dir", RELOAD_LIVE },
	{ "hooks", "timeout", RELOAD_LIVE },
	{ "notify", "ready", RELOAD_LIVE },
	{ "log", "level", RELOAD_LIVE },
	{ "log", "format", RELOAD_LIVE },
	{ "log", "mihomo", RELOAD_LOGFILE },
	{ "log", "mihomo_size", RELOAD_LOGFILE },
	{ "log", "mihomo_count", RELOAD_LOGFILE },
	{ "log", "rate", RELOAD_LIVE },
};

unsigned reload_effects(const char *section, const char *name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(table[i].section, section) == 0 && strcmp(table[i].name, name) == 0)
			return table[i].effects;
	}
	return 0;
}
