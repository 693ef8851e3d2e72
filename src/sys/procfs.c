#include "clashsup/procfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"

#define PF_EXITING 0x00000004u

uint64_t procfs_stat(pid_t pid, enum procfs_field field)
{
	char path[64], text[1024];
	cleanup_fd int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : io_read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')'); /* the name, field 2, may hold anything else */
	for (int i = 2; at && i < (int)field; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

bool procfs_exiting(pid_t pid)
{
	uint64_t flags = procfs_stat(pid, PROCFS_FLAGS);

	return flags == 0 || (flags & PF_EXITING);
}
