/*
 * Runs a fuzz target over files and directories without libFuzzer, each file as
 * it is and cut short at many places. Fails when there was nothing to run.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clashsup/io.h"

#define FILE_MAX ((size_t)1024 * 1024)
#define CUTS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An exact copy on the heap, so that a sanitizer sees one byte too far. */
static void run(const char *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		exit(2);
	memcpy(copy, bytes, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static unsigned replay_file(const char *path)
{
	cleanup_free char *bytes = NULL;
	struct err e = ERR_INIT;
	size_t len;

	if (io_slurp_path(path, FILE_MAX, &bytes, &len, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		exit(2);
	}
	run(bytes, len);
	for (size_t i = 0; i < CUTS; i++)
		run(bytes, len * i / CUTS);
	return 1;
}

static unsigned replay(const char *path)
{
	struct dirent **names;
	unsigned count = 0;
	struct stat st;
	int n;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return replay_file(path);
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			count += replay_file(file);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%u files\n", count);
	return count == 0;
}
