/*
 * settings: clashsup's own configuration, INI bytes in, checked values out.
 *
 * Keys, defaults and meanings are in docs/clashsup.conf.5. An empty or missing
 * file means all defaults. Every problem is reported, each with file and line
 * and, for an unknown key, the nearest known one; the result is usable only
 * when there was none. Reads no other files but the user and group databases, for
 * names, and those that a list names as @FILE.
 */
#ifndef CLASHSUP_SETTINGS_H
#define CLASHSUP_SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/addr.h"
#include "clashsup/attributes.h"
#include "clashsup/err.h"
#include "clashsup/log.h"
#include "clashsup/selection.h"

#define SETTINGS_PATH "/etc/clashsup/clashsup.conf"
#define SETTINGS_MAX (256 * 1024) /* bytes of the file */
#define SETTINGS_ARGS_MAX 32
#define SETTINGS_LIST_MAX (4 * 1024 * 1024) /* bytes of a list's file */

enum settings_tristate { SETTING_NO, SETTING_YES, SETTING_AUTO };
enum settings_mode { MODE_TPROXY, MODE_MIXED };
enum settings_backend { BACKEND_AUTO, BACKEND_IPTABLES, BACKEND_NFT, BACKEND_SCRIPT };
enum settings_on_death { ON_DEATH_OPEN, ON_DEATH_CLOSED };
enum settings_scope { SCOPE_ALL, SCOPE_OUTPUT };
enum settings_ready { READY_WAITING, READY_ARMED };
enum settings_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum settings_give_up { GIVE_UP_NEVER, GIVE_UP_EXIT, GIVE_UP_STAY };
enum settings_fallback { FALLBACK_AUTO, FALLBACK_NONE, FALLBACK_GIVEN };

/* The lists of [tproxy], in the order of the man page. */
enum settings_list {
	LIST_LAN_IFACES,
	LIST_PROXY_CIDRS,
	LIST_INCLUDE_SRC,
	LIST_EXCLUDE_SRC,
	LIST_EXCLUDE_IFACES,
	LIST_EXCLUDE_IPS,
	LIST_EXCLUDE_PORTS,
	SETTINGS_LISTS
};

/* Who answers queries to the router itself while Mihomo is down. */
struct settings_dns_fallback {
	enum settings_fallback kind;
	bool has[IP_FAMILIES]; /* at least one with FALLBACK_GIVEN, none otherwise */
	struct addr addr[IP_FAMILIES];
};

struct settings {
	struct {
		char binary[PATH_MAX];		   /* a name without '/' is looked up on PATH */
		char home[PATH_MAX];		   /* "" = the first usual directory that has a config.yaml */
		char config[PATH_MAX];		   /* "" = HOME/config.yaml */
		char user[64];			   /* "" = stay; name or number */
		uint32_t group;			   /* the loop guard's gid (a name is resolved while parsing) */
		char *args[SETTINGS_ARGS_MAX + 1]; /* further arguments, NULL-terminated, owned */
		char *args_text;		   /* as they were given, for printing; owned, NULL = none */
		char *env[SETTINGS_ARGS_MAX + 1];  /* NAME=VALUE, NULL-terminated, owned */
		char *env_text;			   /* as args_text */
		struct attributes attr;
		int64_t stop_timeout_ms, hang_kill_ms;
		uint64_t nofile; /* 0 = the hard limit */
	} mihomo;
	struct {
		int64_t interval_ms, timeout_ms;
		uint32_t fall, rise;
	} probe;
	struct {
		enum settings_mode mode;
		enum settings_backend backend;
		char script[PATH_MAX]; /* of BACKEND_SCRIPT, which demands one */
		uint16_t port;
		uint32_t mark, table, pref;
		enum settings_tristate family[IP_FAMILIES]; /* ipv4, ipv6 */
		bool local;
		struct selection selection;	 /* owned */
		char *list_text[SETTINGS_LISTS]; /* the lists as they were given, for printing; owned, NULL = default */
		enum settings_on_death on_death;
		enum settings_tristate dns;
		struct settings_dns_fallback dns_fallback;
		enum settings_tristate input_accept;
		bool fix_sysctls;
	} tproxy;
	struct {
		char name[32];
		enum settings_scope scope;
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
		enum settings_give_up give_up;
		uint32_t give_up_after; /* deaths in a row */
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
		char dir[PATH_MAX]; /* "" = none are run */
		int64_t timeout_ms;
	} hooks;
	struct {
		enum settings_ready ready;
	} notify;
	struct {
		enum log_level level;
		enum settings_format format;
		char mihomo[PATH_MAX]; /* "inherit", or the file of Mihomo's lines */
		uint64_t mihomo_size;
		uint32_t mihomo_count; /* old files that are kept */
		uint32_t rate;	       /* lines of Mihomo's a second; 0 = any number */
	} log;
};

/* One problem, "FILE:LINE: sentence" without a newline; called once for each. */
typedef void (*settings_problem_fn)(void *ctx, const char *text);

/* What `s` held before is not freed; that is so for settings_parse and settings_load too. */
void settings_default(struct settings *s);
void settings_free(struct settings *s); /* frees args and lists, leaves defaults */

/*
 * Parses `len` bytes over the defaults. `file` is for the messages. Returns 0,
 * or -EINVAL after every problem was reported (`s` is then the defaults).
 */
int settings_parse(struct settings *s, const char *file, const char *bytes, size_t len, settings_problem_fn problem,
		   void *ctx);

/*
 * Reads and parses a file, then what the environment has in CLASHSUP_SECTION_KEY
 * (CLASHSUP_TPROXY_MODE=mixed), which counts more. A variable that begins with a
 * section's name and ends with no key of it is a problem. A missing file is "all
 * defaults" unless `must_exist`. -errno for one that cannot be read.
 */
int settings_load(struct settings *s, const char *file, bool must_exist, settings_problem_fn problem, void *ctx);

/*
 * As settings_load, but keeps the good keys of a file with problems, which are
 * not told: for a client, which only wants to find the supervisor.
 */
int settings_load_lax(struct settings *s, const char *file, bool must_exist);

/*
 * The keys whose values differ, in the order of the man page, each told once;
 * their number. Lists count by what they hold, their files included, not by how
 * they are written.
 */
typedef void (*settings_key_fn)(void *ctx, const char *section, const char *name);
size_t settings_changes(const struct settings *a, const struct settings *b, settings_key_fn each, void *ctx);

/* One key's value from another one, without memory of its own: not for lists and args. */
void settings_copy_key(struct settings *to, const struct settings *from, const char *section, const char *name);

/* Writes all effective values as INI, in the order of the man page, to a stdio stream. */
struct _IO_FILE;
void settings_print(const struct settings *s, struct _IO_FILE *out);

#endif
