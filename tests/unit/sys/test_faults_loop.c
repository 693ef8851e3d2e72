/* loop: epoll refuses, fails or cannot be made: nothing ends, nothing is lost, and nobody hurries. */
#include <errno.h>
#include <ev.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/loop.h"
#include "cpu_time.h"
#include "failing.h"

#define FOR_EVER 1000000
#define LONG_MS 3000

/* libev's calls come by here: the program's symbols are ahead of the C library's. */
static struct failing ctl, waiting, creation;
static int long_waits;

/* As many as that, then no more. */
static void fail_next(struct failing *f, long n, int errnum)
{
	*f = (struct failing){ .left = n, .errnum = errnum };
}

static bool fails(struct failing *f)
{
	if (f->left <= 0)
		return false;
	f->left--;
	errno = f->errnum;
	return true;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	return fails(&ctl) ? -1 : (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
	if (fails(&waiting))
		return -1;
	long_waits += timeout > LONG_MS;
	timeout = timeout > LONG_MS ? LONG_MS : timeout; /* libev's own are a minute */
	return (int)syscall(SYS_epoll_pwait, epfd, events, maxevents, timeout, NULL, 0);
}

int epoll_create1(int flags)
{
	return fails(&creation) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

struct fixture {
	struct ev_loop *loop;
	ev_io io;
	int ends[2], log[2];
	int came, refused, signals;
	ev_timer limit, kick;
	bool late;
};

static void on_byte(struct ev_loop *loop, ev_io *w, int revents)
{
	struct fixture *f = w->data;
	char byte;

	if (evio_again(loop, w, revents)) {
		f->refused++;
		return;
	}
	if (io_read(w->fd, &byte, 1) == 1)
		f->came++;
	ev_break(loop, EVBREAK_ALL);
}

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
	struct fixture *f = ctx;

	f->signals += info->ssi_signo == SIGUSR1;
	ev_break(f->loop, EVBREAK_ALL);
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct fixture *f = w->data;
	(void)revents;

	f->late = true;
	ev_break(loop, EVBREAK_ALL);
}

/* From here on epoll takes what it is given. */
static void on_kick(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
	fail_next(&ctl, 0, 0);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	if (!f || pipe2(f->ends, O_NONBLOCK | O_CLOEXEC) < 0 || pipe2(f->log, O_NONBLOCK | O_CLOEXEC) < 0)
		return -1;
	log_open(f->log[1], LOG_LEVEL_WARN);
	f->loop = loop_open();
	if (!f->loop)
		return -1;
	ev_timer_init(&f->limit, on_limit, 0.0, 0.0);
	ev_timer_init(&f->kick, on_kick, 0.0, 0.0);
	f->limit.data = f;
	evio_read(f->loop, &f->io, f->ends[0], on_byte, f);
	return ev_backend(f->loop) == EVBACKEND_EPOLL ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	fail_next(&ctl, 0, 0);
	fail_next(&waiting, 0, 0);
	fail_next(&creation, 0, 0);
	log_open(STDOUT_FILENO, LOG_LEVEL_INFO);
	evio_close(f->loop, &f->io);
	loop_close(f->loop);
	io_close(&f->ends[1]);
	io_close(&f->log[0]);
	io_close(&f->log[1]);
	free(f);
	return 0;
}

/* Until a byte or a signal was there; false after `seconds`. Without a limit nothing else may wake the loop. */
static bool turns_until_news(struct fixture *f, double seconds)
{
	f->late = false;
	if (seconds > 0.0) {
		ev_timer_set(&f->limit, seconds * cpu_slow(), 0.0);
		ev_timer_start(f->loop, &f->limit);
	}
	ev_run(f->loop, 0);
	ev_timer_stop(f->loop, &f->limit);
	return !f->late;
}

static int lines(const struct fixture *f)
{
	char text[8192];
	ssize_t len = io_read(f->log[0], text, sizeof(text) - 1);
	int n = 0;

	for (ssize_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

static void a_refused_watcher_is_tried_again_each_100_ms_and_no_more_often(void **state)
{
	struct fixture *f = *state;

	fail_next(&ctl, FOR_EVER, ENOMEM);
	assert_int_equal(io_write(f->ends[1], "x", 1), 1);
	loop_soon(f->loop);
	assert_false(turns_until_news(f, 1.05));
	assert_in_range(f->refused, 2, 12 * (int)cpu_slow()); /* the one behind the first is tried at once */
	assert_int_equal(f->came, 0);

	fail_next(&ctl, 0, 0);
	assert_true(turns_until_news(f, 0.4));
	assert_int_equal(f->came, 1);
}

/* exec at rest: two watchers and no timer. A new epoll, and that refuses one or both, once or more. */
static void a_loop_without_timers_is_not_deaf(void **state)
{
	struct fixture *f = *state;
	struct loop_signals signals = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	assert_int_equal(loop_signals_start(&signals, f->loop, &set, on_signal, f), 0);
	for (int n = 1; n <= 5; n++) {
		ev_run(f->loop, EVRUN_NOWAIT);
		long_waits = 0;
		fail_next(&waiting, 1, ENOMEM);
		fail_next(&ctl, n, ENOMEM);
		assert_int_equal(io_write(f->ends[1], "x", 1), 1);
		assert_true(turns_until_news(f, 0));
		assert_int_equal(f->came, n);
		assert_int_equal(long_waits, 0);
	}
	loop_signals_stop(&signals, f->loop);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
}

static void signals_come_although_their_watcher_was_refused(void **state)
{
	struct fixture *f = *state;
	struct loop_signals signals = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	fail_next(&ctl, FOR_EVER, ENOSPC);
	ev_timer_set(&f->kick, 0.25, 0.0);
	ev_timer_start(f->loop, &f->kick);
	loop_soon(f->loop);
	assert_int_equal(loop_signals_start(&signals, f->loop, &set, on_signal, f), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_true(turns_until_news(f, 2));
	assert_int_equal(f->signals, 1);
	loop_signals_stop(&signals, f->loop);
	loop_signals_stop(&signals, f->loop);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0); /* it was read: none is left that would end us */
}

static void a_wait_that_fails_ends_nothing_and_is_told_once_a_second(void **state)
{
	struct fixture *f = *state;
	int64_t begun = now_ms();

	fail_next(&waiting, 20, EINVAL);
	assert_int_equal(io_write(f->ends[1], "x", 1), 1);
	assert_true(turns_until_news(f, 5));
	assert_int_equal(f->came, 1);
	assert_true(now_ms() - begun >= 20 * 10);		     /* a pause with each */
	assert_in_range(lines(f), 0, 2 + (now_ms() - begun) / 1000); /* the other cases said it just now */
}

static void a_wait_that_goes_on_failing_costs_little(void **state)
{
	struct fixture *f = *state;
	int64_t cpu = cpu_ms();

	fail_next(&waiting, FOR_EVER, EINVAL);
	assert_false(turns_until_news(f, 1.2)); /* timers go on */
	assert_true(cpu_ms() - cpu < (int64_t)(300 * cpu_slow()));
	assert_in_range(FOR_EVER - waiting.left, 10, (int64_t)(130 * cpu_slow()));
	assert_true(lines(f) >= 1);
}

static void an_epoll_that_is_gone_is_replaced_as_soon_as_there_is_one(void **state)
{
	struct fixture *f = *state;
	int before = descriptors();

	fail_next(&waiting, 1, EBADF);
	fail_next(&creation, 7, ENFILE);
	assert_int_equal(io_write(f->ends[1], "x", 1), 1);
	assert_true(turns_until_news(f, 5));
	assert_int_equal(f->came, 1);
	assert_int_equal(creation.left, 0);
	assert_int_equal(descriptors(), before);
}

static void without_descriptors_there_is_an_end_to_the_opening(void **state)
{
	struct loop_signals signals = { 0 };
	struct ev_loop *loop;
	sigset_t set;
	(void)state;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	fail_descriptors(true);
	loop = loop_open(); /* libev has others than epoll */
	if (loop) {
		assert_int_equal(loop_signals_start(&signals, loop, &set, on_signal, NULL), -EMFILE);
		loop_signals_stop(&signals, loop);
		loop_close(loop);
	}
	fail_descriptors(false);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
}

static void the_loop_takes_no_signal_and_no_descriptor_but_its_epoll(void **state)
{
	int before = descriptors();
	struct sigaction action;
	struct ev_loop *loop = loop_open();
	(void)state;

	assert_non_null(loop);
	assert_int_equal(descriptors(), before + 1);
	assert_int_equal(sigaction(SIGCHLD, NULL, &action), 0);
	assert_ptr_equal(action.sa_handler, SIG_DFL);
	loop_soon(NULL);
	loop_close(loop);
	assert_int_equal(descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_descriptors_there_is_an_end_to_the_opening),
		cmocka_unit_test(the_loop_takes_no_signal_and_no_descriptor_but_its_epoll),
		cmocka_unit_test_setup_teardown(a_refused_watcher_is_tried_again_each_100_ms_and_no_more_often, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_loop_without_timers_is_not_deaf, set_up, tear_down),
		cmocka_unit_test_setup_teardown(signals_come_although_their_watcher_was_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_wait_that_fails_ends_nothing_and_is_told_once_a_second, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_wait_that_goes_on_failing_costs_little, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_epoll_that_is_gone_is_replaced_as_soon_as_there_is_one, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
