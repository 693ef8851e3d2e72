/*
 * settings_keys: the table of all keys. One row says how a key is called, what
 * it may hold, where it is kept and what it is by default, so that parsing,
 * printing and the defaults cannot disagree; settings_kinds.c does these by the
 * row's kind. Private to the settings parser.
 */
#ifndef PARSE_SETTINGS_KEYS_H
#define PARSE_SETTINGS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "clashsup/err.h"
#include "clashsup/settings.h"

#define SECOND_MS 1000
#define HOUR_MS (3600 * SECOND_MS)

#define SETTING_KEYS_MAX 128 /* rows that fit the parser's bookkeeping */

enum setting_kind {
	SETTING_PATH,	   /* char[]: absolute; min 0 = may be empty */
	SETTING_PROGRAM,   /* char[]: absolute, or a name without '/' */
	SETTING_SINK,	   /* char[]: absolute, or "inherit" */
	SETTING_USER,	   /* char[]: name or number, may be empty */
	SETTING_SET_NAME,  /* char[] */
	SETTING_RESOLVER,  /* char[]: a word or addresses */
	SETTING_ARGS,	   /* the owned list and its text */
	SETTING_ENV,	   /* likewise */
	SETTING_LIMITS,	   /* struct attr_limits */
	SETTING_GROUPS,	   /* struct attr_groups */
	SETTING_CGROUP,	   /* char[]: a name, or a path below /sys/fs/cgroup */
	SETTING_OCTAL,	   /* uint32_t */
	SETTING_LEVEL,	   /* int32_t: min is a signed number; words[0] = ATTR_INHERIT */
	SETTING_LIST,	   /* char *: its text; min says which of enum settings_list */
	SETTING_FALLBACK,  /* struct settings_dns_fallback */
	SETTING_GID,	   /* uint32_t: number or name */
	SETTING_GID_OR_NO, /* int64_t: the same, empty = -1 */
	SETTING_MS,	   /* int64_t */
	SETTING_PORT,	   /* uint16_t */
	SETTING_COUNT,	   /* uint32_t */
	SETTING_TABLE,	   /* uint32_t, none of the kernel's own routing tables */
	SETTING_HEX,	   /* uint32_t, printed as 0x... */
	SETTING_LIMIT,	   /* uint64_t: number, or "hard" = 0 */
	SETTING_BYTES,	   /* uint64_t */
	SETTING_BOOL,	   /* bool */
	SETTING_TRISTATE,  /* enum settings_tristate */
	SETTING_CHOICE,	   /* an enum, by `words` in its order */
};

struct setting_key {
	const char *section, *name;
	enum setting_kind kind;
	size_t offset, size;
	uint64_t min, max;
	const char *const *words;
	const char *fallback; /* the default, as text */
};

extern const struct setting_key setting_keys[];
extern const size_t setting_n_keys;

/*
 * Text to value. -EINVAL with what is allowed; any other error has a sentence of
 * its own (memory, a file). `s` is then untouched. Lists but for the default:
 * settings_list_store.
 */
int setting_store(const struct setting_key *key, const char *text, struct settings *s, struct err *e);

/* Does the key have the same value in both? */
bool setting_same(const struct setting_key *key, const struct settings *a, const struct settings *b);

/* The value as text which setting_store takes. */
void setting_show(const struct setting_key *key, const struct settings *s, FILE *out);

#endif
