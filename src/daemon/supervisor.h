/*
 * supervisor: the loop. Watchers become events, events become actions, actions
 * become effects (docs/ARCHITECTURE.md). This header is for the daemon's own files.
 */
#ifndef DAEMON_SUPERVISOR_H
#define DAEMON_SUPERVISOR_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/ctl.h"
#include "clashsup/policy.h"
#include "clashsup/report.h"
#include "clashsup/settings.h"
#include "clashsup/watch.h"
#include "daemon/check.h"
#include "daemon/deaths.h"
#include "daemon/eventlog.h"
#include "daemon/health.h"
#include "daemon/hooks.h"
#include "daemon/lines.h"
#include "daemon/logfile.h"
#include "daemon/machine.h"
#include "daemon/mihomo.h"
#include "daemon/net.h"
#include "daemon/reexec.h"
#include "daemon/reload.h"
#include "daemon/servers.h"
#include "daemon/service.h"
#include "daemon/surroundings.h"

struct supervisor {
	struct settings *settings;
	struct ev_loop *loop;
	struct reaper reaper;
	struct machine machine;
	struct effects effects;

	char home[PATH_MAX], config[PATH_MAX]; /* what is being checked, or was last */
	char home_in_force[PATH_MAX];	       /* of the copy in force */
	char run_dir[PATH_MAX];		       /* RUN/mihomo */
	char helper_path[PATH_MAX];
	int helper_fd;
	int ready_fd; /* until service has it */
	int instance; /* the abstract socket that says "one a network namespace" */
	struct sandbox_ids ids;

	struct mihomo mihomo;
	struct check_setup check_setup;
	struct check *check;
	struct config_facts facts; /* of the copy in force; watch list not kept here */
	struct surroundings around;
	struct net net;
	struct servers servers;
	struct health health;
	struct watch *watch;
	struct ctl *ctl;
	struct reload reload;
	struct reexec reexec;
	struct reexec_state *handed; /* while we start in the place of another program; else NULL */
	struct policy_restart restart;
	struct deaths deaths;
	struct service service;
	struct hooks hooks;
	struct eventlog eventlog;
	struct lines lines;
	struct logfile logfile;

	ev_timer tick, backoff, hang, retry, give_up, farewell;
	struct loop_signals signals; /* TERM, INT, HUP, USR2 */
	ev_prepare flush_log;
	ev_io log_writable;

	bool shutting_down;
	int exit_code;
	unsigned ticks;
	unsigned farewells; /* looks at whether all is on the disk */
	unsigned retries;
	int64_t backoff_ms;
	int death_status; /* as of waitpid(2), of the latest death or failed start */
	int64_t sign_us;  /* when the thing that is being acted on was first known */
	bool crashed;	  /* the disarm in hand is due to a death */
	bool recovering;  /* the next arming is not the first */
	bool down;	  /* a death or a hang, and not armed since */

	/* for status */
	struct report_time since, child_since, exit_at;
	uint32_t starts;
	bool exited;
	int exit_status;
	int64_t armed_in_us, disarm_us;
	char waiting_for[REPORT_TEXT];
	char config_warning[REPORT_TEXT];
};

/* Runs until a stop; the process's exit status. `ready_fd` gets a newline when we are ready; -1 = none. */
int supervisor_run(struct settings *settings, const struct reload_source *source, int ready_fd);

/*
 * The same in the place of the program that was executed before us (reexec.h).
 * False when what it left is of no use: all that was handed over is closed then,
 * and supervisor_run is to start anew, as after a crash.
 */
bool supervisor_resume(int handed, int *code);

/* Removes what a dead supervisor left in the kernel: `clashsup cleanup`. */
int supervisor_cleanup(struct settings *settings);

/* [log] format, from now on. */
void supervisor_log_format(const struct settings *s);

/* Who Mihomo and the helpers are to be, as the settings say; and to make it so from the next start on. */
int supervisor_identify(const struct settings *s, struct sandbox_ids *out, struct err *e);
int supervisor_take_ids(struct supervisor *s, struct err *e);

/* Chooses Mihomo's home and config; false when there is no config yet. */
bool supervisor_find_config(const struct settings *s, char home[PATH_MAX], char config[PATH_MAX]);

/* events.c: what becomes of each watcher's word, and what each action does. */
void events_wire(struct supervisor *s); /* fills the parts' set-ups */
int events_watch(struct supervisor *s); /* signals, timers, the log; 0 or -errno */
int events_open(struct supervisor *s, struct err *e);
void events_later(struct supervisor *s, ev_timer *t, int64_t ms); /* a timer of the supervisor's, begun anew */
void events_sweep(struct supervisor *s);			  /* the first removal of this life */
void events_settle(struct supervisor *s);			  /* what stands over deaths is as the state wants it */

/* control.c: the socket where the settings want it, and the answer to one request. */
int control_open(struct supervisor *s, struct ctl **out, struct err *e);
const char *supervisor_state(const struct supervisor *s); /* one word, as `status` has it */
char *control_handle(void *ctx, const struct ctl_request *request, size_t *cursor);
void supervisor_shutdown(struct supervisor *s);
void supervisor_set_mode(struct supervisor *s, bool tproxy);

/* narrate.c: the log lines of the lifecycle. */
void narrate_action(const struct supervisor *s, enum lifecycle_action action);
void narrate_move(const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event);
void narrate_removed(const struct supervisor *s);
void narrate_armed(const struct supervisor *s);
void narrate_exit(const struct death *d);

/* instance.c: one supervisor a network namespace, and the Mihomo that a killed one may have left (RUN/mihomo.pid). */
int instance_claim(struct err *e);
void instance_note_child(const char *run, pid_t pid);
void instance_end_leftover(const char *run);

#endif
