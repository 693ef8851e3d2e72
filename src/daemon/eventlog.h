/*
 * eventlog: the latest turns of our life, as one JSON object each, for `clashsup
 * events` (docs/clashsup.8 lists the members).
 */
#ifndef DAEMON_EVENTLOG_H
#define DAEMON_EVENTLOG_H

#include "clashsup/ring.h"
#include "daemon/announce.h"

#define EVENTS_KEPT 512
#define EVENTS_BYTES (96 * 1024)

struct eventlog {
	struct ring ring;
	int64_t child_since_ms, net_since_ms; /* of the monotonic clock: when the present states began */
};

void eventlog_init(struct eventlog *e);
void eventlog_add(struct eventlog *e, const struct announcement *a, const struct lifecycle *now);

#endif
