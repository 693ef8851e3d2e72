/*
 * servers: keeps the server set true: runs the extractor, keeps the ledger, and
 * brings its changes into the kernel's sets, at most IPSET_BATCH a loop turn.
 */
#ifndef DAEMON_SERVERS_H
#define DAEMON_SERVERS_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/helper.h"
#include "clashsup/ipset.h"
#include "clashsup/ledger.h"
#include "clashsup/report.h"
#include "clashsup/settings.h"

#define SERVERS_OWN_MAX 128 /* addresses of this machine that are looked at */

struct servers_change {
	struct addr addr;
	bool enters;
};

struct servers {
	struct ev_loop *loop;
	struct reaper *reaper;
	const struct settings *settings;
	struct ipset *ipset;
	const char *run_dir; /* RUN/mihomo: its config.yaml and api.sock */
	const char *home;
	int helper_fd;
	const char *helper_path;
	struct sandbox_ids ids;

	struct ledger *ledger;
	struct helper *helper;
	ev_timer flush, periodic;
	struct servers_change *queue; /* what the kernel's sets do not have yet, in order */
	size_t queued, cap, at;
	bool on;       /* the sets exist */
	bool lost;     /* a change did not get into the kernel's sets */
	bool again;    /* a run was asked for while one was under way */
	bool by_clock; /* the run in hand is the periodic one */
	bool whole;    /* its summary has come */
	bool changed;
	bool refused;
	size_t before; /* addresses when the run began */
	int64_t began_ms;
	struct addr_net fake[8];
	size_t n_fake;
	struct addr own[SERVERS_OWN_MAX];
	size_t n_own;

	struct wire_summary summary;
	int64_t duration_ms;
	struct report_time last, updated;
	char warning[256];
};

int servers_init(struct servers *s, struct err *e); /* loop to ids filled */
void servers_deinit(struct servers *s);

/* The sets are there (empty or not): what is known goes in at once. */
void servers_on(struct servers *s);

/* The sets are gone: a run in hand changes nothing any more. */
void servers_off(struct servers *s);

/* Starts a run, or one more behind the one in hand. */
void servers_extract(struct servers *s, bool by_clock);

/* A run is under way, or its changes are not all in the kernel. */
bool servers_busy(const struct servers *s);

/* Forgets every address (mixed mode). */
void servers_forget(struct servers *s);

#endif
