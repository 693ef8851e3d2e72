/* starting programs while memory, descriptors or processes are out: an error, nothing left, and the next start works.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/helper.h"
#include "clashsup/io.h"
#include "clashsup/job.h"
#include "failing.h"
#include "with_reaper.h"

static const struct {
	enum failing_call call;
	int errnum;
} faults[] = {
	{ CALL_PIPE2, EMFILE },
	{ CALL_FORK, EAGAIN },
	{ CALL_FCNTL, EINVAL },
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* Until *flag, at most 20 seconds. */
static void loop_until(struct reaper *r, const int *flag)
{
	ev_timer limit;

	ev_now_update(r->loop);
	ev_timer_init(&limit, on_limit, 20., 0.);
	ev_timer_start(r->loop, &limit);
	while (!*flag && ev_is_active(&limit))
		ev_run(r->loop, EVRUN_ONCE);
	ev_timer_stop(r->loop, &limit);
}

/* Starts it, 0 or -errno. Once it has started, waits for its good end. */
typedef int (*start_fn)(struct reaper *r, struct err *e);

static void refused_cleanly(const struct reaper *r, int result, int errnum, const struct err *e, int open_before)
{
	assert_int_equal(result, -errnum);
	assert_int_equal(e->code, errnum);
	assert_non_null(strstr(e->msg, "cannot start"));
	assert_null(r->list);
	assert_int_equal(descriptors(), open_before);
}

static void each_fault_is_survived(struct reaper *r, start_fn start)
{
	int open_before = descriptors();
	bool failed = true;

	for (long n = 0; failed; n++) {
		struct err e = ERR_INIT;
		int result;

		fail_allocation(n);
		result = start(r, &e);
		failed = allocations_work();
		if (failed)
			refused_cleanly(r, result, ENOMEM, &e, open_before);
		else
			assert_int_equal(result, 0);
	}
	for (size_t i = 0; i < FAULTS; i++) {
		failed = true;
		for (long n = 0; failed; n++) {
			struct err e = ERR_INIT;
			int result;

			fail_call(faults[i].call, n, faults[i].errnum);
			result = start(r, &e);
			failed = call_works(faults[i].call);
			if (failed)
				refused_cleanly(r, result, faults[i].errnum, &e, open_before);
			else
				assert_int_equal(result, 0);
			assert_true(failed || n > 0);
		}
	}
	assert_int_equal(descriptors(), open_before);
}

/* ---- a plain process ---- */

struct child {
	struct proc proc;
	int ended, status;
};

static void on_exit_child(struct proc *p, int status)
{
	struct child *c = p->data;

	c->ended = 1;
	c->status = status;
}

static int start_proc(struct reaper *r, struct err *e)
{
	static const char *const argv[] = { "true", NULL };
	const struct proc_spec spec = { .argv = argv, .exec_fd = -1, .fd = { -1, -1, -1 } };
	struct child c = { .proc.on_exit = on_exit_child };
	int result;

	c.proc.data = &c;
	result = proc_spawn(r, &c.proc, &spec, e);
	if (result < 0) {
		assert_int_equal(c.proc.pid, 0);
		return result;
	}
	loop_until(r, &c.ended);
	assert_int_equal(c.ended, 1);
	assert_int_equal(c.status, 0);
	return 0;
}

static void a_process_that_could_not_be_forked_is_told_and_the_next_one_runs(void **state)
{
	struct reaper *r = *state;
	int open_before = descriptors();
	struct err e = ERR_INIT;

	fail_call(CALL_FORK, 0, EAGAIN);
	refused_cleanly(r, start_proc(r, &e), EAGAIN, &e, open_before);
	assert_true(call_works(CALL_FORK));
	fail_allocation(0);
	refused_cleanly(r, start_proc(r, &e), ENOMEM, &e, open_before);
	assert_true(allocations_work());
	assert_int_equal(start_proc(r, &e), 0);
}

static void without_dev_null_a_process_runs_and_without_pipes_too_it_is_refused(void **state)
{
	struct reaper *r = *state;
	int open_before = descriptors();
	struct err e = ERR_INIT;

	fail_calls_after(CALL_OPEN, 0, ENOENT);
	assert_int_equal(start_proc(r, &e), 0);
	fail_call(CALL_PIPE2, 0, ENFILE);
	refused_cleanly(r, start_proc(r, &e), ENFILE, &e, open_before);
	assert_true(call_works(CALL_OPEN));
	assert_true(call_works(CALL_PIPE2));
}

/* ---- a job ---- */

struct ended {
	int times;
	bool ok;
	char output[64];
};

static void on_done(void *ctx, const struct job_result *result)
{
	struct ended *ended = ctx;

	ended->times++;
	ended->ok = job_ok(result);
	snprintf(ended->output, sizeof(ended->output), "%s", result->output);
}

static int start_job(struct reaper *r, struct err *e)
{
	static const char *const argv[] = { "cat", NULL };
	const struct job_spec spec = { .argv = argv, .input = "passed on", .input_len = 9, .deadline_ms = 20000 };
	struct ended ended = { 0 };
	struct job *j = NULL;
	int result = job_start(&j, r, &spec, on_done, &ended, e);

	if (result < 0) {
		assert_null(j);
		assert_int_equal(ended.times, 0);
		return result;
	}
	loop_until(r, &ended.times);
	assert_int_equal(ended.times, 1);
	assert_true(ended.ok);
	assert_string_equal(ended.output, "passed on");
	return 0;
}

static void a_job_that_cannot_start_leaves_nothing_and_the_next_one_runs(void **state)
{
	each_fault_is_survived(*state, start_job);
}

/* ---- a helper: this very program, see main ---- */

struct got {
	int ends;
	enum helper_end end;
};

static void on_record(void *ctx, const struct wire_record *record)
{
	(void)ctx;
	(void)record;
}

static void on_end(void *ctx, enum helper_end end, const char *why)
{
	struct got *got = ctx;
	(void)why;

	got->ends++;
	got->end = end;
}

static int start_role(struct reaper *r, const char *role, struct err *e)
{
	static const struct helper_ops ops = { .record = on_record, .end = on_end };
	static const uint32_t caps[WIRE_TYPES];
	static const char *const args[] = { "stand-in", NULL };
	cleanup_fd int program = __real_open("/proc/self/exe", O_PATH | O_CLOEXEC);
	const struct helper_spec spec = {
		.role = role,
		.args = args,
		.exec_fd = program,
		.path = "clashsup-helper",
		.ids = { .uid = getuid(), .gid = getgid(), .as_root = getuid() == 0 },
		.caps = caps,
		.deadline_ms = 20000,
	};
	struct helper *h = NULL;
	struct got got = { 0 };
	int result = helper_start(&h, r, &spec, &ops, &got, e);

	if (result < 0) {
		assert_null(h);
		assert_int_equal(got.ends, 0);
		return result;
	}
	loop_until(r, &got.ends);
	assert_int_equal(got.ends, 1);
	assert_int_equal(got.end, HELPER_OK);
	return 0;
}

static int start_extract(struct reaper *r, struct err *e)
{
	return start_role(r, "extract", e);
}

static int start_probe(struct reaper *r, struct err *e)
{
	return start_role(r, "probe", e);
}

static void a_helper_that_cannot_start_leaves_nothing_and_the_next_one_runs(void **state)
{
	each_fault_is_survived(*state, start_extract);
}

static void a_helper_with_an_input_that_cannot_start_leaves_nothing_either(void **state)
{
	each_fault_is_survived(*state, start_probe);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_that_could_not_be_forked_is_told_and_the_next_one_runs),
		cmocka_unit_test(without_dev_null_a_process_runs_and_without_pipes_too_it_is_refused),
		cmocka_unit_test(a_job_that_cannot_start_leaves_nothing_and_the_next_one_runs),
		cmocka_unit_test(a_helper_that_cannot_start_leaves_nothing_and_the_next_one_runs),
		cmocka_unit_test(a_helper_with_an_input_that_cannot_start_leaves_nothing_either),
	};

	if (argc > 2 && strcmp(argv[2], "stand-in") == 0)
		return 0;
	return cmocka_run_group_tests(tests, with_reaper, without_reaper);
}
