/* client_stream: `clashsup logs` and `clashsup events`. Not for the supervisor: it blocks. */
#ifndef DAEMON_CLIENT_STREAM_H
#define DAEMON_CLIENT_STREAM_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

struct stream_options {
	bool follow, json;
	uint32_t count; /* UINT32_MAX = all */
};

/* -f, -n N, and where `json` is known --json. False: wrong words. */
bool stream_options_read(struct stream_options *o, bool json, int argc, char **argv);

/* Prints the lines that come from `fd` behind the answer's first one. 0 at the stream's end, or a client's exit status.
 */
int stream_show(int fd, const char *command, const struct stream_options *o);

/* One event as a line of text. */
struct _IO_FILE;
void stream_show_event(const cJSON *event, struct _IO_FILE *out);

#endif
