/* remember: what was saved is loaded; whatever is wrong with file or disk, the old file stays and nothing else happens.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "remember_fixture.h"

#define GRACE (24 * 3600 * INT64_C(1000))

static void what_was_saved_is_loaded_with_its_age(void **state)
{
	struct fixture f;
	struct loaded l;
	struct stat st;
	(void)state;

	begin(&f);
	add(&f, 0, 100, clock_ms() - 7000);
	assert_string_equal(save(&f), "");
	l = load(&f, GRACE);
	assert_int_equal(l.n, 100);
	assert_true(l.host && l.literal);
	assert_in_range(l.youngest_ms, 7000 - 1000, 9000);
	assert_in_range(l.oldest_ms, 7000, 9000);
	assert_int_equal(logged(&f, "100 last good addresses"), 1);
	assert_int_equal(stat(f.file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(access(f.new, F_OK), -1);
	end(&f);
}

/* Bytes as the file, in a directory that is there then. */
static void place(struct fixture *f, const void *bytes, size_t len)
{
	cleanup_fd int fd = -1;

	assert_int_equal(io_mkdirs(f->state, 0755, NULL), 0);
	fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_all(fd, bytes, len), 0);
}

static void an_absent_file_is_no_fault(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	assert_int_equal(load(&f, GRACE).n, 0);
	assert_int_equal(logged(&f, "No last good addresses yet"), 1);
	end(&f);
}

static void put_entry(struct lastgood *file, uint8_t last, int64_t seen_s)
{
	struct lastgood_entry entry = { { IP_V4, { 45, 0, 0, last } }, SOURCE, HOST, (uint32_t)seen_s };

	assert_int_equal(lastgood_put(file, &entry), 0);
}

static void what_is_older_than_grace_is_left_out_and_the_future_is_now(void **state)
{
	struct lastgood file = { 0 };
	int64_t now_s = clock_wall_ms() / 1000;
	struct fixture f;
	struct loaded l;
	(void)state;

	begin(&f);
	put_entry(&file, 1, 0);
	put_entry(&file, 2, now_s - GRACE / 1000 - 1);
	put_entry(&file, 3, now_s - GRACE / 1000 + 60);
	put_entry(&file, 4, now_s + 3600);
	put_entry(&file, 5, UINT32_MAX);
	assert_int_equal(lastgood_finish(&file), 0);
	place(&f, file.bytes, file.len);
	l = load(&f, GRACE);
	assert_int_equal(l.n, 3);
	assert_in_range(l.youngest_ms, 0, 1000);
	assert_true(l.oldest_ms < GRACE && l.oldest_ms > GRACE - 70000);
	assert_int_equal(logged(&f, "2 are left out"), 1);
	lastgood_free(&file);
	end(&f);
}

static void no_file(struct fixture *f, const char *why)
{
	assert_int_equal(load(f, GRACE).n, 0);
	assert_int_equal(logged(f, "it will be written anew"), 1);
	if (logged(f, why) != 1)
		fail_msg("the log does not say \"%s\"", why);
	end(f);
}

static void a_file_that_is_damaged_cut_short_or_none_is_told_and_not_used(void **state)
{
	struct lastgood file = { 0 };
	struct fixture f;
	(void)state;

	put_entry(&file, 1, clock_wall_ms() / 1000);
	assert_int_equal(lastgood_finish(&file), 0);
	begin(&f);
	place(&f, file.bytes, file.len - 1);
	no_file(&f, "its checksum is wrong");
	begin(&f);
	file.bytes[30] ^= 4;
	place(&f, file.bytes, file.len);
	no_file(&f, "its checksum is wrong");
	begin(&f);
	place(&f, "", 0);
	no_file(&f, "no file of server addresses");
	begin(&f);
	assert_int_equal(io_mkdirs(f.file, 0755, NULL), 0);
	no_file(&f, "not a regular file");
	begin(&f);
	assert_int_equal(io_mkdirs(f.state, 0755, NULL), 0);
	assert_int_equal(mkfifo(f.file, 0600), 0);
	no_file(&f, "not a regular file");
	begin(&f);
	place(&f, file.bytes, file.len);
	assert_int_equal(truncate(f.file, INT64_C(1) << 40), 0);
	no_file(&f, "larger than the limit");
	lastgood_free(&file);
}

static ino_t inode(const struct fixture *f)
{
	struct stat st;

	return stat(f->file, &st) == 0 ? st.st_ino : 0;
}

static void nothing_is_written_without_a_change_while_the_file_is_young(void **state)
{
	struct fixture f;
	ino_t first;
	(void)state;

	begin(&f);
	add(&f, 0, 1, clock_ms());
	remember_save(&f.remember, false); /* none was written since the start */
	run(&f);
	first = inode(&f);
	assert_true(first != 0);
	remember_save(&f.remember, false);
	assert_false(remember_busy(&f.remember));
	f.remember.saved_ms -= REMEMBER_ANEW_MS;
	remember_save(&f.remember, false);
	assert_true(remember_busy(&f.remember));
	run(&f);
	assert_true(inode(&f) != first);
	end(&f);
}

static void many_wishes_are_one_save_and_one_more_after_the_gap(void **state)
{
	struct fixture f;
	int64_t began_ms;
	(void)state;

	begin(&f);
	f.remember.gap_ms = 300;
	add(&f, 0, 20000, clock_ms());
	began_ms = clock_ms();
	remember_save(&f.remember, true);
	while (f.remember.state != REMEMBER_WRITES)
		ev_run(f.reaper.loop, EVRUN_ONCE);
	add(&f, 20000, 20001, clock_ms());
	for (int i = 0; i < 10; i++)
		remember_save(&f.remember, true);
	while (f.remember.state != REMEMBER_WAITS)
		ev_run(f.reaper.loop, EVRUN_ONCE);
	assert_int_equal(load(&f, GRACE).n, 20000);
	run(&f);
	assert_true(clock_ms() - began_ms >= 300);
	assert_int_equal(load(&f, GRACE).n, 20001);
	end(&f);
}

/* A script in the place of our program. */
static const char *script(struct fixture *f, const char *text)
{
	static char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/program", f->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\n%s\n", text) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0755), 0);
	return path;
}

static void a_child_killed_half_way_leaves_the_old_file_and_the_next_one_goes_on(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	add(&f, 0, 5, clock_ms());
	assert_string_equal(save(&f), "");
	add(&f, 5, 9, clock_ms());
	f.remember.program = script(&f, "head -c 100 >\"$2.new\"; kill -9 $$");
	assert_string_equal(save(&f), "killed by signal 9");
	assert_int_equal(access(f.new, F_OK), 0);
	assert_int_equal(load(&f, GRACE).n, 5);
	f.remember.program = own_program();
	assert_string_equal(save(&f), "");
	assert_int_equal(load(&f, GRACE).n, 9);
	assert_int_equal(access(f.new, F_OK), -1);
	end(&f);
}

static void an_input_that_breaks_off_is_refused(void **state)
{
	char text[PATH_MAX + 32];
	struct fixture f;
	(void)state;

	begin(&f);
	add(&f, 0, 5, clock_ms());
	assert_string_equal(save(&f), "");
	snprintf(text, sizeof(text), "head -c 40 | '%s' \"$@\"", own_program());
	f.remember.program = script(&f, text);
	add(&f, 5, 9, clock_ms());
	assert_string_equal(save(&f), "exit status 1: stdin: its checksum is wrong: it is damaged or cut short");
	assert_int_equal(load(&f, GRACE).n, 5);
	end(&f);
}

static void a_save_in_hand_at_the_end_is_given_up_and_the_old_file_stays(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	add(&f, 0, 5, clock_ms());
	assert_string_equal(save(&f), "");
	f.remember.program = script(&f, "sleep 60");
	remember_save(&f.remember, true);
	while (f.remember.state != REMEMBER_WRITES)
		ev_run(f.reaper.loop, EVRUN_ONCE);
	remember_deinit(&f.remember);
	assert_false(remember_busy(&f.remember));
	assert_int_equal(load(&f, GRACE).n, 5);
	end(&f);
}

static void a_directory_that_cannot_be_is_told_once_until_it_changes(void **state)
{
	struct fixture f;
	char in_the_way[80];
	(void)state;

	begin(&f);
	snprintf(in_the_way, sizeof(in_the_way), "%s/lib", f.dir);
	assert_int_equal(close(open(in_the_way, O_WRONLY | O_CREAT, 0600)), 0);
	add(&f, 0, 5, clock_ms());
	for (int i = 0; i < 3; i++)
		assert_non_null(strstr(save(&f), "Not a directory"));
	assert_int_equal(logged(&f, "cannot save the last good addresses"), 1);
	assert_int_equal(unlink(in_the_way), 0);
	assert_string_equal(save(&f), "");
	assert_int_equal(load(&f, GRACE).n, 5);
	end(&f);
}

/* A file system of one page and a few, at the state directory, in a mount namespace of ours. */
static bool mount_state(struct fixture *f, const char *options)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount("", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("SKIP: no mount namespace (not root?)\n");
		end(f);
		return false;
	}
	assert_int_equal(io_mkdirs(f->state, 0755, NULL), 0);
	assert_int_equal(mount("tmpfs", f->state, "tmpfs", 0, options), 0);
	return true;
}

static void a_read_only_disk_is_told_once_and_the_old_file_is_loaded(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	if (!mount_state(&f, "size=64k"))
		skip();
	add(&f, 0, 5, clock_ms());
	assert_string_equal(save(&f), "");
	assert_int_equal(mount("", f.state, "none", MS_REMOUNT | MS_RDONLY, NULL), 0);
	add(&f, 5, 9, clock_ms());
	for (int i = 0; i < 3; i++)
		assert_non_null(strstr(save(&f), "Read-only file system"));
	assert_int_equal(logged(&f, "Read-only file system"), 1);
	assert_int_equal(load(&f, GRACE).n, 5);
	assert_int_equal(umount(f.state), 0);
	end(&f);
}

static void a_full_disk_is_told_once_and_the_old_file_stays(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	if (!mount_state(&f, "size=64k"))
		skip();
	add(&f, 0, 5, clock_ms());
	assert_string_equal(save(&f), "");
	add(&f, 5, 9000, clock_ms());
	for (int i = 0; i < 3; i++)
		assert_non_null(strstr(save(&f), "No space left"));
	assert_int_equal(logged(&f, "No space left"), 1);
	assert_int_equal(access(f.new, F_OK), -1);
	assert_int_equal(load(&f, GRACE).n, 5);
	assert_int_equal(umount(f.state), 0);
	end(&f);
}

static void what_a_full_disk_refused_is_saved_behind_the_next_run(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	add(&f, 0, 5, clock_ms());
	assert_string_equal(save(&f), "");
	add(&f, 5, 9, clock_ms());
	f.remember.program = "false";
	assert_string_equal(save(&f), "exit status 1");
	f.remember.program = own_program();
	remember_save(&f.remember, false);
	run(&f);
	assert_int_equal(load(&f, GRACE).n, 9);
	end(&f);
}

static void the_largest_ledger_is_saved_and_loaded(void **state)
{
	struct fixture f;
	(void)state;

	begin(&f);
	add(&f, 0, LEDGER_MAX, clock_ms());
	assert_string_equal(save(&f), "");
	assert_int_equal(load(&f, GRACE).n, LEDGER_MAX);
	end(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_is_loaded_with_its_age),
		cmocka_unit_test(an_absent_file_is_no_fault),
		cmocka_unit_test(what_is_older_than_grace_is_left_out_and_the_future_is_now),
		cmocka_unit_test(a_file_that_is_damaged_cut_short_or_none_is_told_and_not_used),
		cmocka_unit_test(nothing_is_written_without_a_change_while_the_file_is_young),
		cmocka_unit_test(many_wishes_are_one_save_and_one_more_after_the_gap),
		cmocka_unit_test(a_child_killed_half_way_leaves_the_old_file_and_the_next_one_goes_on),
		cmocka_unit_test(an_input_that_breaks_off_is_refused),
		cmocka_unit_test(a_save_in_hand_at_the_end_is_given_up_and_the_old_file_stays),
		cmocka_unit_test(a_directory_that_cannot_be_is_told_once_until_it_changes),
		cmocka_unit_test(a_read_only_disk_is_told_once_and_the_old_file_is_loaded),
		cmocka_unit_test(a_full_disk_is_told_once_and_the_old_file_stays),
		cmocka_unit_test(what_a_full_disk_refused_is_saved_behind_the_next_run),
		cmocka_unit_test(the_largest_ledger_is_saved_and_loaded),
	};
	int code = child(argc, argv);

	if (code >= 0)
		return code;
	proc_clean_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
