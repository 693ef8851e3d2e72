#include <errno.h>
#include <string.h>

#include "core/fwplan_listing.h"

/* ---- the digest ---- */

/* FNV-1a: a difference is to be seen, nobody forges one. */
#define HASH_START 0xcbf29ce484222325u
#define HASH_PRIME 0x100000001b3u

static uint64_t hash_more(uint64_t h, struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.at[i]) * HASH_PRIME;
	return (h ^ '\n') * HASH_PRIME;
}

/* The order of lines counts within their block; that of the blocks is the tools' affair. */
struct digest {
	struct fw_view *out;
	uint64_t block; /* hash of its name */
	uint64_t nth;	/* of the lines in it */
};

static void digest_block(struct digest *d, uint64_t block)
{
	if (d->block == block)
		return;
	d->block = block;
	d->nth = 0;
}

static void digest_line(struct digest *d, struct span line)
{
	uint64_t h = hash_more(d->block ^ ++d->nth, line);

	d->out->lines++;
	d->out->digest += h ^ h >> 32;
}

/* ---- the view of iptables-save ---- */

static void view_save_line(void *ctx, const struct save_line *line)
{
	static const char kinds[] = "cr"; /* a chain may be declared or not: its own block */
	struct digest *d = ctx;
	uint64_t block = hash_more(HASH_START + line->table, line->where);

	digest_block(d, hash_more(block, (struct span){ &kinds[line->kind != SAVE_CHAIN], 1 }));
	digest_line(d, line->text);
}

/* ---- the view of nft ---- */

static struct span trimmed(struct span s)
{
	while (s.len && (*s.at == ' ' || *s.at == '\t')) {
		s.at++;
		s.len--;
	}
	return s;
}

static bool span_ends(struct span s, char c)
{
	return s.len && s.at[s.len - 1] == c;
}

/* What sets hold and counters count does not matter. */
static bool is_content(struct span line)
{
	return line.len == 0 || line.at[0] == '#' || span_starts(line, "packets ") || span_starts(line, "elements = ");
}

static int view_nft(struct span text, struct digest *d, struct err *e)
{
	bool in_table = false, in_elements = false;
	struct span line;

	while (span_line(&text, &line)) {
		bool outermost = line.len && line.at[0] != '\t' && line.at[0] != ' ';

		line = trimmed(line);
		if (outermost && span_starts(line, "table "))
			in_table = true;
		else if (!in_table && !is_content(line))
			return err_set(e, EINVAL, "this is no listing of nft");
		if (in_elements || span_starts(line, "elements = "))
			in_elements = !span_ends(line, '}');
		else if (!is_content(line)) {
			if (span_ends(line, '{'))
				digest_block(d, hash_more(HASH_START, line));
			digest_line(d, line);
		}
	}
	return 0;
}

int fwplan_view(enum fw_backend backend, const char *listing, size_t len, struct fw_view *out, struct err *e)
{
	struct digest d = { .out = out };

	*out = (struct fw_view){ 0 };
	if (backend == FW_NFT)
		return view_nft((struct span){ listing, len }, &d, e);
	return save_read(listing, len, view_save_line, &d, e);
}

/* ---- counters ---- */

/* A number of packets; what is none counts as 0, what does not fit as the most. */
static uint64_t number(struct span s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s.len && s.at[i] >= '0' && s.at[i] <= '9'; i++) {
		unsigned digit = (unsigned)(s.at[i] - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return UINT64_MAX;
		n = n * 10 + digit;
	}
	return n;
}

static bool has_word(struct span line, const char *wanted)
{
	struct span word;

	while ((word = span_word(&line)).len > 0) {
		if (span_is(word, wanted))
			return true;
	}
	return false;
}

/* By what the rules ask, so that it needs no comments in them. */
static void count_save_line(void *ctx, const struct save_line *line)
{
	struct fw_counters *out = ctx;
	struct span counters = line->counters;
	uint64_t n;

	if (line->kind != SAVE_RULE || line->chain != CHAIN_IN || counters.len < 2)
		return;
	n = number((struct span){ counters.at + 1, counters.len - 1 });
	if (has_word(line->text, FWPLAN_CHAIN_DIVERT) && !has_word(line->text, "-i"))
		out->diverted += n;
	else if (has_word(line->text, "TPROXY") && has_word(line->text, "tcp") && !has_word(line->text, "-i"))
		*(has_word(line->text, "connmark") ? &out->diverted : &out->chosen) += n;
}

static void count_nft(struct span text, struct fw_counters *out)
{
	uint64_t *counter = NULL;
	struct span line;

	while (span_line(&text, &line)) {
		line = trimmed(line);
		if (span_starts(line, "counter chosen "))
			counter = &out->chosen;
		else if (span_starts(line, "counter diverted "))
			counter = &out->diverted;
		else if (counter && span_starts(line, "packets "))
			*counter = number((struct span){ line.at + 8, line.len - 8 });
		else
			counter = NULL;
	}
}

int fwplan_counters(enum fw_backend backend, const char *listing, size_t len, struct fw_counters *out, struct err *e)
{
	*out = (struct fw_counters){ 0 };
	if (backend != FW_NFT)
		return save_read(listing, len, count_save_line, out, e);
	count_nft((struct span){ listing, len }, out);
	return 0;
}
