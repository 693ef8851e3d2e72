#include "clashsup/ability.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clashsup/fwplan.h"
#include "clashsup/io.h"
#include "clashsup/ipset.h"
#include "sys/ability_text.h"

#define DEADLINE_MS 5000
#define LOCK_WAIT_S "4" /* less than the deadline, so that the tool itself says that a lock is held */
#define EXIT_NOT_FOUND 127
#define TIDY_EACH_S 0.01 /* the kernel lets go of a set a moment after the rule that used it is gone */
#define TIDY_TRIES 50

#define NEEDS_RIGHTS "clashsup may not change the firewall: it needs CAP_NET_ADMIN and CAP_NET_RAW"

static const char *const program[FW_BACKENDS][IP_FAMILIES] = {
	[FW_IPTABLES] = { "iptables-restore", "ip6tables-restore" },
	[FW_NFT] = { "nft", "nft" },
	[FW_SCRIPT] = { "", "" },
};
static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

/* The questions to one backend about one family, one after the other. */
struct lane {
	struct ability_run *run;
	struct ability_part *part; /* the answer */
	enum fw_backend backend;
	enum ip_family family;
	int what; /* of ability_text */
	bool busy;
	struct job *job;
	char whole_why[ABILITY_WHY]; /* what the first question was answered with */
};

struct ability_run {
	struct reaper *reaper;
	enum choice_setting setting;
	unsigned skip;
	unsigned no_types; /* FW_LACKS_* by the set types */
	struct ability found;
	struct lane lane[FW_BACKENDS][IP_FAMILIES];
	struct job *version;
	struct ipset *ipset;
	ev_timer next; /* fed when all have ended; started while a set cannot be destroyed yet */
	bool nft_done, sets_made, in_done;
	int tidy_tries;
	ability_done_fn done;
	void *ctx;
};

static void on_lane_job(void *ctx, const struct job_result *result);

/* ---- lanes ---- */

static bool any_busy(const struct ability_run *run)
{
	bool busy = run->version != NULL;

	for (int b = 0; b < FW_BACKENDS; b++) {
		for (int i = 0; i < IP_FAMILIES; i++)
			busy |= run->lane[b][i].busy;
	}
	return busy;
}

static void go_on_when_all_ended(struct ability_run *run)
{
	if (!any_busy(run))
		ev_feed_event(run->reaper->loop, &run->next, EV_TIMER);
}

static void lane_end(struct lane *l, bool ok)
{
	l->part->ok = ok;
	l->busy = false;
	go_on_when_all_ended(l->run);
}

static __attribute__((format(printf, 2, 3))) void lane_fail(struct lane *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->part->why, sizeof(l->part->why), fmt, ap);
	va_end(ap);
	lane_end(l, false);
}

static void lane_ask(struct lane *l, int what)
{
	const char *name = program[l->backend][l->family];
	const char *const iptables_argv[] = { name, "--noflush", "--wait", LOCK_WAIT_S, NULL };
	const char *const nft_argv[] = { name, "-c", "-f", "-", NULL };
	char text[ABILITY_TEXT_MAX];
	struct job_spec spec = { .argv = l->backend == FW_NFT ? nft_argv : iptables_argv, .deadline_ms = DEADLINE_MS };
	struct err e = ERR_INIT;
	int n = ability_text(l->backend, l->family, l->run->skip, what, text);

	l->what = what;
	spec.input = text;
	spec.input_len = n < 0 ? 0 : (size_t)n;
	if (n < 0 || job_start(&l->job, l->run->reaper, &spec, on_lane_job, l, &e) < 0) {
		l->part->again = true;
		lane_fail(l, "%s", n < 0 ? "the question is too long" : e.msg);
	}
}

/* ---- what an answer means ---- */

static bool says(const struct job_result *result, const char *words)
{
	return strstr(result->output, words) != NULL;
}

/* One line of it: the nft variant breaks the line between its name and the reason. */
static void flat_why(const struct job_result *result, char *buf, size_t cap)
{
	struct job_result flat = *result;
	char line[ABILITY_WHY * 2];
	size_t len;

	snprintf(line, sizeof(line), "%s", result->output);
	for (char *at = strpbrk(line, "\r\n"); at; at = strpbrk(at, "\r\n"))
		*at = ' ';
	for (len = strlen(line); len > 0 && line[len - 1] == ' '; len--)
		line[len - 1] = '\0';
	flat.output = line;
	job_why(&flat, buf, cap);
}

/*
 * Reasons that are not about a feature; true when the lane ended with one. A
 * lock that is held and a tool that does not end are no verdict on the kernel.
 */
static bool ended_otherwise(struct lane *l, const struct job_result *result)
{
	const char *name = program[l->backend][l->family];

	if (!result->timed_out && WIFEXITED(result->status) && WEXITSTATUS(result->status) == EXIT_NOT_FOUND) {
		lane_fail(l, "%s is not installed, or not on PATH", name);
	} else if (result->timed_out || !WIFEXITED(result->status) || says(result, "xtables lock")) {
		char why[ABILITY_WHY];

		l->part->again = true;
		flat_why(result, why, sizeof(why));
		lane_fail(l, "%s: %.100s", name,
			  says(result, "xtables lock") ? "another program holds the xtables lock" : why);
	} else if (says(result, "Permission denied") || says(result, "Operation not permitted") ||
		   says(result, "open socket to ipset")) {
		lane_fail(l, "%s", NEEDS_RIGHTS);
	} else {
		return false;
	}
	return true;
}

static void base_failed(struct lane *l, const struct job_result *result)
{
	const char *name = program[l->backend][l->family];
	char why[ABILITY_WHY];

	flat_why(result, why, sizeof(why));
	if (l->backend == FW_IPTABLES && (says(result, "initialize") || says(result, "Table does not exist")))
		lane_fail(l,
			  "the kernel has no mangle table of iptables for %s, or we have no rights to it (OpenWrt: %s)",
			  family_name[l->family], l->family == IP_V4 ? "kmod-ipt-core" : "kmod-ip6tables");
	else
		lane_fail(l, "%s: %.120s", name, why);
}

static void add_lack(struct lane *l, unsigned lack, const char *name)
{
	size_t len = strlen(l->part->why);

	if ((l->part->lacks & lack) == 0)
		snprintf(l->part->why + len, sizeof(l->part->why) - len, "%s%s", len == 0 ? "without " : ", ", name);
	l->part->lacks |= lack;
}

/* Nothing can be done without this one: the reason replaces the list of what else is lacking. */
static void essential_lacks(struct lane *l, const char *output)
{
	ability_feature_why(l->backend, l->what, output, l->part->why);
	l->part->lacks |= ability_lack(l->backend, l->what);
	lane_end(l, false);
}

static void ask_next_feature(struct lane *l)
{
	int i = l->what + 1;

	while (i < ability_features(l->backend) && (ability_lack(l->backend, i) & l->run->skip) != 0)
		i++;
	if (i < ability_features(l->backend))
		lane_ask(l, i);
	else if (l->part->lacks == 0)
		lane_fail(l, "it refuses all rules together: %.120s", l->whole_why);
	else
		lane_end(l, true);
}

static void on_lane_job(void *ctx, const struct job_result *result)
{
	struct lane *l = ctx;
	bool ok = job_ok(result);
	unsigned lack;

	l->job = NULL;
	if (!ok && ended_otherwise(l, result))
		return;
	if (l->what == ABILITY_WHOLE) {
		flat_why(result, l->whole_why, sizeof(l->whole_why));
		if (ok)
			lane_end(l, true);
		else
			lane_ask(l, ABILITY_BASE);
		return;
	}
	if (l->what == ABILITY_BASE) {
		if (ok)
			ask_next_feature(l);
		else
			base_failed(l, result);
		return;
	}
	lack = ability_lack(l->backend, l->what);
	if (!ok && (lack == 0 || lack == FW_LACKS_CONNTRACK)) {
		essential_lacks(l, result->output);
		return;
	}
	if (!ok)
		add_lack(l, lack, ability_feature_name(l->backend, l->what));
	ask_next_feature(l);
}

static void start_lanes(struct ability_run *run, enum fw_backend b)
{
	bool starts[IP_FAMILIES];

	/* all are under way before one is started: one that fails at once must not end the run */
	for (int i = 0; i < IP_FAMILIES; i++) {
		run->found.part[b][i].asked = true;
		starts[i] = !run->found.part[b][i].absent && run->found.part[b][i].why[0] == '\0';
		run->lane[b][i].busy = starts[i];
	}
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (starts[i])
			lane_ask(&run->lane[b][i], ABILITY_WHOLE);
	}
}

/* ---- sets ---- */

/* The types that the plan's sets have (of both families), each tried with one set of the scratch name. */
static const struct {
	const char *type;
	unsigned lack;
	bool v6;
} set_types[] = {
	{ "bitmap:port range 0-65535", 0, false },	    { "hash:mac", FW_LACKS_MAC, false },
	{ "hash:ip family inet maxelem 131072", 0, false }, { "hash:ip family inet6 maxelem 131072", 0, true },
	{ "hash:net family inet timeout 3", 0, false }, /* these two stay, for the match */
	{ "hash:net family inet6 timeout 3", 0, true },
};

static int destroy_sets(struct ability_run *run)
{
	int r4 = ipset_destroy(run->ipset, ABILITY_SET, NULL);
	int r6 = ipset_destroy(run->ipset, ABILITY_SET "6", NULL);

	return r4 == -EBUSY || r6 == -EBUSY ? -EBUSY : 0;
}

static int try_types(struct ability_run *run, struct err *e)
{
	for (size_t i = 0; i < sizeof(set_types) / sizeof(set_types[0]); i++) {
		const char *name = set_types[i].v6 ? ABILITY_SET "6" : ABILITY_SET;
		int r;

		if ((set_types[i].v6 && run->found.part[FW_IPTABLES][IP_V6].absent) ||
		    (set_types[i].lack & run->skip) != 0)
			continue;
		r = ipset_destroy(run->ipset, name, e); /* of the type before, or of a run that was killed */
		if (r < 0)
			return r;
		r = ipset_create(run->ipset, name, set_types[i].type, e);
		if (r < 0 && set_types[i].lack == 0)
			return r;
		if (r < 0)
			run->no_types |= set_types[i].lack;
	}
	return 0;
}

/* What the set types lack, both backends with ipset lack. */
static void lack_types(struct ability_run *run)
{
	for (int i = 0; i < IP_FAMILIES && run->no_types != 0; i++) {
		struct ability_part *p = &run->found.part[FW_IPTABLES][i];

		if (p->ok)
			add_lack(&run->lane[FW_IPTABLES][i], run->no_types, "set type hash:mac");
	}
}

static void ask_ipset(struct ability_run *run)
{
	struct err e = ERR_INIT;
	char why[ABILITY_WHY];
	int r = ipset_open(&run->ipset, &e);

	if (r == 0)
		r = ipset_exists(run->ipset, ABILITY_SET, NULL, &e);
	if (r >= 0) {
		run->sets_made = true;
		r = try_types(run, &e);
	}
	run->found.ipset = r >= 0;
	if (r >= 0)
		return;
	if (r == -EBUSY || r == -ENOMEM)
		snprintf(why, sizeof(why), "%.150s", e.msg);
	else if (r == -EPERM || r == -EACCES)
		snprintf(why, sizeof(why), "%s", NEEDS_RIGHTS);
	else if (run->sets_made)
		snprintf(why, sizeof(why), "the kernel lacks an ipset type (OpenWrt: kmod-ipt-ipset): %.80s", e.msg);
	else
		snprintf(why, sizeof(why), "the kernel has no ipset (CONFIG_IP_SET; OpenWrt: kmod-ipt-ipset): %.60s",
			 e.msg);
	for (int i = 0; i < IP_FAMILIES; i++) {
		for (int b = 0; b < FW_BACKENDS; b++) {
			struct ability_part *p = &run->found.part[b][i];

			if (b == FW_NFT || p->absent)
				continue;
			snprintf(p->why, sizeof(p->why), "%s", why);
			p->again = r == -EBUSY || r == -ENOMEM;
		}
	}
}

/* ---- IPv6, script, variant ---- */

static const char *ipv6_absent(void)
{
	cleanup_free char *text = NULL;
	size_t len;

	if (access("/proc/net/if_inet6", F_OK) < 0)
		return "the kernel has no IPv6";
	/* our route is one on lo: where lo has no IPv6 nothing works, wherever else it is off */
	if (io_slurp_path("/proc/sys/net/ipv6/conf/lo/disable_ipv6", 16, &text, &len, NULL) == 0 && text[0] == '1')
		return "IPv6 is switched off (net.ipv6.conf.lo.disable_ipv6 = 1)";
	return NULL;
}

static void judge_families(struct ability_run *run, const struct ability_ask *ask)
{
	const char *why[IP_FAMILIES] = { NULL, ipv6_absent() };

	for (int i = 0; i < IP_FAMILIES; i++) {
		if (!ask->family[i])
			why[i] = i == IP_V4 ? "ipv4 = no" : "ipv6 = no";
		for (int b = 0; b < FW_BACKENDS && why[i]; b++) {
			run->found.part[b][i].absent = true;
			snprintf(run->found.part[b][i].why, ABILITY_WHY, "%s", why[i]);
		}
	}
}

static void judge_script(struct ability_run *run, const char *script)
{
	const char *path = script ? script : "";

	for (int i = 0; i < IP_FAMILIES; i++) {
		struct ability_part *p = &run->found.part[FW_SCRIPT][i];

		p->asked = true;
		if (p->why[0] != '\0')
			continue;
		if (path[0] != '/')
			snprintf(p->why, sizeof(p->why), "[tproxy] script is not set to the path of one");
		else if (access(path, X_OK) < 0)
			snprintf(p->why, sizeof(p->why), "the script %.100s cannot be run: %.40s", path,
				 strerrordesc_np(errno));
		p->ok = p->why[0] == '\0';
	}
}

static void on_version(void *ctx, const struct job_result *result)
{
	struct ability_run *run = ctx;

	run->version = NULL;
	if (job_ok(result)) /* "iptables v1.8.9 (nf_tables)"; before 1.8 there was no other and no word for it */
		snprintf(run->found.variant, sizeof(run->found.variant), "%s",
			 says(result, "nf_tables") ? "nf_tables" : "legacy");
	go_on_when_all_ended(run);
}

static void ask_variant(struct ability_run *run)
{
	static const char *const argv[] = { "iptables", "-V", NULL };
	const struct job_spec spec = { .argv = argv, .deadline_ms = DEADLINE_MS };

	(void)job_start(&run->version, run->reaper, &spec, on_version, run, NULL); /* it is for the log only */
}

/* ---- the run ---- */

static void run_free(struct ability_run *run)
{
	ev_timer_stop(run->reaper->loop, &run->next);
	ev_clear_pending(run->reaper->loop, &run->next);
	ipset_close(run->ipset);
	free(run);
}

/* All have ended: on to the other backend, to the sets, or to the end. */
static void on_next(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct ability_run *run = w->data;
	(void)revents;

	ev_timer_stop(loop, w);
	lack_types(run);
	if (run->setting == CHOICE_AUTO && !run->nft_done && !choice_iptables_whole(&run->found)) {
		run->nft_done = true;
		start_lanes(run, FW_NFT);
		go_on_when_all_ended(run);
		return;
	}
	if (run->sets_made && destroy_sets(run) == -EBUSY && ++run->tidy_tries < TIDY_TRIES) {
		ev_timer_set(w, TIDY_EACH_S, 0.);
		ev_timer_start(loop, w);
		return;
	}
	run->in_done = true;
	run->done(run->ctx, &run->found);
	run_free(run);
}

static struct ability_run *run_new(struct reaper *r, const struct ability_ask *ask)
{
	struct ability_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->reaper = r;
	run->setting = ask->setting;
	run->skip = ask->skip;
	ev_timer_init(&run->next, on_next, 0., 0.);
	run->next.data = run;
	for (int b = 0; b < FW_BACKENDS; b++) {
		for (int i = 0; i < IP_FAMILIES; i++) {
			struct lane *l = &run->lane[b][i];

			l->run = run;
			l->part = &run->found.part[b][i];
			l->backend = (enum fw_backend)b;
			l->family = (enum ip_family)i;
		}
	}
	return run;
}

int ability_probe(struct ability_run **out, struct reaper *r, const struct ability_ask *ask, ability_done_fn done,
		  void *ctx, struct err *e)
{
	struct ability_run *run = run_new(r, ask);

	if (!run)
		return err_sys(e, ENOMEM, "cannot ask what the kernel can do");
	run->done = done;
	run->ctx = ctx;
	judge_families(run, ask);
	if (ask->setting != CHOICE_NFT)
		ask_ipset(run);
	if (ask->setting == CHOICE_SCRIPT)
		judge_script(run, ask->script);
	if (ask->setting == CHOICE_AUTO || ask->setting == CHOICE_IPTABLES) {
		ask_variant(run);
		start_lanes(run, FW_IPTABLES);
	}
	if (ask->setting == CHOICE_NFT)
		start_lanes(run, FW_NFT);
	go_on_when_all_ended(run);
	*out = run;
	return 0;
}

void ability_abandon(struct ability_run *run)
{
	if (!run || run->in_done)
		return;
	job_abandon(run->version);
	for (int b = 0; b < FW_BACKENDS; b++) {
		for (int i = 0; i < IP_FAMILIES; i++)
			job_abandon(run->lane[b][i].job);
	}
	if (run->sets_made)
		(void)destroy_sets(run);
	run_free(run);
}
