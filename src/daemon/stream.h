/*
 * stream: a ring's lines as the answer to `logs` and `events`: one line that says
 * ok, then one JSON object a line. Who reads too slowly is told by {"lost":N}
 * where lines have gone.
 */
#ifndef DAEMON_STREAM_H
#define DAEMON_STREAM_H

#include "clashsup/ctl.h"
#include "clashsup/ring.h"

/* As ctl_handler_fn. `member`: the lines become {"seq":N,"<member>":"..."}; NULL: they are objects already. */
char *stream_answer(const struct ring *r, const char *member, const struct ctl_request *request, size_t *cursor);

#endif
