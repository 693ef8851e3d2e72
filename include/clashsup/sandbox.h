/*
 * sandbox: what a child gives up between fork and exec, irreversibly. Only
 * async-signal-safe calls plus libcap-ng on its own data. Each function is an
 * `in_child` of struct proc_spec: 0, or -1 after one line on stderr.
 */
#ifndef CLASHSUP_SANDBOX_H
#define CLASHSUP_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/attributes.h"
#include "clashsup/err.h"

struct sandbox_ids {
	uid_t uid;    /* equal to ours = stay */
	gid_t gid;    /* the core's gid: the rules leave its packets alone */
	bool as_root; /* uid is 0 */
	/* of Mihomo alone */
	uint64_t nofile;	       /* 0 = hard limit */
	const struct attributes *attr; /* NULL = nothing of its own; borrowed */
	const char *cgroup;	       /* directory to move to, or NULL; borrowed */
};

/* "" = our own uid; a name or a number. */
int sandbox_user(const char *user, uid_t *uid_out, struct err *e);

/*
 * clashsup-helper: bounding set empty and NOROOT locked when SETPCAP is there,
 * groups and gid, uid, no capability at all, no_new_privs, rlimits (CORE 0,
 * FSIZE 0, AS 512 MiB unless built with a sanitizer), PDEATHSIG KILL, parent
 * compared. NPROC is lowered by the helper itself (confine()): before that it may
 * split itself into its two processes. arg is a struct sandbox_ids.
 */
int sandbox_helper(const void *arg, pid_t parent);

/*
 * Mihomo: bounding set NET_ADMIN NET_RAW NET_BIND_SERVICE DAC_OVERRIDE; root
 * keeps these, another user gets the first three as inheritable and ambient;
 * NOFILE to ids.nofile; what ids.attr says; PDEATHSIG KILL last. Missing capabilities
 * of ours are left out, and so is, with a line on stderr, what the system does not let
 * us give: only the gid, the user and no_new_privs must be had. arg is a struct
 * sandbox_ids.
 */
int sandbox_mihomo(const void *arg, pid_t parent);

/* Has this process what rules, sets and routes need (NET_ADMIN and, for iptables, NET_RAW)? 0, or -EPERM with advice.
 */
int sandbox_may_filter(struct err *e);

#endif
