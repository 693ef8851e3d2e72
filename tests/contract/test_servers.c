/* servers: what a run of the extractor does to the sets, when runs come, and what happens when they go wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "servers_fixture.h"

static const bool v4_only[IP_FAMILIES] = { [IP_V4] = true };

#define WHOLE "source 11 1\nsummary 0\n"

static void all_that_was_known_is_in_the_set_before_it_is_told_once(void **state)
{
	static const size_t sizes[] = { 0, 1, 3000 };

	NEED_NETNS(state);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct fixture *f;
		char text[64];

		f = begin();
		snprintf(text, sizeof(text), "many %zu 11\n" WHOLE, sizes[i]);
		run(f, SERVERS_START, text);
		assert_int_equal(count(f), sizes[i]);
		assert_int_equal(members(f, IP_V4), 0);
		assert_int_equal(f->filled, 0);
		servers_on(&f->servers, v4_only);
		settle(f);
		assert_int_equal(f->filled, 1);
		assert_int_equal(f->filled_members, sizes[i]);
		run(f, SERVERS_ARMED, text);
		assert_int_equal(f->filled, 1);
		end(f);
	}
}

static void addresses_of_a_family_without_a_set_are_known_and_no_fault(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	servers_on(&f->servers, v4_only);
	run(f, SERVERS_ARMED, "address 45.0.0.1 11 0 0\naddress 2a00::1 11 0 0\n" WHOLE);
	assert_int_equal(members(f, IP_V4), 1);
	assert_int_equal(ledger_count(f->servers.ledger, IP_V6), 1);
	assert_int_equal(logged(f, "cannot update ipset"), 0);
	servers_off(&f->servers);
	make_set(f, IP_V6);
	servers_on(&f->servers, (const bool[IP_FAMILIES]){ true, true });
	settle(f);
	assert_int_equal(members(f, IP_V6), 1);
	end(f);
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void dialled(struct fixture *f, const char *text)
{
	struct addr a = ip(text);

	servers_dialled(&f->servers, &a);
}

static void adopt(struct fixture *f, bool changed)
{
	const struct addr_net fake = { { IP_V4, { 45, 66, 0, 0 } }, 16 };

	servers_adopt(&f->servers, &fake, 1, changed);
}

static int descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* With an empty set, after a run that found nothing. */
static struct fixture *begin_on(void)
{
	struct fixture *f = begin();

	servers_on(&f->servers, v4_only);
	run(f, SERVERS_ARMED, WHOLE);
	return f;
}

static void a_start_asks_for_no_name_and_only_when_something_is_unread(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	run(f, SERVERS_START, "asked\naddress 45.0.0.1 11 0 0\nfresh 11 21\n" WHOLE);
	assert_int_equal(logged(f, "asked for literals"), 1);
	run(f, SERVERS_START, "asked\n" WHOLE);
	assert_int_equal(count(f), 1);
	run(f, SERVERS_FILES, "asked\n" WHOLE); /* without the sets it is only noted */
	assert_int_equal(count(f), 1);
	run(f, SERVERS_START, "exit 1");
	assert_int_equal(logged(f, "exit status 1"), 1);
	run(f, SERVERS_START, "asked\n" WHOLE);
	assert_int_equal(logged(f, "asked for literals"), 2);
	assert_int_equal(count(f), 0);
	adopt(f, false);
	run(f, SERVERS_START, "asked\n" WHOLE);
	assert_int_equal(logged(f, "asked for literals"), 2);
	adopt(f, true);
	run(f, SERVERS_START, "asked\n" WHOLE);
	assert_int_equal(logged(f, "asked for literals"), 3);
	end(f);
}

static void what_changes_while_a_run_reads_is_read_by_the_next_start(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	script(f, "wait\nsource 11 1\nsummary 0\n");
	servers_extract(&f->servers, SERVERS_START);
	adopt(f, true);
	servers_extract(&f->servers, SERVERS_START);
	script(f, "address 45.0.0.1 11 0 0\n" WHOLE);
	let_go(f);
	settle(f);
	assert_int_equal(count(f), 1);
	end(f);
}

static void names_are_asked_for_when_their_answers_end_or_the_config_is_another(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	run(f, SERVERS_FILES, "address 45.0.0.1 11 21 600\naddress 45.0.0.2 11 22 1\n" WHOLE);
	run(f, SERVERS_FILES, "asked\nfresh 11 21\nunresolved 11 22\n" WHOLE);
	assert_int_equal(logged(f, "asked but for 11/21"), 1);
	assert_int_equal(count(f), 2);
	run(f, SERVERS_CLOCK, "asked\naddress 45.0.0.1 11 21 600\nunresolved 11 22\n" WHOLE);
	assert_int_equal(logged(f, "asked for all"), 1);
	adopt(f, true);
	run(f, SERVERS_ARMED, "asked\naddress 45.0.0.1 11 21 600\nunresolved 11 22\n" WHOLE);
	assert_int_equal(logged(f, "asked for all"), 2);
	run(f, SERVERS_ARMED, "asked\nfresh 11 21\n" WHOLE);
	assert_int_equal(logged(f, "asked but for 11/21"), 2);
	assert_int_equal(count(f), 1);
	assert_true(in_set(f, "45.0.0.1") && !in_set(f, "45.0.0.2"));
	end(f);
}

static double due_in(const struct fixture *f)
{
	return ev_is_active(&f->servers.due) ? ev_timer_remaining(f->reaper.loop, (ev_timer *)&f->servers.due) : -1.;
}

static void the_next_run_comes_when_an_answer_ends_but_not_in_a_rush(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	assert_true(due_in(f) < 0);
	run(f, SERVERS_FILES, "address 45.0.0.1 11 21 600\naddress 45.0.0.2 11 22 100\n" WHOLE);
	assert_in_range((int)due_in(f), 98, 100);
	run(f, SERVERS_FILES, "address 45.0.0.1 11 21 0\n" WHOLE);
	assert_in_range((int)(due_in(f) * 10), 45, 200); /* 5 s, or more where the machine is slow */
	script(f, "wait\n" WHOLE);
	servers_extract(&f->servers, SERVERS_FILES);
	assert_true(due_in(f) < 0);
	let_go(f);
	settle(f);
	assert_true(due_in(f) < 0);
	end(f);
}

static void what_has_no_answer_is_tried_again_with_growing_pauses(void **state)
{
	static const int seconds[] = { 5, 10, 20, 40, 60, 60 };
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	f->settings.extract.interval_ms = 60000;
	servers_on(&f->servers, v4_only);
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		run(f, SERVERS_DUE, i % 2 ? "exit 1\n" : "unresolved 11 21\nsource 11 1\nsummary 1\n");
		assert_in_range((int)(due_in(f) + 0.5), seconds[i] - 1, i ? seconds[i] : 20);
	}
	run(f, SERVERS_DUE, WHOLE);
	assert_int_equal(f->servers.retry_ms, 5000);
	end(f);
}

static void a_note_that_is_repeated_unasked_is_told_once(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	run(f, SERVERS_FILES, "note this is odd\n" WHOLE);
	run(f, SERVERS_DUE, "note this is odd\n" WHOLE);
	run(f, SERVERS_ARMED, "note this is odd\n" WHOLE);
	run(f, SERVERS_CLOCK, "note this is odd\n" WHOLE);
	assert_int_equal(logged(f, "this is odd"), 1);
	run(f, SERVERS_ASKED, "note this is odd\n" WHOLE);
	assert_int_equal(logged(f, "this is odd"), 2);
	run(f, SERVERS_CLOCK, WHOLE);
	run(f, SERVERS_CLOCK, "note this is odd\n" WHOLE);
	assert_int_equal(logged(f, "this is odd"), 3);
	end(f);
}

static void what_mihomo_dials_and_nobody_names_is_added_and_counted_once(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	for (int i = 0; i < 2; i++)
		dialled(f, "45.9.9.9");
	dialled(f, "127.0.0.1");
	settle(f);
	assert_int_equal(f->servers.missed, 1);
	assert_true(in_set(f, "45.9.9.9"));
	run(f, SERVERS_CLOCK, WHOLE);
	assert_true(in_set(f, "45.9.9.9"));
	f->settings.extract.grace_ms = 0;
	run(f, SERVERS_CLOCK, WHOLE);
	assert_false(in_set(f, "45.9.9.9"));
	end(f);
}

static void what_is_dialled_before_it_is_named_is_judged_behind_the_run(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	servers_on(&f->servers, v4_only);
	script(f, "wait\naddress 45.0.0.1 11 21 600\n" WHOLE);
	servers_extract(&f->servers, SERVERS_ARMED);
	dialled(f, "45.0.0.1");
	dialled(f, "45.9.9.9");
	assert_int_equal(f->servers.missed, 0);
	let_go(f);
	settle(f);
	assert_int_equal(f->servers.missed, 1);
	assert_int_equal(logged(f, "Mihomo dials 45.9.9.9, which no source names"), 1);
	assert_int_equal(members(f, IP_V4), 2);
	end(f);
}

static void a_literal_that_was_dialled_leaves_with_its_source_all_the_same(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	dialled(f, "45.0.0.2");
	run(f, SERVERS_FILES, "address 45.0.0.1 11 0 0\naddress 45.0.0.2 11 0 0\n" WHOLE);
	dialled(f, "45.0.0.1");
	run(f, SERVERS_FILES, WHOLE);
	assert_int_equal(members(f, IP_V4), 0);
	end(f);
}

static void what_is_fake_or_this_machine_s_own_never_enters(void **state)
{
	static const char said[] =
		"address 45.66.1.1 11 21 60\naddress 45.3.3.3 11 0 0\naddress 45.0.0.1 11 0 0\n" WHOLE;
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	adopt(f, true);
	run(f, SERVERS_FILES, said);
	assert_int_equal(members(f, IP_V4), 2);
	assert_true(sh("ip addr add 45.3.3.3/32 dev lo"));
	run(f, SERVERS_FILES, said);
	dialled(f, "45.3.3.3");
	settle(f);
	assert_int_equal(members(f, IP_V4), 1);
	assert_int_equal(f->servers.missed, 0);
	assert_true(sh("ip addr del 45.3.3.3/32 dev lo"));
	end(f);
}

static void a_run_that_ends_badly_takes_nothing_away_and_owes_all_names(void **state)
{
	static const struct {
		const char *script, *why;
	} rows[] = {
		{ "exit 3\n", "exit status 3" },
		{ "address 45.0.0.1 11 0 0\nsource 11 1\nexit 0\n", "without a summary" },
		{ WHOLE "exit 1\n", "exit status 1" },
		{ "many 3000 11\ngarbage\n", "a bad record" },
		{ "address 45.8.8.8 11 0 0\naddress 127.0.0.1 11 0 0\n" WHOLE, "the forbidden address 127.0.0.1" },
		{ WHOLE "address 127.0.0.1 11 0 0\n", "the forbidden address 127.0.0.1" },
		{ "address 45.8.8.8 0 0 0\n" WHOLE, "45.8.8.8, source 0" },
		{ WHOLE "summary 0\n", "a bad record" },
	};

	NEED_NETNS(state);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture *f;

		f = begin_on();
		run(f, SERVERS_FILES, "address 45.0.0.1 12 0 0\naddress 45.0.0.2 12 21 600\nsource 12 1\nsummary 0\n");
		dialled(f, "45.9.9.9");
		run(f, SERVERS_FILES, rows[i].script);
		if (!strstr(f->servers.warning, rows[i].why))
			fail_msg("row %zu: \"%s\" does not say \"%s\"", i, f->servers.warning, rows[i].why);
		assert_int_equal(members(f, IP_V4), 3);
		assert_int_equal(count(f), 3);
		assert_true(due_in(f) > 0);
		run(f, SERVERS_DUE, "asked\naddress 45.0.0.2 12 21 600\nsource 12 1\nsummary 0\n");
		assert_int_equal(logged(f, "asked for all"), 1);
		assert_string_equal(f->servers.warning, "");
		assert_int_equal(members(f, IP_V4), 2);
		end(f);
	}
}

static void a_distrusted_run_while_the_sets_are_filled_holds_nothing_up(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	run(f, SERVERS_START, "many 3000 11\n" WHOLE);
	adopt(f, true);
	script(f, "address 45.0.0.7 12 0 0\naddress 10.0.0.1 12 0 0\naddress 0.0.0.0 12 0 0\n" WHOLE);
	servers_extract(&f->servers, SERVERS_START);
	servers_on(&f->servers, v4_only);
	servers_extract(&f->servers, SERVERS_ARMED); /* waits for its turn, and is started from within the record */
	settle(f);
	assert_int_equal(f->filled, 1);
	assert_true(logged(f, "the extractor sent the forbidden address") >= 1);
	assert_int_equal(members(f, IP_V4), 3000);
	end(f);
}

static bool not_filled(struct fixture *f)
{
	return !f->filled;
}

/* The window of the seed: what is read while Mihomo starts is in before the rules. */
static void the_rules_wait_a_moment_for_literals_that_are_being_read(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	adopt(f, true);
	script(f, "wait\nmany 3 11\n" WHOLE);
	servers_extract(&f->servers, SERVERS_START);
	servers_on(&f->servers, v4_only);
	assert_int_equal(f->filled, 0);
	let_go(f);
	turn_while(f, not_filled);
	assert_int_equal(f->filled_members, 3);
	settle(f);
	assert_int_equal(f->filled, 1);
	end(f);
}

static void but_not_longer_than_that(void **state)
{
	struct fixture *f;
	int64_t begun;

	NEED_NETNS(state);
	f = begin();
	adopt(f, true);
	script(f, "wait\nmany 3 11\n" WHOLE);
	servers_extract(&f->servers, SERVERS_START);
	begun = clock_ms();
	servers_on(&f->servers, v4_only);
	turn_while(f, not_filled);
	assert_in_range(clock_ms() - begun, 300, 600);
	assert_int_equal(f->filled_members, 0);
	let_go(f);
	settle(f);
	assert_int_equal(f->filled, 1);
	assert_int_equal(members(f, IP_V4), 3);
	end(f);
}

static bool not_sweeping(struct fixture *f)
{
	return !f->servers.sweeping;
}

static void off_in_mid_sweep_forgets_nothing_and_says_nothing(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	run(f, SERVERS_FILES, "many 60000 11\naddress 45.200.0.1 12 0 0\nsource 12 1\n" WHOLE);
	assert_int_equal(members(f, IP_V4), 60001);
	script(f, "address 45.200.0.1 12 0 0\nsource 12 1\n" WHOLE);
	servers_extract(&f->servers, SERVERS_FILES);
	turn_while(f, not_sweeping);
	servers_off(&f->servers);
	servers_extract(&f->servers, SERVERS_FILES);
	servers_extract(&f->servers, SERVERS_START); /* behind the sweep, since a file has changed */
	settle(f);
	assert_int_equal(count(f), 1);
	assert_int_equal(logged(f, "Updated ipset"), 1);
	assert_true(due_in(f) < 0);
	assert_int_equal(ipset_flush(f->ipset, f->settings.ipset.name, NULL), 0);
	servers_on(&f->servers, v4_only);
	settle(f);
	assert_int_equal(members(f, IP_V4), 1);
	end(f);
}

static void a_run_that_the_switch_off_ends_changes_nothing(void **state)
{
	struct fixture *f;
	int open_before;

	NEED_NETNS(state);
	f = begin_on();
	run(f, SERVERS_FILES, "address 45.0.0.1 11 21 600\n" WHOLE);
	open_before = descriptors();
	script(f, "address 45.0.0.2 11 21 600\nwait\n" WHOLE);
	servers_extract(&f->servers, SERVERS_FILES);
	servers_extract(&f->servers, SERVERS_ASKED);
	servers_off(&f->servers);
	assert_false(is_busy(f));
	assert_int_equal(descriptors(), open_before);
	run(f, SERVERS_START, "asked\nfresh 11 21\n" WHOLE); /* what it had read is read anew */
	assert_int_equal(logged(f, "asked for literals"), 1);
	servers_forget(&f->servers);
	assert_int_equal(count(f), 0);
	end(f);
}

static void what_the_kernel_refused_goes_in_with_the_next_run(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	assert_int_equal(ipset_destroy(f->ipset, f->settings.ipset.name, NULL), 0);
	run(f, SERVERS_FILES, "address 45.0.0.1 11 0 0\n" WHOLE);
	assert_int_equal(logged(f, "cannot update ipset"), 1);
	make_set(f, IP_V4);
	run(f, SERVERS_CLOCK, "address 45.0.0.1 11 0 0\n" WHOLE);
	assert_int_equal(members(f, IP_V4), 1);
	end(f);
}

static void a_full_ledger_is_told_once_a_run(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin_on();
	run(f, SERVERS_FILES, "many 131072 11\n" WHOLE);
	assert_int_equal(members(f, IP_V4), 131072);
	run(f, SERVERS_FILES, "address 45.200.0.1 12 0 0\naddress 45.200.0.2 12 0 0\nsource 11 0\nsummary 0\n");
	assert_int_equal(logged(f, "left out: more addresses than the ledger takes"), 1);
	assert_int_equal(members(f, IP_V4), 131072);
	end(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_was_known_is_in_the_set_before_it_is_told_once),
		cmocka_unit_test(addresses_of_a_family_without_a_set_are_known_and_no_fault),
		cmocka_unit_test(a_start_asks_for_no_name_and_only_when_something_is_unread),
		cmocka_unit_test(what_changes_while_a_run_reads_is_read_by_the_next_start),
		cmocka_unit_test(names_are_asked_for_when_their_answers_end_or_the_config_is_another),
		cmocka_unit_test(the_next_run_comes_when_an_answer_ends_but_not_in_a_rush),
		cmocka_unit_test(what_has_no_answer_is_tried_again_with_growing_pauses),
		cmocka_unit_test(a_note_that_is_repeated_unasked_is_told_once),
		cmocka_unit_test(what_mihomo_dials_and_nobody_names_is_added_and_counted_once),
		cmocka_unit_test(what_is_dialled_before_it_is_named_is_judged_behind_the_run),
		cmocka_unit_test(a_literal_that_was_dialled_leaves_with_its_source_all_the_same),
		cmocka_unit_test(what_is_fake_or_this_machine_s_own_never_enters),
		cmocka_unit_test(a_run_that_ends_badly_takes_nothing_away_and_owes_all_names),
		cmocka_unit_test(a_distrusted_run_while_the_sets_are_filled_holds_nothing_up),
		cmocka_unit_test(the_rules_wait_a_moment_for_literals_that_are_being_read),
		cmocka_unit_test(but_not_longer_than_that),
		cmocka_unit_test(off_in_mid_sweep_forgets_nothing_and_says_nothing),
		cmocka_unit_test(a_run_that_the_switch_off_ends_changes_nothing),
		cmocka_unit_test(what_the_kernel_refused_goes_in_with_the_next_run),
		cmocka_unit_test(a_full_ledger_is_told_once_a_run),
	};

	be_the_extractor(argc, argv);
	proc_clean_start();
	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
