/*
 * Loaded into the supervisor with LD_PRELOAD: the time between the return of one
 * epoll_wait and the call of the next is one turn of its loop. TURNS names a file
 * of sizeof(struct turns) bytes that takes what is measured; whoever maps it too
 * may set it to zero.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Of the longest turns in ns, each by its own measure. */
struct turns {
	uint64_t count;
	uint64_t cpu;
	uint64_t own; /* by the clock, but for the time that the machine's other processes took away */
	uint64_t wall;
};

struct at {
	uint64_t cpu, wall, queued;
};

static int (*real_wait)(int fd, struct epoll_event *events, int max, int timeout);
static struct turns *turns;
static int schedstat = -1;

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Before main: else opening would be in somebody's turn. */
__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("TURNS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	turns = map == MAP_FAILED ? NULL : map;
	schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	real_wait = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
}

/* "ns on a CPU, ns in the queue for one, times" */
static uint64_t queued(void)
{
	char text[64], *rest;
	ssize_t n = pread(schedstat, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	strtoull(text, &rest, 10);
	return strtoull(rest, NULL, 10);
}

static struct at look(void)
{
	return (struct at){ now(CLOCK_THREAD_CPUTIME_ID), now(CLOCK_MONOTONIC), queued() };
}

static void note(uint64_t *longest, uint64_t took)
{
	if (took > *longest)
		*longest = took;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	static struct at from; /* the turn's beginning */
	struct at to = look();
	int n;

	if (turns && from.wall) {
		turns->count++;
		note(&turns->cpu, to.cpu - from.cpu);
		note(&turns->own, to.wall - from.wall - (to.queued - from.queued));
		note(&turns->wall, to.wall - from.wall);
	}
	n = real_wait(fd, events, max, timeout);
	from = look();
	return n;
}
