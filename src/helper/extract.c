#include "helper/extract.h"

#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "helper/helper.h"
#include "helper/name_rules.h"
#include "helper/resolve.h"
#include "helper/split.h"

static const char usage[] = "extract [--api SOCKET] [--timeout MS] [--name-timeout MS] [--concurrency N] "
			    "[--resolver auto|system|mihomo|ADDRESS,...] [--max-file BYTES] [--provider-dir DIR] "
			    "[--original FILE] [--literals] [--fresh] CONFIGFILE HOME";

static int scan_number(const char *text, uint64_t max, int64_t *out)
{
	uint64_t n;

	if (scan_u64(text, max, &n) < 0 || n == 0)
		return -1;
	*out = (int64_t)n;
	return 0;
}

static int option(struct extract_options *o, int c, const char *value)
{
	int64_t number = 0;
	uint64_t size;

	switch (c) {
	case 'a':
		o->api = value;
		return 0;
	case 't':
		return scan_number(value, 24 * 3600 * 1000, &o->deadline_ms);
	case 'n':
		return scan_number(value, 3600 * 1000, &o->name_timeout_ms);
	case 'c':
		if (scan_number(value, RESOLVE_CONCURRENCY_MAX, &number) < 0)
			return -1;
		o->concurrency = (unsigned)number;
		return 0;
	case 'r':
		o->resolver = value;
		return 0;
	case 'm':
		if (scan_size(value, HELPER_FILE_MAX, &size) < 0)
			return -1;
		o->max_file = (size_t)size;
		return 0;
	case 'd':
		o->stray_dir = value;
		return 0;
	case 'o':
		o->original = value;
		return 0;
	case 'l':
		o->literals = true;
		return 0;
	case 'f':
		o->fresh = true;
		return 0;
	default:
		return -1;
	}
}

static int parse_args(struct extract_options *o, int argc, char **argv)
{
	static const struct option options[] = { { "api", required_argument, NULL, 'a' },
						 { "timeout", required_argument, NULL, 't' },
						 { "name-timeout", required_argument, NULL, 'n' },
						 { "concurrency", required_argument, NULL, 'c' },
						 { "resolver", required_argument, NULL, 'r' },
						 { "max-file", required_argument, NULL, 'm' },
						 { "provider-dir", required_argument, NULL, 'd' },
						 { "literals", no_argument, NULL, 'l' },
						 { "fresh", no_argument, NULL, 'f' },
						 { "original", required_argument, NULL, 'o' },
						 { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (option(o, c, optarg) < 0)
			return -1;
	if (argc - optind != 2)
		return -1;
	o->config = argv[optind];
	o->home = argv[optind + 1];
	return strcmp(o->resolver, "mihomo") == 0 && !o->api ? -1 : name_rules_check(o->resolver);
}

static int read_confined(const struct extract_options *o)
{
	cleanup_free char *copy = strdup(o->config);

	if (!copy || confine(CONFINE_READING,
			     (const char *const[]){ o->config, dirname(copy), o->home, o->stray_dir, NULL }) < 0)
		return 1;
	return extract_read(o);
}

int role_extract(int argc, char **argv)
{
	struct extract_options o = { .resolver = "auto",
				     .max_file = HELPER_FILE_MAX,
				     .deadline_ms = 60000,
				     .name_timeout_ms = 5000,
				     .concurrency = 64 };
	struct resolver *resolver;
	struct err e = ERR_INIT;
	struct reader reader;
	int r;

	if (parse_args(&o, argc, argv) < 0)
		return usage_error(usage);
	o.deadline_ms += resolve_now_ms();
	emit_buffered();
	r = split_reader(&reader, &e);
	if (r == 1)
		return read_confined(&o);
	resolver = r < 0 ? NULL : resolve_open(o.name_timeout_ms, &e);
	if (!resolver) {
		fprintf(stderr, "clashsup-helper: %s\n", e.msg);
		return 1;
	}
	r = confine(CONFINE_RESOLVING, NULL) < 0 ? 1 : extract_resolve(&o, resolver, &reader);
	resolve_close(resolver);
	return r;
}
