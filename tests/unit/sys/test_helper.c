/*
 * helper: good records arrive, bad helpers end. The program runs itself as the
 * helper: argv[1] is the role, argv[2] says how it misbehaves.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/helper.h"
#include "clashsup/io.h"
#include "clashsup/log.h"

#define ADDRESS_CAP 3000 /* a pipe holds them just yet */

static char self[4096];
static const uint32_t caps[WIRE_TYPES] = {
	[WIRE_ADDRESS] = ADDRESS_CAP, [WIRE_SUMMARY] = 1, [WIRE_HEALTH] = 5, [WIRE_NOTE] = 64
};

struct got {
	struct helper *helper;
	int addresses, healths, notes, summaries, ends;
	int abandon_at; /* abandon within the n-th address */
	enum helper_end end;
	char why[128];
	char note[WIRE_TEXT_MAX + 1];
};

static void on_record(void *ctx, const struct wire_record *r)
{
	struct got *got = ctx;

	got->addresses += r->type == WIRE_ADDRESS;
	got->healths += r->type == WIRE_HEALTH;
	got->summaries += r->type == WIRE_SUMMARY;
	got->notes += r->type == WIRE_NOTE;
	if (r->type == WIRE_NOTE)
		snprintf(got->note, sizeof(got->note), "%s", r->u.note.text);
	if (r->type == WIRE_ADDRESS && got->addresses == got->abandon_at)
		helper_abandon(got->helper);
}

static void on_end(void *ctx, enum helper_end end, const char *why)
{
	struct got *got = ctx;

	got->ends++;
	got->end = end;
	snprintf(got->why, sizeof(got->why), "%s", why);
}

static const struct helper_ops ops = { .record = on_record, .end = on_end };

static void start(struct got *got, struct reaper *r, const char *role, const char *how, int64_t deadline_ms)
{
	cleanup_fd int program = open(self, O_PATH | O_CLOEXEC);
	const char *const args[] = { how, NULL };
	const struct helper_spec spec = {
		.role = role,
		.args = args,
		.exec_fd = program,
		.path = self,
		.ids = { .uid = getuid(), .gid = getuid() == 0 ? 7893 : getgid(), .as_root = getuid() == 0 },
		.caps = caps,
		.deadline_ms = deadline_ms,
	};
	int abandon_at = got->abandon_at;
	struct err e = ERR_INIT;

	memset(got, 0, sizeof(*got));
	got->abandon_at = abandon_at;
	if (helper_start(&got->helper, r, &spec, &ops, got, &e) < 0)
		fail_msg("%s", e.msg);
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* Until *flag is `want` or the time has passed. */
static void loop_for(struct reaper *r, const int *flag, int want, double seconds)
{
	ev_timer limit;

	ev_now_update(r->loop);
	ev_timer_init(&limit, on_limit, seconds, 0.);
	ev_timer_start(r->loop, &limit);
	while (*flag != want && ev_is_active(&limit))
		ev_run(r->loop, EVRUN_ONCE);
	ev_timer_stop(r->loop, &limit);
}

static void run(struct got *got, struct reaper *r, const char *how, int64_t deadline_ms)
{
	got->abandon_at = 0;
	start(got, r, "extract", how, deadline_ms);
	loop_for(r, &got->ends, 1, 20.);
	assert_int_equal(got->ends, 1);
}

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The log goes to a file meanwhile; returns its text, the caller's to free. */
static char *log_of(struct got *got, struct reaper *r, const char *how)
{
	cleanup_fd int file = memfd_create("log", MFD_CLOEXEC);
	char *text = NULL;
	size_t len;

	log_open(file, LOG_LEVEL_DEBUG);
	run(got, r, how, 10000);
	log_open(1, LOG_LEVEL_DEBUG);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	assert_int_equal(io_slurp(file, 1 << 20, &text, &len), 0);
	return text;
}

static int set_up(void **state)
{
	static struct reaper reaper;

	proc_clean_start();
	log_open(1, LOG_LEVEL_DEBUG);
	reaper_start(&reaper, ev_default_loop(0));
	*state = &reaper;
	return 0;
}

static int tear_down(void **state)
{
	reaper_stop(*state);
	return 0;
}

static void good_records_arrive_before_the_end(void **state)
{
	struct got got;

	run(&got, *state, "good", 10000);
	assert_int_equal(got.end, HELPER_OK);
	assert_string_equal(got.why, "");
	assert_int_equal(got.addresses, ADDRESS_CAP);
	assert_int_equal(got.summaries, 1);
}

static void a_full_pipe_is_not_read_in_one_turn(void **state)
{
	struct reaper *r = *state;
	struct got got = { 0 };

	start(&got, r, "extract", "flood", 10000);
	while (!got.addresses) {
		usleep(200 * 1000); /* for a pipe that is full */
		ev_run(r->loop, EVRUN_ONCE);
	}
	assert_in_range(got.addresses, 1, ADDRESS_CAP * 2 / 3);
	loop_for(r, &got.ends, 1, 10.);
	assert_int_equal(got.end, HELPER_BAD_RECORD);
}

static void garbage_ends_the_helper(void **state)
{
	struct got got;

	run(&got, *state, "garbage", 10000);
	assert_int_equal(got.end, HELPER_BAD_RECORD);
	assert_string_equal(got.why, "a bad record, or one too many of its type, after 2 good ones");
	assert_int_equal(got.addresses, 2);
}

static void a_flood_of_good_records_ends_at_the_cap(void **state)
{
	struct got got;

	run(&got, *state, "flood", 10000);
	assert_int_equal(got.end, HELPER_BAD_RECORD);
	assert_int_equal(got.addresses, ADDRESS_CAP);
}

static void half_a_record_at_the_end_is_bad(void **state)
{
	struct got got;

	run(&got, *state, "half", 10000);
	assert_int_equal(got.end, HELPER_BAD_RECORD);
	assert_string_equal(got.why, "its output ends within a record, after 1 good ones");
}

static void a_hang_ends_at_the_deadline_and_keeps_what_came(void **state)
{
	struct got got;

	run(&got, *state, "hang", 300);
	assert_int_equal(got.end, HELPER_DEADLINE);
	assert_string_equal(got.why, "no end within 300 ms");
	assert_int_equal(got.addresses, 1);
}

static void another_exit_status_or_a_signal_is_a_failure(void **state)
{
	struct got got;

	run(&got, *state, "exit3", 10000);
	assert_int_equal(got.end, HELPER_FAILED);
	assert_string_equal(got.why, "exit status 3");
	run(&got, *state, "killed", 10000);
	assert_int_equal(got.end, HELPER_FAILED);
	assert_string_equal(got.why, "killed by signal 9");
}

static void a_program_that_cannot_be_executed_is_a_failure(void **state)
{
	cleanup_fd int program = open("/etc", O_PATH | O_CLOEXEC);
	const struct helper_spec spec = { .role = "inspect",
					  .exec_fd = program,
					  .path = "/etc",
					  .ids = { .uid = getuid(), .gid = getgid(), .as_root = getuid() == 0 },
					  .caps = caps };
	struct got got = { 0 };

	assert_int_equal(helper_start(&got.helper, *state, &spec, &ops, &got, NULL), 0);
	loop_for(*state, &got.ends, 1, 20.);
	assert_int_equal(got.end, HELPER_FAILED);
	assert_string_equal(got.why, "exit status 126");
}

static void what_it_says_on_stderr_is_logged_line_by_line(void **state)
{
	struct got got;
	char *text = log_of(&got, *state, "stderr");

	assert_string_equal(text, "[clash] helper extract: first\n[clash] helper extract: sec?nd\n"
				  "[clash] helper extract: no newline\n");
	free(text);
}

static void a_flood_on_stderr_is_cut(void **state)
{
	struct got got;
	char *text = log_of(&got, *state, "chatter");
	int lines = 0;

	assert_int_equal(got.end, HELPER_OK);
	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	assert_int_equal(lines, 65);
	assert_non_null(strstr(text, "the rest is dropped\n"));
	free(text);
}

static void its_environment_is_minimal(void **state)
{
	struct got got;

	setenv("http_proxy", "http://192.0.2.1", 1);
	setenv("LD_PRELOAD_LOOKALIKE", "x", 1);
	run(&got, *state, "environment", 10000);
	unsetenv("http_proxy");
	unsetenv("LD_PRELOAD_LOOKALIKE");
	assert_string_equal(got.note, "PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C ");
}

static void the_probe_helper_is_told_byte_by_byte(void **state)
{
	struct got got = { 0 };

	start(&got, *state, "probe", "probe", 0);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(helper_tell(got.helper, "p", 1), 0);
		loop_for(*state, &got.healths, i, 20.);
		assert_int_equal(got.healths, i);
	}
	helper_abandon(got.helper);
	loop_for(*state, &got.ends, 1, 0.2);
	assert_int_equal(got.ends, 0);
}

static void telling_a_helper_that_does_not_listen_never_blocks(void **state)
{
	static char much[1 << 20];
	struct got got = { 0 };

	start(&got, *state, "probe", "hang", 0);
	assert_int_equal(helper_tell(got.helper, much, sizeof(much)), -EAGAIN);
	assert_int_equal(helper_tell(got.helper, much, 1), -EAGAIN);
	helper_abandon(got.helper);
	start(&got, *state, "extract", "hang", 0);
	assert_int_equal(helper_tell(got.helper, much, 1), -EPIPE);
	helper_abandon(got.helper);
	helper_abandon(NULL);
}

static void an_owner_may_abandon_within_a_record(void **state)
{
	struct got got = { .abandon_at = 3 };

	start(&got, *state, "extract", "good", 10000);
	loop_for(*state, &got.ends, 1, 0.3);
	assert_int_equal(got.ends, 0);
	assert_int_equal(got.addresses, 3);
}

static void no_descriptor_is_left_behind(void **state)
{
	int before = open_descriptors();
	struct got got;

	run(&got, *state, "good", 10000);
	run(&got, *state, "garbage", 10000);
	start(&got, *state, "probe", "hang", 0);
	helper_abandon(got.helper);
	assert_int_equal(open_descriptors(), before);
}

static void the_helper_is_looked_for_beside_our_program(void **state)
{
	char path[4096], link[4200];
	struct err e = ERR_INIT;
	int fd;
	(void)state;

	snprintf(link, sizeof(link), "%.*s/clashsup-helper", (int)(strrchr(self, '/') - self), self);
	unlink(link);
	fd = helper_open(path, sizeof(path), &e);
	if (fd >= 0) { /* one is installed */
		assert_string_equal(path, CLASHSUP_LIBEXECDIR "/clashsup-helper");
		close(fd);
	} else {
		assert_int_equal(fd, -ENOENT);
		assert_non_null(strstr(e.msg, CLASHSUP_LIBEXECDIR));
	}
	assert_int_equal(symlink(self, link), 0);
	fd = helper_open(path, sizeof(path), &e);
	unlink(link);
	assert_true(fd >= 0);
	assert_string_equal(path, link);
	close(fd);
}

/* ---- the stand-in ---- */

static void send_addresses(long n)
{
	struct wire_record r = { .type = WIRE_ADDRESS };

	addr_parse("192.0.2.1", &r.u.address.addr);
	for (long i = 0; i < n; i++) {
		if (wire_send(1, &r) < 0)
			_exit(9);
	}
}

static int answer_probes(void)
{
	const struct wire_record r = { .type = WIRE_HEALTH, .u.health = { .ok = true, .status = 200 } };
	char byte;

	while (io_read(0, &byte, 1) == 1)
		wire_send(1, &r);
	return 0;
}

static int send_environment(void)
{
	char text[WIRE_TEXT_MAX] = "";
	const struct wire_record r = { .type = WIRE_NOTE, .u.note.text = text };

	for (char **at = environ; *at; at++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", *at);
	return wire_send(1, &r) < 0;
}

static int stand_in(const char *how)
{
	const struct wire_record summary = { .type = WIRE_SUMMARY };

	if (strcmp(how, "good") == 0)
		return send_addresses(ADDRESS_CAP), wire_send(1, &summary) < 0;
	if (strcmp(how, "garbage") == 0)
		return send_addresses(2), io_write_all(1, "GET / HTTP/1.1\r\n", 16), pause();
	if (strcmp(how, "flood") == 0)
		return send_addresses(100000000), 0;
	if (strcmp(how, "half") == 0)
		return send_addresses(1), io_write_all(1, "\x01\x02\x00", 3) < 0;
	if (strcmp(how, "hang") == 0)
		return send_addresses(1), signal(SIGTERM, SIG_IGN), pause();
	if (strcmp(how, "killed") == 0)
		return raise(SIGKILL);
	if (strcmp(how, "probe") == 0)
		return answer_probes();
	if (strcmp(how, "environment") == 0)
		return send_environment();
	if (strcmp(how, "stderr") == 0)
		return io_write_all(2, "first\nsec\x1bnd\n\nno newline", 25);
	for (int i = 0; strcmp(how, "chatter") == 0 && i < 5000; i++)
		fprintf(stderr, "line %d\n", i);
	return strcmp(how, "exit3") == 0 ? 3 : 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_records_arrive_before_the_end),
		cmocka_unit_test(a_full_pipe_is_not_read_in_one_turn),
		cmocka_unit_test(garbage_ends_the_helper),
		cmocka_unit_test(a_flood_of_good_records_ends_at_the_cap),
		cmocka_unit_test(half_a_record_at_the_end_is_bad),
		cmocka_unit_test(a_hang_ends_at_the_deadline_and_keeps_what_came),
		cmocka_unit_test(another_exit_status_or_a_signal_is_a_failure),
		cmocka_unit_test(a_program_that_cannot_be_executed_is_a_failure),
		cmocka_unit_test(what_it_says_on_stderr_is_logged_line_by_line),
		cmocka_unit_test(a_flood_on_stderr_is_cut),
		cmocka_unit_test(its_environment_is_minimal),
		cmocka_unit_test(the_probe_helper_is_told_byte_by_byte),
		cmocka_unit_test(telling_a_helper_that_does_not_listen_never_blocks),
		cmocka_unit_test(an_owner_may_abandon_within_a_record),
		cmocka_unit_test(no_descriptor_is_left_behind),
		cmocka_unit_test(the_helper_is_looked_for_beside_our_program),
	};

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	if (argc > 2)
		return stand_in(argv[2]);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
