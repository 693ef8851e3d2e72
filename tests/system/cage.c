/*
 * cage PHASE WHAT DIRECTORY: goes into the helper's cage of that phase, which lets
 * it read DIRECTORY if it lets it read at all, and tries one thing. 0 = it worked,
 * 1 = it was refused; or the kernel kills it.
 * cage split WHAT DIRECTORY: the same of the reader that the resolver started; the
 * resolver says on standard output what became of it.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/helper.h"
#include "helper/split.h"

static void *nothing(void *arg)
{
	return arg;
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags, 0600);
}

static int try_read(const char *dir)
{
	return open(dir, O_RDONLY | O_DIRECTORY);
}

static int try_file(const char *dir)
{
	return open_in(dir, "file", O_RDONLY);
}

static int try_link(const char *dir)
{
	return open_in(dir, "link", O_RDONLY);
}

static int try_write(const char *dir)
{
	(void)dir;
	return open("/dev/null", O_WRONLY);
}

static int try_append(const char *dir)
{
	return open_in(dir, "file", O_RDWR | O_APPEND);
}

static int try_truncate(const char *dir)
{
	return open_in(dir, "file", O_RDONLY | O_TRUNC);
}

static int try_create(const char *dir)
{
	return open_in(dir, "new", O_RDONLY | O_CREAT);
}

static int try_tmpfile(const char *dir)
{
	return open(dir, O_TMPFILE | O_RDWR, 0600);
}

static int try_outside(const char *dir)
{
	(void)dir;
	return open("/etc/passwd", O_RDONLY);
}

static int try_up(const char *dir)
{
	return open_in(dir, "../..", O_RDONLY | O_DIRECTORY);
}

static int try_resolv_conf(const char *dir)
{
	(void)dir;
	return open("/etc/resolv.conf", O_RDONLY);
}

static int try_list(const char *dir)
{
	char name[64];

	(void)dir;
	return (int)readlink("/proc/self/exe", name, sizeof(name));
}

static int try_unlink(const char *dir)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/file", dir);
	return unlink(path);
}

static int try_mkdir(const char *dir)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/made", dir);
	return mkdir(path, 0700);
}

static int try_chmod(const char *dir)
{
	return chmod(dir, 0700);
}

static int try_inet(const char *dir)
{
	(void)dir;
	return socket(AF_INET6, SOCK_DGRAM, 0);
}

static int try_unix(const char *dir)
{
	(void)dir;
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int try_socketpair(const char *dir)
{
	int pair[2];

	(void)dir;
	return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

static int try_packet(const char *dir)
{
	(void)dir;
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int try_netlink(const char *dir)
{
	(void)dir;
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

/* As if a socket had come by some other way: what is done with it. Made before the cage is closed. */
static int found = -1;

static int try_connect(const char *dir)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

	(void)dir;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(found, (const struct sockaddr *)&to, sizeof(to));
}

static int try_bind(const char *dir)
{
	struct sockaddr_in to = { .sin_family = AF_INET };

	(void)dir;
	return bind(found, (const struct sockaddr *)&to, sizeof(to));
}

static int try_send(const char *dir)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

	(void)dir;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return (int)sendto(found, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to));
}

static int try_listen(const char *dir)
{
	(void)dir;
	return listen(found, 1);
}

static int try_map_code(const char *dir)
{
	(void)dir;
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static int try_limits(const char *dir)
{
	const struct rlimit none = { 0, 0 };

	(void)dir;
	return setrlimit(RLIMIT_CORE, &none);
}

static int try_fork(const char *dir)
{
	(void)dir;
	return fork();
}

static int try_thread(const char *dir)
{
	pthread_t thread;

	(void)dir;
	return -pthread_create(&thread, NULL, nothing, NULL);
}

static int try_exec(const char *dir)
{
	(void)dir;
	return execl("/bin/true", "true", NULL);
}

static int try_kill(const char *dir)
{
	(void)dir;
	return kill(getppid(), 0);
}

static int try_ptrace(const char *dir)
{
	(void)dir;
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int try_peek(const char *dir)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { &byte, 1 };

	(void)dir;
	return (int)process_vm_readv(getpid(), &here, 1, &there, 1, 0);
}

static int try_setuid(const char *dir)
{
	(void)dir;
	return setuid(getuid());
}

static int try_session(const char *dir)
{
	(void)dir;
	return setsid();
}

static int try_crash(const char *dir)
{
	(void)dir;
	__builtin_trap(); /* abort() would be killed for its signal */
}

static int try_wait(const char *dir)
{
	(void)dir;
	return pause();
}

static const struct {
	const char *name;
	int (*fn)(const char *dir);
} things[] = {
	{ "read", try_read },	      { "file", try_file },
	{ "link", try_link },	      { "write", try_write },
	{ "append", try_append },     { "truncate", try_truncate },
	{ "create", try_create },     { "tmpfile", try_tmpfile },
	{ "outside", try_outside },   { "up", try_up },
	{ "readlink", try_list },     { "resolv.conf", try_resolv_conf },
	{ "unlink", try_unlink },     { "mkdir", try_mkdir },
	{ "chmod", try_chmod },	      { "inet", try_inet },
	{ "unix", try_unix },	      { "socketpair", try_socketpair },
	{ "packet", try_packet },     { "netlink", try_netlink },
	{ "connect", try_connect },   { "bind", try_bind },
	{ "send", try_send },	      { "listen", try_listen },
	{ "map-code", try_map_code }, { "limits", try_limits },
	{ "fork", try_fork },	      { "thread", try_thread },
	{ "exec", try_exec },	      { "kill", try_kill },
	{ "ptrace", try_ptrace },     { "peek", try_peek },
	{ "setuid", try_setuid },     { "session", try_session },
	{ "crash", try_crash },	      { "wait", try_wait },
};

static int try(enum confine_phase phase, const char *what, const char *dir)
{
	found = socket(AF_INET, SOCK_DGRAM, 0);
	if (confine(phase, (const char *const[]){ dir, NULL }) < 0)
		return 2;
	for (size_t i = 0; i < sizeof(things) / sizeof(things[0]); i++)
		if (strcmp(things[i].name, what) == 0)
			return things[i].fn(dir) < 0;
	return 2;
}

static int split(const char *what, const char *dir)
{
	struct err e = ERR_INIT;
	struct reader r;
	char buf[16];
	int side = split_reader(&r, &e);

	if (side == 1) {
		io_write_all(STDOUT_FILENO, "hello", 5);
		return try(CONFINE_READING, what, dir);
	}
	if (side < 0 || confine(CONFINE_RESOLVING, NULL) < 0)
		return 2;
	if (strcmp(what, "wait") == 0) /* our death must be its death */
		return io_read(r.records, buf, sizeof(buf)) == 5 ? 0 : 2;
	while (io_read(r.records, buf, sizeof(buf)) > 0)
		;
	puts(reader_end(&r, &e) == 0 ? "well" : e.msg);
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const phases[] = { "reading", "resolving" };

	if (argc != 4)
		return 2;
	if (strcmp(argv[1], "split") == 0)
		return split(argv[2], argv[3]);
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (strcmp(argv[1], phases[i]) == 0)
			return try((enum confine_phase)i, argv[2], argv[3]);
	return 2;
}
