/*
 * reload: clashsup's own configuration is read again, as a whole or not at all,
 * and what differs is put in force with the least disturbance: the table of
 * reload_effects says how. Nothing different, nothing touched.
 *
 * What a removal of the rules depends on (names, mark, table, backend) changes
 * while nothing of ours is in the kernel: such a reload first takes TProxy out,
 * and is in force when that is done, before it is applied anew.
 *
 * The mode that `clashsup on` or `off` has chosen stays, unless the file's own
 * has changed since it was last read.
 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>

#include "clashsup/ctl.h"
#include "clashsup/lifecycle.h"
#include "clashsup/report.h"
#include "clashsup/settings.h"

#define RELOAD_TEXT 1024

struct cJSON;
struct supervisor;

/* Where the settings have come from. */
struct reload_source {
	char file[PATH_MAX]; /* absolute */
	bool must_exist; /* it was named, or was there when it was last read: gone is a mistake, not "all defaults" */
};

struct reload {
	struct reload_source source;
	enum settings_mode mode; /* the file's */
	struct settings *next;	 /* waits for the network to be direct and clean; NULL = none */
	bool core;		 /* Mihomo is to be restarted when its config has been found good */
	struct ctl *former;	 /* a control socket that is given up: its clients get their answers */
	ev_timer farewell;	 /* of that one */
	char warning[REPORT_TEXT];
};

void reload_init(struct supervisor *s, const struct reload_source *source);
void reload_deinit(struct supervisor *s);

/* 0 and what was done, or -EINVAL and the first problem: one sentence either way. All problems are in the log. */
int reload_now(struct supervisor *s, char did[RELOAD_TEXT]);

/* For a reexec: the file's mode and what is owed. Not while settings wait (`next`): those are given up. */
void reload_save(const struct reload *r, struct cJSON *to);
void reload_load(struct reload *r, const struct cJSON *from);

/* Is there a process that a restart can follow, and that is not ending? */
bool reload_can_restart(enum child_state child);

/* Something has become direct, or clean, or is to be armed: settings that wait for it come into force. */
void reload_go_on(struct supervisor *s);

#endif
