/* ctl: the control socket among patient, hasty, silent and hostile clients. */
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/ctl.h"
#include "clashsup/io.h"

#define STATUS "{\"version\":1,\"cmd\":\"status\"}\n"
#define IPS "{\"version\":1,\"cmd\":\"ips\"}\n"
#define STOP "{\"version\":1,\"cmd\":\"stop\"}\n"
#define OK "{\"version\":1,\"ok\":true}\n"
#define STRANGER 65533
#define GROUP 54321

struct fixture {
	struct ev_loop *loop;
	struct ctl *ctl;
	char dir[64], path[96];
	unsigned calls;
	struct ctl_request last;
	size_t big;   /* the size of the answer to `ips` */
	size_t parts; /* or how many of it there are, each "<number>" */
	size_t cut;   /* the part that cannot be had, 0 = none */
};

static char *handle(void *ctx, const struct ctl_request *r, size_t *cursor)
{
	struct fixture *f = ctx;

	f->calls++;
	f->last = *r;
	if (r->cmd == CTL_IPS && f->big) {
		char *text = malloc(f->big + 1);

		memset(text, 'x', f->big);
		text[f->big] = '\0';
		return text;
	}
	if (r->cmd == CTL_IPS && f->parts) {
		char part[16];

		snprintf(part, sizeof(part), "<%zu>", *cursor);
		if (f->cut && *cursor == f->cut)
			return NULL;
		*cursor = (*cursor + 1) % f->parts;
		return strdup(part);
	}
	return r->cmd == CTL_SHUTDOWN ? NULL : ctl_answer_ok();
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/test_ctl.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	chmod(f->dir, 0755);
	snprintf(f->path, sizeof(f->path), "%s/run/c.sock", f->dir);
	f->loop = ev_loop_new(EVFLAG_AUTO);
	assert_int_equal(ctl_open(&f->ctl, f->loop, f->path, GROUP, handle, f, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char run[80];

	ctl_close(f->ctl);
	ev_loop_destroy(f->loop);
	snprintf(run, sizeof(run), "%s/run", f->dir);
	unlink(f->path);
	rmdir(run);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void on_spin_over(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void spin(struct fixture *f, double seconds)
{
	ev_timer over;

	ev_timer_init(&over, on_spin_over, seconds, 0.);
	ev_now_update(f->loop);
	ev_timer_start(f->loop, &over);
	ev_run(f->loop, 0);
	ev_timer_stop(f->loop, &over);
}

static int reach(const struct fixture *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, f->path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		io_close(&fd);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What the client has got after some turns; the end of the stream is written as "<end>". */
static const char *heard(struct fixture *f, int fd, char *buf, size_t cap)
{
	size_t len = 0;

	for (int i = 0; i < 20; i++) {
		ssize_t n;

		spin(f, 0.002);
		n = recv(fd, buf + len, cap - len - 8, 0);
		if (n > 0)
			len += (size_t)n;
		buf[len] = '\0';
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			strcat(buf, "<end>");
			break;
		}
	}
	return buf;
}

static void a_request_has_its_answer_and_the_connection_stays(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096];

	for (int i = 0; i < 3; i++) {
		say(fd, STATUS);
		assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK);
	}
	assert_int_equal(f->calls, 3);
	assert_int_equal(f->last.cmd, CTL_STATUS);
	assert_true(f->last.privileged);
}

static void requests_may_come_in_pieces_and_in_heaps(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096];

	for (const char *at = STATUS; *at; at++) {
		char one[2] = { *at, '\0' };

		assert_int_equal(f->calls, 0);
		say(fd, one);
		spin(f, 0.001);
	}
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK);
	say(fd, STATUS STOP STATUS "{\"version\":1,");
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK OK OK);
	assert_int_equal(f->calls, 4);
	say(fd, "\"cmd\":\"mode\",\"mode\":\"mixed\"}\n");
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK);
	assert_true(f->last.mixed);
}

static void answers_come_also_to_a_client_that_has_said_its_last_word(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096];

	say(fd, STATUS STATUS "half a requ");
	shutdown(fd, SHUT_WR);
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK OK "<end>");
}

static void garbage_is_told_so_and_closed(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096];

	say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_string_equal(heard(f, fd, buf, sizeof(buf)),
			    "{\"version\":1,\"ok\":false,\"error\":\"a request is one line of JSON\"}\n<end>");
	assert_int_equal(f->calls, 0);
}

static void a_line_without_an_end_is_cut_off_at_the_limit(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096], longer[CTL_REQUEST_MAX + 1];

	memset(longer, ' ', sizeof(longer));
	assert_int_equal(send(fd, longer, sizeof(longer), MSG_NOSIGNAL), sizeof(longer));
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), "{\"version\":1,\"ok\":false,\"error\":\"the request is "
							    "longer than a request can be\"}\n<end>");
}

static void a_line_of_exactly_the_limit_is_served(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096], line[CTL_REQUEST_MAX + 1];

	memset(line, ' ', sizeof(line));
	memcpy(line, STATUS, strlen(STATUS) - 1);
	line[CTL_REQUEST_MAX] = '\n';
	assert_int_equal(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK);
}

static void a_handler_without_an_answer_closes_the_client(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[4096];

	say(fd, "{\"version\":1,\"cmd\":\"shutdown\"}\n");
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), "<end>");
}

static void a_thousand_idle_clients_hold_32_places_and_nobody_is_kept_out(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit;
	int fds[1000], late;
	size_t open = 0;
	char buf[4096], byte;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (size_t i = 0; i < 1000; i++) {
		fds[i] = reach(f);
		assert_true(fds[i] >= 0);
		if (i % 64 == 63)
			spin(f, 0.02);
	}
	late = reach(f);
	say(late, STATUS);
	assert_string_equal(heard(f, late, buf, sizeof(buf)), OK);
	for (size_t i = 0; i < 1000; i++) {
		open += recv(fds[i], &byte, 1, 0) < 0 && errno == EAGAIN;
		close(fds[i]);
	}
	close(late);
	assert_int_equal(open, CTL_CLIENTS - 1);
}

static void a_client_that_does_not_read_holds_nobody_up_and_is_closed(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int slow = reach(f), quick = reach(f);
	char buf[4096];
	static char sink[1 << 16];
	size_t got = 0;
	ssize_t n;

	f->big = CTL_ANSWER_MAX;
	say(slow, IPS);
	say(quick, STATUS);
	assert_string_equal(heard(f, quick, buf, sizeof(buf)), OK);
	spin(f, CTL_IDLE_MS / 1e3 + 0.2);
	while ((n = recv(slow, sink, sizeof(sink), 0)) > 0)
		got += (size_t)n;
	assert_true(n == 0 || errno != EAGAIN); /* closed: not waiting */
	assert_true(got > 0 && got < CTL_ANSWER_MAX);
	assert_string_equal(heard(f, quick, buf, sizeof(buf)), "<end>"); /* the silent one too */
}

static void a_large_answer_arrives_whole_and_one_beyond_the_limit_is_an_error(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	static char sink[1 << 16];
	char buf[4096];
	size_t got = 0;

	f->big = CTL_ANSWER_MAX;
	say(fd, IPS);
	for (int i = 0; i < 100000 && got < CTL_ANSWER_MAX + 1; i++) {
		ssize_t n = recv(fd, sink, sizeof(sink), 0);

		got += n > 0 ? (size_t)n : 0;
		ev_run(f->loop, EVRUN_NOWAIT);
	}
	assert_int_equal(got, CTL_ANSWER_MAX + 1);
	f->big = CTL_ANSWER_MAX + 1;
	say(fd, IPS);
	assert_string_equal(heard(f, fd, buf, sizeof(buf)),
			    "{\"version\":1,\"ok\":false,\"error\":\"the answer is larger than its limit\"}\n");
}

static void an_answer_in_parts_is_one_line_and_the_next_request_has_its_own(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[128];

	f->parts = 5;
	say(fd, IPS STATUS IPS);
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), "<0><1><2><3><4>\n" OK "<0><1><2><3><4>\n");
	assert_int_equal(f->calls, 11);
}

static void others_are_served_between_the_parts(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f), other = reach(f);
	char buf[64], sink[4096];
	size_t got = 0;
	ssize_t n;

	f->parts = 1000;
	spin(f, 0.01);
	say(fd, IPS);
	say(other, STATUS);
	for (int turn = 0; turn < 10; turn++)
		ev_run(f->loop, EVRUN_NOWAIT);
	assert_int_equal(recv(other, buf, sizeof(buf), 0), strlen(OK));
	assert_in_range(f->calls, 2, 20);
	for (int turn = 0; turn < 2000 && (n = recv(fd, sink, sizeof(sink), 0)) != 0; turn++) {
		got += n > 0 ? (size_t)n : 0;
		ev_run(f->loop, EVRUN_NOWAIT);
	}
	assert_int_equal(got, 10 * 3 + 90 * 4 + 900 * 5 + 1);
}

static void a_part_that_cannot_be_had_ends_the_line_without_its_end(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = reach(f);
	char buf[64];

	f->parts = 5;
	f->cut = 2;
	say(fd, IPS);
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), "<0><1><end>");
}

/* Runs as somebody else: the exit status is 0 when `text` was answered with `ok`, 1 when refused, 2 otherwise. */
static pid_t client_as(const struct fixture *f, uid_t uid, gid_t gid, gid_t extra, const char *text)
{
	pid_t pid = fork();
	char buf[512];
	struct pollfd p;
	ssize_t n;

	if (pid != 0)
		return pid;
	if (setgroups(extra ? 1 : 0, &extra) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		_exit(2);
	p = (struct pollfd){ .fd = reach(f), .events = POLLIN };
	if (p.fd < 0 || write(p.fd, text, strlen(text)) < 0 || poll(&p, 1, 2000) != 1)
		_exit(2);
	n = read(p.fd, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = '\0';
	_exit(strcmp(buf, OK) == 0 ? 0 : strstr(buf, "\"ok\":false") ? 1 : 2);
}

static int answer_as(struct fixture *f, uid_t uid, gid_t gid, gid_t extra, const char *text)
{
	pid_t pid = client_as(f, uid, gid, extra, text);
	int status = 0;

	for (int i = 0; i < 500 && waitpid(pid, &status, WNOHANG) == 0; i++)
		spin(f, 0.01);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void rights_come_from_the_peer_and_its_groups(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0) {
		print_message("SKIP: clients of other users need root\n");
		skip();
	}
	assert_int_equal(answer_as(f, STRANGER, STRANGER, 0, STATUS), 0);
	assert_false(f->last.privileged);
	f->calls = 0;
	assert_int_equal(answer_as(f, STRANGER, STRANGER, 0, STOP), 1);
	assert_int_equal(answer_as(f, STRANGER, STRANGER, GROUP + 1, IPS), 1);
	assert_int_equal(answer_as(f, STRANGER, 0, 0, STOP), 1); /* root's group is no right */
	assert_int_equal(f->calls, 0);
	assert_int_equal(answer_as(f, STRANGER, GROUP, 0, STOP), 0);
	assert_true(f->last.privileged);
	assert_int_equal(answer_as(f, STRANGER, STRANGER, GROUP, STOP), 0);
	assert_int_equal(f->calls, 2);
}

static void strangers_cannot_drive_out_those_with_control(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = -1;
	int status = 0;
	char buf[4096];
	pid_t pid;

	if (geteuid() != 0) {
		print_message("SKIP: clients of other users need root\n");
		skip();
	}
	fd = reach(f);
	spin(f, 0.02);
	pid = fork();
	if (pid == 0) {
		if (setresuid(STRANGER, STRANGER, STRANGER) < 0)
			_exit(1);
		for (int i = 0; i < 200; i++)
			for (int again = 0; reach(f) < 0 && again < 1000; again++)
				usleep(1000);
		_exit(0);
	}
	for (int i = 0; i < 500 && waitpid(pid, &status, WNOHANG) == 0; i++)
		spin(f, 0.01);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	say(fd, STATUS);
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK);
}

static void the_socket_is_open_to_all_whatever_the_umask_is(void **state)
{
	struct fixture *f = *state;
	mode_t old = umask(077);
	struct stat st;

	ctl_close(f->ctl);
	f->ctl = NULL;
	assert_int_equal(stat(f->path, &st), -1); /* unlinked */
	assert_int_equal(ctl_open(&f->ctl, f->loop, f->path, -1, handle, f, NULL), 0);
	umask(old);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
}

static void a_socket_that_answers_is_left_alone_and_a_stale_one_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct err e = ERR_INIT;
	struct ctl *second = NULL;
	char buf[4096];
	int fd;

	assert_int_equal(ctl_open(&second, f->loop, f->path, -1, handle, f, &e), -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(e.msg, "another instance answers there"));
	ctl_close(f->ctl);
	f->ctl = NULL;

	strcpy(addr.sun_path, f->path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(ctl_open(&f->ctl, f->loop, f->path, -1, handle, f, &e), 0);
	fd = reach(f);
	say(fd, STATUS);
	assert_string_equal(heard(f, fd, buf, sizeof(buf)), OK);
	close(fd);
}

static void a_full_backlog_counts_as_an_answer(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct ctl *second = NULL;
	int fds[300];
	size_t n = 0;

	while (n < 300 && (fds[n] = reach(f)) >= 0) /* its loop does not run meanwhile */
		n++;
	assert_true(n < 300);
	assert_int_equal(ctl_open(&second, f->loop, f->path, -1, handle, f, &e), -EADDRINUSE);
	while (n > 0)
		close(fds[--n]);
}

static void what_is_no_socket_of_ours_is_never_removed(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct ctl *second = NULL;
	int fd;

	unlink(f->path);
	fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(ctl_open(&second, f->loop, f->path, -1, handle, f, &e), -EEXIST);
	ctl_close(f->ctl);
	f->ctl = NULL;
	assert_int_equal(access(f->path, F_OK), 0);
}

static void a_path_that_is_too_long_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct ctl *second = NULL;
	char path[200];

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(ctl_open(&second, f->loop, path, -1, handle, f, &e), -ENAMETOOLONG);
}

static void without_descriptors_it_waits_instead_of_spinning_and_recovers(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, tight;
	char buf[4096];
	unsigned before;
	int fd = reach(f), late, probe;

	getrlimit(RLIMIT_NOFILE, &old);
	probe = dup(0);
	tight = old;
	tight.rlim_cur = (rlim_t)probe; /* the lowest free number is beyond the limit */
	close(probe);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	before = ev_iteration(f->loop);
	spin(f, 0.1);
	assert_in_range(ev_iteration(f->loop) - before, 1, 10);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	late = reach(f);
	spin(f, 0.6);
	say(late, STATUS);
	assert_string_equal(heard(f, late, buf, sizeof(buf)), OK);
	close(fd);
	close(late);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_has_its_answer_and_the_connection_stays),
		TEST(requests_may_come_in_pieces_and_in_heaps),
		TEST(answers_come_also_to_a_client_that_has_said_its_last_word),
		TEST(garbage_is_told_so_and_closed),
		TEST(a_line_without_an_end_is_cut_off_at_the_limit),
		TEST(a_line_of_exactly_the_limit_is_served),
		TEST(a_handler_without_an_answer_closes_the_client),
		TEST(a_thousand_idle_clients_hold_32_places_and_nobody_is_kept_out),
		TEST(a_client_that_does_not_read_holds_nobody_up_and_is_closed),
		TEST(a_large_answer_arrives_whole_and_one_beyond_the_limit_is_an_error),
		TEST(an_answer_in_parts_is_one_line_and_the_next_request_has_its_own),
		TEST(others_are_served_between_the_parts),
		TEST(a_part_that_cannot_be_had_ends_the_line_without_its_end),
		TEST(rights_come_from_the_peer_and_its_groups),
		TEST(strangers_cannot_drive_out_those_with_control),
		TEST(the_socket_is_open_to_all_whatever_the_umask_is),
		TEST(a_socket_that_answers_is_left_alone_and_a_stale_one_replaced),
		TEST(a_full_backlog_counts_as_an_answer),
		TEST(what_is_no_socket_of_ours_is_never_removed),
		TEST(a_path_that_is_too_long_is_an_error),
		TEST(without_descriptors_it_waits_instead_of_spinning_and_recovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
