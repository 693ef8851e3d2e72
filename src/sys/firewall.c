#include "clashsup/firewall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "sys/firewall_backend.h"

#define EXIT_NOT_FOUND 127

static const struct firewall_backend *const backends[FW_BACKENDS] = {
	[FW_IPTABLES] = &firewall_iptables,
	[FW_NFT] = &firewall_nft,
	[FW_SCRIPT] = &firewall_script,
};

/* One backend's part of an operation. */
struct piece {
	enum fw_backend backend;
	struct firewall_want want;
	bool input; /* CLASH_INPUT beside the nft table: where iptables cannot, it is left out or not seen */
};

enum verb { APPLY, LOOK, COUNT };

struct firewall {
	struct firewall_host host;
	void *backend[FW_BACKENDS];

	bool busy;
	enum verb verb;
	enum fw_backend at_work;
	struct piece piece[FW_BACKENDS + 1];
	unsigned n_pieces, next;
	bool input_in;		       /* CLASH_INPUT may stand beside the nft table */
	bool input_made[IP_FAMILIES];  /* the last operation put it in */
	struct firewall_result result; /* of all pieces: the first error of each family */
	struct fw_view view[IP_FAMILIES];
	ev_timer turn; /* never started, only fed: the operation goes on from the loop */
	union {
		firewall_done_fn apply;
		firewall_look_fn look;
		firewall_count_fn count;
	} done;
	void *ctx;
};

/* ---- what a job's end means ---- */

bool firewall_job_absent(const struct job_result *result)
{
	return !result->timed_out && WIFEXITED(result->status) && WEXITSTATUS(result->status) == EXIT_NOT_FOUND;
}

bool firewall_job_cut_off(const struct job_result *result)
{
	return result->timed_out || !WIFEXITED(result->status);
}

int firewall_job_err(const struct firewall_host *host, const char *program, const struct job_result *result,
		     struct err *e)
{
	struct job_result flat = *result;
	char line[ERR_MSG_MAX], why[ERR_MSG_MAX];

	if (host->aborted)
		return err_set(e, ECANCELED, "aborted");
	if (job_ok(result) && result->output_cut)
		return err_set(e, EFBIG,
			       "%s: more than %d MiB, rules of ours may be missed: put long lists of rules into sets",
			       program, FIREWALL_LISTING_MAX / 1024 / 1024);
	/* iptables-nft breaks the line between its name and the reason */
	snprintf(line, sizeof(line), "%s", result->output);
	for (char *at = strpbrk(line, "\r\n"); at; at = strpbrk(at, "\r\n"))
		*at = ' ';
	flat.output = line;
	return err_set(e, result->timed_out ? ETIMEDOUT : EIO, "%s: %s", program, job_why(&flat, why, sizeof(why)));
}

/* ---- one operation ---- */

static void keep_first(struct firewall_result *all, const struct firewall_result *piece)
{
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (all->family[i] < 0)
			continue;
		all->family[i] = piece->family[i];
		all->err[i] = piece->err[i];
	}
}

static void fail_both(struct firewall_result *result, const struct err *e)
{
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (result->family[i] == 0) {
			result->family[i] = -e->code;
			result->err[i] = *e;
		}
	}
}

static void finish(struct firewall *f)
{
	const struct fw_counters counters = f->host.counters; /* `done` may begin the next operation */
	struct firewall_result result = f->result;
	struct fw_view view[IP_FAMILIES];

	memcpy(view, f->view, sizeof(view));
	result.aborted = f->host.aborted;
	f->busy = false;
	switch (f->verb) {
	case APPLY:
		f->done.apply(f->ctx, &result);
		break;
	case LOOK:
		f->done.look(f->ctx, &result, view);
		break;
	case COUNT:
		f->done.count(f->ctx, &result, &counters);
		break;
	}
}

static void clear(struct firewall_host *h)
{
	memset(&h->result, 0, sizeof(h->result));
	memset(h->view, 0, sizeof(h->view));
	memset(&h->counters, 0, sizeof(h->counters));
}

static int start_piece(struct firewall *f, struct err *e)
{
	const struct piece *p = &f->piece[f->next++];
	void *backend = f->backend[p->backend];

	clear(&f->host);
	f->at_work = p->backend;
	switch (f->verb) {
	case APPLY:
		return backends[p->backend]->apply(backend, &p->want, e);
	case LOOK:
		return backends[p->backend]->look(backend, e);
	case COUNT:
		return backends[p->backend]->count(backend, e);
	}
	return err_set(e, EINVAL, "no such operation");
}

static bool failed(const struct firewall_result *result)
{
	return result->family[IP_V4] < 0 || result->family[IP_V6] < 0;
}

/* What the piece that has just ended has come to. */
static void gather(struct firewall *f)
{
	const struct piece *p = &f->piece[f->next - 1];
	bool takes_out = f->verb == APPLY && p->want.parts == 0;

	for (int i = 0; i < IP_FAMILIES; i++) {
		f->view[i].lines += f->host.view[i].lines;
		f->view[i].digest += f->host.view[i].digest;
		f->view[i].input += p->input ? f->host.view[i].lines : 0;
		if (p->input && f->verb == APPLY)
			f->input_made[i] = !takes_out && p->want.family[i] && f->host.result.family[i] == 0;
	}
	if (!p->input || takes_out)
		keep_first(&f->result, &f->host.result);
	if (p->input && takes_out && !failed(&f->host.result))
		f->input_in = false;
}

/* There is no use in opening INPUT to what did not come in. */
static bool is_pointless(const struct firewall *f, const struct piece *p)
{
	return f->verb == APPLY && p->input && p->want.parts && failed(&f->result);
}

static void on_turn(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct firewall *f = w->data;
	struct err e = ERR_INIT;
	(void)loop;
	(void)revents;

	gather(f);
	while (f->next < f->n_pieces) {
		if (f->host.aborted) {
			f->next = f->n_pieces;
			err_set(&e, ECANCELED, "aborted");
		} else if (is_pointless(f, &f->piece[f->next])) {
			f->next++;
			continue;
		} else if (start_piece(f, &e) == 0) {
			return;
		}
		fail_both(&f->result, &e);
	}
	finish(f);
}

static void on_end(struct firewall_host *host)
{
	struct firewall *f = (struct firewall *)host; /* its first member */

	ev_feed_event(host->reaper->loop, &f->turn, EV_TIMER);
}

/* ---- beginnings ---- */

static int begin(struct firewall *f, enum fw_backend backend, enum verb verb, void *ctx, struct err *e)
{
	if (f->busy)
		return err_set(e, EBUSY, "a firewall job is running");
	if ((unsigned)backend >= FW_BACKENDS || !f->backend[backend])
		return err_set(e, EOPNOTSUPP, "there is no such firewall backend");
	clear(&f->host);
	memset(&f->result, 0, sizeof(f->result));
	memset(f->view, 0, sizeof(f->view));
	f->host.aborted = false;
	f->verb = verb;
	f->at_work = backend;
	f->n_pieces = f->next = 0;
	f->ctx = ctx;
	return 0;
}

static void put_piece(struct firewall *f, enum fw_backend backend, const struct firewall_want *want)
{
	f->piece[f->n_pieces++] = (struct piece){ backend, *want, false };
}

/* Behind the nft table comes what only iptables can open; without a look where nothing of it can be. */
static void put_input(struct firewall *f, enum fw_backend present, const struct firewall_want *want)
{
	bool in = want->params && want->params->input_accept && (want->parts & FWPLAN_ARMED);
	struct piece p = { FW_IPTABLES, *want, true };

	if (present != FW_NFT || (!in && !f->input_in))
		return;
	p.want.parts = in ? FWPLAN_INPUT : 0;
	p.want.sweep = false;
	f->input_in = true;
	f->piece[f->n_pieces++] = p;
}

static int start(struct firewall *f, struct err *e)
{
	int r = start_piece(f, e);

	f->busy = r == 0;
	return r;
}

int firewall_apply(struct firewall *f, enum fw_backend backend, const struct fwplan_params *params, unsigned parts,
		   const bool family[IP_FAMILIES], firewall_done_fn done, void *ctx, struct err *e)
{
	const struct firewall_want want = { params, parts, { family[IP_V4], family[IP_V6] }, false };
	int r = begin(f, backend, APPLY, ctx, e);

	if (r < 0)
		return r;
	f->done.apply = done;
	put_piece(f, backend, &want);
	put_input(f, backend, &want);
	return start(f, e);
}

/*
 * The present backend first, so that there is no moment without rules; but a
 * script's rules have names that the removal of iptables takes for ours.
 */
int firewall_sweep(struct firewall *f, enum fw_backend present, const struct fwplan_params *params, unsigned parts,
		   const bool family[IP_FAMILIES], firewall_done_fn done, void *ctx, struct err *e)
{
	const struct firewall_want want = { params, parts, { family[IP_V4], family[IP_V6] }, true };
	const struct firewall_want nothing = { .params = params, .sweep = true };
	int r = begin(f, present, APPLY, ctx, e);

	if (r < 0)
		return r;
	f->done.apply = done;
	if (present != FW_SCRIPT)
		put_piece(f, present, &want);
	if (present != FW_IPTABLES)
		put_piece(f, FW_IPTABLES, &nothing);
	if (present != FW_NFT)
		put_piece(f, FW_NFT, &nothing);
	if (present == FW_SCRIPT)
		put_piece(f, present, &want);
	put_input(f, present, &want);
	return start(f, e);
}

int firewall_look(struct firewall *f, enum fw_backend backend, firewall_look_fn done, void *ctx, struct err *e)
{
	int r = begin(f, backend, LOOK, ctx, e);

	if (r < 0)
		return r;
	f->done.look = done;
	put_piece(f, backend, &(struct firewall_want){ 0 });
	if (backend == FW_NFT && f->input_in)
		f->piece[f->n_pieces++] = (struct piece){ .backend = FW_IPTABLES, .input = true };
	return start(f, e);
}

void firewall_resume(struct firewall *f)
{
	f->input_in = true;
}

bool firewall_input_made(const struct firewall *f, enum ip_family family)
{
	return f->input_made[family];
}

int firewall_count(struct firewall *f, enum fw_backend backend, firewall_count_fn done, void *ctx, struct err *e)
{
	int r = begin(f, backend, COUNT, ctx, e);

	if (r < 0)
		return r;
	f->done.count = done;
	put_piece(f, backend, &(struct firewall_want){ 0 });
	return start(f, e);
}

void firewall_abort(struct firewall *f)
{
	if (!f->busy)
		return;
	f->host.aborted = true;
	backends[f->at_work]->abort(f->backend[f->at_work]);
}

bool firewall_busy(const struct firewall *f)
{
	return f->busy;
}

int firewall_new(struct firewall **out, struct reaper *r, const struct firewall_script *script, struct err *e)
{
	struct firewall *f = calloc(1, sizeof(*f));
	int result = 0;

	if (!f)
		return err_sys(e, ENOMEM, "cannot prepare the firewall");
	f->host = (struct firewall_host){ .reaper = r, .script = script, .end = on_end };
	ev_init(&f->turn, on_turn);
	f->turn.data = f;
	for (int b = 0; b < FW_BACKENDS && result == 0; b++)
		result = backends[b] ? backends[b]->open(&f->backend[b], &f->host, e) : 0;
	if (result < 0) {
		firewall_free(f);
		return result;
	}
	*out = f;
	return 0;
}

void firewall_free(struct firewall *f)
{
	if (!f)
		return;
	ev_clear_pending(f->host.reaper->loop, &f->turn);
	for (int b = 0; b < FW_BACKENDS; b++) {
		if (backends[b])
			backends[b]->close(f->backend[b]);
	}
	free(f);
}
