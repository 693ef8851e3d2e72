/*
 * report: what `clashsup status` says, as a value, and as JSON (version 1 of
 * the machine-readable output; docs/clashsup.8 lists every field).
 */
#ifndef CLASHSUP_REPORT_H
#define CLASHSUP_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPORT_TEXT 256
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
	char iptables_note[REPORT_TEXT]; /* "ok", or why the backend cannot work */
	bool full;			 /* false: leave out what only those with control may read (file names) */
};

/* One line of JSON without a newline, malloc'ed; NULL when out of memory. */
char *report_json(const struct report *r);

/* `state` out of the parts (design: derived from both tables). */
const char *report_state(const char *child, const char *net, const char *mode);

#endif
