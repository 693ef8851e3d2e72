/*
 * policy: small judgements with a memory. Pure: time and chance are arguments.
 *
 * restart  The first death after a start by request, or after a run of at least
 *          `stable_ms`, is followed by a start at once, however young the child
 *          was; further ones by an exponential backoff with jitter and a cap.
 * probe    `fall` probes in a row without an answer are a hang; `rise` answers
 *          in a row end it.
 * repair   What others take away is put back at once, but not for ever: after
 *          REPAIR_BURST times in REPAIR_WINDOW_MS it is somebody's intention.
 * rate     So many a second, and a second's worth at once.
 * proof    Rules may be in and nothing arrives. Connections that were chosen and
 *          of which no further segment comes for PROOF_MS say so.
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

#define REPAIR_BURST 8
#define REPAIR_WINDOW_MS 10000
#define REPAIR_QUIET_MS 30000 /* so long without a repair, and a quarrel is forgotten */

struct policy_repair {
	int64_t at_ms[REPAIR_BURST]; /* a ring of the latest repairs */
	uint32_t count;		     /* all that there were */
};

/* Something was taken away. True: put it back now; false: too often, give way for a while. */
bool policy_repair(struct policy_repair *p, int64_t now_ms);

/* True when the last repair is long ago, or there was none. */
bool policy_repair_quiet(const struct policy_repair *p, int64_t now_ms);

struct policy_rate {
	int64_t at_ms;
	uint64_t tokens; /* thousandths */
	bool begun;
};

/* May one more be done? At most `per_second` a second, and as many at once; 0 = any number. */
bool policy_rate(struct policy_rate *p, uint32_t per_second, int64_t now_ms);

#define PROOF_MS 3000

struct policy_proof {
	uint64_t chosen; /* at the first look that saw any */
	int64_t since_ms;
	bool waiting; /* chosen and since_ms are set */
};

enum policy_proven { PROOF_OPEN, PROOF_WORKS, PROOF_BROKEN };

void policy_proof_reset(struct policy_proof *p);

/*
 * A look at the counters since arming: first segments that were chosen, later
 * ones that found their socket. BROKEN: more and more are chosen, and for
 * PROOF_MS none has found it.
 */
enum policy_proven policy_proof(struct policy_proof *p, uint64_t chosen, uint64_t diverted, int64_t now_ms);

#endif
