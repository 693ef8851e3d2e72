/*
 * notify: the words of sd_notify(3) to a service manager, as its manual describes
 * the protocol: a datagram to the socket that NOTIFY_SOCKET names (a path, or an
 * abstract name behind '@'). Never blocks and never fails: without a manager, or
 * with one that does not listen, nothing happens.
 */
#ifndef CLASHSUP_NOTIFY_H
#define CLASHSUP_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NOTIFY_MAX 512 /* bytes of a message; longer ones are cut */

struct notify {
	int fd; /* -1 = nobody wants to know */
	struct sockaddr_un to;
	socklen_t len;
	int64_t watchdog_us; /* it wants a word so often; 0 = never */
};

/* Reads the environment and takes what it read out of it: our children are not the service. */
void notify_open(struct notify *n);
void notify_close(struct notify *n);

/* Puts it back, for a program that is executed in our place; and takes it out again when that is refused. */
void notify_restore(const struct notify *n);
void notify_take_out(void);

/* "READY=1", "STATUS=armed\nREADY=1", ... */
void notify_tell(const struct notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
