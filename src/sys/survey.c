#include "clashsup/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clashsup/procfs.h"
#include "sys/survey_look.h"

enum listing { LIST_V4, LIST_V6, LIST_LEGACY_V4, LIST_LEGACY_V6, LIST_NFT, LISTINGS };

static const struct {
	const char *argv[7];
	enum ip_family family;
	const char *tool; /* that deletes what is listed; NULL: nft */
} listing[LISTINGS] = {
	[LIST_V4] = { { "iptables-save", NULL }, IP_V4, "iptables" },
	[LIST_V6] = { { "ip6tables-save", NULL }, IP_V6, "ip6tables" },
	[LIST_LEGACY_V4] = { { "iptables-legacy-save", NULL }, IP_V4, "iptables-legacy" },
	[LIST_LEGACY_V6] = { { "ip6tables-legacy-save", NULL }, IP_V6, "ip6tables-legacy" },
	[LIST_NFT] = { { "nft", "-j", "-t", "list", "ruleset", NULL }, IP_V4, NULL },
};

/* One listing: its text is kept until all are there, since nft's is read behind those of iptables. */
struct lane {
	struct survey *survey;
	enum listing what;
	struct job *job;
	char *text;
	size_t len;
};

struct survey {
	struct reaper *reaper;
	struct survey_ask ask;
	struct iface_list lan_ifaces; /* the copy of those asked for */
	struct addr_net lan[SURVEY_NETS_MAX];
	size_t n_lan;
	struct lane lane[LISTINGS];
	unsigned running;
	bool in_done;
	ev_timer over; /* never started, only fed: `done` is called from the loop, never from our caller's stack */
	survey_done_fn done;
	void *ctx;
	struct survey_facts facts;
};

static void survey_free(struct survey *s)
{
	ev_clear_pending(s->reaper->loop, &s->over);
	for (int i = 0; i < LISTINGS; i++) {
		job_abandon(s->lane[i].job);
		free(s->lane[i].text);
	}
	free(s->lan_ifaces.ifaces);
	free(s);
}

/* ---- when all listings are there ---- */

static void unknown(struct survey *s, const char *program, const char *why)
{
	size_t used = strlen(s->facts.unknown);

	snprintf(s->facts.unknown + used, sizeof(s->facts.unknown) - used, "%s%s: %s", used ? "; " : "", program, why);
}

static void read_listing(struct survey *s, enum listing what, const struct survey_view *view)
{
	struct lane *l = &s->lane[what];
	struct err e = ERR_INIT;
	int r;

	if (!l->text)
		return;
	if (what == LIST_NFT)
		r = survey_nft(l->text, l->len, view, &s->facts.rules, &e);
	else
		r = survey_iptables(l->text, l->len, listing[what].family, listing[what].tool, view, &s->facts.rules,
				    &e);
	if (r < 0)
		unknown(s, listing[what].argv[0], e.msg);
	else
		s->facts.rules_known = true;
	free(l->text);
	l->text = NULL;
}

static void on_over(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct survey *s = w->data;
	struct iface_list names = { 0 };
	struct iface lan[SURVEY_LINKS_MAX];
	struct survey_view view = { .port = s->ask.port, .lan_ifaces = &names, .lan = s->lan, .n_lan = s->n_lan };
	(void)loop;
	(void)revents;

	names.ifaces = lan;
	for (size_t i = 0; i < s->facts.n_links; i++) {
		if (s->facts.links[i].lan)
			memcpy(lan[names.n++].name, s->facts.links[i].name, sizeof(lan[0].name));
	}
	read_listing(s, LIST_V4, &view);
	read_listing(s, LIST_V6, &view);
	for (enum listing i = LIST_LEGACY_V4; i <= LIST_LEGACY_V6; i++) {
		if (s->facts.rules.nft_variant[listing[i].family]) /* else the plain name is the legacy one */
			read_listing(s, i, &view);
	}
	read_listing(s, LIST_NFT, &view);
	s->in_done = true;
	s->done(s->ctx, &s->facts);
	survey_free(s);
}

/* ---- jobs ---- */

static void on_listed(void *ctx, const struct job_result *result)
{
	struct lane *l = ctx;
	struct survey *s = l->survey;
	char why[128];

	l->job = NULL;
	if (!job_ok(result))
		unknown(s, listing[l->what].argv[0], job_why(result, why, sizeof(why)));
	else if (result->output_cut)
		unknown(s, listing[l->what].argv[0], "its list is too long");
	else if ((l->text = malloc(result->output_len + 1)))
		memcpy(l->text, result->output, l->len = result->output_len);
	else
		unknown(s, listing[l->what].argv[0], "out of memory");
	if (--s->running == 0)
		ev_feed_event(s->reaper->loop, &s->over, EV_TIMER);
}

static bool worth_it(enum listing what)
{
	if (!survey_on_path(listing[what].argv[0]))
		return false;
	if (what == LIST_LEGACY_V4 || what == LIST_LEGACY_V6)
		return survey_legacy_there(listing[what].family);
	return what != LIST_NFT || survey_nft_there();
}

static void start_listing(struct survey *s, enum listing what)
{
	const struct job_spec spec = { .argv = listing[what].argv,
				       .deadline_ms = SURVEY_DEADLINE_MS,
				       .output_max = SURVEY_LISTING_MAX,
				       .in_child = job_no_stderr };
	struct lane *l = &s->lane[what];
	struct err e = ERR_INIT;

	*l = (struct lane){ .survey = s, .what = what };
	if (!worth_it(what))
		return;
	if (job_start(&l->job, s->reaper, &spec, on_listed, l, &e) < 0)
		unknown(s, listing[what].argv[0], e.msg);
	else
		s->running++;
}

static int copy_lan(struct survey *s, const struct iface_list *from)
{
	if (!from || from->n == 0)
		return 0;
	s->lan_ifaces.ifaces = calloc(from->n, sizeof(*from->ifaces));
	if (!s->lan_ifaces.ifaces)
		return -ENOMEM;
	memcpy(s->lan_ifaces.ifaces, from->ifaces, from->n * sizeof(*from->ifaces));
	s->lan_ifaces.n = from->n;
	return 0;
}

int survey_start(struct survey **out, struct reaper *r, const struct survey_ask *ask, survey_done_fn done, void *ctx,
		 struct err *e)
{
	struct survey *s = calloc(1, sizeof(*s));

	if (!s)
		return err_sys(e, ENOMEM, "cannot look at the network");
	s->reaper = r;
	s->ask = *ask;
	s->done = done;
	s->ctx = ctx;
	ev_init(&s->over, on_over);
	s->over.data = s;
	if (copy_lan(s, ask->lan_ifaces) < 0) {
		survey_free(s);
		return err_sys(e, ENOMEM, "cannot look at the network");
	}
	survey_look_links(&s->facts, &s->lan_ifaces, s->lan, &s->n_lan);
	survey_look_routing(&s->facts, ask);
	survey_look_dns(&s->facts, ask->mihomo);
	if (ask->mihomo > 0)
		(void)procfs_tun(ask->mihomo, s->facts.tun);
	for (int i = 0; i < LISTINGS; i++)
		start_listing(s, (enum listing)i);
	if (s->running == 0)
		ev_feed_event(r->loop, &s->over, EV_TIMER);
	*out = s;
	return 0;
}

void survey_abandon(struct survey *s)
{
	if (s && !s->in_done)
		survey_free(s);
}
