#include "parse/attributes.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <string.h>

#include "clashsup/scan.h"
#include "parse/list.h"

#define ITEM_MAX 64

/* The names of setrlimit(2), in lower case. */
static const struct {
	const char *name;
	unsigned number;
} resources[] = {
	{ "as", RLIMIT_AS },	       { "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },	       { "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },     { "locks", RLIMIT_LOCKS },
	{ "memlock", RLIMIT_MEMLOCK }, { "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },       { "nproc", RLIMIT_NPROC },
	{ "rss", RLIMIT_RSS },	       { "rtprio", RLIMIT_RTPRIO },
	{ "rttime", RLIMIT_RTTIME },   { "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};
#define RESOURCES (sizeof(resources) / sizeof(resources[0]))

/* ---- limits ---- */

const char *attributes_limit_name(unsigned number)
{
	for (size_t i = 0; i < RESOURCES; i++)
		if (resources[i].number == number)
			return resources[i].name;
	return NULL;
}

static int scan_bound(const char *text, uint64_t *out)
{
	if (strcmp(text, "unlimited") == 0) {
		*out = ATTR_UNLIMITED;
		return 0;
	}
	return scan_size(text, ATTR_UNLIMITED - 1, out);
}

/* "SOFT:HARD", or one number for both. */
static int scan_limit(char *text, struct attr_limit *out)
{
	struct attr_limit l = { .set = true };
	char *colon = strchr(text, ':');

	if (colon)
		*colon = '\0';
	if (scan_bound(text, &l.soft) < 0)
		return -EINVAL;
	l.hard = l.soft;
	if (colon && (scan_bound(colon + 1, &l.hard) < 0 || l.hard < l.soft))
		return -EINVAL;
	*out = l;
	return 0;
}

static int add_limit(const struct list_item *item, struct attr_limits *l, struct err *e)
{
	char text[ITEM_MAX], *value;
	size_t i = 0;

	snprintf(text, sizeof(text), "%.*s", (int)(item->len < ITEM_MAX ? item->len : ITEM_MAX), item->text);
	value = strchr(text, '=');
	if (item->len >= sizeof(text) || !value)
		return err_set(e, EINVAL, "limits such as core=0 memlock=unlimited nproc=512:1024");
	*value++ = '\0';
	if (strcmp(text, "nofile") == 0)
		return err_set(e, EINVAL, "without nofile, which has a key of its own");
	while (i < RESOURCES && strcmp(resources[i].name, text) != 0)
		i++;
	if (i == RESOURCES)
		return err_set(e, EINVAL,
			       "limits of as core cpu data fsize locks memlock msgqueue nice nproc rss rtprio rttime "
			       "sigpending stack");
	if (l->of[resources[i].number].set)
		return err_set(e, EINVAL, "one limit a resource: %s is there twice", text);
	if (scan_limit(value, &l->of[resources[i].number]) < 0)
		return err_set(e, EINVAL,
			       "%s=LIMIT or %s=SOFT:HARD, each a number, perhaps with K, M or G, or unlimited, and "
			       "SOFT not above HARD",
			       text, text);
	return 0;
}

int attributes_limits(const char *text, struct attr_limits *out, struct err *e)
{
	struct list_reader reader = list_value(text);
	struct attr_limits l = { 0 };
	struct list_item item;
	int r = 0;

	while (r == 0 && list_next(&reader, &item))
		r = add_limit(&item, &l, e);
	if (r == 0)
		*out = l;
	return r;
}

static void show_bound(uint64_t v, FILE *out)
{
	if (v == ATTR_UNLIMITED)
		fputs("unlimited", out);
	else
		fprintf(out, "%" PRIu64, v);
}

void attributes_show_limits(const struct attr_limits *limits, FILE *out)
{
	const char *between = "";

	for (size_t i = 0; i < RESOURCES; i++) {
		const struct attr_limit *l = &limits->of[resources[i].number];

		if (!l->set)
			continue;
		fprintf(out, "%s%s=", between, resources[i].name);
		show_bound(l->soft, out);
		if (l->hard != l->soft) {
			fputc(':', out);
			show_bound(l->hard, out);
		}
		between = " ";
	}
}

/* ---- groups ---- */

static int add_group(const struct list_item *item, struct attr_groups *g, struct err *e)
{
	char text[ITEM_MAX];
	const struct group *gr;
	uint64_t gid = 0;

	snprintf(text, sizeof(text), "%.*s", (int)(item->len < ITEM_MAX ? item->len : ITEM_MAX), item->text);
	if (g->n == ATTR_GROUPS_MAX)
		return err_set(e, EINVAL, "at most %d groups", ATTR_GROUPS_MAX);
	if (scan_u64(text, UINT32_MAX - 1, &gid) < 0) {
		gr = item->len < sizeof(text) ? getgrnam(text) : NULL;
		if (!gr)
			return err_set(e, EINVAL, "numbers and names of groups of this machine");
		gid = gr->gr_gid;
	}
	g->gid[g->n++] = (gid_t)gid;
	return 0;
}

int attributes_groups(const char *text, struct attr_groups *out, struct err *e)
{
	struct list_reader reader = list_value(text);
	struct attr_groups g = { 0 };
	struct list_item item;
	int r = 0;

	while (r == 0 && list_next(&reader, &item))
		r = add_group(&item, &g, e);
	if (r == 0)
		*out = g;
	return r;
}

void attributes_show_groups(const struct attr_groups *groups, FILE *out)
{
	for (size_t i = 0; i < groups->n; i++)
		fprintf(out, "%s%u", i ? " " : "", (unsigned)groups->gid[i]);
}

/* ---- cgroup ---- */

/* Names that are ours to give; the kernel's own files begin with "cgroup.". */
static bool good_name(const char *name, size_t len)
{
	return len > 0 && name[0] != '.' && strspn(name, NAME_LETTERS "@:") >= len &&
	       (len < 7 || memcmp(name, "cgroup.", 7) != 0);
}

const char *attributes_cgroup_problem(const char *text)
{
	static const char top[] = ATTR_CGROUP_TOP;
	static const char allowed[] =
		"one name for a cgroup below clashsup's own, or an absolute path below /sys/fs/cgroup";
	const char *at = text;

	if (text[0] == '\0')
		return NULL;
	if (text[0] == '/') {
		if (strncmp(text, top, sizeof(top) - 1) != 0)
			return allowed;
		at += sizeof(top) - 1;
	}
	for (;;) {
		size_t len = strcspn(at, "/");

		if (!good_name(at, len) || (at == text && at[len] == '/'))
			return allowed;
		if (at[len] == '\0')
			return NULL;
		at += len + 1;
	}
}
