/*
 * service: tells whoever supervises us how we are: a service manager by
 * notify.h, s6 and dinit by a newline on a descriptor.
 */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include <ev.h>
#include <stdbool.h>

#include "clashsup/notify.h"

struct supervisor;

struct service {
	struct notify notify;
	ev_timer watchdog;
	int ready_fd; /* -1 = none, or it has been told */
	bool ready;
	bool stopping;
	char status[160]; /* as told last */
};

/* Before the first child is started. `ready_fd` is taken over; -1 = none. */
void service_init(struct service *v, struct ev_loop *loop, int ready_fd);
void service_deinit(struct service *v, struct ev_loop *loop);

/* Something may have changed: tells what has. */
void service_look(struct supervisor *s);

void service_reloading(struct service *v); /* until the next service_reloaded */
void service_reloaded(struct service *v);
void service_stopping(struct service *v);

#endif
