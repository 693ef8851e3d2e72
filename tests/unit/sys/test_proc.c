/*
 * proc: what a child gets, what it does not get, and that every death is seen.
 * The program runs itself as the child: argv[1] names what that child does.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/proc.h"

#define ORPHANS 500
#define LIMIT_MS 20000

static char self[4096];

/* ---- running one child to its end, with its output ---- */

struct run {
	struct proc proc;
	struct ev_loop *loop;
	int status;
	int ended;
	char text[8192];
	size_t len;
};

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* Runs the loop until `*flag` is at least `want`, or much too long has passed. */
static bool loop_until(struct ev_loop *loop, const int *flag, int want)
{
	ev_timer limit;

	ev_now_update(loop);
	ev_timer_init(&limit, on_limit, LIMIT_MS / 1000., 0.);
	ev_timer_start(loop, &limit);
	while (*flag < want && ev_is_active(&limit))
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &limit);
	return *flag >= want;
}

static void on_end(struct proc *p, int status)
{
	struct run *run = p->data;

	run->status = status;
	run->ended++;
}

static void run_init(struct run *run, struct ev_loop *loop)
{
	memset(run, 0, sizeof(*run));
	run->loop = loop;
	run->proc.on_exit = on_end;
	run->proc.data = run;
}

/* Starts `spec` with stdout and stderr (unless given) on a pipe, waits for the end of both. */
static void run_spec(struct run *run, struct reaper *r, struct proc_spec *spec)
{
	struct err e = ERR_INIT;
	int ends[2];
	ssize_t n;

	run_init(run, r->loop);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	spec->fd[1] = spec->fd[2] = ends[1];
	if (proc_spawn(r, &run->proc, spec, &e) < 0)
		fail_msg("%s", e.msg);
	close(ends[1]);
	while ((n = io_read(ends[0], run->text + run->len, sizeof(run->text) - 1 - run->len)) > 0)
		run->len += (size_t)n;
	close(ends[0]);
	assert_true(loop_until(r->loop, &run->ended, 1));
	assert_int_equal(run->proc.pid, 0);
}

static struct proc_spec spec_of(const char *const *argv)
{
	return (struct proc_spec){ .argv = argv, .exec_fd = -1, .fd = { -1, -1, -1 } };
}

static int run_argv(struct run *run, struct reaper *r, const char *const *argv)
{
	struct proc_spec spec = spec_of(argv);

	run_spec(run, r, &spec);
	return WIFEXITED(run->status) ? WEXITSTATUS(run->status) : -WTERMSIG(run->status);
}

static int set_up(void **state)
{
	static struct reaper reaper;

	reaper_start(&reaper, ev_default_loop(0));
	*state = &reaper;
	return 0;
}

static int tear_down(void **state)
{
	reaper_stop(*state);
	return 0;
}

/* ---- cases ---- */

static void exit_codes_and_signals_arrive_as_they_were(void **state)
{
	struct run run;

	for (int code = 0; code < 256; code += 51) {
		char text[8];

		snprintf(text, sizeof(text), "%d", code);
		assert_int_equal(run_argv(&run, *state, (const char *const[]){ self, "exit", text, NULL }), code);
	}
	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "/bin/sh", "-c", "kill -9 $$", NULL }), -9);
}

static void a_name_without_a_slash_is_looked_up_on_path(void **state)
{
	struct run run;

	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "echo", "hello", NULL }), 0);
	assert_string_equal(run.text, "hello\n");
}

static void a_missing_program_is_127_and_says_why(void **state)
{
	struct run run;

	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "/nonexistent/program", NULL }), 127);
	assert_string_equal(run.text, "cannot execute /nonexistent/program: No such file or directory\n");
	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "no-such-program-here", NULL }), 127);
	assert_string_equal(run.text, "cannot execute no-such-program-here: No such file or directory\n");
}

static void a_program_that_may_not_run_is_126_and_says_why(void **state)
{
	struct run run;

	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "/etc/passwd", NULL }), 126);
	assert_string_equal(run.text, "cannot execute /etc/passwd: Permission denied\n");
	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "/etc", NULL }), 126);
}

static void a_working_directory_that_is_missing_is_126_and_says_why(void **state)
{
	struct proc_spec spec = spec_of((const char *const[]){ "true", NULL });
	struct run run;

	spec.cwd = "/nonexistent";
	run_spec(&run, *state, &spec);
	assert_int_equal(WEXITSTATUS(run.status), 126);
	assert_string_equal(run.text, "cannot change to the directory /nonexistent: No such file or directory\n");
}

static int refuse(const void *arg, pid_t parent)
{
	return write(2, arg, strlen(arg)) > 0 && parent == getppid() ? -1 : 0;
}

static void a_refusal_before_exec_is_126(void **state)
{
	struct proc_spec spec = spec_of((const char *const[]){ "true", NULL });
	struct run run;

	spec.in_child = refuse;
	spec.arg = "no\n";
	run_spec(&run, *state, &spec);
	assert_int_equal(WEXITSTATUS(run.status), 126);
	assert_string_equal(run.text, "no\n");
}

static void signals_directory_umask_and_group_are_clean_in_the_child(void **state)
{
	struct sigaction ign = { .sa_handler = SIG_IGN }, old;
	sigset_t block, before;
	mode_t mask = umask(077);
	struct run run;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &before);
	sigaction(SIGUSR1, &ign, &old);
	assert_int_equal(run_argv(&run, *state, (const char *const[]){ "cat", "/proc/self/status", NULL }), 0);
	sigaction(SIGUSR1, &old, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	umask(mask);
	assert_non_null(strstr(run.text, "SigBlk:\t0000000000000000\n"));
	assert_non_null(strstr(run.text, "SigIgn:\t0000000000000000\n"));
	assert_non_null(strstr(run.text, "Umask:\t0022\n"));
	assert_int_equal(run_argv(&run, *state, (const char *const[]){ self, "whereami", NULL }), 0);
	assert_string_equal(run.text, "/ leader");
}

static void no_descriptor_leaks_into_the_child(void **state)
{
	int leaky = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might */
	int high = fcntl(leaky, F_DUPFD, 900);
	struct run run;

	assert_true(leaky >= 0 && high >= 900);
	assert_int_equal(run_argv(&run, *state, (const char *const[]){ self, "fds", NULL }), 0);
	assert_string_equal(run.text, "0 1 2 ");
	close(leaky);
	close(high);
}

static int text_fd(const char *text)
{
	int fd = memfd_create("text", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(io_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void descriptors_may_swap_their_numbers(void **state)
{
	int a = text_fd("a"), b = text_fd("b"), c = text_fd("c");
	const struct proc_fd extra[] = { { a, b }, { b, a } };
	char na[12], nb[12];
	struct proc_spec spec;
	struct run run;

	snprintf(na, sizeof(na), "%d", a);
	snprintf(nb, sizeof(nb), "%d", b);
	spec = spec_of((const char *const[]){ self, "cat", "0", na, nb, NULL });
	spec.fd[0] = c;
	spec.extra = extra;
	spec.n_extra = 2;
	run_spec(&run, *state, &spec);
	assert_string_equal(run.text, "cba");
	close(a);
	close(b);
	close(c);
}

static void the_program_descriptor_may_have_the_number_of_a_target(void **state)
{
	int program = open(self, O_PATH | O_CLOEXEC), a = text_fd("a");
	const struct proc_fd extra[] = { { a, program } };
	struct proc_spec spec;
	char number[12];
	struct run run;

	snprintf(number, sizeof(number), "%d", program);
	spec = spec_of((const char *const[]){ "any name", "cat", number, NULL });
	spec.exec_fd = program;
	spec.extra = extra;
	spec.n_extra = 1;
	run_spec(&run, *state, &spec);
	assert_string_equal(run.text, "a");
	close(program);
	close(a);
}

static void stdout_may_come_from_our_stdin(void **state)
{
	int keep = fcntl(0, F_DUPFD_CLOEXEC, 3), ends[2];
	struct proc_spec spec = spec_of((const char *const[]){ "echo", "through", NULL });
	char text[16] = "";
	struct run run;
	struct err e = ERR_INIT;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(dup2(ends[1], 0), 0);
	run_init(&run, ev_default_loop(0));
	spec.fd[1] = 0;
	assert_int_equal(proc_spawn(*state, &run.proc, &spec, &e), 0);
	if (keep >= 0)
		dup2(keep, 0);
	else
		close(0);
	close(ends[1]);
	close(keep);
	assert_true(io_read(ends[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "through\n");
	close(ends[0]);
	assert_true(loop_until(run.loop, &run.ended, 1));
}

/* The life pipe has the highest number, so that exit closes it before a thousand sockets. */
static void a_descriptor_can_have_the_highest_number_beyond_the_soft_limit(void **state)
{
	struct rlimit before, low;
	struct proc_spec spec;
	struct proc_fd extra;
	char number[12], text[64];
	int life[2];
	struct run run;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = 64;
	assert_int_equal(pipe2(life, O_CLOEXEC), 0);
	extra = (struct proc_fd){ life[1], before.rlim_max > 65536 ? 65535 : (int)before.rlim_max - 1 };
	snprintf(number, sizeof(number), "%d", extra.to);
	spec = spec_of((const char *const[]){ self, "high", number, NULL });
	spec.extra = &extra;
	spec.n_extra = 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	run_spec(&run, *state, &spec);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	close(life[1]);
	assert_string_equal(run.text, "soft 64");
	assert_int_equal(io_read(life[0], text, sizeof(text)), 4);
	assert_memory_equal(text, "life", 4);
	assert_int_equal(io_read(life[0], text, sizeof(text)), 0);
	close(life[0]);
}

static void a_descriptor_beyond_the_hard_limit_is_refused_with_a_reason(void **state)
{
	const struct proc_fd extra = { 0, 1 << 30 };
	struct proc_spec spec = spec_of((const char *const[]){ "true", NULL });
	struct run run;

	spec.extra = &extra;
	spec.n_extra = 1;
	run_spec(&run, *state, &spec);
	assert_int_equal(WEXITSTATUS(run.status), 126);
	assert_string_equal(run.text, "cannot pass descriptors to true: Bad file descriptor\n");
}

struct chain {
	struct reaper *reaper;
	int left, ended;
};

static void on_link(struct proc *p, int status)
{
	const struct proc_spec spec = spec_of((const char *const[]){ "true", NULL });
	struct chain *chain = p->data;

	assert_int_equal(status, 0);
	free(p);
	chain->ended++;
	if (--chain->left == 0)
		return;
	p = calloc(1, sizeof(*p));
	assert_non_null(p);
	p->on_exit = on_link;
	p->data = chain;
	assert_int_equal(proc_spawn(chain->reaper, p, &spec, NULL), 0);
}

static void the_end_of_one_may_free_it_and_start_the_next(void **state)
{
	struct chain chain = { *state, 4, 0 };
	struct proc *seed = calloc(1, sizeof(*seed));

	assert_non_null(seed);
	seed->data = &chain;
	seed->on_exit = on_link;
	on_link(seed, 0);
	assert_true(loop_until(ev_default_loop(0), &chain.ended, 4));
	assert_int_equal(chain.left, 0);
}

static bool no_child_left(struct ev_loop *loop)
{
	for (int i = 0; i < LIMIT_MS / 10; i++) {
		siginfo_t info;

		ev_run(loop, EVRUN_NOWAIT);
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD)
			return true;
		usleep(10000);
	}
	return false;
}

static void an_abandoned_child_is_reaped_and_nobody_is_called(void **state)
{
	const struct proc_spec spec = spec_of((const char *const[]){ "true", NULL });
	struct reaper *r = *state;
	struct run run;

	run_init(&run, r->loop);
	assert_int_equal(proc_spawn(r, &run.proc, &spec, NULL), 0);
	proc_abandon(r, &run.proc);
	proc_abandon(r, &run.proc);
	assert_int_equal(run.proc.pid, 0);
	assert_true(no_child_left(r->loop));
	assert_int_equal(run.ended, 0);
}

static void a_stopped_child_has_not_ended(void **state)
{
	const struct proc_spec spec = spec_of((const char *const[]){ "sleep", "100", NULL });
	struct reaper *r = *state;
	struct run run;

	run_init(&run, r->loop);
	assert_int_equal(proc_spawn(r, &run.proc, &spec, NULL), 0);
	proc_signal(&run.proc, SIGSTOP);
	for (int i = 0; i < 20; i++) {
		ev_run(r->loop, EVRUN_NOWAIT);
		usleep(5000);
	}
	assert_int_equal(run.ended, 0);
	proc_signal(&run.proc, SIGKILL);
	assert_true(loop_until(r->loop, &run.ended, 1));
	assert_int_equal(WTERMSIG(run.status), SIGKILL);
	proc_signal(&run.proc, SIGKILL); /* gone: harmless */
	proc_signal_group(&run.proc, SIGKILL);
}

static void orphans_are_reaped_while_a_child_runs(void **state)
{
	const struct proc_spec orphans = spec_of((const char *const[]){ self, "orphans", NULL });
	const struct proc_spec child = spec_of((const char *const[]){ self, "exit-later", "7", NULL });
	struct reaper *r = *state;
	struct run parent, run;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	run_init(&run, r->loop);
	run_init(&parent, r->loop);
	assert_int_equal(proc_spawn(r, &run.proc, &child, NULL), 0);
	assert_int_equal(proc_spawn(r, &parent.proc, &orphans, NULL), 0);
	assert_true(loop_until(r->loop, &parent.ended, 1));
	assert_int_equal(parent.status, 0);
	assert_true(loop_until(r->loop, &run.ended, 1));
	assert_int_equal(WEXITSTATUS(run.status), 7);
	assert_true(no_child_left(r->loop));
	assert_int_equal(run.ended + parent.ended, 2);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void the_group_of_a_child_can_be_killed(void **state)
{
	static const char *const argv[] = { "/bin/sh", "-c", "sleep 100 & echo; wait", NULL };
	struct proc_spec spec = spec_of(argv);
	struct reaper *r = *state;
	int ends[2];
	struct run run;
	char byte;

	run_init(&run, r->loop);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	spec.fd[1] = ends[1];
	assert_int_equal(proc_spawn(r, &run.proc, &spec, NULL), 0);
	close(ends[1]);
	assert_int_equal(io_read(ends[0], &byte, 1), 1);
	proc_signal_group(&run.proc, SIGKILL);
	assert_int_equal(io_read(ends[0], &byte, 1), 0); /* sleep is gone too, else this would not end */
	close(ends[0]);
	assert_true(loop_until(r->loop, &run.ended, 1));
}

static void a_start_with_sigchld_ignored_and_blocked_still_sees_deaths(void **state)
{
	struct run run;

	assert_int_equal(run_argv(&run, *state, (const char *const[]){ self, "deaf", NULL }), 0);
	assert_string_equal(run.text, "");
}

static void a_start_without_descriptors_0_to_2_gets_them(void **state)
{
	struct run run;

	assert_int_equal(run_argv(&run, *state, (const char *const[]){ self, "closed", NULL }), 0);
}

static void a_child_from_before_the_loop_is_reaped_at_the_start(void **state)
{
	struct run run;

	assert_int_equal(run_argv(&run, *state, (const char *const[]){ self, "inherited", NULL }), 0);
}

static void without_dev_null_a_child_still_starts(void **state)
{
	struct run run;
	int code = run_argv(&run, *state, (const char *const[]){ self, "no-dev-null", NULL });

	if (code == 77) {
		print_message("SKIP: no right to make a mount namespace\n");
		skip();
	}
	assert_int_equal(code, 0);
}

/* ---- what the program does as a child ---- */

static int say_open_descriptors(void)
{
	for (int fd = 0; fd < 2000; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d ", fd);
	}
	return 0;
}

static int cat_descriptors(char **numbers)
{
	for (; *numbers; numbers++) {
		char buf[64];
		ssize_t n = io_read(atoi(*numbers), buf, sizeof(buf));

		if (n < 0 || io_write_all(1, buf, (size_t)n) < 0)
			return 1;
	}
	return 0;
}

static int use_high_descriptor(int fd)
{
	struct rlimit now;

	getrlimit(RLIMIT_NOFILE, &now);
	printf("soft %llu", (unsigned long long)now.rlim_cur);
	return io_write_all(fd, "life", 4) < 0;
}

static int make_orphans(void)
{
	for (int i = 0; i < ORPHANS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			usleep((useconds_t)(i % 50) * 2000);
			_exit(i & 0xff);
		}
		if (pid < 0)
			return 1;
	}
	return 0;
}

static int spawn_and_see(const char *const *argv)
{
	const struct proc_spec spec = spec_of(argv);
	struct ev_loop *loop = ev_default_loop(0);
	struct reaper r;
	struct run run;

	run_init(&run, loop);
	reaper_start(&r, loop);
	if (proc_spawn(&r, &run.proc, &spec, NULL) < 0)
		return 1;
	return loop_until(loop, &run.ended, 1) ? WEXITSTATUS(run.status) : 99;
}

static int start_deaf(void)
{
	sigset_t all;

	signal(SIGCHLD, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	execl(self, self, "hear", (char *)NULL);
	return 98;
}

static int start_closed(void)
{
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	execl(self, self, "opened", (char *)NULL);
	return 98;
}

static int see_opened(void)
{
	int fd;

	proc_clean_start();
	fd = open("/", O_RDONLY | O_CLOEXEC);
	return fd == 3 ? 0 : 1;
}

static int start_with_inherited_child(void)
{
	sigset_t block;
	struct reaper r;

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, NULL);
	if (fork() == 0)
		_exit(0);
	usleep(100000);
	/* the signal is taken away unseen, as exec of a predecessor may have done */
	signal(SIGCHLD, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	reaper_start(&r, ev_default_loop(0));
	ev_run(r.loop, EVRUN_NOWAIT);
	return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1;
}

static int live_without_dev_null(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/dev", "tmpfs", 0, NULL) < 0)
		return 77;
	return spawn_and_see((const char *const[]){ "cat", NULL });
}

static int as_child(char **argv)
{
	if (strcmp(argv[1], "exit") == 0)
		return atoi(argv[2]);
	if (strcmp(argv[1], "exit-later") == 0)
		return usleep(400000), atoi(argv[2]);
	if (strcmp(argv[1], "fds") == 0)
		return say_open_descriptors();
	if (strcmp(argv[1], "cat") == 0)
		return cat_descriptors(argv + 2);
	if (strcmp(argv[1], "high") == 0)
		return use_high_descriptor(atoi(argv[2]));
	if (strcmp(argv[1], "whereami") == 0)
		return printf("%s %s", getcwd((char[64]){ 0 }, 64), getpgrp() == getpid() ? "leader" : "member") < 0;
	if (strcmp(argv[1], "orphans") == 0)
		return make_orphans();
	if (strcmp(argv[1], "deaf") == 0)
		return start_deaf();
	if (strcmp(argv[1], "hear") == 0)
		return proc_clean_start(), spawn_and_see((const char *const[]){ "true", NULL });
	if (strcmp(argv[1], "closed") == 0)
		return start_closed();
	if (strcmp(argv[1], "opened") == 0)
		return see_opened();
	if (strcmp(argv[1], "inherited") == 0)
		return start_with_inherited_child();
	if (strcmp(argv[1], "no-dev-null") == 0)
		return live_without_dev_null();
	return 97;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_codes_and_signals_arrive_as_they_were),
		cmocka_unit_test(a_name_without_a_slash_is_looked_up_on_path),
		cmocka_unit_test(a_missing_program_is_127_and_says_why),
		cmocka_unit_test(a_program_that_may_not_run_is_126_and_says_why),
		cmocka_unit_test(a_working_directory_that_is_missing_is_126_and_says_why),
		cmocka_unit_test(a_refusal_before_exec_is_126),
		cmocka_unit_test(signals_directory_umask_and_group_are_clean_in_the_child),
		cmocka_unit_test(no_descriptor_leaks_into_the_child),
		cmocka_unit_test(descriptors_may_swap_their_numbers),
		cmocka_unit_test(the_program_descriptor_may_have_the_number_of_a_target),
		cmocka_unit_test(stdout_may_come_from_our_stdin),
		cmocka_unit_test(a_descriptor_can_have_the_highest_number_beyond_the_soft_limit),
		cmocka_unit_test(a_descriptor_beyond_the_hard_limit_is_refused_with_a_reason),
		cmocka_unit_test(the_end_of_one_may_free_it_and_start_the_next),
		cmocka_unit_test(an_abandoned_child_is_reaped_and_nobody_is_called),
		cmocka_unit_test(a_stopped_child_has_not_ended),
		cmocka_unit_test(orphans_are_reaped_while_a_child_runs),
		cmocka_unit_test(the_group_of_a_child_can_be_killed),
		cmocka_unit_test(a_start_with_sigchld_ignored_and_blocked_still_sees_deaths),
		cmocka_unit_test(a_start_without_descriptors_0_to_2_gets_them),
		cmocka_unit_test(a_child_from_before_the_loop_is_reaped_at_the_start),
		cmocka_unit_test(without_dev_null_a_child_still_starts),
	};

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	if (argc > 1)
		return as_child(argv);
	proc_clean_start();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
