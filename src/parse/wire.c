/*
 * The payloads, behind the header of clashsup/wire.h:
 *
 *	SETTING     key 1, text 0 to WIRE_TEXT_MAX
 *	ADDRESS     family 1, address 4 or 16, source 4, host 4, TTL 4
 *	UNRESOLVED  source 4, host 4
 *	FRESH       source 4, host 4
 *	NAME        source 4, proxy 4, families 1, group 1, text 1 to WIRE_TEXT_MAX
 *	SOURCE      source 4, complete 1
 *	SUMMARY     endpoints 4, names 4, unresolved 4, skipped 4, sources 4
 *	HEALTH      ok 1, status 2, latency 4
 *	DIALLED     family 1, address 4 or 16
 *	NOTE        warn 1, text 0 to WIRE_TEXT_MAX
 */
#include "clashsup/wire.h"

#include <errno.h>
#include <string.h>

#include "clashsup/io.h"
#include "parse/bytes.h"

/* What a type's payload may measure; in between, wire_next looks closer. */
static const struct {
	uint16_t min, max;
} sizes[WIRE_TYPES] = {
	[WIRE_SETTING] = { 1, 1 + WIRE_TEXT_MAX },
	[WIRE_ADDRESS] = { 1 + 4 + 12, 1 + 16 + 12 },
	[WIRE_UNRESOLVED] = { 8, 8 },
	[WIRE_FRESH] = { 8, 8 },
	[WIRE_NAME] = { 11, 10 + WIRE_TEXT_MAX },
	[WIRE_SOURCE] = { 5, 5 },
	[WIRE_SUMMARY] = { 20, 20 },
	[WIRE_HEALTH] = { 7, 7 },
	[WIRE_DIALLED] = { 1 + 4, 1 + 16 },
	[WIRE_NOTE] = { 1, 1 + WIRE_TEXT_MAX },
};

/* ASCII controls with DEL, and U+0080 to U+009F, which terminals obey too. */
static const char *get_text(struct wire_in *in, const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool c1 = from[i] >= 0x80 && from[i] < 0xa0 && i > 0 && from[i - 1] == 0xc2;

		in->text[i] = (char)from[i];
		if (from[i] < 0x20 || from[i] == 0x7f || c1)
			in->text[i] = '?';
		if (c1)
			in->text[i - 1] = '?';
	}
	in->text[len] = '\0';
	return in->text;
}

/* Cut between two UTF-8 characters. */
static uint8_t *put_text(uint8_t *p, const char *text)
{
	size_t len = strnlen(text, WIRE_TEXT_MAX + 1);

	if (len > WIRE_TEXT_MAX) {
		len = WIRE_TEXT_MAX;
		while (len > WIRE_TEXT_MAX - 4 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(p, text, len);
	return p + len;
}

static int get_flag(uint8_t byte, bool *out)
{
	if (byte > 1)
		return -EPROTO;
	*out = byte;
	return 0;
}

/* An address that is all of the `len` bytes. */
static int get_whole_addr(const uint8_t *p, size_t len, struct addr *out)
{
	int n = get_addr(p, len, out);

	return n >= 0 && (size_t)n == len ? 0 : -EPROTO;
}

static int get_address(const uint8_t *p, size_t len, struct wire_record *out)
{
	int r = get_whole_addr(p, len - 12, &out->u.address.addr);

	p += len - 12;
	out->u.address.source = get32(p);
	out->u.address.host = get32(p + 4);
	out->u.address.ttl_s = get32(p + 8);
	return r;
}

static void get_summary(const uint8_t *p, struct wire_summary *out)
{
	*out = (struct wire_summary){ .endpoints = get32(p),
				      .names = get32(p + 4),
				      .unresolved = get32(p + 8),
				      .skipped = get32(p + 12),
				      .sources = get32(p + 16) };
}

/* The length is within `sizes` already. */
static int get_payload(struct wire_in *in, const uint8_t *p, size_t len, struct wire_record *out)
{
	switch (out->type) {
	case WIRE_SETTING:
		if (p[0] == 0 || p[0] >= WIRE_SETTINGS)
			return -EPROTO;
		out->u.setting.key = p[0];
		out->u.setting.value = get_text(in, p + 1, len - 1);
		return 0;
	case WIRE_ADDRESS:
		return get_address(p, len, out);
	case WIRE_UNRESOLVED:
		out->u.unresolved.source = get32(p);
		out->u.unresolved.host = get32(p + 4);
		return 0;
	case WIRE_FRESH:
		out->u.fresh.source = get32(p);
		out->u.fresh.host = get32(p + 4);
		return 0;
	case WIRE_NAME:
		out->u.name.source = get32(p);
		out->u.name.proxy = get32(p + 4);
		out->u.name.families = p[8];
		out->u.name.group = p[9];
		out->u.name.host = get_text(in, p + 10, len - 10);
		return 0;
	case WIRE_SOURCE:
		out->u.source.source = get32(p);
		return get_flag(p[4], &out->u.source.complete);
	case WIRE_SUMMARY:
		get_summary(p, &out->u.summary);
		return 0;
	case WIRE_HEALTH:
		out->u.health.status = get16(p + 1);
		out->u.health.latency_us = get32(p + 3);
		return get_flag(p[0], &out->u.health.ok);
	case WIRE_DIALLED:
		return get_whole_addr(p, len, &out->u.dialled);
	case WIRE_NOTE:
		out->u.note.text = get_text(in, p + 1, len - 1);
		return get_flag(p[0], &out->u.note.warn);
	case WIRE_TYPES:
		break;
	}
	return -EPROTO;
}

void wire_in_init(struct wire_in *in, const uint32_t caps[WIRE_TYPES])
{
	*in = (struct wire_in){ .caps = caps };
}

/* Moves bytes into the buffer until it holds `want`; true when it does. */
static bool fill(struct wire_in *in, size_t want, const uint8_t **data, size_t *len)
{
	size_t n = want > in->used ? want - in->used : 0;

	if (n > *len)
		n = *len;
	memcpy(in->buf + in->used, *data, n);
	in->used += n;
	*data += n;
	*len -= n;
	return in->used >= want;
}

/* A bad record stays in the buffer, so that every later call refuses too. */
int wire_next(struct wire_in *in, const uint8_t **data, size_t *len, struct wire_record *out)
{
	uint8_t type;
	size_t size;
	int r;

	if (!fill(in, WIRE_HEADER, data, len))
		return 0;
	type = in->buf[1];
	size = get16(in->buf + 2);
	if (in->buf[0] != WIRE_VERSION || type == 0 || type >= WIRE_TYPES || in->seen[type] >= in->caps[type] ||
	    size < sizes[type].min || size > sizes[type].max)
		return -EPROTO;
	if (!fill(in, WIRE_HEADER + size, data, len))
		return 0;
	memset(out, 0, sizeof(*out));
	out->type = type;
	r = get_payload(in, in->buf + WIRE_HEADER, size, out);
	if (r < 0)
		return r;
	in->seen[type]++;
	in->used = 0;
	return 1;
}

static uint8_t *put_address(uint8_t *p, const struct wire_record *r)
{
	p = put_addr(p, &r->u.address.addr);
	return put32(put32(put32(p, r->u.address.source), r->u.address.host), r->u.address.ttl_s);
}

static uint8_t *put_summary(uint8_t *p, const struct wire_summary *s)
{
	p = put32(put32(p, s->endpoints), s->names);
	return put32(put32(put32(p, s->unresolved), s->skipped), s->sources);
}

/* The end of what was written; NULL for a type that does not exist. */
static uint8_t *put_payload(uint8_t *p, const struct wire_record *r)
{
	switch (r->type) {
	case WIRE_SETTING:
		*p++ = (uint8_t)r->u.setting.key;
		return put_text(p, r->u.setting.value);
	case WIRE_ADDRESS:
		return put_address(p, r);
	case WIRE_UNRESOLVED:
		return put32(put32(p, r->u.unresolved.source), r->u.unresolved.host);
	case WIRE_FRESH:
		return put32(put32(p, r->u.fresh.source), r->u.fresh.host);
	case WIRE_NAME:
		p = put32(put32(p, r->u.name.source), r->u.name.proxy);
		*p++ = r->u.name.families;
		*p++ = r->u.name.group;
		return put_text(p, r->u.name.host);
	case WIRE_SOURCE:
		p = put32(p, r->u.source.source);
		*p++ = r->u.source.complete;
		return p;
	case WIRE_SUMMARY:
		return put_summary(p, &r->u.summary);
	case WIRE_HEALTH:
		*p++ = r->u.health.ok;
		return put32(put16(p, r->u.health.status), r->u.health.latency_us);
	case WIRE_DIALLED:
		return put_addr(p, &r->u.dialled);
	case WIRE_NOTE:
		*p++ = r->u.note.warn;
		return put_text(p, r->u.note.text);
	case WIRE_TYPES:
		break;
	}
	return NULL;
}

int wire_encode(const struct wire_record *r, uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX])
{
	uint8_t *end = put_payload(buf + WIRE_HEADER, r);

	if (!end)
		return -EMSGSIZE;
	buf[0] = WIRE_VERSION;
	buf[1] = (uint8_t)r->type;
	put16(buf + 2, (uint16_t)(end - buf - WIRE_HEADER));
	return (int)(end - buf);
}

int wire_send(int fd, const struct wire_record *r)
{
	uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	int len = wire_encode(r, buf);

	return len < 0 ? len : io_write_all(fd, buf, (size_t)len);
}

uint32_t wire_hash_more(uint32_t h, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		h = (h ^ at[i]) * 16777619u;
	return h;
}

uint32_t wire_hash(const char *text)
{
	uint32_t h = wire_hash_more(WIRE_HASH_START, text, strlen(text));

	return h ? h : 1;
}
