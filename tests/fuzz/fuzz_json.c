/* Any text as a JSON object of a share link. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse/feed/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_object(const char *text, size_t len, bool whole)
{
	char *copy = malloc(len + 1);
	cJSON *root;

	if (!copy)
		abort();
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (json_object(copy, len, whole, &root) == 0) {
		if (!cJSON_IsObject(root))
			abort();
		for (const cJSON *i = root->child; i; i = i->next)
			if (!json_get(root, i->string))
				abort();
		cJSON_Delete(root);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_object((const char *)data, size, false);
	read_object((const char *)data, size, true);
	return 0;
}
