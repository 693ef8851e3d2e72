/*
 * reload_effects: what has to be done when a key of clashsup's configuration has
 * another value. One table, pure; a test asserts that no key is missing.
 */
#ifndef DAEMON_RELOAD_EFFECTS_H
#define DAEMON_RELOAD_EFFECTS_H

#define RELOAD_LIVE 0x1u   /* it is read when it is needed, or copied in passing */
#define RELOAD_PROBE 0x2u  /* the probe helper is started anew */
#define RELOAD_PLAN 0x4u   /* the rules are replaced while they are in */
#define RELOAD_ANEW 0x8u   /* TProxy is taken out and applied anew */
#define RELOAD_CHECK 0x10u /* Mihomo's config is looked at anew */
#define RELOAD_CORE 0x20u  /* ... and then Mihomo is restarted */
#define RELOAD_USER                                                                                                    \
	0x40u /* Mihomo is restarted at once: its files belong to another user, or the rules to another group */
#define RELOAD_EXTRACT 0x80u /* the addresses of the servers are looked for anew */
#define RELOAD_SOCKET 0x100u /* the control socket is opened elsewhere */
#define RELOAD_MODE 0x200u
#define RELOAD_SYSCTLS 0x400u
#define RELOAD_LOGFILE 0x800u /* the writer of Mihomo's lines is another one */
#define RELOAD_NEVER 0x1000u  /* not while clashsup runs: the old value stays */

/* 0 for a key that is not in the table. */
unsigned reload_effects(const char *section, const char *name);

#endif
