/*
 * effects: one function an action. The supervisor has the real ones, the
 * contract tests have fakes that record.
 *
 * Each is idempotent and returns at once; its outcome, now or later, is another
 * event posted to the machine. A failed effect never keeps a later one from running.
 */
#ifndef CLASHSUP_EFFECTS_H
#define CLASHSUP_EFFECTS_H

#include "clashsup/lifecycle.h"

struct effects {
	void (*run)(void *ctx, enum lifecycle_action action);
	/* Told of each change after its actions have run; for logs, history and the client. */
	void (*moved)(void *ctx, const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event);
	void *ctx;
};

#endif
