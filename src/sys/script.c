#include "sys/script.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/script_env.h"

struct script_run {
	struct reaper *reaper;
	struct job *job;
	char *path;
	char **envp;
	int64_t deadline_ms;
	bool applying, aborted, in_done;
	int code;	/* of the apply that is being undone */
	struct err why; /* its sentence */
	script_done_fn done;
	void *ctx;
};

static void on_job(void *ctx, const struct job_result *result);

static void run_free(struct script_run *run)
{
	script_env_free(run->envp);
	free(run->path);
	free(run);
}

static void run_end(struct script_run *run, int code)
{
	run->in_done = true;
	run->done(run->ctx, code, &run->why);
	run_free(run);
}

static int start_job(struct script_run *run, struct err *e)
{
	const char *const argv[] = { run->path, run->applying ? "apply" : "remove", NULL };
	const struct job_spec spec = { .argv = argv,
				       .envp = (const char *const *)run->envp,
				       .deadline_ms = run->deadline_ms };

	return job_start(&run->job, run->reaper, &spec, on_job, run, e);
}

static int judge(const struct script_run *run, const struct job_result *result, struct err *e)
{
	char why[ERR_MSG_MAX];

	if (job_ok(result))
		return 0;
	return err_set(e, result->timed_out ? ETIMEDOUT : EIO, "%.100s %s: %.180s", run->path,
		       run->applying ? "apply" : "remove", job_why(result, why, sizeof(why)));
}

/* What was applied may be half in. The apply's error is the one that is told, with what became of the removal. */
static void undo(struct script_run *run)
{
	struct err e = ERR_INIT;

	run->applying = false;
	if (start_job(run, &e) < 0) {
		size_t len = strlen(run->why.msg);

		snprintf(run->why.msg + len, sizeof(run->why.msg) - len, "; and then: %s", e.msg);
		run_end(run, run->code);
	}
}

static void on_undone(struct script_run *run, const struct job_result *result)
{
	size_t len = strlen(run->why.msg);
	struct err e = ERR_INIT;

	if (judge(run, result, &e) < 0)
		snprintf(run->why.msg + len, sizeof(run->why.msg) - len, "; and then %s", e.msg);
	run_end(run, run->code);
}

static void on_job(void *ctx, const struct job_result *result)
{
	struct script_run *run = ctx;

	run->job = NULL;
	if (run->code < 0) {
		on_undone(run, result);
		return;
	}
	run->code = judge(run, result, &run->why);
	if (run->aborted) /* even if it had just ended well: nobody wants it any more */
		run->code = err_set(&run->why, ECANCELED, "aborted");
	if (run->code < 0 && run->applying)
		undo(run);
	else
		run_end(run, run->code);
}

int script_start(struct script_run **out, struct reaper *r, const struct script_spec *spec, script_done_fn done,
		 void *ctx, struct err *e)
{
	struct script_run *run = calloc(1, sizeof(*run));
	int code;

	if (!run || !(run->path = strdup(spec->path))) {
		free(run);
		return err_sys(e, ENOMEM, "cannot run %s", spec->path);
	}
	run->reaper = r;
	run->envp = (char **)spec->envp;
	run->applying = spec->apply;
	run->deadline_ms = spec->deadline_ms > 0 ? spec->deadline_ms : SCRIPT_DEADLINE_MS;
	run->done = done;
	run->ctx = ctx;
	code = start_job(run, e);
	if (code < 0) {
		run->envp = NULL;
		run_free(run);
		return code;
	}
	*out = run;
	return 0;
}

void script_abort(struct script_run *run)
{
	if (!run->applying)
		return;
	run->aborted = true;
	job_kill(run->job);
}

void script_abandon(struct script_run *run)
{
	if (!run || run->in_done)
		return;
	job_abandon(run->job);
	run_free(run);
}
