/*
 * A compromised clashsup-helper: stands beside a copy of clashsup under the
 * helper's name. The roles inspect and probe are done by the real one, which
 * lies beside it as real-helper; the role extract does what the file `mode`
 * there says:
 *
 *	good      what the real one does
 *	fail      exits with 1 at once
 *	crash     dies of SIGABRT
 *	garbage   bytes that are no records
 *	flood     good records without end
 *	hang      nothing, for ever
 *	loopback  claims that 127.0.0.1, ::1 and 0.0.0.0 are proxy servers
 *	late      one good address after two seconds
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/wire.h"

static void send_record(const struct wire_record *r)
{
	if (wire_send(STDOUT_FILENO, r) < 0)
		_exit(3);
}

static void send_address(const char *text)
{
	struct wire_record r = { .type = WIRE_ADDRESS, .u.address.source = 1 };

	if (addr_parse(text, &r.u.address.addr) < 0)
		_exit(4);
	send_record(&r);
}

static void send_end(void)
{
	send_record(&(struct wire_record){ .type = WIRE_SOURCE, .u.source = { .source = 1, .complete = true } });
	send_record(&(struct wire_record){ .type = WIRE_SUMMARY, .u.summary = { .endpoints = 1, .sources = 1 } });
}

static void garbage(void)
{
	char bytes[4096];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7 + 0x55);
	for (;;)
		if (write(STDOUT_FILENO, bytes, sizeof(bytes)) < 0)
			_exit(3);
}

static void flood(void)
{
	struct wire_record r = { .type = WIRE_ADDRESS, .u.address.source = 1 };

	if (addr_parse("45.46.0.0", &r.u.address.addr) < 0)
		_exit(4);
	for (;;) {
		send_record(&r);
		if (++r.u.address.addr.bytes[3] == 0)
			r.u.address.addr.bytes[2]++;
	}
}

static void misbehave(const char *mode)
{
	if (!strcmp(mode, "crash"))
		abort();
	if (!strcmp(mode, "garbage"))
		garbage();
	if (!strcmp(mode, "flood"))
		flood();
	if (!strcmp(mode, "hang"))
		for (;;)
			pause();
	if (!strcmp(mode, "loopback")) {
		send_address("127.0.0.1");
		send_address("::1");
		send_address("0.0.0.0");
		send_end();
		_exit(0);
	}
	if (!strcmp(mode, "late")) {
		sleep(2);
		send_address("45.45.45.99");
		send_end();
		_exit(0);
	}
	_exit(1);
}

int main(int argc, char **argv)
{
	char path[PATH_MAX + 32], mode[32] = "";
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	char *name;
	int fd;

	if (len < 0)
		_exit(5);
	path[len] = '\0';
	name = strrchr(path, '/') + 1;
	strcpy(name, "mode");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, mode, sizeof(mode) - 1) < 0)
		_exit(6);
	if (argc > 1 && !strcmp(argv[1], "extract") && strcmp(mode, "good") != 0)
		misbehave(mode);
	strcpy(name, "real-helper");
	execv(path, argv);
	_exit(7);
}
