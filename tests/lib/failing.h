/*
 * failing: memory that runs out when a test says so. For one-file test programs
 * named test_faults_*.c, which are linked with --wrap for these functions.
 */
#ifndef TESTS_FAILING_H
#define TESTS_FAILING_H

#include <stddef.h>

static long failing_after = -1; /* allocations that still succeed; -1 = all do */

/* The n-th allocation from now on (0 = the very next) fails, and all behind it. */
static inline void fail_allocations_after(long n)
{
	failing_after = n;
}

static inline void allocations_work(void)
{
	failing_after = -1;
}

static int out_of_memory(void)
{
	if (failing_after < 0)
		return 0;
	if (failing_after == 0)
		return 1;
	failing_after--;
	return 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
	return out_of_memory() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return out_of_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return out_of_memory() ? NULL : __real_realloc(p, n);
}

#endif
