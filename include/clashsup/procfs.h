/* procfs: single facts about a process from /proc/PID/stat (proc(5)). Synchronous: microseconds. */
#ifndef CLASHSUP_PROCFS_H
#define CLASHSUP_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Fields that count numbers, by their position in the file. */
enum procfs_field {
	PROCFS_FLAGS = 9,
	PROCFS_START_TIME = 22, /* pid and start time name a process beyond pid reuse */
	PROCFS_STACK = 28,	/* where the stack starts: changes with every exec and never else */
};

/* 0 = no such process (or a kernel that hides the value). */
uint64_t procfs_stat(pid_t pid, enum procfs_field field);

/* It has begun to exit: the kernel's PF_EXITING (include/linux/sched.h), or it is gone. */
bool procfs_exiting(pid_t pid);

#endif
