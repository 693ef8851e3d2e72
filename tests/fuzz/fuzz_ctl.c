/* Any bytes as a request of the control socket: a request within its bounds, or an error that can be answered. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within_bounds(const struct ctl_request *r)
{
	if (r->cmd >= CTL_CMDS || !ctl_cmd_name(r->cmd) || r->privileged)
		abort();
	if (r->cmd == CTL_SIGNAL ? r->signal < 1 || r->signal > 64 : r->signal != 0)
		abort();
	if (r->mixed && r->cmd != CTL_MODE)
		abort();
	if ((r->count || r->follow) && r->cmd != CTL_LOGS && r->cmd != CTL_EVENTS)
		abort();
}

/* One line of JSON that says no, whatever the sentence quotes of the request. */
static void can_be_answered(const char *sentence)
{
	char *answer = ctl_answer_error(sentence);
	cJSON *o = answer ? cJSON_ParseWithOpts(answer, NULL, true) : NULL;

	if (!o || strchr(answer, '\n') || !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(o, "ok")) ||
	    !cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "error"))[0])
		abort();
	cJSON_Delete(o);
	free(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctl_request request = { .cmd = CTL_CMDS, .signal = -1, .count = 77 };
	struct err e = ERR_INIT;

	if (ctl_parse((const char *)data, size, &request, &e) == 0) {
		within_bounds(&request);
		return 0;
	}
	if (!e.msg[0] || request.cmd != CTL_CMDS || request.signal != -1 || request.count != 77)
		abort();
	can_be_answered(e.msg);
	return 0;
}
