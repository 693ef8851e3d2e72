/* clashsup-helper ROLE ...: parses and resolves for clashsup, which does neither itself. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "helper/helper.h"

int usage_error(const char *usage)
{
	fprintf(stderr, "usage: clashsup-helper %s\n", usage);
	return 2;
}

void check_memory(const void *p)
{
	if (p)
		return;
	fprintf(stderr, "clashsup-helper: out of memory\n");
	exit(1);
}

static struct {
	uint8_t bytes[16384];
	size_t used;
	bool on;
} buffer;

static struct {
	void (*record)(void *ctx, const struct wire_record *r); /* NULL = to standard output */
	void *ctx;
} hearer;

void emit_to(void (*record)(void *ctx, const struct wire_record *r), void *ctx)
{
	hearer.record = record;
	hearer.ctx = ctx;
}

void emit_buffered(void)
{
	buffer.on = true;
}

void emit_flush(void)
{
	if (io_write_all(STDOUT_FILENO, buffer.bytes, buffer.used) < 0)
		_exit(1);
	buffer.used = 0;
}

void emit(const struct wire_record *r)
{
	int n;

	if (hearer.record) {
		hearer.record(hearer.ctx, r);
		return;
	}
	if (sizeof(buffer.bytes) - buffer.used < WIRE_HEADER + WIRE_PAYLOAD_MAX)
		emit_flush();
	n = wire_encode(r, buffer.bytes + buffer.used);
	if (n > 0)
		buffer.used += (size_t)n;
	if (!buffer.on)
		emit_flush();
}

void emit_note(unsigned *count, bool warn, const char *fmt, ...)
{
	char text[WIRE_TEXT_MAX + 1];
	va_list ap;

	if (++*count > HELPER_NOTES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(&(struct wire_record){ .type = WIRE_NOTE, .u.note = { .warn = warn, .text = text } });
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} roles[] = {
		{ "inspect", role_inspect }, { "probe", role_probe }, { "extract", role_extract }, { "list", role_list }
	};

	for (size_t i = 0; argc > 1 && i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(argv[1], roles[i].name) == 0)
			return roles[i].run(argc - 1, argv + 1);
	return usage_error("inspect|probe|extract|list ...");
}
