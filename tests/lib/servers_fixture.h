/*
 * servers_fixture: servers with sets of its own and an extractor that says what
 * a script tells it to. The test program is the extractor too; its script lies
 * where the copy of Mihomo's config would:
 *
 *	address IP SOURCE HOST TTL       many N SOURCE (literals 45.1.0.0 and on)
 *	fresh SOURCE HOST                unresolved SOURCE HOST
 *	source SOURCE WHOLE              summary UNRESOLVED
 *	note TEXT                        asked (a note with the kind of names wanted)
 *	wait (until the file "go" is there)   exit STATUS       garbage
 */
#ifndef TESTS_SERVERS_FIXTURE_H
#define TESTS_SERVERS_FIXTURE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/sys/netns.h"
#include "clashsup/fwplan.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "daemon/clock.h"
#include "daemon/servers.h"

struct fixture {
	struct reaper reaper;
	struct settings settings;
	struct ipset *ipset;
	struct servers servers;
	unsigned filled;       /* how often it was told that all is in the sets */
	size_t filled_members; /* what the IPv4 set had then */
	char dir[32], script[64], go[64];
	int log, helper_fd;
	ev_timer limit;
	bool late;
};

static int change_ipset(void *ctx, enum ip_family family, const struct addr *add, size_t n_add, const struct addr *del,
			size_t n_del, struct err *e)
{
	struct fixture *f = ctx;
	char name[FWPLAN_SET_TEXT];

	return ipset_change(f->ipset, fwplan_set_name(f->settings.ipset.name, family, name), add, n_add, del, n_del, e);
}

static size_t members(struct fixture *f, enum ip_family family)
{
	char name[FWPLAN_SET_TEXT];
	size_t n = 0;

	assert_int_equal(ipset_exists(f->ipset, fwplan_set_name(f->settings.ipset.name, family, name), &n, NULL), 1);
	return n;
}

static void filled(void *ctx)
{
	struct fixture *f = ctx;

	f->filled++;
	f->filled_members = members(f, IP_V4);
}

static void make_set(struct fixture *f, enum ip_family family)
{
	char name[FWPLAN_SET_TEXT];

	assert_int_equal(ipset_create(f->ipset, fwplan_set_name(f->settings.ipset.name, family, name),
				      family == IP_V4 ? "hash:ip family inet maxelem 131072"
						      : "hash:ip family inet6 maxelem 131072",
				      NULL),
			 0);
}

static struct fixture *begin(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/servers.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->script, sizeof(f->script), "%s/config.yaml", f->dir);
	snprintf(f->go, sizeof(f->go), "%s/go", f->dir);
	f->log = memfd_create("log", MFD_CLOEXEC);
	assert_true(f->log >= 0);
	log_open(f->log, LOG_LEVEL_INFO);
	f->helper_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	assert_true(f->helper_fd >= 0);
	reaper_start(&f->reaper, ev_default_loop(0));
	settings_default(&f->settings);
	snprintf(f->settings.state.dir, sizeof(f->settings.state.dir), "%s", f->dir);
	assert_int_equal(ipset_open(&f->ipset, NULL), 0);
	make_set(f, IP_V4);
	f->servers = (struct servers){ .loop = f->reaper.loop,
				       .setup = { .reaper = &f->reaper,
						  .settings = &f->settings,
						  .run_dir = f->dir,
						  .home = f->dir,
						  .config = f->script,
						  .helper_fd = f->helper_fd,
						  .helper_path = "clashsup-helper",
						  .ids = { .uid = geteuid(), .gid = getegid() } },
				       .change = change_ipset,
				       .filled = filled,
				       .ctx = f };
	assert_int_equal(servers_init(&f->servers, NULL), 0);
	f->servers.remember.program = "true";
	return f;
}

static void end(struct fixture *f)
{
	char command[64], name[FWPLAN_SET_TEXT];

	servers_deinit(&f->servers);
	for (unsigned family = 0; family < IP_FAMILIES; family++)
		assert_int_equal(ipset_destroy(f->ipset,
					       fwplan_set_name(f->settings.ipset.name, (enum ip_family)family, name),
					       NULL),
				 0);
	ipset_close(f->ipset);
	settings_free(&f->settings);
	reaper_stop(&f->reaper);
	log_open(STDOUT_FILENO, LOG_LEVEL_INFO);
	close(f->log);
	close(f->helper_fd);
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	assert_true(sh(command)); /* the reaper is stopped */
	free(f);
}

/* How often the log has the text. */
static int logged(const struct fixture *f, const char *what)
{
	static char text[1 << 20];
	ssize_t n = pread(f->log, text, sizeof(text) - 1, 0);
	int times = 0;

	assert_true(n >= 0);
	text[n] = '\0';
	for (const char *at = text; (at = strstr(at, what)); at++)
		times++;
	return times;
}

static void script(struct fixture *f, const char *text)
{
	FILE *file = fopen(f->script, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void let_go(struct fixture *f)
{
	assert_int_equal(close(open(f->go, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	((struct fixture *)w->data)->late = true;
	ev_break(loop, EVBREAK_ONE);
}

/* Lets the loop run while `goes_on` says so, a minute at most. */
static void turn_while(struct fixture *f, bool (*goes_on)(struct fixture *))
{
	ev_timer_init(&f->limit, on_limit, 60., 0.);
	f->limit.data = f;
	ev_timer_start(f->reaper.loop, &f->limit);
	while (goes_on(f) && !f->late)
		ev_run(f->reaper.loop, EVRUN_ONCE);
	ev_timer_stop(f->reaper.loop, &f->limit);
	assert_false(f->late);
}

static bool is_busy(struct fixture *f)
{
	return servers_busy(&f->servers);
}

static void settle(struct fixture *f)
{
	turn_while(f, is_busy);
}

/* A run with this script, to its end. */
static void run(struct fixture *f, enum servers_why why, const char *text)
{
	script(f, text);
	servers_extract(&f->servers, why);
	settle(f);
}

static size_t count(const struct fixture *f)
{
	return ledger_count(f->servers.ledger, IP_V4);
}

static bool in_set(const struct fixture *f, const char *address)
{
	char command[128];

	snprintf(command, sizeof(command), "ipset -q test %s%s %s", f->settings.ipset.name,
		 strchr(address, ':') ? "6" : "", address);
	return sh(command);
}

/* ---- the extractor's part ---- */

static void tell(const struct wire_record *r)
{
	if (wire_send(STDOUT_FILENO, r) < 0)
		_exit(3);
}

static void tell_address(const char *text, uint32_t source, uint32_t host, uint32_t ttl_s)
{
	struct wire_record r = { .type = WIRE_ADDRESS };

	if (addr_parse(text, &r.u.address.addr) < 0)
		_exit(4);
	r.u.address.source = source;
	r.u.address.host = host;
	r.u.address.ttl_s = ttl_s;
	tell(&r);
}

static void tell_many(unsigned n, uint32_t source)
{
	char text[ADDR_TEXT];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "45.%u.%u.%u", 1 + (i >> 16), i >> 8 & 255, i & 255);
		tell_address(text, source, 0, 0);
	}
}

static void tell_asked(int argc, char **argv)
{
	char text[256] = "asked for all";
	uint32_t pairs[8][2];
	ssize_t n;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--literals") == 0)
			snprintf(text, sizeof(text), "asked for literals");
		if (strcmp(argv[i], "--fresh") != 0)
			continue;
		n = read(STDIN_FILENO, pairs, sizeof(pairs));
		snprintf(text, sizeof(text), "asked but for");
		for (size_t at = 0; at < (n > 0 ? (size_t)n / sizeof(pairs[0]) : 0); at++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " %u/%u", pairs[at][0],
				 pairs[at][1]);
	}
	snprintf(text + strlen(text), sizeof(text) - strlen(text), " (%d)", getpid()); /* no note of the run before */
	tell(&(struct wire_record){ .type = WIRE_NOTE, .u.note = { .warn = false, .text = text } });
}

static void act(const char *line, const char *dir, int argc, char **argv)
{
	char word[16] = "", text[200] = "", go[PATH_MAX];
	unsigned a = 0, b = 0, c = 0;

	sscanf(line, "%15s", word);
	if (strcmp(word, "address") == 0 && sscanf(line, "%*s %63s %u %u %u", text, &a, &b, &c) == 4)
		tell_address(text, a, b, c);
	else if (strcmp(word, "many") == 0 && sscanf(line, "%*s %u %u", &a, &b) == 2)
		tell_many(a, b);
	else if (strcmp(word, "fresh") == 0 && sscanf(line, "%*s %u %u", &a, &b) == 2)
		tell(&(struct wire_record){ .type = WIRE_FRESH, .u.fresh = { a, b } });
	else if (strcmp(word, "unresolved") == 0 && sscanf(line, "%*s %u %u", &a, &b) == 2)
		tell(&(struct wire_record){ .type = WIRE_UNRESOLVED, .u.unresolved = { a, b } });
	else if (strcmp(word, "source") == 0 && sscanf(line, "%*s %u %u", &a, &b) == 2)
		tell(&(struct wire_record){ .type = WIRE_SOURCE, .u.source = { a, b } });
	else if (strcmp(word, "summary") == 0 && sscanf(line, "%*s %u", &a) == 1)
		tell(&(struct wire_record){ .type = WIRE_SUMMARY, .u.summary = { .unresolved = a } });
	else if (strcmp(word, "note") == 0 && sscanf(line, "%*s %199[^\n]", text) == 1)
		tell(&(struct wire_record){ .type = WIRE_NOTE, .u.note = { .warn = true, .text = text } });
	else if (strcmp(word, "asked") == 0)
		tell_asked(argc, argv);
	else if (strcmp(word, "garbage") == 0)
		_exit(write(STDOUT_FILENO, "garbage", 7) == 7 ? 0 : 3);
	else if (strcmp(word, "exit") == 0 && sscanf(line, "%*s %u", &a) == 1)
		_exit((int)a);
	else if (strcmp(word, "wait") == 0)
		for (snprintf(go, sizeof(go), "%s/go", dir); access(go, F_OK) < 0;)
			usleep(2000);
	else
		_exit(5);
}

/* The extractor's program; it comes back when the test itself is meant. */
static void be_the_extractor(int argc, char **argv)
{
	char line[256];
	FILE *f;

	if (argc < 4 || strcmp(argv[1], "extract") != 0)
		return;
	f = fopen(argv[argc - 2], "re");
	while (f && fgets(line, sizeof(line), f))
		act(line, argv[argc - 1], argc, argv);
	_exit(f ? 0 : 6);
}

#endif
