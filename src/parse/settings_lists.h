/*
 * settings_lists: the keys whose values are lists, with what their files hold.
 * Private to the settings parser.
 */
#ifndef PARSE_SETTINGS_LISTS_H
#define PARSE_SETTINGS_LISTS_H

#include "parse/settings_keys.h"

#define LIST_TOLD_MAX 20 /* problems of one list; the rest is told as a number */

/* One problem. In a file, or, when that is NULL, in the value itself (its line is known to the caller). */
typedef void (*list_problem_fn)(void *ctx, const char *file, unsigned line, const char *sentence);

/* Text to values. -EINVAL after every problem was told; the list is then empty. */
int settings_list_store(enum settings_list which, const char *text, struct settings *s, list_problem_fn problem,
			void *ctx);

/* Items, or "@FILE" with one argument a line. Errors as of setting_store. */
int settings_args_store(const char *text, struct settings *s, struct err *e);
/* The same, each NAME=VALUE. */
int settings_env_store(const char *text, struct settings *s, struct err *e);

/* The same values in the same order? */
bool settings_list_same(enum settings_list which, const struct settings *a, const struct settings *b);
bool settings_args_same(char *const *a, char *const *b); /* of args or env, NULL-terminated */

/* Frees all lists, args and env. */
void settings_lists_free(struct settings *s);

#endif
