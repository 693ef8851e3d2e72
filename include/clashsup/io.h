/*
 * io: descriptors and bounded reads. EINTR is handled here and nowhere else.
 * All functions are safe after fork.
 */
#ifndef CLASHSUP_IO_H
#define CLASHSUP_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "clashsup/err.h"

static inline void io_close_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void io_free_(void *p)
{
	free(*(void **)p);
}

#define cleanup_fd __attribute__((cleanup(io_close_)))
#define cleanup_free __attribute__((cleanup(io_free_)))

/* Takes the descriptor out of a variable: the new owner is the caller. */
static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Closes and forgets; errno is kept. */
void io_close(int *fd);

/* As read(2)/write(2), repeated on EINTR; -errno on failure. */
ssize_t io_read(int fd, void *buf, size_t len);
ssize_t io_write(int fd, const void *buf, size_t len);

/* Writes everything or fails; for blocking descriptors and files. */
int io_write_all(int fd, const void *buf, size_t len);

/*
 * Reads a regular file from its present offset, at most `max` bytes: -EFBIG
 * beyond, -EINVAL for anything but a regular file. *out is NUL-terminated
 * (not counted) and the caller's to free.
 */
int io_slurp(int fd, size_t max, char **out, size_t *len_out);

/* open + slurp by path (O_NONBLOCK, so that a FIFO cannot hang us). */
int io_slurp_path(const char *path, size_t max, char **out, size_t *len_out, struct err *e);

/*
 * The file becomes these bytes in one step, or stays as it was (mode 0600, by
 * way of PATH.new). `durable`: also when the power fails, which may take long.
 */
int io_replace(const char *path, const void *bytes, size_t len, bool durable, struct err *e);

/* O_NONBLOCK on; 0 or -errno. */
int io_nonblock(int fd);

/* mkdir -p with `mode` for what it makes; an existing directory is left as it is. */
int io_mkdirs(const char *path, mode_t mode, struct err *e);

/* Formats a path into buf; -ENAMETOOLONG (and e) when it does not fit. */
int io_path(char *buf, size_t cap, struct err *e, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
