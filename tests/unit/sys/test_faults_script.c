/* the script backend while memory, descriptors or processes are out: an error, nothing left, and an apply is undone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/script_env.h"
#include "failing.h"
#include "sys/script.h"
#include "with_reaper.h"

static const struct script_values values = { .server_set = "s",
					     .lease_set = "l",
					     .port = 7893,
					     .mark = 1,
					     .table = 100,
					     .core_gid = 5,
					     .family = { true, true } };

struct outcome {
	struct reaper *reaper;
	int done, code;
	struct err why;
};

static void on_done(void *ctx, int code, const struct err *why)
{
	struct outcome *o = ctx;

	o->done++;
	o->code = code;
	o->why = *why;
	ev_break(o->reaper->loop, EVBREAK_ALL);
}

static void an_environment_without_memory_is_an_error(void **state)
{
	bool failed = true;
	(void)state;

	for (long n = 0; failed; n++) {
		struct err e = ERR_INIT;
		char **envp = NULL;
		int r;

		fail_allocation(n);
		r = script_env(&values, "/bin", &envp, &e);
		failed = allocations_work();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_int_equal(envp != NULL, !failed);
		script_env_free(envp);
	}
}

/* Runs an apply that fails, with what fails still failing; the code of script_start. */
static int run(struct outcome *o, const char *path)
{
	struct script_spec spec = { .path = path, .apply = true };
	struct script_run *started;
	struct err e = ERR_INIT;
	int r;

	o->done = 0;
	r = script_start(&started, o->reaper, &spec, on_done, o, &e);
	if (r < 0) {
		assert_true(e.msg[0] != '\0');
		return r;
	}
	while (!o->done)
		ev_run(o->reaper->loop, EVRUN_ONCE);
	assert_int_equal(o->done, 1);
	return 0;
}

static void each_fault_is_told_and_leaves_nothing(void **state)
{
	static const struct {
		enum failing_call call;
		int errnum;
	} calls[] = { { CALL_PIPE2, EMFILE }, { CALL_FORK, EAGAIN } };
	struct outcome o = { .reaper = *state };
	char path[] = "/tmp/test_faults_script.XXXXXX";
	int fd = mkstemp(path), open_before;
	bool failed = true;

	assert_true(fd >= 0);
	assert_int_equal(dprintf(fd, "#!/bin/sh\necho no; exit 1\n") > 0, 1);
	assert_int_equal(fchmod(fd, 0755) | close(fd), 0);
	open_before = descriptors();
	for (long n = 0; failed; n++) {
		int r;

		fail_allocation(n);
		r = run(&o, path);
		failed = allocations_work();
		assert_true(r == -ENOMEM || o.code == -EIO);
		assert_null(o.reaper->list);
		assert_int_equal(descriptors(), open_before);
	}
	for (size_t i = 0; i < 2; i++) {
		failed = true;
		for (long n = 0; failed; n++) { /* the second one is that of the removal */
			int r;

			fail_call(calls[i].call, n, calls[i].errnum);
			r = run(&o, path);
			failed = call_works(calls[i].call);
			assert_true(r == -calls[i].errnum || o.code == -EIO);
			if (failed && r == 0)
				assert_non_null(strstr(o.why.msg, "; and then: "));
			assert_null(o.reaper->list);
			assert_int_equal(descriptors(), open_before);
		}
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_environment_without_memory_is_an_error),
		cmocka_unit_test(each_fault_is_told_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, with_reaper, without_reaper);
}
