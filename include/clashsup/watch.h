/*
 * watch: tells when files change, by inotify, debounced. Watches the file, its
 * directory and every symbolic link on the way, so that rename-over, a link
 * switch, a write through another name and a file that appears later are seen.
 * A path that is a directory stands for its entries. Not seen: a rename of a
 * real directory above the file's own one, and links beyond the sixth.
 * A change is told at the latest after ten times the debounce.
 */
#ifndef CLASHSUP_WATCH_H
#define CLASHSUP_WATCH_H

#include <ev.h>

#include "clashsup/err.h"

#define WATCH_PATHS 256
#define WATCH_DEBOUNCE_MS 150

struct watch;

/* `path` is the one that was given to watch_add; several changes within the debounce are one call each path. */
typedef void (*watch_fn)(void *ctx, const char *path);

int watch_open(struct watch **out, struct ev_loop *loop, watch_fn changed, void *ctx, struct err *e);
void watch_close(struct watch *w); /* NULL-safe */

/* Idempotent. A directory that is missing too is watched for through its nearest existing parent. */
int watch_add(struct watch *w, const char *path, struct err *e);

/* Forgets all paths. */
void watch_clear(struct watch *w);

#endif
