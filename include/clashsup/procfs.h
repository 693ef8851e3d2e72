/* procfs: single facts about a process from /proc/PID/stat (proc(5)). Synchronous: microseconds. */
#ifndef CLASHSUP_PROCFS_H
#define CLASHSUP_PROCFS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Fields that count numbers, by their position in the file. */
enum procfs_field {
	PROCFS_PARENT = 4,
	PROCFS_SESSION = 6,
	PROCFS_FLAGS = 9,
	PROCFS_START_TIME = 22, /* pid and start time name a process beyond pid reuse */
	PROCFS_STACK = 28,	/* where the stack starts: changes with every exec and never else */
};

/* 0 = no such process (or a kernel that hides the value). */
uint64_t procfs_stat(pid_t pid, enum procfs_field field);

/* It has begun to exit: the kernel's PF_EXITING (include/linux/sched.h), or it is gone. Without /proc only the latter.
 */
bool procfs_exiting(pid_t pid);

/* Sends a signal to every process whose field has this value, but not to us; without /proc to none. */
void procfs_signal_all(enum procfs_field field, pid_t value, int sig);

/* The highest descriptor of ours that is open; without /proc the highest that there may be, at most 65535. */
int procfs_highest_fd(void);

/*
 * By what this very program can be executed again: /proc/self/exe, or without /proc
 * what it was executed by. Lives as long as the process.
 */
const char *procfs_program(void);

/*
 * Where that file is, as an absolute path; 0 or -errno. Of a program that was
 * replaced since /proc says so behind the name: ask early.
 */
int procfs_program_path(char path[PATH_MAX]);

/* The name of a tun or tap interface that the process has made and holds; false when none is seen. */
#define PROCFS_IFACE 16
bool procfs_tun(pid_t pid, char name[PROCFS_IFACE]);

#endif
