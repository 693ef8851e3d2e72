/*
 * hostport: hosts, and hosts with a port, as texts of strangers hold them. Pure.
 */
#ifndef FEED_HOSTPORT_H
#define FEED_HOSTPORT_H

#include <stdint.h>

#define HOST_MAX 254 /* the longest DNS name with its NUL */

/*
 * One pair of brackets is removed. -EINVAL for what cannot be a host: empty, too
 * long, blanks, a zone, a colon outside an IPv6 literal.
 */
int host_clean(const char *text, char out[HOST_MAX]);

/* "host", "host:port", "[v6]:port" or a bare IPv6 literal; *port_out is left alone without one. */
int hostport_parse(const char *text, char host_out[HOST_MAX], uint16_t *port_out);

/* The same of "http[s]://[user@]authority[/...]"; the scheme's usual port without one. */
int hostport_of_url(const char *url, char host_out[HOST_MAX], uint16_t *port_out);

#endif
