/*
 * attributes: what Mihomo's process is given besides its ids and arguments, as
 * values: read by the settings parser, handed over by sandbox_mihomo.
 */
#ifndef CLASHSUP_ATTRIBUTES_H
#define CLASHSUP_ATTRIBUTES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#define ATTR_GROUPS_MAX 32
#define ATTR_CGROUP_MAX 256
#define ATTR_CGROUP_TOP "/sys/fs/cgroup/" /* where an absolute path must be */
#define ATTR_INHERIT INT32_MIN		  /* no number of its own */
#define ATTR_UNLIMITED UINT64_MAX

struct attr_limit {
	bool set; /* false = as ours */
	uint64_t soft, hard;
};

struct attr_limits {
	struct attr_limit of[RLIM_NLIMITS]; /* by RLIMIT_ number */
};

struct attr_groups {
	gid_t gid[ATTR_GROUPS_MAX];
	size_t n;
};

struct attributes {
	struct attr_groups groups; /* supplementary, besides its own */
	struct attr_limits limits; /* NOFILE is not among them: it has a key of its own */
	uint32_t umask;
	int32_t nice;	       /* ATTR_INHERIT = ours */
	int32_t oom_score_adj; /* ATTR_INHERIT = what clashsup was started with, at least 0 */
	bool no_new_privs;
	char cgroup[ATTR_CGROUP_MAX]; /* "" = ours; a leaf in ours; or an absolute path */
};

/* How [mihomo] limits calls an RLIMIT_ number; NULL = not at all. Pure. */
const char *attributes_limit_name(unsigned number);

#endif
