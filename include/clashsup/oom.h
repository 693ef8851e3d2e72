/*
 * oom: the kernel's killing for want of memory: whom it takes, and whom it has
 * taken.
 */
#ifndef CLASHSUP_OOM_H
#define CLASHSUP_OOM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- the score of this process (proc(5), /proc/PID/oom_score_adj); both are safe after fork ---- */

#define OOM_SPARED (-900) /* ours: nearly the last; one that may never be killed could leave the kernel no choice */

/* 0 where it cannot be read. */
int oom_read(void);

/* 0 or -errno: a lower one needs CAP_SYS_RESOURCE, and all need /proc. */
int oom_write(int score);

/*
 * ---- was a SIGKILL that nobody sent the kernel's? ----
 *
 * By the counters of the child's control group, which count its own members alone
 * (memory.events of version 2, memory.oom_control of version 1; kernel
 * Documentation/admin-guide/cgroup-v2.rst), and where there is none, as in the
 * root group, by the machine's (/proc/vmstat, oom_kill, Linux 4.13). Others are
 * killed, too, so only what was counted shortly before the death says anything: the
 * count is compared with the sample before the latest one, which is one to two
 * periods old, or as old as the process. Synchronous: three small reads.
 */
#define OOM_PERIOD_S 8

struct oom_watch {
	char file[512];		/* that counts; "" = none */
	uint64_t before, count; /* at the last two samples; UINT64_MAX = unknown, and accuses nobody */
};

/* While the process lives; the first sample. */
void oom_watch(struct oom_watch *w, pid_t pid);

/* Each OOM_PERIOD_S. */
void oom_sample(struct oom_watch *w);

/* Behind its death: has the count grown? Then it is counted anew from here. */
bool oom_happened(struct oom_watch *w);

#endif
