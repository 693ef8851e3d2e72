/*
 * check: from the user's config to the copy that is in force. The user's file is
 * never written; RUN/mihomo/config.yaml is replaced only by a version that
 * passed every step:
 *
 *	copy → inspect (clashsup-helper) → refuse, or append our listener → mihomo -t → rename
 *
 * Lines of the copy are those of the user's file, so that a complaint of
 * Mihomo's names the right one.
 */
#ifndef DAEMON_CHECK_H
#define DAEMON_CHECK_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/helper.h"
#include "clashsup/job.h"
#include "clashsup/settings.h"

#define CHECK_MARKS 64
#define CHECK_FAKE_NETS 8
#define CHECK_RESOLVERS 8
#define CHECK_WATCHES 240
#define CHECK_DEADLINE_MS 200000 /* mihomo -t may download geodata: 90 s each */
#define CHECK_INSPECT_MS 1000

/* What the supervisor must know of a config. */
struct config_facts {
	uint16_t port;		     /* of its TPROXY listener, or the one that we add */
	bool patch_port;	     /* no listener, and no line could be appended: ask by the API */
	uint32_t marks[CHECK_MARKS]; /* routing marks */
	size_t n_marks;
	struct addr_net fake[CHECK_FAKE_NETS];
	size_t n_fake;
	uint16_t dns_port; /* of dns.listen on a wildcard address; 0 = none */
	struct addr
		resolver[CHECK_RESOLVERS]; /* plain ones beside Mihomo, in the order in which they are to be tried */
	size_t n_resolvers;
	char *watch[CHECK_WATCHES]; /* owned: files of providers */
	size_t n_watch;
	char warning[256]; /* "" = none */
	bool unchanged;	   /* the copy in force has the same bytes */
};

struct check;

/* `why` is "" when good, else one sentence with file and line. `facts` is borrowed; NULL when bad. */
typedef void (*check_done_fn)(void *ctx, const struct config_facts *facts, const char *why);

struct check_setup {
	struct reaper *reaper;
	const struct settings *settings;
	const char *config; /* the user's file */
	const char *home;
	const char *run_dir; /* RUN/mihomo */
	int helper_fd;
	const char *helper_path;
	struct sandbox_ids ids;
};

/* The setup is borrowed for the life of the check. */
int check_new(struct check **out, const struct check_setup *setup, check_done_fn done, void *ctx, struct err *e);
void check_free(struct check *c); /* NULL-safe */

/* Starts anew; a running one is forgotten. `done` may be called before this returns. */
void check_start(struct check *c);
void check_cancel(struct check *c);

/* Is the user's file another one than that which is in force? By its bytes. */
bool check_differs(const struct check *c);

/* Mihomo's user is another one: the copy in force becomes his. */
int check_give(const struct check *c, uid_t from, uid_t to, struct err *e);

void config_facts_free(struct config_facts *f);

#endif
