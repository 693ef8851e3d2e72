/*
 * doctor: what keeps clashsup from working well on this machine, looked for now.
 * Changes nothing. A command of its own: it blocks for some seconds.
 */
#ifndef DAEMON_DOCTOR_H
#define DAEMON_DOCTOR_H

#include <stdbool.h>
#include <stdio.h>

#include "clashsup/settings.h"

/* Exit statuses: no more than notes, a warning, what keeps it from arming; or it could not be looked. */
enum { DOCTOR_FINE = 0, DOCTOR_WARNINGS = 1, DOCTOR_REFUSALS = 2, DOCTOR_BLIND = 3 };

/* Runs in a loop of its own (loop_open). */
int doctor_run(const struct settings *s, bool json, FILE *out);

#endif
