/*
 * script_env: the environment of the script backend ([tproxy] script). Pure;
 * memory only for the result.
 *
 * The nine variables of the contract, lists separated by blanks, both families
 * in one list:
 *
 *	PROXY_CIDRS EXCLUDE_SRC_CIDRS EXCLUDE_IFACES EXCLUDE_IPS PROXY_IPSET_NAME
 *	EXCLUDE_PORTS TPROXY_PORT MARK TABLE
 *
 * and what we add, which a script may ignore: LEASE_IPSET_NAME, CORE_GID,
 * FAMILIES ("4 6"), LOCAL (yes, no), INCLUDE_SRC_CIDRS, LAN_IFACES; and PATH.
 * docs/clashsup.8 says what each means.
 */
#ifndef CLASHSUP_SCRIPT_ENV_H
#define CLASHSUP_SCRIPT_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"
#include "clashsup/selection.h"

#define SCRIPT_ENV_VALUE_MAX (128 * 1024) /* "NAME=value" with its NUL: MAX_ARG_STRLEN of linux/binfmts.h */

struct script_values {
	const char *server_set, *lease_set; /* of IPv4; those of IPv6 have a 6 behind */
	uint16_t port;
	uint32_t mark, table, core_gid;
	bool local;
	bool family[IP_FAMILIES];
	const struct selection *selection; /* NULL: all defaults */
	const struct net_list *fake;	   /* joins PROXY_CIDRS, when there are any; may be NULL */
	const struct net_list *lan;	   /* joins EXCLUDE_IPS; may be NULL */
};

/*
 * *envp_out is for script_env_free. `path` is the value of PATH, or NULL.
 * -E2BIG for a list that no variable can hold, with the key's name; -ENOMEM.
 */
int script_env(const struct script_values *v, const char *path, char ***envp_out, struct err *e);
void script_env_free(char **envp); /* NULL-safe */

#endif
