/* survey_look: the part of a survey that needs no program: links, sysctls, sockets. Synchronous. */
#ifndef SYS_SURVEY_LOOK_H
#define SYS_SURVEY_LOOK_H

#include "clashsup/survey.h"

#define SURVEY_NETS_MAX 64

/* Interfaces and their sysctls. `lan` gets the networks of the LAN, and *n_lan their count. */
void survey_look_links(struct survey_facts *f, const struct iface_list *lan_ifaces,
		       struct addr_net lan[SURVEY_NETS_MAX], size_t *n_lan);

/* Routing rules and routes of others that collide with ours. */
void survey_look_routing(struct survey_facts *f, const struct survey_ask *ask);

/* Who serves port 53 other than on loopback, without Mihomo. */
void survey_look_dns(struct survey_facts *f, pid_t mihomo);

/* nf_tables is in the kernel: to ask is to load nothing. */
bool survey_nft_there(void);

/* The legacy variant's tables are in use. */
bool survey_legacy_there(enum ip_family family);

#endif
