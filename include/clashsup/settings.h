/*
 * settings: clashsup's own configuration, INI bytes in, checked values out.
 *
 * Keys, defaults and meanings are in docs/clashsup.conf.5. An empty or missing
 * file means all defaults. Every problem is reported, each with file and line
 * and, for an unknown key, the nearest known one; the result is usable only
 * when there was none. Reads no other file but the group database, for names;
 * `@FILE` lists are refused.
 */
#ifndef CLASHSUP_SETTINGS_H
#define CLASHSUP_SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/log.h"

#define SETTINGS_PATH "/etc/clashsup/clashsup.conf"
#define SETTINGS_MAX (256 * 1024) /* bytes of the file */
#define SETTINGS_ARGS_MAX 32

enum settings_tristate { SETTING_NO, SETTING_YES, SETTING_AUTO };
enum settings_mode { MODE_TPROXY, MODE_MIXED };

struct settings {
	struct {
		char binary[PATH_MAX];		   /* a name without '/' is looked up on PATH */
		char home[PATH_MAX];		   /* "" = the first usual directory that has a config.yaml */
		char config[PATH_MAX];		   /* "" = HOME/config.yaml */
		char user[64];			   /* "" = stay; name or number */
		uint32_t group;			   /* the loop guard's gid (a name is resolved while parsing) */
		char *args[SETTINGS_ARGS_MAX + 1]; /* further arguments, NULL-terminated, owned */
		int64_t stop_timeout_ms, hang_kill_ms;
		uint64_t nofile; /* 0 = the hard limit */
	} mihomo;
	struct {
		int64_t interval_ms, timeout_ms;
		uint32_t fall, rise;
	} probe;
	struct {
		enum settings_mode mode;
		uint16_t port;
		uint32_t mark, table;
		enum settings_tristate family[IP_FAMILIES]; /* ipv4, ipv6 */
		bool local;
	} tproxy;
	struct {
		char name[32];
	} ipset;
	struct {
		int64_t interval_ms, timeout_ms, name_timeout_ms, grace_ms;
		char provider_dir[PATH_MAX]; /* "" = HOME */
		char resolver[256];	     /* auto, mihomo, system, or addresses */
		uint32_t concurrency;
		uint64_t max_file;
	} extract;
	struct {
		int64_t backoff_min_ms, backoff_max_ms, stable_ms;
	} restart;
	struct {
		char socket[108]; /* "" = RUN/control.sock */
		int64_t group;	  /* control_group's gid, -1 = none */
	} control;
	struct {
		char run[64];
		char dir[PATH_MAX];
	} state;
	struct {
		enum log_level level;
	} log;
};

/* One problem, "FILE:LINE: sentence" without a newline; called once for each. */
typedef void (*settings_problem_fn)(void *ctx, const char *text);

/* What `s` held before is not freed; that is so for settings_parse and settings_load too. */
void settings_default(struct settings *s);
void settings_free(struct settings *s); /* frees args, leaves defaults */

/*
 * Parses `len` bytes over the defaults. `file` is for the messages. Returns 0,
 * or -EINVAL after every problem was reported (`s` is then the defaults).
 */
int settings_parse(struct settings *s, const char *file, const char *bytes, size_t len, settings_problem_fn problem,
		   void *ctx);

/* Reads and parses a file; a missing one is "all defaults" unless `must_exist`. -errno for one that cannot be read. */
int settings_load(struct settings *s, const char *file, bool must_exist, settings_problem_fn problem, void *ctx);

/* Writes all effective values as INI, in the order of the man page, to a stdio stream. */
struct _IO_FILE;
void settings_print(const struct settings *s, struct _IO_FILE *out);

#endif
