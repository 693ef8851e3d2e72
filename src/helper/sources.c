#include "helper/sources.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "clashsup/wire.h"
#include "parse/feed/dialer.h"
#include "parse/feed/provider.h"

static void pass_found(void *ctx, const struct endpoint *ep)
{
	struct sources *s = ctx;
	struct endpoint own = *ep;

	s->any_found = true;
	if (s->provider)
		mihomo_override(s->provider, &own);
	s->found(s->ctx, &own);
}

static void pass_skipped(void *ctx, uint32_t line, const char *reason)
{
	struct sources *s = ctx;

	s->any_skipped = true;
	s->skipped(s->ctx, s->path, line, reason);
}

static struct endpoint_sink sink_of(struct sources *s)
{
	return (struct endpoint_sink){ .ctx = s, .found = pass_found, .skipped = pass_skipped };
}

static void __attribute__((format(printf, 3, 4))) note(struct sources *s, bool warn, const char *fmt, ...)
{
	char text[PATH_MAX + ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->note(s->ctx, warn, text);
}

static uint32_t id_of(const char *path, const struct mihomo_provider *p)
{
	uint32_t id = wire_hash(path);

	if (p && p->dialer)
		id = wire_hash_more(id, p->dialer, strlen(p->dialer) + 1);
	if (p && p->families)
		id = wire_hash_more(id, &p->families, 1);
	return id ? id : 1;
}

/* The next source, for `p` if that is not NULL; false when it was read before: two providers may share a file. */
static bool begin(struct sources *s, const char *path, const struct mihomo_provider *p)
{
	uint32_t id = id_of(path, p);

	for (size_t i = 0; i < s->n_seen; i++)
		if (s->seen[i].id == id)
			return false;
	if (s->n_seen == EXTRACT_SOURCES_MAX) {
		if (!s->overflow)
			note(s, true, "%s: more than %u files, the rest is left out", path, EXTRACT_SOURCES_MAX);
		s->overflow = true;
		return false;
	}
	s->seen[s->n_seen].path = wire_hash(path);
	s->seen[s->n_seen++].id = id;
	s->path = path;
	s->id = id;
	s->provider = p;
	s->any_found = s->any_skipped = false;
	return true;
}

static void end(struct sources *s, enum source_read how)
{
	if (s->provider && s->provider->rewrites)
		note(s, false, "%s: override-expr may change servers: only Mihomo knows", s->path);
	s->end(s->ctx, how);
	s->provider = NULL;
}

static int slurp(const struct sources *s, const char *path, bool cache, char **bytes, size_t *len, struct err *e)
{
	int r = io_slurp_path(path, s->max_file, bytes, len, e);

	if (r == -EACCES)
		return err_set(e, EACCES, "%s: no permission; %s", path,
			       strncmp(path, s->home, strlen(s->home)) == 0
				       ? "give Mihomo's user read access to it"
				       : "beside Mihomo's home only provider_dir can be read");
	if (r == -ENOENT)
		return err_set(e, ENOENT, "%s: no such file%s", path,
			       cache ? ": not downloaded yet" : "; check the path");
	return r;
}

static enum source_read how_read(int parsed)
{
	return parsed < 0 ? SOURCE_REFUSED : parsed > 0 ? SOURCE_PARTLY : SOURCE_WHOLE;
}

/* The cache of an http provider appears with its first download: that is no fault. */
static void read_provider(void *ctx, const struct mihomo_provider *p)
{
	cleanup_free char *bytes = NULL;
	struct endpoint_sink sink;
	struct sources *s = ctx;
	struct err e = ERR_INIT;
	size_t len;
	int r;

	if (!p->path[0] || !begin(s, p->path, p))
		return;
	sink = sink_of(s);
	r = slurp(s, p->path, p->http, &bytes, &len, &e);
	if (r < 0)
		note(s, r != -ENOENT || !p->http, "%s", e.msg);
	end(s, r < 0 ? SOURCE_REFUSED : how_read(provider_parse(bytes, len, &sink)));
}

struct inline_entries {
	struct sources *sources;
	struct doc *doc;
};

static void read_payload(void *ctx, const struct mihomo_provider *p)
{
	const struct inline_entries *in = ctx;
	const struct endpoint_sink sink = sink_of(in->sources);

	in->sources->provider = p;
	provider_entries(in->doc, p->payload, &sink);
	if (p->rewrites && !p->path[0])
		note(in->sources, false, "%s:%u: override-expr may change servers: only Mihomo knows",
		     in->sources->path, p->line);
	in->sources->provider = NULL;
}

struct config_entries {
	struct sources *sources;
	struct endpoint_sink *sink;
};

static void config_entry(void *ctx, struct doc *d, struct doc_node *entry)
{
	const struct config_entries *each = ctx;

	dialers_entry(each->sources->dialers, d, entry);
	provider_entry(each->sink, d, entry);
}

/* The config's own entries, then its providers, each a source of its own. */
static void read_config(struct sources *s, struct doc **config_out)
{
	struct endpoint_sink sink = sink_of(s);
	struct config_entries each = { s, &sink };
	const struct doc_stream entries = { "proxies", config_entry, &each };
	cleanup_free char *bytes = NULL;
	struct inline_entries in = { .sources = s };
	struct err e = ERR_INIT;
	uint64_t budget;
	uint32_t line;
	size_t len;

	begin(s, s->original ? s->original : s->config, NULL);
	if (slurp(s, s->config, false, &bytes, &len, &e) < 0) {
		note(s, true, "%s", e.msg);
		end(s, SOURCE_REFUSED);
		return;
	}
	if (doc_load_stream(config_out, bytes, len, &entries, &line, &e) < 0) {
		note(s, true, "%s:%u: %s", s->path, line, e.msg);
		end(s, SOURCE_REFUSED);
		return;
	}
	in.doc = *config_out;
	budget = in.doc->budget;
	if (dialers_groups(s->dialers, in.doc) < 0)
		note(s, true, "out of memory: groups that may be direct are not known");
	mihomo_providers(in.doc, s->home, read_payload, &in);
	if (in.doc->exhausted)
		pass_skipped(s, 0, "too many merges and aliases");
	end(s, in.doc->exhausted ? SOURCE_REFUSED : s->any_skipped ? SOURCE_PARTLY : SOURCE_WHOLE);
	in.doc->budget = budget; /* what was enough once is enough again */
	mihomo_providers(in.doc, s->home, read_provider, s);
}

static bool is_known(const struct sources *s, const char *path)
{
	uint32_t hash = wire_hash(path);

	for (size_t i = 0; i < s->n_seen; i++)
		if (s->seen[i].path == hash)
			return true;
	return false;
}

static int is_yaml(const struct dirent *d)
{
	return scan_yaml_name(d->d_name);
}

/* What cannot be read may be anything; one that has servers may not become silent about the rest. */
static void stray_skipped(void *ctx, uint32_t line, const char *reason)
{
	struct sources *s = ctx;

	if (s->any_found)
		pass_skipped(s, line, reason);
}

/* A file that nobody refers to counts when it has proxies; whatever else lies there is no concern of ours. */
static void read_stray(struct sources *s, const char *path)
{
	const struct endpoint_sink sink = { .ctx = s, .found = pass_found, .skipped = stray_skipped };
	cleanup_free char *bytes = NULL;
	size_t len;
	int r;

	if (is_known(s, path) || io_slurp_path(path, s->max_file, &bytes, &len, NULL) < 0 || !begin(s, path, NULL))
		return;
	r = provider_parse(bytes, len, &sink);
	if (r >= 0 || s->any_found)
		end(s, how_read(r));
}

static bool same_file(const char *a, const char *b)
{
	char one[PATH_MAX], two[PATH_MAX];

	return realpath(a, one) && realpath(b, two) && strcmp(one, two) == 0;
}

static void read_strays(struct sources *s)
{
	struct dirent **names;
	int n = scandir(s->stray_dir, &names, is_yaml, alphasort);
	char path[PATH_MAX];

	for (int i = 0; i < n; i++) {
		if (io_path(path, sizeof(path), NULL, "%s/%s", s->stray_dir, names[i]->d_name) == 0 &&
		    !same_file(path, s->config) && !(s->original && same_file(path, s->original)))
			read_stray(s, path);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

void sources_read(struct sources *s, struct doc **config_out)
{
	*config_out = NULL;
	read_config(s, config_out);
	if (s->stray_dir)
		read_strays(s);
}
