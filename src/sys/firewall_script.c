/*
 * The script backend: the user's script as one piece of work. It has one
 * outcome for both families, and what it puts in is its own: there is nothing
 * to look at or to count.
 */
#include <errno.h>
#include <stdlib.h>

#include "clashsup/script_env.h"
#include "sys/firewall_backend.h"
#include "sys/script.h"

struct backend {
	struct firewall_host *host;
	struct script_run *run;
	bool applying;
	bool family[IP_FAMILIES]; /* that are applied */
};

static int script_open(void **out, struct firewall_host *host, struct err *e)
{
	struct backend *b = calloc(1, sizeof(*b));

	if (!b)
		return err_sys(e, ENOMEM, "cannot prepare the script");
	b->host = host;
	*out = b;
	return 0;
}

static void script_close(void *backend)
{
	struct backend *b = backend;

	if (!b)
		return;
	script_abandon(b->run);
	free(b);
}

static void on_done(void *ctx, int code, const struct err *why)
{
	struct backend *b = ctx;

	b->run = NULL;
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (b->applying && !b->family[i])
			continue;
		b->host->result.family[i] = code;
		b->host->result.err[i] = *why;
	}
	b->host->end(b->host);
}

/* The parts that stand while Mihomo is dead are not the script's: its contract knows apply and remove. */
static int script_apply(void *backend, const struct firewall_want *want, struct err *e)
{
	struct backend *b = backend;
	const struct fwplan_params *p = want->params;
	const struct firewall_script *script = b->host->script;
	const struct script_values values = { .server_set = p->server_set,
					      .lease_set = FWPLAN_LEASE_SET,
					      .port = p->port,
					      .mark = p->mark,
					      .table = script ? script->table : 0,
					      .core_gid = p->core_gid,
					      .local = p->local,
					      .family = { want->family[IP_V4], want->family[IP_V6] },
					      .selection = p->selection,
					      .fake = p->fake,
					      .lan = p->lan };
	struct script_spec spec;
	char **envp;
	int r;

	if (!script)
		return err_set(e, EINVAL, "backend = script, and [tproxy] script is not set");
	r = script_env(&values, getenv("PATH"), &envp, e);
	if (r < 0)
		return r;
	for (int i = 0; i < IP_FAMILIES; i++)
		b->family[i] = want->family[i];
	b->applying = (b->family[IP_V4] || b->family[IP_V6]) && (want->parts & FWPLAN_ARMED) != 0;
	spec = (struct script_spec){ .path = script->path, .envp = envp, .apply = b->applying };
	r = script_start(&b->run, b->host->reaper, &spec, on_done, b, e);
	if (r < 0)
		script_env_free(envp);
	return r;
}

static int script_no_look(void *backend, struct err *e)
{
	(void)backend;
	return err_set(e, EOPNOTSUPP, "what a script has put in cannot be looked at");
}

static void script_stop(void *backend)
{
	struct backend *b = backend;

	if (b->run)
		script_abort(b->run);
}

const struct firewall_backend firewall_script = { .open = script_open,
						  .close = script_close,
						  .apply = script_apply,
						  .look = script_no_look,
						  .count = script_no_look,
						  .abort = script_stop };
