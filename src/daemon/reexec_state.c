#include "daemon/reexec_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/lastgood.h"
#include "daemon/json_get.h"
#include "daemon/supervisor.h"

/* ---- descriptors ---- */

void reexec_put_fd(cJSON *fds, const char *name, int fd)
{
	if (fd >= 0)
		cJSON_AddNumberToObject(fds, name, fd);
}

/* One that is open. */
static int take(int64_t fd)
{
	return fd > 2 && fd <= INT_MAX && fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0 ? (int)fd : -1;
}

int reexec_take_fd(const cJSON *fds, const char *name)
{
	return take(json_get_number(fds, name, -1));
}

void reexec_each_fd(const cJSON *fds, void (*each)(int fd, bool keep), bool keep)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, fds)
	{
		if (cJSON_IsArray(item))
			reexec_each_fd(item, each, keep);
		else if (cJSON_IsNumber(item))
			each((int)item->valuedouble, keep);
	}
}

static void put_clients(const struct supervisor *s, cJSON *fds)
{
	int list[REEXEC_CLIENTS];
	size_t n = s->ctl ? ctl_waiting(s->ctl, CTL_REEXEC, list, REEXEC_CLIENTS) : 0;
	cJSON *clients = cJSON_AddArrayToObject(fds, "clients");

	for (size_t i = 0; i < n; i++)
		cJSON_AddItemToArray(clients, cJSON_CreateNumber(list[i]));
}

size_t reexec_take_clients(const cJSON *fds, int out[REEXEC_CLIENTS])
{
	const cJSON *item;
	size_t n = 0;

	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(fds, "clients"))
	{
		int fd = cJSON_IsNumber(item) ? take((int64_t)item->valuedouble) : -1;

		if (fd >= 0 && n < REEXEC_CLIENTS)
			out[n++] = fd;
	}
	return n;
}

/* ---- values of more than one number ---- */

static void put_time(cJSON *to, const char *name, struct report_time t)
{
	cJSON *pair = cJSON_AddArrayToObject(to, name);

	cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)t.wall_ms));
	cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)t.mono_ms));
}

static struct report_time get_time(const cJSON *from, const char *name)
{
	const cJSON *pair = cJSON_GetObjectItemCaseSensitive(from, name);
	const cJSON *wall = cJSON_GetArrayItem(pair, 0), *mono = cJSON_GetArrayItem(pair, 1);

	if (!cJSON_IsNumber(wall) || !cJSON_IsNumber(mono))
		return (struct report_time){ 0, 0 };
	return (struct report_time){ (int64_t)wall->valuedouble, (int64_t)mono->valuedouble };
}

static void put_ring(cJSON *to, const char *name, const struct ring *r)
{
	cJSON *list = cJSON_AddArrayToObject(to, name);

	for (uint64_t n = r->first; n < r->next; n++) {
		const char *line = ring_get(r, n);

		if (line)
			cJSON_AddItemToArray(list, cJSON_CreateString(line));
	}
}

static void get_ring(const cJSON *from, const char *name, struct ring *r)
{
	const cJSON *line;

	cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(from, name))
	{
		if (cJSON_IsString(line))
			ring_add(r, line->valuestring, strlen(line->valuestring));
	}
}

static void get_text(const cJSON *from, const char *name, char *out, size_t cap)
{
	snprintf(out, cap, "%s", json_get_text(from, name));
}

/* ---- the config in force ---- */

static void put_facts(cJSON *to, const struct config_facts *f)
{
	cJSON *marks = cJSON_AddArrayToObject(to, "marks"), *fake = cJSON_AddArrayToObject(to, "fake"),
	      *resolvers = cJSON_AddArrayToObject(to, "resolvers");
	char text[ADDR_TEXT];

	cJSON_AddNumberToObject(to, "port", f->port);
	cJSON_AddNumberToObject(to, "dns_port", f->dns_port);
	cJSON_AddBoolToObject(to, "patch_port", f->patch_port);
	cJSON_AddStringToObject(to, "warning", f->warning);
	for (size_t i = 0; i < f->n_marks; i++)
		cJSON_AddItemToArray(marks, cJSON_CreateNumber(f->marks[i]));
	for (size_t i = 0; i < f->n_fake; i++)
		cJSON_AddItemToArray(fake, cJSON_CreateString(addr_net_text(&f->fake[i], text)));
	for (size_t i = 0; i < f->n_resolvers; i++)
		cJSON_AddItemToArray(resolvers, cJSON_CreateString(addr_text(&f->resolver[i], text)));
}

static void get_facts(const cJSON *from, struct config_facts *f)
{
	const cJSON *item;

	*f = (struct config_facts){ .port = (uint16_t)json_get_number(from, "port", 0),
				    .dns_port = (uint16_t)json_get_number(from, "dns_port", 0),
				    .patch_port = json_get_true(from, "patch_port") };
	get_text(from, "warning", f->warning, sizeof(f->warning));
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(from, "marks"))
	{
		if (cJSON_IsNumber(item) && f->n_marks < CHECK_MARKS)
			f->marks[f->n_marks++] = (uint32_t)item->valuedouble;
	}
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(from, "fake"))
	{
		if (cJSON_IsString(item) && f->n_fake < CHECK_FAKE_NETS &&
		    addr_net_parse(item->valuestring, &f->fake[f->n_fake]) == 0)
			f->n_fake++;
	}
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(from, "resolvers"))
	{
		if (cJSON_IsString(item) && f->n_resolvers < CHECK_RESOLVERS &&
		    addr_parse(item->valuestring, &f->resolver[f->n_resolvers]) == 0)
			f->n_resolvers++;
	}
}

/* ---- the supervisor's own ---- */

static void put_own(const struct supervisor *s, cJSON *to)
{
	char history[HISTORY_FILE_MAX + 1];

	cJSON_AddStringToObject(to, "child", child_state_name(s->machine.life.child));
	cJSON_AddBoolToObject(to, "tproxy", s->machine.life.tproxy);
	cJSON_AddStringToObject(to, "home", s->home);
	cJSON_AddStringToObject(to, "config", s->config);
	cJSON_AddStringToObject(to, "home_in_force", s->home_in_force);
	cJSON_AddStringToObject(to, "waiting_for", s->waiting_for);
	cJSON_AddStringToObject(to, "config_warning", s->config_warning);
	put_time(to, "since", s->since);
	put_time(to, "child_since", s->child_since);
	put_time(to, "exit_at", s->exit_at);
	cJSON_AddNumberToObject(to, "starts", s->starts);
	cJSON_AddBoolToObject(to, "exited", s->exited);
	cJSON_AddNumberToObject(to, "exit_status", s->exit_status);
	cJSON_AddNumberToObject(to, "death_status", s->death_status);
	cJSON_AddNumberToObject(to, "deaths", s->restart.deaths);
	cJSON_AddNumberToObject(to, "backoff_ms", (double)s->backoff_ms);
	cJSON_AddNumberToObject(to, "armed_in_us", (double)s->armed_in_us);
	cJSON_AddNumberToObject(to, "disarm_us", (double)s->disarm_us);
	cJSON_AddBoolToObject(to, "recovering", s->recovering);
	cJSON_AddBoolToObject(to, "down", s->down);
	cJSON_AddBoolToObject(to, "told_ready", s->service.ready);
	cJSON_AddNumberToObject(to, "child_since_ms", (double)s->eventlog.child_since_ms);
	cJSON_AddNumberToObject(to, "net_since_ms", (double)s->eventlog.net_since_ms);
	put_ring(to, "events", &s->eventlog.ring);
	put_ring(to, "lines", &s->lines.ring);
	history[history_encode(&s->deaths.history, history)] = '\0';
	cJSON_AddStringToObject(to, "history", history);
}

static enum child_state find_child(const char *name)
{
	unsigned state = 0;

	while (state < CHILD_STATES && strcmp(child_state_name((enum child_state)state), name) != 0)
		state++;
	return (enum child_state)state;
}

void reexec_state_load(struct supervisor *s, const struct reexec_state *state)
{
	const cJSON *from = cJSON_GetObjectItemCaseSensitive(state->json, "supervisor");
	const char *history = json_get_text(from, "history");

	s->machine.life.child = find_child(json_get_text(from, "child"));
	s->machine.life.tproxy = json_get_true(from, "tproxy");
	get_text(from, "home", s->home, sizeof(s->home));
	get_text(from, "config", s->config, sizeof(s->config));
	get_text(from, "home_in_force", s->home_in_force, sizeof(s->home_in_force));
	get_text(from, "waiting_for", s->waiting_for, sizeof(s->waiting_for));
	get_text(from, "config_warning", s->config_warning, sizeof(s->config_warning));
	s->since = get_time(from, "since");
	s->child_since = get_time(from, "child_since");
	s->exit_at = get_time(from, "exit_at");
	s->starts = (uint32_t)json_get_number(from, "starts", 0);
	s->exited = json_get_true(from, "exited");
	s->exit_status = (int)json_get_number(from, "exit_status", 0);
	s->death_status = (int)json_get_number(from, "death_status", 0);
	s->restart.deaths = (uint32_t)json_get_number(from, "deaths", 0);
	s->backoff_ms = json_get_number(from, "backoff_ms", 0);
	s->armed_in_us = json_get_number(from, "armed_in_us", -1);
	s->disarm_us = json_get_number(from, "disarm_us", -1);
	s->recovering = json_get_true(from, "recovering");
	s->down = json_get_true(from, "down");
	s->service.ready = json_get_true(from, "told_ready");
	s->eventlog.child_since_ms = json_get_number(from, "child_since_ms", 0);
	s->eventlog.net_since_ms = json_get_number(from, "net_since_ms", 0);
	get_ring(from, "events", &s->eventlog.ring);
	get_ring(from, "lines", &s->lines.ring);
	(void)history_decode(history, strlen(history), &s->deaths.history, NULL); /* reexec_state_read has judged it */
	reload_load(&s->reload, cJSON_GetObjectItemCaseSensitive(state->json, "reload"));
	get_facts(cJSON_GetObjectItemCaseSensitive(state->json, "facts"), &s->facts);
}

/* ---- the document ---- */

static bool put_settings(const struct settings *set, cJSON *to)
{
	cleanup_free char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return false;
	settings_print(set, out);
	return fclose(out) == 0 && cJSON_AddStringToObject(to, "settings", text);
}

static cJSON *make_json(const struct supervisor *s)
{
	cJSON *json = cJSON_CreateObject(), *fds = cJSON_AddObjectToObject(json, "fds");

	cJSON_AddNumberToObject(json, "version", REEXEC_STATE_VERSION);
	cJSON_AddStringToObject(json, "file", s->reload.source.file);
	cJSON_AddBoolToObject(json, "must_exist", s->reload.source.must_exist);
	reexec_put_fd(fds, "instance", s->instance);
	reexec_put_fd(fds, "control", s->ctl ? ctl_listener(s->ctl) : -1);
	reexec_put_fd(fds, "ready", s->service.ready_fd);
	put_clients(s, fds);
	mihomo_save(&s->mihomo, cJSON_AddObjectToObject(json, "mihomo"), fds);
	net_save(&s->net, cJSON_AddObjectToObject(json, "net"));
	reload_save(&s->reload, cJSON_AddObjectToObject(json, "reload"));
	put_facts(cJSON_AddObjectToObject(json, "facts"), &s->facts);
	put_own(s, cJSON_AddObjectToObject(json, "supervisor"));
	/* the last one, so that its being there says that memory sufficed up to here */
	if (put_settings(s->settings, json))
		return json;
	cJSON_Delete(json);
	return NULL;
}

int reexec_state_make(const struct supervisor *s, char **out, size_t *len_out, struct err *e)
{
	cleanup_free char *text = NULL, *all = NULL;
	struct lastgood addresses = { 0 };
	cJSON *json = make_json(s);
	size_t len;

	text = json ? cJSON_PrintUnformatted(json) : NULL;
	cJSON_Delete(json);
	if (!text || servers_save(&s->servers, &addresses) < 0)
		return err_set(e, ENOMEM, "not enough memory");
	len = strlen(text);
	all = realloc(text, len + 1 + addresses.len);
	if (all) {
		text = NULL;
		all[len++] = '\n';
		memcpy(all + len, addresses.bytes, addresses.len);
		len += addresses.len;
	}
	lastgood_free(&addresses);
	if (!all)
		return err_set(e, ENOMEM, "not enough memory");
	*out = all;
	*len_out = len;
	all = NULL;
	return 0;
}

/* The first problem of settings that another version has printed. */
static void on_problem(void *ctx, const char *text)
{
	struct err *e = ctx;

	if (!e->code)
		err_set(e, EINVAL, "%s", text);
}

static int read_settings(struct reexec_state *out, struct err *e)
{
	const char *text = json_get_text(out->json, "settings");
	struct err first = ERR_INIT;

	out->settings = calloc(1, sizeof(*out->settings));
	if (!out->settings)
		return err_set(e, ENOMEM, "not enough memory");
	if (settings_parse(out->settings, "the settings in force", text, strlen(text), on_problem, &first) == 0)
		return 0;
	*e = first;
	return -EINVAL;
}

static int judge(const struct reexec_state *state, struct err *e)
{
	const cJSON *own = cJSON_GetObjectItemCaseSensitive(state->json, "supervisor");
	const char *history = json_get_text(own, "history");

	if (find_child(json_get_text(own, "child")) == CHILD_STATES)
		return err_set(e, EINVAL, "unknown state \"%.40s\"", json_get_text(own, "child"));
	if (history_decode(history, strlen(history), NULL, e) < 0)
		return -EINVAL;
	return lastgood_decode(state->addresses, state->n_addresses, NULL, NULL, e);
}

int reexec_state_read(struct reexec_state *out, const char *bytes, size_t len, struct err *e)
{
	const char *end = memchr(bytes, '\n', len);
	int r;

	*out = (struct reexec_state){ 0 };
	out->json = end ? cJSON_ParseWithLength(bytes, (size_t)(end - bytes)) : NULL;
	if (!out->json)
		return err_set(e, EINVAL, "what was handed over is no JSON");
	if (json_get_number(out->json, "version", 0) != REEXEC_STATE_VERSION)
		return err_set(e, EINVAL, "what was handed over has another version than %d", REEXEC_STATE_VERSION);
	out->fds = cJSON_GetObjectItemCaseSensitive(out->json, "fds");
	out->addresses = end + 1;
	out->n_addresses = len - (size_t)(end + 1 - bytes);
	out->source.must_exist = json_get_true(out->json, "must_exist");
	get_text(out->json, "file", out->source.file, sizeof(out->source.file));
	r = judge(out, e);
	return r < 0 ? r : read_settings(out, e);
}

int reexec_state_take(struct reexec_state *out, int fd, struct err *e)
{
	char *bytes;
	size_t len;
	int r = io_slurp(fd, REEXEC_STATE_MAX, &bytes, &len);

	close(fd);
	if (r < 0)
		return err_sys(e, -r, "cannot read what was handed over");
	r = reexec_state_read(out, bytes, len, e);
	out->bytes = bytes;
	return r;
}

void reexec_state_drop(struct reexec_state *state)
{
	cJSON_Delete(state->json);
	free(state->bytes);
	state->json = NULL;
	state->fds = NULL;
	state->addresses = state->bytes = NULL;
}

void reexec_state_free(struct reexec_state *state)
{
	reexec_state_drop(state);
	if (state->settings)
		settings_free(state->settings);
	free(state->settings);
	state->settings = NULL;
}
