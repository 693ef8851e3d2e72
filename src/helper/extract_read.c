/*
 * The reader: files to literals, names and how to ask for them. Never a socket.
 * Literals are told source by source; names when all sources are read, so that
 * each is asked for once and only where its answer is not good any more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/extract.h"
#include "helper/helper.h"
#include "helper/name_rules.h"
#include "helper/sources.h"
#include "helper/targets.h"

#define SKIPPED_TOLD 8 /* entries of one source */

struct reader_run {
	const struct extract_options *options;
	struct sources sources;
	struct doc *config;
	struct name_rules rules;
	bool rules_read; /* the config's turn is over; it may have been unreadable */
	struct targets targets;
	struct { /* of the source that is being read */
		uint32_t endpoints, skipped;
		bool overflow;	  /* some of it was left out */
		char reason[256]; /* why the last one was skipped, where that was not told */
	} now;
	uint32_t (*fresh)[2]; /* sorted */
	size_t n_fresh;
	struct wire_summary sum;
	unsigned notes;
};

/* ---- what a source names ---- */

static void found(void *ctx, const struct endpoint *ep)
{
	struct reader_run *x = ctx;

	x->now.endpoints++;
	if (targets_add(&x->targets, ep, x->sources.id))
		return;
	x->now.skipped++;
	if (!x->now.overflow)
		emit_note(&x->notes, true, "%s:%u: more than %u servers, the rest is left out", x->sources.path,
			  ep->line, TARGETS_MAX);
	x->now.overflow = true;
}

static void skipped(void *ctx, const char *path, uint32_t line, const char *reason)
{
	struct reader_run *x = ctx;

	if (x->now.skipped++ < SKIPPED_TOLD)
		emit_note(&x->notes, true, "%s:%u: %s", path, line, reason);
	else
		snprintf(x->now.reason, sizeof(x->now.reason), "line %u: %s", line, reason);
}

/* One bad file must not have all the room for notes; why it was refused comes last, and is told. */
static void tell_skipped(struct reader_run *x, bool counts)
{
	const char *path = x->sources.path;

	if (x->now.reason[0] && !counts)
		emit_note(&x->notes, true, "%s: %s", path, x->now.reason);
	else if (x->now.reason[0])
		emit_note(&x->notes, true, "%s: %u more entries were skipped", path, x->now.skipped - SKIPPED_TOLD);
	x->sum.skipped += counts ? x->now.skipped : x->now.skipped > 0;
	x->sum.endpoints += counts ? x->now.endpoints : 0;
}

/* Behind the config, which comes first and may be missing. */
static void read_rules(struct reader_run *x)
{
	const char *note;

	if (x->rules_read)
		return;
	x->rules_read = true;
	if (name_rules_read(&x->rules, x->config, x->options->resolver, true) < 0)
		exit(1);
	note = name_rules_note(&x->rules, x->options->api != NULL);
	if (note && !x->options->literals)
		emit_note(&x->notes, false, "%s", note);
}

static void note(void *ctx, bool warn, const char *text)
{
	struct reader_run *x = ctx;

	emit_note(&x->notes, warn, "%s", text);
}

static void no_server(void *ctx, const char *text)
{
	struct reader_run *x = ctx;

	emit_note(&x->notes, false, "%s: %s", x->sources.path, text);
}

static void end_of_source(void *ctx, enum source_read how)
{
	struct reader_run *x = ctx;

	read_rules(x);
	targets_judge(&x->targets, x->sources.dialers, how != SOURCE_REFUSED);
	targets_tell_literals(&x->targets, &x->rules, no_server, x);
	x->sum.sources++;
	tell_skipped(x, how != SOURCE_REFUSED);
	emit(&(struct wire_record){ .type = WIRE_SOURCE,
				    .u.source = { x->sources.id, how == SOURCE_WHOLE && !x->now.overflow } });
	emit_flush();
	memset(&x->now, 0, sizeof(x->now));
}

/* ---- names ---- */

static int by_pair(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(uint32_t[2]));
}

static void read_fresh(struct reader_run *x)
{
	const size_t max = (size_t)TARGETS_MAX * sizeof(*x->fresh);
	cleanup_free char *bytes = NULL;
	size_t len;

	if (!x->options->fresh || io_slurp(STDIN_FILENO, max, &bytes, &len) < 0)
		return; /* then everything is asked for */
	x->fresh = (void *)bytes;
	bytes = NULL;
	x->n_fresh = len / sizeof(*x->fresh);
	if (x->n_fresh > 0)
		qsort(x->fresh, x->n_fresh, sizeof(*x->fresh), by_pair);
}

static bool is_fresh(void *ctx, const struct target *t)
{
	const struct reader_run *x = ctx;
	const uint32_t pair[2] = { t->source, wire_hash(t->host) };

	return x->options->literals ||
	       (x->n_fresh && bsearch(pair, x->fresh, x->n_fresh, sizeof(pair), by_pair) != NULL);
}

int extract_read(const struct extract_options *o)
{
	struct reader_run x = { .options = o,
				.sources = { .config = o->config,
					     .home = o->home,
					     .stray_dir = o->stray_dir,
					     .original = o->original,
					     .max_file = o->max_file,
					     .dialers = dialers_new(),
					     .found = found,
					     .skipped = skipped,
					     .note = note,
					     .end = end_of_source,
					     .ctx = &x } };

	if (!x.sources.dialers)
		return 1;
	read_fresh(&x);
	sources_read(&x.sources, &x.config);
	read_rules(&x);
	name_rules_tell(&x.rules);
	x.sum.names = targets_tell_names(&x.targets, &x.rules, is_fresh, &x);
	if (x.notes > HELPER_NOTES_MAX)
		fprintf(stderr, "clashsup-helper: %u more notes\n", x.notes - HELPER_NOTES_MAX);
	emit(&(struct wire_record){ .type = WIRE_SUMMARY, .u.summary = x.sum });
	emit_flush();
	targets_deinit(&x.targets);
	free(x.fresh);
	name_rules_deinit(&x.rules);
	dialers_free(x.sources.dialers);
	doc_free(x.config);
	return 0;
}
