#include "clashsup/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clashsup/scan.h"

int addr_from_bytes(const void *bytes, unsigned len, struct addr *out)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	const uint8_t *from = bytes;

	if (len != 4 && len != 16)
		return -EINVAL;
	if (len == 16 && memcmp(from, mapped, sizeof(mapped)) == 0) {
		from += sizeof(mapped);
		len = 4;
	}
	memset(out, 0, sizeof(*out));
	out->family = len == 4 ? IP_V4 : IP_V6;
	memcpy(out->bytes, from, len);
	return 0;
}

static int parse_as_written(const char *text, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		out->family = (uint8_t)f;
		if (inet_pton(addr_af(out), text, out->bytes) == 1)
			return 0;
	}
	return -EINVAL;
}

int addr_parse(const char *text, struct addr *out)
{
	struct addr written;
	int r = parse_as_written(text, &written);

	return r < 0 ? r : addr_from_bytes(written.bytes, addr_len(&written), out);
}

int addr_net_parse(const char *text, struct addr_net *out)
{
	const char *slash = strchr(text, '/');
	char host[ADDR_TEXT];
	struct addr_net net;
	uint64_t prefix;
	size_t len = slash ? (size_t)(slash - text) : strlen(text);

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if ((slash ? parse_as_written : addr_parse)(host, &net.addr) < 0)
		return -EINVAL;
	prefix = addr_len(&net.addr) * 8;
	if (slash && scan_u64(slash + 1, prefix, &prefix) < 0)
		return -EINVAL;
	net.prefix = (uint8_t)prefix;
	for (unsigned bit = net.prefix; bit < addr_len(&net.addr) * 8; bit++)
		net.addr.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	*out = net;
	return 0;
}

int addr_af(const struct addr *a)
{
	return a->family == IP_V4 ? AF_INET : AF_INET6;
}

unsigned addr_len(const struct addr *a)
{
	return a->family == IP_V4 ? 4 : 16;
}

int addr_cmp(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, addr_len(a));
}

bool addr_in(const struct addr *a, const struct addr_net *net)
{
	unsigned whole = net->prefix / 8, rest = net->prefix % 8;

	if (a->family != net->addr.family || memcmp(a->bytes, net->addr.bytes, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ net->addr.bytes[whole]) >> (8 - rest)) == 0;
}

bool addr_is_special(const struct addr *a)
{
	static const uint8_t loopback6[16] = { [15] = 1 }, unspecified6[16];
	const uint8_t *b = a->bytes;

	if (a->family == IP_V4)
		return b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 169 && b[1] == 254);
	return b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || memcmp(b, loopback6, 16) == 0 ||
	       memcmp(b, unspecified6, 16) == 0;
}

const char *addr_text(const struct addr *a, char *buf)
{
	return inet_ntop(addr_af(a), a->bytes, buf, ADDR_TEXT);
}

const char *addr_net_text(const struct addr_net *n, char *buf)
{
	size_t used = strlen(addr_text(&n->addr, buf));

	snprintf(buf + used, ADDR_TEXT - used, "/%u", n->prefix);
	return buf;
}
