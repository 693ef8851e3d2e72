/*
 * split: one run of the helper as two processes, so that the one that reads files
 * never has a socket and the one that asks the network never opens a file. Before
 * confine(), so before the first foreign byte.
 */
#ifndef HELPER_SPLIT_H
#define HELPER_SPLIT_H

#include <stddef.h>
#include <sys/types.h>

#include "clashsup/err.h"

struct reader {
	pid_t pid;
	int records; /* what it says; blocking */
};

/*
 * Forks. 1 = this is the reader: its standard output leads to the other, and it
 * dies with it. 0 = this is the other, *r is filled. -errno with *e set.
 */
int split_reader(struct reader *r, struct err *e);

/*
 * Waits for it, once all is read that it says (a reader that goes on is killed only by the end of this process:
 * no signal leaves a cage). 0 = it ended well; else -EIO and *e says how.
 */
int reader_end(struct reader *r, struct err *e);

#endif
