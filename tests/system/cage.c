/*
 * cage WHAT DIRECTORY: goes into the helper's cage, which lets it read DIRECTORY,
 * and tries one thing. 0 = it worked, 1 = it was refused; or the kernel kills it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/helper.h"

static void *nothing(void *arg)
{
	return arg;
}

static int try(const char *what, const char *dir)
{
	struct rlimit none = { 0, 0 };
	pthread_t thread;

	if (strcmp(what, "read") == 0)
		return open(dir, O_RDONLY | O_DIRECTORY);
	if (strcmp(what, "write") == 0)
		return open("/dev/null", O_WRONLY);
	if (strcmp(what, "create") == 0)
		return open(dir, O_TMPFILE | O_RDWR, 0600);
	if (strcmp(what, "outside") == 0)
		return open("/etc/passwd", O_RDONLY);
	if (strcmp(what, "inet") == 0)
		return socket(AF_INET6, SOCK_DGRAM, 0);
	if (strcmp(what, "packet") == 0)
		return socket(AF_PACKET, SOCK_RAW, 0);
	if (strcmp(what, "netlink") == 0)
		return socket(AF_NETLINK, SOCK_RAW, 0);
	if (strcmp(what, "map-code") == 0)
		return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1
														 : 0;
	if (strcmp(what, "limits") == 0)
		return setrlimit(RLIMIT_CORE, &none);
	if (strcmp(what, "chmod") == 0)
		return chmod(dir, 0700);
	if (strcmp(what, "fork") == 0)
		return fork();
	if (strcmp(what, "thread") == 0)
		return -pthread_create(&thread, NULL, nothing, NULL);
	if (strcmp(what, "exec") == 0)
		return execl("/bin/true", "true", NULL);
	if (strcmp(what, "kill") == 0)
		return kill(getpid(), 0);
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 3 || confine(CONFINE_BOTH, (const char *const[]){ argv[2], NULL }) < 0)
		return 2;
	return try(argv[1], argv[2]) < 0;
}
