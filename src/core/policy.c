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
