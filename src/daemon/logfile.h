/*
 * logfile: Mihomo's lines in a file of their own, [log] mihomo, which is rotated.
 * A disk may hang and the supervisor may not: a child of ours, `clashsup logfile`,
 * writes what comes through a pipe; while the pipe is full lines are counted
 * instead. The child outlives us by what is in the pipe.
 */
#ifndef DAEMON_LOGFILE_H
#define DAEMON_LOGFILE_H

#include <ev.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/proc.h"
#include "clashsup/settings.h"
#include "daemon/output.h"

struct logfile {
	struct reaper *reaper;
	const struct settings *settings;
	struct proc proc;
	ev_timer again;		    /* after a death of the child's */
	int fd;			    /* -1 = no child */
	uint64_t lost;		    /* and not told yet */
	char rest[OUTPUT_LINE + 1]; /* of a line that the pipe took a part of */
	size_t rest_len;
};

/* Starts the child when [log] mihomo names a file. */
void logfile_init(struct logfile *f, struct reaper *reaper, const struct settings *settings);
void logfile_deinit(struct logfile *f);

/* The settings have changed: the child ends with what it has, and another one goes on. */
void logfile_renew(struct logfile *f);

/* Is there a file for them at all? */
bool logfile_wanted(const struct logfile *f);

/* One line without its newline. */
void logfile_put(struct logfile *f, const char *text, size_t len);

/* Each second: tells how many were lost. */
void logfile_tick(struct logfile *f);

/* The child's part: standard input into PATH, until its end. The exit status. */
int logfile_write(int argc, char **argv);

#endif
