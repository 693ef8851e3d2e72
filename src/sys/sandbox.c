#include "clashsup/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clashsup/cgroup.h"
#include "clashsup/io.h"
#include "clashsup/oom.h"
#include "clashsup/scan.h"

#define HELPER_AS ((rlim_t)512 << 20)
#define PASSWD_BUF 16384

static const unsigned int net_caps[] = { CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE };
#define NET_CAPS (sizeof(net_caps) / sizeof(net_caps[0]))

int sandbox_user(const char *user, uid_t *uid_out, struct err *e)
{
	struct passwd entry, *found = NULL;
	char buf[PASSWD_BUF];
	uint64_t number;
	int r;

	if (user[0] == '\0') {
		*uid_out = getuid();
		return 0;
	}
	if (scan_u64(user, UINT32_MAX - 1, &number) == 0) { /* the last number means "do not change" to setresuid */
		*uid_out = (uid_t)number;
		return 0;
	}
	r = getpwnam_r(user, &entry, buf, sizeof(buf), &found);
	if (!found)
		return r != 0 ? err_sys(e, r, "cannot look up the user %s", user)
			      : err_set(e, ENOENT, "there is no user %s", user);
	*uid_out = entry.pw_uid;
	return 0;
}

/* ---- in the child ---- */

static void tell(const char *what, int errnum, const char *end)
{
	const char *why = strerrordesc_np(errnum);
	char line[256];
	int n = snprintf(line, sizeof(line), "cannot %s: %s%s\n", what, why ? why : "unknown error", end);

	if (n > 0)
		(void)io_write_all(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static int refuse(const char *what, int errnum)
{
	tell(what, errnum, "");
	return -1;
}

/* For what one can live without. */
static void leave_out(const char *what, const char *name, int errnum)
{
	char text[128];

	snprintf(text, sizeof(text), "%s %s", what, name);
	tell(text, errnum, "; going on without");
}

static int limited(int result)
{
	return result < 0 ? refuse("lower a resource limit", errno) : 0;
}

/*
 * The gid is the loop guard, so it must be had. Other groups can stay only
 * where the kernel forbids setgroups altogether (no CAP_SETGID, some user
 * namespaces): such a child has no more than we have.
 */
static int take_ids(const struct sandbox_ids *ids, const struct attr_groups *more)
{
	gid_t groups[1 + ATTR_GROUPS_MAX] = { ids->gid };

	for (size_t i = 0; i < more->n; i++)
		groups[1 + i] = more->gid[i];
	if (setgroups(1 + more->n, groups) < 0 && errno != EPERM)
		return refuse("set the groups", errno);
	if (setresgid(ids->gid, ids->gid, ids->gid) < 0)
		return refuse("set the group that the rules leave alone", errno);
	if (ids->uid != getuid() && setresuid(ids->uid, ids->uid, ids->uid) < 0)
		return refuse("set the user", errno);
	return 0;
}

/*
 * Last: a change of ids or capabilities clears the parent-death signal. A
 * parent that died before this call is seen by the comparison.
 */
static int die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return refuse("ask for the parent-death signal", errno);
	return getppid() == parent ? 0 : refuse("go on without the parent", ESRCH);
}

static bool have(capng_type_t set, unsigned int cap)
{
	return capng_have_capability(set, cap) > 0; /* negative = unknown */
}

/* Without CAP_SETPCAP there is no way, and no_new_privs alone keeps root from regaining anything at exec. */
static void drop_bounding_set(void)
{
	if (capng_get_caps_process() < 0 || !have(CAPNG_EFFECTIVE, CAP_SETPCAP))
		return;
	capng_clear(CAPNG_SELECT_BOUNDS);
	(void)capng_apply(CAPNG_SELECT_BOUNDS);
	(void)capng_lock();
}

int sandbox_helper(const void *arg, pid_t parent)
{
	const struct rlimit none = { 0, 0 };
	const struct sandbox_ids *ids = arg;

	if (limited(setrlimit(RLIMIT_CORE, &none)) < 0 || limited(setrlimit(RLIMIT_FSIZE, &none)) < 0)
		return -1;
#ifndef CLASHSUP_SANITIZED /* a sanitizer reserves terabytes of addresses */
	if (limited(setrlimit(RLIMIT_AS, &(const struct rlimit){ HELPER_AS, HELPER_AS })) < 0)
		return -1;
#endif
	drop_bounding_set();
	if (take_ids(ids, &(const struct attr_groups){ 0 }) < 0)
		return -1;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* kernels before 4.3 have none */
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return refuse("drop the capabilities", errno);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return refuse("forbid new privileges", errno);
	return die_with(parent);
}

/* Which of the capabilities that Mihomo may use we can give at all. */
struct grant {
	bool net[NET_CAPS];
	bool dac;
	bool bound; /* the bounding set can be reduced */
};

static void grant_look(struct grant *g)
{
	memset(g, 0, sizeof(*g));
	if (capng_get_caps_process() < 0)
		return;
	for (size_t i = 0; i < NET_CAPS; i++)
		g->net[i] = have(CAPNG_PERMITTED, net_caps[i]);
	g->dac = have(CAPNG_PERMITTED, CAP_DAC_OVERRIDE);
	g->bound = have(CAPNG_EFFECTIVE, CAP_SETPCAP);
}

static void bound_mihomo(void)
{
	capng_clear(CAPNG_SELECT_BOUNDS);
	for (size_t i = 0; i < NET_CAPS; i++)
		(void)capng_update(CAPNG_ADD, CAPNG_BOUNDING_SET, net_caps[i]);
	(void)capng_update(CAPNG_ADD, CAPNG_BOUNDING_SET, CAP_DAC_OVERRIDE);
	(void)capng_apply(CAPNG_SELECT_BOUNDS);
}

/*
 * Root gets all of its bounding set back at exec; where that could not be
 * reduced, reducing the rest is no use, and gaining at exec would clear the
 * parent-death signal. Another user has ambient capabilities or none.
 */
static int grant_apply(const struct grant *g, bool as_root)
{
	const capng_type_t now = CAPNG_EFFECTIVE | CAPNG_PERMITTED;

	if (as_root && !g->bound)
		return 0;
	capng_clear(CAPNG_SELECT_CAPS);
	capng_clear(CAPNG_SELECT_AMBIENT);
	for (size_t i = 0; i < NET_CAPS; i++) {
		if (g->net[i])
			(void)capng_update(CAPNG_ADD, as_root ? now : now | CAPNG_INHERITABLE | CAPNG_AMBIENT,
					   net_caps[i]);
	}
	if (as_root && g->dac)
		(void)capng_update(CAPNG_ADD, now, CAP_DAC_OVERRIDE);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return refuse("reduce the capabilities", errno);
	(void)capng_apply(CAPNG_SELECT_AMBIENT); /* kernels before 4.3 have none, a secure bit may forbid them */
	return 0;
}

/* A file table smaller than asked for is better than no Mihomo. */
static void set_nofile(uint64_t wanted)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	if (wanted > lim.rlim_max) {
		const struct rlimit more = { wanted, wanted };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return;
	}
	lim.rlim_cur = wanted > 0 && wanted < lim.rlim_max ? wanted : lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

/* To raise a hard limit is not given to everybody: then as far as ours goes. */
static void set_limit(unsigned which, const struct attr_limit *l)
{
	struct rlimit lim = { l->soft, l->hard }, own;

	if (setrlimit((__rlimit_resource_t)which, &lim) == 0)
		return;
	leave_out("raise the limit", attributes_limit_name(which), errno);
	if (getrlimit((__rlimit_resource_t)which, &own) < 0)
		return;
	lim.rlim_max = lim.rlim_max < own.rlim_max ? lim.rlim_max : own.rlim_max;
	lim.rlim_cur = lim.rlim_cur < lim.rlim_max ? lim.rlim_cur : lim.rlim_max;
	(void)setrlimit((__rlimit_resource_t)which, &lim);
}

/* Before anything is given up: most of it needs a capability. */
static void set_attributes(const struct attributes *attr, const char *cgroup)
{
	int r;

	if (cgroup && (r = cgroup_join(cgroup)) < 0)
		leave_out("move to the cgroup", cgroup, -r);
	if (attr->oom_score_adj != ATTR_INHERIT && (r = oom_write(attr->oom_score_adj)) < 0)
		leave_out("set", "oom_score_adj", -r);
	if (attr->nice != ATTR_INHERIT && setpriority(PRIO_PROCESS, 0, attr->nice) < 0)
		leave_out("set", "nice", errno);
	for (unsigned i = 0; i < RLIM_NLIMITS; i++) {
		if (attr->limits.of[i].set)
			set_limit(i, &attr->limits.of[i]);
	}
	umask(attr->umask);
}

int sandbox_mihomo(const void *arg, pid_t parent)
{
	static const struct attributes plain = { .umask = 022, .nice = ATTR_INHERIT, .oom_score_adj = ATTR_INHERIT };
	const struct sandbox_ids *ids = arg;
	const struct attributes *attr = ids->attr ? ids->attr : &plain;
	struct grant g;

	set_nofile(ids->nofile);
	set_attributes(attr, ids->cgroup);
	grant_look(&g);
	if (g.bound)
		bound_mihomo();
	if (prctl(PR_SET_KEEPCAPS, ids->as_root ? 0 : 1, 0, 0, 0) < 0)
		return refuse("keep capabilities over the change of user", errno);
	if (take_ids(ids, &attr->groups) < 0 || grant_apply(&g, ids->as_root) < 0)
		return -1;
	if (attr->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return refuse("forbid new privileges", errno);
	return die_with(parent);
}

int sandbox_may_filter(struct err *e)
{
	if (capng_get_caps_process() < 0 ||
	    (have(CAPNG_EFFECTIVE, CAP_NET_ADMIN) && have(CAPNG_EFFECTIVE, CAP_NET_RAW)))
		return 0;
	return err_set(e, EPERM,
		       "clashsup lacks a capability: run it as root, or give the container NET_ADMIN and NET_RAW");
}
