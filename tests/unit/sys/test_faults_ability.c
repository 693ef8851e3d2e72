/*
 * ability while memory, descriptors or processes are out: an error, or an answer
 * that says "ask again"; never a verdict on the kernel, and nothing left.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/ability.h"
#include "failing.h"
#include "netns.h"

struct seen {
	struct reaper reaper;
	struct ability found;
	int done;
};

static void on_done(void *ctx, const struct ability *found)
{
	struct seen *s = ctx;

	s->found = *found;
	s->done++;
	ev_break(s->reaper.loop, EVBREAK_ALL);
}

/* 0 after an answer, or -errno; the faults last until then. */
static int probe(struct seen *s, enum choice_setting setting, struct err *e)
{
	const struct ability_ask ask = { .setting = setting, .family = { true, true }, .skip = FW_LACKS_MAC };
	struct ability_run *run;
	int r;

	s->done = 0;
	r = ability_probe(&run, &s->reaper, &ask, on_done, s, e);
	if (r < 0)
		return r;
	ev_run(s->reaper.loop, 0);
	assert_int_equal(s->done, 1);
	return 0;
}

static void no_verdict(const struct seen *s, enum fw_backend b, int r, const struct err *e)
{
	if (r < 0) {
		assert_int_equal(r, -e->code);
		assert_true(e->msg[0] != '\0');
		return;
	}
	for (int i = 0; i < IP_FAMILIES; i++) {
		const struct ability_part *p = &s->found.part[b][i];

		assert_true(p->ok || p->again);
		assert_true(p->ok || p->why[0] != '\0');
	}
}

static void nothing_is_left(const struct seen *s, int open_before)
{
	assert_null(s->reaper.list);
	assert_int_equal(descriptors(), open_before);
	assert_false(sh("ipset list -n | grep -q clash_probe"));
}

static void each_fault(struct seen *s, enum choice_setting setting, enum fw_backend b)
{
	static const struct {
		enum failing_call call;
		int errnum;
	} calls[] = { { CALL_PIPE2, EMFILE }, { CALL_FORK, EAGAIN } };
	int open_before;
	bool failed = true;
	struct err e = ERR_INIT;

	assert_int_equal(probe(s, setting, &e), 0); /* what libraries keep open is open now */
	open_before = descriptors();
	for (long n = 0; failed; n++) {
		int r;

		fail_allocation(n);
		r = probe(s, setting, &e);
		failed = allocations_work();
		no_verdict(s, b, r, &e);
		nothing_is_left(s, open_before);
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		failed = true;
		for (long n = 0; failed; n++) {
			int r;

			fail_call(calls[i].call, n, calls[i].errnum);
			r = probe(s, setting, &e);
			failed = call_works(calls[i].call);
			no_verdict(s, b, r, &e);
			nothing_is_left(s, open_before);
		}
	}
	assert_int_equal(probe(s, setting, &e), 0);
	assert_true(s->found.part[b][IP_V4].ok && s->found.part[b][IP_V6].ok);
}

static int setup(void **state)
{
	static struct seen s;

	if (netns_enter(state) < 0)
		return -1;
	if (!*state)
		return 0;
	proc_clean_start();
	reaper_start(&s.reaper, ev_default_loop(0));
	*state = &s;
	return 0;
}

static void iptables_is_asked_again_after_each_fault(void **state)
{
	NEED_NETNS(state);
	each_fault(*state, CHOICE_IPTABLES, FW_IPTABLES);
}

static void nft_is_asked_again_after_each_fault(void **state)
{
	NEED_NETNS(state);
	each_fault(*state, CHOICE_NFT, FW_NFT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iptables_is_asked_again_after_each_fault),
		cmocka_unit_test(nft_is_asked_again_after_each_fault),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
