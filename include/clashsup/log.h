/*
 * log: the one sink for lines, on one descriptor (standard output).
 *
 * Never blocks: a line is written only when poll(2) says the descriptor takes
 * it, else it waits in a ring of LOG_BACKLOG bytes; what does not fit there is
 * counted and told once as "N lines lost". The owner of the event loop calls
 * log_flush when the descriptor is writable and log_pending says true.
 *
 * This is the program's mutable file-scope state, and so is its one loop. Not for
 * signal handlers; after fork a child must not use it.
 */
#ifndef CLASHSUP_LOG_H
#define CLASHSUP_LOG_H

#include <stdbool.h>
#include <stddef.h>

#define LOG_BACKLOG (64 * 1024)
#define LOG_PASS_MAX (16 * 1024)
#define LOG_LINE_MAX 4096 /* = PIPE_BUF: such a write to a ready pipe never blocks */

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Areas are the prefixes which the logs have always had; scripts match them. */
#define LOG_CLASH "clash"
#define LOG_MONITOR "clash-monitor"
#define LOG_PROXY_IPS "clash-proxy-ips"

void log_open(int fd, enum log_level least);
void log_set_level(enum log_level least);

/*
 * How a line looks: writes it with its newline to `out`, which has LOG_ROOM bytes; its
 * length, or 0 when it cannot, and then the line goes out as plain text. `area` is
 * NULL for a line of another program. Called for each line, never from within itself.
 */
#define LOG_ROOM (2 * LOG_PASS_MAX + 256)
typedef size_t (*log_format_fn)(char *out, enum log_level level, const char *area, const char *text, size_t len);
void log_set_format(log_format_fn format); /* NULL = plain text, as at first */
int log_fd(void);

/* "[area] sentence\n". Control characters in the text are written as '?'. */
void log_line(enum log_level level, const char *area, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_debug(area, ...) log_line(LOG_LEVEL_DEBUG, area, __VA_ARGS__)
#define log_info(area, ...) log_line(LOG_LEVEL_INFO, area, __VA_ARGS__)
#define log_warn(area, ...) log_line(LOG_LEVEL_WARN, area, __VA_ARGS__)
#define log_error(area, ...) log_line(LOG_LEVEL_ERROR, area, __VA_ARGS__)

/*
 * Passes one line of another program on, as it is, without its newline; at most
 * LOG_PASS_MAX bytes of it. Its level is only told, whatever the least one is.
 */
void log_pass(enum log_level level, const char *text, size_t len);

bool log_pending(void);
void log_flush(void);

#endif
