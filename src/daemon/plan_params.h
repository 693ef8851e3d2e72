/* plan_params: what the settings say of the firewall's plan; for the supervisor and for `clashsup rules`. */
#ifndef CLASHSUP_DAEMON_PLAN_PARAMS_H
#define CLASHSUP_DAEMON_PLAN_PARAMS_H

#include "clashsup/fwplan.h"
#include "clashsup/settings.h"

/*
 * The plan that the settings alone give: with the port and gid that are
 * configured, without routing marks, fake-ip ranges, LAN prefixes and whatever
 * else is only known at run time. Refers to `s`, which must outlive it.
 */
struct fwplan_params plan_params(const struct settings *s);

#endif
