#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"
#include "clashsup/scan.h"
#include "parse/attributes.h"
#include "parse/list.h"
#include "parse/settings_keys.h"
#include "parse/settings_lists.h"

/* How the sets that we make begin: the user's own must not. */
static const char *const our_sets[] = { FWPLAN_LEASE_SET, FWPLAN_RESERVED_SET, "clash_dst",  "clash_src",
					"clash_mac",	  "clash_port",	       "clash_fake", "clash_lan",
					"clash_inside",	  "clash_probe",       "clash_new" };

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

static int store_octal(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	uint64_t v = 0;
	size_t len = strlen(text);

	if (!len || len > 4 || text[strspn(text, "01234567")] != '\0')
		return err_set(e, EINVAL, "an octal number from 0 to %03" PRIo64, key->max);
	for (; *text; text++)
		v = v << 3 | (uint64_t)(*text - '0');
	if (v > key->max)
		return err_set(e, EINVAL, "an octal number from 0 to %03" PRIo64, key->max);
	put_number(key, v, s);
	return 0;
}

/* A number that may be below 0, or the word that says "none of its own". */
static int store_level(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	int64_t least = (int64_t)key->min, v = ATTR_INHERIT;
	bool below = text[0] == '-';
	uint64_t number = 0;

	if (strcmp(text, key->words[0]) != 0) {
		if (scan_u64(text + below, below ? (uint64_t)-least : key->max, &number) < 0)
			return err_set(e, EINVAL, "%s, or a number from %" PRId64 " to %" PRIu64, key->words[0], least,
				       key->max);
		v = below ? -(int64_t)number : (int64_t)number;
	}
	put_number(key, (uint64_t)v, s);
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
	char known[64];

	if (at >= 0) {
		put_number(key, (uint64_t)at, s);
		return 0;
	}
	name_words(key->words, known, sizeof(known));
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

/* 1 for an address, 0 at the end, -EINVAL. */
static int next_addr(struct list_reader *r, struct addr *out)
{
	char text[ADDR_TEXT];
	struct list_item item;

	if (!list_next(r, &item))
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)item.len, item.text);
	return item.len >= sizeof(text) || addr_parse(text, out) < 0 ? -EINVAL : 1;
}

static const char *resolver_problem(const char *text)
{
	struct list_reader reader = list_value(text);
	struct addr a;
	int r, n = 0;

	if (!strcmp(text, "auto") || !strcmp(text, "mihomo") || !strcmp(text, "system"))
		return NULL;
	while ((r = next_addr(&reader, &a)) > 0)
		n++;
	return r == 0 && n ? NULL : "auto, mihomo, system, or IP addresses";
}

static bool set_name_is_ours(const char *text)
{
	for (size_t i = 0; i < sizeof(our_sets) / sizeof(our_sets[0]); i++)
		if (strncmp(text, our_sets[i], strlen(our_sets[i])) == 0)
			return true;
	return false;
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
	case SETTING_SINK:
		return text[0] == '/' || strcmp(text, "inherit") == 0 ? NULL : "inherit, or an absolute path";
	case SETTING_PROGRAM:
		return len && (text[0] == '/' || !strchr(text, '/')) ? NULL : "an absolute path, or a name without '/'";
	case SETTING_USER:
		return text[0] != '-' && text[strspn(text, NAME_LETTERS)] == '\0' ? NULL : "a user's name or number";
	case SETTING_CGROUP:
		return attributes_cgroup_problem(text);
	case SETTING_SET_NAME:
		if (set_name_is_ours(text))
			return "a name that does not begin as one of clashsup's own sets (clash_lease, clash_reserved, "
			       "clash_dst, clash_src, clash_mac, clash_port, clash_fake, clash_lan, clash_inside, "
			       "clash_probe, clash_new)";
		return len && len <= key->max && text[0] != '-' && text[strspn(text, NAME_LETTERS)] == '\0'
			       ? NULL
			       : "1 to 27 letters, digits, '_', '.' or '-', not with '-' first";
	default:
		return resolver_problem(text);
	}
}
_Static_assert(FWPLAN_SET_NAME_MAX == 27, "the sentence above says 27");

static bool is_user(const char *text)
{
	uint64_t uid;

	return scan_u64(text, UINT32_MAX - 1, &uid) == 0 || getpwnam(text);
}

static int store_text(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	const char *problem = text_problem(key, text);
	size_t len = strlen(text);

	if (!problem && key->kind == SETTING_USER && len && !is_user(text))
		problem = "a number or the name of a user of this machine";
	if (problem)
		return err_set(e, EINVAL, "%s", problem);
	if (len >= key->size)
		return err_set(e, EINVAL, "at most %zu bytes", key->size - 1);
	memcpy((char *)s + key->offset, text, len + 1);
	return 0;
}

/* While Mihomo is down nobody answers on the router's own loopback: such addresses are refused. */
static int store_fallback(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	struct list_reader reader = list_value(text);
	struct settings_dns_fallback f = { .kind = FALLBACK_GIVEN };
	int word = find_word(key->words, text), r = 0, n = 0;
	struct addr a;

	if (word >= 0)
		f.kind = (enum settings_fallback)word;
	while (word < 0 && (r = next_addr(&reader, &a)) > 0 && !addr_is_special(&a) && !f.has[a.family]) {
		f.has[a.family] = true;
		f.addr[a.family] = a;
		n++;
	}
	if (r != 0 || (word < 0 && n == 0))
		return err_set(
			e, EINVAL,
			"auto, none, or the address of a name server, at most one IPv4 and one IPv6, no loopback");
	memcpy((char *)s + key->offset, &f, sizeof(f));
	return 0;
}

int setting_store(const struct setting_key *key, const char *text, struct settings *s, struct err *e)
{
	switch (key->kind) {
	case SETTING_PATH:
	case SETTING_PROGRAM:
	case SETTING_SINK:
	case SETTING_USER:
	case SETTING_SET_NAME:
	case SETTING_RESOLVER:
	case SETTING_CGROUP:
		return store_text(key, text, s, e);
	case SETTING_ARGS:
		return settings_args_store(text, s, e);
	case SETTING_ENV:
		return settings_env_store(text, s, e);
	case SETTING_LIMITS:
		return attributes_limits(text, &s->mihomo.attr.limits, e);
	case SETTING_GROUPS:
		return attributes_groups(text, &s->mihomo.attr.groups, e);
	case SETTING_OCTAL:
		return store_octal(key, text, s, e);
	case SETTING_LEVEL:
		return store_level(key, text, s, e);
	case SETTING_LIST:
		return settings_list_store((enum settings_list)key->min, text, s, NULL, NULL);
	case SETTING_FALLBACK:
		return store_fallback(key, text, s, e);
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
		return store_word(key, text, s, e);
	}
	return err_set(e, EINVAL, "nothing");
}

static bool same_fallback(const struct settings_dns_fallback *a, const struct settings_dns_fallback *b)
{
	bool same = a->kind == b->kind;

	for (int f = 0; f < IP_FAMILIES; f++)
		same &= a->has[f] == b->has[f] && (!a->has[f] || addr_cmp(&a->addr[f], &b->addr[f]) == 0);
	return same;
}

static bool same_groups(const struct attr_groups *a, const struct attr_groups *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->gid, b->gid, a->n * sizeof(a->gid[0])) == 0);
}

static bool same_limits(const struct attr_limits *a, const struct attr_limits *b)
{
	bool same = true;

	for (unsigned i = 0; i < RLIM_NLIMITS; i++) {
		const struct attr_limit *one = &a->of[i], *two = &b->of[i];

		same &= one->set == two->set && (!one->set || (one->soft == two->soft && one->hard == two->hard));
	}
	return same;
}

bool setting_same(const struct setting_key *key, const struct settings *a, const struct settings *b)
{
	switch (key->kind) {
	case SETTING_PATH:
	case SETTING_PROGRAM:
	case SETTING_SINK:
	case SETTING_USER:
	case SETTING_SET_NAME:
	case SETTING_RESOLVER:
	case SETTING_CGROUP:
		return strcmp((const char *)a + key->offset, (const char *)b + key->offset) == 0;
	case SETTING_ARGS:
		return settings_args_same(a->mihomo.args, b->mihomo.args);
	case SETTING_ENV:
		return settings_args_same(a->mihomo.env, b->mihomo.env);
	case SETTING_LIMITS:
		return same_limits(&a->mihomo.attr.limits, &b->mihomo.attr.limits);
	case SETTING_GROUPS:
		return same_groups(&a->mihomo.attr.groups, &b->mihomo.attr.groups);
	case SETTING_LIST:
		return settings_list_same((enum settings_list)key->min, a, b);
	case SETTING_FALLBACK:
		return same_fallback(&a->tproxy.dns_fallback, &b->tproxy.dns_fallback);
	case SETTING_GID:
	case SETTING_GID_OR_NO:
	case SETTING_MS:
	case SETTING_PORT:
	case SETTING_COUNT:
	case SETTING_TABLE:
	case SETTING_HEX:
	case SETTING_OCTAL:
	case SETTING_LEVEL:
	case SETTING_LIMIT:
	case SETTING_BYTES:
	case SETTING_BOOL:
	case SETTING_TRISTATE:
	case SETTING_CHOICE:
		return get_number(key, a) == get_number(key, b);
	}
	return false;
}

static void show_fallback(const struct setting_key *key, const struct settings *s, FILE *out)
{
	const struct settings_dns_fallback *f = &s->tproxy.dns_fallback;
	const char *between = "";
	char text[ADDR_TEXT];

	if (f->kind != FALLBACK_GIVEN)
		fputs(key->words[f->kind], out);
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (f->has[i])
			fprintf(out, "%s%s", between, addr_text(&f->addr[i], text));
		between = f->has[i] ? " " : between;
	}
}

/* An owned text, perhaps not there. */
static void show_owned(const struct setting_key *key, const char *text, FILE *out)
{
	fputs(text ? text : key->fallback, out);
}

static void show_level(const struct setting_key *key, int32_t v, FILE *out)
{
	if (v == ATTR_INHERIT)
		fputs(key->words[0], out);
	else
		fprintf(out, "%" PRId32, v);
}

static void show_number(const struct setting_key *key, uint64_t v, FILE *out)
{
	static const char *const tristate[] = { [SETTING_NO] = "no", [SETTING_YES] = "yes", [SETTING_AUTO] = "auto" };
	char buf[UNIT_TEXT];

	if (key->kind == SETTING_MS || key->kind == SETTING_BYTES)
		fputs(unit_text(v, key->kind == SETTING_MS ? time_units : byte_units, buf), out);
	else if (key->kind == SETTING_HEX)
		fprintf(out, "0x%" PRIx64, v);
	else if (key->kind == SETTING_OCTAL)
		fprintf(out, "%03" PRIo64, v);
	else if (key->kind == SETTING_LEVEL)
		show_level(key, (int32_t)v, out);
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
	case SETTING_SINK:
	case SETTING_USER:
	case SETTING_SET_NAME:
	case SETTING_RESOLVER:
	case SETTING_CGROUP:
		fputs((const char *)s + key->offset, out);
		return;
	case SETTING_ARGS:
		show_owned(key, s->mihomo.args_text, out);
		return;
	case SETTING_ENV:
		show_owned(key, s->mihomo.env_text, out);
		return;
	case SETTING_LIMITS:
		attributes_show_limits(&s->mihomo.attr.limits, out);
		return;
	case SETTING_GROUPS:
		attributes_show_groups(&s->mihomo.attr.groups, out);
		return;
	case SETTING_LIST:
		show_owned(key, s->tproxy.list_text[key->min], out);
		return;
	case SETTING_FALLBACK:
		show_fallback(key, s, out);
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
	case SETTING_OCTAL:
	case SETTING_LEVEL:
		show_number(key, get_number(key, s), out);
		return;
	}
}
