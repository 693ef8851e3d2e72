"""What Mihomo's process gets, and what it does not: a stand-in core tells what it was given by exec."""

import os
import re
import resource
import signal
import unittest

from house import BUILD, HouseCase, alive, wait_for
from odd import MS_BIND, mount, starts, unshare_mounts

STANDIN = os.path.join(BUILD, "tests", "standin")
NOBODY = 65534
CORE_GID = 7893
UNIFIED = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
DAC_OVERRIDE, NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 1, 10, 12, 13


def caps(*numbers):
    return sum(1 << n for n in numbers)


def has_unified():
    return os.path.exists(os.path.join(UNIFIED, "cgroup.procs")) and os.access(UNIFIED, os.W_OK)


class Got:
    """What the stand-in found in its /proc/self."""

    def __init__(self, sup):
        self.home = sup.home
        self.status = dict(line.split(":\t", 1) for line in self.text("status").splitlines() if ":\t" in line)
        self.environ = [e for e in self.text("environ").split("\0") if e]
        self.fds = dict(line.split(" ", 1) for line in self.text("fd").splitlines())
        self.stat = self.text("stat").rpartition(") ")[2].split()
        self.oom_score_adj = int(self.text("oom_score_adj"))

    def text(self, name):
        with open(os.path.join(self.home, "got." + name), encoding="utf-8") as f:
            return f.read()

    def limit(self, name):
        """Soft and hard, as /proc/PID/limits prints them."""
        return tuple(re.search(rf"^{name} +(\S+) +(\S+)", self.text("limits"), re.M).groups())

    def signals(self, which):
        return int(self.status[which], 16)


class ChildCase(HouseCase):
    def core(self, **keys):
        """An armed supervisor with a stand-in core, and what that was given."""
        sup = self.supervisor(
            files={"core": "tell"}, conf={"mihomo": {"binary": STANDIN, **keys}}, **getattr(self, "how", {})
        )
        os.chmod(sup.dir, 0o755)
        os.chmod(sup.home, 0o777)
        sup.wait_state("armed")
        return sup, Got(sup)


class Clean(ChildCase):
    """Whatever the supervisor itself has: each of these starts it with something odd."""

    def test_no_signal_is_blocked_although_ours_were(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        try:
            _, got = self.core()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
        self.assertEqual(got.signals("SigBlk"), 0)

    def test_no_signal_is_ignored_although_ours_were(self):
        ignored = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTOU, signal.SIGPIPE, signal.SIGTSTP)
        before = [signal.signal(s, signal.SIG_IGN) for s in ignored]
        try:
            _, got = self.core()
        finally:
            for s, handler in zip(ignored, before):
                signal.signal(s, handler)
        self.assertEqual((got.signals("SigIgn"), got.signals("SigCgt")), (0, 0))

    def test_its_descriptors_are_the_three_and_the_life_pipe(self):
        _, got = self.core()
        life = max(got.fds, key=int)
        self.assertEqual(sorted(got.fds, key=int), ["0", "1", "2", life])
        self.assertEqual(got.fds["0"], "/dev/null")
        for fd in ("1", "2", life):
            self.assertRegex(got.fds[fd], r"^pipe:")
        self.assertGreater(int(life), 1000)

    def test_it_works_in_the_root_directory(self):
        _, got = self.core()
        self.assertEqual(got.text("cwd"), "/")

    def test_it_leads_a_group_of_its_own(self):
        sup, got = self.core()
        pid, group, session = got.text("stat").split()[0], got.stat[2], got.stat[3]
        self.assertEqual(group, pid)
        self.assertEqual(int(session), os.getsid(sup.process.pid))

    def test_umask_is_022_whatever_ours_was(self):
        before = os.umask(0)
        try:
            _, got = self.core()
        finally:
            os.umask(before)
        self.assertEqual(got.status["Umask"], "0022")

    def test_it_has_four_capabilities_and_its_own_gid_alone(self):
        _, got = self.core()
        allowed = caps(DAC_OVERRIDE, NET_BIND_SERVICE, NET_ADMIN, NET_RAW)
        for name, value in (("CapPrm", allowed), ("CapEff", allowed), ("CapBnd", allowed), ("CapInh", 0), ("CapAmb", 0)):
            self.assertEqual(int(got.status[name], 16), value, name)
        self.assertEqual(got.status["Gid"].split(), [str(CORE_GID)] * 4)
        self.assertEqual(got.status["Groups"].split(), [str(CORE_GID)])
        self.assertEqual(got.status["NoNewPrivs"], "0")

    def test_it_dies_with_the_supervisor(self):
        sup, _ = self.core()
        pid = sup.mihomo_pid
        sup.kill()
        wait_for(lambda: not alive(pid), "its end")


class OutOfMemory(ChildCase):
    """Few may lower a score: a file of the test's stands for the supervisor's own."""

    def score(self, pid):
        with open(f"/proc/{pid}/oom_score_adj", encoding="utf-8") as f:
            return int(f.read())

    def covered(self, had):
        self.file = os.path.join(self.house.dir, "score")
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(f"{had}\n")

        def cover():
            unshare_mounts()
            mount(self.file, "/proc/self/oom_score_adj", MS_BIND)

        return starts(cover)

    def ours_and_the_cores(self, had, **keys):
        with self.covered(had):
            _, got = self.core(**keys)
        with open(self.file, encoding="utf-8") as f:
            return int(f.read()), got.oom_score_adj

    def test_we_are_spared_and_it_is_not(self):
        self.assertEqual(self.ours_and_the_cores(0), (-900, 0))

    def test_what_the_administrator_gave_us_is_handed_on(self):
        self.assertEqual(self.ours_and_the_cores(300), (-900, 300))

    def test_a_lower_one_of_ours_stays_ours_alone(self):
        self.assertEqual(self.ours_and_the_cores(-1000), (-1000, 0))

    def test_its_own_key_decides(self):
        self.assertEqual(self.ours_and_the_cores(300, oom_score_adj="500"), (-900, 500))

    def test_helpers_are_not_spared_either(self):
        with self.covered(300):
            sup, _ = self.core()
        with open(f"/proc/{sup.process.pid}/task/{sup.process.pid}/children", encoding="utf-8") as f:
            children = f.read().split()
        self.assertGreaterEqual(len(children), 2, "the core and the probe helper")
        self.assertEqual({self.score(pid) for pid in children}, {300})

    def test_jobs_are_not_spared_either(self):
        noted, script = os.path.join(self.house.dir, "noted"), os.path.join(self.house.dir, "fw.sh")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\ncat /proc/self/oom_score_adj >>{noted}\n")
        os.chmod(script, 0o755)
        with self.covered(300):
            sup = self.supervisor(
                conf={"mihomo": {"binary": STANDIN}, "tproxy": {"backend": "script", "script": script}}
            )
        sup.wait_state("armed")
        with open(noted, encoding="utf-8") as f:
            self.assertEqual(set(f.read().split()), {"300"})

    def test_where_it_may_not_be_lowered_all_goes_on(self):
        with starts(before=["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all"]):
            sup, got = self.core()
        self.assertEqual((self.score(sup.process.pid), got.oom_score_adj), (0, 0))


class Settable(ChildCase):
    def test_groups_by_name_and_number(self):
        _, got = self.core(groups="audio 4711")
        with open("/etc/group", encoding="utf-8") as f:
            audio = next(line.split(":")[2] for line in f if line.startswith("audio:"))
        self.assertEqual(set(got.status["Groups"].split()), {str(CORE_GID), audio, "4711"})

    def test_user_by_name_keeps_three_ambient_capabilities(self):
        _, got = self.core(user="nobody")
        wanted = caps(NET_BIND_SERVICE, NET_ADMIN, NET_RAW)
        self.assertEqual(got.status["Uid"].split(), [str(NOBODY)] * 4)
        self.assertEqual(int(got.status["CapAmb"], 16), wanted)
        self.assertEqual(int(got.status["CapEff"], 16), wanted)

    def test_no_new_privs_takes_nothing_away_from_a_user(self):
        _, got = self.core(user=NOBODY, no_new_privs="yes")
        self.assertEqual(got.status["NoNewPrivs"], "1")
        self.assertEqual(int(got.status["CapEff"], 16), caps(NET_BIND_SERVICE, NET_ADMIN, NET_RAW))

    def test_limits(self):
        ours = resource.getrlimit(resource.RLIMIT_DATA)[1]
        _, got = self.core(limits="core=0 memlock=64K nproc=512:1024 fsize=1G:unlimited", nofile="2048")
        self.assertEqual(got.limit("Max core file size"), ("0", "0"))
        self.assertEqual(got.limit("Max locked memory"), ("65536", "65536"))
        self.assertEqual(got.limit("Max processes"), ("512", "1024"))
        self.assertEqual(got.limit("Max file size"), (str(1 << 30), "unlimited"))
        self.assertEqual(got.limit("Max open files")[0], "2048")
        self.assertEqual(got.limit("Max data size")[1], "unlimited" if ours < 0 else str(ours))

    def test_a_limit_that_may_not_be_raised_is_told_and_no_obstacle(self):
        def lower():
            resource.setrlimit(resource.RLIMIT_CORE, (4096, 8192))

        without = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all"]
        with starts(lower, without):
            sup, got = self.core(limits="core=unlimited")
        self.assertTrue(sup.logged("cannot raise the limit core: Operation not permitted; going on without"))
        self.assertEqual(got.limit("Max core file size"), ("8192", "8192"))

    def test_umask_and_nice(self):
        _, got = self.core(umask="0077", nice="5")
        self.assertEqual(got.status["Umask"], "0077")
        self.assertEqual(got.stat[16], "5")

    def test_env_is_added_and_replaces_ours(self):
        os.environ["CHILD_OURS"], os.environ["CHILD_BOTH"] = "ours", "ours"
        try:
            _, got = self.core(env="CHILD_NEW=1 CHILD_BOTH=theirs CHILD_NONE=")
        finally:
            del os.environ["CHILD_OURS"], os.environ["CHILD_BOTH"]
        self.assertEqual(
            sorted(e for e in got.environ if e.startswith("CHILD_")),
            ["CHILD_BOTH=theirs", "CHILD_NEW=1", "CHILD_NONE=", "CHILD_OURS=ours"],
        )

    def test_env_out_of_a_file_may_have_blanks_and_commas(self):
        path = os.path.join(self.house.dir, "env")
        with open(path, "w", encoding="utf-8") as f:
            f.write("# of the test\nCHILD_WORDS=two words, and ;more\nNO_PROXY=10.0.0.0/8,localhost\n")
        _, got = self.core(env="@" + path)
        self.assertIn("CHILD_WORDS=two words, and ;more", got.environ)
        self.assertIn("NO_PROXY=10.0.0.0/8,localhost", got.environ)

    def test_what_our_service_manager_told_us_is_not_handed_on(self):
        ours = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "CLASH_CONFIG_STRING")
        os.environ.update(dict.fromkeys(ours, "1"))
        try:
            _, got = self.core()
        finally:
            for name in ours:
                del os.environ[name]
        self.assertEqual([e for e in got.environ if e.partition("=")[0] in ours], [])

    def test_what_cannot_be_had_is_told_and_no_obstacle(self):
        sup, _ = self.core(cgroup="/sys/fs/cgroup/no/such/place")
        self.assertTrue(sup.logged(r"Mihomo gets no cgroup of its own: .*/no/such/place"))

    def test_a_wrong_value_is_an_error_with_file_and_line(self):
        for key, value in (("limits", "cores=1"), ("user", "no-such-user"), ("env", "A"), ("nice", "99"), ("cgroup", "/x")):
            with self.subTest(key):
                sup = self.supervisor(conf={"mihomo": {key: value}})
                self.assertEqual(sup.wait_exit(), 1)
                self.assertTrue(sup.logged(rf"clashsup\.conf:\d+: {key} = {value}: must be "), sup.story())


@unittest.skipUnless(has_unified(), "no cgroup v2 that can be written to is mounted here")
class Cgroup(ChildCase):
    def own(self):
        with open("/proc/self/cgroup", encoding="utf-8") as f:
            path = next(line.rstrip("\n")[3:] for line in f if line.startswith("0::"))
        return "" if path == "/" else path

    def v2_of(self, text):
        return next(line[3:] for line in text.splitlines() if line.startswith("0::"))

    def test_a_name_is_a_leaf_below_ours_and_goes_with_us(self):
        name = self.house.prefix
        sup, got = self.core(cgroup=name)
        leaf = UNIFIED + self.own() + "/" + name
        self.assertEqual(self.v2_of(got.text("cgroup")), self.own() + "/" + name)
        with open(f"/proc/{sup.process.pid}/cgroup", encoding="utf-8") as f:
            self.assertEqual(self.v2_of(f.read()), self.own() or "/")
        with open(os.path.join(leaf, "cgroup.procs"), encoding="utf-8") as f:
            self.assertEqual(f.read().split(), [str(sup.mihomo_pid)])
        self.assertEqual(sup.stop(), 0)
        self.assertFalse(os.path.exists(leaf))

    def test_a_path_is_used_and_stays(self):
        path = f"{UNIFIED}/{self.house.prefix}p"
        self.addCleanup(lambda: os.path.isdir(path) and os.rmdir(path))
        sup, got = self.core(cgroup=path)
        self.assertEqual(self.v2_of(got.text("cgroup")), path[len(UNIFIED):])
        self.assertEqual(sup.stop(), 0)
        self.assertTrue(os.path.isdir(path))

    def test_it_is_put_there_again_after_a_death(self):
        name = self.house.prefix + "d"
        sup, _ = self.core(cgroup=name)
        before = sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != before, "armed anew")
        self.assertEqual(self.v2_of(Got(sup).text("cgroup")), self.own() + "/" + name)


