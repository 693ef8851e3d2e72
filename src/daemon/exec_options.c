#include "daemon/exec_options.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "clashsup/scan.h"

const char exec_usage[] = "usage: clashsup exec [OPTION]... [--] COMMAND [ARGUMENT]...\n"
			  "\n"
			  "Runs one command as an init does: reaps what is orphaned, passes signals on,\n"
			  "and ends with the command's exit status (128 + N when signal N killed it, 127\n"
			  "when it was not found, 126 when it could not be executed).\n"
			  "\n"
			  "  -r, --rewrite FROM:TO       pass another signal on; TO 0 drops it. May be repeated\n"
			  "  -c, --single-child          signals go to the command alone, not to its group\n"
			  "  -e, --remap-exit N          exit status N becomes 0. May be repeated\n"
			  "  -s, --subreaper             adopt orphans although not PID 1\n"
			  "  -p, --parent-death SIGNAL   get (and pass on) this signal when the parent dies\n"
			  "  -t, --stop-timeout TIME     KILL what has not ended so long after TERM, INT or QUIT\n"
			  "  -w, --wait-all              wait for all descendants, not only for the command\n"
			  "  -v, --verbose               say on standard error what is done\n"
			  "  -h, --help; -V, --version\n";

/* "15:2", "TERM:INT", "HUP:0" */
static int read_rewrite(struct exec_options *o, const char *text, struct err *e)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	char from[16] = "";
	int before, after;

	if (len == 0 || len >= sizeof(from))
		return err_set(e, EINVAL, "-r takes FROM:TO, signals from 1 to 64 or their names, TO 0 for none: %s",
			       text);
	memcpy(from, text, len);
	before = scan_signal(from);
	after = strcmp(colon + 1, "0") == 0 ? 0 : scan_signal(colon + 1);
	if (before < 0 || after < 0)
		return err_set(e, EINVAL, "-r: no such signal (1 to 64 or a name, TO 0 for none): %s", text);
	o->rewrite[before] = (uint8_t)after;
	o->rewritten[before] = true;
	return 0;
}

static int read_time(struct exec_options *o, const char *text, struct err *e)
{
	uint64_t seconds;

	if (scan_u64(text, UINT32_MAX, &seconds) == 0)
		o->stop_ms = (int64_t)seconds * 1000;
	else if (scan_duration(text, &o->stop_ms) < 0)
		return err_set(e, EINVAL, "-t takes seconds, or a duration such as 500ms, 10s or 2m: %s", text);
	return 0;
}

static int read_option(struct exec_options *o, int letter, const char *text, struct err *e)
{
	uint64_t code;

	switch (letter) {
	case 'r':
		return read_rewrite(o, text, e);
	case 'e':
		if (scan_u64(text, 255, &code) < 0)
			return err_set(e, EINVAL, "-e takes an exit status from 0 to 255: %s", text);
		o->forgive[code] = true;
		return 0;
	case 'p':
		o->parent_death = scan_signal(text);
		return o->parent_death > 0 ? 0 : err_set(e, EINVAL, "-p takes a signal, 1 to 64 or a name: %s", text);
	case 't':
		return read_time(o, text, e);
	case 'c':
		o->single = true;
		return 0;
	case 's':
		o->subreaper = true;
		return 0;
	case 'w':
		o->wait_all = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case 'V':
		o->version = true;
		return 0;
	}
	return -EINVAL;
}

int exec_options_read(struct exec_options *o, int argc, char **argv, struct err *e)
{
	static const struct option longer[] = { { "rewrite", required_argument, NULL, 'r' },
						{ "single-child", no_argument, NULL, 'c' },
						{ "remap-exit", required_argument, NULL, 'e' },
						{ "subreaper", no_argument, NULL, 's' },
						{ "parent-death", required_argument, NULL, 'p' },
						{ "stop-timeout", required_argument, NULL, 't' },
						{ "wait-all", no_argument, NULL, 'w' },
						{ "verbose", no_argument, NULL, 'v' },
						{ "help", no_argument, NULL, 'h' },
						{ "version", no_argument, NULL, 'V' },
						{ NULL, 0, NULL, 0 } };
	int letter;

	memset(o, 0, sizeof(*o));
	for (uint8_t sig = 0; sig < EXEC_SIGNALS; sig++)
		o->rewrite[sig] = sig;
	opterr = 0;
	optind = 0; /* glibc: begin anew */
	while ((letter = getopt_long(argc, argv, "+:r:e:p:t:cswvhV", longer, NULL)) != -1) {
		const char *word = argv[optind - 1];

		if (letter == ':')
			return err_set(e, EINVAL, "%s needs a value", word);
		if (letter == '?')
			return err_set(e, EINVAL, "unknown option: %s", word);
		if (read_option(o, letter, optarg, e) < 0)
			return -EINVAL;
		if (o->help || o->version)
			return 0;
	}
	if (!argv[optind])
		return err_set(e, EINVAL, "no command was given");
	o->command = argv + optind;
	return 0;
}
