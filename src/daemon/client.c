#include "daemon/client.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "clashsup/addr.h"
#include "clashsup/ctl.h"
#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "daemon/client_stream.h"
#include "daemon/json_get.h"
#include "daemon/status_view.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

enum status_how { STATUS_VIEW, STATUS_JSON, STATUS_LIVE };

static int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits until `fd` is ready for `events`, at most until `deadline`. */
static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left;
	int n;

	do {
		left = deadline - mono_ms();
		n = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

static int reach(const struct settings *s, int64_t deadline, struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	bool own = s->control.socket[0] != '\0';
	int r = io_path(addr.sun_path, sizeof(addr.sun_path), e, "%s%s", own ? s->control.socket : s->state.run,
			own ? "" : "/control.sock");

	if (r < 0)
		return r;
	if (fd < 0)
		return err_sys(e, errno, "cannot make a socket");
	while (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };

		/* EAGAIN: its backlog is full, and no event tells when that is over. */
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, errno, "no supervisor on %s", addr.sun_path);
		if (mono_ms() >= deadline)
			return err_sys(e, ETIMEDOUT, "no supervisor on %s", addr.sun_path);
		nanosleep(&pause, NULL);
	}
	return steal_fd(&fd);
}

static int send_line(int fd, const char *line, int64_t deadline, struct err *e)
{
	size_t len = strlen(line);

	while (len > 0) {
		ssize_t n = send(fd, line, len, MSG_NOSIGNAL);
		int r = n < 0 && errno != EINTR ? -errno : 0;

		if (r == -EAGAIN)
			r = wait_for(fd, POLLOUT, deadline);
		if (r < 0)
			return err_sys(e, -r, "the supervisor did not take the request");
		if (n > 0) {
			line += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* One line, malloc'ed and without its newline, in *out. */
static int receive_line(int fd, int64_t deadline, char **out, struct err *e)
{
	cleanup_free char *buf = NULL;
	size_t cap = 0, len = 0;
	char *newline = NULL;

	while (!newline) {
		ssize_t n = wait_for(fd, POLLIN, deadline);

		if (len == cap) {
			char *grown = cap > CTL_ANSWER_MAX ? NULL : realloc(buf, cap ? cap * 2 : 4096);

			if (!grown)
				return err_set(e, ENOMEM, "the supervisor's answer is too large");
			buf = grown;
			cap = cap ? cap * 2 : 4096;
		}
		if (n == 0)
			n = io_read(fd, buf + len, cap - len);
		if (n == -EAGAIN)
			continue;
		if (n <= 0)
			return n ? err_sys(e, (int)-n, "the supervisor did not answer")
				 : err_set(e, ECONNRESET, "the supervisor closed the connection");
		newline = memchr(buf + len, '\n', (size_t)n);
		len += (size_t)n;
	}
	*newline = '\0';
	*out = buf;
	buf = NULL;
	return 0;
}

/* Sends one request; the answer as an object, or NULL and the sentence. */
static cJSON *ask(const struct settings *s, const char *request, struct err *e)
{
	int64_t deadline = mono_ms() + CLIENT_TIMEOUT_MS;
	cleanup_fd int fd = reach(s, deadline, e);
	cleanup_free char *line = NULL;
	cJSON *answer;

	if (fd < 0 || send_line(fd, request, deadline, e) < 0 || receive_line(fd, deadline, &line, e) < 0)
		return NULL;
	answer = cJSON_Parse(line);
	if (!cJSON_IsObject(answer)) {
		cJSON_Delete(answer);
		answer = NULL;
		err_set(e, EPROTO, "the supervisor's answer is not JSON");
	}
	return answer;
}

cJSON *client_status(const struct settings *s, struct err *e)
{
	cJSON *answer, *status;
	char request[64];

	snprintf(request, sizeof(request), "{\"version\":%d,\"cmd\":\"status\"}\n", CTL_VERSION);
	answer = ask(s, request, e);
	status = cJSON_DetachItemFromObjectCaseSensitive(answer, "status");
	if (answer && !status)
		err_set(e, EPROTO, "the supervisor did not tell its status");
	cJSON_Delete(answer);
	return status;
}

static int print_json(const cJSON *o)
{
	cleanup_free char *text = cJSON_PrintUnformatted(o);

	if (!text || puts(text) == EOF)
		return EXIT_REFUSED;
	return EXIT_OK;
}

static bool wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !no[0]) && term && strcmp(term, "dumb") != 0;
}

static int show_status(const cJSON *answer, enum status_how how)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(answer, "status");
	const char *state = json_get_text(status, "state");

	if (how == STATUS_LIVE)
		return EXIT_OK;
	if (how == STATUS_VIEW)
		status_view(status, wants_colour(), mono_ms(), stdout);
	else if (print_json(status) != EXIT_OK)
		return EXIT_REFUSED;
	if (strcmp(state, "armed") == 0)
		return EXIT_OK;
	if (strcmp(state, "mixed") == 0 && strcmp(json_get_text(status, "child"), "ready") == 0)
		return EXIT_OK;
	return EXIT_REFUSED;
}

static int addr_order(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

/* In order: the supervisor does not take the time for that. */
static int show_ips(const cJSON *answer)
{
	const cJSON *ips = cJSON_GetObjectItemCaseSensitive(answer, "ips"), *ip;
	cleanup_free struct addr *all = calloc((size_t)cJSON_GetArraySize(ips) + 1, sizeof(*all));
	char text[ADDR_TEXT];
	size_t n = 0;

	if (!all)
		return EXIT_REFUSED;
	cJSON_ArrayForEach(ip, ips)
	{
		if (cJSON_IsString(ip) && addr_parse(ip->valuestring, &all[n]) == 0)
			n++;
	}
	qsort(all, n, sizeof(*all), addr_order);
	for (size_t i = 0; i < n; i++)
		puts(addr_text(&all[i], text));
	return EXIT_OK;
}

struct command {
	const char *name, *cmd;
	const char *mode; /* NULL = none; "" = the argument */
	enum ctl_cmd kind;
};

static const struct command commands[] = {
	{ "status", "status", NULL, CTL_STATUS },
	{ "start", "start", NULL, CTL_START },
	{ "stop", "stop", NULL, CTL_STOP },
	{ "restart", "restart", NULL, CTL_RESTART },
	{ "shutdown", "shutdown", NULL, CTL_SHUTDOWN },
	{ "on", "mode", "tproxy", CTL_MODE },
	{ "off", "mode", "mixed", CTL_MODE },
	{ "mode", "mode", "", CTL_MODE },
	{ "refresh", "refresh", NULL, CTL_REFRESH },
	{ "reload", "reload", NULL, CTL_RELOAD },
	{ "reexec", "reexec", NULL, CTL_REEXEC },
	{ "ips", "ips", NULL, CTL_IPS },
	{ "signal", "signal", "", CTL_SIGNAL },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Judges the arguments; *mode_out and *how_out are what they say. */
static bool read_arguments(const struct command *c, int argc, char **argv, const char **mode_out,
			   enum status_how *how_out)
{
	bool takes_mode = c->mode && !c->mode[0];

	*mode_out = c->mode;
	*how_out = STATUS_VIEW;
	if (argc == 0)
		return !takes_mode;
	if (argc > 1)
		return false;
	if (takes_mode) {
		*mode_out = argv[0];
		if (c->kind == CTL_SIGNAL)
			return scan_signal(argv[0]) > 0;
		return strcmp(argv[0], "tproxy") == 0 || strcmp(argv[0], "mixed") == 0;
	}
	if (c->kind != CTL_STATUS)
		return false;
	*how_out = strcmp(argv[0], "--json") == 0 ? STATUS_JSON : STATUS_LIVE;
	return *how_out == STATUS_JSON || strcmp(argv[0], "--live") == 0;
}

/* The end of an answer without an end is ours to tell: by ending our side when there is no more to ask. */
static int run_stream(const struct settings *s, const char *cmd, int argc, char **argv)
{
	int64_t deadline = mono_ms() + CLIENT_TIMEOUT_MS;
	const struct timeval patience = { .tv_sec = CLIENT_TIMEOUT_MS / 1000 };
	struct stream_options o;
	struct err e = ERR_INIT;
	cleanup_fd int fd = -1;
	char request[128], count[32] = "";

	if (!stream_options_read(&o, strcmp(cmd, "events") == 0, argc, argv)) {
		fprintf(stderr, "clashsup: usage: clashsup %s [-f] [-n COUNT]%s\n", cmd,
			strcmp(cmd, "events") == 0 ? " [--json]" : "");
		return EXIT_USAGE;
	}
	if (o.count != UINT32_MAX)
		snprintf(count, sizeof(count), ",\"count\":%u", o.count);
	snprintf(request, sizeof(request), "{\"version\":%d,\"cmd\":\"%s\"%s%s}\n", CTL_VERSION, cmd, count,
		 o.follow ? ",\"follow\":true" : "");
	fd = reach(s, deadline, &e);
	if (fd < 0 || send_line(fd, request, deadline, &e) < 0 || fcntl(fd, F_SETFL, 0) < 0) {
		fprintf(stderr, "clashsup: %s\n", e.msg);
		return EXIT_UNREACHABLE;
	}
	if (!o.follow) {
		(void)shutdown(fd, SHUT_WR);
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	}
	return stream_show(steal_fd(&fd), cmd, &o);
}

int client_run(const struct settings *s, const char *cmd, int argc, char **argv)
{
	const struct command *c = find_command(cmd);
	struct err e = ERR_INIT;
	enum status_how how;
	const char *mode;
	char request[128];
	cJSON *answer;
	int r = EXIT_OK;

	if (strcmp(cmd, "logs") == 0 || strcmp(cmd, "events") == 0)
		return run_stream(s, cmd, argc, argv);
	if (!c || !read_arguments(c, argc, argv, &mode, &how)) {
		fprintf(stderr, "clashsup: usage: clashsup %s%s\n", c ? c->name : "COMMAND",
			!c			 ? ""
			: c->kind == CTL_STATUS	 ? " [--json | --live]"
			: c->kind == CTL_SIGNAL	 ? " NAME|NUMBER"
			: c->mode && !c->mode[0] ? " tproxy|mixed"
						 : "");
		return EXIT_USAGE;
	}
	snprintf(request, sizeof(request), "{\"version\":%d,\"cmd\":\"%s\"%s%s%s}\n", CTL_VERSION, c->cmd,
		 !mode			 ? ""
		 : c->kind == CTL_SIGNAL ? ",\"signal\":\""
					 : ",\"mode\":\"",
		 mode ? mode : "", mode ? "\"" : "");
	answer = ask(s, request, &e);
	if (!answer) {
		fprintf(stderr, "clashsup: %s\n", e.msg);
		return EXIT_UNREACHABLE;
	}
	if (how != STATUS_LIVE && !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "ok"))) {
		fprintf(stderr, "clashsup: %s\n", json_get_text(answer, "error"));
		r = EXIT_REFUSED;
	} else if (c->kind == CTL_STATUS) {
		r = show_status(answer, how);
	} else if (c->kind == CTL_IPS) {
		r = show_ips(answer);
	} else if (c->kind == CTL_RELOAD || c->kind == CTL_REEXEC) {
		puts(json_get_text(answer, "did"));
	}
	cJSON_Delete(answer);
	return r;
}
