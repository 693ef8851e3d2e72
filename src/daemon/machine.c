#include "daemon/machine.h"

#include "clashsup/log.h"

void machine_init(struct machine *m, const struct effects *effects, bool tproxy)
{
	*m = (struct machine){ .effects = effects };
	lifecycle_init(&m->life, tproxy);
}

static void run_actions(struct machine *m, lifecycle_actions actions)
{
	for (unsigned a = 0; a < LIFECYCLE_ACTIONS; a++) {
		if (actions & (1u << a))
			m->effects->run(m->effects->ctx, (enum lifecycle_action)a);
	}
}

static void step(struct machine *m, enum lifecycle_event event)
{
	struct lifecycle from = m->life;
	lifecycle_actions actions = lifecycle_step(&m->life, event);

	run_actions(m, actions);
	if (m->effects->moved)
		m->effects->moved(m->effects->ctx, &from, &m->life, event);
}

static void drain(struct machine *m)
{
	while (m->waiting) {
		enum lifecycle_event event = m->queue[m->head];

		m->head = (m->head + 1) % MACHINE_QUEUE;
		m->waiting--;
		step(m, event);
	}
	m->running = false;
}

void machine_post(struct machine *m, enum lifecycle_event event)
{
	if (m->waiting == MACHINE_QUEUE) {
		log_error(LOG_CLASH, "event \"%s\" lost: the queue is full", lifecycle_event_name(event));
		return;
	}
	m->queue[(m->head + m->waiting++) % MACHINE_QUEUE] = event;
	if (m->running)
		return;
	m->running = true;
	drain(m);
}

void machine_mode(struct machine *m, bool tproxy)
{
	struct lifecycle from = m->life;
	bool was_running = m->running;

	m->running = true;
	run_actions(m, lifecycle_mode(&m->life, tproxy));
	if (m->effects->moved)
		m->effects->moved(m->effects->ctx, &from, &m->life, tproxy ? EV_WANT : EV_UNWANT);
	if (!was_running)
		drain(m);
}
