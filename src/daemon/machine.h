/*
 * machine: feeds events to the lifecycle, one after the other, and runs the
 * actions of each through the effects, in the order of enum lifecycle_action.
 * An event that an effect posts waits until the present one is done with.
 */
#ifndef DAEMON_MACHINE_H
#define DAEMON_MACHINE_H

#include <stdbool.h>

#include "clashsup/effects.h"

#define MACHINE_QUEUE 32 /* no effect posts more than one event at once; far more than there are effects */

struct machine {
	struct lifecycle life;
	const struct effects *effects;
	enum lifecycle_event queue[MACHINE_QUEUE];
	unsigned head, waiting;
	bool running;
};

void machine_init(struct machine *m, const struct effects *effects, bool tproxy);
void machine_post(struct machine *m, enum lifecycle_event event);
void machine_mode(struct machine *m, bool tproxy);

#endif
