#include "daemon/client_stream.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/ctl.h"
#include "clashsup/io.h"
#include "clashsup/scan.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_UNREACHABLE = 3 };

bool stream_options_read(struct stream_options *o, bool json, int argc, char **argv)
{
	uint64_t n;

	*o = (struct stream_options){ .count = UINT32_MAX };
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "-f") == 0) {
			o->follow = true;
		} else if (json && strcmp(argv[i], "--json") == 0) {
			o->json = true;
		} else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
			if (scan_u64(argv[++i], UINT32_MAX, &n) < 0)
				return false;
			o->count = (uint32_t)n;
		} else {
			return false;
		}
	}
	return true;
}

/* ---- one line ---- */

static const char *text_of(const cJSON *o, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
}

static void show_text(FILE *out, const cJSON *o, const char *name, const char *before)
{
	const char *text = text_of(o, name);

	if (text && *text)
		fprintf(out, "%s%s", before, text);
}

static void show_number(FILE *out, const cJSON *o, const char *name, const char *fmt)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);

	if (!cJSON_IsNumber(n))
		return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	fprintf(out, fmt, n->valuedouble);
#pragma GCC diagnostic pop
}

/* "mihomo starting -> ready (0.123 s)" */
static void show_move(FILE *out, const cJSON *event, const char *what, const char *whose)
{
	const cJSON *move = cJSON_GetObjectItemCaseSensitive(event, what);
	const cJSON *lasted = cJSON_GetObjectItemCaseSensitive(move, "lasted_ms");

	if (!cJSON_IsObject(move))
		return;
	fprintf(out, "  %s %s -> %s", whose, text_of(move, "from") ? text_of(move, "from") : "?",
		text_of(move, "to") ? text_of(move, "to") : "?");
	if (cJSON_IsNumber(lasted))
		fprintf(out, " (%.3f s)", lasted->valuedouble / 1000.0);
}

void stream_show_event(const cJSON *event, FILE *out)
{
	fprintf(out, "%-24s  %-9s", text_of(event, "at") ? text_of(event, "at") : "",
		text_of(event, "event") ? text_of(event, "event") : "?");
	show_move(out, event, "child", "mihomo");
	show_move(out, event, "net", "network");
	show_text(out, event, "cause", "  by ");
	show_number(out, event, "pid", "  pid %.0f");
	show_number(out, event, "code", "  exit status %.0f");
	show_number(out, event, "signal", "  signal %.0f");
	show_number(out, event, "lived_ms", "  after %.0f ms");
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "by_us")))
		fputs("  as asked", out);
	show_number(out, event, "took_ms", "  in %.1f ms");
	show_text(out, event, "reason", "  ");
	fputc('\n', out);
}

static void show_line(const char *line, const struct stream_options *o, const char *command)
{
	cJSON *item = cJSON_Parse(line);
	const cJSON *lost = cJSON_GetObjectItemCaseSensitive(item, "lost");
	const char *text = text_of(item, "line");

	if (cJSON_IsNumber(lost))
		fprintf(stderr, "clashsup: %.0f %s lost: read too slowly\n", lost->valuedouble,
			strcmp(command, "logs") == 0 ? "lines" : "events");
	else if (text)
		puts(text);
	else if (o->json)
		puts(line);
	else if (item)
		stream_show_event(item, stdout);
	cJSON_Delete(item);
}

/* The answer itself: 0, or what to exit with. */
static int show_answer(const char *line)
{
	cJSON *answer = cJSON_Parse(line);
	const char *error = text_of(answer, "error");
	bool ok = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "ok"));

	if (!ok)
		fprintf(stderr, "clashsup: %s\n", error ? error : "the supervisor's answer is not JSON");
	cJSON_Delete(answer);
	return ok ? EXIT_OK : EXIT_REFUSED;
}

int stream_show(int fd, const char *command, const struct stream_options *o)
{
	cleanup_free char *line = NULL;
	size_t cap = 0;
	FILE *in = fdopen(fd, "r");
	int r = in ? EXIT_OK : EXIT_UNREACHABLE;
	bool any = false;
	ssize_t n;

	(void)signal(SIGPIPE, SIG_DFL); /* whose reader has gone: quietly */
	while (r == EXIT_OK && (n = getline(&line, &cap, in)) > 0) {
		line[n - 1] = '\0';
		if (any)
			show_line(line, o, command);
		else
			r = show_answer(line);
		any = true;
		if (o->follow && fflush(stdout) == EOF)
			break;
	}
	if (r == EXIT_OK && (o->follow || !any)) {
		fprintf(stderr, "clashsup: the supervisor closed the connection\n");
		r = EXIT_UNREACHABLE;
	}
	if (in)
		fclose(in);
	return r;
}
