/*
 * watch: tells when files change, by inotify, debounced. Watches the file, its
 * directory and every symbolic link on the way, so that rename-over, a link
 * switch, a write through another name and a file that appears later are seen.
 * A path that is a directory stands for those of its entries whose names count
 * and that are not watched themselves.
 * Not seen: a rename of a
 * real directory above the file's own one, and links beyond the sixth.
 * A change is told when there was no further one for the debounce, which is short
 * behind a write that is complete (closed, or renamed over), and at the latest
 * after ten times the long one.
 */
#ifndef CLASHSUP_WATCH_H
#define CLASHSUP_WATCH_H

#include <ev.h>
#include <stdbool.h>

#include "clashsup/err.h"

#define WATCH_PATHS 256
#define WATCH_DEBOUNCE_MS 150 /* behind a write to a file that is still open */
#define WATCH_SETTLED_MS 20

struct watch;

/* `path` is the one that was given to watch_add; several changes within the debounce are one call each path. */
typedef void (*watch_fn)(void *ctx, const char *path);

/* Does the entry of a watched directory count? */
typedef bool (*watch_counts_fn)(const char *name);

int watch_open(struct watch **out, struct ev_loop *loop, watch_fn changed, watch_counts_fn counts, void *ctx,
	       struct err *e);
void watch_close(struct watch *w); /* NULL-safe */

/* Idempotent. A directory that is missing too is watched for through its nearest existing parent. */
int watch_add(struct watch *w, const char *path, struct err *e);

/* Forgets all paths. */
void watch_clear(struct watch *w);

#endif
