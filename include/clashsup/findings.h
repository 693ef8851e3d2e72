/*
 * findings: facts and wishes in, what an operator should know out, in order of
 * weight. Pure.
 */
#ifndef CLASHSUP_FINDINGS_H
#define CLASHSUP_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/survey_facts.h"

#define FINDINGS_MAX 32
#define FINDING_TEXT 320
#define FINDING_COMMAND SURVEY_COMMAND
#define FINDINGS_SYSCTLS_MAX 16
#define FINDINGS_SYSCTL_NAME 128

/* REFUSE: must not arm. WARN: something will not work. NOTE: good to know. */
enum finding_weight { FINDING_REFUSE, FINDING_WARN, FINDING_NOTE };

enum finding_kind {
	FINDING_COLLISION,    /* our mark, table or pref is somebody else's too */
	FINDING_FOREIGN_RULE, /* somebody else leads traffic to our port */
	FINDING_OTHER_PROXY,  /* another transparent proxy has rules here */
	FINDING_DIRECT_PATH,  /* nothing to fail open to */
	FINDING_BRIDGE_NF,    /* bridged traffic passes iptables twice: TPROXY is dead */
	FINDING_VALID_MARK,   /* src_valid_mark: intercepted packets are martians */
	FINDING_INPUT,	      /* intercepted packets are refused on their way in */
	FINDING_DNS,	      /* port 53 is somebody else's */
	FINDING_TUN,	      /* Mihomo itself takes the traffic, too */
	FINDING_UNKNOWN,      /* could not be looked at */
	FINDING_OWN	      /* clashsup itself; see daemon/doctor */
};

struct finding {
	enum finding_kind kind;
	enum finding_weight weight;
	char text[FINDING_TEXT];
	char command[FINDING_COMMAND]; /* that mends it; "" = none */
};

struct findings {
	struct finding list[FINDINGS_MAX];
	size_t n;
};

/* 0 = no, 1 = yes, 2 = auto, as in settings */
enum findings_word { WISH_NO, WISH_YES, WISH_AUTO };

/* What is wanted of the network. */
struct findings_wish {
	bool family[IP_FAMILIES]; /* that are armed, or shall be */
	bool closed;		  /* on_death = closed: there shall be no direct path */
	enum findings_word input_accept, dns;
};

/* All of the facts, the heaviest first. What is already there in *out stays. */
void findings_judge(const struct survey_facts *f, const struct findings_wish *w, struct findings *out);

/* Puts one in its place; one too many is dropped. `command` may be NULL. */
void findings_add(struct findings *out, enum finding_kind kind, enum finding_weight weight, const char *command,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The first that refuses, NULL = none. */
const struct finding *findings_refusal(const struct findings *list);

/*
 * Where packets go while nothing is intercepted: "ok", "none (why)", "IPv4 only (why)", "IPv6 only (why)", or
 * "unknown (why)". Returns `buf`.
 */
const char *findings_direct_path(const struct survey_facts *f, const struct findings_wish *w, char *buf, size_t cap);

/* input_accept = auto: does a chain of iptables refuse some of what comes in? */
bool findings_input_accept(const struct survey_facts *f, const struct findings_wish *w);

/* dns = auto: does somebody else serve or redirect port 53? Then `why` has a sentence. */
bool findings_dns_taken(const struct survey_facts *f, char *why, size_t cap);

struct findings_sysctl {
	char name[FINDINGS_SYSCTL_NAME]; /* as of sysctl.h */
	int value;
};

/* What fix_sysctls = yes sets; names with an interface in them have slashes. The count. */
size_t findings_sysctls(const struct survey_facts *f, const struct findings_wish *w,
			struct findings_sysctl out[FINDINGS_SYSCTLS_MAX]);

#endif
