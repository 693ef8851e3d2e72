/*
 * wire: the records on the pipes from clashsup-helper to the supervisor, and
 * from its reader to its resolver.
 *
 *	byte 0    version (WIRE_VERSION)
 *	byte 1    type (enum wire_type)
 *	byte 2-3  payload length, big endian, at most WIRE_PAYLOAD_MAX
 *	byte 4-   payload; numbers in it are big endian
 *
 * The supervisor distrusts every byte: an unknown version or type, a length
 * that the type does not allow, or more records of a type than its cap is
 * -EPROTO, and that helper is killed. Text is checked to be printable UTF-8-ish
 * bytes without controls (they become '?'). Pure but for wire_send; no allocation.
 */
#ifndef CLASHSUP_WIRE_H
#define CLASHSUP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/addr.h"

#define WIRE_VERSION 2
#define WIRE_HEADER 4
#define WIRE_PAYLOAD_MAX 4092 /* a record is at most 4 KiB */
#define WIRE_TEXT_MAX 512

enum wire_type {
	WIRE_SETTING = 1, /* inspect: one fact about Mihomo's config; reader -> resolver: how to resolve */
	WIRE_ADDRESS,	  /* extract: one server address */
	WIRE_UNRESOLVED,  /* extract: a host without an answer */
	WIRE_FRESH,	  /* extract: a host that is still named and is not asked for in this run */
	WIRE_NAME,	  /* reader -> resolver, within extract: a host to ask for */
	WIRE_SOURCE,	  /* extract: a source was read, to its end or not */
	WIRE_SUMMARY,	  /* extract, inspect: the last record of a good run */
	WIRE_HEALTH,	  /* probe: one answer, or its absence */
	WIRE_DIALLED,	  /* probe: an address that Mihomo has a connection to on its own account */
	WIRE_NOTE,	  /* all: a line for the log */
	WIRE_TYPES
};

/* Keys of WIRE_SETTING; the value is text. Those marked * may come more than once. */
enum wire_setting {
	WIRE_SET_TPROXY_PORT = 1, /* "7893": an existing top-level tproxy-port */
	WIRE_SET_TPROXY_LISTENER, /* * "PORT LISTEN-ADDRESS udp|tcp": an entry of listeners: of type tproxy */
	WIRE_SET_ALLOW_LAN,	  /* "yes" or "no" */
	WIRE_SET_BIND_ADDRESS,	  /* bind-address as written */
	WIRE_SET_ROUTING_MARK,	  /* * "MARK LINE" decimal mark, line number */
	WIRE_SET_IPTABLES,	  /* "LINE": iptables.enable is true there */
	WIRE_SET_TUN,		  /* "LINE": tun.enable is true there */
	WIRE_SET_IPV6,		  /* "yes" or "no" */
	WIRE_SET_FAKE_IP,	  /* * a network */
	WIRE_SET_DNS_LISTEN,	  /* dns.listen as written */
	WIRE_SET_CONTROLLER_UNIX, /* external-controller-unix as written */
	WIRE_SET_WATCH,		  /* * absolute path of a provider's file */
	WIRE_SET_APPEND,	  /* "yes": a line may be appended at the document's end; else the reason */
	WIRE_SET_RESOLVER,	  /* * "GROUP SERVER": names of that group are asked of SERVER, or of "api" */
	WIRE_SET_DNS_FALLBACK,	  /* * an address: a plain resolver beside Mihomo; of resolv.conf, then of
				     default-nameserver */
	WIRE_SETTINGS
};

struct wire_health {
	bool ok;	 /* HTTP 200 within the time-out */
	uint16_t status; /* HTTP status, 0 = no answer */
	uint32_t latency_us;
};

struct wire_summary {
	uint32_t endpoints, names, unresolved, skipped; /* all 0 from inspect */
	uint32_t sources;
};

/* One record, decoded. Pointers borrow from the decoder's buffer. */
struct wire_record {
	enum wire_type type;
	union {
		struct {
			enum wire_setting key;
			const char *value; /* NUL-terminated, <= WIRE_TEXT_MAX bytes */
		} setting;
		struct {
			struct addr addr;
			uint32_t source, host; /* hashes; source is never 0, host 0 = literal */
			uint32_t ttl_s;	       /* of the answer; 0 for a literal */
		} address;
		struct {
			uint32_t source, host;
		} unresolved, fresh;
		struct {
			uint32_t source;
			uint32_t proxy;	  /* hash of the name of the entry */
			uint8_t families; /* to ask for: 1u << enum ip_family each */
			uint8_t group;	  /* of servers: WIRE_SET_RESOLVER */
			const char *host; /* as setting.value */
		} name;
		struct {
			uint32_t source;
			bool complete;
		} source;
		struct addr dialled;
		struct wire_summary summary;
		struct wire_health health;
		struct {
			bool warn;
			const char *text;
		} note;
	} u;
};

/* Decoder: bytes go in as they come, records come out. */
struct wire_in {
	uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	size_t used;
	char text[WIRE_TEXT_MAX + 1];
	uint32_t seen[WIRE_TYPES];
	const uint32_t *caps; /* WIRE_TYPES entries: how many of each type a role may send; 0 = none */
};

void wire_in_init(struct wire_in *in, const uint32_t caps[WIRE_TYPES]);

/*
 * Takes bytes from *data, *len (moving both on) until one record is whole.
 * 1 = *out is filled, 0 = more bytes are needed, -EPROTO = a bad record.
 */
int wire_next(struct wire_in *in, const uint8_t **data, size_t *len, struct wire_record *out);

/* Encodes into buf; the record's length, or -EMSGSIZE. Text is cut to WIRE_TEXT_MAX. */
int wire_encode(const struct wire_record *r, uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX]);

/* Encodes and writes whole to a blocking descriptor: 0 or -errno. */
int wire_send(int fd, const struct wire_record *r);

/* FNV-1a, 32 bits, never 0: names sources and hosts on the wire. */
uint32_t wire_hash(const char *text);

/* The same over bytes, from WIRE_HASH_START or an earlier result on; any value. */
#define WIRE_HASH_START 2166136261u
uint32_t wire_hash_more(uint32_t h, const void *bytes, size_t len);

#endif
