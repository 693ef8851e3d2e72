#include "clashsup/policy.h"

void policy_restart_reset(struct policy_restart *p)
{
	p->deaths = 0;
}

int64_t policy_death(struct policy_restart *p, int64_t lived_ms, uint32_t chance)
{
	int64_t step = p->min_ms;

	if (lived_ms >= p->stable_ms)
		p->deaths = 0;
	if (p->deaths++ == 0)
		return 0;
	for (uint32_t i = 2; i < p->deaths && step < p->max_ms; i++)
		step = step > p->max_ms / 2 ? p->max_ms : step * 2;
	if (step > p->max_ms)
		step = p->max_ms;
	if (step <= p->min_ms)
		return step;
	return p->min_ms + (int64_t)(chance % (uint64_t)(step - p->min_ms + 1));
}

void policy_probe_reset(struct policy_probe *p)
{
	p->fails = 0;
	p->answers = 0;
}

static uint32_t one_more(uint32_t count)
{
	return count == UINT32_MAX ? count : count + 1;
}

enum policy_verdict policy_probe(struct policy_probe *p, bool answered)
{
	if (answered) {
		p->fails = 0;
		p->answers = one_more(p->answers);
		return p->answers == p->rise ? PROBE_ANSWERS : PROBE_SAME;
	}
	p->answers = 0;
	p->fails = one_more(p->fails);
	return p->fails == p->fall ? PROBE_HANG : PROBE_SAME;
}

bool policy_repair(struct policy_repair *p, int64_t now_ms)
{
	int64_t *oldest = &p->at_ms[p->count % REPAIR_BURST];

	if (p->count >= REPAIR_BURST && now_ms - *oldest < REPAIR_WINDOW_MS)
		return false;
	*oldest = now_ms;
	p->count++;
	return true;
}

bool policy_repair_quiet(const struct policy_repair *p, int64_t now_ms)
{
	return p->count == 0 || now_ms - p->at_ms[(p->count - 1) % REPAIR_BURST] >= REPAIR_QUIET_MS;
}

bool policy_rate(struct policy_rate *p, uint32_t per_second, int64_t now_ms)
{
	const uint64_t most = (uint64_t)per_second * 1000;
	int64_t passed = now_ms - p->at_ms;

	if (per_second == 0)
		return true;
	if (!p->begun || passed >= 1000 || passed < 0)
		p->tokens = most;
	else
		p->tokens += (uint64_t)passed * per_second;
	if (p->tokens > most)
		p->tokens = most;
	p->begun = true;
	p->at_ms = now_ms;
	if (p->tokens < 1000)
		return false;
	p->tokens -= 1000;
	return true;
}

void policy_proof_reset(struct policy_proof *p)
{
	*p = (struct policy_proof){ 0 };
}

enum policy_proven policy_proof(struct policy_proof *p, uint64_t chosen, uint64_t diverted, int64_t now_ms)
{
	if (diverted)
		return PROOF_WORKS;
	if (!chosen)
		return PROOF_OPEN;
	if (!p->waiting || chosen < p->chosen) { /* counters that fall begin anew: the rules were put in again */
		*p = (struct policy_proof){ chosen, now_ms, true };
		return PROOF_OPEN;
	}
	return chosen > p->chosen && now_ms - p->since_ms >= PROOF_MS ? PROOF_BROKEN : PROOF_OPEN;
}
