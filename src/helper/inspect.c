/* inspect: which of Mihomo's settings the supervisor must know. */
#include <getopt.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "helper/helper.h"
#include "helper/name_rules.h"
#include "parse/feed/mihomo_yaml.h"

static const char usage[] = "inspect [--max BYTES] CONFIGFILE HOME";

static void setting(void *ctx, enum wire_setting key, const char *value)
{
	(void)ctx;
	emit(&(struct wire_record){ .type = WIRE_SETTING, .u.setting = { .key = key, .value = value } });
}

/* Whom the machine itself asks: it may serve when Mihomo is dead. */
static void tell_resolvers(void)
{
	struct dns_group found;
	char text[ADDR_TEXT];

	name_rules_system(dns_resolv_conf_named, &found);
	for (size_t i = 0; i < found.n; i++)
		setting(NULL, WIRE_SET_DNS_FALLBACK, addr_text(&found.servers[i].addr, text));
}

static int inspect(const char *config, const char *home, size_t max)
{
	cleanup_free char *bytes = NULL;
	struct err e = ERR_INIT;
	unsigned notes = 0;
	uint32_t line;
	size_t len;

	if (io_slurp_path(config, max, &bytes, &len, &e) < 0) {
		emit_note(&notes, true, "%s", e.msg);
		return 1;
	}
	tell_resolvers();
	if (mihomo_settings(bytes, len, home, setting, NULL, &line, &e) < 0) {
		emit_note(&notes, true, "line %u: %s", line, e.msg);
		return 1;
	}
	emit(&(struct wire_record){ .type = WIRE_SUMMARY });
	return 0;
}

int role_inspect(int argc, char **argv)
{
	static const struct option options[] = { { "max", required_argument, NULL, 'm' }, { NULL, 0, NULL, 0 } };
	uint64_t max = HELPER_FILE_MAX;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (c != 'm' || scan_size(optarg, HELPER_FILE_MAX, &max) < 0)
			return usage_error(usage);
	if (argc - optind != 2)
		return usage_error(usage);
	return confine(CONFINE_READING, (const char *const[]){ argv[optind], argv[optind + 1], NULL }) < 0
		       ? 1
		       : inspect(argv[optind], argv[optind + 1], max);
}
