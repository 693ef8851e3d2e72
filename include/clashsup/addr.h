/*
 * addr: an IP address or network as a value. Text is judged by inet_pton alone
 * (no 127.1, no octal, no zone), which is how Mihomo judges literals
 * (facts: component/resolver/resolver.go of Mihomo 1.19.30).
 */
#ifndef CLASHSUP_ADDR_H
#define CLASHSUP_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#define ADDR_TEXT 64 /* room for any address or network with its NUL */

enum ip_family { IP_V4, IP_V6, IP_FAMILIES };

struct addr {
	uint8_t family;	   /* enum ip_family */
	uint8_t bytes[16]; /* network order; IPv4 uses the first four, the rest is 0 */
};

struct addr_net {
	struct addr addr; /* host bits are cleared */
	uint8_t prefix;
};

/* An IPv4-mapped IPv6 address becomes the IPv4 one. */
int addr_parse(const char *text, struct addr *out);

/* "10.0.0.0/8", or a bare address (full prefix). With a prefix, "::ffff:0:0/96" stays IPv6. */
int addr_net_parse(const char *text, struct addr_net *out);

/* From raw bytes as a wire or a DNS answer has them: len 4 or 16, else -EINVAL. */
int addr_from_bytes(const void *bytes, unsigned len, struct addr *out);

int addr_af(const struct addr *a);	 /* AF_INET or AF_INET6 */
unsigned addr_len(const struct addr *a); /* 4 or 16 */

/* Total order: family, then bytes. */
int addr_cmp(const struct addr *a, const struct addr *b);

bool addr_in(const struct addr *a, const struct addr_net *net);

/* Loopback, unspecified, multicast, broadcast, link-local: never a proxy server. */
bool addr_is_special(const struct addr *a);

/* Return `buf`, which has ADDR_TEXT bytes. */
const char *addr_text(const struct addr *a, char *buf);
const char *addr_net_text(const struct addr_net *n, char *buf);

#endif
