/*
 * reexec_state: what goes over a reexec: a line of JSON and behind it the
 * addresses of servers as the bytes of a file (lastgood.h). Descriptors go by
 * their numbers. Each part of the supervisor that has something to keep has its
 * own save and load; this is their frame.
 */
#ifndef DAEMON_REEXEC_STATE_H
#define DAEMON_REEXEC_STATE_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "clashsup/err.h"
#include "clashsup/settings.h"
#include "daemon/reload.h"

#define REEXEC_STATE_VERSION 1
#define REEXEC_STATE_MAX (16u << 20) /* bytes */
#define REEXEC_CLIENTS 8	     /* who asked for it, and get their answers from the new program */

struct supervisor;

struct reexec_state {
	char *bytes;		   /* owned; NULL = somebody else's */
	cJSON *json;		   /* owned */
	const cJSON *fds;	   /* of it: numbers by their names */
	const void *addresses;	   /* borrowed of the bytes */
	size_t n_addresses;	   /* bytes */
	struct settings *settings; /* in force; owned */
	struct reload_source source;
};

/* The document, malloc'ed. */
int reexec_state_make(const struct supervisor *s, char **out, size_t *len_out, struct err *e);

/* Its counterpart, which believes nothing. The bytes outlive the state. To be freed also after a failure. */
int reexec_state_read(struct reexec_state *out, const char *bytes, size_t len, struct err *e);

/* The same of a file, which is closed. */
int reexec_state_take(struct reexec_state *out, int fd, struct err *e);

void reexec_state_drop(struct reexec_state *state); /* everything but the settings */
void reexec_state_free(struct reexec_state *state);

/* Calls `each` with every descriptor of a document. */
void reexec_each_fd(const cJSON *fds, void (*each)(int fd, bool keep), bool keep);

/* For the parts: puts what is open; takes it, as a descriptor that no child gets. -1 = it is not there. */
void reexec_put_fd(cJSON *fds, const char *name, int fd);
int reexec_take_fd(const cJSON *fds, const char *name);
size_t reexec_take_clients(const cJSON *fds, int out[REEXEC_CLIENTS]);

/* The supervisor's own values, when its parts are there. */
void reexec_state_load(struct supervisor *s, const struct reexec_state *state);

#endif
