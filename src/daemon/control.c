#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "clashsup/io.h"
#include "daemon/clock.h"
#include "daemon/commands.h"
#include "daemon/reexec_state.h"
#include "daemon/stream.h"
#include "daemon/supervisor.h"

static void add_warning(struct report *r, const char *text)
{
	if (text[0] && r->n_warnings < REPORT_WARNINGS)
		snprintf(r->warnings[r->n_warnings++], REPORT_TEXT, "%s", text);
}

static void report_mihomo(const struct supervisor *s, struct report *r)
{
	r->mihomo.pid = s->mihomo.proc.pid;
	r->mihomo.since = s->child_since;
	r->mihomo.restarts = (s->starts ? s->starts - 1 : 0) + s->mihomo.restarts_in_place;
	r->mihomo.exited = s->exited;
	r->mihomo.exit_code = WIFEXITED(s->exit_status) ? WEXITSTATUS(s->exit_status) : -1;
	r->mihomo.exit_signal = WIFSIGNALED(s->exit_status) ? WTERMSIG(s->exit_status) : 0;
	r->mihomo.exit_at = s->exit_at;
	r->mihomo.history = &s->deaths.history;
	r->probe.ok = s->health.ok;
	r->probe.latency_us = s->health.latency_us;
	r->probe.fails = s->health.policy.fails;
}

static void report_rules(const struct supervisor *s, struct report *r)
{
	char text[CHOICE_WHY];

	for (unsigned b = 0; b < 2; b++)
		snprintf(r->backends[b], REPORT_TEXT, "%.*s", REPORT_TEXT - 1,
			 s->net.powerless ? s->net.fault
			 : s->around.probed
				 ? choice_backend_text(&s->around.ability, b == 0 ? FW_IPTABLES : FW_NFT, text)
				 : "not known yet");
	snprintf(r->direct_path, REPORT_TEXT, "%s", s->around.direct_path);
	snprintf(r->dns, REPORT_TEXT, "%s", s->net.dns_note);
	net_delta(&s->net, r->delta, sizeof(r->delta));
	r->repairs.count = s->net.repair.policy.count;
	snprintf(r->repairs.last, REPORT_TEXT, "%s", s->net.repair.last);
	r->repairs.at = s->net.repair.at;
}

static void report_net(const struct supervisor *s, struct report *r)
{
	bool armed = s->machine.life.net == NET_ARMED;

	r->tproxy.port = s->facts.port ? s->facts.port : s->settings->tproxy.port;
	r->tproxy.armed_in_us = s->armed_in_us;
	r->tproxy.last_disarm_us = s->disarm_us;
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		bool in = armed && s->net.family[f];
		const char *why = s->net.note[f][0] ? s->net.note[f]
				  : s->net.fault[0] ? s->net.fault
						    : net_state_name(s->machine.life.net);

		snprintf(r->tproxy.family[f], REPORT_TEXT, "%s", in ? "armed" : why);
		r->ipset.count[f] =
			s->servers.on && s->servers.family[f] ? ledger_count(s->servers.ledger, (enum ip_family)f) : 0;
	}
	report_rules(s, r);
	r->ipset.name = s->settings->ipset.name;
	r->ipset.updated = s->servers.updated;
	r->extract.running = servers_busy(&s->servers);
	r->extract.last = s->servers.last;
	r->extract.duration_ms = s->servers.duration_ms;
	r->extract.endpoints = s->servers.summary.endpoints;
	r->extract.names = s->servers.summary.names;
	r->extract.unresolved = s->servers.summary.unresolved;
	r->extract.skipped = s->servers.summary.skipped;
	r->extract.missed = s->servers.missed;
}

/* What the present state waits for, in one sentence. */
static const char *waiting_for(const struct supervisor *s)
{
	switch (s->machine.life.child) {
	case CHILD_WAITING:
		return s->waiting_for;
	case CHILD_STARTING:
		return s->mihomo.waiting_for;
	case CHILD_CHECKING:
		return "the check of Mihomo's config";
	case CHILD_BACKOFF:
		return "the next start of Mihomo (backoff)";
	case CHILD_UNHEALTHY:
		return "an answer of Mihomo";
	case CHILD_STOPPED:
	case CHILD_READY:
	case CHILD_STOPPING:
	case CHILD_RESTARTING:
	case CHILD_FAILED:
	case CHILD_STATES:
		break;
	}
	return "";
}

/* An arming that is held up is no arming to those who look: the network is direct for now. */
static const char *net_shown(const struct supervisor *s)
{
	enum net_state net = s->machine.life.net;

	return net_state_name(net == NET_ARMING && net_is_held_up(&s->net) ? NET_DIRECT : net);
}

static const char *mode_shown(const struct supervisor *s)
{
	return s->machine.life.tproxy ? "tproxy" : "mixed";
}

const char *supervisor_state(const struct supervisor *s)
{
	return report_state(child_state_name(s->machine.life.child), net_shown(s), mode_shown(s));
}

static char *answer_status(const struct supervisor *s, bool privileged)
{
	const struct lifecycle *l = &s->machine.life;
	struct report *r = calloc(1, sizeof(*r));
	char *json, *answer = NULL;

	if (!r)
		return NULL;
	r->child = child_state_name(l->child);
	r->net = net_shown(s);
	r->closed = s->net.standing && s->net.plan.closed && l->net != NET_ARMED;
	r->mode = mode_shown(s);
	r->backend = s->around.choice.found ? fw_backend_name(s->around.choice.backend) : NULL;
	r->on_death = s->settings->tproxy.on_death == ON_DEATH_CLOSED ? "closed" : "open";
	r->since = s->since;
	r->state = supervisor_state(s);
	r->full = privileged;
	report_mihomo(s, r);
	report_net(s, r);
	if (privileged || l->child != CHILD_WAITING)
		snprintf(r->waiting_for, sizeof(r->waiting_for), "%s", waiting_for(s));
	add_warning(r, s->reload.warning);
	add_warning(r, s->net.fault);
	for (size_t i = 0; i < s->around.findings.n && r->n_surroundings < REPORT_WARNINGS; i++) {
		if (s->around.findings.list[i].weight == FINDING_WARN)
			snprintf(r->surroundings[r->n_surroundings++], REPORT_TEXT, "%s",
				 s->around.findings.list[i].text);
	}
	add_warning(r, surroundings_lack(&s->around) ? surroundings_lack(&s->around) : "");
	add_warning(r, s->config_warning);
	add_warning(r, s->facts.warning);
	add_warning(r, s->servers.warning);
	add_warning(r, s->servers.remember.warning);
	add_warning(r, s->deaths.warning);
	json = report_json(r);
	if (json && asprintf(&answer, "{\"version\":%d,\"ok\":true,\"status\":%s}", CTL_VERSION, json) < 0)
		answer = NULL;
	free(json);
	free(r);
	return answer;
}

#define ANY_PRINTED ((size_t)1 << (sizeof(size_t) * 8 - 1)) /* in the cursor of a list that is told in parts */

struct ip_list {
	FILE *out;
	const bool *family; /* that has a set */
	const char *between;
};

static void add_ip(void *ctx, const struct addr *a, bool enters)
{
	struct ip_list *list = ctx;
	char text[ADDR_TEXT];
	(void)enters;

	if (!list->family[a->family])
		return;
	fprintf(list->out, "%s\"%s\"", list->between, addr_text(a, text));
	list->between = ",";
}

_Static_assert(LEDGER_MAX *(INET6_ADDRSTRLEN + sizeof("\"\",")) < CTL_ANSWER_MAX, "all addresses are an answer");

/* In no order, a slice a part. A shortened list would look like the whole one: rather none. */
static char *answer_ips(const struct supervisor *s, size_t *cursor)
{
	struct ip_list list = { .family = s->servers.family, .between = *cursor & ANY_PRINTED ? "," : "" };
	size_t at = *cursor & ~ANY_PRINTED;
	char *text = NULL;
	size_t len;
	bool more, whole;

	if (*cursor && !s->servers.on)
		return NULL;
	list.out = open_memstream(&text, &len);
	if (!list.out)
		return NULL;
	if (!*cursor)
		fprintf(list.out, "{\"version\":%d,\"ok\":true,\"ips\":[", CTL_VERSION);
	more = s->servers.on && ledger_each(s->servers.ledger, &at, add_ip, &list);
	*cursor = more ? at | (*list.between ? ANY_PRINTED : 0) : 0;
	if (!more)
		fputs("]}", list.out);
	whole = !ferror(list.out);
	if (fclose(list.out) == 0 && whole)
		return text;
	free(text);
	return NULL;
}

/* It listens already. */
static int take_over(struct supervisor *s, const char *path, struct ctl **out, struct err *e)
{
	int fd = reexec_take_fd(s->handed->fds, "control");

	if (fd < 0)
		return err_set(e, EBADF, "the control socket was not handed over");
	return ctl_take(out, s->loop, path, fd, s->settings->control.group, control_handle, s, e);
}

int control_open(struct supervisor *s, struct ctl **out, struct err *e)
{
	const char *socket = s->settings->control.socket;
	char path[PATH_MAX];
	int r = io_path(path, sizeof(path), e, "%s%s", socket[0] ? socket : s->settings->state.run,
			socket[0] ? "" : "/control.sock");

	if (r == 0 && s->handed && !s->ctl)
		return take_over(s, path, out, e);
	return r < 0 ? r : ctl_open(out, s->loop, path, s->settings->control.group, control_handle, s, e);
}

static char *answer_reload(struct supervisor *s)
{
	char did[RELOAD_TEXT];

	return reload_now(s, did) < 0 ? ctl_answer_error(did) : ctl_answer_did(did);
}

char *control_handle(void *ctx, const struct ctl_request *request, size_t *cursor)
{
	struct supervisor *s = ctx;
	const struct command_state now = { s->machine.life, s->shutting_down, s->mihomo.proc.pid > 0, s->servers.on };
	char sentence[COMMAND_SENTENCE];
	const char *refusal = *cursor ? NULL : command_refusal(request, &now, sentence);

	if (refusal)
		return ctl_answer_error(refusal);
	switch (request->cmd) {
	case CTL_STATUS:
		return answer_status(s, request->privileged);
	case CTL_IPS:
		return answer_ips(s, cursor);
	case CTL_LOGS:
		return stream_answer(&s->lines.ring, "line", request, cursor);
	case CTL_EVENTS:
		return stream_answer(&s->eventlog.ring, NULL, request, cursor);
	case CTL_START:
		policy_restart_reset(&s->restart);
		machine_post(&s->machine, EV_START);
		break;
	case CTL_STOP:
		machine_post(&s->machine, EV_STOP);
		break;
	case CTL_RESTART:
		policy_restart_reset(&s->restart);
		machine_post(&s->machine, EV_RESTART);
		break;
	case CTL_SHUTDOWN:
		supervisor_shutdown(s);
		break;
	case CTL_MODE:
		supervisor_set_mode(s, !request->mixed);
		break;
	case CTL_REFRESH:
		servers_extract(&s->servers, SERVERS_ASKED);
		break;
	case CTL_SIGNAL:
		mihomo_signal(&s->mihomo, request->signal);
		break;
	case CTL_RELOAD:
		return answer_reload(s);
	case CTL_REEXEC:
		return reexec_answer(s, cursor);
	case CTL_CMDS:
		return ctl_answer_error("unknown command");
	}
	return ctl_answer_ok();
}
