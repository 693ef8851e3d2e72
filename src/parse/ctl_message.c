/* The pure half of ctl.h: requests out of lines, answers into lines. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

#include "clashsup/ctl.h"
#include "clashsup/scan.h"
#include "parse/json_text.h"

static const char *const cmd_names[CTL_CMDS] = {
	[CTL_STATUS] = "status",     [CTL_START] = "start",   [CTL_STOP] = "stop",	 [CTL_RESTART] = "restart",
	[CTL_SHUTDOWN] = "shutdown", [CTL_MODE] = "mode",     [CTL_REFRESH] = "refresh", [CTL_IPS] = "ips",
	[CTL_RELOAD] = "reload",     [CTL_REEXEC] = "reexec", [CTL_SIGNAL] = "signal",	 [CTL_LOGS] = "logs",
	[CTL_EVENTS] = "events",
};

const char *ctl_cmd_name(enum ctl_cmd cmd)
{
	return (unsigned)cmd < CTL_CMDS ? cmd_names[cmd] : NULL;
}

/* A text member, or NULL when it is missing or something else. */
static const char *member_text(const cJSON *o, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
}

static int read_mode(const cJSON *o, struct ctl_request *r, struct err *e)
{
	const char *mode = member_text(o, "mode");

	if (!mode || (strcmp(mode, "tproxy") != 0 && strcmp(mode, "mixed") != 0))
		return err_set(e, EINVAL, "the command mode needs \"mode\": \"tproxy\" or \"mixed\"");
	r->mixed = strcmp(mode, "mixed") == 0;
	return 0;
}

static int read_signal(const cJSON *o, struct ctl_request *r, struct err *e)
{
	const char *name = member_text(o, "signal");

	r->signal = name ? scan_signal(name) : 0;
	return r->signal > 0 ? 0 : err_set(e, EINVAL, "the command signal needs \"signal\": a name or a number");
}

static int read_range(const cJSON *o, struct ctl_request *r, struct err *e)
{
	const cJSON *count = cJSON_GetObjectItemCaseSensitive(o, "count");
	const cJSON *follow = cJSON_GetObjectItemCaseSensitive(o, "follow");

	r->count = UINT32_MAX;
	if (count && (!cJSON_IsNumber(count) || count->valuedouble < 0 || count->valuedouble > UINT32_MAX))
		return err_set(e, EINVAL, "\"count\" is a number from 0 to %u", UINT32_MAX);
	if (count)
		r->count = (uint32_t)count->valuedouble;
	if (follow && !cJSON_IsBool(follow))
		return err_set(e, EINVAL, "\"follow\" is true or false");
	r->follow = cJSON_IsTrue(follow);
	return 0;
}

/* What a command's own members say. */
static int read_members(const cJSON *o, struct ctl_request *r, struct err *e)
{
	switch (r->cmd) {
	case CTL_MODE:
		return read_mode(o, r, e);
	case CTL_SIGNAL:
		return read_signal(o, r, e);
	case CTL_LOGS:
	case CTL_EVENTS:
		return read_range(o, r, e);
	case CTL_STATUS:
	case CTL_START:
	case CTL_STOP:
	case CTL_RESTART:
	case CTL_SHUTDOWN:
	case CTL_REFRESH:
	case CTL_IPS:
	case CTL_RELOAD:
	case CTL_REEXEC:
	case CTL_CMDS:
		break;
	}
	return 0;
}

static int read_request(const cJSON *o, struct ctl_request *out, struct err *e)
{
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(o, "version");
	const char *cmd = member_text(o, "cmd");
	struct ctl_request r = { .cmd = CTL_STATUS };
	char clean[JSON_TEXT_MAX];

	if (!cJSON_IsObject(o))
		return err_set(e, EINVAL, "a request is a JSON object");
	if (!cJSON_IsNumber(version) || version->valuedouble < CTL_VERSION || version->valuedouble > CTL_VERSION)
		return err_set(e, EINVAL, "a request needs \"version\": %d", CTL_VERSION);
	if (!cmd)
		return err_set(e, EINVAL, "a request needs \"cmd\": a command's name");
	while (r.cmd < CTL_CMDS && strcmp(cmd_names[r.cmd], cmd) != 0)
		r.cmd++;
	if (r.cmd == CTL_CMDS)
		return err_set(e, EINVAL, "unknown command \"%.40s\"", json_text(cmd, clean));
	if (read_members(o, &r, e) < 0)
		return -EINVAL;
	*out = r;
	return 0;
}

int ctl_parse(const char *line, size_t len, struct ctl_request *out, struct err *e)
{
	static const char nul[] = "\\u0000"; /* cJSON would end a text there */
	const char *end = NULL;
	cJSON *o;
	int r;

	if (len > CTL_REQUEST_MAX)
		return err_set(e, EINVAL, "a request has at most %d bytes", CTL_REQUEST_MAX);
	if (memchr(line, '\0', len) || memmem(line, len, nul, sizeof(nul) - 1))
		return err_set(e, EINVAL, "a NUL byte in a request");
	o = cJSON_ParseWithLengthOpts(line, len, &end, false);
	if (!o)
		return err_set(e, EINVAL, "a request is one line of JSON");
	while (end < line + len && strchr(" \t\r", *end))
		end++;
	r = end == line + len ? read_request(o, out, e) : err_set(e, EINVAL, "more than one value in a line");
	cJSON_Delete(o);
	return r;
}

static char *print_and_free(cJSON *o, bool good)
{
	char *text = good ? cJSON_PrintUnformatted(o) : NULL;

	cJSON_Delete(o);
	return text;
}

static cJSON *answer(bool ok)
{
	cJSON *o = cJSON_CreateObject();

	if (o && cJSON_AddNumberToObject(o, "version", CTL_VERSION) && cJSON_AddBoolToObject(o, "ok", ok))
		return o;
	cJSON_Delete(o);
	return NULL;
}

char *ctl_answer_ok(void)
{
	cJSON *o = answer(true);

	return print_and_free(o, o != NULL);
}

static char *answer_text(bool ok, const char *name, const char *sentence)
{
	char clean[JSON_TEXT_MAX];
	cJSON *o = answer(ok);

	return print_and_free(o, o && cJSON_AddStringToObject(o, name, json_text(sentence, clean)));
}

char *ctl_answer_error(const char *sentence)
{
	return answer_text(false, "error", sentence);
}

char *ctl_answer_did(const char *sentence)
{
	return answer_text(true, "did", sentence);
}
