/*
 * remember_fixture: a ledger, a state directory and the log, in a directory of
 * its own. The test program is the child too: `PROGRAM remember PATH`.
 */
#ifndef TESTS_REMEMBER_FIXTURE_H
#define TESTS_REMEMBER_FIXTURE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "daemon/clock.h"
#include "daemon/remember.h"

enum { SOURCE = 11, HOST = 21 };

struct loaded {
	size_t n;
	int64_t oldest_ms; /* age */
	int64_t youngest_ms;
	bool host, literal;
};

struct fixture {
	struct reaper reaper;
	struct ledger *ledger;
	struct remember remember;
	char dir[32], state[64], file[96], new[112];
	int log;
};

/* By its path: /proc/self/exe is another program where memcheck runs this one. */
static const char *own_program(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	assert_true(n > 0);
	path[n] = '\0';
	return path;
}

static void begin(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/remember.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->state, sizeof(f->state), "%s/lib/clashsup", f->dir);
	snprintf(f->file, sizeof(f->file), "%s/addresses", f->state);
	snprintf(f->new, sizeof(f->new), "%s.new", f->file);
	f->log = memfd_create("log", MFD_CLOEXEC);
	assert_true(f->log >= 0);
	log_open(f->log, LOG_LEVEL_INFO);
	reaper_start(&f->reaper, ev_default_loop(0));
	f->ledger = ledger_new(1);
	assert_non_null(f->ledger);
	ledger_begin(f->ledger);
	assert_int_equal(remember_init(&f->remember, &f->reaper, f->ledger, f->state, NULL), 0);
	f->remember.program = own_program();
	f->remember.gap_ms = 0;
}

static void end(struct fixture *f)
{
	char command[64];

	remember_deinit(&f->remember);
	ledger_free(f->ledger);
	reaper_stop(&f->reaper);
	log_open(STDOUT_FILENO, LOG_LEVEL_INFO);
	close(f->log);
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	assert_int_equal(system(command), 0); /* the reaper is stopped */
}

/* How many lines of the log have the text. */
static int logged(const struct fixture *f, const char *what)
{
	static char text[65536];
	ssize_t n = pread(f->log, text, sizeof(text) - 1, 0);
	int lines = 0;

	assert_true(n >= 0);
	text[n] = '\0';
	for (const char *at = text; (at = strstr(at, what)); at++)
		lines++;
	return lines;
}

static void add(struct fixture *f, int from, int to, int64_t seen_ms)
{
	for (int i = from; i < to; i++) {
		struct addr a = { IP_V4, { 45, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i } };

		assert_int_equal(ledger_add(f->ledger, &a, SOURCE, i % 2 ? HOST : 0, seen_ms, 0), 1);
	}
}

static void run(struct fixture *f)
{
	for (int i = 0; i < 1000 && remember_busy(&f->remember); i++)
		ev_run(f->reaper.loop, EVRUN_ONCE);
	assert_false(remember_busy(&f->remember));
}

/* Saves and waits for its end: the warning. */
static const char *save(struct fixture *f)
{
	remember_save(&f->remember, true);
	run(f);
	return f->remember.warning;
}

static void note(void *ctx, const struct addr *a, uint32_t source, uint32_t host, int64_t seen_ms)
{
	struct loaded *l = ctx;
	int64_t age = clock_ms() - seen_ms;

	assert_int_equal(a->bytes[0], 45);
	assert_int_equal(source, SOURCE);
	l->oldest_ms = l->n == 0 || age > l->oldest_ms ? age : l->oldest_ms;
	l->youngest_ms = l->n == 0 || age < l->youngest_ms ? age : l->youngest_ms;
	l->host |= host == HOST;
	l->literal |= host == 0;
	l->n++;
}

static struct loaded load(struct fixture *f, int64_t grace_ms)
{
	struct loaded l = { 0 };

	remember_load(&f->remember, grace_ms, note, &l);
	return l;
}

/* The child's program. -1 when the test itself is meant. */
static int child(int argc, char **argv)
{
	struct err e = ERR_INIT;

	if (argc != 3 || strcmp(argv[1], "remember") != 0)
		return -1;
	if (remember_write(argv[2], &e) == 0)
		return 0;
	fprintf(stderr, "%s\n", e.msg);
	return 1;
}

#endif
