/*
 * adopt: what comes into force of Mihomo's config, and when: a file that changes
 * is checked (check.h), a good one is taken over, a bad one is told and leaves
 * the copy in force alone. The mode waits for a check too.
 */
#ifndef DAEMON_ADOPT_H
#define DAEMON_ADOPT_H

#include <stdbool.h>

#include "daemon/check.h"
#include "daemon/net.h"

struct supervisor;

/* The ends of check and watch; ctx is the supervisor. */
void adopt_checked(void *ctx, const struct config_facts *facts, const char *why);
void adopt_file(void *ctx, const char *path);

/* What an arming must know of the config in force. Borrows of it. */
struct net_plan adopt_plan(const struct supervisor *s);

/* Over a reexec: what was in force is so still; its files are watched again when it is looked at. */
void adopt_again(struct supervisor *s);

/* Is there something to look at: another file, or one that was found bad? */
bool adopt_is_news(const struct supervisor *s);

/* Where addresses are looked for has changed. */
void adopt_sources(struct supervisor *s);

#endif
