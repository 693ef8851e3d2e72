/*
 * ctl: the control socket's server side: a UNIX stream socket, one JSON object
 * a line in both directions, version 1.
 *
 *	request   {"version":1,"cmd":"status"}            plus members a command knows
 *	answer    {"version":1,"ok":true, ...}            or {"version":1,"ok":false,"error":"sentence"}
 *
 * Limits: CTL_CLIENTS at once (the oldest idle one is closed for a new one),
 * CTL_REQUEST_MAX bytes a line, CTL_IDLE_MS of silence. Rights come from
 * SO_PEERCRED: root, the supervisor's uid and members of control_group may do
 * everything; everybody may ask `status`. A client that does not read its
 * answer is closed. A line that is no request is answered with the reason, then
 * the client is closed. Never blocks.
 */
#ifndef CLASHSUP_CTL_H
#define CLASHSUP_CTL_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/err.h"

#define CTL_VERSION 1
#define CTL_CLIENTS 32
#define CTL_REQUEST_MAX 4096
#define CTL_ANSWER_MAX (8 * 1024 * 1024) /* a line, and each part of one */
#define CTL_IDLE_MS 10000

enum ctl_cmd {
	CTL_STATUS,
	CTL_START,
	CTL_STOP,
	CTL_RESTART,
	CTL_SHUTDOWN,
	CTL_MODE, /* with "mode": "tproxy" or "mixed" */
	CTL_REFRESH,
	CTL_IPS,
	CTL_RELOAD,
	CTL_REEXEC,
	CTL_SIGNAL, /* with "signal": a name or a number; to Mihomo */
	CTL_LOGS,   /* with "count" and "follow", both optional */
	CTL_EVENTS, /* likewise */
	CTL_CMDS
};

struct ctl_request {
	enum ctl_cmd cmd;
	bool mixed;	 /* of CTL_MODE */
	int signal;	 /* of CTL_SIGNAL: 1 to 64 */
	uint32_t count;	 /* of CTL_LOGS and CTL_EVENTS: the latest so many; UINT32_MAX = all */
	bool follow;	 /* likewise: go on with what comes */
	bool privileged; /* the peer has control */
};

/* Table of names, "status" first; NULL for an unknown value. */
const char *ctl_cmd_name(enum ctl_cmd cmd);

/* Bytes of one line → request. -EINVAL with a sentence. Pure. */
int ctl_parse(const char *line, size_t len, struct ctl_request *out, struct err *e);

/* Answers as malloc'ed lines without newline; NULL when out of memory. Pure. */
char *ctl_answer_ok(void);
char *ctl_answer_error(const char *sentence);
char *ctl_answer_did(const char *sentence); /* ok, and what was done */

struct ctl;

/*
 * Returns the answer line (malloc'ed, without newline); NULL closes the client.
 * A long one is told in parts: *cursor is 0 at first; while the handler leaves
 * another number there, it is called again with it when the part has been taken;
 * after an empty part only when ctl_wake says that there is more. Such a client
 * may be silent for as long as it likes; anything that it sends ends it.
 * Must not call ctl_close.
 */
typedef char *(*ctl_handler_fn)(void *ctx, const struct ctl_request *request, size_t *cursor);

/*
 * Binds `path` (a stale socket there is replaced; its directory is made, 0755),
 * mode 0666: SO_PEERCRED decides. `group` -1 = none.
 */
int ctl_open(struct ctl **out, struct ev_loop *loop, const char *path, int64_t group, ctl_handler_fn handler, void *ctx,
	     struct err *e);

/*
 * For a program that is executed in our place, by its descriptors: the listener,
 * and the clients that wait for news of a command, at most `max` of them.
 */
int ctl_listener(const struct ctl *c);
size_t ctl_waiting(const struct ctl *c, enum ctl_cmd cmd, int *fds, size_t max);

/* Its counterpart: as ctl_open, but listens on what is there. The descriptor is taken over, also on failure. */
int ctl_take(struct ctl **out, struct ev_loop *loop, const char *path, int fd, int64_t group, ctl_handler_fn handler,
	     void *ctx, struct err *e);

void ctl_set_group(struct ctl *c, int64_t group); /* for those who connect from now on */
void ctl_close(struct ctl *c);			  /* NULL-safe; unlinks the socket */

/* There is news for those who wait for it. NULL-safe. Not from within the handler. */
void ctl_wake(struct ctl *c);

#endif
