/*
 * attributes: the texts of [mihomo] limits, groups and cgroup, and back. Pure but
 * for the group database. Private to the settings parser.
 */
#ifndef PARSE_ATTRIBUTES_H
#define PARSE_ATTRIBUTES_H

#include <stdio.h>

#include "clashsup/attributes.h"
#include "clashsup/err.h"

/* -EINVAL with a sentence that completes "must be"; the output is then untouched. */
int attributes_limits(const char *text, struct attr_limits *out, struct err *e);
int attributes_groups(const char *text, struct attr_groups *out, struct err *e);

/* NULL, or what is allowed. */
const char *attributes_cgroup_problem(const char *text);

void attributes_show_limits(const struct attr_limits *limits, FILE *out);
void attributes_show_groups(const struct attr_groups *groups, FILE *out);

#endif
