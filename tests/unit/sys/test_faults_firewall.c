/*
 * firewall: programs that fail, hang, are killed, print too much or cannot be
 * started: an error in words, nothing half done, and the next operation works.
 */
#include "firewall_fixture.h"

#include "failing.h"

static void hang(struct fixture *x, bool yes)
{
	const char *variant = variant_of();

	if (yes) {
		put_program(x, "iptables-restore", "exec sleep 30");
		put_program(x, "ip6tables-restore", "exec sleep 30");
		put_program(x, "nft", "exec sleep 30");
	} else {
		use_variant(x, variant);
		drop_program(x, "nft");
	}
}

static void an_aborted_apply_is_over_at_once_and_can_be_repeated(void **state)
{
	struct fixture *x = fixture(state);
	ev_timer timer;
	double start;

	hang(x, true);
	abort_after(x, &timer, .1);
	start = now_ms();
	apply(x, &params);
	assert_true(now_ms() - start < 5000);
	assert_true(x->result.aborted);
	assert_int_equal(x->result.family[IP_V4], -ECANCELED);
	assert_int_equal(x->result.family[IP_V6], -ECANCELED);
	hang(x, false);
	/* as if the killed job had got through: what is there must not be doubled */
	assert_int_equal(sh("iptables -t mangle -N CLASH_TPROXY && iptables -t mangle -A PREROUTING -j CLASH_TPROXY"),
			 0);
	if (x->backend == FW_NFT)
		assert_int_equal(sh("iptables -t mangle -D PREROUTING 1 && iptables -t mangle -X CLASH_TPROXY &&"
				    "nft add table inet clashsup && nft add chain inet clashsup old"),
				 0);
	apply(x, &params);
	assert_ok(x);
	if (x->backend == FW_IPTABLES)
		assert_true(have("iptables-save -t mangle | grep -c 'PREROUTING -j CLASH_TPROXY'", "1\n"));
	else
		assert_false(have(RULES_CMD, "chain old"));
	remove_all(x);
	assert_ok(x);
	assert_false(have(RULES_CMD, "CLASH"));
}

static void an_aborted_look_is_told(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_look(x->fw, x->backend, on_look, x, &e), 0);
	firewall_abort(x->fw);
	wait_done(x);
	assert_true(x->result.aborted);
	assert_int_equal(x->result.family[IP_V4], -ECANCELED);
	look(x);
	assert_ok(x);
}

static void freeing_abandons_what_runs(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, x->backend, &params, ALL, both, on_done, x, &e), 0);
	firewall_free(x->fw);
	assert_int_equal(firewall_new(&x->fw, &x->reaper, NULL, &e), 0);
	for (int i = 0; i < 5; i++) {
		ev_sleep(.02);
		ev_run(x->loop, EVRUN_NOWAIT);
	}
	assert_int_equal(x->done, 0);
}

/* A listing of 2 MiB with our rule at its end. */
static void a_long_listing_is_read_to_its_end(void **state)
{
	struct fixture *x = fixture(state);

	apply(x, &params);
	assert_ok(x);
	if (x->backend == FW_NFT)
		assert_int_equal(sh("{ echo 'table inet clashsup { chain long {'; yes 'tcp dport 1 accept' | head -n "
				    "20000; echo '}'; echo 'chain zz { tcp dport 1 accept; }'; echo '}'; } | nft -f -"),
				 0);
	else
		assert_int_equal(sh("{ echo '*mangle'; echo ':AAA - [0:0]'; for i in $(seq 1 20000); do echo \"-A AAA "
				    "-p tcp -m comment --comment "
				    "\\\"a rule of somebody else with a comment that makes it long\\\" -j RETURN\"; "
				    "done; echo ':ZZZ - [0:0]'; echo '-A ZZZ -j CLASH_TPROXY'; "
				    "echo COMMIT; } | iptables-restore --noflush"),
				 0);
	look(x);
	assert_ok(x);
	assert_true(x->view[IP_V4].lines > 20);
	remove_all(x);
	assert_ok(x);
	assert_false(have(RULES_CMD, "CLASH"));
}

static void a_listing_that_is_cut_off_is_an_error(void **state)
{
	struct fixture *x = fixture(state);
	const char *flood = "yes '# a long listing' | head -c 17000000";
	const char *variant = variant_of();

	put_program(x, "iptables-save", flood);
	put_program(x, "nft", flood);
	look(x);
	assert_int_equal(x->result.family[IP_V4], -EFBIG);
	assert_non_null(strstr(x->result.err[IP_V4].msg, "more than 16 MiB"));
	if (x->backend == FW_IPTABLES) {
		sweep(x, 0);
		assert_int_equal(x->result.family[IP_V4], -EFBIG);
		assert_int_equal(x->result.family[IP_V6], 0);
	}
	use_variant(x, variant);
	drop_program(x, "nft");
}

static void where_no_program_is_there_is_nothing_to_sweep(void **state)
{
	struct fixture *x = fixture(state);
	char own[512];

	snprintf(own, sizeof(own), "%s", getenv("PATH"));
	setenv("PATH", "/nonexistent", 1);
	sweep(x, 0);
	assert_ok(x);
	apply(x, &params);
	look(x);
	setenv("PATH", own, 1);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_false(have(RULES_CMD, "CLASH"));
}

static void an_aborted_sweep_does_not_go_on_to_the_next_backend(void **state)
{
	struct fixture *x = fixture(state);
	ev_timer timer;
	struct err e = ERR_INIT;

	assert_int_equal(sh("nft add table inet clashsup"), 0);
	put_program(x, "iptables-save", "exec sleep 30");
	abort_after(x, &timer, .1);
	x->done = 0;
	assert_int_equal(firewall_sweep(x->fw, FW_IPTABLES, NULL, 0, neither, on_done, x, &e), 0);
	wait_done(x);
	assert_true(x->result.aborted);
	assert_int_equal(x->result.family[IP_V4], -ECANCELED);
	assert_true(have("nft list tables", "clashsup"));
}

/* ---- each call that can fail, one after the other ---- */

enum { MEMORY = FAILING_CALLS };

static void arm(int what, long n)
{
	if (what == MEMORY)
		fail_allocation(n);
	else
		fail_call((enum failing_call)what, n, what == CALL_FORK ? EAGAIN : EMFILE);
}

/* 0, or the error of the beginning or of the first family that has one. */
static int outcome(struct fixture *x, unsigned parts, struct err *e)
{
	int r;

	x->done = 0;
	r = firewall_apply(x->fw, x->backend, &params, parts, both, on_done, x, e);
	if (r < 0)
		return r;
	wait_done(x);
	for (int i = 0; i < IP_FAMILIES && r == 0; i++) {
		r = x->result.family[i];
		*e = x->result.err[i];
	}
	return r;
}

/* From `before` to `after`, with the n-th call failing; then again without, which must get there. */
static void walk(struct fixture *x, int what, unsigned before, unsigned after)
{
	int open_before = descriptors(), refused = 0;
	bool failed = true;

	for (long n = 0; failed; n++) {
		struct err e = ERR_INIT;
		int r;

		assert_int_equal(outcome(x, before, &e), 0);
		arm(what, n);
		r = outcome(x, after, &e);
		failed = what == MEMORY ? allocations_work() : call_works((enum failing_call)what);
		assert_true(failed || r == 0);
		assert_true(r == 0 || (e.code == -r && e.msg[0] != '\0'));
		refused += r < 0;
		assert_false(firewall_busy(x->fw));
		assert_int_equal(descriptors(), open_before);
		assert_int_equal(outcome(x, after, &e), 0);
	}
	assert_true(refused > 0);
}

static void whatever_call_fails_the_next_apply_gets_there(void **state)
{
	static const int calls[] = { MEMORY, CALL_PIPE2, CALL_FORK };
	struct fixture *x = fixture(state);
	struct fw_view good[IP_FAMILIES];

	apply(x, &params);
	assert_ok(x);
	look(x);
	memcpy(good, x->view, sizeof(good));
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		walk(x, calls[i], 0, ALL);
		if (calls[i] != MEMORY)
			walk(x, calls[i], FWPLAN_STANDING, ALL);
	}
	look(x);
	assert_memory_equal(x->view, good, sizeof(good));
	walk(x, CALL_FORK, ALL, 0);
	assert_false(have(RULES_CMD, "CLASH"));
}

static void a_look_that_cannot_start_is_told(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;
	int r;

	fail_calls_after(CALL_FORK, 0, EAGAIN);
	x->done = 0;
	r = firewall_look(x->fw, x->backend, on_look, x, &e);
	if (r == 0) {
		wait_done(x);
		r = x->result.family[IP_V6];
		e = x->result.err[IP_V6];
	}
	assert_true(call_works(CALL_FORK));
	assert_int_equal(r, -EAGAIN);
	assert_non_null(strstr(e.msg, "cannot start"));
	look(x);
	assert_ok(x);
}

static void a_face_without_memory_is_told(void **state)
{
	struct fixture *x = fixture(state);
	struct firewall *another = NULL;
	struct err e = ERR_INIT;

	for (long n = 0; n < 3; n++) {
		fail_allocation(n);
		assert_int_equal(firewall_new(&another, &x->reaper, NULL, &e), -ENOMEM);
		assert_true(allocations_work());
		assert_null(another);
	}
}

/* ---- cases of iptables alone ---- */

/* The table that is refused is the last of the text: the others were in. */
static void rules_that_the_kernel_refuses_leave_nothing(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params p = params;

	p.server_set = "no_such_set";
	apply(x, &p);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_non_null(strstr(x->result.err[IP_V4].msg, "no_such_set"));
	assert_false(have(RULES_CMD, "CLASH"));
	remove_all(x);
	assert_ok(x);
	apply(x, &p); /* now known to be empty, without a save before */
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_non_null(strstr(x->result.err[IP_V6].msg, "no_such_set"));
	assert_false(have(RULES_CMD, "CLASH"));
	apply(x, &params);
	assert_ok(x);
}

static void a_family_that_the_kernel_lacks_is_clean_but_takes_no_rules(void **state)
{
	struct fixture *x = fixture(state);
	const char *body = "echo \"can't initialize: Table does not exist (do you need to insmod?)\" >&2; exit 3";

	put_program(x, "ip6tables-save", body);
	put_program(x, "ip6tables-restore", body);
	sweep(x, 0);
	assert_ok(x);
	apply(x, &params);
	assert_int_equal(x->result.family[IP_V4], 0);
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_non_null(strstr(x->result.err[IP_V6].msg, "exit status 3: can't initialize"));
	look(x);
	assert_ok(x);
	assert_int_equal(x->view[IP_V6].lines, 0);
	remove_all(x);
	assert_ok(x);
}

static void a_save_that_fails_otherwise_is_an_error(void **state)
{
	struct fixture *x = fixture(state);

	put_program(x, "iptables-save", "echo 'Permission denied' >&2; exit 4");
	sweep(x, 0);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_non_null(strstr(x->result.err[IP_V4].msg, "iptables-save: exit status 4: Permission denied"));
	assert_int_equal(x->result.family[IP_V6], 0);
	look(x);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_int_equal(x->result.family[IP_V6], 0);
}

static void a_lock_that_is_held_is_waited_for_and_then_told(void **state)
{
	struct fixture *x = fixture(state);
	double start;
	int fd;

	remove_all(x);
	fd = open(getenv("XTABLES_LOCKFILE"), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	start = now_ms();
	apply(x, &params);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_non_null(strstr(x->result.err[IP_V4].msg, "xtables lock"));
	assert_true(now_ms() - start > 4500 && now_ms() - start < 9500);
	assert_int_equal(close(fd), 0);
	apply(x, &params);
	assert_ok(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_BACKEND(whatever_call_fails_the_next_apply_gets_there),
		EACH_BACKEND(a_look_that_cannot_start_is_told),
		cmocka_unit_test_setup_teardown(a_face_without_memory_is_told, setup_nft, teardown),
		EACH_BACKEND(an_aborted_apply_is_over_at_once_and_can_be_repeated),
		EACH_BACKEND(an_aborted_look_is_told),
		EACH_BACKEND(freeing_abandons_what_runs),
		EACH_BACKEND(a_long_listing_is_read_to_its_end),
		EACH_BACKEND(a_listing_that_is_cut_off_is_an_error),
		EACH_BACKEND(where_no_program_is_there_is_nothing_to_sweep),
		EACH_VARIANT(rules_that_the_kernel_refuses_leave_nothing),
		EACH_VARIANT(a_family_that_the_kernel_lacks_is_clean_but_takes_no_rules),
		EACH_VARIANT(a_save_that_fails_otherwise_is_an_error),
		cmocka_unit_test_setup_teardown(an_aborted_sweep_does_not_go_on_to_the_next_backend, setup_nft,
						teardown),
		cmocka_unit_test_setup_teardown(a_lock_that_is_held_is_waited_for_and_then_told, setup_legacy,
						teardown),
	};

	proc_clean_start(); /* once: later it would take libev's handler of SIGCHLD away */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
