#include "daemon/servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clashsup/log.h"
#include "daemon/clock.h"
#include "daemon/memory.h"

#define PAUSE_MS 5000	   /* at least, between a run and the next that nobody asked for */
#define PAUSE_MAX_MS 60000 /* ... which is twenty times what the last one took, up to this */
#define PAUSE_FACTOR 20
#define PATIENCE_MS 300 /* the rules wait so long at most for literals that are being read */

size_t servers_known(const struct servers *s)
{
	return ledger_count(s->ledger, IP_V4) + ledger_count(s->ledger, IP_V6);
}

/* ---- the queue to the kernel ---- */

static void queue_start(struct servers *s)
{
	if (ev_is_active(&s->flush))
		return;
	ev_timer_set(&s->flush, 0.0, 0.0);
	ev_timer_start(s->loop, &s->flush);
}

static void queue_put(void *ctx, const struct addr *a, bool enters)
{
	struct servers *s = ctx;

	/* what is known goes in with the sets; what an earlier life knew may be ours by now */
	if (!s->on || !s->family[a->family] || (enters && no_server_has(&s->no_server, a)))
		return;
	changes_put(&s->changes, a, enters);
	queue_start(s);
}

/* The same for what the union did not have, or has no more. */
static void queue_change(void *ctx, const struct addr *a, bool enters)
{
	struct servers *s = ctx;

	s->changed = s->dirty = true;
	queue_put(s, a, enters);
}

/* Everything that was known when the sets came is in them. */
static void tell_filled(struct servers *s)
{
	if (!s->filling || s->feeding || changes_left(&s->changes) || ev_is_active(&s->patience))
		return;
	s->filling = false;
	s->filled(s->ctx);
}

static void finish_run(struct servers *s);

/* One slice of what is to do, a loop turn: no part of it takes long. */
static void on_flush(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct servers *s = w->data;
	(void)loop;
	(void)revents;

	if (s->held)
		return;
	if (s->feeding)
		s->feeding = ledger_each(s->ledger, &s->cursor, queue_put, s);
	if (s->sweeping) {
		s->sweeping = ledger_sweep(s->ledger, queue_change, s);
		if (!s->sweeping)
			finish_run(s);
	}
	if (changes_flush(&s->changes, s->change, s->ctx))
		s->updated = clock_both();
	if (s->feeding || s->sweeping || changes_left(&s->changes)) {
		queue_start(s);
		return;
	}
	changes_clear(&s->changes);
	memory_give_back();
	tell_filled(s);
}

/* All that is known goes in again. */
static void feed(struct servers *s)
{
	s->feeding = true;
	s->cursor = 0;
	queue_start(s);
}

void servers_refeed(struct servers *s)
{
	if (s->on)
		feed(s);
}

void servers_hold(struct servers *s, bool hold)
{
	s->held = hold;
	if (!hold && (s->feeding || s->sweeping || s->filling || changes_left(&s->changes)))
		queue_start(s);
}

struct address_list {
	const struct servers *s;
	struct addr *at;
	size_t n, cap;
	bool family[IP_FAMILIES]; /* those that are listed */
};

static void list_address(void *ctx, const struct addr *a, bool enters)
{
	struct address_list *list = ctx;
	(void)enters;

	if (list->n < list->cap && list->family[a->family] && !no_server_has(&list->s->no_server, a))
		list->at[list->n++] = *a;
}

size_t servers_list(const struct servers *s, struct addr **out)
{
	struct address_list list = { .s = s,
				     .cap = servers_known(s),
				     .family = { s->family[IP_V4], s->family[IP_V6] } };
	size_t cursor = 0;

	*out = list.at = s->on && list.cap ? malloc(list.cap * sizeof(*list.at)) : NULL;
	while (list.at && ledger_each(s->ledger, &cursor, list_address, &list))
		;
	return list.at ? list.n : 0;
}

bool servers_settled(const struct servers *s, enum ip_family family)
{
	struct addr one;
	struct address_list list = { .s = s, .at = &one, .cap = 1 };
	size_t cursor = 0;

	list.family[family] = true;
	if (!s->on || !s->family[family] || servers_busy(s))
		return false;
	while (!list.n && ledger_each(s->ledger, &cursor, list_address, &list))
		;
	return list.n > 0;
}

/* ---- a run ---- */

/* What has to leave does so slice by slice; the run is over behind that. */
static void sweep(struct servers *s)
{
	s->sweeping = true;
	on_flush(s->loop, &s->flush, 0);
}

/* A record that no honest helper sends: it is ended, and all that its run brought is taken back. */
static void distrust(struct servers *s, const char *what)
{
	log_error(LOG_PROXY_IPS, "the extractor sent %s: ended, the set stays as it is", what);
	snprintf(s->warning, sizeof(s->warning), "the extractor sent %.200s", what);
	helper_abandon(s->helper);
	s->helper = NULL;
	s->whole = false;
	ledger_rollback(s->ledger);
	sweep(s);
}

static void take_address(struct servers *s, const struct wire_record *r)
{
	const struct addr *a = &r->u.address.addr;
	int64_t now_ms = clock_ms(), due_ms = 0;
	char text[ADDR_TEXT], what[128];
	int n;

	if (addr_is_special(a) || !r->u.address.source) {
		snprintf(what, sizeof(what), "the forbidden address %s, source %u", addr_text(a, text),
			 r->u.address.source);
		distrust(s, what);
		return;
	}
	if (no_server_has(&s->no_server, a))
		return;
	if (r->u.address.host)
		due_ms = now_ms + (int64_t)r->u.address.ttl_s * 1000;
	n = ledger_add(s->ledger, a, r->u.address.source, r->u.address.host, now_ms, due_ms);
	if (n == 1)
		queue_change(s, a, true);
	else if (n < 0 && !s->left_out++) /* once a run */
		log_error(LOG_PROXY_IPS, "%s and what follows are left out: %s", addr_text(a, text),
			  n == -ENOSPC ? "more addresses than the ledger takes" : "out of memory");
}

/* Runs that nobody asked for repeat what they have to say: it is told when it is new. */
static void take_note(struct servers *s, bool warn, const char *text)
{
	bool again = notes_again(&s->notes, text);

	if (!again || s->why >= SERVERS_FILES)
		log_line(warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, LOG_PROXY_IPS, "%s", text);
}

static void on_record(void *ctx, const struct wire_record *r)
{
	struct servers *s = ctx;

	switch (r->type) {
	case WIRE_ADDRESS:
		take_address(s, r);
		break;
	case WIRE_UNRESOLVED:
		ledger_unresolved(s->ledger, r->u.unresolved.source, r->u.unresolved.host);
		break;
	case WIRE_FRESH:
		ledger_fresh(s->ledger, r->u.fresh.source, r->u.fresh.host);
		break;
	case WIRE_SOURCE:
		ledger_source(s->ledger, r->u.source.source, r->u.source.complete);
		break;
	case WIRE_SUMMARY:
		s->whole = true;
		s->summary = r->u.summary;
		break;
	case WIRE_NOTE:
		take_note(s, r->u.note.warn, r->u.note.text);
		break;
	case WIRE_NAME:
	case WIRE_SETTING:
	case WIRE_HEALTH:
	case WIRE_DIALLED:
	case WIRE_TYPES:
		break;
	}
}

static void say_start(const struct servers *s)
{
	if (s->why == SERVERS_CLOCK)
		log_info(LOG_PROXY_IPS, "Checking for proxy IP updates...");
	else if (s->why > SERVERS_CLOCK)
		log_info(LOG_CLASH, "Extracting proxy server IPs (async)...");
}

static void say_result(const struct servers *s)
{
	size_t count = servers_known(s);
	bool changed = s->changed || count != s->before;

	if (s->why == SERVERS_START || !s->on)
		return;
	if (s->why <= SERVERS_CLOCK) {
		if (!changed)
			return;
		log_info(LOG_PROXY_IPS, "Proxy IPs changed, updating ipset (old: %zu, new: %zu)", s->before, count);
		log_info(LOG_PROXY_IPS, "ipset updated successfully");
		return;
	}
	if (!count) {
		log_info(LOG_CLASH, "No proxy IPs found");
		return;
	}
	log_info(LOG_CLASH, "Found %zu unique proxy IPs, updating ipset...", count);
	if (!changed)
		log_info(LOG_CLASH, "Proxy IPs unchanged, skipping update");
	else
		log_info(LOG_CLASH, "Updated ipset %s: %zu → %zu IPs", s->setup.settings->ipset.name, s->before, count);
}

/* When the next answer has lived its TTL, or is missing; the pause is long where a run is. */
static void plan_next(struct servers *s)
{
	bool good = s->whole && !s->summary.unresolved;
	int64_t now_ms = s->last.mono_ms, next = ledger_next_due(s->ledger, s->began_ms);
	int64_t pause = s->duration_ms * PAUSE_FACTOR;

	pause = pause < PAUSE_MS ? PAUSE_MS : pause > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause;
	if (good)
		s->retry_ms = PAUSE_MS;
	else if (next > now_ms + s->retry_ms)
		next = now_ms + s->retry_ms;
	if (!good)
		s->retry_ms = s->retry_ms * 2 < s->setup.settings->extract.interval_ms
				      ? s->retry_ms * 2
				      : s->setup.settings->extract.interval_ms;
	ev_timer_stop(s->loop, &s->due);
	if (!s->on || next == INT64_MAX)
		return;
	ev_timer_set(&s->due, (double)(next < now_ms + pause ? pause : next - now_ms) / 1000.0, 0.0);
	ev_timer_start(s->loop, &s->due);
}

/* An empty ledger is no news: what the file says leaves by itself after the next start. */
static void save(struct servers *s)
{
	if (servers_known(s))
		remember_save(&s->remember, s->dirty);
	s->dirty = false;
}

bool servers_saving(struct servers *s)
{
	if (s->dirty)
		save(s);
	remember_hurry(&s->remember);
	return remember_busy(&s->remember);
}

static void count_missed(struct servers *s, const struct addr *a)
{
	char text[ADDR_TEXT];

	s->missed++;
	log_info(LOG_PROXY_IPS, "Mihomo dials %s, which no source names: added", addr_text(a, text));
}

/* A run that has read all and asked for names: what was dialled and is not named now was missed. */
static void judge_unsure(struct servers *s)
{
	for (size_t i = 0; i < s->n_unsure; i++) {
		if (!ledger_named(s->ledger, &s->unsure[i]))
			count_missed(s, &s->unsure[i]);
	}
	s->n_unsure = 0;
}

/* A run in hand came to nothing: what it should have read and asked for is still to be. */
static void owe(struct servers *s)
{
	s->read = false;
	s->anew = true;
}

/* Behind a run, however it ended. */
static void finish_run(struct servers *s)
{
	enum servers_why next = s->next;

	ev_timer_stop(s->loop, &s->patience);
	if (s->whole) {
		s->warning[0] = '\0';
		say_result(s);
		if (s->why > SERVERS_START) {
			s->known = true;
			judge_unsure(s);
		}
		save(s);
	} else {
		owe(s);
	}
	s->last = clock_both();
	s->duration_ms = s->last.mono_ms - s->began_ms;
	s->next = SERVERS_NO_RUN;
	notes_end(&s->notes);
	plan_next(s);
	servers_extract(s, next);
}

static void on_end(void *ctx, enum helper_end end, const char *why)
{
	struct servers *s = ctx;

	s->helper = NULL;
	if (end == HELPER_OK && !s->whole)
		why = "it ended without a summary";
	s->whole = s->whole && end == HELPER_OK;
	if (!s->whole) {
		log_error(LOG_CLASH, "Failed to update proxy IPs (will retry in monitoring loop): %s", why);
		snprintf(s->warning, sizeof(s->warning), "the last extraction failed: %.200s", why);
	}
	if (end == HELPER_BAD_RECORD)
		ledger_rollback(s->ledger);
	else
		ledger_end(s->ledger, s->whole, clock_ms(), s->setup.settings->extract.grace_ms);
	sweep(s);
}

static void begin_run(struct servers *s, enum servers_why why)
{
	s->why = why;
	s->whole = s->changed = false;
	s->read = true;
	s->left_out = 0;
	notes_begin(&s->notes);
	s->before = s->known ? servers_known(s) : 0; /* what was there before the first run came with the empty set */
	s->began_ms = clock_ms();
	ev_timer_stop(s->loop, &s->due);
	if (s->changes.lost) { /* what was known and may be missing; there already is fine */
		s->changes.lost = false;
		feed(s);
	}
	no_server_learn(&s->no_server);
	ledger_begin(s->ledger);
}

static enum extraction_names names_of(struct servers *s)
{
	if (s->why == SERVERS_START)
		return EXTRACT_LITERALS;
	if (!s->anew && s->why != SERVERS_CLOCK && s->why != SERVERS_ASKED)
		return EXTRACT_DUE;
	s->anew = false;
	return EXTRACT_ALL;
}

void servers_adopt(struct servers *s, const struct addr_net *fake, size_t n_fake, bool changed)
{
	s->no_server.n_fake = n_fake < NO_SERVER_FAKE_MAX ? n_fake : NO_SERVER_FAKE_MAX;
	memcpy(s->no_server.fake, fake, s->no_server.n_fake * sizeof(*fake));
	s->read &= !changed;
	s->anew |= changed;
}

void servers_extract(struct servers *s, enum servers_why why)
{
	static const struct helper_ops ops = { on_record, on_end };
	struct err e = ERR_INIT;

	if (why == SERVERS_FILES)
		s->read = false;
	if (why == SERVERS_NO_RUN || !(s->on || why == SERVERS_START))
		return;
	if (s->helper || s->sweeping) {
		s->next = why > s->next ? why : s->next;
		return;
	}
	if (why == SERVERS_START && s->read)
		return;
	begin_run(s, why);
	say_start(s);
	if (extraction_start(&s->helper, &s->setup, names_of(s), s->ledger, &ops, s, &e) < 0) {
		s->helper = NULL;
		on_end(s, HELPER_FAILED, e.msg);
	}
}

void servers_dialled(struct servers *s, const struct addr *a)
{
	if (!s->on || addr_is_special(a) || no_server_has(&s->no_server, a) ||
	    ledger_dialled(s->ledger, a, clock_ms()) != 1)
		return;
	queue_change(s, a, true);
	if (s->known && !s->helper)
		count_missed(s, a);
	else if (s->n_unsure < SERVERS_UNSURE) /* it may yet be named */
		s->unsure[s->n_unsure++] = *a;
}

/* ---- on and off ---- */

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct servers *s = w->data;
	(void)loop;
	(void)revents;

	servers_extract(s, w == &s->due ? SERVERS_DUE : SERVERS_CLOCK);
}

static void on_patience(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;

	tell_filled(w->data);
}

/* Literals that are being read while Mihomo starts are worth a moment: in the set they are there before the rules. */
static void be_patient(struct servers *s)
{
	if (!s->helper || s->why != SERVERS_START)
		return;
	ev_now_update(s->loop);
	ev_timer_set(&s->patience, PATIENCE_MS / 1000.0, 0.0);
	ev_timer_start(s->loop, &s->patience);
}

void servers_set_interval(struct servers *s)
{
	ev_tstamp repeat = (double)s->setup.settings->extract.interval_ms / 1000.0;

	if (s->periodic.repeat >= repeat && s->periodic.repeat <= repeat)
		return;
	s->periodic.repeat = repeat;
	if (ev_is_active(&s->periodic))
		ev_timer_again(s->loop, &s->periodic);
}

void servers_on(struct servers *s, const bool family[IP_FAMILIES])
{
	memcpy(s->family, family, sizeof(s->family));
	s->on = s->filling = true;
	changes_clear(&s->changes);
	be_patient(s);
	feed(s);
	on_flush(s->loop, &s->flush, 0);
	ev_timer_again(s->loop, &s->periodic);
}

void servers_rest(struct servers *s)
{
	s->next = SERVERS_NO_RUN;
	if (s->helper)
		owe(s);
	helper_abandon(s->helper);
	s->helper = NULL;
	ev_timer_stop(s->loop, &s->due);
	ev_timer_stop(s->loop, &s->patience);
}

void servers_off(struct servers *s)
{
	servers_rest(s);
	s->on = s->filling = s->feeding = false;
	changes_clear(&s->changes); /* a sweep goes on: an entry that is to leave must not come back */
	ev_timer_stop(s->loop, &s->periodic);
}

bool servers_busy(const struct servers *s)
{
	return s->helper || changes_left(&s->changes) || s->feeding || s->sweeping;
}

void servers_forget(struct servers *s)
{
	servers_off(s);
	ledger_clear(s->ledger);
	s->read = s->known = s->sweeping = false;
	s->n_unsure = 0;
}

static void restore(void *ctx, const struct addr *a, uint32_t source, uint32_t host, int64_t seen_ms)
{
	struct servers *s = ctx;

	(void)ledger_restore(s->ledger, a, source, host, seen_ms);
}

int servers_save(const struct servers *s, struct lastgood *out)
{
	return remember_encode(s->ledger, out);
}

int servers_load(struct servers *s, const void *bytes, size_t len, struct err *e)
{
	s->known = true; /* what Mihomo dials beside these is missed */
	return remember_decode(bytes, len, s->setup.settings->extract.grace_ms, restore, s, e);
}

int servers_init(struct servers *s, struct err *e)
{
	int r;
	uint64_t secret;

	if (getrandom(&secret, sizeof(secret), GRND_NONBLOCK) !=
	    sizeof(secret)) /* early at boot it may have none yet */
		secret = (uint64_t)clock_us();
	s->ledger = ledger_new(secret);
	if (!s->ledger)
		return err_set(e, ENOMEM, "out of memory");
	r = remember_init(&s->remember, s->setup.reaper, s->ledger, s->setup.settings->state.dir, e);
	if (r < 0)
		return r;
	no_server_learn(&s->no_server);
	s->retry_ms = PAUSE_MS;
	ev_timer_init(&s->flush, on_flush, 0.0, 0.0);
	ev_timer_init(&s->due, on_timer, 0.0, 0.0);
	ev_timer_init(&s->patience, on_patience, 0.0, 0.0);
	ev_timer_init(&s->periodic, on_timer, 0.0, (double)s->setup.settings->extract.interval_ms / 1000.0);
	s->flush.data = s->patience.data = s->periodic.data = s->due.data = s;
	return 0;
}

void servers_recall(struct servers *s)
{
	remember_load(&s->remember, s->setup.settings->extract.grace_ms, restore, s);
}

void servers_deinit(struct servers *s)
{
	servers_off(s);
	ev_timer_stop(s->loop, &s->flush);
	remember_deinit(&s->remember);
	ledger_free(s->ledger);
}
