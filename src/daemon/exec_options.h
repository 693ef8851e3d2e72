/*
 * exec_options: the command line of `clashsup exec`, words in, one value out.
 * No I/O; getopt(3) keeps its place in the C library's own variables.
 */
#ifndef DAEMON_EXEC_OPTIONS_H
#define DAEMON_EXEC_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "clashsup/err.h"

#define EXEC_SIGNALS 65 /* 0 = none, 1 to 64 */

struct exec_options {
	uint8_t rewrite[EXEC_SIGNALS]; /* what is passed on in its place; 0 = nothing */
	bool rewritten[EXEC_SIGNALS];  /* by the user */
	bool forgive[256];	       /* exit codes that become 0 */
	bool single;		       /* the child alone gets signals, not its group */
	bool subreaper;
	int parent_death; /* signal that we get when our parent dies; 0 = none */
	int64_t stop_ms;  /* from the request to end to KILL; 0 = never */
	bool wait_all;
	bool verbose;
	bool help, version;
	char **command; /* NULL-terminated, borrowed; NULL with help or version */
};

extern const char exec_usage[];

/* argv[0] is "exec". 0, or -EINVAL with a sentence. */
int exec_options_read(struct exec_options *o, int argc, char **argv, struct err *e);

#endif
