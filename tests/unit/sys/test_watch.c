/* watch: every way in which a file changes is told once, and nothing else is. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/watch.h"

struct fixture {
	struct ev_loop *loop;
	struct watch *watch;
	char dir[64];
	int calls;
	char last[256];
	bool clear_in_call, close_in_call;
};

static void on_change(void *ctx, const char *path)
{
	struct fixture *f = ctx;

	f->calls++;
	if (f->clear_in_call)
		watch_clear(f->watch);
	if (f->close_in_call) {
		watch_close(f->watch);
		f->watch = NULL;
	}
	snprintf(f->last, sizeof(f->last), "%s", path);
}

static bool counts(const char *name)
{
	return strstr(name, ".db") == NULL;
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* Runs the loop; the number of calls meanwhile. */
static int calls_within(struct fixture *f, int ms)
{
	ev_timer limit;

	f->calls = 0;
	ev_now_update(f->loop);
	ev_timer_init(&limit, on_limit, ms / 1000., 0.);
	ev_timer_start(f->loop, &limit);
	ev_run(f->loop, 0);
	ev_timer_stop(f->loop, &limit);
	return f->calls;
}

static int calls(struct fixture *f)
{
	return calls_within(f, 3 * WATCH_DEBOUNCE_MS);
}

/* Four slots, so that one call may name several paths. */
static const char *at(const struct fixture *f, const char *name)
{
	static char paths[4][128];
	static unsigned int turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", f->dir, name);
	return path;
}

static void write_at(const struct fixture *f, const char *name, const char *text)
{
	int fd = open(at(f, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(io_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static void make_dir(const struct fixture *f, const char *name)
{
	assert_int_equal(mkdir(at(f, name), 0755), 0);
}

static void make_link(const struct fixture *f, const char *target, const char *name)
{
	assert_int_equal(symlink(target, at(f, name)), 0);
}

static void move(const struct fixture *f, const char *from, const char *to)
{
	assert_int_equal(rename(at(f, from), at(f, to)), 0);
}

static void add(struct fixture *f, const char *name)
{
	struct err e = ERR_INIT;

	if (watch_add(f->watch, at(f, name), &e) < 0)
		fail_msg("%s", e.msg);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->loop = ev_default_loop(0);
	strcpy(f->dir, "/tmp/clashsup-watch-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(watch_open(&f->watch, f->loop, on_change, counts, f, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	watch_close(f->watch);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void writes_in_place_are_one_call(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	assert_int_equal(calls(f), 0);
	for (int i = 0; i < 5; i++)
		write_at(f, "a", "22");
	assert_int_equal(calls(f), 1);
	assert_string_equal(f->last, at(f, "a"));
	assert_int_equal(calls(f), 0);
}

static void a_rename_over_is_told_and_the_new_file_is_watched(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	for (int i = 0; i < 2; i++) {
		write_at(f, "new", "2");
		move(f, "new", "a");
		assert_int_equal(calls(f), 1);
	}
	write_at(f, "a", "3");
	assert_int_equal(calls(f), 1);
}

static void deletion_and_return_are_told(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	unlink(at(f, "a"));
	assert_int_equal(calls(f), 1);
	write_at(f, "a", "1");
	assert_int_equal(calls(f), 1);
	chmod(at(f, "a"), 0600);
	assert_int_equal(calls(f), 1);
}

static void other_files_of_the_directory_are_not_told(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	write_at(f, "b", "1");
	write_at(f, "ab", "1");
	unlink(at(f, "b"));
	assert_int_equal(calls(f), 0);
}

static void each_of_two_files_is_told(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	add(f, "a");
	add(f, "b");
	write_at(f, "a", "2");
	write_at(f, "b", "2");
	assert_int_equal(calls(f), 2);
}

static void a_file_in_a_directory_that_is_still_missing_is_told_when_it_comes(void **state)
{
	struct fixture *f = *state;

	add(f, "one/two/a");
	make_dir(f, "one");
	assert_int_equal(calls(f), 0);
	make_dir(f, "one/two");
	assert_int_equal(calls(f), 0);
	write_at(f, "one/two/a", "1");
	assert_int_equal(calls(f), 1);
	write_at(f, "one/two/a", "2");
	assert_int_equal(calls(f), 1);
}

static void directories_that_come_at_once_with_the_file_are_told(void **state)
{
	struct fixture *f = *state;

	add(f, "one/two/a");
	make_dir(f, "one");
	make_dir(f, "one/two");
	write_at(f, "one/two/a", "1");
	assert_int_equal(calls(f), 1);
}

static void a_directory_that_goes_and_another_that_takes_its_place_are_told(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "one");
	write_at(f, "one/a", "1");
	make_dir(f, "other");
	write_at(f, "other/a", "2");
	add(f, "one/a");
	move(f, "one", "gone");
	assert_int_equal(calls(f), 1);
	move(f, "other", "one");
	assert_int_equal(calls(f), 1);
	write_at(f, "one/a", "3");
	assert_int_equal(calls(f), 1);
	write_at(f, "gone/a", "3");
	assert_int_equal(calls(f), 0);
}

static void a_symlink_is_told_for_its_target_and_for_its_switch(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "real");
	write_at(f, "real/a", "1");
	write_at(f, "real/b", "1");
	make_link(f, "real/a", "link");
	add(f, "link");
	write_at(f, "real/a", "2");
	assert_int_equal(calls(f), 1);
	write_at(f, "real/new", "3");
	move(f, "real/new", "real/a");
	assert_int_equal(calls(f), 1);
	make_link(f, "real/b", "newlink");
	move(f, "newlink", "link");
	assert_int_equal(calls(f), 1);
	write_at(f, "real/a", "4");
	assert_int_equal(calls(f), 0);
	write_at(f, "real/b", "4");
	assert_int_equal(calls(f), 1);
}

/* As volumes of Kubernetes do it: config.yaml -> ..data/config.yaml, ..data -> ..v1. */
static void a_symlinked_directory_on_the_way_is_told_when_it_switches(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "..v1");
	write_at(f, "..v1/a", "1");
	make_dir(f, "..v2");
	write_at(f, "..v2/a", "2");
	make_link(f, "..v1", "..data");
	make_link(f, "..data/a", "a");
	add(f, "a");
	make_link(f, "..v2", "..next");
	move(f, "..next", "..data");
	assert_int_equal(calls(f), 1);
	write_at(f, "..v2/a", "3");
	assert_int_equal(calls(f), 1);
}

static void a_loop_of_symlinks_is_watched_until_it_is_undone(void **state)
{
	struct fixture *f = *state;

	make_link(f, "y", "x");
	make_link(f, "x", "y");
	add(f, "x");
	assert_int_equal(calls(f), 0);
	unlink(at(f, "x"));
	write_at(f, "x", "1");
	assert_int_equal(calls(f), 1);
}

/* A bind mount of one file is the same: an inode that is written through another name. */
static void a_write_through_another_name_is_told(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "one");
	make_dir(f, "two");
	write_at(f, "one/a", "1");
	assert_int_equal(link(at(f, "one/a"), at(f, "two/b")), 0);
	add(f, "one/a");
	write_at(f, "two/b", "2");
	assert_int_equal(calls(f), 1);
}

static void a_file_that_is_written_all_the_time_is_told_about_too(void **state)
{
	struct fixture *f = *state;
	int told = 0, fd;

	write_at(f, "a", "1");
	add(f, "a");
	fd = open(at(f, "a"), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(io_write_all(fd, "2", 1), 0);
		told += calls_within(f, WATCH_DEBOUNCE_MS / 3);
	}
	close(fd);
	assert_in_range(told, 1, 3);
}

static void a_write_that_is_complete_is_told_soon(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	write_at(f, "a", "2");
	assert_int_equal(calls_within(f, WATCH_SETTLED_MS / 2), 0);
	assert_int_equal(calls_within(f, WATCH_DEBOUNCE_MS / 2), 1);
	write_at(f, "b", "3");
	move(f, "b", "a");
	assert_int_equal(calls_within(f, WATCH_DEBOUNCE_MS / 2), 1);
}

static void of_a_directory_only_the_names_that_count_are_told(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "one");
	add(f, "one");
	write_at(f, "one/cache.db", "1");
	assert_int_equal(calls(f), 0);
	write_at(f, "one/a.yaml", "1");
	assert_int_equal(calls(f), 1);
	assert_string_equal(f->last, at(f, "one"));
	unlink(at(f, "one/a.yaml"));
	assert_int_equal(calls(f), 1);
	add(f, "one/b.yaml");
	write_at(f, "one/b.yaml", "1");
	assert_int_equal(calls(f), 1);
	assert_string_equal(f->last, at(f, "one/b.yaml"));
}

/* Other names fill the queue of events (16384 by default); the one that matters is lost. */
static void lost_events_count_as_a_change(void **state)
{
	struct fixture *f = *state;

	write_at(f, "a", "1");
	add(f, "a");
	for (int i = 0; i < 12000; i++) {
		write_at(f, "b", "1");
		unlink(at(f, "b"));
	}
	assert_in_range(calls(f), 1, 2);
}

static void the_callback_may_clear_or_close(void **state)
{
	struct fixture *f = *state;

	add(f, "a");
	f->clear_in_call = true;
	write_at(f, "a", "1");
	assert_int_equal(calls(f), 1);
	assert_string_equal(f->last, at(f, "a"));
	write_at(f, "a", "2");
	assert_int_equal(calls(f), 0);
	add(f, "a");
	f->clear_in_call = false;
	f->close_in_call = true;
	write_at(f, "a", "3");
	assert_int_equal(calls(f), 1);
}

static void a_cleared_watch_forgets_and_can_be_filled_again(void **state)
{
	struct fixture *f = *state;

	add(f, "a");
	write_at(f, "a", "1");
	watch_clear(f->watch);
	assert_int_equal(calls(f), 0);
	add(f, "a");
	write_at(f, "a", "2");
	assert_int_equal(calls(f), 1);
}

static void there_is_a_limit_and_relative_paths_are_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	char name[16];

	assert_int_equal(watch_add(f->watch, "a", &e), -EINVAL);
	for (int i = 0; i < WATCH_PATHS; i++) {
		snprintf(name, sizeof(name), "%d", i);
		add(f, name);
	}
	assert_int_equal(watch_add(f->watch, at(f, "more"), &e), -ENOSPC);
	write_at(f, "255", "1");
	assert_int_equal(calls(f), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(writes_in_place_are_one_call),
		CASE(a_rename_over_is_told_and_the_new_file_is_watched),
		CASE(deletion_and_return_are_told),
		CASE(other_files_of_the_directory_are_not_told),
		CASE(each_of_two_files_is_told),
		CASE(a_file_in_a_directory_that_is_still_missing_is_told_when_it_comes),
		CASE(directories_that_come_at_once_with_the_file_are_told),
		CASE(a_directory_that_goes_and_another_that_takes_its_place_are_told),
		CASE(a_symlink_is_told_for_its_target_and_for_its_switch),
		CASE(a_symlinked_directory_on_the_way_is_told_when_it_switches),
		CASE(a_loop_of_symlinks_is_watched_until_it_is_undone),
		CASE(a_write_through_another_name_is_told),
		CASE(a_file_that_is_written_all_the_time_is_told_about_too),
		CASE(a_write_that_is_complete_is_told_soon),
		CASE(of_a_directory_only_the_names_that_count_are_told),
		CASE(lost_events_count_as_a_change),
		CASE(the_callback_may_clear_or_close),
		CASE(a_cleared_watch_forgets_and_can_be_filled_again),
		CASE(there_is_a_limit_and_relative_paths_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
