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
	log_format_fn format;
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

void log_set_format(log_format_fn format)
{
	sink.format = format;
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

/* One line in the format that is wanted. */
static size_t format_line(char *out, enum log_level level, const char *area, const char *text, size_t len)
{
	size_t used = sink.format ? sink.format(out, level, area, text, len) : 0;

	if (used)
		return used;
	used = area ? (size_t)snprintf(out, LOG_LINE_MAX, "[%s] ", area) : 0;
	if (area && len > LOG_LINE_MAX - 2 - used)
		len = LOG_LINE_MAX - 2 - used;
	memcpy(out + used, text, len);
	out[used + len] = '\n';
	return used + len + 1;
}

void log_flush(void)
{
	size_t written;

	while (sink.used && put(sink.ring, sink.used, &written)) {
		sink.used -= written;
		memmove(sink.ring, sink.ring + written, sink.used);
	}
	if (!sink.used && sink.lost) {
		char note[80], line[LOG_ROOM];
		int n = snprintf(note, sizeof(note), "%lu log lines lost: output was blocked", sink.lost);

		if (put(line, format_line(line, LOG_LEVEL_WARN, LOG_CLASH, note, (size_t)n), &written))
			sink.lost = 0;
	}
}

bool log_pending(void)
{
	return sink.used || sink.lost;
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char text[LOG_LINE_MAX], line[LOG_ROOM];
	va_list ap;
	size_t len;
	int n;

	if (level < sink.least)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f)
			text[i] = '?';
	}
	emit(line, format_line(line, level, area, text, len));
}

void log_pass(enum log_level level, const char *text, size_t len)
{
	char line[LOG_ROOM];

	emit(line, format_line(line, level, NULL, text, len < LOG_PASS_MAX ? len : LOG_PASS_MAX));
}
