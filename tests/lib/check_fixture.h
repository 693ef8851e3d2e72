/*
 * check_fixture: a check of Mihomo's config in a directory of its own, with the real
 * clashsup-helper, a script in Mihomo's place, and a former copy in force.
 */
#ifndef TESTS_CHECK_FIXTURE_H
#define TESTS_CHECK_FIXTURE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "daemon/check.h"

#define FORMER "former: good\n"
#define CONFIG "mode: rule\nproxies: []\n"
#define APPENDED "type: tproxy, port: 7893"

struct fixture {
	struct reaper reaper;
	struct settings settings;
	struct check_setup setup;
	struct check *check;
	char dir[64], config[128], run[128], copy[160], final[160], tester[128];
	int told;
	bool good, patch_port;
	uint16_t port;
	char why[512];
};

static void on_done(void *ctx, const struct config_facts *facts, const char *why)
{
	struct fixture *f = ctx;

	f->told++;
	f->good = facts != NULL;
	f->port = facts ? facts->port : 0;
	f->patch_port = facts && facts->patch_port;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static bool holds(const char *path, const char *what)
{
	cleanup_free char *text = NULL;
	size_t len;

	return io_slurp_path(path, 65536, &text, &len, NULL) == 0 && strstr(text, what);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	reaper_start(&f->reaper, ev_default_loop(EVFLAG_NOENV));
	snprintf(f->dir, sizeof(f->dir), "/tmp/clashsup-check-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->config, sizeof(f->config), "%s/config.yaml", f->dir);
	snprintf(f->run, sizeof(f->run), "%s/run", f->dir);
	snprintf(f->copy, sizeof(f->copy), "%s/config.yaml.new", f->run);
	snprintf(f->final, sizeof(f->final), "%s/config.yaml", f->run);
	snprintf(f->tester, sizeof(f->tester), "%s/tester", f->dir);
	mkdir(f->run, 0700);
	put(f->final, FORMER, 0600);
	put(f->config, CONFIG, 0644);
	put(f->tester, "#!/bin/sh\nexit 0\n", 0755);
	settings_default(&f->settings);
	snprintf(f->settings.mihomo.binary, sizeof(f->settings.mihomo.binary), "%s", f->tester);
	f->setup = (struct check_setup){ .reaper = &f->reaper,
					 .settings = &f->settings,
					 .config = f->config,
					 .home = f->dir,
					 .run_dir = f->run,
					 .helper_fd = open(BUILD_DIR "/clashsup-helper", O_PATH | O_CLOEXEC),
					 .helper_path = BUILD_DIR "/clashsup-helper",
					 .ids = { .uid = geteuid(), .gid = getegid(), .as_root = geteuid() == 0 } };
	return check_new(&f->check, &f->setup, on_done, f, NULL);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	check_free(f->check);
	reaper_stop(&f->reaper);
	close(f->setup.helper_fd);
	settings_free(&f->settings);
	unlink(f->copy);
	unlink(f->final);
	rmdir(f->final);
	rmdir(f->run);
	unlink(f->config);
	unlink(f->tester);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* Runs the check to its end, which must be told exactly once. */
static void run(struct fixture *f)
{
	f->told = 0;
	f->why[0] = '\0';
	check_start(f->check);
	while (!f->told)
		ev_run(f->reaper.loop, EVRUN_ONCE);
	for (int i = 0; i < 3; i++)
		ev_run(f->reaper.loop, EVRUN_NOWAIT);
	assert_int_equal(f->told, 1);
}

#endif
