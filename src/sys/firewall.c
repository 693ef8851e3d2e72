#include "clashsup/firewall.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "clashsup/io.h"

#define DEADLINE_MS 10000
#define LOCK_WAIT_S "5" /* a bare --wait would wait for ever; status 4 when it is over */
#define EXIT_NOT_FOUND 127
#define TABLE_NAMES_MAX 4096

/* Which program names to use: the plain ones, or those of one variant. */
enum variant { PLAIN, NFT, LEGACY, VARIANTS };

static const char *const save_name[VARIANTS][IP_FAMILIES] = {
	[PLAIN] = { "iptables-save", "ip6tables-save" },
	[NFT] = { "iptables-nft-save", "ip6tables-nft-save" },
	[LEGACY] = { "iptables-legacy-save", "ip6tables-legacy-save" },
};
static const char *const restore_name[VARIANTS][IP_FAMILIES] = {
	[PLAIN] = { "iptables-restore", "ip6tables-restore" },
	[NFT] = { "iptables-nft-restore", "ip6tables-nft-restore" },
	[LEGACY] = { "iptables-legacy-restore", "ip6tables-legacy-restore" },
};
static const char *const legacy_tables[IP_FAMILIES] = { "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names" };

/* What we know of our jumps under the plain names, from our own last operation. */
enum jumps { JUMPS_NONE, JUMPS_OURS, JUMPS_UNSURE };

enum step { IDLE, SAVING, ASKING_WHY, REMOVING, APPLYING };

/* The jobs of one family: one after the other, while the other family's run beside it. */
struct lane {
	struct firewall *owner;
	enum ip_family family;
	enum step step;
	enum variant variant, last_variant;
	struct job *job;
	char *plan; /* to be applied after the removal, or NULL */
	size_t plan_len;
	bool plan_local;

	enum jumps jumps;
	bool jumps_local; /* with the one in OUTPUT */
};

struct firewall {
	struct reaper *reaper;
	struct lane lane[IP_FAMILIES];
	bool busy;
	struct firewall_result result;
	ev_timer finished; /* never started, only fed: `done` is called from the loop, never from our callers' stack */
	firewall_done_fn done;
	void *ctx;
};

static void lane_job_done(void *ctx, const struct job_result *result);
static void lane_next_variant(struct lane *l);

/* ---- ends ---- */

static void on_finished(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct firewall *f = w->data;
	struct firewall_result result = f->result;
	(void)loop;
	(void)revents;

	f->busy = false;
	f->done(f->ctx, &result);
}

static void lane_end(struct lane *l, int code)
{
	struct firewall *f = l->owner;

	free(l->plan);
	l->plan = NULL;
	l->step = IDLE;
	l->job = NULL;
	f->result.family[l->family] = code;
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (f->lane[i].step != IDLE)
			return;
	}
	ev_feed_event(f->reaper->loop, &f->finished, EV_TIMER);
}

static struct err *lane_err(struct lane *l)
{
	return &l->owner->result.err[l->family];
}

static void lane_canceled(struct lane *l)
{
	lane_end(l, err_set(lane_err(l), ECANCELED, "aborted"));
}

/* ---- jobs ---- */

/*
 * iptables-nft-save prints a warning about legacy tables on stderr between two
 * blocks of stdout, in the middle of a line: the two must not share a pipe.
 */
static int drop_stderr(const void *arg, pid_t parent)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)arg;
	(void)parent;

	if (fd < 0)
		close(STDERR_FILENO);
	else if (dup2(fd, STDERR_FILENO) < 0)
		return -1;
	return 0;
}

static void lane_start(struct lane *l, enum step step, const struct job_spec *spec)
{
	int r;

	l->step = step;
	r = job_start(&l->job, l->owner->reaper, spec, lane_job_done, l, lane_err(l));
	if (r < 0)
		lane_end(l, r);
}

static void lane_save(struct lane *l, enum step step)
{
	const char *const argv[] = { save_name[l->variant][l->family], "-t", "mangle", NULL };
	const struct job_spec spec = { .argv = argv,
				       .deadline_ms = DEADLINE_MS,
				       .in_child = step == SAVING ? drop_stderr : NULL };

	lane_start(l, step, &spec);
}

static void lane_restore(struct lane *l, enum step step, const char *text, size_t len)
{
	const char *const argv[] = { restore_name[l->variant][l->family], "--noflush", "--wait", LOCK_WAIT_S, NULL };
	const struct job_spec spec = { .argv = argv, .input = text, .input_len = len, .deadline_ms = DEADLINE_MS };

	lane_start(l, step, &spec);
}

static void lane_apply(struct lane *l)
{
	l->variant = PLAIN;
	lane_restore(l, APPLYING, l->plan, l->plan_len);
}

/* ---- what a job's end means ---- */

static bool not_installed(const struct job_result *result)
{
	return !result->timed_out && WIFEXITED(result->status) && WEXITSTATUS(result->status) == EXIT_NOT_FOUND;
}

/* A kernel without the family or the table has no rules of ours either. */
static bool not_in_kernel(const struct job_result *result)
{
	return strstr(result->output, "Table does not exist") || strstr(result->output, "not supported");
}

/* Killed in the middle: the kernel may or may not have taken the transaction. */
static bool cut_off(const struct job_result *result)
{
	return result->timed_out || !WIFEXITED(result->status);
}

static void lane_fail(struct lane *l, const char *program, const struct job_result *result)
{
	struct job_result flat = *result;
	char line[ERR_MSG_MAX], why[ERR_MSG_MAX];
	int code = result->timed_out ? ETIMEDOUT : EIO;

	/* the nft variant breaks the line between its name and the reason */
	snprintf(line, sizeof(line), "%s", result->output);
	for (char *at = strpbrk(line, "\r\n"); at; at = strpbrk(at, "\r\n"))
		*at = ' ';
	flat.output = line;
	if (l->owner->result.aborted)
		code = ECANCELED;
	lane_end(l, err_set(lane_err(l), code, "%s: %s", program, job_why(&flat, why, sizeof(why))));
}

static void on_saved(struct lane *l, const struct job_result *result)
{
	cleanup_free char *text = malloc(JOB_OUTPUT_MAX);
	int n;

	if (!text) {
		lane_end(l, err_sys(lane_err(l), ENOMEM, "cannot remove the rules"));
		return;
	}
	n = fwplan_removal(result->output, result->output_len, text, JOB_OUTPUT_MAX, lane_err(l));
	if (n < 0) {
		err_prefix(lane_err(l), "%s", save_name[l->variant][l->family]);
		lane_end(l, n);
	} else if (n == 0) {
		lane_next_variant(l);
	} else {
		lane_restore(l, REMOVING, text, (size_t)n);
	}
}

/* The first try had no stderr; this one shows whether there is nothing to save or something is wrong. */
static void on_why(struct lane *l, const struct job_result *result)
{
	bool ours = l->variant == PLAIN && l->jumps == JUMPS_OURS;

	if ((not_installed(result) && !ours) || (!cut_off(result) && not_in_kernel(result)))
		lane_next_variant(l);
	else if (job_ok(result))
		lane_end(l, err_set(lane_err(l), EAGAIN, "%s failed once", save_name[l->variant][l->family]));
	else
		lane_fail(l, save_name[l->variant][l->family], result);
}

static void on_restored(struct lane *l, enum step step, const struct job_result *result)
{
	if (!job_ok(result)) {
		if (cut_off(result) && l->variant == PLAIN)
			l->jumps = JUMPS_UNSURE;
		lane_fail(l, restore_name[l->variant][l->family], result);
	} else if (step == REMOVING) {
		lane_next_variant(l);
	} else {
		l->jumps = JUMPS_OURS;
		l->jumps_local = l->plan_local;
		lane_end(l, 0);
	}
}

static void lane_job_done(void *ctx, const struct job_result *result)
{
	struct lane *l = ctx;
	enum step step = l->step;

	l->job = NULL;
	if (l->owner->result.aborted && (step == SAVING || step == ASKING_WHY)) {
		lane_canceled(l);
		return;
	}
	switch (step) {
	case SAVING:
		if (job_ok(result))
			on_saved(l, result);
		else if (cut_off(result))
			lane_fail(l, save_name[l->variant][l->family], result);
		else
			lane_save(l, ASKING_WHY);
		break;
	case ASKING_WHY:
		on_why(l, result);
		break;
	case REMOVING:
	case APPLYING:
		on_restored(l, step, result);
		break;
	case IDLE:
		break;
	}
}

/* ---- from variant to variant ---- */

/* iptables-legacy-save -t would load the table's module; the list tells what is in use. */
static bool legacy_mangle_in_use(enum ip_family family)
{
	cleanup_fd int fd = open(legacy_tables[family], O_RDONLY | O_CLOEXEC);
	char names[TABLE_NAMES_MAX];
	char *rest = names;
	ssize_t n;

	n = fd < 0 ? 0 : io_read(fd, names, sizeof(names) - 1);
	if (n <= 0)
		return false;
	names[n] = '\0';
	for (char *name = strsep(&rest, "\n"); name; name = strsep(&rest, "\n")) {
		if (strcmp(name, "mangle") == 0)
			return true;
	}
	return false;
}

/* The present variant is clean. The next: each looks anew, so that two names for one program do no harm. */
static void lane_next_variant(struct lane *l)
{
	if (l->variant == PLAIN)
		l->jumps = JUMPS_NONE;
	if (l->owner->result.aborted) {
		lane_canceled(l);
		return;
	}
	while (l->variant < l->last_variant) {
		l->variant++;
		if (l->variant != LEGACY || legacy_mangle_in_use(l->family)) {
			lane_save(l, SAVING);
			return;
		}
	}
	if (l->plan)
		lane_apply(l);
	else
		lane_end(l, 0);
}

static void lane_remove(struct lane *l, enum variant last)
{
	l->variant = PLAIN;
	l->last_variant = last;
	lane_save(l, SAVING);
}

/* ---- operations ---- */

static int begin(struct firewall *f, firewall_done_fn done, void *ctx, struct err *e)
{
	if (f->busy)
		return err_set(e, EBUSY, "a firewall job is running");
	f->busy = true;
	f->done = done;
	f->ctx = ctx;
	memset(&f->result, 0, sizeof(f->result));
	return 0;
}

/* The text of one family; `again` only where its delete lines fit what is in the kernel. */
static int lane_plan(struct lane *l, const struct fwplan_params *params, struct err *e)
{
	bool again = l->jumps == JUMPS_OURS && l->jumps_local == params->local;
	int n;

	l->plan = malloc(FWPLAN_TEXT_MAX);
	if (!l->plan)
		return err_sys(e, ENOMEM, "cannot apply the rules");
	n = fwplan_restore(params, l->family, again, l->plan, FWPLAN_TEXT_MAX, e);
	if (n < 0) {
		free(l->plan);
		l->plan = NULL;
		return n;
	}
	l->plan_len = (size_t)n;
	l->plan_local = params->local;
	return 0;
}

static void lane_apply_begin(struct lane *l)
{
	if (l->jumps == JUMPS_UNSURE || (l->jumps == JUMPS_OURS && l->jumps_local != l->plan_local))
		lane_remove(l, PLAIN);
	else
		lane_apply(l);
}

int firewall_apply(struct firewall *f, const struct fwplan_params *params, const bool family[IP_FAMILIES],
		   firewall_done_fn done, void *ctx, struct err *e)
{
	int r = begin(f, done, ctx, e);

	if (r < 0)
		return r;
	if (!family[IP_V4] && !family[IP_V6])
		r = err_set(e, EINVAL, "no family to apply rules to");
	for (int i = 0; i < IP_FAMILIES && r == 0; i++)
		r = family[i] ? lane_plan(&f->lane[i], params, e) : 0;
	if (r < 0) {
		for (int i = 0; i < IP_FAMILIES; i++) {
			free(f->lane[i].plan);
			f->lane[i].plan = NULL;
		}
		f->busy = false;
		return r;
	}
	/* both are under way before either is started: one that fails at once must not end the operation */
	for (int i = 0; i < IP_FAMILIES; i++)
		f->lane[i].step = family[i] ? APPLYING : IDLE;
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (family[i])
			lane_apply_begin(&f->lane[i]);
	}
	return 0;
}

int firewall_remove(struct firewall *f, bool every_variant, firewall_done_fn done, void *ctx, struct err *e)
{
	int r = begin(f, done, ctx, e);

	if (r < 0)
		return r;
	for (int i = 0; i < IP_FAMILIES; i++)
		f->lane[i].step = SAVING;
	for (int i = 0; i < IP_FAMILIES; i++)
		lane_remove(&f->lane[i], every_variant ? LEGACY : PLAIN);
	return 0;
}

void firewall_abort(struct firewall *f)
{
	if (!f->busy)
		return;
	f->result.aborted = true;
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (f->lane[i].job)
			job_kill(f->lane[i].job);
	}
}

bool firewall_busy(const struct firewall *f)
{
	return f->busy;
}

int firewall_new(struct firewall **out, struct reaper *r, struct err *e)
{
	struct firewall *f = calloc(1, sizeof(*f));

	if (!f)
		return err_sys(e, ENOMEM, "cannot prepare the firewall");
	f->reaper = r;
	ev_init(&f->finished, on_finished);
	f->finished.data = f;
	for (int i = 0; i < IP_FAMILIES; i++) {
		f->lane[i].owner = f;
		f->lane[i].family = (enum ip_family)i;
	}
	*out = f;
	return 0;
}

void firewall_free(struct firewall *f)
{
	if (!f)
		return;
	ev_clear_pending(f->reaper->loop, &f->finished);
	for (int i = 0; i < IP_FAMILIES; i++) {
		job_abandon(f->lane[i].job);
		free(f->lane[i].plan);
	}
	free(f);
}
