/*
 * surroundings: what this machine can do and what others do on it, as far as it
 * matters to our rules: which backend works (sys/ability), and whose rules,
 * routes, sockets and sysctls collide with ours (sys/survey). Looked at when the
 * supervisor starts, beside Mihomo's own start, and again when something has
 * changed; an arming waits only for the first look.
 */
#ifndef DAEMON_SURROUNDINGS_H
#define DAEMON_SURROUNDINGS_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clashsup/ability.h"
#include "clashsup/choice.h"
#include "clashsup/findings.h"
#include "clashsup/fwplan.h"
#include "clashsup/settings.h"
#include "clashsup/survey.h"

struct surroundings {
	struct ev_loop *loop;
	struct reaper *reaper;
	const struct settings *settings;
	void (*known)(void *ctx); /* something new is known */
	void *ctx;

	struct ability_run *probing;
	struct ability ability;
	struct choice choice; /* all zero until it is made */
	bool probed;
	bool outdated; /* the probe that runs was begun for other settings, or beside a job of the firewall */
	ev_timer probe_again;

	struct survey *surveying;
	struct survey_facts facts;
	struct findings findings; /* of the facts */
	bool surveyed;
	double pause_s; /* behind a change: grows while changes change nothing for us */
	bool stale;	/* something has changed since the survey began */
	bool forced;	/* an arming waits for this one */
	ev_timer survey_again;
	char told[FINDING_TEXT * 2]; /* the last warnings that were logged */
	char lack[CHOICE_WHY + 128];
	char refusal[FINDING_TEXT + FINDING_COMMAND + 4]; /* what stands in the way, with the command; "" = nothing */

	uint16_t port; /* of Mihomo's TPROXY listener; 0 = as configured */
	pid_t mihomo;
	char direct_path[160]; /* "ok", "none (why)" */
};

/* With loop to ctx filled. */
void surroundings_init(struct surroundings *s);
void surroundings_deinit(struct surroundings *s);

/* Which backend? Once, and not beside a job of the firewall. */
void surroundings_probe(struct surroundings *s);

/* Settings that it depends on have changed: again, now. */
void surroundings_anew(struct surroundings *s);

/* Do the new settings need what was not asked for the old ones? Then the rules wait for surroundings_anew. */
bool surroundings_know_less(const struct settings *old, const struct settings *now);

/* A new survey; with `wait` nothing is known until it has come to its end. */
void surroundings_look(struct surroundings *s, bool wait);

/* Rules, routes or addresses have changed: a new survey soon. */
void surroundings_changed(struct surroundings *s);

/* Both are there. */
bool surroundings_known(const struct surroundings *s);

/* Why nothing may be armed now: one sentence with what to do; NULL = nothing. */
const char *surroundings_refusal(const struct surroundings *s);

/* Why the choice leaves this family out. */
const char *surroundings_why_not(const struct surroundings *s, enum ip_family family);

/* What the settings ask for and this kernel cannot do with the backend in use; NULL = nothing. */
const char *surroundings_lack(const struct surroundings *s);

/* [tproxy] input_accept, with auto decided. */
bool surroundings_input_accept(const struct surroundings *s);

/* [tproxy] dns, with auto decided, into plan->dns; `note` has a sentence for status. */
void surroundings_dns(const struct surroundings *s, uint16_t dns_port, const struct addr *resolvers, size_t n,
		      struct fwplan_params *plan, char note[160]);

/* The likeliest reason why intercepted packets do not arrive. */
const char *surroundings_blame(const struct surroundings *s);

/* Puts back what fix_sysctls has changed, by the journal in RUN. */
void surroundings_restore_sysctls(const struct surroundings *s);

#endif
