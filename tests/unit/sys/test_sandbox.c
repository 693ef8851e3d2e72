/*
 * sandbox: what a child really has behind exec, read from its /proc/self. The
 * program runs itself as that child. Root only; else a loud skip.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "clashsup/oom.h"
#include "clashsup/proc.h"
#include "clashsup/sandbox.h"
#include "with_reaper.h"

#define GID 7893
#define OTHER 65534
#define BIT(cap) (1ull << (cap))
#define NET_CAPS (BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_NET_BIND_SERVICE))

static char self[4096];

struct seen {
	struct proc proc;
	int status, ended;
	char text[16384];
};

static void on_end(struct proc *p, int status)
{
	struct seen *seen = p->data;

	seen->status = status;
	seen->ended++;
}

/* Runs "self dump [FILE]" behind `drop`; its exit status. */
static int look(struct seen *seen, struct reaper *r, int (*drop)(const void *, pid_t), const struct sandbox_ids *ids,
		const char *file)
{
	cleanup_fd int program = open(self, O_PATH | O_CLOEXEC);
	const char *const argv[] = { self, "dump", file, NULL };
	const char *const envp[] = { "ASAN_OPTIONS=detect_leaks=0",
				     NULL }; /* no search for leaks in what is left of a process */
	struct proc_spec spec = { .argv = argv, .envp = envp, .exec_fd = program, .in_child = drop, .arg = ids };
	size_t len = 0;
	ssize_t n;
	int ends[2];

	memset(seen, 0, sizeof(*seen));
	seen->proc.on_exit = on_end;
	seen->proc.data = seen;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	spec.fd[0] = -1;
	spec.fd[1] = spec.fd[2] = ends[1];
	assert_int_equal(proc_spawn(r, &seen->proc, &spec, NULL), 0);
	close(ends[1]);
	while ((n = io_read(ends[0], seen->text + len, sizeof(seen->text) - 1 - len)) > 0)
		len += (size_t)n;
	close(ends[0]);
	while (!seen->ended)
		ev_run(r->loop, EVRUN_ONCE);
	return WIFEXITED(seen->status) ? WEXITSTATUS(seen->status) : -WTERMSIG(seen->status);
}

static void assert_has(const struct seen *seen, const char *line)
{
	if (!strstr(seen->text, line))
		fail_msg("\"%s\" is not in:\n%s", line, seen->text);
}

static uint64_t caps_of(const struct seen *seen, const char *set)
{
	const char *at = strstr(seen->text, set);

	assert_non_null(at);
	return strtoull(at + strlen(set) + 1, NULL, 16);
}

static void assert_caps(const struct seen *seen, uint64_t inheritable, uint64_t permitted, uint64_t bounding,
			uint64_t ambient)
{
	assert_int_equal(caps_of(seen, "CapInh"), inheritable);
	assert_int_equal(caps_of(seen, "CapPrm"), permitted);
	assert_int_equal(caps_of(seen, "CapEff"), permitted);
	assert_int_equal(caps_of(seen, "CapBnd"), bounding);
	assert_int_equal(caps_of(seen, "CapAmb"), ambient);
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("SKIP: ids and capabilities can be given up by root only\n");
	skip();
}

/* Takes capabilities away from this process for good, as a container without them would. */
static void lose(uint64_t caps)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	for (unsigned long cap = 0; cap < 64; cap++) {
		if (caps & BIT(cap))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	if (syscall(SYS_capget, &head, data) < 0)
		_exit(95);
	for (int i = 0; i < 2; i++) {
		uint32_t mask = ~(uint32_t)(caps >> (32 * i));

		data[i].effective &= mask;
		data[i].permitted &= mask;
		data[i].inheritable &= mask;
	}
	if (syscall(SYS_capset, &head, data) < 0)
		_exit(95);
}

static int helper_without_setpcap(const void *arg, pid_t parent)
{
	lose(BIT(CAP_SETPCAP));
	return sandbox_helper(arg, parent);
}

static int helper_without_any(const void *arg, pid_t parent)
{
	lose(UINT64_MAX);
	return sandbox_helper(arg, parent);
}

static int mihomo_without_net_admin(const void *arg, pid_t parent)
{
	lose(BIT(CAP_NET_ADMIN));
	return sandbox_mihomo(arg, parent);
}

static int mihomo_without_any(const void *arg, pid_t parent)
{
	lose(UINT64_MAX);
	return sandbox_mihomo(arg, parent);
}

static int mihomo_without_setpcap(const void *arg, pid_t parent)
{
	lose(BIT(CAP_SETPCAP));
	return sandbox_mihomo(arg, parent);
}

static int helper_with_a_dead_parent(const void *arg, pid_t parent)
{
	(void)parent;
	return sandbox_helper(arg, 1);
}

static void assert_helper_is_bare(const struct seen *seen)
{
	assert_has(seen, "NoNewPrivs:\t1\n");
	assert_has(seen, "Gid:\t7893\t7893\t7893\t7893\n");
	assert_has(seen, "Groups:\t7893 \n");
	assert_has(seen, "pdeathsig 9\n");
	assert_has(seen, "limit core 0 0\n");
	assert_has(seen, "limit fsize 0 0\n");
#ifndef CLASHSUP_SANITIZED
	assert_has(seen, "limit as 536870912 536870912\n");
#endif
}

static void a_root_helper_has_no_capability_no_group_and_no_way_back(void **state)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, sandbox_helper, &ids, NULL), 0);
	assert_helper_is_bare(&seen);
	assert_has(&seen, "Uid:\t0\t0\t0\t0\n");
	assert_caps(&seen, 0, 0, 0, 0);
}

static void a_helper_of_another_user_is_as_bare(void **state)
{
	const struct sandbox_ids ids = { .uid = OTHER, .gid = GID };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, sandbox_helper, &ids, NULL), 0);
	assert_helper_is_bare(&seen);
	assert_has(&seen, "Uid:\t65534\t65534\t65534\t65534\n");
	assert_caps(&seen, 0, 0, 0, 0);
}

static void without_setpcap_a_root_helper_has_no_capability_all_the_same(void **state)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, helper_without_setpcap, &ids, NULL), 0);
	assert_helper_is_bare(&seen);
	assert_int_equal(caps_of(&seen, "CapPrm") | caps_of(&seen, "CapEff") | caps_of(&seen, "CapAmb"), 0);
	assert_int_not_equal(caps_of(&seen, "CapBnd"), 0);
}

static void a_root_helper_reads_files_of_root_but_overrides_no_permission(void **state)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true };
	char path[] = "/tmp/clashsup-sandbox-XXXXXX";
	int fd = mkstemp(path);
	struct seen seen;

	assert_true(fd >= 0);
	close(fd);
	if (geteuid() != 0)
		unlink(path);
	need_root();
	look(&seen, *state, sandbox_helper, &ids, path);
	assert_has(&seen, "open 0\n");
	assert_int_equal(chown(path, OTHER, OTHER), 0);
	look(&seen, *state, sandbox_helper, &ids, path);
	unlink(path);
	assert_has(&seen, "open 13\n");
}

static void a_gid_that_cannot_be_taken_is_refused(void **state)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, helper_without_any, &ids, NULL), 126);
	assert_has(&seen, "cannot set the group that the rules leave alone: Operation not permitted\n");
	assert_int_equal(look(&seen, *state, mihomo_without_any, &ids, NULL), 126);
	assert_has(&seen, "cannot set the group that the rules leave alone: Operation not permitted\n");
}

static void without_any_capability_our_own_ids_are_enough(void **state)
{
	const struct sandbox_ids ids = { .uid = getuid(), .gid = getgid(), .as_root = getuid() == 0 };
	struct seen seen;

	assert_int_equal(look(&seen, *state, helper_without_any, &ids, NULL), 0);
	assert_has(&seen, "NoNewPrivs:\t1\n");
	assert_int_equal(caps_of(&seen, "CapPrm"), 0);
	assert_int_equal(look(&seen, *state, mihomo_without_any, &ids, NULL), 0);
	assert_has(&seen, "pdeathsig 9\n");
}

static void a_helper_whose_parent_is_dead_does_not_start(void **state)
{
	const struct sandbox_ids ids = { .uid = getuid(), .gid = getgid(), .as_root = getuid() == 0 };
	struct seen seen;

	assert_int_equal(look(&seen, *state, helper_with_a_dead_parent, &ids, NULL), 126);
	assert_has(&seen, "cannot go on without the parent");
}

static void a_root_mihomo_keeps_four_capabilities(void **state)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true, .nofile = 500 };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, sandbox_mihomo, &ids, NULL), 0);
	assert_caps(&seen, 0, NET_CAPS | BIT(CAP_DAC_OVERRIDE), NET_CAPS | BIT(CAP_DAC_OVERRIDE), 0);
	assert_has(&seen, "Gid:\t7893\t7893\t7893\t7893\n");
	assert_has(&seen, "Groups:\t7893 \n");
	assert_has(&seen, "limit nofile 500 ");
	assert_has(&seen, "pdeathsig 9\n");
}

static void a_mihomo_of_another_user_has_three_ambient_capabilities(void **state)
{
	const struct sandbox_ids ids = { .uid = OTHER, .gid = GID };
	struct rlimit own;
	struct seen seen;
	char line[64];

	need_root();
	assert_int_equal(look(&seen, *state, sandbox_mihomo, &ids, NULL), 0);
	assert_caps(&seen, NET_CAPS, NET_CAPS, NET_CAPS | BIT(CAP_DAC_OVERRIDE), NET_CAPS);
	assert_has(&seen, "Uid:\t65534\t65534\t65534\t65534\n");
	assert_has(&seen, "pdeathsig 9\n");
	getrlimit(RLIMIT_NOFILE, &own);
	snprintf(line, sizeof(line), "limit nofile %llu %llu\n", (unsigned long long)own.rlim_max,
		 (unsigned long long)own.rlim_max);
	assert_has(&seen, line);
}

static void a_capability_that_we_lack_is_left_out(void **state)
{
	const struct sandbox_ids ids = { .uid = OTHER, .gid = GID };
	const uint64_t rest = NET_CAPS & ~BIT(CAP_NET_ADMIN);
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, mihomo_without_net_admin, &ids, NULL), 0);
	assert_caps(&seen, rest, rest, rest | BIT(CAP_DAC_OVERRIDE), rest);
}

/* Capabilities gained at exec would clear the signal. */
static void without_setpcap_a_root_mihomo_still_dies_with_its_parent(void **state)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, mihomo_without_setpcap, &ids, NULL), 0);
	assert_has(&seen, "pdeathsig 9\n");
	assert_has(&seen, "Groups:\t7893 \n");
	assert_int_equal(caps_of(&seen, "CapPrm") & NET_CAPS, NET_CAPS);
}

/* ---- attributes ---- */

#define PLAIN .umask = 022, .nice = ATTR_INHERIT, .oom_score_adj = ATTR_INHERIT

static int look_with(struct seen *seen, struct reaper *r, const struct attributes *attr)
{
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true, .attr = attr };

	need_root();
	return look(seen, r, sandbox_mihomo, &ids, NULL);
}

static void supplementary_groups_come_behind_its_own(void **state)
{
	const struct attributes attr = { PLAIN, .groups = { { 5, 20 }, 2 } };
	struct seen seen;

	assert_int_equal(look_with(&seen, *state, &attr), 0);
	assert_has(&seen, "Groups:\t5 20 7893 \n");
	assert_has(&seen, "Gid:\t7893\t7893\t7893\t7893\n");
}

static void limits_are_set_and_the_others_are_ours(void **state)
{
	struct attributes attr = { PLAIN };
	struct seen seen;
	struct rlimit own;
	char line[96];

	attr.limits.of[RLIMIT_CORE] = (struct attr_limit){ true, 0, 0 };
	attr.limits.of[RLIMIT_FSIZE] = (struct attr_limit){ true, 4096, ATTR_UNLIMITED };
	assert_int_equal(look_with(&seen, *state, &attr), 0);
	assert_has(&seen, "limit core 0 0\n");
	assert_has(&seen, "limit fsize 4096 18446744073709551615\n");
	assert_int_equal(getrlimit(RLIMIT_AS, &own), 0);
	snprintf(line, sizeof(line), "limit as %llu %llu\n", (unsigned long long)own.rlim_cur,
		 (unsigned long long)own.rlim_max);
	assert_has(&seen, line);
}

static int mihomo_that_may_not_raise(const void *arg, pid_t parent)
{
	const struct rlimit low = { 4096, 8192 };

	lose(BIT(CAP_SYS_RESOURCE) | BIT(CAP_SYS_NICE));
	return setrlimit(RLIMIT_FSIZE, &low) < 0 ? -1 : sandbox_mihomo(arg, parent);
}

static void what_may_not_be_raised_is_told_and_goes_as_far_as_it_may(void **state)
{
	struct attributes attr = { PLAIN };
	const struct sandbox_ids ids = { .uid = 0, .gid = GID, .as_root = true, .attr = &attr };
	struct seen seen;

	need_root();
	attr.nice = -5;
	attr.limits.of[RLIMIT_FSIZE] = (struct attr_limit){ true, ATTR_UNLIMITED, ATTR_UNLIMITED };
	assert_int_equal(look(&seen, *state, mihomo_that_may_not_raise, &ids, NULL), 0);
	assert_has(&seen, "cannot raise the limit fsize: Operation not permitted; going on without\n");
	assert_has(&seen, "limit fsize 8192 8192\n");
	assert_has(&seen, "cannot set nice: Permission denied; going on without\n");
}

static void umask_nice_and_oom_score_are_as_told(void **state)
{
	const struct attributes attr = { .umask = 077, .nice = 7, .oom_score_adj = 250 };
	struct seen seen;

	assert_int_equal(look_with(&seen, *state, &attr), 0);
	assert_has(&seen, "Umask:\t0077\n");
	assert_has(&seen, "nice 7\n");
	assert_has(&seen, "oom_score_adj 250\n");
}

static void without_attributes_umask_is_022_and_the_rest_ours(void **state)
{
	struct seen seen;

	assert_int_equal(look_with(&seen, *state, NULL), 0);
	assert_has(&seen, "Umask:\t0022\n");
	assert_has(&seen, "nice 0\n");
	assert_has(&seen, "NoNewPrivs:\t0\n");
}

static void no_new_privs_leaves_root_its_four_capabilities(void **state)
{
	const struct attributes attr = { PLAIN, .no_new_privs = true };
	struct seen seen;

	assert_int_equal(look_with(&seen, *state, &attr), 0);
	assert_has(&seen, "NoNewPrivs:\t1\n");
	assert_caps(&seen, 0, NET_CAPS | BIT(CAP_DAC_OVERRIDE), NET_CAPS | BIT(CAP_DAC_OVERRIDE), 0);
	assert_has(&seen, "pdeathsig 9\n");
}

static void no_new_privs_leaves_another_user_its_ambient_ones(void **state)
{
	const struct attributes attr = { PLAIN, .no_new_privs = true };
	const struct sandbox_ids ids = { .uid = OTHER, .gid = GID, .attr = &attr };
	struct seen seen;

	need_root();
	assert_int_equal(look(&seen, *state, sandbox_mihomo, &ids, NULL), 0);
	assert_has(&seen, "NoNewPrivs:\t1\n");
	assert_caps(&seen, NET_CAPS, NET_CAPS, NET_CAPS | BIT(CAP_DAC_OVERRIDE), NET_CAPS);
	assert_has(&seen, "pdeathsig 9\n");
}

static void a_cgroup_that_is_not_there_is_told_and_no_obstacle(void **state)
{
	const struct sandbox_ids ids = {
		.uid = getuid(), .gid = getgid(), .as_root = getuid() == 0, .cgroup = "/nonexistent/cgroup"
	};
	struct seen seen;

	assert_int_equal(look(&seen, *state, sandbox_mihomo, &ids, NULL), 0);
	assert_has(&seen,
		   "cannot move to the cgroup /nonexistent/cgroup: No such file or directory; going on without\n");
}

static void users_are_names_numbers_or_our_own(void **state)
{
	struct err e = ERR_INIT;
	uid_t uid = 1;
	(void)state;

	assert_int_equal(sandbox_user("", &uid, &e), 0);
	assert_int_equal(uid, getuid());
	assert_int_equal(sandbox_user("12345", &uid, &e), 0);
	assert_int_equal(uid, 12345);
	assert_int_equal(sandbox_user("root", &uid, &e), 0);
	assert_int_equal(uid, 0);
	assert_true(sandbox_user("4294967295", &uid, &e) < 0);
	assert_int_equal(sandbox_user("no-such-user-here", &uid, &e), -ENOENT);
	assert_string_equal(e.msg, "there is no user no-such-user-here");
	assert_int_equal(uid, 0);
}

/* ---- the child ---- */

static int dump(const char *file)
{
	static const struct {
		const char *name;
		unsigned int which;
	} limits[] = {
		{ "core", RLIMIT_CORE }, { "fsize", RLIMIT_FSIZE }, { "as", RLIMIT_AS }, { "nofile", RLIMIT_NOFILE }
	};
	char buf[8192];
	int fd = open("/proc/self/status", O_RDONLY), sig = 0;
	ssize_t n = io_read(fd, buf, sizeof(buf));

	printf("%.*s", (int)n, buf);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit lim;

		getrlimit(limits[i].which, &lim);
		printf("limit %s %llu %llu\n", limits[i].name, (unsigned long long)lim.rlim_cur,
		       (unsigned long long)lim.rlim_max);
	}
	printf("nice %d\noom_score_adj %d\n", getpriority(PRIO_PROCESS, 0), oom_read());
	prctl(PR_GET_PDEATHSIG, &sig);
	printf("pdeathsig %d\n", sig);
	if (file)
		printf("open %d\n", open(file, O_RDONLY) < 0 ? errno : 0);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_root_helper_has_no_capability_no_group_and_no_way_back),
		cmocka_unit_test(a_helper_of_another_user_is_as_bare),
		cmocka_unit_test(without_setpcap_a_root_helper_has_no_capability_all_the_same),
		cmocka_unit_test(a_root_helper_reads_files_of_root_but_overrides_no_permission),
		cmocka_unit_test(a_gid_that_cannot_be_taken_is_refused),
		cmocka_unit_test(without_any_capability_our_own_ids_are_enough),
		cmocka_unit_test(a_helper_whose_parent_is_dead_does_not_start),
		cmocka_unit_test(a_root_mihomo_keeps_four_capabilities),
		cmocka_unit_test(a_mihomo_of_another_user_has_three_ambient_capabilities),
		cmocka_unit_test(a_capability_that_we_lack_is_left_out),
		cmocka_unit_test(without_setpcap_a_root_mihomo_still_dies_with_its_parent),
		cmocka_unit_test(supplementary_groups_come_behind_its_own),
		cmocka_unit_test(limits_are_set_and_the_others_are_ours),
		cmocka_unit_test(what_may_not_be_raised_is_told_and_goes_as_far_as_it_may),
		cmocka_unit_test(umask_nice_and_oom_score_are_as_told),
		cmocka_unit_test(without_attributes_umask_is_022_and_the_rest_ours),
		cmocka_unit_test(no_new_privs_leaves_root_its_four_capabilities),
		cmocka_unit_test(no_new_privs_leaves_another_user_its_ambient_ones),
		cmocka_unit_test(a_cgroup_that_is_not_there_is_told_and_no_obstacle),
		cmocka_unit_test(users_are_names_numbers_or_our_own),
	};

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	if (argc > 1)
		return dump(argv[2]);
	return cmocka_run_group_tests(tests, with_reaper, without_reaper);
}
