/*
 * memory: hints to glibc's allocator, so that the supervisor stays small after
 * it had much to do. Other C libraries need none.
 */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Large blocks go back to the kernel when they are freed; by itself glibc raises its threshold with the first one. */
static inline void memory_keep_small(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 32 * 1024);
	mallopt(M_TRIM_THRESHOLD, 64 * 1024);
#endif
}

/* Gives free pages back now; after a burst of work. */
static inline void memory_give_back(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

#endif
