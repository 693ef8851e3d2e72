/* Any text as the output of iptables-save. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/survey_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct survey_view view = { .port = 7893 };
	static struct survey_rules rules;
	struct err e = ERR_INIT;

	memset(&rules, 0, sizeof(rules));
	if (survey_iptables((const char *)data, size, IP_V4, "iptables", &view, &rules, &e) < 0 && !e.msg[0])
		abort();
	for (size_t i = 0; i < rules.n_foreign; i++) {
		if (!rules.foreign[i].text[0] || !rules.foreign[i].command[0])
			abort();
	}
	return 0;
}
