#include "daemon/hooks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/environment.h"
#include "clashsup/io.h"
#include "clashsup/log.h"

#define LOG_HOOK "hook"
#define OUTPUT_MAX 8192
#define LINES_MAX 40

static void go_on(struct hooks *h);

/* ---- which files ---- */

/* Not what editors and package managers leave behind. */
static bool is_name(const char *name)
{
	size_t len = strlen(name);
	const char *dot = strrchr(name, '.');

	return name[0] != '.' && name[len - 1] != '~' &&
	       !(dot && (strcmp(dot, ".bak") == 0 || strncmp(dot, ".dpkg-", 6) == 0));
}

/* NULL, or why it is not run. Not being executable is the way to switch one off, and no reason to speak. */
static const char *file_problem(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return "";
	if (st.st_mode & 022)
		return "others can write it: chmod go-w";
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return "it belongs to another user: chown root";
	return NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void take_file(struct hooks *h, int dir, const char *name)
{
	const char *problem = is_name(name) ? file_problem(dir, name) : "";

	if (problem && problem[0] && strcmp(h->told, name) != 0) {
		snprintf(h->told, sizeof(h->told), "%s", name);
		log_warn(LOG_HOOK, "%s/%s is not run: %s", h->settings->hooks.dir, name, problem);
	}
	if (problem || h->n_files == HOOKS_FILES)
		return;
	h->files[h->n_files] = strdup(name);
	h->n_files += h->files[h->n_files] != NULL;
}

static void list_files(struct hooks *h)
{
	DIR *dir = opendir(h->settings->hooks.dir);
	struct dirent *entry;

	if (!dir) {
		log_warn(LOG_HOOK, "cannot read %s: %s", h->settings->hooks.dir, strerror(errno));
		return;
	}
	while ((entry = readdir(dir)))
		take_file(h, dirfd(dir), entry->d_name);
	closedir(dir);
	qsort(h->files, h->n_files, sizeof(h->files[0]), by_name);
}

/* ---- one run ---- */

static void log_output(const char *name, const struct job_result *result)
{
	const char *at = result->output;

	for (int n = 0; at && *at && n < LINES_MAX; n++) {
		size_t len = strcspn(at, "\n");

		log_info(LOG_HOOK, "%s: %.*s", name, (int)(len < 1000 ? len : 1000), at);
		at += len + (at[len] == '\n');
	}
}

static void forget_files(struct hooks *h)
{
	for (unsigned i = 0; i < h->n_files; i++)
		free(h->files[i]);
	h->n_files = h->next_file = 0;
}

static void next_event(struct hooks *h)
{
	forget_files(h);
	h->first = (h->first + 1) % HOOKS_WAITING;
	h->waiting--;
}

static void on_done(void *ctx, const struct job_result *result)
{
	struct hooks *h = ctx;
	const char *name = h->files[h->next_file++];
	char why[200];

	h->job = NULL;
	log_output(name, result);
	if (!job_ok(result))
		log_warn(LOG_HOOK, "%s (%s): %s", name, h->queue[h->first].name, job_why(result, why, sizeof(why)));
	go_on(h);
}

/* Borrowed by the environment that is made of them. */
struct words {
	char text[8][sizeof(((struct hook_event *)0)->reason) + 24];
	char *list[9];
	size_t n;
};

static __attribute__((format(printf, 2, 3))) void put(struct words *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text[w->n], sizeof(w->text[0]), fmt, ap);
	va_end(ap);
	w->list[w->n] = w->text[w->n];
	w->n++;
}

static void put_event(struct words *w, const struct hook_event *event, const struct settings *settings)
{
	put(w, "CLASHSUP_EVENT=%s", event->name);
	put(w, "CLASHSUP_STATE=%s", event->state);
	put(w, "CLASHSUP_REASON=%s", event->reason);
	if (event->code < 0)
		put(w, "CLASHSUP_CODE=");
	else
		put(w, "CLASHSUP_CODE=%d", event->code);
	if (event->signal)
		put(w, "CLASHSUP_SIGNAL=%d", event->signal);
	else
		put(w, "CLASHSUP_SIGNAL=");
	put(w, "CLASHSUP_MODE=%s", settings->tproxy.mode == MODE_TPROXY ? "tproxy" : "mixed");
	put(w, "CLASHSUP_PID=%d", event->pid);
	put(w, "CLASHSUP_SERVERS=%zu", event->servers);
}

/* False when it could not be started; that is told. */
static bool start(struct hooks *h)
{
	const struct hook_event *event = &h->queue[h->first];
	cleanup_free char **env = NULL;
	struct words words = { 0 };
	char path[PATH_MAX];
	const char *const argv[] = { path, event->name, NULL };
	struct job_spec spec = { .argv = argv, .deadline_ms = h->settings->hooks.timeout_ms, .output_max = OUTPUT_MAX };
	struct err e = ERR_INIT;
	int r;

	put_event(&words, event, h->settings);
	env = environment_make(environ, NULL, words.list);
	spec.envp = (const char *const *)env;
	r = env ? 0 : err_set(&e, ENOMEM, "out of memory");
	if (r == 0)
		r = io_path(path, sizeof(path), &e, "%s/%s", h->settings->hooks.dir, h->files[h->next_file]);
	if (r == 0)
		r = job_start(&h->job, h->reaper, &spec, on_done, h, &e);
	if (r == 0)
		return true;
	h->job = NULL;
	log_warn(LOG_HOOK, "cannot run %s: %s", h->files[h->next_file], e.msg);
	h->next_file++;
	return false;
}

static void go_on(struct hooks *h)
{
	while (!h->job && h->waiting) {
		if (!h->n_files)
			list_files(h);
		if (h->next_file == h->n_files)
			next_event(h);
		else if (start(h))
			return;
	}
}

static void on_soon(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	go_on(w->data);
}

/* ---- from outside ---- */

void hooks_run(struct hooks *h, const struct hook_event *event)
{
	if (!h->settings->hooks.dir[0])
		return;
	if (h->waiting == HOOKS_WAITING) { /* the one in hand stays; the next one makes room */
		unsigned second = (h->first + 1) % HOOKS_WAITING;

		log_warn(LOG_HOOK, "too many events wait for slow hooks: \"%s\" is dropped", h->queue[second].name);
		for (unsigned i = 1; i + 1 < HOOKS_WAITING; i++)
			h->queue[(h->first + i) % HOOKS_WAITING] = h->queue[(h->first + i + 1) % HOOKS_WAITING];
		h->waiting--;
	}
	h->queue[(h->first + h->waiting) % HOOKS_WAITING] = *event;
	h->waiting++;
	ev_timer_start(h->reaper->loop, &h->soon);
}

bool hooks_busy(const struct hooks *h)
{
	return h->waiting > 0;
}

void hooks_init(struct hooks *h, struct reaper *reaper, const struct settings *settings)
{
	*h = (struct hooks){ .reaper = reaper, .settings = settings };
	ev_timer_init(&h->soon, on_soon, 0.0, 0.0);
	h->soon.data = h;
}

void hooks_deinit(struct hooks *h)
{
	if (!h->reaper)
		return;
	if (h->waiting)
		log_warn(LOG_HOOK, "hooks of %u events do not end, leaving them", h->waiting);
	ev_timer_stop(h->reaper->loop, &h->soon);
	job_abandon(h->job);
	h->job = NULL;
	forget_files(h);
}
