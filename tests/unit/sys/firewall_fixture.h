/*
 * firewall_fixture: for tests of firewall: real programs in a network namespace
 * of its own for each case: with the nft variant of iptables under the plain
 * names, with the legacy one, and with the table of nft.
 */
#ifndef CLASHSUP_TEST_FIREWALL_FIXTURE_H
#define CLASHSUP_TEST_FIREWALL_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/firewall.h"
#include "clashsup/io.h"
#include "clashsup/ipset.h"
#include "clashsup/lease.h"

#define SAVE_MAX (1024 * 1024)
#define RULES_CMD                                                                                                      \
	"for i in iptables ip6tables; do echo $i; $i-save 2>/dev/null | sed -n '/^-A/p; /CLASH\\|MINE/s/ \\[.*//p'; "  \
	"done;"                                                                                                        \
	"nft -s list table inet clashsup 2>/dev/null"

static const bool both[IP_FAMILIES] = { true, true }, neither[IP_FAMILIES] = { false, false };
static struct addr_net fake_nets[] = { { { IP_V4, { 198, 18 } }, 15 } };
static const struct net_list fake = { fake_nets, 1 };
static const struct addr servers[] = { { IP_V4, { 45, 9, 9, 9 } } };
static const struct fwplan_params params = { .server_set = "clash_proxy_ips",
					     .port = 7893,
					     .mark = 1,
					     .core_gid = 7893,
					     .local = true,
					     .fake = &fake,
					     .refuse_fake = true,
					     .input_accept = true,
					     .dns = { .on = true, .port = 1053 },
					     .lease_on = { true, true },
					     .servers = servers,
					     .n_servers = 1 };

#define ALL (FWPLAN_ARMED | FWPLAN_STANDING)

struct fixture {
	char dir[64];
	char path[256]; /* PATH as it was */
	enum fw_backend backend;
	struct reaper reaper;
	struct ev_loop *loop;
	struct firewall *fw;
	struct firewall_result result;
	struct fw_view view[IP_FAMILIES];
	struct fw_counters counters;
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

static __attribute__((unused)) long number_of(const char *command)
{
	cleanup_free char *out = output_of(command);

	return atol(out);
}

static __attribute__((unused)) bool have(const char *command, const char *text)
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

static void on_look(void *ctx, const struct firewall_result *result, const struct fw_view view[IP_FAMILIES])
{
	struct fixture *x = ctx;

	memcpy(x->view, view, sizeof(x->view));
	on_done(ctx, result);
}

static __attribute__((unused)) void on_count(void *ctx, const struct firewall_result *result,
					     const struct fw_counters *counters)
{
	struct fixture *x = ctx;

	x->counters = *counters;
	on_done(ctx, result);
}

static __attribute__((unused)) double now_ms(void)
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

static void apply_parts(struct fixture *x, const struct fwplan_params *p, unsigned parts, const bool *family)
{
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, x->backend, p, parts, family, on_done, x, &e), 0);
	wait_done(x);
}

static __attribute__((unused)) void apply(struct fixture *x, const struct fwplan_params *p)
{
	apply_parts(x, p, ALL, both);
}

static __attribute__((unused)) void remove_all(struct fixture *x)
{
	apply_parts(x, NULL, 0, neither);
}

static __attribute__((unused)) void sweep(struct fixture *x, unsigned parts)
{
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_sweep(x->fw, x->backend, &params, parts, both, on_done, x, &e), 0);
	wait_done(x);
}

static __attribute__((unused)) void look(struct fixture *x)
{
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_look(x->fw, x->backend, on_look, x, &e), 0);
	wait_done(x);
}

static __attribute__((unused)) void assert_ok(const struct fixture *x)
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
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
		 "for i in iptables ip6tables; do for e in '' -save -restore; do"
		 " ln -sf \"$(command -v $i-%s$e)\" %s/$i$e || exit 1; done; done",
		 variant, x->dir);
	assert_int_equal(sh(cmd), 0);
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
	if (sh("command -v iptables-nft-restore ip6tables-legacy-restore nft >/dev/null"))
		return "needs nft and both variants of iptables";
	if (unshare(CLONE_NEWNET) < 0 || lo_up() < 0)
		return "cannot make a network namespace";
	return NULL;
}

static int make_sets(void)
{
	struct err e = ERR_INIT;
	struct ipset *sets = NULL;
	char name[FWPLAN_SET_TEXT];
	int r = ipset_open(&sets, &e);

	for (int i = 0; i < IP_FAMILIES * FW_SETS && r == 0; i++) {
		enum ip_family family = (enum ip_family)(i / FW_SETS);
		enum fw_set set = (enum fw_set)(i % FW_SETS);

		if (fwplan_has_set(&params, family, set))
			r = ipset_create(sets, fwplan_set(&params, family, set, name), fwplan_set_type(family, set),
					 &e);
	}
	ipset_close(sets);
	return r;
}

static int setup(void **state, const char *variant, enum fw_backend backend)
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
	x->backend = backend;
	snprintf(x->path, sizeof(x->path), "%s", getenv("PATH"));
	snprintf(x->dir, sizeof(x->dir), "/tmp/test_firewall.XXXXXX");
	if (!mkdtemp(x->dir))
		return -1;
	use_variant(x, variant);
	snprintf(value, sizeof(value), "%s:%s", x->dir, x->path);
	setenv("PATH", value, 1);
	snprintf(value, sizeof(value), "%s/lock", x->dir);
	setenv("XTABLES_LOCKFILE", value, 1);
	if (make_sets() < 0)
		return -1;
	x->loop = ev_default_loop(0);
	reaper_start(&x->reaper, x->loop);
	return firewall_new(&x->fw, &x->reaper, NULL, &e);
}

/* iptables of the nft variant, iptables of the legacy one, and nft itself. */
static __attribute__((unused)) int setup_nft(void **state)
{
	return setup(state, "nft", FW_IPTABLES);
}

static __attribute__((unused)) int setup_legacy(void **state)
{
	return setup(state, "legacy", FW_IPTABLES);
}

static __attribute__((unused)) int setup_table(void **state)
{
	return setup(state, "nft", FW_NFT);
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
static __attribute__((unused)) void strangers(void)
{
	assert_int_equal(sh("for i in iptables ip6tables; do $i -t mangle -N MINE &&"
			    "$i -t mangle -A MINE -m comment --comment 'to \"x\" -j CLASH_TPROXY' -j ACCEPT &&"
			    "$i -t mangle -A PREROUTING -p udp --dport 9 -j MINE &&"
			    "$i -t mangle -A OUTPUT -p tcp --dport 9 -j MARK --set-mark 0x77 || exit 1; done"),
			 0);
}

static __attribute__((unused)) void put_program(const struct fixture *x, const char *name, const char *body)
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

static __attribute__((unused)) void drop_program(const struct fixture *x, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", x->dir, name);
	assert_int_equal(unlink(path), 0);
}

static __attribute__((unused)) const char *variant_of(void)
{
	return have("iptables -V", "legacy") ? "legacy" : "nft";
}

static void abort_now(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct fixture *x = w->data;
	(void)loop;
	(void)revents;

	firewall_abort(x->fw);
}

static __attribute__((unused)) void abort_after(struct fixture *x, ev_timer *timer, double seconds)
{
	ev_now_update(x->loop);
	ev_timer_init(timer, abort_now, seconds, 0.);
	timer->data = x;
	ev_timer_start(x->loop, timer);
}

#define EACH_VARIANT(f)                                                                                                \
	{ #f "/nft", f, setup_nft, teardown, NULL },                                                                   \
	{                                                                                                              \
#f "/legacy", f, setup_legacy, teardown, NULL                                                          \
	}
#define EACH_BACKEND(f)                                                                                                \
	EACH_VARIANT(f),                                                                                               \
	{                                                                                                              \
#f "/table", f, setup_table, teardown, NULL                                                            \
	}

#endif
