#include "daemon/extraction.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "daemon/clock.h"

#define OVERTIME_MS 2000     /* the extractor keeps its deadline itself; this is for one that does not */
#define DUE_TOGETHER_MS 2000 /* answers that end within this time of each other are asked for together */

static const uint32_t extract_caps[WIRE_TYPES] = { [WIRE_ADDRESS] = LEDGER_MAX, [WIRE_UNRESOLVED] = LEDGER_MAX,
						   [WIRE_FRESH] = LEDGER_MAX,	[WIRE_SOURCE] = 4096,
						   [WIRE_SUMMARY] = 1,		[WIRE_NOTE] = 64 };

struct arguments {
	char config[PATH_MAX], api[PATH_MAX], timeout[24], name_timeout[24], concurrency[24], max_file[24];
	const char *argv[24];
};

static int build_arguments(const struct extraction_setup *s, enum extraction_names names, bool fresh,
			   struct arguments *a, struct err *e)
{
	const struct settings *c = s->settings;
	size_t n = 0;
	int r = io_path(a->config, sizeof(a->config), e, "%s/config.yaml", s->run_dir);

	if (r == 0)
		r = io_path(a->api, sizeof(a->api), e, "%s/api.sock", s->run_dir);
	snprintf(a->timeout, sizeof(a->timeout), "%lld", (long long)c->extract.timeout_ms);
	snprintf(a->name_timeout, sizeof(a->name_timeout), "%lld", (long long)c->extract.name_timeout_ms);
	snprintf(a->concurrency, sizeof(a->concurrency), "%u", c->extract.concurrency);
	snprintf(a->max_file, sizeof(a->max_file), "%llu", (unsigned long long)c->extract.max_file);
	if (names == EXTRACT_LITERALS)
		a->argv[n++] = "--literals";
	if (fresh)
		a->argv[n++] = "--fresh";
	a->argv[n++] = "--original";
	a->argv[n++] = s->config;
	a->argv[n++] = "--api";
	a->argv[n++] = a->api;
	a->argv[n++] = "--timeout";
	a->argv[n++] = a->timeout;
	a->argv[n++] = "--name-timeout";
	a->argv[n++] = a->name_timeout;
	a->argv[n++] = "--concurrency";
	a->argv[n++] = a->concurrency;
	a->argv[n++] = "--max-file";
	a->argv[n++] = a->max_file;
	a->argv[n++] = "--resolver";
	a->argv[n++] = c->extract.resolver;
	a->argv[n++] = "--provider-dir";
	a->argv[n++] = c->extract.provider_dir[0] ? c->extract.provider_dir : s->home;
	a->argv[n++] = a->config;
	a->argv[n++] = s->home;
	a->argv[n] = NULL;
	return r;
}

/* The (source, host) pairs whose answers are good for a while yet. */
struct pairs {
	uint32_t (*list)[2];
	size_t n, cap;
	bool lost;
};

static void put_pair(void *ctx, uint32_t source, uint32_t host)
{
	struct pairs *p = ctx;

	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 256;
		void *grown = reallocarray(p->list, cap, sizeof(*p->list));

		p->lost |= !grown;
		if (!grown)
			return;
		p->list = grown;
		p->cap = cap;
	}
	p->list[p->n][0] = source;
	p->list[p->n++][1] = host;
}

/* A file in memory with them, for the extractor's standard input; -1 = none: everything is asked for. */
static int fresh_pairs(const struct ledger *l)
{
	cleanup_fd int fd = -1;
	struct pairs p = { 0 };

	ledger_each_fresh(l, clock_ms() + DUE_TOGETHER_MS, put_pair, &p);
	if (p.n && !p.lost)
		fd = memfd_create("fresh", MFD_CLOEXEC);
	if (fd >= 0 && (io_write_all(fd, p.list, p.n * sizeof(*p.list)) < 0 || lseek(fd, 0, SEEK_SET) < 0))
		io_close(&fd);
	free(p.list);
	return steal_fd(&fd);
}

int extraction_start(struct helper **out, const struct extraction_setup *s, enum extraction_names names,
		     const struct ledger *ledger, const struct helper_ops *ops, void *ctx, struct err *e)
{
	cleanup_fd int fresh = names == EXTRACT_DUE ? fresh_pairs(ledger) : -1;
	struct arguments a;
	struct helper_spec spec = { .role = "extract",
				    .args = a.argv,
				    .exec_fd = s->helper_fd,
				    .path = s->helper_path,
				    .ids = s->ids,
				    .caps = extract_caps,
				    .in_fd = fresh > 0 ? fresh : 0,
				    .deadline_ms = s->settings->extract.timeout_ms + OVERTIME_MS };
	int r = build_arguments(s, names, fresh > 0, &a, e);

	return r < 0 ? r : helper_start(out, s->reaper, &spec, ops, ctx, e);
}
