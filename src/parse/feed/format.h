/*
 * format: the names of formats that Mihomo cannot read, for the reason that is
 * reported. It is asked after reading has failed, so that it never decides. Pure.
 */
#ifndef FEED_FORMAT_H
#define FEED_FORMAT_H

#include <stddef.h>

/* A sentence that names the format (a static text); NULL when it is not known. */
const char *format_name(const char *bytes, size_t len);

#endif
