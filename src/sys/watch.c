#include "clashsup/watch.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/evio.h"
#include "clashsup/io.h"

#define POINTS 8      /* watched places of one path */
#define LINKS_MAX 16  /* symbolic links followed for one path */
#define READ_ROUNDS 8 /* of events, a loop turn */
#define READ_LEN 8192
#define DELAY_MAX (10 * WATCH_DEBOUNCE_MS) /* a file that is written all the time is told about too */

/* One mask for all: inotify has one watch an inode, and adding it again replaces the mask. */
#define EVENTS                                                                                                         \
	(IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |                \
	 IN_DELETE_SELF | IN_MOVE_SELF)
#define GONE (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT) /* of the watched inode itself */
#define CONTENT (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB)

enum point_kind {
	POINT_FILE, /* the file's name in its directory */
	POINT_WAY,  /* a name on the way to it: a symbolic link, or what is missing */
	POINT_SELF, /* the file's inode: writes through another name, bind mounts */
};

struct point {
	enum point_kind kind;
	int wd;
	char name[NAME_MAX + 1];
};

/* What tells two states of a path apart, when the way to it has changed. */
struct look {
	bool there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

struct entry {
	struct watch *watch;
	struct entry *next;
	struct point points[POINTS];
	size_t n_points;
	struct look look;
	ev_timer timer;
	ev_tstamp first; /* when the changes began that are not yet told */
	char path[];
};

struct watch {
	ev_io io; /* .fd is the inotify descriptor */
	struct ev_loop *loop;
	struct entry *entries;
	size_t n_entries;
	watch_fn changed;
	watch_counts_fn counts;
	void *ctx;
};

static struct look look_at(const char *path)
{
	struct look look = { 0 };
	struct stat st;

	if (stat(path, &st) < 0)
		return look;
	look.there = true;
	look.dev = st.st_dev;
	look.ino = st.st_ino;
	look.size = st.st_size;
	look.changed = st.st_ctim;
	return look;
}

static bool same_look(const struct look *a, const struct look *b)
{
	return a->there == b->there && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* ---- where to watch ---- */

static int add_point(struct entry *en, enum point_kind kind, const char *place, const char *name)
{
	struct point *p = &en->points[en->n_points];
	int wd;

	if (en->n_points == POINTS || strlen(name) > NAME_MAX)
		return -ENOSPC;
	wd = inotify_add_watch(en->watch->io.fd, place, EVENTS);
	if (wd < 0)
		return -errno;
	p->kind = kind;
	p->wd = wd;
	memcpy(p->name, name, strlen(name) + 1);
	en->n_points++;
	return 0;
}

/* The walk from "/" to the file: `at` is what is reached, `rest` what is still to go. */
struct walk {
	char at[PATH_MAX];
	char rest[PATH_MAX];
	char name[NAME_MAX + 1];
	char full[PATH_MAX]; /* at + name */
	int links;
};

/* Takes the next component off `rest`; false at the end or when a limit is passed. */
static bool walk_next(struct walk *w)
{
	size_t skip = strspn(w->rest, "/"), len = strcspn(w->rest + skip, "/");

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(w->name, w->rest + skip, len);
	w->name[len] = '\0';
	memmove(w->rest, w->rest + skip + len, strlen(w->rest + skip + len) + 1);
	return io_path(w->full, sizeof(w->full), NULL, "%s/%s", w->at[1] ? w->at : "", w->name) == 0;
}

static bool walk_ended(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

/* Puts the link's target before the rest. */
static bool walk_link(struct walk *w)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n = readlink(w->full, target, sizeof(target) - 1);

	if (n <= 0 || ++w->links > LINKS_MAX)
		return false;
	target[n] = '\0';
	if (io_path(joined, sizeof(joined), NULL, "%s/%s", target, w->rest) < 0)
		return false;
	memcpy(w->rest, joined, sizeof(joined));
	if (target[0] == '/')
		memcpy(w->at, "/", 2);
	return true;
}

static void walk_up(struct walk *w)
{
	char *slash = strrchr(w->at, '/');

	slash[slash == w->at ? 1 : 0] = '\0';
}

/*
 * One component: 1 = go on, 0 = done, or -errno of a watch. A name that was
 * missing is looked for again once its directory is watched, so that one made
 * in between is not lost.
 */
static int walk_step(struct walk *w, struct entry *en)
{
	struct stat st;
	int r;

	if (strcmp(w->name, ".") == 0)
		return 1;
	if (strcmp(w->name, "..") == 0)
		return walk_up(w), 1;
	if (lstat(w->full, &st) < 0) {
		r = add_point(en, POINT_WAY, w->at, w->name);
		if (r < 0 || lstat(w->full, &st) < 0)
			return r;
	}
	if (S_ISLNK(st.st_mode)) {
		r = add_point(en, POINT_WAY, w->at, w->name);
		return r < 0 ? r : walk_link(w);
	}
	if (walk_ended(w)) {
		r = add_point(en, POINT_FILE, w->at, w->name);
		(void)add_point(en, POINT_SELF, w->full, ""); /* it may be gone by now: its directory tells */
		return r;
	}
	memcpy(w->at, w->full, sizeof(w->at));
	return 1;
}

/* Watches all that decides what the path means now. At least one place, or -errno. */
static int arm(struct entry *en)
{
	struct walk w = { .at = "/" };
	int r = 1;

	en->n_points = 0;
	memcpy(w.rest, en->path, strlen(en->path) + 1);
	while (r == 1 && walk_next(&w))
		r = walk_step(&w, en);
	en->look = look_at(en->path);
	return en->n_points > 0 ? 0 : r < 0 ? r : -ELOOP;
}

static bool in_use(const struct watch *w, int wd)
{
	for (const struct entry *en = w->entries; en; en = en->next) {
		for (size_t i = 0; i < en->n_points; i++) {
			if (en->points[i].wd == wd)
				return true;
		}
	}
	return false;
}

static void release(struct watch *w, const struct point *points, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!in_use(w, points[i].wd))
			(void)inotify_rm_watch(w->io.fd, points[i].wd);
	}
}

/* ---- telling ---- */

/* Nothing is touched behind the callback, and it has a copy: it may clear or close the watch. */
static void on_quiet(struct ev_loop *loop, ev_timer *t, int revents)
{
	struct entry *en = t->data;
	char path[PATH_MAX];
	(void)loop;
	(void)revents;

	memcpy(path, en->path, strlen(en->path) + 1);
	en->watch->changed(en->watch->ctx, path);
}

static void mark(struct entry *en, bool settled)
{
	struct ev_loop *loop = en->watch->loop;
	ev_tstamp now = ev_now(loop), at = now + (settled ? WATCH_SETTLED_MS : WATCH_DEBOUNCE_MS) / 1000.;

	if (!ev_is_active(&en->timer))
		en->first = now;
	if (at > en->first + DELAY_MAX / 1000.)
		at = en->first + DELAY_MAX / 1000.;
	ev_timer_stop(loop, &en->timer);
	ev_timer_set(&en->timer, at > now ? at - now : 0., 0.);
	ev_timer_start(loop, &en->timer);
}

static void rearm(struct entry *en)
{
	struct look before = en->look;
	struct point old[POINTS];
	size_t n = en->n_points;

	memcpy(old, en->points, sizeof(old));
	(void)arm(en); /* without any place left it is silent until watch_add: only out of inotify watches */
	release(en->watch, old, n);
	if (!same_look(&before, &en->look))
		mark(en, true);
}

/* Of a directory: an entry whose name counts, and that has no watch of its own. */
static bool stands_for(const struct entry *dir, const char *name)
{
	size_t len = strlen(dir->path);

	for (const struct entry *en = dir->watch->entries; en; en = en->next) {
		if (strncmp(en->path, dir->path, len) == 0 && en->path[len] == '/' &&
		    strcmp(en->path + len + 1, name) == 0)
			return false;
	}
	return dir->watch->counts(name);
}

static void take_event(struct entry *en, const struct inotify_event *ev)
{
	const char *name = ev->len > 0 ? ev->name : "";
	bool changed = false, moved = false;

	for (size_t i = 0; i < en->n_points; i++) {
		const struct point *p = &en->points[i];
		bool named = name[0] != '\0' && strcmp(name, p->name) == 0;

		if (p->wd != ev->wd)
			continue;
		if (p->kind == POINT_SELF ? !name[0] || stands_for(en, name) : p->kind == POINT_FILE && named)
			changed = true;
		if ((ev->mask & GONE) || (named && !(ev->mask & CONTENT)))
			moved = true;
	}
	if (moved)
		rearm(en);
	if (changed)
		mark(en, !(ev->mask & IN_MODIFY));
}

/* Events were lost: everything may have changed. */
static void take_overflow(struct watch *w)
{
	for (struct entry *en = w->entries; en; en = en->next) {
		rearm(en);
		mark(en, true);
	}
}

static void on_events(struct ev_loop *loop, ev_io *io, int revents)
{
	_Alignas(struct inotify_event) char buf[READ_LEN];
	struct watch *w = io->data;

	if (evio_again(loop, io, revents))
		return;
	for (int round = 0; round < READ_ROUNDS; round++) {
		ssize_t n = io_read(io->fd, buf, sizeof(buf));

		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(buf + at);

			if (ev->mask & IN_Q_OVERFLOW)
				take_overflow(w);
			for (struct entry *en = w->entries; en; en = en->next)
				take_event(en, ev);
			at += (ssize_t)(sizeof(*ev) + ev->len);
		}
		if (n <= 0)
			return;
	}
}

/* ---- the face ---- */

int watch_open(struct watch **out, struct ev_loop *loop, watch_fn changed, watch_counts_fn counts, void *ctx,
	       struct err *e)
{
	cleanup_fd int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct watch *w;

	if (fd < 0)
		return err_sys(e, errno, "cannot watch files");
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_sys(e, ENOMEM, "cannot watch files");
	w->loop = loop;
	w->changed = changed;
	w->counts = counts;
	w->ctx = ctx;
	ev_io_init(&w->io, on_events, steal_fd(&fd), EV_READ);
	w->io.data = w;
	ev_io_start(loop, &w->io);
	*out = w;
	return 0;
}

void watch_close(struct watch *w)
{
	if (!w)
		return;
	watch_clear(w);
	ev_io_stop(w->loop, &w->io);
	close(w->io.fd);
	free(w);
}

void watch_clear(struct watch *w)
{
	while (w->entries) {
		struct entry *en = w->entries;

		w->entries = en->next;
		ev_timer_stop(w->loop, &en->timer);
		release(w, en->points, en->n_points);
		free(en);
	}
	w->n_entries = 0;
}

int watch_add(struct watch *w, const char *path, struct err *e)
{
	size_t len = strlen(path);
	struct entry *en;
	int r;

	for (en = w->entries; en; en = en->next) {
		if (strcmp(en->path, path) == 0)
			return 0;
	}
	if (path[0] != '/' || len >= PATH_MAX)
		return err_set(e, EINVAL, "cannot watch %.200s: not an absolute path", path);
	if (w->n_entries == WATCH_PATHS)
		return err_set(e, ENOSPC, "cannot watch %.200s: more than %d files", path, WATCH_PATHS);
	en = calloc(1, sizeof(*en) + len + 1);
	if (!en)
		return err_sys(e, ENOMEM, "cannot watch %.200s", path);
	en->watch = w;
	memcpy(en->path, path, len + 1);
	ev_timer_init(&en->timer, on_quiet, 0., 0.);
	en->timer.data = en;
	r = arm(en);
	if (r < 0) {
		free(en);
		return err_sys(e, -r, "cannot watch %.200s", path);
	}
	en->next = w->entries;
	w->entries = en;
	w->n_entries++;
	return 0;
}
