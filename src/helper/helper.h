/*
 * helper: what the roles of clashsup-helper share. Each role is one run of the
 * program: options, confine(), and only then the first foreign byte.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clashsup/wire.h"

#define HELPER_NOTES_MAX 64
#define HELPER_FILE_MAX ((uint64_t)64 * 1024 * 1024)

/* argv[0] is the role's name. Return the exit status. */
int role_inspect(int argc, char **argv);
int role_probe(int argc, char **argv);
int role_extract(int argc, char **argv);
int role_list(int argc, char **argv);

/* 2, after one line on stderr. */
int usage_error(const char *usage);

/* NULL, which an allocation gave, ends the program with 1 after a line on stderr: no summary is sent, nothing shrinks.
 */
void check_memory(const void *p);

/* A record on standard output; the program ends when nobody reads it. */
void emit(const struct wire_record *r);

/* From now on records go there instead. */
void emit_to(void (*record)(void *ctx, const struct wire_record *r), void *ctx);

/* From now on records wait until there are many, or for emit_flush. */
void emit_buffered(void);
void emit_flush(void);

/* A line for the log, the first HELPER_NOTES_MAX of them; *count says how many there were. */
void emit_note(unsigned *count, bool warn, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

enum confine_phase {
	CONFINE_READING,   /* opens files for reading; no socket of any kind, ever */
	CONFINE_RESOLVING, /* makes sockets, UNIX and IP; no file, ever: roles that ask only are in it from the start */
};

/*
 * For the rest of the process's life. No new process (NPROC 0). Landlock: only what
 * lies at or beneath `paths` (NULL-terminated; missing ones are passed over; NULL
 * while resolving), resolv.conf and hosts can be read, nothing can be written;
 * without Landlock in the kernel this part is left out. Then seccomp: no programs,
 * no processes, no signals, and what the phase does not need. Neither in builds
 * with a sanitizer nor under valgrind. 0, or -1 after a line on stderr.
 */
int confine(enum confine_phase phase, const char *const *paths);

#endif
