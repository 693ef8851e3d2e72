"""Hostile starts of `clashsup run`, with a real Mihomo."""

import os
import re
import resource
import signal
import subprocess
import time

from house import FAR4, PROGRAM, HouseCase, Supervisor, alive
from odd import MS_BIND, MS_RDONLY, MS_REMOUNT, mount, starts, umount, unshare_mounts


class HostileCase(HouseCase):
    def works(self, sup, timeout=10):
        """Armed, proxying, and a death of Mihomo is seen, and answered by a new one."""
        sup.wait_state("armed", timeout)
        self.assertVia("proxied", "client", "tcp", FAR4)
        before = sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != before, "armed anew", timeout)
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertFalse(alive(before))

    def ends(self, sup):
        self.assertEqual(sup.stop(), 0)
        self.assertIsNone(self.house.chain())


class Signals(HostileCase):
    def test_sigchld_ignored(self):
        with starts(lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)

    def test_sigchld_blocked(self):
        with starts(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)

    def test_all_signals_blocked(self):
        with starts(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)

    def test_all_signals_ignored(self):
        def ignore():
            for sig in range(1, 65):
                if sig not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                    signal.signal(sig, signal.SIG_IGN)

        with starts(ignore):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)


class Descriptors(HostileCase):
    def test_descriptors_0_to_2_closed(self):
        with starts(lambda: [os.close(fd) for fd in (0, 1, 2)]):
            sup = self.supervisor()
        self.works(sup)
        for fd in (0, 1, 2):  # no socket, no log, nobody's
            self.assertEqual(os.readlink(f"/proc/{sup.process.pid}/fd/{fd}"), "/dev/null")
        self.ends(sup)

    def test_every_descriptor_below_a_thousand_taken(self):
        def take():
            for _ in range(900):
                os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)

        with starts(take):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)

    def test_no_dev_null(self):
        def take_away():
            unshare_mounts()
            mount("none", "/dev", 0, "tmpfs")

        with starts(take_away):
            sup = self.supervisor()
        self.works(sup, 30)
        self.assertTrue(sup.logged("cannot say when it is ready without /dev/null: it counts as such after 21 s"))
        self.ends(sup)

    def test_no_dev_null_and_descriptors_0_to_2_closed(self):
        def take_away():
            unshare_mounts()
            mount("none", "/dev", 0, "tmpfs")
            for fd in (0, 1, 2):
                os.close(fd)

        with starts(take_away):
            sup = self.supervisor()
        sup.wait_state("armed", 30)
        for fd in (0, 1, 2):
            self.assertRegex(os.readlink(f"/proc/{sup.process.pid}/fd/{fd}"), r"^pipe:")
        self.ends(sup)


class Files(HostileCase):
    def test_no_proc(self):
        def take_away():
            unshare_mounts()
            umount("/proc")

        with starts(take_away):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)

    def read_only_root(self, run):
        """Everything is read-only but `run`, where there is one."""

        def remount():
            unshare_mounts()
            if run:
                mount("none", run, 0, "tmpfs")
            with open("/proc/self/mounts", encoding="utf-8") as f:
                places = [line.split()[1] for line in f]
            for place in dict.fromkeys(places):
                if place != run:
                    try:
                        mount("none", place, MS_REMOUNT | MS_BIND | MS_RDONLY)
                    except OSError:
                        pass  # hidden below another one

        return remount

    def test_read_only_root_with_a_run_directory(self):
        sup = Supervisor(self.house)
        self.addCleanup(sup.end)
        os.mkdir(sup.rundir)
        with starts(self.read_only_root(sup.rundir)):
            sup.start()
        # our view has no socket in RUN: the client asks from within
        sup.ctl_done = lambda *args, where="router": inside(sup, *args)
        self.works(sup)
        self.assertRegex(" ".join(sup.status()["warnings"]), "Read-only file system")
        self.ends(sup)

    def test_read_only_root_without_one_ends_with_a_clear_line(self):
        with starts(self.read_only_root(None)):
            sup = self.supervisor()
        self.assertEqual(sup.wait_exit(), 1)
        self.assertTrue(sup.logged(re.escape(f"cannot make the directory {sup.rundir}: Read-only file system")), sup.story())


class Surroundings(HostileCase):
    def test_empty_environment(self):
        with starts(env={}):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)

    def test_without_sh_for_mihomo_it_is_started_all_the_same(self):
        sup = self.supervisor(conf={"mihomo": {"env": "PATH=/nonexistent"}})
        sup.wait_log("cannot say when it is ready without sh on its PATH")
        sup.wait_status(lambda s: s["child"] == "starting", "starting")
        time.sleep(1)
        self.assertEqual((sup.status()["child"], sup.status()["mihomo"]["restarts"]), ("starting", 0))
        self.ends(sup)

    def test_deleted_working_directory(self):
        def go():
            os.mkdir(f"/tmp/cs-gone-{os.getpid()}")
            os.chdir(f"/tmp/cs-gone-{os.getpid()}")
            os.rmdir(f"/tmp/cs-gone-{os.getpid()}")

        with starts(go):
            sup = self.supervisor()
        self.works(sup)
        self.assertEqual(os.readlink(f"/proc/{sup.process.pid}/cwd"), "/")
        self.ends(sup)

    def test_tiny_stack_and_no_core(self):
        with starts(lambda: resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, 8 << 20))):
            sup = self.supervisor()
        self.works(sup)
        self.ends(sup)


def inside(sup, *args):
    """A client in the mounts of the supervisor."""
    return subprocess.run(
        ["nsenter", f"--mount=/proc/{sup.process.pid}/ns/mnt", f"--net={sup.house.netns('router')}", "--", PROGRAM,
         "-c", sup.conf_file, *args],
        capture_output=True, text=True, timeout=30,
    )
