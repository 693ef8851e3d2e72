/* rules: `clashsup rules`, the rules that the settings give, as text on standard output. */
#ifndef CLASHSUP_DAEMON_RULES_H
#define CLASHSUP_DAEMON_RULES_H

#include "clashsup/settings.h"

/* Prints; the exit status: 0, 1 with the reason on standard error, 2 for bad arguments. */
int rules_print(const struct settings *s, int n_args, char *const args[]);

#endif
