/*
 * policy: two small judgements with a memory. Pure: time and chance are arguments.
 *
 * restart  The first death after a start by request, or after a run of at least
 *          `stable_ms`, is followed by a start at once, however young the child
 *          was; further ones by an exponential backoff with jitter and a cap.
 * probe    `fall` probes in a row without an answer are a hang; `rise` answers
 *          in a row end it.
 */
#ifndef CLASHSUP_POLICY_H
#define CLASHSUP_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct policy_restart {
	int64_t min_ms, max_ms, stable_ms;
	uint32_t deaths; /* in a row, since the last stable run or request */
};

/* A start by request: the next death is a first one. */
void policy_restart_reset(struct policy_restart *p);

/*
 * A death after a life of `lived_ms`. Returns the wait before the next start in
 * ms, 0 = at once. `chance` is any random number; the wait is drawn evenly
 * between min_ms and the present step.
 */
int64_t policy_death(struct policy_restart *p, int64_t lived_ms, uint32_t chance);

struct policy_probe {
	uint32_t fall, rise;
	uint32_t fails, answers; /* in a row */
};

enum policy_verdict { PROBE_SAME, PROBE_HANG, PROBE_ANSWERS };

void policy_probe_reset(struct policy_probe *p);

/* One probe's outcome. HANG and ANSWERS are told once, when the count is reached. */
enum policy_verdict policy_probe(struct policy_probe *p, bool answered);

#endif
