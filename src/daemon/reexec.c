#include "daemon/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clashsup/helper.h"
#include "clashsup/io.h"
#include "clashsup/job.h"
#include "clashsup/log.h"
#include "clashsup/procfs.h"
#include "clashsup/scan.h"
#include "daemon/adopt.h"
#include "daemon/announce.h"
#include "daemon/clock.h"
#include "daemon/json_get.h"
#include "daemon/reexec_state.h"
#include "daemon/supervisor.h"

#define HANDED "CLASHSUP_REEXEC" /* a descriptor's number, from program to program */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define CHECK_MS 2000
#define LOOK_S 0.005

/* ---- no ---- */

static void refuse(struct supervisor *s, const char *why)
{
	struct reexec *r = &s->reexec;

	r->asked = false;
	ev_timer_stop(s->loop, &r->look);
	snprintf(r->refusal, sizeof(r->refusal), "not replaced, the running program goes on: %.*s", REEXEC_TEXT - 48,
		 why);
	log_error(LOG_CLASH, "reexec: %s", r->refusal);
	announce(s, TELL(.kind = ANNOUNCE_REFUSED, .reason = r->refusal)); /* which wakes those who wait */
}

/* ---- the step ---- */

static void keep_open(int fd, bool keep)
{
	(void)fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static int make_memfd(const char *bytes, size_t len, struct err *e)
{
	cleanup_fd int fd = memfd_create("clashsup", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "cannot make a memfd");
	r = io_write_all(fd, bytes, len);
	if (r < 0)
		return err_sys(e, -r, "cannot write a memfd");
	if (lseek(fd, 0, SEEK_SET) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return err_sys(e, errno, "cannot seal a memfd");
	return steal_fd(&fd);
}

/* Comes back only when the kernel refuses. Signals that come meanwhile wait for the new program. */
static int execute(struct supervisor *s, int state, struct err *e)
{
	const char *argv[] = { s->reexec.program, "run", NULL, NULL, NULL };
	char number[16];
	sigset_t all, before;
	int errnum;

	if (s->reload.source.must_exist) {
		argv[1] = "-c";
		argv[2] = s->reload.source.file;
		argv[3] = "run";
	}
	snprintf(number, sizeof(number), "%d", state);
	if (setenv(HANDED, number, 1) < 0)
		return err_sys(e, ENOMEM, "cannot execute %s", s->reexec.program);
	notify_restore(&s->service.notify);
	reaper_spare_no_more(&s->reaper);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	keep_open(state, true);
	(void)execv(s->reexec.program, (char *const *)argv);
	errnum = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	reaper_spare(&s->reaper);
	notify_take_out();
	unsetenv(HANDED);
	return err_sys(e, errnum, "cannot execute %s", s->reexec.program);
}

static int replace(struct supervisor *s, struct err *e)
{
	cleanup_free char *bytes = NULL;
	struct reexec_state state;
	cleanup_fd int fd = -1;
	size_t len;
	int r = reexec_state_make(s, &bytes, &len, e);

	if (r < 0)
		return r;
	fd = make_memfd(bytes, len, e);
	if (fd < 0)
		return fd;
	r = reexec_state_read(&state, bytes, len, e); /* for its descriptors, and once more for its sense */
	if (r == 0)
		r = net_keep(&s->net, e); /* it lasts until the new program can do so */
	if (r == 0) {
		reexec_each_fd(state.fds, keep_open, true);
		log_info(LOG_CLASH, "executing %s", s->reexec.program);
		log_flush();
		r = execute(s, fd, e);
		reexec_each_fd(state.fds, keep_open, false);
	}
	reexec_state_free(&state);
	return r;
}

/* A look at Mihomo's config, where one is of use: a stopped one, or one given up, stays as it is. */
static void look_at_config(struct supervisor *s)
{
	enum child_state child = s->machine.life.child;

	if (lifecycle_has_process(child) || child == CHILD_WAITING || child == CHILD_BACKOFF)
		machine_post(&s->machine, EV_CONFIG);
}

static void replace_or_go_on(struct supervisor *s)
{
	struct err e = ERR_INIT;

	health_stop(&s->health);
	check_cancel(s->check);
	if (replace(s, &e) == 0)
		return;
	refuse(s, e.msg);
	if (lifecycle_has_process(s->machine.life.child))
		health_start(&s->health);
	look_at_config(s);
	servers_extract(&s->servers, SERVERS_ARMED);
}

/* ---- when ---- */

/* What is on its way; NULL = nothing. */
static const char *busy_with(const struct supervisor *s)
{
	const struct lifecycle *l = &s->machine.life;
	bool in_transit = (l->net == NET_ARMING && !net_is_held_up(&s->net)) || l->net == NET_DISARMING;

	if (s->shutting_down)
		return "clashsup is stopping";
	if (l->child == CHILD_CHECKING || l->child == CHILD_STOPPING || l->child == CHILD_RESTARTING)
		return "Mihomo is between two states";
	if (in_transit || !net_is_quiet(&s->net) || s->reload.next || s->reload.former)
		return "the rules are being changed";
	if (s->around.probing || s->around.surveying)
		return "the surroundings are being looked at";
	if (hooks_busy(&s->hooks))
		return "a hook runs";
	if (deaths_saving(&s->deaths) || remember_writing(&s->servers.remember))
		return "a file of the state is being written";
	if (log_pending())
		return "the output is blocked, and lines would be lost";
	return NULL;
}

static void on_look(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct supervisor *s = w->data;
	const char *busy = busy_with(s);
	char why[128];
	(void)loop;
	(void)revents;

	if (!busy) {
		servers_rest(&s->servers);
		if (!servers_busy(&s->servers)) {
			replace_or_go_on(s);
			return;
		}
		busy = "the server set is being changed";
	}
	if (clock_ms() - s->reexec.began_ms < REEXEC_LIMIT_MS)
		return;
	snprintf(why, sizeof(why), "%s for %d ms, try again later", busy, REEXEC_LIMIT_MS);
	refuse(s, why);
	servers_extract(&s->servers, SERVERS_ARMED);
}

static void on_checked(void *ctx, const struct job_result *result)
{
	struct supervisor *s = ctx;
	char why[200], text[PATH_MAX + 256];

	s->reexec.check = NULL;
	if (job_ok(result)) {
		ev_timer_again(s->loop, &s->reexec.look);
		return;
	}
	snprintf(text, sizeof(text), "%s says: %s", s->reexec.program, job_why(result, why, sizeof(why)));
	refuse(s, text);
}

static int start_check(struct supervisor *s, struct err *e)
{
	const char *const argv[] = { s->reexec.program, "resume-check", NULL };
	struct job_spec spec = { .argv = argv, .deadline_ms = CHECK_MS };
	cleanup_free char *bytes = NULL;
	int r;

	if (!s->reexec.program[0])
		return err_set(e, ENOENT, "it is not known where the program is (no /proc?)");
	r = reexec_state_make(s, &bytes, &spec.input_len, e);
	if (r < 0)
		return r;
	spec.input = bytes;
	return job_start(&s->reexec.check, &s->reaper, &spec, on_checked, s, e);
}

void reexec_start(struct supervisor *s)
{
	struct err e = ERR_INIT;

	if (s->reexec.asked || s->shutting_down)
		return;
	s->reexec.asked = true;
	s->reexec.began_ms = clock_ms();
	if (start_check(s, &e) < 0)
		refuse(s, e.msg);
}

char *reexec_answer(struct supervisor *s, size_t *cursor)
{
	if (!*cursor)
		reexec_start(s);
	*cursor = s->reexec.asked;
	return s->reexec.asked ? strdup("") : ctl_answer_error(s->reexec.refusal);
}

void reexec_init(struct supervisor *s)
{
	struct reexec *r = &s->reexec;

	if (procfs_program_path(r->program) < 0)
		r->program[0] = '\0';
	ev_timer_init(&r->look, on_look, 0.0, LOOK_S);
	r->look.data = s;
}

void reexec_deinit(struct supervisor *s)
{
	job_abandon(s->reexec.check);
	s->reexec.check = NULL;
	ev_timer_stop(s->loop, &s->reexec.look);
}

/* ---- in the new program ---- */

int reexec_handed(void)
{
	const char *text = getenv(HANDED);
	uint64_t fd;
	bool ours = text && scan_u64(text, INT_MAX, &fd) == 0 && fcntl((int)fd, F_GET_SEALS) == SEALS &&
		    fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0;

	unsetenv(HANDED);
	return ours ? (int)fd : -1;
}

/* Those who asked the former program. */
static void answer_clients(const cJSON *fds)
{
	cleanup_free char *answer = ctl_answer_did("clashsup " CLASHSUP_VERSION " is in charge");
	int list[REEXEC_CLIENTS];
	size_t n = reexec_take_clients(fds, list);

	for (size_t i = 0; i < n; i++) {
		if (answer) {
			(void)send(list[i], answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
			(void)send(list[i], "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		}
		close(list[i]);
	}
}

static void go_on_child(struct supervisor *s)
{
	enum child_state child = s->machine.life.child;

	if (s->mihomo.proc.pid) {
		s->around.mihomo = s->mihomo.proc.pid;
		deaths_born(&s->deaths, s->mihomo.proc.pid);
	}
	if (lifecycle_has_process(child)) {
		health_start(&s->health);
		mihomo_go_on(&s->mihomo);
	}
	if (child == CHILD_UNHEALTHY)
		events_later(s, &s->hang, s->settings->mihomo.hang_kill_ms);
	if (child == CHILD_BACKOFF)
		events_later(s, &s->backoff, s->backoff_ms);
}

static void go_on_net(struct supervisor *s, const cJSON *from)
{
	struct net_plan plan = adopt_plan(s);

	surroundings_look(&s->around, false);
	s->machine.life.net = net_resume(&s->net, from, &plan);
	if (s->machine.life.net == NET_DISARMING) {
		events_sweep(s);
		return;
	}
	surroundings_probe(&s->around);
	if (s->machine.life.net != NET_ARMED)
		return;
	servers_on(&s->servers, s->net.family);
	servers_extract(&s->servers, SERVERS_ARMED);
}

void reexec_go_on(struct supervisor *s, const struct reexec_state *state)
{
	char did[RELOAD_TEXT];

	reexec_state_load(s, state);
	adopt_again(s);
	go_on_net(s, cJSON_GetObjectItemCaseSensitive(state->json, "net"));
	go_on_child(s);
	machine_mode(&s->machine, s->machine.life.tproxy); /* an arming that was held up is wanted anew */
	log_info(LOG_CLASH, "clashsup " CLASHSUP_VERSION " has taken over");
	announce(s, TELL(.kind = ANNOUNCE_REEXECED, .pid = s->mihomo.proc.pid, .reason = "clashsup " CLASHSUP_VERSION));
	reload_now(s, did);
	look_at_config(s); /* nobody has watched its files meanwhile */
	answer_clients(state->fds);
}

/* ---- would it? ---- */

static int read_stdin(char **out, size_t *len_out)
{
	FILE *to = open_memstream(out, len_out);
	char buf[65536];
	size_t total = 0;
	ssize_t n = to ? 1 : -ENOMEM;

	while (n > 0 && total <= REEXEC_STATE_MAX) {
		n = io_read(STDIN_FILENO, buf, sizeof(buf));
		if (n > 0)
			total += fwrite(buf, 1, (size_t)n, to);
	}
	if (to && fclose(to) != 0)
		n = -ENOMEM;
	return n < 0 ? (int)n : total > REEXEC_STATE_MAX ? -EFBIG : 0;
}

int reexec_check_main(void)
{
	cleanup_free char *bytes = NULL;
	struct reexec_state state = { 0 };
	struct sandbox_ids ids;
	char helper[PATH_MAX];
	struct err e = ERR_INIT;
	size_t len = 0;
	int r = read_stdin(&bytes, &len);

	if (r < 0)
		err_sys(&e, -r, "cannot read the state");
	else
		r = reexec_state_read(&state, bytes, len, &e);
	if (r == 0)
		r = supervisor_identify(state.settings, &ids, &e);
	reexec_state_free(&state);
	if (r == 0)
		r = helper_open(helper, sizeof(helper), &e); /* and our end closes it */
	if (r < 0)
		fprintf(stderr, "%s\n", e.msg);
	return r < 0;
}
