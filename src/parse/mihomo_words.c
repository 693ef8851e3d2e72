#include "clashsup/mihomo_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 512
#define NEEDS "%.100s: its rules need %.100s/%s: put that file there; "

/* What Mihomo calls a file of geodata, and under which name it looks for it in its home. */
static const struct {
	const char *word, *file;
} geodata[] = { { "MMDB", "geoip.metadb" },
		{ "GeoSite.dat", "GeoSite.dat" },
		{ "GeoIP.dat", "GeoIP.dat" },
		{ "ASN.mmdb", "ASN.mmdb" } };

/* The text of msg="…" at `at`, as Go quotes it, on one line. */
static void unquote(const char *at, char *out, size_t cap)
{
	size_t n = 0;

	for (; *at && *at != '\n' && *at != '"' && n + 1 < cap; at++) {
		char c = *at;

		if (c == '\\' && at[1]) {
			c = *++at;
			if (strchr("nrt", c))
				c = ' ';
		}
		if (c != ' ' || n == 0 || out[n - 1] != ' ')
			out[n++] = c;
	}
	out[n] = '\0';
}

/* The last log line that tells of an error; without one the first line of all. False when there is none. */
static bool find_message(const char *output, char *out, size_t cap)
{
	const char *at = output, *best = NULL;

	while ((at = strstr(at, "level=")) != NULL) {
		bool bad = strncmp(at, "level=err", 9) == 0 || strncmp(at, "level=fatal", 11) == 0;
		const char *msg = strstr(at, "msg=\""), *end = at + strcspn(at, "\n");

		if (bad && msg && msg < end)
			best = msg + 5;
		at += 6;
	}
	if (best)
		unquote(best, out, cap);
	else
		snprintf(out, cap, "%.*s", (int)strcspn(output, "\n"), output);
	return out[0] != '\0';
}

/* "yaml: line 3: did not …", "yaml: unmarshal errors: line 2: cannot …": the line, and what stands behind it. */
static unsigned long line_of(const char *message, const char **rest)
{
	const char *at = strncmp(message, "yaml: ", 6) == 0 ? strstr(message, "line ") : NULL;
	unsigned long line;
	char *end;

	if (!at)
		return 0;
	line = strtoul(at + 5, &end, 10);
	if (end == at + 5 || strncmp(end, ": ", 2) != 0)
		return 0;
	*rest = end + 2;
	return line;
}

static const char *geodata_file(const char *word)
{
	for (size_t i = 0; i < sizeof(geodata) / sizeof(geodata[0]); i++) {
		if (strncmp(word, geodata[i].word, strlen(geodata[i].word)) == 0)
			return geodata[i].file;
	}
	return NULL;
}

/* can't download MMDB: Get "https://HOST/PATH": REASON. Of the address the host alone: a path may hold a secret. */
static bool tell_download(const char *message, const char *file, const char *home, char *out, size_t cap)
{
	static const char cannot[] = "can't download ", get[] = "Get \"";
	const char *at = strstr(message, cannot), *host, *reason;
	const char *data = at ? geodata_file(at + sizeof(cannot) - 1) : NULL;

	if (!data)
		return false;
	at = strstr(at, get);
	host = at ? strstr(at, "://") : NULL;
	reason = host ? strstr(host, "\": ") : NULL;
	snprintf(out, cap, NEEDS "it cannot be downloaded", file, home, data);
	if (reason)
		snprintf(out + strlen(out), cap - strlen(out), " from %.*s (%.60s)", (int)strcspn(host + 3, "/\""),
			 host + 3, reason + 3);
	return true;
}

void mihomo_complaint(const char *output, const char *file, const char *home, char *out, size_t cap)
{
	char message[MESSAGE_MAX];
	const char *rest = message;
	unsigned long line;

	if (!find_message(output, message, sizeof(message))) {
		out[0] = '\0';
		return;
	}
	line = line_of(message, &rest);
	if (line)
		snprintf(out, cap, "%.100s:%lu: %.160s", file, line, rest);
	else if (tell_download(message, file, home, out, cap))
		return;
	else
		snprintf(out, cap, "%.100s: %.160s", file, message);
}

bool mihomo_downloads(const char *output, const char *file, const char *home, char *out, size_t cap)
{
	static const char begins[] = "Can't find ";
	const char *at = output, *data = NULL;

	while ((at = strstr(at, begins)) != NULL) {
		at += sizeof(begins) - 1;
		data = geodata_file(at);
	}
	if (data)
		snprintf(out, cap, NEEDS "its download does not come to an end", file, home, data);
	return data != NULL;
}
