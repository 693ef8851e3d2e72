/*
 * commands: may a command of the control socket be done in this state, and if not,
 * why? Pure. tests/contract/test_commands.c has the whole table. Every other
 * command is done, or changes nothing where it has been done already.
 */
#ifndef DAEMON_COMMANDS_H
#define DAEMON_COMMANDS_H

#include <stdbool.h>

#include "clashsup/ctl.h"
#include "clashsup/lifecycle.h"

#define COMMAND_SENTENCE 160

struct command_state {
	struct lifecycle life;
	bool shutting_down;
	bool process; /* Mihomo's, not yet reaped; also in a state that may have one it may be missing for a moment */
	bool set;     /* the servers' set is in use */
};

/* NULL, or a sentence in buf. */
const char *command_refusal(const struct ctl_request *r, const struct command_state *s, char buf[COMMAND_SENTENCE]);

#endif
