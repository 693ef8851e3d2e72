/*
 * restart: what follows a death of Mihomo's: a start at once, a start after a
 * pause, or none any more; and who is told of it.
 */
#ifndef DAEMON_RESTART_H
#define DAEMON_RESTART_H

#include "clashsup/lifecycle.h"

struct supervisor;

/* MIHOMO_EXITED and MIHOMO_NO_START. */
void restart_exited(struct supervisor *s);
void restart_no_start(struct supervisor *s);

/* Behind each step of the lifecycle, when it has been told. */
void restart_moved(struct supervisor *s, const struct lifecycle *from, const struct lifecycle *to,
		   enum lifecycle_event event);

#endif
