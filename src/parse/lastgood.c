#include "clashsup/lastgood.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/wire.h"
#include "parse/bytes.h"

static const char head[] = LASTGOOD_HEAD LASTGOOD_VERSION;

#define HEAD_LEN (sizeof(head) - 1)
#define TAIL_LEN 8
#define CAP_MIN 4096

static int reserve(struct lastgood *f, size_t more)
{
	size_t cap = f->cap ? f->cap * 2 : CAP_MIN;
	uint8_t *grown;

	if (f->cap - f->len >= more)
		return 0;
	grown = realloc(f->bytes, cap); /* the smallest one is larger than any `more` */
	if (!grown)
		return -ENOMEM;
	f->bytes = grown;
	f->cap = cap;
	return 0;
}

static int append(struct lastgood *f, const void *bytes, size_t len)
{
	if (reserve(f, len) < 0)
		return -ENOMEM;
	memcpy(f->bytes + f->len, bytes, len);
	f->sum = wire_hash_more(f->len ? f->sum : WIRE_HASH_START, bytes, len);
	f->len += len;
	return 0;
}

int lastgood_put(struct lastgood *f, const struct lastgood_entry *entry)
{
	uint8_t bytes[LASTGOOD_ENTRY_MAX], *end = put_addr(bytes, &entry->addr);
	int r = f->len ? 0 : append(f, head, HEAD_LEN);

	if (f->count == LEDGER_MAX)
		return -ENOSPC;
	end = put32(put32(put32(end, entry->source), entry->host), entry->seen_s);
	if (r == 0)
		r = append(f, bytes, (size_t)(end - bytes));
	f->count += r == 0;
	return r;
}

int lastgood_finish(struct lastgood *f)
{
	uint8_t bytes[4];
	int r = f->len ? 0 : append(f, head, HEAD_LEN);

	put32(bytes, f->count);
	if (r == 0)
		r = append(f, bytes, sizeof(bytes));
	put32(bytes, f->sum);
	if (r == 0)
		r = append(f, bytes, sizeof(bytes));
	return r;
}

void lastgood_free(struct lastgood *f)
{
	free(f->bytes);
	*f = (struct lastgood){ 0 };
}

/* How many bytes the entry has, or -EPROTO. */
static int get_entry(const uint8_t *p, size_t len, struct lastgood_entry *out)
{
	int n = get_addr(p, len, &out->addr);

	if (n < 0 || len < (size_t)n + 12)
		return -EPROTO;
	out->source = get32(p + n);
	out->host = get32(p + n + 4);
	out->seen_s = get32(p + n + 8);
	return n + 12;
}

static int get_entries(const uint8_t *p, size_t len, uint32_t count, lastgood_fn each, void *ctx, struct err *e)
{
	struct lastgood_entry entry;
	char text[ADDR_TEXT];
	uint32_t n = 0;

	for (size_t at = 0; at < len; n++) {
		int size = get_entry(p + at, len - at, &entry);

		if (size < 0)
			return err_set(e, EINVAL, "entry %u is wrong", n + 1);
		if (addr_is_special(&entry.addr))
			return err_set(e, EINVAL, "it holds the forbidden address %s", addr_text(&entry.addr, text));
		if (each)
			each(ctx, &entry);
		at += (size_t)size;
	}
	if (n != count || n > LEDGER_MAX)
		return err_set(e, EINVAL, "it holds %u entries, not %u", n, count);
	return 0;
}

int lastgood_decode(const void *bytes, size_t len, lastgood_fn each, void *ctx, struct err *e)
{
	const uint8_t *p = bytes, *tail;
	int r;

	if (len < HEAD_LEN || memcmp(p, LASTGOOD_HEAD, sizeof(LASTGOOD_HEAD) - 1) != 0)
		return err_set(e, EINVAL, "it is no file of server addresses");
	if (memcmp(p, head, HEAD_LEN) != 0)
		return err_set(e, EINVAL, "it was written by another version of clashsup");
	if (len < HEAD_LEN + TAIL_LEN)
		return err_set(e, EINVAL, "it is cut short");
	if (len > LASTGOOD_MAX)
		return err_set(e, EINVAL, "it is larger than %zu bytes", LASTGOOD_MAX);
	tail = p + len - TAIL_LEN;
	if (wire_hash_more(WIRE_HASH_START, p, len - 4) != get32(tail + 4))
		return err_set(e, EINVAL, "its checksum is wrong: it is damaged or cut short");
	len -= HEAD_LEN + TAIL_LEN;
	r = get_entries(p + HEAD_LEN, len, get32(tail), NULL, NULL, e);
	return r == 0 && each ? get_entries(p + HEAD_LEN, len, get32(tail), each, ctx, e) : r;
}
