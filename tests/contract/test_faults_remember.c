/* remember without memory, processes or a disk that works: the old file stays, and the next save goes on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing.h"
#include "remember_fixture.h"

#define GRACE (24 * 3600 * INT64_C(1000))

static void goes_on(struct fixture *f, const char *why)
{
	assert_non_null(strstr(f->remember.warning, why));
	assert_int_equal(logged(f, "cannot save the last good addresses"), 1);
	assert_int_equal(load(f, GRACE).n, 5);
	assert_string_equal(save(f), "");
	assert_int_equal(load(f, GRACE).n, 500);
	end(f);
}

static void with_an_old_file(struct fixture *f)
{
	begin(f);
	add(f, 0, 5, clock_ms());
	assert_string_equal(save(f), "");
	add(f, 5, 500, clock_ms());
}

static void a_save_without_memory_leaves_the_old_file_and_the_next_one_goes_on(void **state)
{
	bool failed = true;
	long n = 0;
	(void)state;

	for (; failed; n++) {
		struct fixture f;

		with_an_old_file(&f);
		fail_allocation(n);
		save(&f);
		failed = allocations_work();
		if (failed)
			goes_on(&f, n < 3 ? "out of memory" : "Cannot allocate memory");
		else
			end(&f);
	}
	assert_true(n > 5);
}

static void a_child_that_cannot_start_is_told(void **state)
{
	struct fixture f;
	(void)state;

	with_an_old_file(&f);
	fail_call(CALL_FORK, 0, EAGAIN);
	save(&f);
	assert_true(call_works(CALL_FORK));
	goes_on(&f, "Resource temporarily unavailable");
}

static void a_load_without_memory_is_told_and_loads_nothing(void **state)
{
	struct fixture f;
	(void)state;

	with_an_old_file(&f);
	fail_allocation(0);
	assert_int_equal(load(&f, GRACE).n, 0);
	assert_true(allocations_work());
	assert_int_equal(logged(&f, "Cannot allocate memory"), 1);
	assert_int_equal(load(&f, GRACE).n, 5);
	end(&f);
}

/* What the child does, in this process, with a file of seven on its stdin. */
static int write_here(const struct fixture *f, struct err *e)
{
	int input = memfd_create("stdin", MFD_CLOEXEC), saved = dup(STDIN_FILENO), r;
	struct lastgood file = { 0 };

	for (uint8_t i = 0; i < 7; i++) {
		const struct lastgood_entry entry = {
			{ IP_V4, { 45, 0, 0, i } }, SOURCE, 0, (uint32_t)(clock_wall_ms() / 1000)
		};

		assert_int_equal(lastgood_put(&file, &entry), 0);
	}
	assert_int_equal(lastgood_finish(&file), 0);
	assert_int_equal(pwrite(input, file.bytes, file.len, 0), file.len);
	lastgood_free(&file);
	assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
	close(input);
	r = remember_write(f->file, e);
	if (saved >= 0)
		dup2(saved, STDIN_FILENO);
	close(saved);
	return r;
}

static void each_call_of_the_child_that_fails_leaves_the_old_file_alone(void **state)
{
	static const struct {
		enum failing_call call;
		long times;
	} calls[] = { { CALL_OPEN, 2 }, { CALL_RENAME, 1 } };
	(void)state;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		for (long n = 0; n < calls[i].times; n++) {
			struct err e = ERR_INIT;
			struct fixture f;
			int r;

			with_an_old_file(&f);
			fail_call(calls[i].call, n, EIO);
			r = write_here(&f, &e);
			assert_true(call_works(calls[i].call));
			assert_int_equal(r, -EIO);
			assert_non_null(strstr(e.msg, f.state));
			assert_int_equal(access(f.new, F_OK), -1);
			assert_int_equal(load(&f, GRACE).n, 5);
			assert_int_equal(write_here(&f, &e), 0);
			assert_int_equal(load(&f, GRACE).n, 7);
			end(&f);
		}
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_save_without_memory_leaves_the_old_file_and_the_next_one_goes_on),
		cmocka_unit_test(a_child_that_cannot_start_is_told),
		cmocka_unit_test(a_load_without_memory_is_told_and_loads_nothing),
		cmocka_unit_test(each_call_of_the_child_that_fails_leaves_the_old_file_alone),
	};
	int code = child(argc, argv);

	if (code >= 0)
		return code;
	proc_clean_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
