#include "daemon/notes.h"

#include <string.h>

#include "clashsup/wire.h"

void notes_begin(struct notes *n)
{
	n->n_now = 0;
}

void notes_end(struct notes *n)
{
	memcpy(n->before, n->now, sizeof(n->now));
	n->n_before = n->n_now;
}

bool notes_again(struct notes *n, const char *text)
{
	uint32_t hash = wire_hash(text);

	if (n->n_now < NOTES_MAX)
		n->now[n->n_now++] = hash;
	for (size_t i = 0; i < n->n_before; i++) {
		if (n->before[i] == hash)
			return true;
	}
	return false;
}
