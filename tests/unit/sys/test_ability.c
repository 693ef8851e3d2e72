/*
 * ability: the real tools and the real kernel in a namespace for each case, and
 * stubs in front of them on PATH for what another kernel would refuse. Two calls
 * into ipset are the linker's to replace, for a kernel without it.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/ability.h"
#include "clashsup/io.h"
#include "clashsup/ipset.h"
#include "netns.h"
#include "sys/ability_text.h"

struct fixture {
	char dir[64];
	struct reaper reaper;
	struct ability found;
	int done;
	double took_ms;
};

/* As for a user without lists of MAC addresses: not every kernel that runs this has hash:mac. */
static struct ability_ask ask_for(enum choice_setting setting)
{
	return (struct ability_ask){ .setting = setting, .family = { true, true }, .skip = FW_LACKS_MAC };
}

/* ---- a kernel without ipset, or with less of it ---- */

static int exists_fails;	 /* errno of every look-up */
static const char *type_refused; /* how a type begins that cannot be made */

int __real_ipset_exists(struct ipset *s, const char *name, size_t *count_out, struct err *e);
int __wrap_ipset_exists(struct ipset *s, const char *name, size_t *count_out, struct err *e);
int __real_ipset_create(struct ipset *s, const char *name, const char *type, struct err *e);
int __wrap_ipset_create(struct ipset *s, const char *name, const char *type, struct err *e);

int __wrap_ipset_exists(struct ipset *s, const char *name, size_t *count_out, struct err *e)
{
	return exists_fails ? err_sys(e, exists_fails, "look up set %s", name)
			    : __real_ipset_exists(s, name, count_out, e);
}

int __wrap_ipset_create(struct ipset *s, const char *name, const char *type, struct err *e)
{
	if (type_refused && strncmp(type, type_refused, strlen(type_refused)) == 0)
		return err_set(e, EIO, "create set %s: type %s not supported", name, type_refused);
	return __real_ipset_create(s, name, type, e);
}

/* ---- the fixture ---- */

static const char *const tools[] = { "iptables",
				     "iptables-restore",
				     "iptables-save",
				     "ip6tables",
				     "ip6tables-restore",
				     "ip6tables-save",
				     "nft",
				     "sh",
				     "cat",
				     "sleep",
				     "touch",
				     "ip",
				     "ipset",
				     "grep" };

/* PATH is this directory alone, so that a tool can be taken away. */
static int setup_variant(void **state, const char *variant)
{
	struct fixture *x = calloc(1, sizeof(*x));
	char cmd[512];

	*state = x;
	if (!x || netns_enter(state) < 0)
		return -1;
	if (!*state) {
		free(x);
		return 0;
	}
	*state = x;
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	snprintf(x->dir, sizeof(x->dir), "/tmp/test_ability.XXXXXX");
	if (!mkdtemp(x->dir))
		return -1;
	for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
		const char *dash = strchr(tools[i], '-');
		int stem = dash ? (int)(dash - tools[i]) : (int)strlen(tools[i]);
		bool xtables = strstr(tools[i], "tables") != NULL;

		if (xtables)
			snprintf(cmd, sizeof(cmd), "ln -s $(command -v %.*s-%s%s) %s/%s", stem, tools[i], variant,
				 dash ? dash : "", x->dir, tools[i]);
		else
			snprintf(cmd, sizeof(cmd), "ln -s $(command -v %s) %s/%s", tools[i], x->dir, tools[i]);
		if (!sh(cmd))
			return -1;
	}
	setenv("PATH", x->dir, 1);
	reaper_start(&x->reaper, ev_default_loop(0));
	return 0;
}

static int setup_nft(void **state)
{
	return setup_variant(state, "nft");
}

static int setup_legacy(void **state)
{
	return setup_variant(state, "legacy");
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	char cmd[128];

	exists_fails = 0;
	type_refused = NULL;
	if (!x)
		return 0;
	reaper_stop(&x->reaper);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	snprintf(cmd, sizeof(cmd), "rm -r %s", x->dir);
	(void)sh(cmd);
	free(x);
	return 0;
}

/* Puts a script in the place of a tool; $REAL is the tool. */
static void stub(const struct fixture *x, const char *tool, const char *script)
{
	char path[128], real[128], cmd[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", x->dir, tool);
	snprintf(real, sizeof(real), "%s/real", x->dir);
	snprintf(cmd, sizeof(cmd), "PATH=/usr/bin:/bin; mkdir -p %s && mv %s %s/", real, path, real);
	assert_true(sh(cmd));
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\nREAL=%s/%s\n%s\n", real, tool, script);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static void unstub(const struct fixture *x, const char *tool)
{
	char path[128], real[128];

	snprintf(path, sizeof(path), "%s/%s", x->dir, tool);
	snprintf(real, sizeof(real), "%s/real/%s", x->dir, tool);
	assert_int_equal(rename(real, path), 0);
}

/* A tool that refuses a text with these words, with these words. */
static void refuse(const struct fixture *x, const char *tool, const char *words, const char *message)
{
	char script[512];

	snprintf(script, sizeof(script),
		 "text=$(cat)\ncase $text in *'%s'*) echo '%s' >&2; exit 1;; esac\n"
		 "printf '%%s\\n' \"$text\" | exec $REAL \"$@\"",
		 words, message);
	stub(x, tool, script);
}

static void take_away(const struct fixture *x, const char *tool)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", x->dir, tool);
	assert_int_equal(unlink(path), 0);
}

/* A tool that leaves a trace, and whether it has. */
static void watch(const struct fixture *x, const char *tool)
{
	char script[256];

	snprintf(script, sizeof(script), "touch %s/ran-%s\nexec $REAL \"$@\"", x->dir, tool);
	stub(x, tool, script);
}

static bool ran(const struct fixture *x, const char *tool)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/ran-%s", x->dir, tool);
	return access(path, F_OK) == 0;
}

static void on_done(void *ctx, const struct ability *found)
{
	struct fixture *x = ctx;

	x->found = *found;
	x->done++;
	ev_break(x->reaper.loop, EVBREAK_ALL);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool nothing_is_left(void)
{
	return sh("! ipset list -n | grep -q clash_probe && ! iptables-save | grep -q CLASH_PROBE &&"
		  "! ip6tables-save | grep -q CLASH_PROBE && ! nft list tables | grep -q clashsup");
}

static void probe(struct fixture *x, const struct ability_ask *ask)
{
	double began = now_ms(), returned;
	struct ability_run *run;
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(ability_probe(&run, &x->reaper, ask, on_done, x, &e), 0);
	returned = now_ms();
	assert_int_equal(x->done, 0); /* never from the caller's own stack */
	ev_run(x->reaper.loop, 0);
	assert_int_equal(x->done, 1);
	x->took_ms = now_ms() - began;
	assert_true(returned - began <
		    4000); /* it forks, but waits for nobody: less than what a tool that hangs gets */
}

static void probe_for(struct fixture *x, enum choice_setting setting)
{
	struct ability_ask ask = ask_for(setting);

	probe(x, &ask);
}

static const struct ability_part *part(const struct fixture *x, enum fw_backend b, enum ip_family family)
{
	return &x->found.part[b][family];
}

static void assert_all(const struct fixture *x, enum fw_backend b)
{
	for (unsigned i = 0; i < IP_FAMILIES; i++) {
		assert_string_equal(part(x, b, i)->why, "");
		assert_true(part(x, b, i)->asked);
		assert_true(part(x, b, i)->ok);
		assert_false(part(x, b, i)->again);
		assert_int_equal(part(x, b, i)->lacks, 0);
	}
}

static void assert_not_asked(const struct fixture *x, enum fw_backend b)
{
	for (unsigned i = 0; i < IP_FAMILIES; i++) {
		assert_false(part(x, b, i)->asked);
		assert_false(part(x, b, i)->ok);
	}
}

/* ---- this kernel ---- */

static void all_is_found(struct fixture *x, const char *variant)
{
	probe_for(x, CHOICE_AUTO);
	print_message("iptables (%s), both families: %.1f ms\n", variant, x->took_ms);
	assert_all(x, FW_IPTABLES);
	assert_true(x->found.ipset);
	assert_string_equal(x->found.variant, variant);
	assert_true(choice_iptables_whole(&x->found));
	assert_true(nothing_is_left());
}

static void the_nft_variant_does_everything_here(void **state)
{
	NEED_NETNS(state);
	all_is_found(*state, "nf_tables");
}

static void the_legacy_variant_does_everything_here(void **state)
{
	NEED_NETNS(state);
	all_is_found(*state, "legacy");
}

static void nft_does_everything_here(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	probe_for(x, CHOICE_NFT);
	print_message("nft, both families: %.1f ms\n", x->took_ms);
	assert_all(x, FW_NFT);
	assert_true(nothing_is_left());
}

/* What all of this stands on: the check asks the kernel, and changes nothing. */
static void a_check_of_nft_refuses_what_the_kernel_refuses(void **state)
{
	bool really;

	NEED_NETNS(state);
	really = sh("printf 'add table inet p\nadd chain inet p c\nadd rule inet p c queue num 0\n' | nft -f - "
		    "2>/dev/null");
	(void)sh("nft delete table inet p 2>/dev/null");
	assert_int_equal(sh("printf 'add table inet p\nadd chain inet p c\nadd rule inet p c queue num 0\n' |"
			    "nft -c -f - 2>/dev/null"),
			 really);
	assert_false(sh("printf 'add table inet p\nadd chain inet p c\nadd rule inet p c jump nowhere\n' |"
			"nft -c -f - 2>/dev/null"));
	assert_true(sh("printf 'add table inet p\n' | nft -c -f - && ! nft list tables | grep -q 'inet p'"));
}

/* A match, target or option that the plan gains must be asked for too. */
static void the_question_has_every_word_of_the_plan(void **state)
{
	static const char *const files[IP_FAMILIES] = { "iptables", "ip6tables" };
	(void)state;

	for (int i = 0; i < IP_FAMILIES; i++) {
		char path[256], asked[ABILITY_TEXT_MAX + 1];
		cleanup_free char *plan = NULL;
		size_t len, words = 0;

		assert_true(ability_text(FW_IPTABLES, (enum ip_family)i, 0, ABILITY_WHOLE, asked) > 0);
		snprintf(path, sizeof(path), SOURCE_DIR "/tests/unit/core/golden/everything.%s.txt", files[i]);
		assert_int_equal(io_slurp_path(path, 1 << 20, &plan, &len, NULL), 0);
		for (char *line = strtok(plan, "\n"); line; line = strtok(NULL, "\n")) {
			char *rest = line, *before = line, *word;

			while ((word = strsep(&rest, " "))) {
				bool named = strcmp(before, "-m") == 0 ||
					     (strcmp(before, "-j") == 0 && strncmp(word, "CLASH", 5) != 0);

				/* ACCEPT is everywhere where there is DROP */
				if (line[0] == '-' && (named || strncmp(word, "--", 2) == 0) &&
				    strcmp(word, "ACCEPT") != 0 && strcmp(word, "DROP") != 0) {
					if (!strstr(asked, word))
						print_error("not asked for: %s\n", word);
					assert_non_null(strstr(asked, word));
					words++;
				}
				before = word;
			}
		}
		assert_true(words > 100);
	}
}

static void what_the_settings_do_without_is_not_asked(void **state)
{
	struct fixture *x = *state;
	struct ability_ask ask = ask_for(CHOICE_IPTABLES);

	NEED_NETNS(state);
	refuse(x, "iptables-restore", "*nat", "no NAT");
	refuse(x, "ip6tables-restore", "owner", "no owner");
	ask.skip |= FW_LACKS_NAT | FW_LACKS_OWNER;
	probe(x, &ask);
	assert_all(x, FW_IPTABLES);
}

/* ---- who is asked ---- */

static void auto_leaves_nft_alone_when_iptables_is_whole(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	watch(x, "nft");
	probe_for(x, CHOICE_AUTO);
	assert_all(x, FW_IPTABLES);
	assert_not_asked(x, FW_NFT);
	assert_false(ran(x, "nft"));
}

static void a_named_backend_leaves_the_other_alone(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	watch(x, "nft");
	watch(x, "iptables");
	watch(x, "iptables-restore");
	watch(x, "ip6tables-restore");
	probe_for(x, CHOICE_NFT);
	assert_true(ran(x, "nft"));
	assert_false(ran(x, "iptables") || ran(x, "iptables-restore") || ran(x, "ip6tables-restore"));
	assert_not_asked(x, FW_IPTABLES);
	assert_not_asked(x, FW_SCRIPT);
}

static void a_script_must_be_there_and_executable(void **state)
{
	struct fixture *x = *state;
	struct ability_ask ask = ask_for(CHOICE_SCRIPT);
	char path[128];

	NEED_NETNS(state);
	watch(x, "iptables-restore");
	probe(x, &ask);
	assert_string_equal(part(x, FW_SCRIPT, IP_V4)->why, "[tproxy] script is not set to the path of one");
	ask.script = "/nowhere/tproxy.sh";
	probe(x, &ask);
	assert_string_equal(part(x, FW_SCRIPT, IP_V6)->why,
			    "the script /nowhere/tproxy.sh cannot be run: No such file or directory");
	assert_false(part(x, FW_SCRIPT, IP_V6)->ok);
	snprintf(path, sizeof(path), "%s/iptables-restore", x->dir);
	ask.script = path;
	probe(x, &ask);
	assert_all(x, FW_SCRIPT);
	assert_false(ran(x, "iptables-restore"));
	assert_true(nothing_is_left());
}

/* ---- another kernel ---- */

static void what_can_be_done_without_is_told_and_nft_is_asked(void **state)
{
	struct fixture *x = *state;
	struct choice c;

	NEED_NETNS(state);
	refuse(x, "iptables-restore", "-m socket", "iptables-restore: line 9 failed");
	refuse(x, "ip6tables-restore", "REJECT", "iptables-restore: line 9 failed");
	probe_for(x, CHOICE_AUTO);
	assert_true(part(x, FW_IPTABLES, IP_V4)->ok);
	assert_int_equal(part(x, FW_IPTABLES, IP_V4)->lacks, FW_LACKS_SOCKET);
	assert_string_equal(part(x, FW_IPTABLES, IP_V4)->why, "without socket match");
	assert_int_equal(part(x, FW_IPTABLES, IP_V6)->lacks, FW_LACKS_REJECT);
	assert_all(x, FW_NFT);
	choice_make(CHOICE_AUTO, &x->found, &c);
	assert_true(c.found);
	assert_int_equal(c.backend, FW_NFT);
	assert_true(nothing_is_left());
}

static void each_lack_has_its_flag(void **state)
{
	static const struct {
		const char *words;
		unsigned lack;
	} cases[] = {
		{ "-m socket", FW_LACKS_SOCKET },
		{ "-m owner", FW_LACKS_OWNER },
		{ "*nat", FW_LACKS_NAT },
		{ "-j REJECT", FW_LACKS_REJECT },
	};
	struct fixture *x = *state;

	NEED_NETNS(state);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ability_ask ask = ask_for(CHOICE_IPTABLES);

		ask.family[IP_V6] = false;
		refuse(x, "iptables-restore", cases[i].words, "iptables-restore: line 9 failed");
		probe(x, &ask);
		assert_true(part(x, FW_IPTABLES, IP_V4)->ok);
		assert_int_equal(part(x, FW_IPTABLES, IP_V4)->lacks, cases[i].lack);
		unstub(x, "iptables-restore");
	}
}

static void what_nothing_can_be_done_without_is_the_reason(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	refuse(x, "iptables-restore", "-j TPROXY", "iptables-restore: line 3 failed");
	refuse(x, "ip6tables-restore", "-m connmark", "iptables: No chain/target/match by that name.");
	probe_for(x, CHOICE_IPTABLES);
	assert_false(part(x, FW_IPTABLES, IP_V4)->ok);
	assert_string_equal(part(x, FW_IPTABLES, IP_V4)->why,
			    "the kernel has no TPROXY target (CONFIG_NETFILTER_XT_TARGET_TPROXY; OpenWrt: "
			    "kmod-ipt-tproxy)");
	assert_false(part(x, FW_IPTABLES, IP_V6)->ok);
	assert_int_equal(part(x, FW_IPTABLES, IP_V6)->lacks, FW_LACKS_CONNTRACK);
	assert_string_equal(part(x, FW_IPTABLES, IP_V6)->why,
			    "the kernel has no connmark match and CONNMARK target (CONFIG_NETFILTER_XT_CONNMARK; "
			    "OpenWrt: kmod-ipt-conntrack-extra)");
	assert_true(nothing_is_left());
}

static void a_tool_without_the_extension_is_told_from_the_kernel(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	refuse(x, "iptables-restore", "-j TPROXY", "Couldn`t load target `TPROXY`");
	refuse(x, "ip6tables-restore", "-j TPROXY",
	       "iptables-restore v1.8.9 (legacy): Couldn'\"'\"'t load target `TPROXY'\"'\"':No such file or directory");
	probe_for(x, CHOICE_IPTABLES);
	assert_non_null(strstr(part(x, FW_IPTABLES, IP_V4)->why, "the kernel has no TPROXY"));
	assert_string_equal(part(x, FW_IPTABLES, IP_V6)->why,
			    "iptables has no extension for the TPROXY target (OpenWrt: iptables-mod-tproxy)");
}

static void a_family_without_tables_is_left_out(void **state)
{
	struct fixture *x = *state;
	struct choice c;

	NEED_NETNS(state);
	refuse(x, "ip6tables-restore", "*mangle",
	       "ip6tables-restore: unable to initialize table mangle: Table does not exist (do you need to insmod?)");
	take_away(x, "nft");
	probe_for(x, CHOICE_AUTO);
	assert_true(part(x, FW_IPTABLES, IP_V4)->ok);
	assert_string_equal(part(x, FW_IPTABLES, IP_V6)->why,
			    "the kernel has no mangle table of iptables for IPv6, or we have no rights to it (OpenWrt: "
			    "kmod-ip6tables)");
	assert_string_equal(part(x, FW_NFT, IP_V4)->why, "nft is not installed, or not on PATH");
	choice_make(CHOICE_AUTO, &x->found, &c);
	assert_int_equal(c.backend, FW_IPTABLES);
	assert_true(c.family[IP_V4]);
	assert_false(c.family[IP_V6]);
}

static void a_tool_that_is_not_there_is_told(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	take_away(x, "ip6tables-restore");
	take_away(x, "iptables");
	probe_for(x, CHOICE_IPTABLES);
	assert_true(part(x, FW_IPTABLES, IP_V4)->ok);
	assert_string_equal(part(x, FW_IPTABLES, IP_V6)->why, "ip6tables-restore is not installed, or not on PATH");
	assert_string_equal(x->found.variant, "");
}

static void without_ipv6_nobody_is_asked_about_it(void **state)
{
	struct fixture *x = *state;
	FILE *f;

	NEED_NETNS(state);
	f = fopen("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "w");
	assert_non_null(f);
	assert_true(fputs("1\n", f) >= 0 && fclose(f) == 0);
	watch(x, "ip6tables-restore");
	watch(x, "nft");
	probe_for(x, CHOICE_AUTO);
	assert_true(part(x, FW_IPTABLES, IP_V4)->ok);
	assert_true(part(x, FW_IPTABLES, IP_V6)->absent);
	assert_string_equal(part(x, FW_IPTABLES, IP_V6)->why,
			    "IPv6 is switched off (net.ipv6.conf.lo.disable_ipv6 = 1)");
	assert_false(ran(x, "ip6tables-restore"));
	assert_false(ran(x, "nft")); /* it could not mend that */
	probe_for(x, CHOICE_NFT);
	assert_true(part(x, FW_NFT, IP_V4)->ok);
	assert_false(part(x, FW_NFT, IP_V6)->ok);
}

static void without_ipset_nft_is_what_remains(void **state)
{
	struct fixture *x = *state;
	struct choice c;

	NEED_NETNS(state);
	watch(x, "iptables-restore");
	exists_fails = EINVAL;
	probe_for(x, CHOICE_AUTO);
	assert_false(x->found.ipset);
	assert_false(ran(x, "iptables-restore")); /* the answer is known */
	assert_non_null(strstr(part(x, FW_IPTABLES, IP_V4)->why,
			       "the kernel has no ipset (CONFIG_IP_SET; OpenWrt: kmod-ipt-ipset)"));
	assert_all(x, FW_NFT);
	choice_make(CHOICE_AUTO, &x->found, &c);
	assert_int_equal(c.backend, FW_NFT);
	exists_fails = EPERM;
	probe_for(x, CHOICE_IPTABLES);
	assert_non_null(strstr(part(x, FW_IPTABLES, IP_V6)->why, "it needs CAP_NET_ADMIN and CAP_NET_RAW"));
}

static void a_set_type_that_is_not_there_counts(void **state)
{
	struct fixture *x = *state;
	struct ability_ask ask = ask_for(CHOICE_IPTABLES);

	NEED_NETNS(state);
	type_refused = "hash:mac";
	probe_for(x, CHOICE_IPTABLES);
	assert_all(x, FW_IPTABLES); /* nobody needs it */
	ask.skip = 0;
	probe(x, &ask);
	assert_true(x->found.ipset);
	assert_int_equal(part(x, FW_IPTABLES, IP_V4)->lacks, FW_LACKS_MAC);
	assert_string_equal(part(x, FW_IPTABLES, IP_V6)->why, "without set type hash:mac");
	type_refused = "hash:net";
	probe_for(x, CHOICE_IPTABLES);
	assert_false(x->found.ipset);
	assert_false(part(x, FW_IPTABLES, IP_V4)->ok);
	assert_non_null(strstr(part(x, FW_IPTABLES, IP_V4)->why, "the kernel lacks an ipset type"));
	assert_true(nothing_is_left());
}

static void nft_without_an_expression_is_told(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	refuse(x, "nft", "tproxy ip6", "/dev/stdin:9:1-9: Error: Could not process rule: No such file or directory");
	probe_for(x, CHOICE_NFT);
	assert_true(part(x, FW_NFT, IP_V4)->ok);
	assert_string_equal(part(x, FW_NFT, IP_V6)->why,
			    "the kernel has no tproxy statement (CONFIG_NFT_TPROXY; OpenWrt: kmod-nft-tproxy)");
}

static void an_nft_that_does_not_know_a_word_is_told_from_the_kernel(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	refuse(x, "nft", "socket", "/dev/stdin:9:1-9: Error: syntax error, unexpected string");
	probe_for(x, CHOICE_NFT);
	assert_int_equal(part(x, FW_NFT, IP_V4)->lacks, FW_LACKS_SOCKET);
	unstub(x, "nft");
	refuse(x, "nft", "fib", "/dev/stdin:9:1-9: Error: syntax error, unexpected string");
	probe_for(x, CHOICE_NFT);
	assert_string_equal(part(x, FW_NFT, IP_V6)->why, "this nft is too old: it does not know the fib expression");
}

static void nft_without_rights_or_kernel_is_told(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	refuse(x, "nft", "probe", "netlink: Error: cache initialization failed: Operation not permitted");
	probe_for(x, CHOICE_NFT);
	assert_non_null(strstr(part(x, FW_NFT, IP_V4)->why, "it needs CAP_NET_ADMIN and CAP_NET_RAW"));
	unstub(x, "nft");
	refuse(x, "nft", "probe", "netlink: Error: cache initialization failed: Invalid argument");
	probe_for(x, CHOICE_NFT);
	assert_string_equal(part(x, FW_NFT, IP_V4)->why,
			    "nft: exit status 1: netlink: Error: cache initialization failed: Invalid argument");
}

/* ---- no verdict ---- */

static void a_lock_that_is_held_is_no_verdict(void **state)
{
	struct fixture *x = *state;
	struct choice c;

	NEED_NETNS(state);
	stub(x, "iptables-restore",
	     "echo 'Another app is currently holding the xtables lock; still 0s 0us time ahead to have a chance' >&2\n"
	     "exit 4");
	probe_for(x, CHOICE_AUTO);
	assert_true(part(x, FW_IPTABLES, IP_V4)->again);
	assert_string_equal(part(x, FW_IPTABLES, IP_V4)->why,
			    "iptables-restore: another program holds the xtables lock");
	choice_make(CHOICE_AUTO, &x->found, &c);
	assert_false(c.found);
	assert_true(c.again);
}

static void a_tool_that_hangs_ends_at_its_deadline_and_is_no_verdict(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	stub(x, "iptables-restore", "exec sleep 60");
	probe_for(x, CHOICE_IPTABLES);
	assert_true(x->took_ms >= 5000);
	assert_true(x->took_ms < 9000);
	assert_true(part(x, FW_IPTABLES, IP_V4)->again);
	assert_string_equal(part(x, FW_IPTABLES, IP_V4)->why, "iptables-restore: no end within 5000 ms");
	assert_true(part(x, FW_IPTABLES, IP_V6)->ok);
}

static void a_run_that_is_abandoned_calls_nobody(void **state)
{
	struct fixture *x = *state;
	struct ability_ask ask = ask_for(CHOICE_AUTO);
	struct ability_run *run;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	assert_int_equal(ability_probe(&run, &x->reaper, &ask, on_done, x, &e), 0);
	ability_abandon(run);
	ability_abandon(NULL);
	while (x->reaper.list) /* its children are still reaped */
		ev_run(x->reaper.loop, EVRUN_ONCE);
	assert_int_equal(x->done, 0);
	probe_for(x, CHOICE_AUTO);
	assert_true(part(x, FW_IPTABLES, IP_V4)->ok);
}

/* A chain that a killed run has left is no obstacle, and goes. */
static void leftovers_do_not_disturb(void **state)
{
	struct fixture *x = *state;

	NEED_NETNS(state);
	assert_true(sh("iptables -t mangle -N CLASH_PROBE && iptables -t mangle -A CLASH_PROBE -j ACCEPT &&"
		       "ipset create clash_probe hash:ip"));
	probe_for(x, CHOICE_IPTABLES);
	assert_all(x, FW_IPTABLES);
	assert_true(nothing_is_left());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_nft, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_nft_variant_does_everything_here),
		cmocka_unit_test_setup_teardown(the_legacy_variant_does_everything_here, setup_legacy, teardown),
		TEST(nft_does_everything_here),
		TEST(a_check_of_nft_refuses_what_the_kernel_refuses),
		cmocka_unit_test(the_question_has_every_word_of_the_plan),
		TEST(what_the_settings_do_without_is_not_asked),
		TEST(auto_leaves_nft_alone_when_iptables_is_whole),
		TEST(a_named_backend_leaves_the_other_alone),
		TEST(a_script_must_be_there_and_executable),
		TEST(what_can_be_done_without_is_told_and_nft_is_asked),
		TEST(each_lack_has_its_flag),
		TEST(what_nothing_can_be_done_without_is_the_reason),
		TEST(a_tool_without_the_extension_is_told_from_the_kernel),
		TEST(a_family_without_tables_is_left_out),
		TEST(a_tool_that_is_not_there_is_told),
		TEST(without_ipv6_nobody_is_asked_about_it),
		TEST(without_ipset_nft_is_what_remains),
		TEST(a_set_type_that_is_not_there_counts),
		TEST(nft_without_an_expression_is_told),
		TEST(an_nft_that_does_not_know_a_word_is_told_from_the_kernel),
		TEST(nft_without_rights_or_kernel_is_told),
		TEST(a_lock_that_is_held_is_no_verdict),
		TEST(a_tool_that_hangs_ends_at_its_deadline_and_is_no_verdict),
		TEST(a_run_that_is_abandoned_calls_nobody),
		TEST(leftovers_do_not_disturb),
	};

	proc_clean_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
