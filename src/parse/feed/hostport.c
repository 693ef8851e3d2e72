#include "parse/feed/hostport.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "clashsup/addr.h"
#include "clashsup/scan.h"

int host_clean(const char *text, char out[HOST_MAX])
{
	size_t len = strnlen(text, HOST_MAX + 2);
	struct addr literal;

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= HOST_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f || strchr("/\\@%?#[]<>\"'`{}|^,;=&", text[i]))
			return -EINVAL;
	memcpy(out, text, len);
	out[len] = '\0';
	return strchr(out, ':') && addr_parse(out, &literal) < 0 ? -EINVAL : 0;
}

int hostport_parse(const char *text, char host_out[HOST_MAX], uint16_t *port_out)
{
	const char *colon = strrchr(text, ':');
	char host[HOST_MAX + 2];
	struct addr literal;
	uint64_t port;

	if (!colon || addr_parse(text, &literal) == 0 || text[strlen(text) - 1] == ']')
		return host_clean(text, host_out);
	if ((size_t)(colon - text) >= sizeof(host) || scan_u64(colon + 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	if (host_clean(host, host_out) < 0)
		return -EINVAL;
	*port_out = (uint16_t)port;
	return 0;
}

/* Go's dialler takes the scheme's usual port for an empty one too. */
int hostport_of_url(const char *url, char host_out[HOST_MAX], uint16_t *port_out)
{
	bool tls = strncasecmp(url, "https://", 8) == 0;
	char authority[2 * HOST_MAX];
	const char *from, *at;
	size_t len;

	if (!tls && strncasecmp(url, "http://", 7) != 0)
		return -EINVAL;
	for (from = url; *from && *from != '#'; from++)
		if ((unsigned char)*from < ' ' || *from == 0x7f)
			return -EINVAL;
	*port_out = tls ? 443 : 80;
	from = url + (tls ? 8 : 7);
	len = strcspn(from, "/?#");
	at = memrchr(from, '@', len);
	if (at) {
		len -= (size_t)(at + 1 - from);
		from = at + 1;
	}
	if (len > 0 && from[len - 1] == ':')
		len--;
	if (len >= sizeof(authority))
		return -EINVAL;
	memcpy(authority, from, len);
	authority[len] = '\0';
	return hostport_parse(authority, host_out, port_out);
}
