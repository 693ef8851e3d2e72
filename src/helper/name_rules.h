/*
 * name_rules: all that decides how a name is resolved, read before a name is: the
 * config's part, /etc/resolv.conf, and /etc/hosts where Mihomo looks into it.
 */
#ifndef HELPER_NAME_RULES_H
#define HELPER_NAME_RULES_H

#include <stdbool.h>

#include "parse/feed/hosts.h"
#include "parse/feed/mihomo_dns.h"

struct name_rules {
	struct mihomo_dns dns;
	struct hosts *hosts;
	struct dns_plan plan;
};

/*
 * `config` may be NULL. `resolver` is "auto" (Mihomo's way), "system", "mihomo", or
 * addresses separated by commas or blanks, which are asked for every name in its
 * place. `system_hosts`: DISABLE_SYSTEM_HOSTS is not set for Mihomo.
 * -ENOMEM; -EINVAL for a resolver that is none of these.
 */
int name_rules_read(struct name_rules *r, struct doc *config, const char *resolver, bool system_hosts);
void name_rules_deinit(struct name_rules *r);

/* The machine's own name servers: dns_resolv_conf or dns_resolv_conf_named of /etc/resolv.conf. */
typedef void (*dns_resolv_conf_fn)(const char *bytes, size_t len, struct dns_group *out);
void name_rules_system(dns_resolv_conf_fn read, struct dns_group *out);

/* Tells the resolver, by records. */
void name_rules_tell(const struct name_rules *r);

/* -EINVAL if name_rules_read would say that. */
int name_rules_check(const char *resolver);

/* What is to be told of the plan, once; NULL = nothing. A static text. */
const char *name_rules_note(const struct name_rules *r, bool have_api);

#endif
