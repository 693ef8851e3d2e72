/* notes: what a run of a helper says for the log; what the run before it has said too may be left out. */
#ifndef DAEMON_NOTES_H
#define DAEMON_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOTES_MAX 64 /* of a run */

struct notes {
	uint32_t now[NOTES_MAX], before[NOTES_MAX]; /* hashes of their texts */
	size_t n_now, n_before;
};

void notes_begin(struct notes *n); /* a run */
void notes_end(struct notes *n);   /* its notes are those "before" from now on */

/* Takes one note of the run; true when the run before had it. */
bool notes_again(struct notes *n, const char *text);

#endif
