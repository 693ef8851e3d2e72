#include "clashsup/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	int fd;
	enum log_level least;
	size_t used; /* bytes waiting in ring, from its start */
	unsigned long lost;
	char ring[LOG_BACKLOG];
} sink = { .fd = STDOUT_FILENO, .least = LOG_LEVEL_INFO };

/*
 * A terminal says POLLOUT although a line does not fit (stopped by ^S, or nobody
 * reads a pty): it is opened anew, non-blocking, so that others who share our
 * descriptor keep theirs as it is.
 */
static int own_terminal(int fd)
{
	char path[32];

	if (!isatty(fd))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_open(int fd, enum log_level least)
{
	int own = own_terminal(fd);

	sink.fd = own < 0 ? fd : own;
	sink.least = least;
}

void log_set_level(enum log_level least)
{
	sink.least = least;
}

int log_fd(void)
{
	return sink.fd;
}

static bool fd_takes_a_line(void)
{
	struct pollfd p = { .fd = sink.fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLOUT | POLLERR | POLLHUP | POLLNVAL));
}

/* Writes at most one PIPE_BUF; false when the descriptor is full. A dead reader swallows. */
static bool put(const char *text, size_t len, size_t *written)
{
	ssize_t n;

	if (!fd_takes_a_line())
		return false;
	n = write(sink.fd, text, len < LOG_LINE_MAX ? len : LOG_LINE_MAX);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	*written = n < 0 ? len : (size_t)n;
	return true;
}

static void enqueue(const char *text, size_t len)
{
	if (len > sizeof(sink.ring) - sink.used) {
		sink.lost++;
		return;
	}
	memcpy(sink.ring + sink.used, text, len);
	sink.used += len;
}

static void emit(const char *text, size_t len)
{
	size_t written = 0;

	if (sink.used || sink.lost)
		log_flush();
	if (!sink.used && !sink.lost && put(text, len, &written) && written == len)
		return;
	enqueue(text + written, len - written);
}

void log_flush(void)
{
	size_t written;

	while (sink.used && put(sink.ring, sink.used, &written)) {
		sink.used -= written;
		memmove(sink.ring, sink.ring + written, sink.used);
	}
	if (!sink.used && sink.lost) {
		char note[80];
		int n = snprintf(note, sizeof(note), "[" LOG_CLASH "] %lu log lines lost: output was blocked\n",
				 sink.lost);

		if (put(note, (size_t)n, &written))
			sink.lost = 0;
	}
}

bool log_pending(void)
{
	return sink.used || sink.lost;
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	int used, more;
	va_list ap;
	size_t len;

	if (level < sink.least)
		return;
	used = snprintf(line, sizeof(line), "[%s] ", area);
	va_start(ap, fmt);
	more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, fmt, ap);
	va_end(ap);
	len = (size_t)used + (more < 0 ? 0 : (size_t)more);
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c < 0x20 || c == 0x7f)
			line[i] = '?';
	}
	line[len] = '\n';
	emit(line, len + 1);
}

void log_pass(const char *text, size_t len)
{
	char line[LOG_PASS_MAX + 1];

	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	memcpy(line, text, len);
	line[len] = '\n';
	emit(line, len + 1);
}
