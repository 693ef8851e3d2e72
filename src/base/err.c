#include "clashsup/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e) {
		e->code = code;
		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
	}
	return -code;
}

int err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	const char *why = strerrordesc_np(errnum);
	va_list ap;
	size_t used;

	if (e) {
		e->code = errnum;
		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
		used = strlen(e->msg);
		snprintf(e->msg + used, sizeof(e->msg) - used, ": %s", why ? why : "unknown error");
	}
	return -errnum;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char rest[ERR_MSG_MAX];
	va_list ap;
	size_t used;

	if (!e)
		return -1;
	memcpy(rest, e->msg, sizeof(rest));
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	used = strlen(e->msg);
	snprintf(e->msg + used, sizeof(e->msg) - used, ": %.*s", (int)sizeof(rest) - 1, rest);
	return -e->code;
}
