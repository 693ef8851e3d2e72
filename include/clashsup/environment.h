/* environment: one environment out of another, as execve(2) takes it. */
#ifndef CLASHSUP_ENVIRONMENT_H
#define CLASHSUP_ENVIRONMENT_H

#include <stddef.h>

/*
 * `base` less the names in `without` (NULL-terminated, may be NULL), with the
 * NAME=VALUE of `with` (likewise) in place of its own; of the same name twice the
 * last one counts. One array for free(3), its texts are borrowed; NULL = no memory.
 */
char **environment_make(char *const *base, const char *const *without, char *const *with);

/* The value of a name, or NULL. */
const char *environment_get(char *const *env, const char *name);

#endif
