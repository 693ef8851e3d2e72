/*
 * Armed means working: rules that intercept and bring nothing to Mihomo are
 * found out by the packet counters, and go out with the likeliest cause named.
 */
#include <stdio.h>

#include "daemon/clock.h"
#include "daemon/net.h"

#define COUNT_FIRST_MS 1000
#define COUNT_MAX_MS 60000

static void judge_counters(struct net *n, const struct fw_counters *c)
{
	struct net_proof *p = &n->proof;
	int64_t now = clock_ms(), pause;
	char why[320];

	switch (policy_proof(&p->policy, c->chosen, c->diverted, now)) {
	case PROOF_WORKS:
		p->proven = true;
		break;
	case PROOF_OPEN: /* the first look that sees a connection is followed by the decisive one */
		pause = COUNT_FIRST_MS << (p->counts < 6 ? p->counts : 6);
		p->counts++;
		if (p->policy.waiting)
			pause = p->policy.since_ms + PROOF_MS - now;
		if (pause < COUNT_FIRST_MS)
			pause = COUNT_FIRST_MS;
		p->next_count_ms = now + (pause < COUNT_MAX_MS ? pause : COUNT_MAX_MS);
		break;
	case PROOF_BROKEN:
		snprintf(why, sizeof(why), "nothing of what the rules intercept reaches Mihomo: %.250s",
			 surroundings_blame(n->around));
		n->troubles = 7; /* the longest pause at once */
		net_give_way(n, why);
		break;
	}
}

static void on_counted(void *ctx, const struct firewall_result *result, const struct fw_counters *counters)
{
	struct net *n = ctx;

	n->task = TASK_NONE;
	if (n->on && !result->aborted)
		judge_counters(n, counters);
	net_known(n);
}

void net_proof_tick(struct net *n)
{
	struct net_proof *p = &n->proof;
	struct err e = ERR_INIT;

	if (p->proven || n->task != TASK_NONE || n->backend == FW_SCRIPT || clock_ms() < p->next_count_ms)
		return;
	if (firewall_count(n->firewall, n->backend, on_counted, n, &e) == 0)
		n->task = TASK_COUNT;
}

void net_proof_begin(struct net *n)
{
	n->proof = (struct net_proof){ .next_count_ms = clock_ms() + COUNT_FIRST_MS };
}
