#include "daemon/plan_params.h"

struct fwplan_params plan_params(const struct settings *s)
{
	return (struct fwplan_params){ .server_set = s->ipset.name,
				       .port = s->tproxy.port,
				       .mark = s->tproxy.mark,
				       .core_gid = s->mihomo.group,
				       .local = s->tproxy.local,
				       .servers_output_only = s->ipset.scope == SCOPE_OUTPUT,
				       .selection = &s->tproxy.selection,
				       .input_accept = s->tproxy.input_accept == SETTING_YES,
				       .closed = s->tproxy.on_death == ON_DEATH_CLOSED };
}
