#include "clashsup/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"

static const char *const ours[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID" };

static bool read_address(struct notify *n, const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (len < 2 || len >= sizeof(n->to.sun_path) || (name[0] != '/' && name[0] != '@'))
		return false;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, name, len + 1);
	if (name[0] == '@') /* abstract: no NUL at its end, one at its beginning (unix(7)) */
		n->to.sun_path[0] = '\0';
	n->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
	return true;
}

static int64_t read_watchdog(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t us, whose;

	if (!usec || scan_u64(usec, INT64_MAX, &us) < 0)
		return 0;
	if (pid && (scan_u64(pid, INT32_MAX, &whose) < 0 || (pid_t)whose != getpid()))
		return 0;
	return (int64_t)us;
}

void notify_open(struct notify *n)
{
	*n = (struct notify){ .fd = -1 };
	if (read_address(n, getenv("NOTIFY_SOCKET"))) {
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		n->watchdog_us = n->fd < 0 ? 0 : read_watchdog();
	}
	notify_take_out();
}

void notify_take_out(void)
{
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		unsetenv(ours[i]);
}

void notify_close(struct notify *n)
{
	io_close(&n->fd);
}

void notify_restore(const struct notify *n)
{
	char text[24], name[sizeof(n->to.sun_path) + 1] = "";

	if (n->fd < 0)
		return;
	memcpy(name, n->to.sun_path, sizeof(n->to.sun_path));
	if (!name[0])
		name[0] = '@';
	setenv("NOTIFY_SOCKET", name, 1);
	if (!n->watchdog_us)
		return;
	snprintf(text, sizeof(text), "%" PRId64, n->watchdog_us);
	setenv("WATCHDOG_USEC", text, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("WATCHDOG_PID", text, 1);
}

void notify_tell(const struct notify *n, const char *fmt, ...)
{
	char text[NOTIFY_MAX];
	va_list ap;
	int len;

	if (n->fd < 0)
		return;
	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (len > 0)
		(void)sendto(n->fd, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1, MSG_NOSIGNAL,
			     (const struct sockaddr *)&n->to, n->len);
}
