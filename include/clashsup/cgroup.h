/*
 * cgroup: a leaf of the unified hierarchy (cgroup v2) for one child. We give it no
 * controller and write no cgroup.subtree_control: clashsup itself lives in the
 * cgroup above, which the kernel forbids where controllers are handed down ("no
 * internal processes"; the kernel's Documentation/admin-guide/cgroup-v2.rst).
 */
#ifndef CLASHSUP_CGROUP_H
#define CLASHSUP_CGROUP_H

#include <limits.h>

#include "clashsup/err.h"

/*
 * The directory of an absolute path, or of a name below our own cgroup; it is made
 * where it is missing. -errno with a sentence: there is none to be had here.
 */
int cgroup_make(const char *wanted, char path[PATH_MAX], struct err *e);

/* The caller moves there; 0 or -errno. Safe after fork. */
int cgroup_join(const char *path);

/* Removes the leaf of a name, when nothing lives in it; a path of the user's stays. */
void cgroup_drop(const char *wanted);

#endif
