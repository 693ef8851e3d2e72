/* ranks SOCKET WAIT_MS NAME...: the rank of each proxy in Mihomo's use, a digit a line. */
#include <stdio.h>
#include <stdlib.h>

#include "clashsup/wire.h"
#include "helper/usage.h"

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct usage *u;

	if (argc < 3 || usage_load(argv[1], atoi(argv[2]), &u, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	for (int i = 3; i < argc; i++)
		printf("%d\n", (int)usage_rank(u, wire_hash(argv[i])));
	usage_free(u);
	return 0;
}
