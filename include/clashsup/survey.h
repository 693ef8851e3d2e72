/*
 * survey: what others have in this machine's network that matters to us:
 * packet filter rules, sysctls, sockets on port 53, bridges, routing. It only
 * looks, and loads no module to look. Programs run side by side as jobs; the rest
 * is read when they have ended. What cannot be looked at is unknown, no error.
 */
#ifndef CLASHSUP_SURVEY_H
#define CLASHSUP_SURVEY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/addr.h"
#include "clashsup/job.h"
#include "clashsup/selection.h"
#include "clashsup/survey_facts.h"

#define SURVEY_DEADLINE_MS 5000

struct survey;

struct survey_ask {
	uint16_t port;			     /* of Mihomo's TPROXY listener */
	uint32_t mark, table, pref;	     /* of our routing; mark 0: routing is not looked at */
	const struct iface_list *lan_ifaces; /* [tproxy] lan_ifaces; empty or NULL: found by the routes. Copied. */
	pid_t mihomo;			     /* its sockets are not somebody else's; 0 = none runs */
};

typedef void (*survey_done_fn)(void *ctx, const struct survey_facts *facts);

/*
 * `done` is called once, from the loop, within SURVEY_DEADLINE_MS; the facts are
 * borrowed until it returns, and the survey is gone behind it. 0 or -errno.
 */
int survey_start(struct survey **out, struct reaper *r, const struct survey_ask *ask, survey_done_fn done, void *ctx,
		 struct err *e);

/* Ends it without a word. NULL-safe. */
void survey_abandon(struct survey *s);

/* A program on PATH. */
bool survey_on_path(const char *program);

#endif
