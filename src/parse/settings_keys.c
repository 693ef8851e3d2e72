#include "parse/settings_keys.h"

#include "clashsup/fwplan.h"

static const char *const mode_words[] = { "tproxy", "mixed", NULL };
static const char *const level_words[] = { "debug", "info", "warn", "error", NULL };
static const char *const format_words[] = { "text", "json", NULL };
static const char *const backend_words[] = { "auto", "iptables", "nft", "script", NULL };
static const char *const on_death_words[] = { "open", "closed", NULL };
static const char *const scope_words[] = { "all", "output", NULL };
static const char *const ready_words[] = { "waiting", "armed", NULL };
static const char *const give_up_words[] = { "never", "exit", "stay", NULL };
static const char *const fallback_words[] = { "auto", "none", NULL };
static const char *const inherit_words[] = { "inherit", NULL };
static const char *const auto_words[] = { "auto", NULL };

#define AT(member) offsetof(struct settings, member), sizeof(((struct settings *)0)->member)
#define LEVEL(below_zero) (uint64_t)(below_zero) /* min of a SETTING_LEVEL */
#define LIST(name, which, fallback)                                                                                    \
	{                                                                                                              \
		"tproxy", name, SETTING_LIST, AT(tproxy.list_text[which]), which, 0, NULL, fallback                    \
	}

const struct setting_key setting_keys[] = {
	{ "mihomo", "binary", SETTING_PROGRAM, AT(mihomo.binary), 0, 0, NULL, "mihomo" },
	{ "mihomo", "home", SETTING_PATH, AT(mihomo.home), 0, 0, NULL, "" },
	{ "mihomo", "config", SETTING_PATH, AT(mihomo.config), 0, 0, NULL, "" },
	{ "mihomo", "user", SETTING_USER, AT(mihomo.user), 0, 0, NULL, "" },
	{ "mihomo", "group", SETTING_GID, AT(mihomo.group), 1, UINT32_MAX - 1, NULL, "7893" },
	{ "mihomo", "groups", SETTING_GROUPS, AT(mihomo.attr.groups), 0, 0, NULL, "" },
	{ "mihomo", "args", SETTING_ARGS, AT(mihomo.args), 0, SETTINGS_ARGS_MAX, NULL, "" },
	{ "mihomo", "env", SETTING_ENV, AT(mihomo.env), 0, SETTINGS_ARGS_MAX, NULL, "" },
	{ "mihomo", "nofile", SETTING_LIMIT, AT(mihomo.nofile), 64, 1u << 30, NULL, "hard" },
	{ "mihomo", "limits", SETTING_LIMITS, AT(mihomo.attr.limits), 0, 0, NULL, "" },
	{ "mihomo", "umask", SETTING_OCTAL, AT(mihomo.attr.umask), 0, 0777, NULL, "022" },
	{ "mihomo", "nice", SETTING_LEVEL, AT(mihomo.attr.nice), LEVEL(-20), 19, inherit_words, "inherit" },
	{ "mihomo", "oom_score_adj", SETTING_LEVEL, AT(mihomo.attr.oom_score_adj), LEVEL(-1000), 1000, auto_words,
	  "auto" },
	{ "mihomo", "no_new_privs", SETTING_BOOL, AT(mihomo.attr.no_new_privs), 0, 0, NULL, "no" },
	{ "mihomo", "cgroup", SETTING_CGROUP, AT(mihomo.attr.cgroup), 0, 0, NULL, "" },
	{ "mihomo", "stop_timeout", SETTING_MS, AT(mihomo.stop_timeout_ms), 100, HOUR_MS, NULL, "5s" },
	{ "mihomo", "hang_kill", SETTING_MS, AT(mihomo.hang_kill_ms), 100, 24 * HOUR_MS, NULL, "30s" },
	{ "probe", "interval", SETTING_MS, AT(probe.interval_ms), 50, HOUR_MS, NULL, "1s" },
	{ "probe", "timeout", SETTING_MS, AT(probe.timeout_ms), 50, 60 * SECOND_MS, NULL, "2s" },
	{ "probe", "fall", SETTING_COUNT, AT(probe.fall), 1, 100, NULL, "3" },
	{ "probe", "rise", SETTING_COUNT, AT(probe.rise), 1, 100, NULL, "1" },
	{ "tproxy", "mode", SETTING_CHOICE, AT(tproxy.mode), 0, 0, mode_words, "tproxy" },
	{ "tproxy", "backend", SETTING_CHOICE, AT(tproxy.backend), 0, 0, backend_words, "auto" },
	{ "tproxy", "script", SETTING_PATH, AT(tproxy.script), 0, 0, NULL, "" },
	{ "tproxy", "port", SETTING_PORT, AT(tproxy.port), 1, UINT16_MAX, NULL, "7893" },
	{ "tproxy", "mark", SETTING_HEX, AT(tproxy.mark), 1, UINT32_MAX, NULL, "0x1" },
	{ "tproxy", "table", SETTING_TABLE, AT(tproxy.table), 1, UINT32_MAX, NULL, "100" },
	{ "tproxy", "pref", SETTING_COUNT, AT(tproxy.pref), 1, 32765, NULL, "100" },
	{ "tproxy", "ipv4", SETTING_TRISTATE, AT(tproxy.family[IP_V4]), 0, 0, NULL, "auto" },
	{ "tproxy", "ipv6", SETTING_TRISTATE, AT(tproxy.family[IP_V6]), 0, 0, NULL, "auto" },
	{ "tproxy", "local", SETTING_BOOL, AT(tproxy.local), 0, 0, NULL, "yes" },
	LIST("lan_ifaces", LIST_LAN_IFACES, "all"),
	LIST("proxy_cidrs", LIST_PROXY_CIDRS, ""),
	LIST("include_src", LIST_INCLUDE_SRC, ""),
	LIST("exclude_src_cidrs", LIST_EXCLUDE_SRC, ""),
	LIST("exclude_ifaces", LIST_EXCLUDE_IFACES, ""),
	LIST("exclude_ips", LIST_EXCLUDE_IPS, ""),
	LIST("exclude_ports", LIST_EXCLUDE_PORTS, ""),
	{ "tproxy", "on_death", SETTING_CHOICE, AT(tproxy.on_death), 0, 0, on_death_words, "open" },
	{ "tproxy", "dns", SETTING_TRISTATE, AT(tproxy.dns), 0, 0, NULL, "auto" },
	{ "tproxy", "dns_fallback", SETTING_FALLBACK, AT(tproxy.dns_fallback), 0, 0, fallback_words, "auto" },
	{ "tproxy", "input_accept", SETTING_TRISTATE, AT(tproxy.input_accept), 0, 0, NULL, "auto" },
	{ "tproxy", "fix_sysctls", SETTING_BOOL, AT(tproxy.fix_sysctls), 0, 0, NULL, "no" },
	{ "ipset", "name", SETTING_SET_NAME, AT(ipset.name), 0, FWPLAN_SET_NAME_MAX, NULL, "clash_proxy_ips" },
	{ "ipset", "scope", SETTING_CHOICE, AT(ipset.scope), 0, 0, scope_words, "all" },
	{ "extract", "interval", SETTING_MS, AT(extract.interval_ms), SECOND_MS, 168 * HOUR_MS, NULL, "300s" },
	{ "extract", "timeout", SETTING_MS, AT(extract.timeout_ms), SECOND_MS, HOUR_MS, NULL, "60s" },
	{ "extract", "provider_dir", SETTING_PATH, AT(extract.provider_dir), 0, 0, NULL, "" },
	{ "extract", "resolver", SETTING_RESOLVER, AT(extract.resolver), 0, 0, NULL, "auto" },
	{ "extract", "concurrency", SETTING_COUNT, AT(extract.concurrency), 1, 256, NULL, "64" },
	{ "extract", "name_timeout", SETTING_MS, AT(extract.name_timeout_ms), 100, 60 * SECOND_MS, NULL, "5s" },
	{ "extract", "grace", SETTING_MS, AT(extract.grace_ms), 0, UINT64_C(8760) * HOUR_MS, NULL, "24h" },
	{ "extract", "max_file", SETTING_BYTES, AT(extract.max_file), 4096, 64u << 20, NULL, "64M" },
	{ "restart", "backoff_min", SETTING_MS, AT(restart.backoff_min_ms), 50, HOUR_MS, NULL, "500ms" },
	{ "restart", "backoff_max", SETTING_MS, AT(restart.backoff_max_ms), 50, 24 * HOUR_MS, NULL, "30s" },
	{ "restart", "stable", SETTING_MS, AT(restart.stable_ms), 100, 24 * HOUR_MS, NULL, "60s" },
	{ "restart", "give_up", SETTING_CHOICE, AT(restart.give_up), 0, 0, give_up_words, "never" },
	{ "restart", "give_up_after", SETTING_COUNT, AT(restart.give_up_after), 1, 100000, NULL, "10" },
	{ "control", "socket", SETTING_PATH, AT(control.socket), 0, 0, NULL, "" },
	{ "control", "control_group", SETTING_GID_OR_NO, AT(control.group), 0, UINT32_MAX - 1, NULL, "" },
	{ "state", "run", SETTING_PATH, AT(state.run), 1, 0, NULL, "/run/clashsup" },
	{ "state", "dir", SETTING_PATH, AT(state.dir), 1, 0, NULL, "/var/lib/clashsup" },
	{ "hooks", "dir", SETTING_PATH, AT(hooks.dir), 0, 0, NULL, "" },
	{ "hooks", "timeout", SETTING_MS, AT(hooks.timeout_ms), 100, HOUR_MS, NULL, "10s" },
	{ "notify", "ready", SETTING_CHOICE, AT(notify.ready), 0, 0, ready_words, "waiting" },
	{ "log", "level", SETTING_CHOICE, AT(log.level), 0, 0, level_words, "info" },
	{ "log", "format", SETTING_CHOICE, AT(log.format), 0, 0, format_words, "text" },
	{ "log", "mihomo", SETTING_SINK, AT(log.mihomo), 0, 0, NULL, "inherit" },
	{ "log", "mihomo_size", SETTING_BYTES, AT(log.mihomo_size), 4096, 1u << 30, NULL, "1M" },
	{ "log", "mihomo_count", SETTING_COUNT, AT(log.mihomo_count), 0, 100, NULL, "3" },
	{ "log", "rate", SETTING_COUNT, AT(log.rate), 0, 1000000, NULL, "1000" },
};
const size_t setting_n_keys = sizeof(setting_keys) / sizeof(setting_keys[0]);
_Static_assert(sizeof(setting_keys) / sizeof(setting_keys[0]) <= SETTING_KEYS_MAX, "room for each key");
