#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "daemon/supervisor.h"

#define CLAIM "clashsup" /* in the abstract namespace, which belongs to the network namespace (unix(7)) */
#define CLAIM_TRIES 20

/* A child of a killed supervisor that was about to execute holds its descriptors for a moment longer. */
static int bind_claim(int fd)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000000 };
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(CLAIM));

	memcpy(name.sun_path + 1, CLAIM, strlen(CLAIM));
	for (int tries = CLAIM_TRIES; bind(fd, (struct sockaddr *)&name, len) < 0; tries--) {
		if (errno != EADDRINUSE || tries == 1)
			return -1;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

int instance_claim(struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, errno, "cannot make a socket");
	if (bind_claim(fd) < 0)
		return errno == EADDRINUSE
			       ? err_set(e, EADDRINUSE,
					 "another clashsup runs in this network namespace: see `clashsup status`")
			       : err_sys(e, errno, "cannot bind the socket @" CLAIM);
	return steal_fd(&fd);
}

void instance_note_child(const char *run, pid_t pid)
{
	char path[PATH_MAX], text[64];
	cleanup_fd int fd = -1;
	int n = snprintf(text, sizeof(text), "%d %llu\n", (int)pid,
			 (unsigned long long)procfs_stat(pid, PROCFS_START_TIME));

	if (io_path(path, sizeof(path), NULL, "%s/mihomo.pid", run) < 0)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || io_write_all(fd, text, (size_t)n) < 0)
		log_warn(LOG_CLASH, "cannot write %s: a left-over Mihomo could not be told after a crash", path);
}

void instance_end_leftover(const char *run)
{
	cleanup_free char *text = NULL;
	char path[PATH_MAX], *rest;
	uint64_t start;
	size_t len;
	long pid;

	if (io_path(path, sizeof(path), NULL, "%s/mihomo.pid", run) < 0 ||
	    io_slurp_path(path, 64, &text, &len, NULL) < 0)
		return;
	unlink(path);
	pid = strtol(text, &rest, 10);
	start = strtoull(rest, NULL, 10);
	if (pid <= 1 || pid > INT_MAX || !start || procfs_stat((pid_t)pid, PROCFS_START_TIME) != start)
		return;
	log_warn(LOG_CLASH, "ending the Mihomo that a former life left (pid %ld)", pid);
	kill((pid_t)pid, SIGKILL);
}
