/* sysctl: parameters of a network namespace of our own; the journal with what others may make of it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/sysctl.h"
#include "netns.h"

#define FORWARD "net.ipv4.ip_forward"
#define RP_FILTER "net/ipv4/conf/all/rp_filter"
#define DOTTED_IFACE "net/ipv4/conf/d0.5/rp_filter"

static char dir[] = "/tmp/test_sysctl.XXXXXX", journal[64];

static int set_up(void **state)
{
	if (netns_enter(state) < 0 || !mkdtemp(dir))
		return -1;
	snprintf(journal, sizeof(journal), "%s/sysctl", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(journal);
	return rmdir(dir);
}

static void set(const char *path, int value)
{
	char full[160], text[16];
	int fd, len = snprintf(text, sizeof(text), "%d", value);

	snprintf(full, sizeof(full), "/proc/sys/%s", path);
	fd = open(full, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, (size_t)len), len);
	close(fd);
}

static int get(const char *name)
{
	struct err e = ERR_INIT;
	int value = -1;

	assert_int_equal(sysctl_read_int(name, &value, &e), 0);
	return value;
}

static int start(void **state)
{
	if (!*state)
		return 0;
	unlink(journal);
	set("net/ipv4/ip_forward", 0);
	set("net/ipv4/conf/all/rp_filter", 0);
	return 0;
}

static void fix(const char *name, int value)
{
	const struct sysctl_want want = { name, value };
	struct err e = ERR_INIT;

	assert_int_equal(sysctl_fix(journal, &want, 1, &e), 0);
	assert_int_equal(get(name), value);
}

static void restore(size_t expected)
{
	struct err e = ERR_INIT;
	size_t n = 99;

	assert_int_equal(sysctl_restore(journal, &n, &e), 0);
	assert_int_equal(n, expected);
	assert_int_equal(access(journal, F_OK), -1);
}

/* The journal's lines behind the first. */
static void assert_journal(const char *lines)
{
	cleanup_free char *text = NULL;
	size_t len;

	assert_int_equal(io_slurp_path(journal, SYSCTL_JOURNAL_MAX, &text, &len, NULL), 0);
	assert_string_equal(strchr(text, '\n') + 1, lines);
}

/* A journal of this namespace with these lines. */
static void forge(const char *lines, size_t len)
{
	cleanup_free char *text = NULL;
	size_t head;
	FILE *f;

	set("net/ipv4/ip_forward", 0);
	fix(FORWARD, 1);
	assert_int_equal(io_slurp_path(journal, SYSCTL_JOURNAL_MAX, &text, &head, NULL), 0);
	f = fopen(journal, "w");
	assert_non_null(f);
	head = (size_t)(strchr(text, '\n') + 1 - text);
	assert_int_equal(fwrite(text, 1, head, f), head);
	assert_int_equal(fwrite(lines, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void a_parameter_is_read_by_any_of_its_names(void **state)
{
	struct err e = ERR_INIT;
	char text[32];
	NEED_NETNS(state);

	assert_true(sh("ip link add d0.5 type veth peer name d1"));
	set(DOTTED_IFACE, 2);
	assert_int_equal(get(DOTTED_IFACE), 2);
	assert_int_equal(get("net.ipv4.conf.d0/5.rp_filter"), 2);
	assert_int_equal(get("net/ipv4/ip_forward"), 0);
	assert_int_equal(sysctl_read("net.ipv4.ip_local_port_range", text, sizeof(text), &e), 0);
	assert_non_null(strchr(text, '\t'));
	assert_int_equal(sysctl_read("net.ipv4.ip_local_port_range", text, 5, &e), -ENOSPC);
	assert_int_equal(sysctl_read_int("net.ipv4.ip_local_port_range", &(int){ 0 }, &e), -ERANGE);
	assert_string_equal(e.msg, "net.ipv4.ip_local_port_range: no number");
	assert_int_equal(sysctl_read_int("net.ipv4.no_such_thing", &(int){ 0 }, &e), -ENOENT);
	assert_string_equal(e.msg, "net.ipv4.no_such_thing: this kernel does not have it");
	assert_true(sh("ip link del d0.5"));
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const bad[] = { "",
					   "kernel.panic",
					   "/net/ipv4/ip_forward",
					   "net",
					   "network/x",
					   "net/../kernel/panic",
					   "net/ipv4/../../kernel/panic",
					   "net/./ipv4/ip_forward",
					   "net//ipv4/ip_forward",
					   "net.ipv4.//.kernel",
					   "net/ipv4/ip_forward/",
					   "net/ipv4/ip forward",
					   "net/ipv4/x\n" };
	const struct sysctl_want want = { "net/../kernel/panic", 1 };
	char text[32], longest[SYSCTL_NAME_MAX + 1] = "net/";
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sysctl_read(bad[i], text, sizeof(text), &e), -EINVAL);
	assert_int_equal(sysctl_fix(journal, &want, 1, &e), -EINVAL);
	assert_int_equal(access(journal, F_OK), -1);
	memset(longest + 4, 'x', SYSCTL_NAME_MAX - 4);
	assert_int_equal(sysctl_read(longest, text, sizeof(text), &e), -EINVAL);
	longest[SYSCTL_NAME_MAX - 1] = '\0';
	assert_int_equal(sysctl_read(longest, text, sizeof(text), &e), -ENOENT);
}

static void what_is_changed_is_journaled_and_put_back(void **state)
{
	const struct sysctl_want want[] = { { FORWARD, 1 }, { RP_FILTER, 2 }, { "net.ipv4.conf.lo.rp_filter", 0 } };
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	set("net/ipv4/conf/lo/rp_filter", 0);
	assert_int_equal(sysctl_fix(journal, want, 3, &e), 0);
	assert_journal("net/ipv4/ip_forward 0 1\nnet/ipv4/conf/all/rp_filter 0 2\n");
	assert_int_equal(get(FORWARD), 1);
	assert_int_equal(get(RP_FILTER), 2);
	assert_int_equal(sysctl_fix(journal, want, 3, &e), 0); /* nothing to do: nothing is written */
	assert_journal("net/ipv4/ip_forward 0 1\nnet/ipv4/conf/all/rp_filter 0 2\n");
	restore(2);
	assert_int_equal(get(FORWARD), 0);
	assert_int_equal(get(RP_FILTER), 0);
	restore(0);
}

static void nothing_to_change_makes_no_journal(void **state)
{
	NEED_NETNS(state);

	fix(FORWARD, 0);
	assert_int_equal(access(journal, F_OK), -1);
}

static void what_somebody_else_has_set_since_is_left_alone(void **state)
{
	NEED_NETNS(state);

	fix(RP_FILTER, 2);
	set(RP_FILTER, 1);
	restore(0);
	assert_int_equal(get(RP_FILTER), 1);
}

static void changes_are_undone_newest_first(void **state)
{
	NEED_NETNS(state);

	fix(RP_FILTER, 1);
	fix(RP_FILTER, 2);
	assert_journal(RP_FILTER " 0 1\n" RP_FILTER " 1 2\n");
	restore(2);
	assert_int_equal(get(RP_FILTER), 0);
}

static void taking_turns_with_somebody_does_not_make_the_journal_grow(void **state)
{
	NEED_NETNS(state);

	for (int i = 0; i < 300; i++) {
		fix(FORWARD, 1);
		set("net/ipv4/ip_forward", 0);
	}
	assert_journal("net/ipv4/ip_forward 0 1\n");
}

static void all_are_tried_and_the_first_error_is_told(void **state)
{
	const struct sysctl_want want[] = { { "net.ipv4.no_such", 1 }, { "net.ipv4.nor_this", 1 }, { FORWARD, 1 } };
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	assert_int_equal(sysctl_fix(journal, want, 3, &e), -ENOENT);
	assert_string_equal(e.msg, "net.ipv4.no_such: this kernel does not have it");
	assert_int_equal(get(FORWARD), 1);
	restore(1);
}

static void a_value_that_the_kernel_refuses_is_told_and_nothing_to_put_back(void **state)
{
	const struct sysctl_want want = { "net.ipv4.ip_default_ttl", 9999 };
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	assert_int_equal(sysctl_fix(journal, &want, 1, &e), -EINVAL);
	assert_string_equal(e.msg, "cannot set net.ipv4.ip_default_ttl to 9999: Invalid argument");
	restore(0);
}

/* In a child with a mount namespace, as in a container without rights. */
static int fix_read_only(char *msg)
{
	const struct sysctl_want want = { FORWARD, 1 };
	struct err e = ERR_INIT;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL) < 0 ||
	    mount("", "/proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		return 1;
	r = sysctl_fix(journal, &want, 1, &e);
	strcpy(msg, e.msg);
	return r == -EROFS ? 0 : 2;
}

static void a_read_only_proc_is_told_with_advice(void **state)
{
	char msg[ERR_MSG_MAX] = "";
	int pipe_ends[2], status = -1;
	pid_t pid;
	NEED_NETNS(state);

	assert_int_equal(pipe(pipe_ends), 0);
	pid = fork();
	if (pid == 0) {
		int code = fix_read_only(msg);

		_exit(write(pipe_ends[1], msg, sizeof(msg)) == (ssize_t)sizeof(msg) ? code : 3);
	}
	close(pipe_ends[1]);
	assert_int_equal(read(pipe_ends[0], msg, sizeof(msg)), sizeof(msg));
	close(pipe_ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_string_equal(msg, "cannot set net.ipv4.ip_forward to 1: Read-only file system; in a container, pass "
				 "--sysctl net.ipv4.ip_forward=1 to it");
	restore(0);
}

static void a_journal_of_another_boot_or_namespace_says_nothing(void **state)
{
	static const char text[] = "boot 11111111-2222-3333-4444-555555555555 net 1\nnet/ipv4/ip_forward 0 1\n";
	FILE *f;
	NEED_NETNS(state);

	f = fopen(journal, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	set("net/ipv4/ip_forward", 1);
	restore(0);
	assert_int_equal(get(FORWARD), 1);
}

static void a_cut_off_or_hostile_journal_does_no_harm(void **state)
{
	static const char lines[] = "net/ipv4/../../../../tmp/x 0 1\n/etc/passwd 0 1\nkernel/panic 7 0\n\n \nx\n"
				    "net/ipv4/ip_forward 0\nnet/ipv4/ip_forward 0 one\nnet/ipv4/ip_forward -x 1\n"
				    "net/ipv4/ip_forward 0 1 1\nnet/ipv4/ip_forward 0 4294967297\n"
				    "net/ipv4/conf/gone0/rp_filter 0 1\nnet/ipv4/ip_local_port_range 1 1\n"
				    "net/ipv4/ip_forward 0 1"; /* cut off: perhaps it was 10 */
	cleanup_free char *many = calloc(1, SYSCTL_JOURNAL_MAX);
	size_t used = 0;
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	forge(lines, sizeof(lines) - 1);
	restore(0);
	assert_int_equal(get(FORWARD), 1);
	while (used + 100 < SYSCTL_JOURNAL_MAX - 100)
		used += (size_t)sprintf(many + used, "net/ipv4/ip_forward 0 1\n");
	forge(many, used);
	restore(1);
	assert_int_equal(get(FORWARD), 0);
	forge(many, used);
	assert_int_equal(truncate(journal, SYSCTL_JOURNAL_MAX + 1), 0);
	assert_int_equal(sysctl_restore(journal, NULL, &e), -EFBIG);
	assert_int_equal(get(FORWARD), 1);
	unlink(journal);
	assert_int_equal(mkfifo(journal, 0600), 0); /* must not be waited for */
	assert_int_equal(sysctl_restore(journal, NULL, &e), -EINVAL);
}

static void more_changes_than_a_journal_holds_are_not_made(void **state)
{
	struct sysctl_want want[129];
	struct err e = ERR_INIT;
	NEED_NETNS(state);

	for (int i = 0; i < 129; i++)
		want[i] = (struct sysctl_want){ FORWARD, 1 };
	assert_int_equal(sysctl_fix(journal, want, 129, &e), -ENOSPC);
	assert_int_equal(get(FORWARD), 0);
	assert_int_equal(sysctl_fix(journal, want, 128, &e), 0); /* one and the same: one line */
	assert_journal("net/ipv4/ip_forward 0 1\n");
}

#define CASE(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_parameter_is_read_by_any_of_its_names),
		CASE(names_that_lead_elsewhere_are_refused),
		CASE(what_is_changed_is_journaled_and_put_back),
		CASE(nothing_to_change_makes_no_journal),
		CASE(what_somebody_else_has_set_since_is_left_alone),
		CASE(changes_are_undone_newest_first),
		CASE(taking_turns_with_somebody_does_not_make_the_journal_grow),
		CASE(all_are_tried_and_the_first_error_is_told),
		CASE(a_value_that_the_kernel_refuses_is_told_and_nothing_to_put_back),
		CASE(a_read_only_proc_is_told_with_advice),
		CASE(a_journal_of_another_boot_or_namespace_says_nothing),
		CASE(a_cut_off_or_hostile_journal_does_no_harm),
		CASE(more_changes_than_a_journal_holds_are_not_made),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
