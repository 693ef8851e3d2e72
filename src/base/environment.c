#include "clashsup/environment.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static size_t count(char *const *env)
{
	size_t n = 0;

	while (env && env[n])
		n++;
	return n;
}

static size_t name_len(const char *entry)
{
	return strcspn(entry, "=");
}

static bool is_named(const char *entry, const char *name, size_t len)
{
	return name_len(entry) == len && memcmp(entry, name, len) == 0;
}

static bool is_among(const char *entry, const char *const *names)
{
	for (; names && *names; names++)
		if (is_named(entry, *names, strlen(*names)))
			return true;
	return false;
}

/* Replaces the entry of the same name, or adds one; the new number of entries. */
static size_t put(char **env, size_t n, char *entry)
{
	size_t i = 0;

	while (i < n && !is_named(env[i], entry, name_len(entry)))
		i++;
	env[i] = entry;
	return i == n ? n + 1 : n;
}

char **environment_make(char *const *base, const char *const *without, char *const *with)
{
	char **env = calloc(count(base) + count(with) + 1, sizeof(*env));
	size_t n = 0;

	if (!env)
		return NULL;
	for (; base && *base; base++)
		if (!is_among(*base, without))
			env[n++] = *base;
	for (; with && *with; with++)
		n = put(env, n, *with);
	return env;
}

const char *environment_get(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; env && *env; env++)
		if (is_named(*env, name, len) && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}
