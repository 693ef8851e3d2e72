/*
 * firewall: real iptables-restore in a network namespace of its own for each
 * case, once with the nft variant under the plain names and once with legacy.
 */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/firewall.h"
#include "clashsup/io.h"

#define SAVE_MAX (1024 * 1024)
#define SAVE_CMD "for i in iptables ip6tables; do $i-save -t mangle 2>/dev/null | sed '/^#/d; s/ \\[.*//'; done"

static const bool both[IP_FAMILIES] = { true, true };
static const struct fwplan_params params = {
	.server_set = "clash_proxy_ips", .port = 7893, .mark = 1, .core_gid = 7893, .local = true
};

struct fixture {
	char dir[64];
	char path[256]; /* PATH as it was */
	struct reaper reaper;
	struct ev_loop *loop;
	struct firewall *fw;
	struct firewall_result result;
	int done; /* how often */
};

/* Allowed beside the reaper: it reaps only inside of ev_run. */
static int sh(const char *command)
{
	return system(command);
}

static char *output_of(const char *command)
{
	char *text = calloc(1, SAVE_MAX);
	FILE *f = popen(command, "r");
	size_t n;

	assert_non_null(text);
	assert_non_null(f);
	n = fread(text, 1, SAVE_MAX - 1, f);
	text[n] = '\0';
	pclose(f);
	return text;
}

static bool have(const char *command, const char *text)
{
	cleanup_free char *out = output_of(command);

	return strstr(out, text) != NULL;
}

static void on_done(void *ctx, const struct firewall_result *result)
{
	struct fixture *x = ctx;

	x->result = *result;
	x->done++;
	ev_break(x->loop, EVBREAK_ALL);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void wait_done(struct fixture *x)
{
	assert_int_equal(x->done, 0); /* never from the caller's own stack */
	assert_true(firewall_busy(x->fw));
	ev_run(x->loop, 0);
	assert_int_equal(x->done, 1);
	assert_false(firewall_busy(x->fw));
}

static void apply(struct fixture *x, const struct fwplan_params *p)
{
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, p, both, on_done, x, &e), 0);
	wait_done(x);
}

static void remove_all(struct fixture *x, bool every_variant)
{
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_remove(x->fw, every_variant, on_done, x, &e), 0);
	wait_done(x);
}

static void assert_ok(const struct fixture *x)
{
	assert_string_equal(x->result.err[IP_V4].msg, "");
	assert_string_equal(x->result.err[IP_V6].msg, "");
	assert_int_equal(x->result.family[IP_V4], 0);
	assert_int_equal(x->result.family[IP_V6], 0);
	assert_false(x->result.aborted);
}

/* ---- set-up ---- */

static void use_variant(const struct fixture *x, const char *variant)
{
	static const char *const names[] = { "iptables", "ip6tables" };
	static const char *const ends[] = { "", "-save", "-restore" };

	for (int i = 0; i < 6; i++) {
		char cmd[512];

		snprintf(cmd, sizeof(cmd), "ln -sf \"$(command -v %s-%s%s)\" %s/%s%s", names[i / 3], variant,
			 ends[i % 3], x->dir, names[i / 3], ends[i % 3]);
		assert_int_equal(sh(cmd), 0);
	}
}

static int lo_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &ifr);
}

static const char *impossible(void)
{
	if (geteuid() != 0)
		return "needs root";
	if (sh("command -v iptables-nft-restore ip6tables-legacy-restore ipset >/dev/null"))
		return "needs ipset and both variants of iptables";
	if (unshare(CLONE_NEWNET) < 0 || lo_up() < 0)
		return "cannot make a network namespace";
	return NULL;
}

static int setup(void **state, const char *variant)
{
	const char *why = impossible();
	struct fixture *x = calloc(1, sizeof(*x));
	char value[512];
	struct err e;

	*state = x;
	if (!x)
		return -1;
	if (why) {
		print_message("SKIP: %s\n", why);
		return 0;
	}
	snprintf(x->path, sizeof(x->path), "%s", getenv("PATH"));
	snprintf(x->dir, sizeof(x->dir), "/tmp/test_firewall.XXXXXX");
	if (!mkdtemp(x->dir))
		return -1;
	use_variant(x, variant);
	snprintf(value, sizeof(value), "%s:%s", x->dir, x->path);
	setenv("PATH", value, 1);
	snprintf(value, sizeof(value), "%s/lock", x->dir);
	setenv("XTABLES_LOCKFILE", value, 1);
	if (sh("{ for s in '' 6; do f=inet$s; echo create clash_proxy_ips$s hash:ip family $f;"
	       "echo create clash_reserved$s hash:net family $f; echo create clash_lease$s hash:net family $f timeout "
	       "3;"
	       "done; } | ipset restore"))
		return -1;
	x->loop = ev_default_loop(0);
	reaper_start(&x->reaper, x->loop);
	return firewall_new(&x->fw, &x->reaper, &e);
}

static int setup_nft(void **state)
{
	return setup(state, "nft");
}

static int setup_legacy(void **state)
{
	return setup(state, "legacy");
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	char cmd[128];

	if (x->fw) {
		firewall_free(x->fw);
		reaper_stop(&x->reaper);
		setenv("PATH", x->path, 1);
		snprintf(cmd, sizeof(cmd), "rm -r %s", x->dir);
		(void)sh(cmd);
	}
	free(x);
	return 0;
}

static struct fixture *fixture(void **state)
{
	struct fixture *x = *state;

	if (!x->fw)
		skip();
	return x;
}

/* Rules and chains of others, in our table and with our names in harmless places. */
static void strangers(void)
{
	assert_int_equal(sh("for i in iptables ip6tables; do $i -t mangle -N MINE &&"
			    "$i -t mangle -A MINE -m comment --comment 'to \"x\" -j CLASH_TPROXY' -j ACCEPT &&"
			    "$i -t mangle -A PREROUTING -p udp --dport 9 -j MINE &&"
			    "$i -t mangle -A OUTPUT -p tcp --dport 9 -j MARK --set-mark 0x77 || exit 1; done"),
			 0);
}

/* ---- cases, each for both variants ---- */

static void removal_restores_the_table_as_it_was(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *before = NULL, *armed = NULL, *after = NULL;

	strangers();
	before = output_of(SAVE_CMD);
	apply(x, &params);
	assert_ok(x);
	armed = output_of(SAVE_CMD);
	assert_non_null(strstr(armed, "-A PREROUTING -j CLASH_TPROXY\n"));
	assert_non_null(strstr(armed, "-A OUTPUT -j CLASH_TPROXY_OUT\n"));
	remove_all(x, false);
	assert_ok(x);
	after = output_of(SAVE_CMD);
	assert_string_equal(before, after);
	remove_all(x, false);
	assert_ok(x);
}

static void the_server_set_is_seen_in_clash_tproxy(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *v4 = NULL, *v6 = NULL;

	apply(x, &params);
	assert_ok(x);
	v4 = output_of("iptables -t mangle -L CLASH_TPROXY -n -v | grep set | grep RETURN");
	v6 = output_of("ip6tables -t mangle -L CLASH_TPROXY -n -v | grep set | grep RETURN");
	assert_non_null(strstr(v4, "match-set clash_proxy_ips dst"));
	assert_non_null(strstr(v6, "match-set clash_proxy_ips6 dst"));
}

static void applying_twice_is_applying_once(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *once = NULL, *twice = NULL;

	apply(x, &params);
	once = output_of(SAVE_CMD);
	apply(x, &params);
	assert_ok(x);
	twice = output_of(SAVE_CMD);
	assert_string_equal(once, twice);
}

static void the_output_jump_comes_and_goes_with_local(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params lan_only = params;
	cleanup_free char *once = NULL, *back = NULL;

	lan_only.local = false;
	apply(x, &params);
	once = output_of(SAVE_CMD);
	apply(x, &lan_only);
	assert_ok(x);
	assert_false(have(SAVE_CMD, "-A OUTPUT"));
	assert_true(have(SAVE_CMD, "-A PREROUTING -j CLASH_TPROXY"));
	apply(x, &params);
	assert_ok(x);
	back = output_of(SAVE_CMD);
	assert_string_equal(once, back);
}

static void rules_that_the_kernel_refuses_leave_nothing(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params p = params;

	p.server_set = "no_such_set";
	apply(x, &p);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_non_null(strstr(x->result.err[IP_V4].msg, "no_such_set"));
	assert_false(have(SAVE_CMD, "CLASH"));
	apply(x, &params);
	assert_ok(x);
}

/*
 * The table fills several blocks of output, each line leads to us, and beside
 * the other variant's tables the save prints a warning before its last block.
 */
static void removal_reads_a_big_table_beside_the_other_variant(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *before = NULL, *after = NULL;

	assert_int_equal(sh("iptables-legacy -t mangle -L >/dev/null && iptables -t mangle -N ZZ 2>/dev/null"), 0);
	before = output_of(SAVE_CMD);
	apply(x, &params);
	assert_ok(x);
	assert_int_equal(sh("{ echo '*mangle'; for i in $(seq 1 250); do echo \"-A ZZ -d 10.0.0.$i -m comment --comment"
			    " \\\"number $i\\\" -j CLASH_TPROXY\"; done; echo COMMIT; } |"
			    "iptables-restore --noflush 2>/dev/null"),
			 0);
	remove_all(x, false);
	assert_ok(x);
	after = output_of(SAVE_CMD);
	assert_string_equal(before, after);
}

static void put_program(const struct fixture *x, const char *name, const char *body)
{
	char path[128], text[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", x->dir, name);
	snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", body);
	unlink(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, 0700), 0);
}

static void abort_now(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct fixture *x = w->data;
	(void)loop;
	(void)revents;

	firewall_abort(x->fw);
}

static void an_aborted_apply_is_over_at_once_and_can_be_repeated(void **state)
{
	struct fixture *x = fixture(state);
	const char *variant = have("iptables -V", "legacy") ? "legacy" : "nft";
	ev_timer timer;
	double start;

	put_program(x, "iptables-restore", "exec sleep 30");
	put_program(x, "ip6tables-restore", "exec sleep 30");
	ev_timer_init(&timer, abort_now, .1, 0.);
	timer.data = x;
	ev_timer_start(x->loop, &timer);
	start = now_ms();
	apply(x, &params);
	assert_true(now_ms() - start < 5000);
	assert_true(x->result.aborted);
	assert_int_equal(x->result.family[IP_V4], -ECANCELED);
	assert_int_equal(x->result.family[IP_V6], -ECANCELED);
	use_variant(x, variant);
	/* as if the killed job had got through: what is there must not be doubled */
	assert_int_equal(sh("iptables -t mangle -N CLASH_TPROXY && iptables -t mangle -A PREROUTING -j CLASH_TPROXY"),
			 0);
	apply(x, &params);
	assert_ok(x);
	assert_true(have("iptables-save -t mangle | grep -c 'PREROUTING -j CLASH_TPROXY'", "1\n"));
	remove_all(x, false);
	assert_ok(x);
	assert_false(have(SAVE_CMD, "CLASH"));
}

static void one_operation_runs_at_a_time(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, &params, both, on_done, x, &e), 0);
	assert_int_equal(firewall_remove(x->fw, false, on_done, x, &e), -EBUSY);
	wait_done(x);
	assert_ok(x);
}

static void leftovers_of_the_other_variant_are_swept(void **state)
{
	struct fixture *x = fixture(state);
	const char *other = have("iptables -V", "legacy") ? "nft" : "legacy";
	cleanup_free char *left = NULL;

	apply(x, &params);
	assert_ok(x);
	use_variant(x, other);
	remove_all(x, true);
	assert_ok(x);
	left = output_of("for i in iptables ip6tables; do for v in nft legacy; do $i-$v-save 2>/dev/null; done; done");
	assert_null(strstr(left, "CLASH"));
}

static void where_no_program_is_there_is_nothing_to_remove(void **state)
{
	struct fixture *x = fixture(state);
	char own[512];

	snprintf(own, sizeof(own), "%s", getenv("PATH"));
	setenv("PATH", "/nonexistent", 1);
	remove_all(x, true);
	assert_ok(x);
	apply(x, &params);
	setenv("PATH", own, 1);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_int_equal(x->result.family[IP_V6], -EIO);
}

static void a_family_that_the_kernel_lacks_is_clean_but_takes_no_rules(void **state)
{
	struct fixture *x = fixture(state);
	const char *body = "echo \"can't initialize: Table does not exist (do you need to insmod?)\" >&2; exit 3";

	put_program(x, "ip6tables-save", body);
	put_program(x, "ip6tables-restore", body);
	remove_all(x, false);
	assert_ok(x);
	apply(x, &params);
	assert_int_equal(x->result.family[IP_V4], 0);
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_non_null(strstr(x->result.err[IP_V6].msg, "exit status 3: can't initialize"));
	remove_all(x, false);
	assert_ok(x);
}

static void a_save_that_fails_otherwise_is_an_error(void **state)
{
	struct fixture *x = fixture(state);

	put_program(x, "iptables-save", "echo 'Permission denied' >&2; exit 4");
	remove_all(x, false);
	assert_int_equal(x->result.family[IP_V4], -EIO);
	assert_non_null(strstr(x->result.err[IP_V4].msg, "iptables-save: exit status 4: Permission denied"));
	assert_int_equal(x->result.family[IP_V6], 0);
}

/* ---- cases of one variant ---- */

static void looking_for_leftovers_brings_no_legacy_table_up(void **state)
{
	struct fixture *x = fixture(state);

	remove_all(x, true);
	assert_ok(x);
	assert_false(have("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null", "mangle"));
}

static void freeing_abandons_what_runs(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, &params, both, on_done, x, &e), 0);
	firewall_free(x->fw);
	assert_int_equal(firewall_new(&x->fw, &x->reaper, &e), 0);
	for (int i = 0; i < 5; i++) {
		ev_sleep(.02);
		ev_run(x->loop, EVRUN_NOWAIT);
	}
	assert_int_equal(x->done, 0);
}

static void both_operations_take_milliseconds(void **state)
{
	struct fixture *x = fixture(state);
	const char *variant = have("iptables -V", "legacy") ? "legacy" : "nft";
	double apply_ms = 1e9, remove_ms = 1e9;

	for (int i = 0; i < 10; i++) {
		double t0 = now_ms(), t1;

		apply(x, &params);
		t1 = now_ms();
		remove_all(x, false);
		apply_ms = t1 - t0 < apply_ms ? t1 - t0 : apply_ms;
		remove_ms = now_ms() - t1 < remove_ms ? now_ms() - t1 : remove_ms;
	}
	print_message("%s: both families applied in %.1f ms, removed in %.1f ms\n", variant, apply_ms, remove_ms);
	assert_true(apply_ms < 1000); /* a bound against blunders: a machine under load is slow */
	assert_true(remove_ms < 1000);
}

#define EACH_VARIANT(f)                                                                                                \
	{ #f "/nft", f, setup_nft, teardown, NULL },                                                                   \
	{                                                                                                              \
#f "/legacy", f, setup_legacy, teardown, NULL                                                          \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_VARIANT(removal_restores_the_table_as_it_was),
		EACH_VARIANT(the_server_set_is_seen_in_clash_tproxy),
		EACH_VARIANT(applying_twice_is_applying_once),
		EACH_VARIANT(the_output_jump_comes_and_goes_with_local),
		EACH_VARIANT(rules_that_the_kernel_refuses_leave_nothing),
		EACH_VARIANT(removal_reads_a_big_table_beside_the_other_variant),
		EACH_VARIANT(an_aborted_apply_is_over_at_once_and_can_be_repeated),
		EACH_VARIANT(one_operation_runs_at_a_time),
		EACH_VARIANT(leftovers_of_the_other_variant_are_swept),
		EACH_VARIANT(where_no_program_is_there_is_nothing_to_remove),
		EACH_VARIANT(a_family_that_the_kernel_lacks_is_clean_but_takes_no_rules),
		EACH_VARIANT(a_save_that_fails_otherwise_is_an_error),
		EACH_VARIANT(freeing_abandons_what_runs),
		EACH_VARIANT(both_operations_take_milliseconds),
		cmocka_unit_test_setup_teardown(looking_for_leftovers_brings_no_legacy_table_up, setup_nft, teardown),
	};

	proc_clean_start(); /* once: later it would take libev's handler of SIGCHLD away */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
