/* with_reaper: a group's set-up for tests that start processes: the default loop and its reaper as *state. */
#ifndef TESTS_WITH_REAPER_H
#define TESTS_WITH_REAPER_H

#include "clashsup/proc.h"

static int with_reaper(void **state)
{
	static struct reaper reaper;

	proc_clean_start();
	*state = &reaper;
	return reaper_start(&reaper, ev_default_loop(0));
}

static int without_reaper(void **state)
{
	reaper_stop(*state);
	return 0;
}

#endif
