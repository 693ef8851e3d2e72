/*
 * report: what `clashsup status` says, as a value, and as JSON (version 1 of
 * the machine-readable output; docs/clashsup.8 lists every field).
 */
#ifndef CLASHSUP_REPORT_H
#define CLASHSUP_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/history.h"

#define REPORT_TEXT 640
#define REPORT_WARNINGS 8

struct report_time {
	int64_t wall_ms; /* since 1970; 0 = never */
	int64_t mono_ms; /* CLOCK_MONOTONIC twin */
};

struct report {
	const char *state; /* waiting starting armed direct mixed stopped failed */
	struct report_time since;
	const char *child, *net, *mode, *backend, *on_death;
	struct {
		int pid; /* 0 = none */
		struct report_time since;
		uint32_t restarts;
		bool exited; /* last_exit is filled */
		int exit_code, exit_signal;
		struct report_time exit_at;
		const struct history *history; /* borrowed; NULL = none */
	} mihomo;
	struct {
		bool ok;
		uint32_t latency_us, fails;
	} probe;
	struct {
		uint16_t port;
		char family[2][REPORT_TEXT];	     /* "armed", or the reason; by enum ip_family */
		int64_t armed_in_us, last_disarm_us; /* -1 = never */
	} tproxy;
	struct {
		const char *name;
		size_t count[2];
		struct report_time updated;
	} ipset;
	struct {
		bool running;
		struct report_time last;
		int64_t duration_ms;
		uint32_t endpoints, names, unresolved, skipped;
		uint32_t missed; /* addresses that Mihomo was seen to dial and no source named */
	} extract;
	char waiting_for[REPORT_TEXT];
	char warnings[REPORT_WARNINGS][REPORT_TEXT];
	size_t n_warnings;
	char surroundings[REPORT_WARNINGS][REPORT_TEXT]; /* warnings of the last survey: `doctor` makes one anew */
	size_t n_surroundings;
	bool closed;		       /* on_death = closed is in force: the LAN's traffic is refused */
	char backends[2][REPORT_TEXT]; /* what iptables and nft could do here: "ok", "not needed", or a reason */
	char direct_path[REPORT_TEXT]; /* where packets go without us: "ok", "none (why)" */
	char dns[REPORT_TEXT];	       /* "on, port 1053; without Mihomo: 9.9.9.9", "off (why)" */
	char delta[REPORT_TEXT];       /* "none", or how the kernel differs from what is wanted; "" while not armed */
	struct {
		uint32_t count; /* what others took away and we put back */
		char last[REPORT_TEXT];
		struct report_time at;
	} repairs;
	bool full; /* false: leave out what only those with control may read (file names) */
};

/* RFC 3339 in UTC with milliseconds; false, and nothing written, for a time of never. */
#define REPORT_TIME_TEXT 48
bool report_wall(int64_t wall_ms, char out[REPORT_TIME_TEXT]);

/* One line of JSON without a newline, malloc'ed; NULL when out of memory. */
char *report_json(const struct report *r);

/* `state` out of the parts (design: derived from both tables). */
const char *report_state(const char *child, const char *net, const char *mode);

#endif
