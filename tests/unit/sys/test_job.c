/* job: input goes in, output comes out, the deadline holds, done is called once. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "clashsup/job.h"
#include "with_reaper.h"

struct ended {
	int times;
	bool ok;
	struct job_result result; /* .output is a copy, freed by the test */
	char why[256];
	struct job *job;
};

static void on_done(void *ctx, const struct job_result *result)
{
	struct ended *ended = ctx;

	ended->times++;
	ended->result = *result;
	ended->result.output = malloc(result->output_len + 1);
	assert_non_null(ended->result.output);
	memcpy((char *)ended->result.output, result->output, result->output_len + 1);
	ended->ok = job_ok(result);
	job_why(result, ended->why, sizeof(ended->why));
	job_abandon(ended->job); /* too late and harmless */
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void loop_for(struct ev_loop *loop, const int *flag, double seconds)
{
	ev_timer limit;

	ev_now_update(loop);
	ev_timer_init(&limit, on_limit, seconds, 0.);
	ev_timer_start(loop, &limit);
	while (*flag == 0 && ev_is_active(&limit))
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &limit);
}

static void run_spec(struct ended *ended, struct reaper *r, const char *script, struct job_spec spec)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct err e = ERR_INIT;

	spec.argv = argv;
	memset(ended, 0, sizeof(*ended));
	if (job_start(&ended->job, r, &spec, on_done, ended, &e) < 0)
		fail_msg("%s", e.msg);
	loop_for(r->loop, &ended->times, 20.);
	assert_int_equal(ended->times, 1);
}

static void run_input(struct ended *ended, struct reaper *r, const char *script, const char *input, size_t len,
		      int64_t deadline_ms)
{
	run_spec(ended, r, script, (struct job_spec){ .input = input, .input_len = len, .deadline_ms = deadline_ms });
}

static void run(struct ended *ended, struct reaper *r, const char *script, int64_t deadline_ms)
{
	run_input(ended, r, script, NULL, 0, deadline_ms);
}

static void end(struct ended *ended)
{
	free((char *)ended->result.output);
}

static void both_outputs_are_kept_in_order(void **state)
{
	struct ended ended;

	run(&ended, *state, "echo one; echo two >&2; echo three", 10000);
	assert_true(ended.ok);
	assert_string_equal(ended.result.output, "one\ntwo\nthree\n");
	assert_int_equal(ended.result.output_len, 14);
	end(&ended);
}

static void a_large_input_reaches_a_program_that_answers_as_it_reads(void **state)
{
	const size_t len = 200 * 1024; /* more than both pipes hold */
	char *input = malloc(len);
	struct ended ended;

	assert_non_null(input);
	for (size_t i = 0; i < len; i++)
		input[i] = (char)('a' + i % 26);
	run_input(&ended, *state, "cat", input, len, 10000);
	assert_true(ended.ok);
	assert_int_equal(ended.result.output_len, len);
	assert_memory_equal(ended.result.output, input, len);
	end(&ended);
	free(input);
}

static void an_empty_input_and_no_input_both_read_as_the_end(void **state)
{
	struct ended ended;

	run_input(&ended, *state, "cat", "", 0, 10000);
	assert_true(ended.ok);
	end(&ended);
	run(&ended, *state, "cat", 10000);
	assert_true(ended.ok);
	end(&ended);
}

static void a_program_that_does_not_read_its_input_ends_all_the_same(void **state)
{
	const size_t len = 200 * 1024;
	char *input = calloc(1, len);
	struct ended ended;

	assert_non_null(input);
	run_input(&ended, *state, "exit 4", input, len, 10000);
	assert_false(ended.ok);
	assert_string_equal(ended.why, "exit status 4");
	end(&ended);
	free(input);
}

static void output_beyond_the_maximum_is_read_and_dropped(void **state)
{
	struct ended ended;

	run(&ended, *state, "head -c 3000000 /dev/zero | tr '\\0' x; exit 3", 10000);
	assert_int_equal(WEXITSTATUS(ended.result.status), 3);
	assert_int_equal(ended.result.output_len, JOB_OUTPUT_MAX);
	assert_int_equal(strlen(ended.result.output), JOB_OUTPUT_MAX);
	assert_true(ended.result.output_cut);
	end(&ended);
}

static void the_maximum_can_be_chosen_and_a_cut_is_told(void **state)
{
	const struct job_spec spec = { .deadline_ms = 10000, .output_max = 1000000 };
	struct ended ended;

	run_spec(&ended, *state, "head -c 1000000 /dev/zero | tr '\\0' x", spec);
	assert_true(ended.ok);
	assert_int_equal(ended.result.output_len, 1000000);
	assert_false(ended.result.output_cut);
	end(&ended);
	run_spec(&ended, *state, "head -c 1000001 /dev/zero | tr '\\0' x", spec);
	assert_true(ended.ok);
	assert_int_equal(ended.result.output_len, 1000000);
	assert_true(ended.result.output_cut);
	end(&ended);
}

static void the_reason_has_the_first_line(void **state)
{
	struct ended ended;

	run(&ended, *state, "echo; echo 'first line' >&2; echo second; exit 2", 10000);
	assert_string_equal(ended.why, "exit status 2: first line");
	end(&ended);
	run(&ended, *state, "kill -6 $$", 10000);
	assert_string_equal(ended.why, "killed by signal 6");
	end(&ended);
}

static void a_missing_program_is_127_with_the_reason(void **state)
{
	const char *const argv[] = { "no-such-program-here", NULL };
	const struct job_spec spec = { .argv = argv, .deadline_ms = 10000 };
	struct ended ended = { 0 };
	struct reaper *r = *state;

	assert_int_equal(job_start(&ended.job, r, &spec, on_done, &ended, NULL), 0);
	loop_for(r->loop, &ended.times, 20.);
	assert_int_equal(ended.times, 1);
	assert_string_equal(ended.why,
			    "exit status 127: cannot execute no-such-program-here: No such file or directory");
	end(&ended);
}

static void at_its_deadline_the_group_is_killed_and_what_was_said_is_kept(void **state)
{
	struct ended ended;

	run(&ended, *state, "trap '' TERM; echo said; sleep 100 & sleep 100", 300);
	assert_true(ended.result.timed_out);
	assert_false(ended.ok);
	assert_string_equal(ended.result.output, "said\n");
	assert_string_equal(ended.why, "no end within 300 ms");
	end(&ended);
}

/* setsid takes the grandchild out of the group: it survives the kill and holds the pipe. */
static void a_grandchild_that_holds_the_pipe_is_not_waited_for(void **state)
{
	struct ended ended;

	run(&ended, *state, "setsid sleep 4 & echo over", 10000);
	assert_true(ended.ok);
	assert_string_equal(ended.result.output, "over\n");
	end(&ended);
	run(&ended, *state, "setsid sleep 4 & echo over; sleep 100", 300);
	assert_true(ended.result.timed_out);
	assert_string_equal(ended.result.output, "over\n");
	end(&ended);
}

static void a_program_that_closes_its_output_is_waited_for(void **state)
{
	struct ended ended;

	run(&ended, *state, "echo said; exec >&- 2>&-; sleep 0.3; exit 5", 10000);
	assert_int_equal(WEXITSTATUS(ended.result.status), 5);
	assert_string_equal(ended.result.output, "said\n");
	end(&ended);
}

static void a_killed_job_is_told_once(void **state)
{
	const char *const argv[] = { "sleep", "100", NULL };
	const struct job_spec spec = { .argv = argv, .deadline_ms = 100000 };
	struct ended ended = { 0 };
	struct reaper *r = *state;

	assert_int_equal(job_start(&ended.job, r, &spec, on_done, &ended, NULL), 0);
	job_kill(ended.job);
	job_kill(ended.job);
	loop_for(r->loop, &ended.times, 20.);
	assert_int_equal(ended.times, 1);
	assert_string_equal(ended.why, "killed by signal 9");
	assert_false(ended.result.timed_out);
	end(&ended);
}

static void an_abandoned_job_tells_nobody(void **state)
{
	const char *const argv[] = { "sleep", "100", NULL };
	const struct job_spec spec = { .argv = argv, .input = "x", .input_len = 1, .deadline_ms = 100 };
	struct ended ended = { 0 };
	struct reaper *r = *state;

	assert_int_equal(job_start(&ended.job, r, &spec, on_done, &ended, NULL), 0);
	job_abandon(ended.job);
	loop_for(r->loop, &ended.times, 0.3);
	assert_int_equal(ended.times, 0);
	job_abandon(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_outputs_are_kept_in_order),
		cmocka_unit_test(a_large_input_reaches_a_program_that_answers_as_it_reads),
		cmocka_unit_test(an_empty_input_and_no_input_both_read_as_the_end),
		cmocka_unit_test(a_program_that_does_not_read_its_input_ends_all_the_same),
		cmocka_unit_test(the_maximum_can_be_chosen_and_a_cut_is_told),
		cmocka_unit_test(output_beyond_the_maximum_is_read_and_dropped),
		cmocka_unit_test(the_reason_has_the_first_line),
		cmocka_unit_test(a_missing_program_is_127_with_the_reason),
		cmocka_unit_test(at_its_deadline_the_group_is_killed_and_what_was_said_is_kept),
		cmocka_unit_test(a_grandchild_that_holds_the_pipe_is_not_waited_for),
		cmocka_unit_test(a_program_that_closes_its_output_is_waited_for),
		cmocka_unit_test(a_killed_job_is_told_once),
		cmocka_unit_test(an_abandoned_job_tells_nobody),
	};

	return cmocka_run_group_tests(tests, with_reaper, without_reaper);
}
