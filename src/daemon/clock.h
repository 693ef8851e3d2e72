/* clock: milliseconds and microseconds of CLOCK_MONOTONIC, milliseconds since 1970. */
#ifndef DAEMON_CLOCK_H
#define DAEMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "clashsup/report.h"

static inline int64_t clock_us_of(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline int64_t clock_us(void)
{
	return clock_us_of(CLOCK_MONOTONIC);
}

static inline int64_t clock_ms(void)
{
	return clock_us() / 1000;
}

static inline int64_t clock_wall_ms(void)
{
	return clock_us_of(CLOCK_REALTIME) / 1000;
}

static inline struct report_time clock_both(void)
{
	return (struct report_time){ clock_wall_ms(), clock_ms() };
}

#endif
