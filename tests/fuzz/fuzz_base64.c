/* Any bytes as base64 in each of its four forms; reading over itself gives the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_twice(const char *text, size_t len, unsigned how)
{
	char *out = malloc(BASE64_BUFFER(len)), *itself = malloc(len + 1);
	size_t n, m;
	int r;

	if (!out || !itself)
		abort();
	memcpy(itself, text, len);
	r = base64_read(text, len, how, out, &n);
	if (base64_read(itself, len, how, itself, &m) != r || n != m || strlen(out) != n ||
	    memcmp(out, itself, n + 1) != 0)
		abort();
	if (r == 0 && how == BASE64_STD && len > 0 && !base64_letters(text, len))
		abort();
	free(out);
	free(itself);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (unsigned how = 0; how < 4; how++)
		read_twice((const char *)data, size, how);
	return 0;
}
