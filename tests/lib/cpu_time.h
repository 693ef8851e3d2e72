/* cpu_time: bounds of processor time, which a machine under load does not stretch. For tests. */
#ifndef TESTS_CPU_TIME_H
#define TESTS_CPU_TIME_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Of this process so far. */
static inline int64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline int64_t cpu_ms(void)
{
	return cpu_us() / 1000;
}

/* How much slower than a plain build this one may be: memcheck is run with CLASHSUP_SLOW=30. */
static inline double cpu_slow(void)
{
	const char *text = getenv("CLASHSUP_SLOW");

	return text ? strtod(text, NULL) : 1;
}

#endif
