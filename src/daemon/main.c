#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/helper.h"
#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/proc.h"
#include "clashsup/scan.h"
#include "clashsup/settings.h"
#include "daemon/client.h"
#include "daemon/doctor.h"
#include "daemon/exec.h"
#include "daemon/logfile.h"
#include "daemon/memory.h"
#include "daemon/remember.h"
#include "daemon/rules.h"
#include "daemon/supervisor.h"

#define EXIT_USAGE 2

static const char usage[] =
	"usage: clashsup [-c FILE] COMMAND\n"
	"\n"
	"  run [--ready-fd N]       supervise Mihomo and the network rules (in the foreground)\n"
	"  status [--json|--live]   what it is doing; exit 0 = armed, 1 = not so, 3 = not running\n"
	"  start | stop | restart   Mihomo; after stop the network is direct\n"
	"  shutdown                 end clashsup itself\n"
	"  on | off | mode MODE     tproxy or mixed, until the next start\n"
	"  signal NAME              send Mihomo a signal, such as HUP\n"
	"  refresh                  look for server addresses now\n"
	"  reexec                   replace clashsup by the program that is now at its path; Mihomo and the rules go "
	"on\n"
	"  reload                   read the configuration again, and put in force what differs\n"
	"  ips                      the server addresses in the set\n"
	"  logs [-f] [-n COUNT]     the latest lines of Mihomo; -f goes on with what comes\n"
	"  events [-f] [-n COUNT] [--json]\n"
	"                           the latest turns of its life: what, why, how long\n"
	"  check [--print]          check the configuration; print the effective values\n"
	"  rules [--backend iptables|nft]\n"
	"                           print the rules that would be applied\n"
	"  extract [--json] [--no-resolve] FILE...\n"
	"                           the endpoints in Mihomo configs and provider files (- = stdin)\n"
	"  doctor [--json]          what keeps it from working well here; exit 0 = nothing, 1 = warnings, 2 = it "
	"cannot arm\n"
	"  exec [OPTION]... -- COMMAND\n"
	"                           run any command as an init does (clashsup exec -h)\n"
	"  cleanup                  remove what a killed clashsup left in the kernel\n"
	"\n"
	"  -c FILE   configuration (default " SETTINGS_PATH ")\n"
	"  -h, -V    this help, the version\n";

struct command_line {
	const char *file; /* of -c, or NULL */
	const char *command;
	char **rest;
	int n_rest;
};

static void print_problem(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "%s\n", text);
}

static int load(struct settings *s, const struct command_line *c, bool lax)
{
	const char *file = c->file ? c->file : SETTINGS_PATH;

	if (lax && settings_load_lax(s, file, c->file != NULL) == 0)
		return 0;
	return settings_load(s, file, c->file != NULL, print_problem, NULL);
}

/* -c is taken before and after the command; the command's own arguments are left to it. */
static int read_command_line(struct command_line *c, int argc, char **argv)
{
	memset(c, 0, sizeof(*c));
	c->rest = argv;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0) {
			if (i + 1 == argc)
				return -1;
			c->file = argv[++i];
		} else if (!c->command) {
			c->command = argv[i];
		} else {
			c->rest[c->n_rest++] = argv[i];
		}
	}
	c->rest[c->n_rest] = NULL;
	return c->command ? 0 : -1;
}

/* --ready-fd N, or --ready-fd=N. */
static bool read_run_options(const struct command_line *c, int *ready_fd)
{
	static const char name[] = "--ready-fd";
	uint64_t fd;

	*ready_fd = -1;
	if (c->n_rest == 0)
		return true;
	if (strncmp(c->rest[0], name, strlen(name)) != 0)
		return false;
	if (c->rest[0][strlen(name)] == '=' && c->n_rest == 1)
		c->rest[1] = c->rest[0] + strlen(name) + 1;
	else if (c->rest[0][strlen(name)] != '\0' || c->n_rest != 2)
		return false;
	if (scan_u64(c->rest[1], INT_MAX, &fd) < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0) {
		fprintf(stderr, "clashsup: --ready-fd takes a descriptor that is open: %s\n", c->rest[1]);
		return false;
	}
	*ready_fd = (int)fd;
	return true;
}

/* The file is read again from another working directory. */
static bool find_source(const struct command_line *c, struct reload_source *out)
{
	const char *file = c->file ? c->file : SETTINGS_PATH;
	cleanup_free char *here = file[0] == '/' ? NULL : getcwd(NULL, 0);
	struct err e = ERR_INIT;

	out->must_exist = c->file || access(file, F_OK) == 0;
	if (io_path(out->file, sizeof(out->file), &e, "%s%s%s", here ? here : "", here ? "/" : "", file) == 0)
		return true;
	fprintf(stderr, "%s\n", e.msg);
	return false;
}

static int command_run(struct settings *s, const struct command_line *c)
{
	const char *dirs = getenv("PATH");
	struct reload_source source;
	int ready_fd;

	if (!read_run_options(c, &ready_fd))
		return EXIT_USAGE;
	if (!find_source(c, &source))
		return 1;
	log_open(STDOUT_FILENO, s->log.level);
	supervisor_log_format(s);
	if (chdir("/") < 0) { /* never pin a mount */
		log_error(LOG_CLASH, "cannot change to the directory /: %s", strerror(errno));
		return 1;
	}
	if (!dirs || dirs[0] == '\0') /* as the kernel starts PID 1; Mihomo, hooks and scripts need one, too */
		(void)setenv("PATH", PROC_DEFAULT_DIRS, 1);
	return supervisor_run(s, &source, ready_fd);
}

static int command_check(struct settings *s, const struct command_line *c)
{
	char home[PATH_MAX], config[PATH_MAX], helper[PATH_MAX];
	struct err e = ERR_INIT;
	int fd;

	if (c->n_rest == 1 && strcmp(c->rest[0], "--print") == 0) {
		settings_print(s, stdout);
		return 0;
	}
	if (c->n_rest)
		return EXIT_USAGE;
	fd = helper_open(helper, sizeof(helper), &e);
	if (fd < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	close(fd);
	if (!supervisor_find_config(s, home, config)) {
		fprintf(stderr, "%s is missing: Mihomo will be started as soon as it appears\n", config);
		return 1;
	}
	printf("clashsup's configuration is good; Mihomo's config is %s\n", config);
	return 0;
}

static int command_rules(struct settings *s, const struct command_line *c)
{
	return rules_print(s, c->n_rest, c->rest);
}

/* Parsing hostile bytes is the helper's, here too. */
static int command_extract(struct settings *s, const struct command_line *c)
{
	char path[PATH_MAX], **argv;
	struct err e = ERR_INIT;
	int fd = helper_open(path, sizeof(path), &e);
	(void)s;

	if (fd < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	if (c->n_rest == 0) {
		fprintf(stderr, "clashsup: extract takes files, or - for standard input\n");
		return EXIT_USAGE;
	}
	argv = calloc((size_t)c->n_rest + 3, sizeof(*argv));
	if (argv) {
		argv[0] = path;
		argv[1] = (char[]){ "list" };
		memcpy(argv + 2, c->rest, (size_t)c->n_rest * sizeof(*argv));
		execv(path, argv);
	}
	perror(path);
	free(argv);
	return 1;
}

static int command_doctor(struct settings *s, const struct command_line *c)
{
	bool json = c->n_rest == 1 && strcmp(c->rest[0], "--json") == 0;

	if (c->n_rest > (json ? 1 : 0)) {
		fprintf(stderr, "clashsup: usage: clashsup doctor [--json]\n");
		return DOCTOR_BLIND;
	}
	return doctor_run(s, json, stdout);
}

static int command_cleanup(struct settings *s, const struct command_line *c)
{
	(void)c;
	return supervisor_cleanup(s);
}

/* Not for people: the supervisor's own child, whatever the settings say. */
static int command_remember(const struct command_line *c)
{
	struct err e = ERR_INIT;

	if (c->n_rest != 1)
		return EXIT_USAGE;
	if (remember_write(c->rest[0], &e) == 0)
		return 0;
	fprintf(stderr, "%s\n", e.msg);
	return 1;
}

static int command_client(struct settings *s, const struct command_line *c)
{
	return client_run(s, c->command, c->n_rest, c->rest);
}

static const struct command {
	const char *name;
	int (*run)(struct settings *s, const struct command_line *c);
} commands[] = {
	{ "run", command_run },	      { "status", command_client },   { "start", command_client },
	{ "stop", command_client },   { "restart", command_client },  { "shutdown", command_client },
	{ "on", command_client },     { "off", command_client },      { "mode", command_client },
	{ "logs", command_client },   { "events", command_client },   { "refresh", command_client },
	{ "reload", command_client }, { "reexec", command_client },   { "ips", command_client },
	{ "check", command_check },   { "rules", command_rules },     { "extract", command_extract },
	{ "doctor", command_doctor }, { "cleanup", command_cleanup }, { "signal", command_client },
};

static int run_command(const struct command *command, const struct command_line *c)
{
	struct settings *s = calloc(1, sizeof(*s));
	int code = 1;

	if (!s)
		return 1;
	settings_default(s);
	if (load(s, c, command->run == command_client) == 0)
		code = command->run(s, c);
	if (code == EXIT_USAGE && command->run != command_doctor) /* whose 2 is an answer */
		fprintf(stderr, "clashsup: try clashsup -h\n");
	settings_free(s);
	free(s);
	return code;
}

/* By its own executing: then the settings are those that are in force, not the file's. */
static bool resume(int *code)
{
	int handed = reexec_handed();

	memory_keep_small();
	return handed >= 0 && supervisor_resume(handed, code);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* As a container's entrypoint: what is none of our commands, but a program. */
static bool is_anothers(const char *word)
{
	char path[PROC_PATH];

	if (getpid() != 1 || word[0] == '-' || find_command(word))
		return false;
	proc_find(word, path);
	return path[0] != '\0' && access(path, X_OK) == 0;
}

int main(int argc, char **argv)
{
	const struct command *command;
	struct command_line c;
	int code;

	proc_clean_start();
	if (argc > 1 && strcmp(argv[1], "exec") == 0) /* its words are its own, -c among them */
		return exec_main(argc - 1, argv + 1);
	if (argc > 1 && is_anothers(argv[1]))
		return exec_main(argc, argv);
	if (read_command_line(&c, argc, argv) < 0) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(c.command, "run") != 0)
		proc_open_signals(NULL); /* run does so when its handlers are in */
	else if (resume(&code))
		return code;
	if (strcmp(c.command, "-h") == 0 || strcmp(c.command, "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (strcmp(c.command, "-V") == 0 || strcmp(c.command, "--version") == 0) {
		puts("clashsup " CLASHSUP_VERSION);
		return 0;
	}
	if (strcmp(c.command, "logfile") == 0) /* likewise */
		return logfile_write(c.n_rest, c.rest);
	if (strcmp(c.command, "remember") == 0)
		return command_remember(&c);
	if (strcmp(c.command, "resume-check") == 0)
		return reexec_check_main();
	command = find_command(c.command);
	if (command)
		return run_command(command, &c);
	fprintf(stderr, "clashsup: unknown command \"%s\"\n\n%s", c.command, usage);
	return EXIT_USAGE;
}
