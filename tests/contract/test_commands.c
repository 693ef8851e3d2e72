/*
 * commands: every command of the control socket in every state, its answer and what
 * becomes of the state. The tables are the documentation. Real: control.c, the
 * machine and its tables, a process to be signalled. Not real: the effects, which do
 * nothing, so that a state stays as the command has left it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/procfs.h"
#include "daemon/commands.h"
#include "daemon/supervisor.h"
#include "with_reaper.h"

/* ---- the commands ---- */

enum asked {
	STATUS,
	IPS,
	LOGS,
	EVENTS,
	START,
	STOP,
	RESTART,
	SHUTDOWN,
	TO_TPROXY,
	TO_MIXED,
	REFRESH,
	RELOAD,
	REEXEC,
	SIGNAL_HUP,
	SIGNAL_TERM,
	ASKED
};

static const struct {
	const char *name, *members;
	enum ctl_cmd cmd;
	bool from_mixed; /* begins in mode mixed */
} commands[ASKED] = {
	[STATUS] = { "status", "", CTL_STATUS, false },
	[IPS] = { "ips", "", CTL_IPS, false },
	[LOGS] = { "logs", "", CTL_LOGS, false },
	[EVENTS] = { "events", "", CTL_EVENTS, false },
	[START] = { "start", "", CTL_START, false },
	[STOP] = { "stop", "", CTL_STOP, false },
	[RESTART] = { "restart", "", CTL_RESTART, false },
	[SHUTDOWN] = { "shutdown", "", CTL_SHUTDOWN, false },
	[TO_TPROXY] = { "mode", ",\"mode\":\"tproxy\"", CTL_MODE, true },
	[TO_MIXED] = { "mode", ",\"mode\":\"mixed\"", CTL_MODE, false },
	[REFRESH] = { "refresh", "", CTL_REFRESH, false },
	[RELOAD] = { "reload", "", CTL_RELOAD, false },
	[REEXEC] = { "reexec", "", CTL_REEXEC, false },
	[SIGNAL_HUP] = { "signal", ",\"signal\":\"HUP\"", CTL_SIGNAL, false },
	[SIGNAL_TERM] = { "signal", ",\"signal\":\"TERM\"", CTL_SIGNAL, false },
};

/* ---- the tables ---- */

struct cell {
	bool written;	     /* false = a hole, which a test finds */
	const char *refusal; /* NULL = ok */
	int child, net;	     /* then; SAME = as before */
};

/* clang-format off */

#define SAME (-1)
#define OK { true, NULL, SAME, SAME }
#define TO(child) { true, NULL, CHILD_##child, SAME }
#define GOES(child) { true, NULL, CHILD_##child, NET_DISARMING } /* the network first */
#define NO(sentence) { true, sentence, SAME, SAME }
#define NO_SET(why) NO("there is no set to refresh: " why)
#define NO_PROCESS(state) NO("there is no Mihomo to signal: it " state)
#define NOT_YET(state) NO("SIGHUP would end Mihomo now: it " state "; try again when it is ready")
#define NO_PROGRAM NO("not replaced, the running program goes on: it is not known where the program is (no /proc?)")
#define ENDING NO("clashsup is shutting down")

#define IN_EVERY_STATE(cell) { \
	[CHILD_STOPPED] = cell, [CHILD_WAITING] = cell, [CHILD_CHECKING] = cell, [CHILD_STARTING] = cell, \
	[CHILD_READY] = cell, [CHILD_UNHEALTHY] = cell, [CHILD_STOPPING] = cell, [CHILD_RESTARTING] = cell, \
	[CHILD_BACKOFF] = cell, [CHILD_FAILED] = cell }
#define IN_EVERY_NET(cell) { \
	[NET_DIRECT] = cell, [NET_ARMING] = cell, [NET_ARMED] = cell, [NET_DISARMING] = cell }

_Static_assert(CHILD_STATES == 10 && NET_STATES == 4, "the two macros above name them all");

/* What Mihomo is; the network is armed when it is ready, and else direct; the mode is tproxy. */
static const struct cell by_child[ASKED][CHILD_STATES] = {
	[STATUS] = IN_EVERY_STATE(OK),
	[IPS]    = IN_EVERY_STATE(OK), /* an empty list where there are none */
	[LOGS]   = IN_EVERY_STATE(OK),
	[EVENTS] = IN_EVERY_STATE(OK),
	[START] = { /* what runs or is on its way is left alone */
		[CHILD_STOPPED]    = TO(CHECKING),
		[CHILD_WAITING]    = TO(CHECKING),
		[CHILD_CHECKING]   = OK,
		[CHILD_STARTING]   = OK,
		[CHILD_READY]      = OK,
		[CHILD_UNHEALTHY]  = OK,
		[CHILD_STOPPING]   = TO(RESTARTING),
		[CHILD_RESTARTING] = OK,
		[CHILD_BACKOFF]    = TO(STARTING), /* at once */
		[CHILD_FAILED]     = TO(CHECKING),
	},
	[STOP] = {
		[CHILD_STOPPED]    = OK,
		[CHILD_WAITING]    = TO(STOPPED),
		[CHILD_CHECKING]   = TO(STOPPED),
		[CHILD_STARTING]   = TO(STOPPING),
		[CHILD_READY]      = GOES(STOPPING),
		[CHILD_UNHEALTHY]  = TO(STOPPING),
		[CHILD_STOPPING]   = OK,
		[CHILD_RESTARTING] = TO(STOPPING),
		[CHILD_BACKOFF]    = TO(STOPPED), /* its timer with it */
		[CHILD_FAILED]     = TO(STOPPED),
	},
	[RESTART] = { /* where nothing runs it is a start */
		[CHILD_STOPPED]    = TO(CHECKING),
		[CHILD_WAITING]    = TO(CHECKING),
		[CHILD_CHECKING]   = OK,
		[CHILD_STARTING]   = TO(RESTARTING),
		[CHILD_READY]      = GOES(RESTARTING),
		[CHILD_UNHEALTHY]  = TO(RESTARTING),
		[CHILD_STOPPING]   = TO(RESTARTING),
		[CHILD_RESTARTING] = OK,
		[CHILD_BACKOFF]    = TO(STARTING),
		[CHILD_FAILED]     = TO(CHECKING),
	},
	[SHUTDOWN] = { /* as stop; we end when it is reaped and the network is clean */
		[CHILD_STOPPED]    = OK,
		[CHILD_WAITING]    = TO(STOPPED),
		[CHILD_CHECKING]   = TO(STOPPED),
		[CHILD_STARTING]   = TO(STOPPING),
		[CHILD_READY]      = GOES(STOPPING),
		[CHILD_UNHEALTHY]  = TO(STOPPING),
		[CHILD_STOPPING]   = OK,
		[CHILD_RESTARTING] = TO(STOPPING),
		[CHILD_BACKOFF]    = TO(STOPPED),
		[CHILD_FAILED]     = TO(STOPPED),
	},
	[TO_TPROXY] = { /* a running Mihomo stays in mode mixed until its config was looked at for it */
		[CHILD_STOPPED]    = OK,
		[CHILD_WAITING]    = TO(CHECKING),
		[CHILD_CHECKING]   = OK,
		[CHILD_STARTING]   = OK,
		[CHILD_READY]      = OK,
		[CHILD_UNHEALTHY]  = OK,
		[CHILD_STOPPING]   = OK,
		[CHILD_RESTARTING] = OK,
		[CHILD_BACKOFF]    = OK,
		[CHILD_FAILED]     = OK, /* who gave up is started by start, not by a mode */
	},
	[TO_MIXED] = {
		[CHILD_STOPPED]    = OK,
		[CHILD_WAITING]    = TO(CHECKING), /* what was refused in mode tproxy may do in this one */
		[CHILD_CHECKING]   = OK,
		[CHILD_STARTING]   = OK,
		[CHILD_READY]      = GOES(READY),
		[CHILD_UNHEALTHY]  = OK,
		[CHILD_STOPPING]   = OK,
		[CHILD_RESTARTING] = OK,
		[CHILD_BACKOFF]    = OK,
		[CHILD_FAILED]     = OK,
	},
	[REFRESH] = {
		[CHILD_STOPPED]    = NO_SET("Mihomo is stopped"),
		[CHILD_WAITING]    = NO_SET("Mihomo waits for a good config or its port"),
		[CHILD_CHECKING]   = NO_SET("Mihomo has its config checked first"),
		[CHILD_STARTING]   = NO_SET("Mihomo is starting"),
		[CHILD_READY]      = OK,
		[CHILD_UNHEALTHY]  = NO_SET("Mihomo does not answer"),
		[CHILD_STOPPING]   = NO_SET("Mihomo is being ended"),
		[CHILD_RESTARTING] = NO_SET("Mihomo is being restarted"),
		[CHILD_BACKOFF]    = NO_SET("Mihomo died and waits for its next start"),
		[CHILD_FAILED]     = NO_SET("Mihomo died too often"),
	},
	[RELOAD] = { /* with nothing changed, neither in our file nor in Mihomo's */
		[CHILD_STOPPED]    = OK,
		[CHILD_WAITING]    = TO(CHECKING), /* what it waits for may be there unseen */
		[CHILD_CHECKING]   = OK,
		[CHILD_STARTING]   = OK,
		[CHILD_READY]      = OK,
		[CHILD_UNHEALTHY]  = OK,
		[CHILD_STOPPING]   = OK,
		[CHILD_RESTARTING] = OK,
		[CHILD_BACKOFF]    = OK,
		[CHILD_FAILED]     = OK,
	},
	[REEXEC] = IN_EVERY_STATE(NO_PROGRAM),
	[SIGNAL_HUP] = {
		[CHILD_STOPPED]    = NO_PROCESS("is stopped"),
		[CHILD_WAITING]    = NO_PROCESS("waits for a good config or its port"),
		[CHILD_CHECKING]   = NO_PROCESS("has its config checked first"),
		[CHILD_STARTING]   = NOT_YET("is starting"),
		[CHILD_READY]      = OK,
		[CHILD_UNHEALTHY]  = OK,
		[CHILD_STOPPING]   = NOT_YET("is being ended"),
		[CHILD_RESTARTING] = NOT_YET("is being restarted"),
		[CHILD_BACKOFF]    = NO_PROCESS("died and waits for its next start"),
		[CHILD_FAILED]     = NO_PROCESS("died too often"),
	},
	[SIGNAL_TERM] = { /* what becomes of it is told by its exit */
		[CHILD_STOPPED]    = NO_PROCESS("is stopped"),
		[CHILD_WAITING]    = NO_PROCESS("waits for a good config or its port"),
		[CHILD_CHECKING]   = NO_PROCESS("has its config checked first"),
		[CHILD_STARTING]   = OK,
		[CHILD_READY]      = OK,
		[CHILD_UNHEALTHY]  = OK,
		[CHILD_STOPPING]   = OK,
		[CHILD_RESTARTING] = OK,
		[CHILD_BACKOFF]    = NO_PROCESS("died and waits for its next start"),
		[CHILD_FAILED]     = NO_PROCESS("died too often"),
	},
};
/* What the network is while Mihomo is ready. Whatever leads away from ready takes the network back first. (Held up, for
 * want of rights or by a quarrel, it is arming, which status calls direct.) */
static const struct cell by_net[ASKED][NET_STATES] = {
	[STATUS]    = IN_EVERY_NET(OK),
	[IPS]       = IN_EVERY_NET(OK),
	[LOGS]      = IN_EVERY_NET(OK),
	[EVENTS]    = IN_EVERY_NET(OK),
	[START]     = {
		[NET_DIRECT]    = { true, NULL, SAME, NET_ARMING }, /* does not last: any event arms */
		[NET_ARMING]    = OK,
		[NET_ARMED]     = OK,
		[NET_DISARMING] = OK,
	},
	[STOP]      = {
		[NET_DIRECT]    = TO(STOPPING),
		[NET_ARMING]    = GOES(STOPPING),
		[NET_ARMED]     = GOES(STOPPING),
		[NET_DISARMING] = TO(STOPPING),
	},
	[RESTART]   = {
		[NET_DIRECT]    = TO(RESTARTING),
		[NET_ARMING]    = GOES(RESTARTING),
		[NET_ARMED]     = GOES(RESTARTING),
		[NET_DISARMING] = TO(RESTARTING),
	},
	[SHUTDOWN]  = {
		[NET_DIRECT]    = TO(STOPPING),
		[NET_ARMING]    = GOES(STOPPING),
		[NET_ARMED]     = GOES(STOPPING),
		[NET_DISARMING] = TO(STOPPING),
	},
	[TO_TPROXY] = IN_EVERY_NET(OK),
	[TO_MIXED]  = {
		[NET_DIRECT]    = OK,
		[NET_ARMING]    = GOES(READY),
		[NET_ARMED]     = GOES(READY),
		[NET_DISARMING] = OK,
	},
	[REFRESH]   = {
		[NET_DIRECT]    = NO_SET("the network is direct"),
		[NET_ARMING]    = NO_SET("the network is arming"),
		[NET_ARMED]     = OK,
		[NET_DISARMING] = NO_SET("the network is disarming"),
	},
	[RELOAD]      = IN_EVERY_NET(OK),
	[REEXEC]      = IN_EVERY_NET(NO_PROGRAM),
	[SIGNAL_HUP]  = IN_EVERY_NET(OK),
	[SIGNAL_TERM] = IN_EVERY_NET(OK),
};

/* While a shutdown runs. */
static const struct cell in_shutdown[ASKED] = {
	[STATUS]      = OK,
	[IPS]         = OK,
	[LOGS]        = OK,
	[EVENTS]      = OK,
	[START]       = ENDING,
	[STOP]        = ENDING,
	[RESTART]     = ENDING,
	[SHUTDOWN]    = OK, /* asked twice: Mihomo is killed */
	[TO_TPROXY]   = ENDING,
	[TO_MIXED]    = ENDING,
	[REFRESH]     = ENDING,
	[RELOAD]      = ENDING,
	[REEXEC]      = ENDING,
	[SIGNAL_HUP]  = ENDING,
	[SIGNAL_TERM] = ENDING,
};
/* clang-format on */

/* ---- the stage ---- */

struct stage {
	struct supervisor s;
	struct settings settings;
	struct effects idle;
	char dir[64], copy[96];
};

static void no_action(void *ctx, enum lifecycle_action action)
{
	(void)ctx;
	(void)action;
}

static void no_move(void *ctx, const struct lifecycle *from, const struct lifecycle *to, enum lifecycle_event event)
{
	(void)ctx;
	(void)from;
	(void)to;
	(void)event;
}

static void no_news(void *ctx)
{
	(void)ctx;
}

static void no_check(void *ctx, const struct config_facts *facts, const char *why)
{
	(void)ctx;
	(void)facts;
	(void)why;
}

static pid_t a_process(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing */
		for (;;)
			pause();
	}
	return pid;
}

static void put(const struct stage *t, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", t->dir, name);
	assert_int_equal(io_replace(path, text, strlen(text), false, NULL), 0);
}

/* Settings, and a config of Mihomo's that is in force as it stands in the file. */
static void write_files(struct stage *t, bool tproxy)
{
	struct reload_source *source = &t->s.reload.source;
	char text[256];

	snprintf(text, sizeof(text), "[mihomo]\nhome = %s\n[state]\ndir = %s\n", t->dir, t->dir);
	put(t, "clashsup.conf", text);
	put(t, "config.yaml", "mode: rule\n");
	snprintf(t->copy, sizeof(t->copy), "%s/mihomo", t->dir);
	assert_int_equal(mkdir(t->copy, 0700), 0);
	put(t, "mihomo/config.yaml", "mode: rule\n");
	snprintf(source->file, sizeof(source->file), "%s/clashsup.conf", t->dir);
	assert_int_equal(settings_load(&t->settings, source->file, true, NULL, NULL), 0);
	t->s.reload.mode = MODE_TPROXY;
	t->settings.tproxy.mode = tproxy ? MODE_TPROXY : MODE_MIXED;
}

static void find_config(struct stage *t)
{
	struct supervisor *s = &t->s;

	assert_true(supervisor_find_config(s->settings, s->home, s->config));
	s->check_setup = (struct check_setup){
		.settings = s->settings, .config = s->config, .home = s->home, .run_dir = t->copy
	};
	assert_int_equal(check_new(&s->check, &s->check_setup, no_check, t, NULL), 0);
}

/* The state before; a state with a process has one. */
static struct stage *begin(struct reaper *r, enum child_state child, enum net_state net, bool tproxy)
{
	struct stage *t = calloc(1, sizeof(*t));
	struct supervisor *s = &t->s;

	assert_non_null(t);
	snprintf(t->dir, sizeof(t->dir), "/tmp/commands.XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	t->idle = (struct effects){ no_action, no_move, t };
	write_files(t, tproxy);
	s->settings = &t->settings;
	s->loop = s->mihomo.loop = r->loop;
	s->mihomo.settings = s->net.settings = s->around.settings = &t->settings;
	ev_timer_init(&s->give_up, NULL, 0., 0.);
	ev_timer_init(&s->mihomo.hup, NULL, 0., 1.);
	s->mihomo.hup.data = &s->mihomo;
	find_config(t);
	eventlog_init(&s->eventlog);
	lines_init(&s->lines, &t->settings, no_news, t);
	service_init(&s->service, r->loop, -1);
	machine_init(&s->machine, &t->idle, tproxy);
	eventlog_init(&s->eventlog);
	lines_init(&s->lines, &t->settings, NULL, NULL);
	s->service.notify.fd = s->service.ready_fd = -1;
	hooks_init(&s->hooks, r, &t->settings);
	s->machine.life = (struct lifecycle){ child, net, tproxy };
	s->servers = (struct servers){ .loop = r->loop, .setup = { .reaper = r, .settings = &t->settings } };
	assert_int_equal(servers_init(&s->servers, NULL), 0);
	s->servers.remember.program = "true";
	s->servers.on = s->servers.sweeping = net == NET_ARMED; /* busy: what is asked for comes next */
	if (lifecycle_has_process(child)) {
		s->mihomo.proc.pid = a_process();
		s->mihomo.said_up = procfs_stat(s->mihomo.proc.pid, PROCFS_STACK); /* long ago: at 0 */
	}
	return t;
}

static void take_away(const struct stage *t)
{
	static const char *const names[] = { "clashsup.conf", "config.yaml", "mihomo/config.yaml", "mihomo", "" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", t->dir, names[i]);
		assert_int_equal(remove(path), 0);
	}
}

/* The signal that ended the process, 0 = none. */
static int end(struct stage *t)
{
	pid_t pid = t->s.mihomo.proc.pid;
	int status = 0, sig = 0;

	if (pid) {
		kill(pid, SIGRTMIN); /* comes behind what came before */
		while (waitpid(pid, &status, 0) < 0)
			;
		sig = WTERMSIG(status) == SIGRTMIN ? 0 : WTERMSIG(status);
	}
	ev_timer_stop(t->s.loop, &t->s.give_up);
	service_deinit(&t->s.service, t->s.loop);
	ring_free(&t->s.eventlog.ring);
	lines_free(&t->s.lines);
	servers_deinit(&t->s.servers);
	lines_free(&t->s.lines);
	ring_free(&t->s.eventlog.ring);
	ev_timer_stop(t->s.loop, &t->s.mihomo.hup);
	check_free(t->s.check);
	take_away(t);
	settings_free(&t->settings);
	free(t);
	return sig;
}

/* The error of the answer, "" = ok. */
static void ask(struct stage *t, enum asked which, char *error, size_t cap)
{
	char line[128];
	struct ctl_request request;
	size_t cursor = 0;
	cleanup_free char *answer = NULL;
	cJSON *o;
	int len = snprintf(line, sizeof(line), "{\"version\":%d,\"cmd\":\"%s\"%s}", CTL_VERSION, commands[which].name,
			   commands[which].members);

	assert_int_equal(ctl_parse(line, (size_t)len, &request, NULL), 0);
	assert_int_equal(request.cmd, commands[which].cmd);
	request.privileged = true;
	answer = control_handle(&t->s, &request, &cursor);
	assert_non_null(answer);
	o = cJSON_Parse(answer);
	snprintf(error, cap, "%s",
		 cJSON_IsTrue(cJSON_GetObjectItem(o, "ok")) ? ""
							    : cJSON_GetStringValue(cJSON_GetObjectItem(o, "error")));
	cJSON_Delete(o);
}

static void tell(char *buf, size_t cap, const char *error, const struct lifecycle *l)
{
	snprintf(buf, cap, "%s -> %s, %s", error[0] ? error : "ok", child_state_name(l->child), net_state_name(l->net));
}

static void expect(struct reaper *r, enum asked which, enum child_state child, enum net_state net, bool shutdown,
		   const struct cell *c)
{
	struct stage *t = begin(r, child, net, !commands[which].from_mixed);
	struct lifecycle then = t->s.machine.life;
	char error[256], wanted[512], got[512];
	int sig;

	assert_true(c->written);
	t->s.shutting_down = shutdown;
	if (c->child != SAME)
		then.child = (enum child_state)c->child;
	if (c->net != SAME)
		then.net = (enum net_state)c->net;
	tell(wanted, sizeof(wanted), c->refusal ? c->refusal : "", &then);
	ask(t, which, error, sizeof(error));
	tell(got, sizeof(got), error, &t->s.machine.life);
	if (strcmp(wanted, got) != 0)
		fail_msg("%s%s in %s, %s:\n  wanted %s\n     got %s", commands[which].name, commands[which].members,
			 child_state_name(child), net_state_name(net), wanted, got);
	if (which == REFRESH && !c->refusal)
		assert_int_equal(t->s.servers.next, SERVERS_ASKED);
	sig = end(t);
	if (which == SIGNAL_HUP || which == SIGNAL_TERM)
		assert_int_equal(sig, c->refusal ? 0 : which == SIGNAL_HUP ? SIGHUP : SIGTERM);
}

/* ---- the tests ---- */

static void each_command_has_an_answer_in_each_state_of_mihomo(void **state)
{
	for (unsigned c = 0; c < ASKED; c++) {
		for (unsigned s = 0; s < CHILD_STATES; s++) {
			bool armed = s == CHILD_READY && !commands[c].from_mixed;

			expect(*state, c, s, armed ? NET_ARMED : NET_DIRECT, false, &by_child[c][s]);
		}
	}
}

static void each_command_has_an_answer_in_each_state_of_the_network(void **state)
{
	for (unsigned c = 0; c < ASKED; c++) {
		if (commands[c].from_mixed) {
			expect(*state, c, CHILD_READY, NET_DIRECT, false, &by_net[c][NET_DIRECT]);
			expect(*state, c, CHILD_READY, NET_DISARMING, false, &by_net[c][NET_DISARMING]);
			continue;
		}
		for (unsigned n = 0; n < NET_STATES; n++)
			expect(*state, c, CHILD_READY, n, false, &by_net[c][n]);
	}
}

static void each_command_has_an_answer_during_a_shutdown(void **state)
{
	for (unsigned c = 0; c < ASKED; c++)
		expect(*state, c, CHILD_STOPPING, NET_DISARMING, true, &in_shutdown[c]);
}

static void no_command_of_the_protocol_is_missing(void **state)
{
	(void)state;

	for (unsigned cmd = 0; cmd < CTL_CMDS; cmd++) {
		bool found = false;

		for (unsigned c = 0; c < ASKED; c++)
			found |= commands[c].cmd == cmd && strcmp(commands[c].name, ctl_cmd_name(cmd)) == 0;
		if (!found)
			fail_msg("%s is not in the tables", ctl_cmd_name(cmd));
	}
}

/* A mode that is in force already changes nothing, and refresh names the mode as its reason. */
static void in_mode_mixed_there_is_nothing_to_refresh_and_mixed_is_no_change(void **state)
{
	for (unsigned s = 0; s < CHILD_STATES; s++) {
		struct stage *t = begin(*state, s, NET_DIRECT, false);
		char error[256];

		ask(t, REFRESH, error, sizeof(error));
		assert_string_equal(error, "there is no set to refresh: the mode is mixed");
		ask(t, TO_MIXED, error, sizeof(error));
		assert_string_equal(error, "");
		assert_int_equal(t->s.machine.life.child, s);
		end(t);
	}
}

static void a_reload_of_a_wrong_file_is_refused_in_every_state_and_changes_nothing(void **state)
{
	for (unsigned s = 0; s < CHILD_STATES; s++) {
		struct stage *t = begin(*state, s, s == CHILD_READY ? NET_ARMED : NET_DIRECT, true);
		char error[256];

		put(t, "clashsup.conf", "[log]\nlevell = 1\n");
		ask(t, RELOAD, error, sizeof(error));
		assert_non_null(strstr(error, "clashsup.conf:2: unknown key \"levell\" in [log]"));
		assert_int_equal(t->s.machine.life.child, s);
		end(t);
	}
}

/* It waits for its port: STARTING, and no process yet. */
static void a_start_without_a_process_yet_has_nothing_to_signal(void **state)
{
	struct stage *t = begin(*state, CHILD_STOPPED, NET_DIRECT, true);
	char error[256];

	t->s.machine.life.child = CHILD_STARTING;
	ask(t, SIGNAL_TERM, error, sizeof(error));
	assert_string_equal(error, "there is no Mihomo to signal: it is starting");
	end(t);
}

/* Signals open from the start: the first one to arrive at a process is then what ends it. */
static int set_up(void **state)
{
	int r = with_reaper(state);
	sigset_t chld;

	proc_open_signals(NULL);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_command_of_the_protocol_is_missing),
		cmocka_unit_test(each_command_has_an_answer_in_each_state_of_mihomo),
		cmocka_unit_test(each_command_has_an_answer_in_each_state_of_the_network),
		cmocka_unit_test(each_command_has_an_answer_during_a_shutdown),
		cmocka_unit_test(in_mode_mixed_there_is_nothing_to_refresh_and_mixed_is_no_change),
		cmocka_unit_test(a_reload_of_a_wrong_file_is_refused_in_every_state_and_changes_nothing),
		cmocka_unit_test(a_start_without_a_process_yet_has_nothing_to_signal),
	};

	log_open(-1, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, set_up, without_reaper);
}
