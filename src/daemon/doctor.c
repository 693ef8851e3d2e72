#include "daemon/doctor.h"

#include <cjson/cJSON.h>
#include <ev.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/findings.h"
#include "clashsup/helper.h"
#include "clashsup/netstate_read.h"
#include "clashsup/proc.h"
#include "clashsup/sandbox.h"
#include "clashsup/survey.h"
#include "daemon/client.h"
#include "daemon/json_get.h"
#include "daemon/plan_params.h"
#include "daemon/supervisor.h"
#include "parse/json_text.h"

#define MANY_RESTARTS 5

struct doctor {
	const struct settings *settings;
	struct ev_loop *loop;
	struct reaper reaper;
	const struct survey_facts *facts; /* while it is judged */
	cJSON *status;			  /* NULL: no supervisor answers */
	struct findings_wish wish;
	struct findings list;
	char path[256]; /* the direct one */
};

static double number_of(const cJSON *o, const char *name)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);

	return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

#define add(d, weight, command, ...) findings_add(&(d)->list, FINDING_OWN, weight, command, __VA_ARGS__)

/* ---- what has to be there ---- */

static void check_programs(struct doctor *d)
{
	const struct settings *s = d->settings;
	bool slash = strchr(s->mihomo.binary, '/') != NULL;
	char path[PATH_MAX], home[PATH_MAX], config[PATH_MAX];
	struct err e = ERR_INIT;
	int fd = helper_open(path, sizeof(path), &e);

	if (fd < 0)
		add(d, FINDING_REFUSE, NULL, "%s: install both programs of clashsup", e.msg);
	else
		close(fd);
	if (slash ? access(s->mihomo.binary, X_OK) < 0 : !survey_on_path(s->mihomo.binary))
		add(d, FINDING_REFUSE, NULL,
		    "Mihomo is not there: %.200s %s; install it, or name it in [mihomo] binary", s->mihomo.binary,
		    slash ? "cannot be executed" : "is not on PATH");
	if (!supervisor_find_config(s, home, config))
		add(d, FINDING_WARN, NULL, "%.200s is missing: Mihomo is started as soon as it appears", config);
}

static void check_tools(struct doctor *d)
{
	enum settings_backend backend = d->settings->tproxy.backend;
	bool iptables = survey_on_path("iptables-restore") && survey_on_path("iptables-save");
	bool nft = survey_on_path("nft");

	if (backend == BACKEND_IPTABLES && !iptables)
		add(d, FINDING_REFUSE, NULL,
		    "backend = iptables, but iptables-restore is not on PATH: install iptables");
	else if (backend == BACKEND_NFT && !nft)
		add(d, FINDING_REFUSE, NULL, "backend = nft, but nft is not on PATH: install nftables");
	else if (backend == BACKEND_AUTO && !iptables && !nft)
		add(d, FINDING_REFUSE, NULL,
		    "neither iptables-restore nor nft is on PATH: install one of iptables and nftables");
	if (backend == BACKEND_SCRIPT && access(d->settings->tproxy.script, X_OK) < 0)
		add(d, FINDING_REFUSE, NULL, "[tproxy] script %.200s cannot be executed", d->settings->tproxy.script);
	if (iptables && backend != BACKEND_NFT && backend != BACKEND_SCRIPT && d->wish.family[IP_V6] &&
	    !survey_on_path("ip6tables-restore"))
		add(d, FINDING_WARN, NULL, "ip6tables-restore is not on PATH: IPv6 goes past Mihomo");
}

/* ---- what a killed one left ---- */

/* No backend is known: of the rules the survey tells. */
static void check_residue(struct doctor *d)
{
	const struct fwplan_params plan = plan_params(d->settings);
	struct netstate_source source = { .plan = &plan };
	struct netstate now = { .server_set = plan.server_set, .other = d->facts->rules.ours };
	char what[NETSTATE_TEXT];

	if (ipset_open(&source.ipset, NULL) == 0)
		netstate_read_ipsets(&source, &now);
	ipset_close(source.ipset);
	netstate_read_tagged(&now);
	if (netstate_residue(&now, what, sizeof(what)))
		add(d, FINDING_WARN, "clashsup cleanup", "a clashsup that was killed has left in the kernel: %s", what);
}

/* ---- what the supervisor says ---- */

static void check_family(struct doctor *d, enum ip_family family, const char *key, const char *name)
{
	const char *is = json_get_text(cJSON_GetObjectItemCaseSensitive(d->status, "tproxy"), key);
	bool internet = false;

	for (size_t i = 0; i < d->facts->n_links; i++)
		internet = internet || d->facts->links[i].uplink[family];
	if (!is[0] || strcmp(is, "armed") == 0 || strcmp(json_get_text(d->status, "state"), "armed") != 0)
		return;
	if (!d->wish.family[family])
		add(d, FINDING_NOTE, NULL, "%s goes past Mihomo, as [tproxy] says", name);
	else
		add(d, internet ? FINDING_WARN : FINDING_NOTE, NULL, "%s goes past Mihomo: %s", name, is);
}

static void check_supervisor(struct doctor *d)
{
	const cJSON *warnings = cJSON_GetObjectItemCaseSensitive(d->status, "warnings"), *w;
	const char *state = json_get_text(d->status, "state"), *waits = json_get_text(d->status, "waiting_for");
	double restarts = number_of(cJSON_GetObjectItemCaseSensitive(d->status, "mihomo"), "restarts");
	const char *delta = json_get_text(d->status, "delta");

	if (strcmp(state, "failed") == 0)
		add(d, FINDING_WARN, "clashsup start", "Mihomo was given up");
	if (strcmp(state, "stopped") == 0)
		add(d, FINDING_NOTE, "clashsup start", "Mihomo was stopped by request");
	if (waits[0])
		add(d, FINDING_WARN, NULL, "clashsup waits for: %s", waits);
	if (delta[0] && strcmp(delta, "none") != 0)
		add(d, FINDING_WARN, NULL, "the kernel is not as clashsup wants it: %s", delta);
	cJSON_ArrayForEach(w, warnings)
	{
		if (cJSON_IsString(w))
			add(d, FINDING_WARN, NULL, "%s", w->valuestring);
	}
	if (restarts >= MANY_RESTARTS)
		add(d, FINDING_NOTE, NULL, "Mihomo had to be restarted %.0f times: its log and the kernel's say why",
		    restarts);
	check_family(d, IP_V4, "ipv4", "IPv4");
	check_family(d, IP_V6, "ipv6", "IPv6");
}

/* No answer: nobody is there, or one that does not answer. */
static void check_no_supervisor(struct doctor *d)
{
	struct err e = ERR_INIT;
	int claim = instance_claim(&e);

	if (claim < 0) {
		add(d, FINDING_WARN, NULL,
		    "a clashsup runs in this network namespace, but its control socket does not answer: is it the one"
		    " of this configuration?");
		return;
	}
	close(claim);
	add(d, FINDING_NOTE, NULL, "clashsup does not run");
	check_residue(d);
}

/* ---- how it is told ---- */

static const char *const weight_name[] = {
	[FINDING_REFUSE] = "refuse",
	[FINDING_WARN] = "warn",
	[FINDING_NOTE] = "note",
};

/* Texts come from other programs' rules too: nothing in them may steer a terminal. */
static void print_text(const struct doctor *d, FILE *out)
{
	static const char *const label[] = { "REFUSE", "WARN", "NOTE" };
	char clean[JSON_TEXT_MAX];

	for (size_t i = 0; i < d->list.n; i++) {
		const struct finding *f = &d->list.list[i];

		fprintf(out, "%s: %s\n", label[f->weight], json_text(f->text, clean));
		if (f->command[0])
			fprintf(out, "  fix: %s\n", json_text(f->command, clean));
	}
	if (d->list.n == 0)
		fputs("no findings\n", out);
}

static bool add_finding(cJSON *array, const struct finding *f)
{
	cJSON *o = cJSON_CreateObject();
	char clean[JSON_TEXT_MAX];

	if (!cJSON_AddItemToArray(array, o)) {
		cJSON_Delete(o);
		return false;
	}
	return cJSON_AddStringToObject(o, "level", weight_name[f->weight]) &&
	       cJSON_AddStringToObject(o, "text", json_text(f->text, clean)) &&
	       (f->command[0] ? cJSON_AddStringToObject(o, "fix", json_text(f->command, clean))
			      : cJSON_AddNullToObject(o, "fix"));
}

static bool print_json(const struct doctor *d, FILE *out)
{
	cJSON *root = cJSON_CreateObject(), *array;
	bool ok = cJSON_AddNumberToObject(root, "version", 1) && cJSON_AddStringToObject(root, "direct_path", d->path);
	char *text;

	array = cJSON_AddArrayToObject(root, "findings");
	for (size_t i = 0; i < d->list.n && ok; i++)
		ok = add_finding(array, &d->list.list[i]);
	text = ok && array ? cJSON_PrintUnformatted(root) : NULL;
	if (text)
		fprintf(out, "%s\n", text);
	cJSON_free(text);
	cJSON_Delete(root);
	return text != NULL;
}

static int exit_status(const struct doctor *d)
{
	if (d->list.n == 0 || d->list.list[0].weight == FINDING_NOTE)
		return DOCTOR_FINE;
	return d->list.list[0].weight == FINDING_WARN ? DOCTOR_WARNINGS : DOCTOR_REFUSALS;
}

/* ---- the visit ---- */

static void on_facts(void *ctx, const struct survey_facts *facts)
{
	struct doctor *d = ctx;

	d->facts = facts;
	findings_judge(facts, &d->wish, &d->list);
	findings_direct_path(facts, &d->wish, d->path, sizeof(d->path));
	if (d->status)
		check_supervisor(d);
	else
		check_no_supervisor(d);
	d->facts = NULL;
	ev_break(d->loop, EVBREAK_ALL);
}

static struct survey_ask ask_of(const struct doctor *d)
{
	const struct settings *s = d->settings;
	double port = number_of(cJSON_GetObjectItemCaseSensitive(d->status, "tproxy"), "port");
	double pid = number_of(cJSON_GetObjectItemCaseSensitive(d->status, "mihomo"), "pid");

	return (struct survey_ask){
		.port = port >= 1 && port <= UINT16_MAX ? (uint16_t)port : s->tproxy.port,
		.mark = s->tproxy.mark,
		.table = s->tproxy.table,
		.pref = s->tproxy.pref,
		.lan_ifaces = &s->tproxy.selection.lan_ifaces,
		.mihomo = pid >= 1 && pid <= INT_MAX ? (pid_t)pid : 0,
	};
}

static struct findings_wish wish_of(const struct settings *s)
{
	return (struct findings_wish){
		.family = { s->tproxy.family[IP_V4] != SETTING_NO, s->tproxy.family[IP_V6] != SETTING_NO },
		.closed = s->tproxy.on_death == ON_DEATH_CLOSED,
		.input_accept = (enum findings_word)s->tproxy.input_accept,
		.dns = (enum findings_word)s->tproxy.dns,
	};
}

static int visit(struct doctor *d, struct err *e)
{
	struct survey_ask ask;
	struct survey *survey;
	int r = sandbox_may_filter(e);

	if (r < 0)
		return r;
	d->status = client_status(d->settings, NULL);
	d->wish = wish_of(d->settings);
	check_programs(d);
	check_tools(d);
	ask = ask_of(d);
	r = reaper_start(&d->reaper, d->loop);
	if (r == 0)
		r = survey_start(&survey, &d->reaper, &ask, on_facts, d, e);
	if (r == 0)
		ev_run(d->loop, 0);
	reaper_stop(&d->reaper);
	cJSON_Delete(d->status);
	return r;
}

int doctor_run(const struct settings *s, bool json, FILE *out)
{
	struct doctor d = { .settings = s, .loop = loop_open() };
	struct err e = ERR_INIT;

	if (!d.loop || visit(&d, &e) < 0) {
		fprintf(stderr, "clashsup: cannot look: %s\n", d.loop ? e.msg : "no event loop");
		return DOCTOR_BLIND;
	}
	loop_close(d.loop);
	if (!json)
		print_text(&d, out);
	else if (!print_json(&d, out))
		return DOCTOR_BLIND;
	return exit_status(&d);
}
