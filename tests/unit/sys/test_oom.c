/* oom: whose killing is taken for the kernel's, by a counter that others move, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/oom.h"

/* In place of the kernel's file: the lines of /proc/vmstat around the one that counts. */
static void count_is(const struct oom_watch *w, unsigned n)
{
	FILE *f = fopen(w->file, "w");

	assert_non_null(f);
	fprintf(f, "nr_oom_kill 999\npgfault 12\noom_kill %u\nnuma_hit 7\n", n);
	assert_int_equal(fclose(f), 0);
}

/* A process born at a count of 5. */
static int begin(void **state)
{
	static struct oom_watch w;
	int fd;

	w = (struct oom_watch){ .file = "/tmp/clashsup-oom-XXXXXX" };
	fd = mkstemp(w.file);
	assert_true(fd >= 0);
	close(fd);
	count_is(&w, 5);
	oom_sample(&w);
	oom_sample(&w);
	*state = &w;
	return 0;
}

static int end(void **state)
{
	struct oom_watch *w = *state;

	return unlink(w->file);
}

static void a_count_that_has_just_grown_accuses_the_kernel_once(void **state)
{
	struct oom_watch *w = *state;

	assert_false(oom_happened(w));
	count_is(w, 6);
	assert_true(oom_happened(w));
	assert_false(oom_happened(w));
}

static void a_killing_that_the_last_sample_has_seen_still_counts(void **state)
{
	struct oom_watch *w = *state;

	count_is(w, 6);
	oom_sample(w);
	assert_true(oom_happened(w));
}

static void anothers_killing_of_long_ago_accuses_nobody(void **state)
{
	struct oom_watch *w = *state;

	count_is(w, 9);
	oom_sample(w);
	oom_sample(w);
	assert_false(oom_happened(w));
	count_is(w, 10);
	assert_true(oom_happened(w));
}

static void a_count_that_cannot_be_read_accuses_nobody(void **state)
{
	struct oom_watch *w = *state;
	struct oom_watch none = { 0 };
	char file[sizeof(w->file)];

	assert_false(oom_happened(&none));
	memcpy(file, w->file, sizeof(file));
	strcpy(w->file, "/nowhere/vmstat");
	oom_sample(w);
	assert_false(oom_happened(w));
	memcpy(w->file, file, sizeof(file));
	count_is(w, 6);
	assert_false(oom_happened(w));
	count_is(w, 7);
	assert_true(oom_happened(w));
}

static void a_process_is_watched_by_a_file_that_is_there(void **state)
{
	struct oom_watch w = { 0 };
	(void)state;

	oom_watch(&w, getpid());
	if (!w.file[0])
		skip(); /* no control group that counts, and a kernel before 4.13 or no /proc */
	assert_int_equal(access(w.file, R_OK), 0);
	assert_true(w.count != UINT64_MAX);
	assert_int_equal(w.before, w.count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_count_that_has_just_grown_accuses_the_kernel_once, begin, end),
		cmocka_unit_test_setup_teardown(a_killing_that_the_last_sample_has_seen_still_counts, begin, end),
		cmocka_unit_test_setup_teardown(anothers_killing_of_long_ago_accuses_nobody, begin, end),
		cmocka_unit_test_setup_teardown(a_count_that_cannot_be_read_accuses_nobody, begin, end),
		cmocka_unit_test(a_process_is_watched_by_a_file_that_is_there),
	};

	return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
