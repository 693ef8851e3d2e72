#include "parse/settings_keys.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"
#include "clashsup/scan.h"

#define SECOND_MS 1000
#define HOUR_MS (3600 * SECOND_MS)
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
#define BETWEEN " \t," /* what separates the items of a list */

static const char *const mode_words[] = { "tproxy", "mixed", NULL };
static const char *const level_words[] = { "debug", "info", "warn", "error", NULL };
static const char *const backend_words[] = { "auto", "iptables", NULL, "nft", "script", NULL };
static const char *const on_death_words[] = { "open", NULL, "closed", NULL };

#define AT(member) offsetof(struct settings, member), sizeof(((struct settings *)0)->member)

const struct setting_key setting_keys[] = {
	{ "mihomo", "binary", SETTING_PROGRAM, AT(mihomo.binary), 0, 0, NULL, "mihomo" },
	{ "mihomo", "home", SETTING_PATH, AT(mihomo.home), 0, 0, NULL, "" },
	{ "mihomo", "config", SETTING_PATH, AT(mihomo.config), 0, 0, NULL, "" },
	{ "mihomo", "user", SETTING_USER, AT(mihomo.user), 0, 0, NULL, "" },
	{ "mihomo", "group", SETTING_GID, AT(mihomo.group), 1, UINT32_MAX - 1, NULL, "7893" },
	{ "mihomo", "args", SETTING_ARGS, AT(mihomo.args), 0, SETTINGS_ARGS_MAX, NULL, "" },
	{ "mihomo", "nofile", SETTING_LIMIT, AT(mihomo.nofile), 64, 1u << 30, NULL, "hard" },
	{ "mihomo", "stop_timeout", SETTING_MS, AT(mihomo.stop_timeout_ms), 100, HOUR_MS, NULL, "5s" },
	{ "mihomo", "hang_kill", SETTING_MS, AT(mihomo.hang_kill_ms), 100, 24 * HOUR_MS, NULL, "30s" },
	{ "probe", "interval", SETTING_MS, AT(probe.interval_ms), 50, HOUR_MS, NULL, "1s" },
	{ "probe", "timeout", SETTING_MS, AT(probe.timeout_ms), 50, 60 * SECOND_MS, NULL, "2s" },
	{ "probe", "fall", SETTING_COUNT, AT(probe.fall), 1, 100, NULL, "3" },
	{ "probe", "rise", SETTING_COUNT, AT(probe.rise), 1, 100, NULL, "1" },
	{ "tproxy", "mode", SETTING_CHOICE, AT(tproxy.mode), 0, 0, mode_words, "tproxy" },
	{ "tproxy", "backend", SETTING_ONLY, 0, 0, 0, 0, backend_words, "auto" },
	{ "tproxy", "port", SETTING_PORT, AT(tproxy.port), 1, UINT16_MAX, NULL, "7893" },
	{ "tproxy", "mark", SETTING_HEX, AT(tproxy.mark), 1, UINT32_MAX, NULL, "0x1" },
	{ "tproxy", "table", SETTING_TABLE, AT(tproxy.table), 1, UINT32_MAX, NULL, "100" },
	{ "tproxy", "ipv4", SETTING_TRISTATE, AT(tproxy.family[IP_V4]), 0, 0, NULL, "auto" },
	{ "tproxy", "ipv6", SETTING_TRISTATE, AT(tproxy.family[IP_V6]), 0, 0, NULL, "auto" },
	{ "tproxy", "local", SETTING_BOOL, AT(tproxy.local), 0, 0, NULL, "yes" },
	{ "tproxy", "on_death", SETTING_ONLY, 0, 0, 0, 0, on_death_words, "open" },
	{ "ipset", "name", SETTING_SET_NAME, AT(ipset.name), 0, FWPLAN_SET_NAME_MAX, NULL, "clash_proxy_ips" },
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
	{ "control", "socket", SETTING_PATH, AT(control.socket), 0, 0, NULL, "" },
	{ "control", "control_group", SETTING_GID_OR_NO, AT(control.group), 0, UINT32_MAX - 1, NULL, "" },
	{ "state", "run", SETTING_PATH, AT(state.run), 1, 0, NULL, "/run/clashsup" },
	{ "state", "dir", SETTING_PATH, AT(state.dir), 1, 0, NULL, "/var/lib/clashsup" },
	{ "log", "level", SETTING_CHOICE, AT(log.level), 0, 0, level_words, "info" },
};
const size_t setting_n_keys = sizeof(setting_keys) / sizeof(setting_keys[0]);
_Static_assert(sizeof(setting_keys) / sizeof(setting_keys[0]) <= SETTING_KEYS_MAX, "room for each key");

/* ---- durations and sizes as text: the largest unit that is exact ---- */

struct unit {
	uint64_t factor;
	const char *name;
};

static const struct unit time_units[] = { { HOUR_MS, "h" }, { 60 * SECOND_MS, "m" }, { SECOND_MS, "s" }, { 1, "ms" } };
static const struct unit byte_units[] = { { 1u << 30, "G" }, { 1u << 20, "M" }, { 1u << 10, "K" }, { 1, "" } };

#define UNIT_TEXT 32

static const char *unit_text(uint64_t value, const struct unit *u, char *buf)
{
	while (u->factor > 1 && (value == 0 || value % u->factor != 0))
		u++;
	snprintf(buf, UNIT_TEXT, "%" PRIu64 "%s", value / u->factor, u->name);
	return buf;
}

/* ---- numbers ---- */

/* Enums, bool and the integers of the table by their size. */
static void put_number(const struct setting_key *key, uint64_t v, struct settings *s)
{
	char *at = (char *)s + key->offset;

	switch (key->size) {
	case sizeof(uint8_t):
		*(bool *)at = v != 0;
		return;
	case sizeof(uint16_t):
		memcpy(at, &(uint16_t){ (uint16_t)v }, sizeof(uint16_t));
		return;
	case sizeof(uint32_t):
		memcpy(at, &(uint32_t){ (uint32_t)v }, sizeof(uint32_t));
		return;
	case sizeof(uint64_t):
		memcpy(at, &v, sizeof(v));
		return;
	}
}

static uint64_t get_number(const struct setting_key *key, const struct settings *s)
{
	const char *at = (const char *)s + key->offset;
	uint64_t v64 = 0;
	uint32_t v32 = 0;
	uint16_t v16 = 0;

	switch (key->size) {
	case sizeof(uint8_t):
		return *(const bool *)at;
	case sizeof(uint16_t):
		memcpy(&v16, at, sizeof(v16));
		return v16;
	case sizeof(uint32_t):
		memcpy(&v32, at, sizeof(v32));
		return v32;
	default:
		memcpy(&v64, at, sizeof(v64));
		return v64;
	}
}

static int store_number(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	bool hex = key->kind == SETTING_HEX;
	uint64_t v;

	if (scan_u64(text, key->max, &v) < 0 || v < key->min)
		return err_set(e, EINVAL,
			       hex ? "a number from 0x%" PRIx64 " to 0x%" PRIx64
				   : "a number from %" PRIu64 " to %" PRIu64,
			       key->min, key->max);
	if (key->kind == SETTING_TABLE && v >= 253 && v <= 255)
		return err_set(e, EINVAL,
			       "a routing table that is not the kernel's own (253 default, 254 main, 255 local)");
	put_number(key, v, s);
	return 0;
}

static int store_unit(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	bool bytes = key->kind == SETTING_BYTES;
	const struct unit *units = bytes ? byte_units : time_units;
	char least[UNIT_TEXT], most[UNIT_TEXT];
	int64_t ms = 0;
	uint64_t v = 0;
	int r = bytes ? scan_size(text, key->max, &v) : scan_duration(text, &ms);

	if (!bytes)
		v = (uint64_t)ms;
	if (r < 0 || v < key->min || v > key->max)
		return err_set(e, EINVAL, "%s from %s to %s",
			       bytes ? "a size such as 64M" : "a duration such as 250ms, 2s, 5m or 24h",
			       unit_text(key->min, units, least), unit_text(key->max, units, most));
	put_number(key, v, s);
	return 0;
}

static int store_limit(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	uint64_t v = 0;

	if (strcmp(text, "hard") != 0 && (scan_u64(text, key->max, &v) < 0 || v < key->min))
		return err_set(e, EINVAL, "hard, or a number from %" PRIu64 " to %" PRIu64, key->min, key->max);
	put_number(key, v, s);
	return 0;
}

static int store_gid(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	const struct group *gr;
	uint64_t gid;

	if (text[0] == '\0' && key->kind == SETTING_GID_OR_NO) {
		put_number(key, UINT64_MAX, s); /* -1 */
		return 0;
	}
	if (text[0] >= '0' && text[0] <= '9')
		return store_number(key, text, s, e);
	gr = text[0] ? getgrnam(text) : NULL;
	if (!gr)
		return err_set(e, EINVAL, "a number or the name of a group of this machine");
	gid = gr->gr_gid;
	if (gid < key->min || gid > key->max)
		return err_set(e, EINVAL, "a group other than root's, which would except all of root's programs");
	put_number(key, gid, s);
	return 0;
}

/* ---- words ---- */

static void name_words(const char *const *words, char *buf, size_t cap)
{
	size_t used = 0;

	buf[0] = '\0';
	for (; *words && used < cap; words++)
		used += (size_t)snprintf(buf + used, cap - used, "%s%s", used ? " or " : "", *words);
}

static int find_word(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0)
			return i;
	return -1;
}

static int store_word(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	int at = find_word(key->words, text);
	const char *const *later = key->words;
	char known[64];

	if (at >= 0 && key->kind == SETTING_CHOICE)
		put_number(key, (uint64_t)at, s);
	if (at >= 0)
		return 0;
	name_words(key->words, known, sizeof(known));
	while (key->kind == SETTING_ONLY && *later)
		later++;
	if (key->kind == SETTING_ONLY && find_word(later + 1, text) >= 0)
		return err_set(e, EINVAL, "%s, since %s is not built yet", known, text);
	return err_set(e, EINVAL, "%s", known);
}

static int store_switch(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	bool yes = false, is_auto = key->kind == SETTING_TRISTATE && strcmp(text, "auto") == 0;

	if (!is_auto && scan_bool(text, &yes) < 0)
		return err_set(e, EINVAL, key->kind == SETTING_TRISTATE ? "auto, yes or no" : "yes or no");
	put_number(key, is_auto ? SETTING_AUTO : yes ? SETTING_YES : SETTING_NO, s);
	return 0;
}

/* ---- texts and lists ---- */

static const char *resolver_problem(const char *text)
{
	char item[ADDR_TEXT];
	size_t n = 0;

	if (!strcmp(text, "auto") || !strcmp(text, "mihomo") || !strcmp(text, "system"))
		return NULL;
	for (text += strspn(text, BETWEEN); *text; text += strspn(text, BETWEEN), n++) {
		size_t len = strcspn(text, BETWEEN);
		struct addr a;

		snprintf(item, sizeof(item), "%.*s", (int)len, text);
		if (len >= sizeof(item) || addr_parse(item, &a) < 0)
			return "auto, mihomo, system, or IP addresses";
		text += len;
	}
	return n ? NULL : "auto, mihomo, system, or IP addresses";
}

static bool set_name_is_ours(const char *text)
{
	return strncmp(text, FWPLAN_LEASE_SET, strlen(FWPLAN_LEASE_SET)) == 0 ||
	       strncmp(text, FWPLAN_RESERVED_SET, strlen(FWPLAN_RESERVED_SET)) == 0;
}

/* NULL, or what is allowed. */
static const char *text_problem(const struct setting_key *key, const char *text)
{
	size_t len = strlen(text);

	switch (key->kind) {
	case SETTING_PATH:
		if (!len && !key->min)
			return NULL;
		return text[0] == '/' ? NULL : "an absolute path";
	case SETTING_PROGRAM:
		return len && (text[0] == '/' || !strchr(text, '/')) ? NULL : "an absolute path, or a name without '/'";
	case SETTING_USER:
		return text[0] != '-' && text[strspn(text, LETTERS)] == '\0' ? NULL : "a user's name or number";
	case SETTING_SET_NAME:
		if (set_name_is_ours(text))
			return "a name that does not begin as clashsup's own sets " FWPLAN_LEASE_SET
			       " and " FWPLAN_RESERVED_SET;
		return len && len <= key->max && text[0] != '-' && text[strspn(text, LETTERS)] == '\0'
			       ? NULL
			       : "1 to 27 letters, digits, '_', '.' or '-', not with '-' first";
	default:
		return resolver_problem(text);
	}
}
_Static_assert(FWPLAN_SET_NAME_MAX == 27, "the sentence above says 27");

static int store_text(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	const char *problem = text_problem(key, text);
	size_t len = strlen(text);

	if (problem)
		return err_set(e, EINVAL, "%s", problem);
	if (len >= key->size)
		return err_set(e, EINVAL, "at most %zu bytes", key->size - 1);
	memcpy((char *)s + key->offset, text, len + 1);
	return 0;
}

static void free_args(char **args)
{
	for (size_t i = 0; i < SETTINGS_ARGS_MAX; i++) {
		free(args[i]);
		args[i] = NULL;
	}
}

static int store_args(const char *text, struct settings *s, struct err *e)
{
	char *args[SETTINGS_ARGS_MAX + 1] = { NULL };
	size_t n = 0;

	if (text[0] == '@')
		return err_set(e, EINVAL, "arguments, since @FILE is not built yet");
	for (text += strspn(text, BETWEEN); *text; text += strspn(text, BETWEEN)) {
		size_t len = strcspn(text, BETWEEN);

		if (text[0] == ';') { /* printed behind a blank it would be a comment */
			free_args(args);
			return err_set(e, EINVAL, "arguments that do not begin with ';'");
		}
		if (n < SETTINGS_ARGS_MAX)
			args[n] = strndup(text, len);
		if (n == SETTINGS_ARGS_MAX || !args[n]) {
			free_args(args);
			return n == SETTINGS_ARGS_MAX ? err_set(e, EINVAL, "at most %d arguments", SETTINGS_ARGS_MAX)
						      : err_set(e, ENOMEM, "not enough memory");
		}
		text += len;
		n++;
	}
	free_args(s->mihomo.args);
	memcpy(s->mihomo.args, args, sizeof(args));
	return 0;
}

int setting_store(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	switch (key->kind) {
	case SETTING_PATH:
	case SETTING_PROGRAM:
	case SETTING_USER:
	case SETTING_SET_NAME:
	case SETTING_RESOLVER:
		return store_text(key, text, s, e);
	case SETTING_ARGS:
		return store_args(text, s, e);
	case SETTING_GID:
	case SETTING_GID_OR_NO:
		return store_gid(key, text, s, e);
	case SETTING_MS:
	case SETTING_BYTES:
		return store_unit(key, text, s, e);
	case SETTING_PORT:
	case SETTING_COUNT:
	case SETTING_TABLE:
	case SETTING_HEX:
		return store_number(key, text, s, e);
	case SETTING_LIMIT:
		return store_limit(key, text, s, e);
	case SETTING_BOOL:
	case SETTING_TRISTATE:
		return store_switch(key, text, s, e);
	case SETTING_CHOICE:
	case SETTING_ONLY:
		return store_word(key, text, s, e);
	}
	return err_set(e, EINVAL, "nothing");
}

static void show_args(char *const *args, FILE *out)
{
	for (size_t i = 0; args[i]; i++)
		fprintf(out, "%s%s", i ? " " : "", args[i]);
}

static void show_number(const struct setting_key *key, uint64_t v, FILE *out)
{
	static const char *const tristate[] = { [SETTING_NO] = "no", [SETTING_YES] = "yes", [SETTING_AUTO] = "auto" };
	char buf[UNIT_TEXT];

	if (key->kind == SETTING_MS || key->kind == SETTING_BYTES)
		fputs(unit_text(v, key->kind == SETTING_MS ? time_units : byte_units, buf), out);
	else if (key->kind == SETTING_HEX)
		fprintf(out, "0x%" PRIx64, v);
	else if (key->kind == SETTING_LIMIT && v == 0)
		fputs("hard", out);
	else if (key->kind == SETTING_BOOL || key->kind == SETTING_TRISTATE)
		fputs(tristate[v % 3], out);
	else if (key->kind == SETTING_CHOICE)
		fputs(key->words[v], out);
	else if (key->kind != SETTING_GID_OR_NO || v != UINT64_MAX)
		fprintf(out, "%" PRIu64, v);
}

void setting_show(const struct setting_key *key, const struct settings *s, FILE *out)
{
	switch (key->kind) {
	case SETTING_PATH:
	case SETTING_PROGRAM:
	case SETTING_USER:
	case SETTING_SET_NAME:
	case SETTING_RESOLVER:
		fputs((const char *)s + key->offset, out);
		return;
	case SETTING_ARGS:
		show_args(s->mihomo.args, out);
		return;
	case SETTING_ONLY:
		fputs(key->fallback, out);
		return;
	case SETTING_GID:
	case SETTING_GID_OR_NO:
	case SETTING_MS:
	case SETTING_PORT:
	case SETTING_COUNT:
	case SETTING_TABLE:
	case SETTING_HEX:
	case SETTING_LIMIT:
	case SETTING_BYTES:
	case SETTING_BOOL:
	case SETTING_TRISTATE:
	case SETTING_CHOICE:
		show_number(key, get_number(key, s), out);
		return;
	}
}
