/* The nft backend of firewall: one job for both families, one transaction for the whole table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "sys/firewall_backend.h"

#define BUILTIN_MAX (1024 * 1024)

enum verb { APPLY, LOOK, COUNT };

struct nft {
	struct firewall_host *host;
	struct job *job;
	enum verb verb;
	struct firewall_want want;
};

/*
 * A question to nf_tables loads it (nfnetlink requests the module), and nothing
 * in /proc tells. So: a loaded module has its directory; the list of what is
 * built in belongs to the kernel's modules. Without that list it may be built in.
 */
bool firewall_nft_in_kernel(void)
{
	cleanup_free char *list = NULL;
	char path[sizeof(struct utsname)];
	struct utsname u;
	size_t len;

	if (access("/sys/module/nf_tables", F_OK) == 0 || uname(&u) < 0)
		return true;
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", u.release);
	return io_slurp_path(path, BUILTIN_MAX, &list, &len, NULL) < 0 || strstr(list, "/nf_tables.ko") != NULL;
}

static void end(struct nft *n, int code, const struct err *e)
{
	struct firewall_host *h = n->host;

	for (int i = 0; i < IP_FAMILIES && code < 0; i++) {
		h->result.family[i] = code;
		h->result.err[i] = *e;
	}
	h->end(h);
}

/* ---- what a job's end means ---- */

/* Without the table there is nothing to list, and nothing to sweep without the program or nf_tables. */
static bool nothing_there(const struct nft *n, const struct job_result *result)
{
	if (firewall_job_cut_off(result) || job_ok(result))
		return false;
	if (n->verb == APPLY)
		return n->want.sweep && n->want.parts == 0 &&
		       (firewall_job_absent(result) || strstr(result->output, "not supported"));
	return strstr(result->output, "No such file or directory") && !firewall_job_absent(result);
}

static int read_listing(struct nft *n, const char *text, size_t len, struct err *e)
{
	struct firewall_host *h = n->host;
	int r;

	if (n->verb == COUNT)
		return fwplan_counters(FW_NFT, text, len, &h->counters, e);
	r = fwplan_view(FW_NFT, text, len, &h->view[IP_V4], e);
	h->view[IP_V6] = h->view[IP_V4];
	return r;
}

static void on_done(void *ctx, const struct job_result *result)
{
	struct nft *n = ctx;
	struct err e = ERR_INIT;
	int r = 0;

	n->job = NULL;
	if (nothing_there(n, result)) /* view and counters are zero */
		r = 0;
	else if (!job_ok(result) || (n->verb != APPLY && (result->output_cut || n->host->aborted)))
		r = firewall_job_err(n->host, "nft", result, &e);
	else if (n->verb != APPLY)
		r = read_listing(n, result->output, result->output_len, &e);
	end(n, r, &e);
}

/* ---- beginnings ---- */

static int start(struct nft *n, enum verb verb, const char *const *argv, const char *input, size_t len, struct err *e)
{
	const struct job_spec spec = { .argv = argv,
				       .input = input,
				       .input_len = len,
				       .deadline_ms = FIREWALL_DEADLINE_MS,
				       .output_max = FIREWALL_LISTING_MAX };

	n->verb = verb;
	return job_start(&n->job, n->host->reaper, &spec, on_done, n, e);
}

static int nft_apply(void *backend, const struct firewall_want *want, struct err *e)
{
	static const char *const argv[] = { "nft", "-f", "-", NULL };
	bool any = want->parts && (want->family[IP_V4] || want->family[IP_V6]);
	cleanup_free char *text = NULL;
	struct nft *n = backend;
	int len;

	n->want = *want;
	n->want.parts = any ? want->parts : 0;
	if (!any && want->sweep && !firewall_nft_in_kernel()) {
		end(n, 0, NULL);
		return 0;
	}
	len = fwplan_nft(want->params, n->want.parts, want->family, &text, e);
	return len < 0 ? len : start(n, APPLY, argv, text, (size_t)len, e);
}

static int nft_look(void *backend, struct err *e)
{
	static const char *const argv[] = { "nft", "-s", "-t", "list", "table", "inet", FWPLAN_TABLE, NULL };

	return start(backend, LOOK, argv, NULL, 0, e);
}

static int nft_count(void *backend, struct err *e)
{
	static const char *const argv[] = { "nft", "list", "counters", "table", "inet", FWPLAN_TABLE, NULL };

	return start(backend, COUNT, argv, NULL, 0, e);
}

static void nft_abort(void *backend)
{
	struct nft *n = backend;

	if (n->job)
		job_kill(n->job);
}

static int nft_open(void **out, struct firewall_host *host, struct err *e)
{
	struct nft *n = calloc(1, sizeof(*n));

	if (!n)
		return err_sys(e, ENOMEM, "cannot prepare the firewall");
	n->host = host;
	*out = n;
	return 0;
}

static void nft_close(void *backend)
{
	struct nft *n = backend;

	if (n)
		job_abandon(n->job);
	free(n);
}

const struct firewall_backend firewall_nft = {
	.open = nft_open,
	.close = nft_close,
	.apply = nft_apply,
	.look = nft_look,
	.count = nft_count,
	.abort = nft_abort,
};
