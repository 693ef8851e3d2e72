/* health: the probe helper, kept alive, and the judgement over its records. */
#ifndef DAEMON_HEALTH_H
#define DAEMON_HEALTH_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/helper.h"
#include "clashsup/policy.h"
#include "clashsup/settings.h"

typedef void (*health_fn)(void *ctx, enum policy_verdict verdict);

struct health {
	struct ev_loop *loop;
	struct reaper *reaper;
	const struct settings *settings;
	const char *run_dir; /* RUN/mihomo: its api.sock */
	int helper_fd;
	const char *helper_path;
	struct sandbox_ids ids;
	health_fn tell;
	/* Mihomo has a connection to a proxy server of this address. May be NULL. */
	void (*dialled)(void *ctx, const struct addr *a);
	void *ctx;

	struct helper *helper;
	struct policy_probe policy;
	ev_timer silence; /* no record for so long: the helper is at fault, not Mihomo */
	bool ok;
	uint32_t latency_us;
};

void health_init(struct health *h); /* loop to ctx filled */

/* Probes from now on; the counts begin anew. */
void health_start(struct health *h);

/* A probe at once; the counts begin anew: what came before was another life's. */
void health_anew(struct health *h);
void health_stop(struct health *h);

/* The settings or the ids have changed: a helper that runs is followed by a new one; the counts go on. */
void health_renew(struct health *h);

/* Asks the API to open the TPROXY port. */
void health_open_port(struct health *h, uint16_t port);

#endif
