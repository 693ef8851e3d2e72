/* procfs: what tells an exec, an exit and a process of another time. */
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/procfs.h"

static pid_t child_that(void (*does)(void))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		does();
		_exit(127);
	}
	return pid;
}

static void sleeps(void)
{
	pause();
}

static void executes(void)
{
	raise(SIGSTOP);
	execlp("sleep", "sleep", "30", (char *)NULL);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void an_exec_keeps_the_start_time_and_moves_the_stack(void **state)
{
	pid_t pid = child_that(executes);
	uint64_t start, stack;
	int status;
	(void)state;

	waitpid(pid, &status, WUNTRACED);
	start = procfs_stat(pid, PROCFS_START_TIME);
	stack = procfs_stat(pid, PROCFS_STACK);
	assert_true(start > 0 && stack > 0);
	kill(pid, SIGCONT);
	for (int i = 0; i < 1000 && procfs_stat(pid, PROCFS_STACK) == stack; i++)
		usleep(2000);
	assert_true(procfs_stat(pid, PROCFS_STACK) != stack);
	assert_true(procfs_stat(pid, PROCFS_START_TIME) == start);
	end(pid);
}

static void a_zombie_and_nobody_are_exiting_a_sleeper_is_not(void **state)
{
	pid_t pid = child_that(sleeps);
	siginfo_t info;
	(void)state;

	assert_false(procfs_exiting(pid));
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(procfs_exiting(pid));
	end(pid);
	assert_true(procfs_exiting(pid));
	assert_true(procfs_stat(pid, PROCFS_START_TIME) == 0);
}

static void a_tun_that_is_held_is_found_by_its_name(void **state)
{
	struct ifreq want = { .ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "cs-tun0" };
	char name[PROCFS_IFACE];
	int fd = -1;
	(void)state;

	assert_false(procfs_tun(getpid(), name));
	assert_string_equal(name, "");
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0 || (fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC)) < 0) {
		print_message("SKIP: needs root and /dev/net/tun\n");
		skip();
	}
	assert_false(procfs_tun(getpid(), name));
	assert_int_equal(ioctl(fd, TUNSETIFF, &want), 0);
	assert_true(procfs_tun(getpid(), name));
	assert_string_equal(name, "cs-tun0");
	close(fd);
	assert_false(procfs_tun(getpid(), name));
	assert_false(procfs_tun(INT_MAX, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_exec_keeps_the_start_time_and_moves_the_stack),
		cmocka_unit_test(a_zombie_and_nobody_are_exiting_a_sleeper_is_not),
		cmocka_unit_test(a_tun_that_is_held_is_found_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
