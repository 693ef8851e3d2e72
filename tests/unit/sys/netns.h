/*
 * netns: each of these test programs works in a network namespace of its own,
 * with lo up. Where that is impossible its tests are skipped, loudly.
 */
#ifndef CLASHSUP_TEST_NETNS_H
#define CLASHSUP_TEST_NETNS_H

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool netns_lo_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;

	if (fd >= 0)
		close(fd);
	return up;
}

/* A group setup; *state stays NULL where there is no namespace. */
static int netns_enter(void **state)
{
	static char there[] = "in a namespace";

	*state = NULL;
	if (unshare(CLONE_NEWNET) < 0 || !netns_lo_up()) {
		printf("SKIP: no network namespace of our own: %s\n", strerror(errno));
		return 0;
	}
	setenv("XTABLES_LOCKFILE", "/dev/null", 1); /* the lock of the tools is shared by all namespaces */
	*state = there;
	return 0;
}

#define NEED_NETNS(state)                                                                                              \
	do {                                                                                                           \
		if (!*(state))                                                                                         \
			skip();                                                                                        \
	} while (0)

/* Runs a shell command in the namespace; true when it exits with 0. */
static __attribute__((unused)) bool sh(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The first line of its output as a number, -1 when it has none. */
static __attribute__((unused)) long sh_number(const char *command)
{
	FILE *f = popen(command, "re");
	char line[64] = "";
	char *end = line;
	long n = -1;

	if (!f)
		return -1;
	if (fgets(line, sizeof(line), f))
		n = strtol(line, &end, 10);
	pclose(f);
	return end == line ? -1 : n;
}

#endif
