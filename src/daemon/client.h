/*
 * client: the commands that talk to a running supervisor over its socket.
 * A program of its own, in effect: it blocks (CLIENT_TIMEOUT_MS at most) and
 * writes to standard output and standard error. Not for the supervisor.
 */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

#include <cjson/cJSON.h>

#include "clashsup/settings.h"

#define CLIENT_TIMEOUT_MS 5000

/*
 * status [--json | --live], start, stop, restart, shutdown, on, off,
 * mode tproxy|mixed, refresh, ips; `argv` is what stands behind the command.
 *
 * Returns the exit status. status: 0 armed, or mixed and healthy; 1 running
 * but not so; 3 not reachable (--live: 0 whenever it answers). The others: 0
 * done, 1 refused, 3 not reachable. 2 for a wrong command line.
 */
int client_run(const struct settings *s, const char *cmd, int argc, char **argv);

/* The status of a running supervisor, the caller's to cJSON_Delete; NULL and the sentence when there is none. */
cJSON *client_status(const struct settings *s, struct err *e);

#endif
