/*
 * The iptables backend of firewall: a lane of jobs a family, both side by side.
 * An apply asks iptables-save what is there, unless our own last operation left
 * nothing, and gives iptables-restore the difference as one transaction.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/proc.h"
#include "sys/firewall_backend.h"

#define LOCK_WAIT_S "5" /* a bare --wait would wait for ever; status 4 when it is over */

/* Which program names to use. The plain ones come last, so that nothing is swept that was put in a moment ago. */
enum variant { NFT, LEGACY, PLAIN, VARIANTS };

static const char *const save_name[VARIANTS][IP_FAMILIES] = {
	[NFT] = { "iptables-nft-save", "ip6tables-nft-save" },
	[LEGACY] = { "iptables-legacy-save", "ip6tables-legacy-save" },
	[PLAIN] = { "iptables-save", "ip6tables-save" },
};
static const char *const restore_name[VARIANTS][IP_FAMILIES] = {
	[NFT] = { "iptables-nft-restore", "ip6tables-nft-restore" },
	[LEGACY] = { "iptables-legacy-restore", "ip6tables-legacy-restore" },
	[PLAIN] = { "iptables-restore", "ip6tables-restore" },
};
static const char *const legacy_tables[IP_FAMILIES] = { "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names" };

/* What we know of our rules under the plain names, from our own last operation. */
enum ours { UNSURE, NOTHING, OURS };

enum verb { APPLY, LOOK, COUNT };
enum step { IDLE, SAVING, ASKING_WHY, RESTORING };

struct lane {
	struct lanes *all;
	enum ip_family family;
	enum step step;
	enum variant variant;
	struct job *job;
	enum ours ours;
	bool was_empty;	   /* nothing of ours was there before the restore that runs */
	bool rolling_back; /* the first rules were refused: what got in of them goes out */
	int code;	   /* the first error */
	struct err err;
};

struct lanes {
	struct firewall_host *host;
	struct lane lane[IP_FAMILIES];
	unsigned running;
	enum verb verb;
	struct firewall_want want;
};

static void lane_job_done(void *ctx, const struct job_result *result);
static void lane_next_variant(struct lane *l);

/* ---- ends ---- */

static void lane_end(struct lane *l)
{
	struct lanes *all = l->all;
	struct firewall_host *h = all->host;

	l->step = IDLE;
	h->result.family[l->family] = l->code;
	h->result.err[l->family] = l->err;
	if (--all->running == 0)
		h->end(h);
}

/* Keeps the first error; `e` may be the lane's own. */
static void lane_note(struct lane *l, int code, const struct err *e)
{
	if (l->code == 0) {
		l->code = code;
		l->err = *e;
	}
}

static void lane_fail(struct lane *l, int code, const struct err *e)
{
	lane_note(l, code, e);
	if (l->all->verb == APPLY && l->variant != PLAIN && !l->all->host->aborted)
		lane_next_variant(l); /* the rules that are wanted do not wait for another variant's leftovers */
	else
		lane_end(l);
}

static void lane_job_failed(struct lane *l, const char *program, const struct job_result *result)
{
	struct err e = ERR_INIT;
	int code = firewall_job_err(l->all->host, program, result, &e);

	lane_fail(l, code, &e);
}

/* ---- jobs ---- */

static void lane_start(struct lane *l, enum step step, const struct job_spec *spec)
{
	struct err e = ERR_INIT;
	int r;

	l->step = step;
	r = job_start(&l->job, l->all->host->reaper, spec, lane_job_done, l, &e);
	if (r < 0)
		lane_fail(l, r, &e);
}

static void lane_save(struct lane *l, enum step step)
{
	const char *const plain[] = { save_name[l->variant][l->family], NULL };
	const char *const counting[] = { plain[0], "-c", "-t", "mangle", NULL };
	const struct job_spec spec = { .argv = l->all->verb == COUNT ? counting : plain,
				       .deadline_ms = FIREWALL_DEADLINE_MS,
				       .output_max = FIREWALL_LISTING_MAX,
				       .in_child = step == SAVING ? job_no_stderr : NULL };

	lane_start(l, step, &spec);
}

static void lane_restore(struct lane *l, const char *text, size_t len)
{
	const char *const argv[] = { restore_name[l->variant][l->family], "--noflush", "--wait", LOCK_WAIT_S, NULL };
	const struct job_spec spec = {
		.argv = argv, .input = text, .input_len = len, .deadline_ms = FIREWALL_DEADLINE_MS
	};

	lane_start(l, RESTORING, &spec);
}

/* ---- applying ---- */

static unsigned lane_parts(const struct lane *l)
{
	const struct firewall_want *w = &l->all->want;

	return l->variant == PLAIN && w->family[l->family] && !l->rolling_back ? w->parts : 0;
}

/* The present variant has what it shall have. */
static void lane_variant_done(struct lane *l)
{
	if (l->variant == PLAIN) {
		l->ours = lane_parts(l) ? OURS : NOTHING;
		lane_end(l);
	} else {
		lane_next_variant(l);
	}
}

/* `save` is NULL where nothing of ours is known to be. */
static void lane_change(struct lane *l, const char *save, size_t len)
{
	cleanup_free char *text = NULL;
	struct err e = ERR_INIT;
	int n = fwplan_iptables(l->all->want.params, lane_parts(l), l->family, save, len, &text, &e);

	if (n < 0)
		lane_fail(l, n, &e);
	else if (n == 0)
		lane_variant_done(l);
	else
		lane_restore(l, text, (size_t)n);
}

static void lane_begin_variant(struct lane *l)
{
	l->was_empty = l->variant == PLAIN && l->ours == NOTHING;
	if (l->was_empty)
		lane_change(l, NULL, 0);
	else
		lane_save(l, SAVING);
}

/* ---- what a job's end means ---- */

/* A kernel without the family or the table has no rules of ours either. */
static bool not_in_kernel(const struct job_result *result)
{
	return strstr(result->output, "Table does not exist") || strstr(result->output, "not supported");
}

static void on_listing(struct lane *l, const char *text, size_t len)
{
	struct firewall_host *h = l->all->host;
	struct fw_counters counters = { 0, 0 };
	struct fw_view view = { 0 };
	struct err e = ERR_INIT;
	int r = l->all->verb == COUNT ? fwplan_counters(FW_IPTABLES, text, len, &counters, &e)
				      : fwplan_view(FW_IPTABLES, text, len, &view, &e);

	if (r < 0) {
		err_prefix(&e, "%s", save_name[l->variant][l->family]);
		lane_fail(l, r, &e);
		return;
	}
	if (l->all->verb == APPLY) {
		l->was_empty = view.lines == 0;
		lane_change(l, text, len);
		return;
	}
	h->view[l->family] = view;
	h->counters.chosen += counters.chosen;
	h->counters.diverted += counters.diverted;
	lane_end(l);
}

static void on_saved(struct lane *l, const struct job_result *result)
{
	if (job_ok(result) && !result->output_cut)
		on_listing(l, result->output, result->output_len);
	else if (job_ok(result) || firewall_job_cut_off(result))
		lane_job_failed(l, save_name[l->variant][l->family], result);
	else
		lane_save(l, ASKING_WHY);
}

/* The first try had no stderr; this one shows whether there is nothing to save or something is wrong. */
static void on_why(struct lane *l, const struct job_result *result)
{
	bool absent = firewall_job_absent(result) && l->all->verb == APPLY && l->ours != OURS;
	const char *program = save_name[l->variant][l->family];
	struct err e = ERR_INIT;

	if (absent || (!firewall_job_cut_off(result) && !job_ok(result) && not_in_kernel(result)))
		on_listing(l, "", 0);
	else if (job_ok(result))
		lane_fail(l, err_set(&e, EAGAIN, "%s failed once", program), &e);
	else
		lane_job_failed(l, program, result);
}

/* A text for several tables may have been refused in the last: the others are in. */
static void on_refused(struct lane *l, const struct job_result *result)
{
	struct err e = ERR_INIT;
	int code = firewall_job_err(l->all->host, restore_name[l->variant][l->family], result, &e);
	bool back = l->was_empty && lane_parts(l) != 0 && !l->all->host->aborted && !firewall_job_cut_off(result) &&
		    !firewall_job_absent(result);

	if (l->variant == PLAIN)
		l->ours = UNSURE;
	if (!back) {
		lane_fail(l, code, &e);
		return;
	}
	lane_note(l, code, &e);
	l->rolling_back = true;
	lane_save(l, SAVING);
}

static void lane_job_done(void *ctx, const struct job_result *result)
{
	struct lane *l = ctx;
	enum step step = l->step;

	l->job = NULL;
	if (l->all->host->aborted && step != RESTORING)
		lane_job_failed(l, save_name[l->variant][l->family], result);
	else if (step == SAVING)
		on_saved(l, result);
	else if (step == ASKING_WHY)
		on_why(l, result);
	else if (step == RESTORING && job_ok(result))
		lane_variant_done(l);
	else if (step == RESTORING)
		on_refused(l, result);
}

/* ---- from variant to variant ---- */

/* Lists what is in use. To name a table that is not to iptables-legacy-save would load its module. */
static bool legacy_in_use(enum ip_family family)
{
	cleanup_fd int fd = open(legacy_tables[family], O_RDONLY | O_CLOEXEC);
	char first;

	return fd >= 0 && io_read(fd, &first, 1) == 1;
}

/* Of several names for one program the plain one does. */
static bool is_another_program(enum variant variant, enum ip_family family)
{
	char path[PROC_PATH], real[PATH_MAX], plain[PATH_MAX];

	proc_find(save_name[variant][family], path);
	if (!realpath(path, real))
		return false;
	proc_find(save_name[PLAIN][family], path);
	return !realpath(path, plain) || strcmp(real, plain) != 0;
}

static bool is_to_be_swept(enum variant variant, enum ip_family family)
{
	bool in_use = variant == LEGACY ? legacy_in_use(family) : firewall_nft_in_kernel();

	return in_use && is_another_program(variant, family);
}

static void lane_next_variant(struct lane *l)
{
	struct err e = ERR_INIT;

	if (l->all->host->aborted) {
		err_set(&e, ECANCELED, "aborted");
		lane_note(l, -ECANCELED, &e);
		lane_end(l);
		return;
	}
	do
		l->variant++;
	while (l->variant != PLAIN && !is_to_be_swept(l->variant, l->family));
	lane_begin_variant(l);
}

/* ---- beginnings ---- */

static void lane_begin(struct lane *l)
{
	const struct lanes *all = l->all;

	l->code = 0;
	l->err = (struct err)ERR_INIT;
	l->rolling_back = false;
	l->variant = PLAIN;
	if (all->verb != APPLY) {
		lane_save(l, SAVING);
	} else if (all->want.sweep) {
		l->ours = UNSURE;
		l->variant = NFT;
		if (is_to_be_swept(NFT, l->family))
			lane_begin_variant(l);
		else
			lane_next_variant(l);
	} else {
		lane_begin_variant(l);
	}
}

static int begin(struct lanes *all, enum verb verb)
{
	all->verb = verb;
	/* all are counted before one is started: one that fails at once must not end the work */
	all->running = IP_FAMILIES;
	for (int i = 0; i < IP_FAMILIES; i++)
		lane_begin(&all->lane[i]);
	return 0;
}

static int iptables_apply(void *backend, const struct firewall_want *want, struct err *e)
{
	struct lanes *all = backend;
	(void)e;

	all->want = *want;
	return begin(all, APPLY);
}

static int iptables_look(void *backend, struct err *e)
{
	(void)e;
	return begin(backend, LOOK);
}

static int iptables_count(void *backend, struct err *e)
{
	(void)e;
	return begin(backend, COUNT);
}

static void iptables_abort(void *backend)
{
	struct lanes *all = backend;

	for (int i = 0; i < IP_FAMILIES; i++) {
		if (all->lane[i].job)
			job_kill(all->lane[i].job);
	}
}

static int iptables_open(void **out, struct firewall_host *host, struct err *e)
{
	struct lanes *all = calloc(1, sizeof(*all));

	if (!all)
		return err_sys(e, ENOMEM, "cannot prepare the firewall");
	all->host = host;
	for (int i = 0; i < IP_FAMILIES; i++) {
		all->lane[i].all = all;
		all->lane[i].family = (enum ip_family)i;
	}
	*out = all;
	return 0;
}

static void iptables_close(void *backend)
{
	struct lanes *all = backend;

	for (int i = 0; all && i < IP_FAMILIES; i++)
		job_abandon(all->lane[i].job);
	free(all);
}

const struct firewall_backend firewall_iptables = {
	.open = iptables_open,
	.close = iptables_close,
	.apply = iptables_apply,
	.look = iptables_look,
	.count = iptables_count,
	.abort = iptables_abort,
};
