/* settings: the table, the lines, and what is told about wrong ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/settings.h"
#include "parse/settings_keys.h"

struct told {
	unsigned n;
	char first[512], last[512];
};

static void tell(void *ctx, const char *text)
{
	struct told *t = ctx;

	if (!t->n++)
		snprintf(t->first, sizeof(t->first), "%s", text);
	snprintf(t->last, sizeof(t->last), "%s", text);
}

static int parse(struct settings *s, const char *text, struct told *t)
{
	cleanup_free char *exact = malloc(strlen(text) + 1); /* no NUL behind it: a sanitizer sees reading too far */

	memset(t, 0, sizeof(*t));
	memcpy(exact, text, strlen(text) + 1);
	exact = realloc(exact, strlen(text) ? strlen(text) : 1);
	return settings_parse(s, "f.conf", exact, strlen(text), tell, t);
}

static char *print(const struct settings *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	settings_print(s, f);
	fclose(f);
	return text;
}

/* All but lists and limits is plain bytes, zeroed by settings_default. */
static void assert_same(const struct settings *a, const struct settings *b)
{
	cleanup_free char *one = print(a), *two = print(b);

	assert_string_equal(one, two);
	for (size_t i = 0; i < setting_n_keys; i++) {
		const struct setting_key *k = &setting_keys[i];

		if (k->kind == SETTING_ARGS || k->kind == SETTING_ENV || k->kind == SETTING_LIST ||
		    k->kind == SETTING_LIMITS)
			continue; /* what is printed of them is the same */
		assert_memory_equal((const char *)a + k->offset, (const char *)b + k->offset, k->size);
	}
	for (size_t i = 0; i <= SETTINGS_ARGS_MAX; i++) {
		assert_int_equal(!a->mihomo.args[i], !b->mihomo.args[i]);
		if (a->mihomo.args[i])
			assert_string_equal(a->mihomo.args[i], b->mihomo.args[i]);
		assert_int_equal(!a->mihomo.env[i], !b->mihomo.env[i]);
		if (a->mihomo.env[i])
			assert_string_equal(a->mihomo.env[i], b->mihomo.env[i]);
	}
}

static void every_default_of_the_table_is_a_value_it_would_accept(void **state)
{
	struct settings s;
	(void)state;

	memset(&s, 0, sizeof(s));
	for (size_t i = 0; i < setting_n_keys; i++)
		assert_int_equal(setting_store(&setting_keys[i], setting_keys[i].fallback, &s, NULL), 0);
}

struct names {
	unsigned n;
	char text[512];
};

static void take_name(void *ctx, const char *section, const char *name)
{
	struct names *names = ctx;
	size_t used = strlen(names->text);

	names->n++;
	snprintf(names->text + used, sizeof(names->text) - used, "%s%s.%s", used ? " " : "", section, name);
}

/* What differs between two files, as "section.key section.key". */
static const char *changes(const char *before, const char *after)
{
	static struct names names;
	struct settings a, b;
	struct told t;
	size_t n;

	memset(&names, 0, sizeof(names));
	if (parse(&a, before, &t) != 0)
		fail_msg("%s", t.first);
	if (parse(&b, after, &t) != 0)
		fail_msg("%s", t.first);
	n = settings_changes(&a, &b, take_name, &names);
	assert_int_equal(n, names.n);
	settings_free(&a);
	settings_free(&b);
	return names.text;
}

static void the_same_values_in_other_words_are_no_change(void **state)
{
	(void)state;
	assert_string_equal(changes("", ""), "");
	assert_string_equal(changes("", "[probe]\ninterval = 1000ms\n[tproxy]\nmark = 1\nlocal = true\n"), "");
	assert_string_equal(changes("[mihomo]\nargs = -m  -x\n", "[mihomo]\nargs = -m, -x\n"), "");
	assert_string_equal(changes("[tproxy]\nexclude_ips = 10.0.0.1 fd00::/8\n",
				    "[tproxy]\nexclude_ips = 10.0.0.1/32, fd00::1/8\n"),
			    "");
	assert_string_equal(changes("[tproxy]\nlan_ifaces = all\n", ""), "");
}

static void each_kind_of_key_tells_its_change(void **state)
{
	(void)state;
	assert_string_equal(changes("", "[mihomo]\nbinary = /x\n"), "mihomo.binary");
	assert_string_equal(changes("", "[mihomo]\nargs = -m\nenv = A=b\n"), "mihomo.args mihomo.env");
	assert_string_equal(changes("[mihomo]\nargs = -m -x\n", "[mihomo]\nargs = -m\n"), "mihomo.args");
	assert_string_equal(changes("", "[mihomo]\numask = 077\nnice = 5\n"), "mihomo.umask mihomo.nice");
	assert_string_equal(changes("", "[mihomo]\nlimits = core=0\ngroups = 5\ncgroup = x\n"),
			    "mihomo.groups mihomo.limits mihomo.cgroup");
	assert_string_equal(changes("", "[tproxy]\nport = 1\nmark = 2\nlocal = no\ndns = no\nmode = mixed\n"),
			    "tproxy.mode tproxy.port tproxy.mark tproxy.local tproxy.dns");
	assert_string_equal(changes("[tproxy]\ndns_fallback = 9.9.9.9\n", "[tproxy]\ndns_fallback = 9.9.9.10\n"),
			    "tproxy.dns_fallback");
	assert_string_equal(changes("", "[control]\ncontrol_group = 5\n"), "control.control_group");
	assert_string_equal(changes("", "[tproxy]\nlan_ifaces = eth0\nexclude_ports = 22\nexclude_src_cidrs = "
					"02:00:00:00:00:01\n"),
			    "tproxy.lan_ifaces tproxy.exclude_src_cidrs tproxy.exclude_ports");
}

static void every_key_that_is_copied_is_no_change_any_more(void **state)
{
	static const char other[] = "[state]\nrun = /x\ndir = /y\n[control]\nsocket = /z\n";
	struct settings a, b;
	struct names names = { 0 };
	struct told t;
	(void)state;

	assert_int_equal(parse(&a, "", &t), 0);
	assert_int_equal(parse(&b, other, &t), 0);
	settings_copy_key(&b, &a, "state", "run");
	settings_copy_key(&b, &a, "state", "no such");
	settings_changes(&a, &b, take_name, &names);
	assert_string_equal(names.text, "control.socket state.dir");
}

static void a_client_takes_what_is_good_of_a_bad_file(void **state)
{
	char path[] = "/tmp/clashsup-settings-XXXXXX";
	static const char text[] = "[state]\nrun = /here\n[probe]\nintervall = 1\nfall = many\n";
	struct settings s;
	int fd = mkstemp(path);
	(void)state;

	assert_int_equal(io_write_all(fd, text, sizeof(text) - 1), 0);
	close(fd);
	assert_int_equal(settings_load_lax(&s, path, true), 0);
	assert_string_equal(s.state.run, "/here");
	assert_int_equal(s.probe.fall, 3);
	settings_free(&s);
	unlink(path);
	assert_int_equal(settings_load_lax(&s, path, true), -ENOENT);
	assert_int_equal(settings_load_lax(&s, path, false), 0);
}

static void an_empty_file_means_the_documented_defaults(void **state)
{
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(parse(&s, "", &t), 0);
	assert_string_equal(s.mihomo.binary, "mihomo");
	assert_int_equal(s.mihomo.group, 7893);
	assert_int_equal(s.mihomo.nofile, 0);
	assert_null(s.mihomo.env[0]);
	assert_int_equal(s.mihomo.attr.groups.n, 0);
	for (size_t i = 0; i < RLIM_NLIMITS; i++)
		assert_false(s.mihomo.attr.limits.of[i].set);
	assert_int_equal(s.mihomo.attr.umask, 022);
	assert_int_equal(s.mihomo.attr.nice, ATTR_INHERIT);
	assert_int_equal(s.mihomo.attr.oom_score_adj, ATTR_INHERIT);
	assert_false(s.mihomo.attr.no_new_privs);
	assert_string_equal(s.mihomo.attr.cgroup, "");
	assert_int_equal(s.mihomo.stop_timeout_ms, 5000);
	assert_int_equal(s.mihomo.hang_kill_ms, 30000);
	assert_int_equal(s.probe.interval_ms, 1000);
	assert_int_equal(s.probe.timeout_ms, 2000);
	assert_int_equal(s.probe.fall, 3);
	assert_int_equal(s.probe.rise, 1);
	assert_int_equal(s.tproxy.mode, MODE_TPROXY);
	assert_int_equal(s.tproxy.port, 7893);
	assert_int_equal(s.tproxy.mark, 1);
	assert_int_equal(s.tproxy.table, 100);
	assert_int_equal(s.tproxy.family[IP_V4], SETTING_AUTO);
	assert_int_equal(s.tproxy.family[IP_V6], SETTING_AUTO);
	assert_true(s.tproxy.local);
	assert_int_equal(s.tproxy.backend, BACKEND_AUTO);
	assert_string_equal(s.tproxy.script, "");
	assert_int_equal(s.tproxy.pref, 100);
	assert_int_equal(s.tproxy.on_death, ON_DEATH_OPEN);
	assert_int_equal(s.tproxy.dns, SETTING_AUTO);
	assert_int_equal(s.tproxy.dns_fallback.kind, FALLBACK_AUTO);
	assert_false(s.tproxy.dns_fallback.has[IP_V4] || s.tproxy.dns_fallback.has[IP_V6]);
	assert_int_equal(s.tproxy.input_accept, SETTING_AUTO);
	assert_false(s.tproxy.fix_sysctls);
	assert_int_equal(s.ipset.scope, SCOPE_ALL);
	for (size_t i = 0; i < sizeof(s.tproxy.selection); i++)
		assert_int_equal(((const char *)&s.tproxy.selection)[i], 0);
	assert_string_equal(s.ipset.name, "clash_proxy_ips");
	assert_int_equal(s.extract.interval_ms, 300000);
	assert_int_equal(s.extract.timeout_ms, 60000);
	assert_string_equal(s.extract.resolver, "auto");
	assert_int_equal(s.extract.concurrency, 64);
	assert_int_equal(s.extract.name_timeout_ms, 5000);
	assert_int_equal(s.extract.grace_ms, 86400000);
	assert_int_equal(s.extract.max_file, 64 << 20);
	assert_int_equal(s.restart.backoff_min_ms, 500);
	assert_int_equal(s.restart.backoff_max_ms, 30000);
	assert_int_equal(s.restart.stable_ms, 60000);
	assert_int_equal(s.control.group, -1);
	assert_string_equal(s.state.run, "/run/clashsup");
	assert_string_equal(s.state.dir, "/var/lib/clashsup");
	assert_int_equal(s.log.level, LOG_LEVEL_INFO);
}

static void the_sample_file_says_the_defaults_and_names_every_key(void **state)
{
	struct settings s, defaults;
	struct told t = { 0 };
	char *text = NULL;
	size_t len = 0;
	(void)state;

	settings_default(&defaults);
	assert_int_equal(settings_load(&s, SOURCE_DIR "/etc/clashsup.conf", true, tell, &t), 0);
	assert_int_equal(t.n, 0);
	assert_same(&s, &defaults);
	assert_int_equal(io_slurp_path(SOURCE_DIR "/etc/clashsup.conf", SETTINGS_MAX, &text, &len, NULL), 0);
	for (size_t i = 0; i < setting_n_keys; i++) {
		char line[64];

		snprintf(line, sizeof(line), "\n%s =", setting_keys[i].name);
		assert_non_null(strstr(text, line));
	}
	free(text);
}

static void the_manual_names_every_key(void **state)
{
	char *text = NULL;
	size_t len = 0;
	(void)state;

	assert_int_equal(io_slurp_path(SOURCE_DIR "/docs/clashsup.conf.5", SETTINGS_MAX, &text, &len, NULL), 0);
	for (size_t i = 0; i < setting_n_keys; i++) {
		char line[64];

		snprintf(line, sizeof(line), "\n.It Ic %s", setting_keys[i].name);
		if (!strstr(text, line))
			print_error("not in the manual: %s\n", setting_keys[i].name);
		assert_non_null(strstr(text, line));
	}
	free(text);
}

static const char everything[] =
	"[mihomo]\nbinary = /opt/m\nhome = /h\nconfig = /h/c.yaml\nuser = root\ngroup = 0x50\n"
	"args = -a b,c\nenv = TZ=UTC A_1==,B=\ngroups = 5 root\nlimits = core=0 nproc=512:1K memlock=unlimited\n"
	"umask = 0077\nnice = -20\noom_score_adj = 1000\nno_new_privs = yes\ncgroup = /sys/fs/cgroup/a/b.c@d\n"
	"nofile = 4096\nstop_timeout = 1500ms\nhang_kill = 2m\n"
	"[probe]\ninterval=250ms\ntimeout=1s\nfall=5\nrise=2\n"
	"[tproxy]\nmode=mixed\nbackend=nft\nport=65535\nmark=0xffffffff\ntable=252\n"
	"script=/"
	"s\npref=32765\nipv4=yes\nipv6=no\nlocal=off\non_death=closed\ndns=on\ndns_fallback=9.9.9.9,2620:fe::fe\n"
	"input_accept=no\nfix_sysctls=yes\nlan_ifaces=br-lan wg*\nproxy_cidrs=10.9.8.7/8,::/0\n"
	"include_src=192.0.2.1 02-00-00-00-00-0a\nexclude_src_cidrs=02:00:00:00:00:0b\nexclude_ifaces=docker0\n"
	"exclude_ips=1.2.3.4\nexclude_ports=22, 1000-2000\n"
	"[ipset]\nname=abcdefghijklmnopqrstuvwxyz.\nscope=output\n"
	"[extract]\ninterval=1h\ntimeout=90s\nprovider_dir=/p\nresolver=192.0.2.1, 2001:db8::1\n"
	"concurrency=1\nname_timeout=100ms\ngrace=0s\nmax_file=1000000\n"
	"[restart]\nbackoff_min=50ms\nbackoff_max=50ms\nstable=100ms\n"
	"[control]\nsocket=/s\ncontrol_group=0\n[state]\nrun=/r\ndir=/d\n[log]\nlevel=error\nformat=json\n";

static void what_is_printed_parses_to_the_same(void **state)
{
	struct settings s, again;
	struct told t;
	cleanup_free char *text = NULL;
	(void)state;

	assert_int_equal(parse(&s, everything, &t), 0);
	assert_int_equal(s.mihomo.group, 0x50);
	assert_string_equal(s.mihomo.args[2], "c");
	assert_null(s.mihomo.args[3]);
	assert_string_equal(s.mihomo.env[1], "A_1==");
	assert_string_equal(s.mihomo.env[2], "B=");
	assert_null(s.mihomo.env[3]);
	assert_int_equal(s.mihomo.attr.groups.n, 2);
	assert_int_equal(s.mihomo.attr.groups.gid[0], 5);
	assert_int_equal(s.mihomo.attr.groups.gid[1], 0);
	assert_true(s.mihomo.attr.limits.of[RLIMIT_CORE].set);
	assert_int_equal(s.mihomo.attr.limits.of[RLIMIT_CORE].hard, 0);
	assert_int_equal(s.mihomo.attr.limits.of[RLIMIT_NPROC].soft, 512);
	assert_int_equal(s.mihomo.attr.limits.of[RLIMIT_NPROC].hard, 1024);
	assert_true(s.mihomo.attr.limits.of[RLIMIT_MEMLOCK].soft == ATTR_UNLIMITED);
	assert_int_equal(s.mihomo.attr.umask, 077);
	assert_int_equal(s.mihomo.attr.nice, -20);
	assert_int_equal(s.mihomo.attr.oom_score_adj, 1000);
	assert_true(s.mihomo.attr.no_new_privs);
	assert_string_equal(s.mihomo.attr.cgroup, "/sys/fs/cgroup/a/b.c@d");
	assert_int_equal(s.tproxy.mode, MODE_MIXED);
	assert_int_equal(s.tproxy.mark, UINT32_MAX);
	assert_int_equal(s.tproxy.family[IP_V4], SETTING_YES);
	assert_int_equal(s.tproxy.family[IP_V6], SETTING_NO);
	assert_false(s.tproxy.local);
	assert_int_equal(s.tproxy.backend, BACKEND_NFT);
	assert_int_equal(s.tproxy.pref, 32765);
	assert_int_equal(s.tproxy.on_death, ON_DEATH_CLOSED);
	assert_int_equal(s.tproxy.dns, SETTING_YES);
	assert_int_equal(s.tproxy.dns_fallback.kind, FALLBACK_GIVEN);
	assert_int_equal(s.tproxy.dns_fallback.addr[IP_V4].bytes[0], 9);
	assert_int_equal(s.tproxy.dns_fallback.addr[IP_V6].bytes[0], 0x26);
	assert_int_equal(s.tproxy.input_accept, SETTING_NO);
	assert_true(s.tproxy.fix_sysctls);
	assert_int_equal(s.ipset.scope, SCOPE_OUTPUT);
	assert_int_equal(s.control.group, 0);
	assert_int_equal(s.extract.max_file, 1000000);
	text = print(&s);
	assert_non_null(strstr(text, "\nlimits = core=0 memlock=unlimited nproc=512:1024\numask = 077\nnice = -20\n"));
	assert_non_null(strstr(text, "\ngroups = 5 0\nargs = -a b,c\nenv = TZ=UTC A_1==,B=\n"));
	assert_int_equal(parse(&again, text, &t), 0);
	assert_same(&s, &again);
	settings_free(&s);
	settings_free(&again);
}

#define FALLBACK(text)                                                                                                 \
	"f.conf:2: dns_fallback = " text                                                                               \
	": must be auto, none, or the address of a name server, at most one IPv4 and one IPv6, no loopback"

#define ENV(text)                                                                                                      \
	"f.conf:2: env = " text ": must be NAME=VALUE, and again; or one @FILE alone with one a line, where values "   \
	"may have blanks and commas"
#define LIMIT(text)                                                                                                    \
	"f.conf:2: limits = " text ": must be core=LIMIT or core=SOFT:HARD, each a number, perhaps with K, M or G, "   \
	"or unlimited, and SOFT not above HARD"
#define CGROUP(text)                                                                                                   \
	"f.conf:2: cgroup = " text ": must be one name for a cgroup below clashsup's own, or an absolute path below "  \
	"/sys/fs/cgroup"

static void a_wrong_line_is_told_with_file_and_line_and_what_is_allowed(void **state)
{
	static const struct {
		const char *text, *sentence;
	} rows[] = {
		{ "[tproxy]\n\nprot = 1",
		  "f.conf:3: unknown key \"prot\" in [tproxy]; the nearest known one is \"port\"" },
		{ "[tproxi]\nport = 1", "f.conf:1: unknown section [tproxi]; the nearest known one is [tproxy]" },
		{ "[log]\nport = 1", "f.conf:2: \"port\" is not a key of [log] but of [tproxy]" },
		{ "[log]\nformal = json",
		  "f.conf:2: unknown key \"formal\" in [log]; the nearest known one is \"format\"" },
		{ "[log]\nformat = xml", "f.conf:2: format = xml: must be text or json" },
		{ "port = 1", "f.conf:1: \"port\" stands before the first [section]" },
		{ "[tproxy]\nport = 0", "f.conf:2: port = 0: must be a number from 1 to 65535" },
		{ "[tproxy]\nport = 65536", "f.conf:2: port = 65536: must be a number from 1 to 65535" },
		{ "[tproxy]\nport =", "f.conf:2: port = : must be a number from 1 to 65535" },
		{ "[tproxy]\nmark = 0", "f.conf:2: mark = 0: must be a number from 0x1 to 0xffffffff" },
		{ "[tproxy]\ntable = 254",
		  "f.conf:2: table = 254: must be a routing table that is not the kernel's own (253 default, 254 "
		  "main, 255 local)" },
		{ "[tproxy]\nmode = on", "f.conf:2: mode = on: must be tproxy or mixed" },
		{ "[tproxy]\nipv6 = maybe", "f.conf:2: ipv6 = maybe: must be auto, yes or no" },
		{ "[tproxy]\nlocal = auto", "f.conf:2: local = auto: must be yes or no" },
		{ "[tproxy]\nbackend = pf", "f.conf:2: backend = pf: must be auto or iptables or nft or script" },
		{ "[tproxy]\nbackend = script\nport = 1",
		  "f.conf:2: backend = script needs a program: script = /path/to/it" },
		{ "[tproxy]\nbackend = script\nscript = /x\non_death = closed\n",
		  "f.conf:4: on_death = closed needs rules of clashsup's own: backend = iptables, nft or auto" },
		{ "[tproxy]\nscript = fw.sh", "f.conf:2: script = fw.sh: must be an absolute path" },
		{ "[tproxy]\non_death = shut", "f.conf:2: on_death = shut: must be open or closed" },
		{ "[tproxy]\ndns = maybe", "f.conf:2: dns = maybe: must be auto, yes or no" },
		{ "[tproxy]\npref = 32766", "f.conf:2: pref = 32766: must be a number from 1 to 32765" },
		{ "[tproxy]\ndns_fallback = 127.0.0.1", FALLBACK("127.0.0.1") },
		{ "[tproxy]\ndns_fallback = 9.9.9.9 8.8.8.8", FALLBACK("9.9.9.9 8.8.8.8") },
		{ "[tproxy]\ndns_fallback = auto 8.8.8.8", FALLBACK("auto 8.8.8.8") },
		{ "[tproxy]\ndns_fallback = ,", FALLBACK(",") },
		{ "[ipset]\nscope = lan", "f.conf:2: scope = lan: must be all or output" },
		{ "[probe]\ninterval = 1", "f.conf:2: interval = 1: must be a duration such as 250ms, 2s, 5m or 24h "
					   "from 50ms to 1h" },
		{ "[extract]\nmax_file = 5G", "f.conf:2: max_file = 5G: must be a size such as 64M from 4K to 64M" },
		{ "[extract]\nresolver = 192.0.2.1 x",
		  "f.conf:2: resolver = 192.0.2.1 x: must be auto, mihomo, system, or IP addresses" },
		{ "[extract]\nresolver =", "f.conf:2: resolver = : must be auto, mihomo, system, or IP addresses" },
		{ "[ipset]\nname = abcdefghijklmnopqrstuvwxyz.1", "f.conf:2: name = abcdefghijklmnopqrstuvwxyz.1: must "
								  "be 1 to 27 letters, digits, '_', '.' or '-', not "
								  "with '-' first" },
		{ "[ipset]\nname = a b", "f.conf:2: name = a b: must be 1 to 27 letters, digits, '_', '.' or '-', not "
					 "with '-' first" },
		{ "[ipset]\nname = clash_lease6",
		  "f.conf:2: name = clash_lease6: must be a name that does not begin as one of clashsup's own sets "
		  "(clash_lease, clash_reserved, clash_dst, clash_src, clash_mac, clash_port, clash_fake, clash_lan, "
		  "clash_inside, clash_probe, clash_new)" },
		{ "[mihomo]\nhome = etc", "f.conf:2: home = etc: must be an absolute path" },
		{ "[mihomo]\nbinary = ./m", "f.conf:2: binary = ./m: must be an absolute path, or a name without '/'" },
		{ "[mihomo]\nuser = -x", "f.conf:2: user = -x: must be a user's name or number" },
		{ "[mihomo]\ngroup = root", "f.conf:2: group = root: must be a group other than root's, which would "
					    "except all of root's programs" },
		{ "[mihomo]\ngroup = 0", "f.conf:2: group = 0: must be a number from 1 to 4294967294" },
		{ "[mihomo]\ngroup = no-such-group",
		  "f.conf:2: group = no-such-group: must be a number or the name of a group of this machine" },
		{ "[mihomo]\nargs = -a @/x", "f.conf:2: args = -a @/x: must be arguments, or one @FILE alone with an "
					     "argument a line" },
		{ "[mihomo]\nargs = @/nonexistent/x",
		  "f.conf:2: args = @/nonexistent/x: cannot read /nonexistent/x: No such file or directory; make it "
		  "readable, or take it out of the list" },
		{ "[mihomo]\nuser = no-such-user",
		  "f.conf:2: user = no-such-user: must be a number or the name of a user of this machine" },
		{ "[mihomo]\ngroups = 5 no-such-group",
		  "f.conf:2: groups = 5 no-such-group: must be numbers and names of groups of this machine" },
		{ "[mihomo]\ngroups = 4294967295",
		  "f.conf:2: groups = 4294967295: must be numbers and names of groups of this machine" },
		{ "[mihomo]\nenv = A=1 =2", ENV("A=1 =2") },
		{ "[mihomo]\nenv = A", ENV("A") },
		{ "[mihomo]\nenv = 1A=2", ENV("1A=2") },
		{ "[mihomo]\nenv = A-B=2", ENV("A-B=2") },
		{ "[mihomo]\nlimits = core", "f.conf:2: limits = core: must be limits such as core=0 memlock=unlimited "
					     "nproc=512:1024" },
		{ "[mihomo]\nlimits = cores=0",
		  "f.conf:2: limits = cores=0: must be limits of as core cpu data fsize "
		  "locks memlock msgqueue nice nproc rss rtprio rttime sigpending stack" },
		{ "[mihomo]\nlimits = nofile=9",
		  "f.conf:2: limits = nofile=9: must be without nofile, which has a key of its own" },
		{ "[mihomo]\nlimits = core=0 core=1",
		  "f.conf:2: limits = core=0 core=1: must be one limit a resource: core is there twice" },
		{ "[mihomo]\nlimits = core=2:1", LIMIT("core=2:1") },
		{ "[mihomo]\nlimits = core=unlimited:1", LIMIT("core=unlimited:1") },
		{ "[mihomo]\nlimits = core=", LIMIT("core=") },
		{ "[mihomo]\nlimits = core=1:", LIMIT("core=1:") },
		{ "[mihomo]\nlimits = core=1:2:3", LIMIT("core=1:2:3") },
		{ "[mihomo]\nlimits = core=-1", LIMIT("core=-1") },
		{ "[mihomo]\numask = 8", "f.conf:2: umask = 8: must be an octal number from 0 to 777" },
		{ "[mihomo]\numask = 1000", "f.conf:2: umask = 1000: must be an octal number from 0 to 777" },
		{ "[mihomo]\nnice = -21", "f.conf:2: nice = -21: must be inherit, or a number from -20 to 19" },
		{ "[mihomo]\nnice = 20", "f.conf:2: nice = 20: must be inherit, or a number from -20 to 19" },
		{ "[mihomo]\nnice = auto", "f.conf:2: nice = auto: must be inherit, or a number from -20 to 19" },
		{ "[mihomo]\noom_score_adj = -",
		  "f.conf:2: oom_score_adj = -: must be auto, or a number from -1000 to 1000" },
		{ "[mihomo]\ncgroup = a/b", CGROUP("a/b") },
		{ "[mihomo]\ncgroup = ..", CGROUP("..") },
		{ "[mihomo]\ncgroup = cgroup.procs", CGROUP("cgroup.procs") },
		{ "[mihomo]\ncgroup = /tmp/x", CGROUP("/tmp/x") },
		{ "[mihomo]\ncgroup = /sys/fs/cgroup/", CGROUP("/sys/fs/cgroup/") },
		{ "[mihomo]\ncgroup = /sys/fs/cgroup/../x", CGROUP("/sys/fs/cgroup/../x") },
		{ "[mihomo]\ncgroup = /sys/fs/cgroup/x/", CGROUP("/sys/fs/cgroup/x/") },
		{ "[mihomo]\nnofile = 0", "f.conf:2: nofile = 0: must be hard, or a number from 64 to 1073741824" },
		{ "[state]\nrun =", "f.conf:2: run = : must be an absolute path" },
		{ "[log]\nlevel = info\nlevel = info", "f.conf:3: \"level\" is set twice, first in line 2" },
		{ "[restart]\nbackoff_min = 1m\n", "f.conf:2: backoff_max must not be less than backoff_min" },
		{ "[log]\nlevel", "f.conf:2: neither [section] nor key = value" },
		{ "[log\nlevel = info", "f.conf:1: a section is written as [name]" },
		{ "[log] level = info", "f.conf:1: a section is written as [name]" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct settings s, defaults;
		struct told t;

		settings_default(&defaults);
		assert_int_equal(parse(&s, rows[i].text, &t), -EINVAL);
		assert_string_equal(t.first, rows[i].sentence);
		assert_int_equal(t.n, 1);
		assert_same(&s, &defaults);
	}
}

static void no_name_of_a_set_begins_as_one_of_ours(void **state)
{
	static const char *const ours[] = { "clash_lease",     "clash_reserved", "clash_dst",
					    "clash_dst_skip",  "clash_src6",	 "clash_mac",
					    "clash_port_skip", "clash_fake6",	 "clash_lan" };
	struct settings s;
	struct told t;
	(void)state;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		char text[64];

		snprintf(text, sizeof(text), "[ipset]\nname = %s\n", ours[i]);
		assert_int_equal(parse(&s, text, &t), -EINVAL);
	}
	assert_int_equal(parse(&s, "[ipset]\nname = clash_mine\n", &t), 0);
}

static void every_problem_is_told_not_only_the_first(void **state)
{
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(parse(&s, "[x]\na=1\nb\n[log]\nlevel=loud\nlines\n[probe]\nfall=0\n[y", &t), -EINVAL);
	assert_int_equal(t.n, 5);
	assert_string_equal(t.last, "f.conf:9: a section is written as [name]");
}

static void a_set_args_list_is_freed_when_a_later_line_is_wrong(void **state)
{
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(parse(&s, "[mihomo]\nargs = a b c\nnofile = x\n", &t), -EINVAL);
	assert_null(s.mihomo.args[0]);
}

static void more_arguments_than_there_is_room_for_are_refused(void **state)
{
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(
		parse(&s, "[mihomo]\nargs=a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6\n", &t), 0);
	assert_string_equal(s.mihomo.args[SETTINGS_ARGS_MAX - 1], "6");
	settings_free(&s);
	assert_int_equal(parse(&s, "[mihomo]\nargs=a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6 7\n",
			       &t),
			 -EINVAL);
	assert_string_equal(t.first, "f.conf:2: args = a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6 "
				     "7: must be at most 32 arguments");
}

static void line_ends_marks_indents_and_comments_of_every_kind_are_understood(void **state)
{
	static const char *const texts[] = {
		"[tproxy]\nport = 99",
		"\xef\xbb\xbf[tproxy]\r\nport = 99\r\n",
		"  [tproxy]  ; x\n\t port\t:\t99 ; y\n",
		"[tproxy] # x\nport=99\n\n\n",
		"# c\n; c\n[tproxy]\nmode = mixed\n  port = 99\n",
	};
	struct settings s;
	struct told t;
	(void)state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(parse(&s, texts[i], &t), 0);
		assert_int_equal(s.tproxy.port, 99);
	}
	/* An indented line goes on with nothing: it is judged as any other. */
	assert_int_equal(parse(&s, "[mihomo]\nargs = a\n  b\n", &t), -EINVAL);
	assert_string_equal(t.first, "f.conf:3: neither [section] nor key = value");
}

static void a_line_longer_than_the_ini_reader_takes_is_an_error_and_never_cut(void **state)
{
	char text[1024] = "[mihomo]\nhome = /";
	struct settings s;
	struct told t;
	size_t start = strlen(text), head = strlen("home = /");
	(void)state;

	memset(text + start, 'x', 198 - head);
	assert_int_equal(parse(&s, text, &t), 0);
	assert_int_equal(strlen(s.mihomo.home), 198 - head + 1);
	memset(text + start, 'x', 199 - head);
	assert_int_equal(parse(&s, text, &t), -EINVAL);
	assert_string_equal(t.first,
			    "f.conf:2: the line has 199 bytes, the limit is 198; a long list goes into a file: key = "
			    "@/etc/list.txt");
	assert_int_equal(t.n, 1);
	text[9] = '#'; /* a long comment is no harm */
	assert_int_equal(parse(&s, text, &t), 0);
}

static void nul_bytes_and_control_characters_are_refused_by_line(void **state)
{
	static const char nul[] = "[log]\nlevel = in\0fo\n";
	struct settings s;
	struct told t = { 0 };
	(void)state;

	assert_int_equal(settings_parse(&s, "f.conf", nul, sizeof(nul) - 1, tell, &t), -EINVAL);
	assert_string_equal(t.first, "f.conf:2: a NUL byte: this is not a text file in UTF-8");
	assert_int_equal(parse(&s, "[log]\nlevel = \033[31minfo\n", &t), -EINVAL);
	assert_string_equal(t.first, "f.conf:2: a control character");
	assert_int_equal(parse(&s, "[log]\rlevel = info\r", &t), -EINVAL);
	assert_string_equal(t.first, "f.conf:1: a control character");
}

static void any_bytes_end_in_defaults_or_good_values(void **state)
{
	static const char alphabet[] = "[]=:;#\n\r\t \"@/\\abc019\xef\xbb\xbf\x00.-_";
	unsigned seed = 7;
	(void)state;

	for (int round = 0; round < 20000; round++) {
		char text[sizeof(everything) + 64];
		size_t len = sizeof(everything) - 1;
		struct settings s, again;
		struct told t = { 0 };

		memcpy(text, everything, len);
		for (int i = 0; i < 1 + round % 4; i++) {
			seed = seed * 1103515245u + 12345u;
			text[(seed >> 8) % len] = alphabet[(seed >> 4) % sizeof(alphabet)];
		}
		len -= (seed >> 12) % 40;
		if (settings_parse(&s, "f", text, len, tell, &t) < 0) {
			assert_true(t.n > 0);
		} else {
			cleanup_free char *printed = print(&s);

			assert_int_equal(t.n, 0);
			assert_int_equal(parse(&again, printed, &t), 0);
			assert_same(&s, &again);
			settings_free(&again);
		}
		settings_free(&s);
	}
}

static void a_missing_file_means_defaults_unless_it_was_asked_for(void **state)
{
	struct settings s;
	struct told t = { 0 };
	(void)state;

	assert_int_equal(settings_load(&s, "/nonexistent/clashsup.conf", false, tell, &t), 0);
	assert_int_equal(s.tproxy.port, 7893);
	assert_int_equal(t.n, 0);
	assert_int_equal(settings_load(&s, "/nonexistent/clashsup.conf", true, tell, &t), -ENOENT);
	assert_string_equal(t.first, "/nonexistent/clashsup.conf: No such file or directory");
	assert_true(settings_load(&s, "/", false, tell, &t) < 0);
	assert_int_equal(t.n, 2);
}

static void a_file_beyond_the_limit_is_refused(void **state)
{
	cleanup_free char *text = malloc(SETTINGS_MAX + 1);
	struct settings s;
	struct told t = { 0 };
	(void)state;

	memset(text, '\n', SETTINGS_MAX + 1);
	assert_int_equal(settings_parse(&s, "f", text, SETTINGS_MAX, tell, &t), 0);
	assert_int_equal(settings_parse(&s, "f", text, SETTINGS_MAX + 1, tell, &t), -EINVAL);
	assert_string_equal(t.first, "f: larger than the limit of 262144 bytes");
}

/* What settings_load says of a file with this text, and of these variables. */
static int load_with(struct settings *s, const char *text, const char *const *variables, struct told *t)
{
	char path[] = "/tmp/settings-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	for (size_t i = 0; variables[i]; i += 2)
		setenv(variables[i], variables[i + 1], 1);
	memset(t, 0, sizeof(*t));
	r = settings_load(s, path, true, tell, t);
	for (size_t i = 0; variables[i]; i += 2)
		unsetenv(variables[i]);
	unlink(path);
	return r;
}

static void the_environment_counts_more_than_the_file(void **state)
{
	static const char *const variables[] = { "CLASHSUP_TPROXY_MODE",
						 "mixed",
						 "CLASHSUP_MIHOMO_ARGS",
						 "-m",
						 "CLASHSUP_TPROXY_EXCLUDE_PORTS",
						 "22",
						 "CLASHSUP_CONTROL_CONTROL_GROUP",
						 "7",
						 "CLASHSUP_STATE",
						 "armed",
						 "CLASHSUP_BUILD_DIR",
						 "x",
						 "CLASHSUPTPROXY_PORT",
						 "x",
						 NULL };
	static const char *const none[] = { NULL };
	static const char text[] =
		"[tproxy]\nmode = tproxy\nport = 7000\nexclude_ports = 80 443\n[mihomo]\nargs = a b\n";
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(load_with(&s, text, variables, &t), 0);
	assert_int_equal(s.tproxy.mode, MODE_MIXED);
	assert_int_equal(s.tproxy.port, 7000);
	assert_string_equal(s.mihomo.args[0], "-m");
	assert_null(s.mihomo.args[1]);
	assert_int_equal(s.tproxy.selection.skip_ports.n, 1);
	assert_int_equal(s.control.group, 7);
	settings_free(&s);
	assert_int_equal(load_with(&s, text, none, &t), 0);
	assert_int_equal(s.tproxy.mode, MODE_TPROXY);
	settings_free(&s);
}

static void a_wrong_variable_is_told_by_its_name(void **state)
{
	static const char *const rows[][3] = {
		{ "CLASHSUP_TPROXY_MODE", "tun", "CLASHSUP_TPROXY_MODE: mode = tun: must be tproxy or mixed" },
		{ "CLASHSUP_TPROXY_MODUS", "x",
		  "CLASHSUP_TPROXY_MODUS: unknown key \"modus\" in [tproxy]; the nearest known one is \"mode\"" },
		{ "CLASHSUP_IPSET_NAME", "a\nb", "CLASHSUP_IPSET_NAME: a control character" },
		{ "CLASHSUP_TPROXY_EXCLUDE_PORTS", "0x", NULL },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const variables[] = { rows[i][0], rows[i][1], NULL };
		struct settings s;
		struct told t;

		assert_int_equal(load_with(&s, "", variables, &t), -EINVAL);
		assert_int_equal(t.n, 1);
		if (rows[i][2])
			assert_string_equal(t.first, rows[i][2]);
		assert_memory_equal(t.first, rows[i][0], strlen(rows[i][0]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_default_of_the_table_is_a_value_it_would_accept),
		cmocka_unit_test(an_empty_file_means_the_documented_defaults),
		cmocka_unit_test(the_same_values_in_other_words_are_no_change),
		cmocka_unit_test(each_kind_of_key_tells_its_change),
		cmocka_unit_test(every_key_that_is_copied_is_no_change_any_more),
		cmocka_unit_test(a_client_takes_what_is_good_of_a_bad_file),
		cmocka_unit_test(the_sample_file_says_the_defaults_and_names_every_key),
		cmocka_unit_test(the_manual_names_every_key),
		cmocka_unit_test(what_is_printed_parses_to_the_same),
		cmocka_unit_test(the_environment_counts_more_than_the_file),
		cmocka_unit_test(a_wrong_variable_is_told_by_its_name),
		cmocka_unit_test(a_wrong_line_is_told_with_file_and_line_and_what_is_allowed),
		cmocka_unit_test(no_name_of_a_set_begins_as_one_of_ours),
		cmocka_unit_test(every_problem_is_told_not_only_the_first),
		cmocka_unit_test(a_set_args_list_is_freed_when_a_later_line_is_wrong),
		cmocka_unit_test(more_arguments_than_there_is_room_for_are_refused),
		cmocka_unit_test(line_ends_marks_indents_and_comments_of_every_kind_are_understood),
		cmocka_unit_test(a_line_longer_than_the_ini_reader_takes_is_an_error_and_never_cut),
		cmocka_unit_test(nul_bytes_and_control_characters_are_refused_by_line),
		cmocka_unit_test(any_bytes_end_in_defaults_or_good_values),
		cmocka_unit_test(a_missing_file_means_defaults_unless_it_was_asked_for),
		cmocka_unit_test(a_file_beyond_the_limit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
