"""Mihomo's deaths: the next start, the history of them, and the end of patience.

What facts ask of a supervisor, by number, and where it is shown:
  36 37 39 40 41 43 45 46 47   here
  38  on-failure only is no policy of ours: Mihomo is wanted until it is stopped
  42  there is no time-out on waiting for readiness (docs/ARCHITECTURE.md)
  44  test_startup; NOTIFY_SOCKET of Mihomo's does not exist
  48  test_hooks
  53  test_death, test_residue: SIGKILL of the supervisor
"""

import contextlib
import os
import re
import resource
import signal
import time
import unittest

from house import BUILD, FAR4, PROGRAM, HouseCase, wait_for

STANDIN = os.path.join(BUILD, "tests", "standin")
FAST = {"backoff_min": "50ms", "backoff_max": "200ms"}
NEVER_READY = "no-tcp no-udp"


class RestartCase(HouseCase):
    def core(self, script=None, words="", conf=None, wait="armed", **kw):
        """A supervisor whose core is the stand-in, behind a script if there is one."""
        binary = STANDIN
        if script:
            binary = os.path.join(self.house.dir, f"core-{time.monotonic_ns()}")
            with open(binary, "w", encoding="ascii") as f:
                f.write(f'#!/bin/bash\n[ "$1" = -t ] && exec {STANDIN} "$@"\n{script}\nexec {STANDIN} "$@"\n')
            os.chmod(binary, 0o755)
        self.core_file = binary
        conf = {**(conf or {})}
        conf["mihomo"] = {"binary": binary, **conf.get("mihomo", {})}
        sup = self.supervisor(conf=conf, files={"core": words}, **kw)
        if wait:
            sup.wait_state(wait)
        return sup

    @contextlib.contextmanager
    def no_starts(self, sup):
        """Meanwhile its supervisor gets no new descriptor, and so cannot start it (nor answer)."""
        limits = resource.prlimit(sup.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(sup.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            yield
        finally:
            resource.prlimit(sup.process.pid, resource.RLIMIT_NOFILE, limits)

    def deaths(self, sup, n):
        return sup.wait_status(lambda s: s["deaths"] >= n, f"{n} deaths")["history"]


class History(RestartCase):
    def test_36_a_killed_one_is_back_with_a_new_pid_and_its_death_is_told(self):
        sup = self.core()
        pid = sup.kill_mihomo()
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] not in (None, pid), "back")
        self.assertEqual(status["deaths"], 1)
        death = status["history"][0]
        self.assertEqual((death["pid"], death["signal"], death["code"]), (pid, signal.SIGKILL, None))
        self.assertFalse(death["by_us"] or death["oom"] or death["core"])
        self.assertGreater(death["lived_ms"], 0)
        self.assertIsNotNone(death["at"])

    def test_what_we_ended_is_marked_so(self):
        sup = self.core()
        sup.ctl("restart")
        self.deaths(sup, 1)
        sup.wait_state("armed")
        sup.ctl("stop")
        for death in self.deaths(sup, 2):
            self.assertTrue(death["by_us"])

    def test_the_latest_stands_first_and_it_outlives_the_supervisor(self):
        sup = self.core()
        sup.kill_mihomo(signal.SIGSEGV)
        self.deaths(sup, 1)
        sup.wait_state("armed")
        self.assertEqual(sup.stop(), 0)
        sup.start()
        sup.wait_state("armed")
        history = self.deaths(sup, 2)
        self.assertEqual([d["signal"] or d["code"] for d in history], [0, signal.SIGSEGV])
        sup.kill_mihomo(signal.SIGABRT)
        self.assertEqual(self.deaths(sup, 3)[0]["signal"], signal.SIGABRT)

    def test_a_spoiled_file_is_told_and_begun_anew(self):
        sup = self.core()
        self.assertEqual(sup.stop(), 0)
        with open(os.path.join(sup.dir, "state", "history"), "w", encoding="ascii") as f:
            f.write("clashsup-history 1\nnonsense\n")
        mark = sup.mark()
        sup.start()
        sup.wait_log("history of deaths in .* begins anew: line 2 is wrong", after=mark)
        sup.wait_state("armed")
        self.assertEqual(sup.status()["deaths"], 0)

    def test_a_directory_that_cannot_be_written_is_a_warning_and_no_more(self):
        blocked = os.path.join(self.house.dir, "file")
        with open(blocked, "w", encoding="ascii"):
            pass
        sup = self.core(conf={"state": {"dir": os.path.join(blocked, "state")}})
        sup.kill_mihomo()
        sup.wait_log("cannot save the history of deaths")
        sup.wait_state("armed")


class GivingUp(RestartCase):
    DIES = "exit 3"

    def test_37_stay_leaves_it_down_and_the_network_direct_until_start(self):
        sup = self.core(self.DIES, conf={"restart": {**FAST, "give_up": "stay", "give_up_after": "3"}}, wait="failed")
        status = sup.status()
        self.assertEqual((status["child"], status["net"], status["deaths"]), ("failed", "direct", 3))
        self.assertVia("direct", "client", "tcp", FAR4)
        self.assertTrue(sup.logged("died 3 times in a row, giving up"))
        time.sleep(0.5)
        self.assertEqual(sup.status()["deaths"], 3, "no further start")
        sup.ctl("start")
        self.deaths(sup, 6)
        sup.wait_state("failed")

    def test_37_another_config_is_another_try(self):
        sup = self.core('grep -q broken "$4" && exit 3',
                        conf={"restart": {**FAST, "give_up": "stay", "give_up_after": "2"}})
        with open(sup.config_file, encoding="ascii") as f:
            text = f.read()
        sup.write("config.yaml", text + "# broken\n")
        sup.wait_log("config changed, reloading")
        sup.kill_mihomo()
        sup.wait_state("failed")
        sup.write("config.yaml", text)
        sup.wait_state("armed")

    def test_exit_ends_with_the_childs_status_and_leaves_nothing(self):
        before = self.house.snapshot()
        for script, code in ((self.DIES, 3), ("kill -SEGV $$", 128 + signal.SIGSEGV)):
            sup = self.core(script, conf={"restart": {**FAST, "give_up": "exit", "give_up_after": "2"}}, wait=None)
            self.assertEqual(sup.wait_exit(), code)
            self.assertEqual(self.house.snapshot(), before)

    def test_what_cannot_be_executed_counts_too(self):
        sup = self.core(conf={"restart": {**FAST, "give_up": "exit", "give_up_after": "2"}})
        os.unlink(sup.binary)
        os.mkdir(sup.binary)
        sup.house.shell("router", f"sed -i 's|^binary.*|binary = {sup.binary}|' {sup.conf_file}")
        self.assertEqual(sup.stop(), 0)
        sup.start()
        sup.wait_status(lambda s: s["state"] == "waiting", "waiting: the test of the config fails, too")

    def test_37_a_reload_that_leads_out_of_it_begins_a_new_row(self):
        conf = {"restart": {**FAST, "give_up": "stay", "give_up_after": "3"}}
        sup = self.core(self.DIES, conf=conf, wait="failed")
        sup.configure({**conf, "mihomo": {"binary": self.core_file}, "tproxy": {"port": "7999"}})
        sup.ctl("reload")
        self.deaths(sup, 6)
        sup.wait_state("failed")
        self.assertEqual(sup.status()["deaths"], 6)

    def test_one_that_cannot_be_started_is_tried_again_after_growing_pauses(self):
        sup = self.core(conf={"restart": {"backoff_min": "50ms", "backoff_max": "10s"}})
        pid = sup.mihomo_pid
        with self.no_starts(sup):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: len(sup.logged("starting Mihomo again in")) >= 8, "eight attempts", 30)
        said = sup.logged("cannot start Mihomo|starting Mihomo again in")[:16]
        self.assertEqual(["again" in l.text for l in said], [False, True] * 8, "never at once")
        pauses = [float(re.search(r"in ([\d.]+) s", l.text).group(1)) for l in said[1::2]]
        # Each is drawn between 50 ms and a ceiling that doubles: all short ones are less likely than 1 in 10,000.
        self.assertGreaterEqual(max(pauses), 0.2, pauses)
        for told, tried, pause in zip(said[1::2], said[2::2], pauses):
            self.assertGreaterEqual(tried.at - told.at, pause - 0.1)
        sup.ctl("restart")
        status = sup.wait_state("armed")
        self.assertEqual([d["pid"] for d in status["history"][-9:]], [None] * 8 + [pid])

    def test_a_stable_run_heals(self):
        sup = self.core(conf={"restart": {**FAST, "stable": "300ms", "give_up": "exit", "give_up_after": "2"}})
        for n in range(4):
            time.sleep(0.4)
            sup.kill_mihomo()
            self.deaths(sup, n + 1)
            sup.wait_state("armed")


class Ends(RestartCase):
    def test_39_stop_ends_the_wait_for_the_next_start(self):
        sup = self.core("exit 3", conf={"restart": {"backoff_min": "700ms", "backoff_max": "1s"}}, wait=None)
        sup.wait_status(lambda s: s["child"] == "backoff", "waiting for the next start")
        sup.ctl("stop")
        deaths = sup.wait_state("stopped")["deaths"]
        time.sleep(1.2)
        self.assertEqual(sup.status()["deaths"], deaths)
        self.assertEqual(sup.status()["child"], "stopped")

    def test_40_stop_works_before_it_is_ready(self):
        sup = self.core(words=NEVER_READY, wait=None)
        sup.wait_status(lambda s: s["mihomo"]["pid"], "started")
        sup.ctl("stop")
        self.assertIsNone(sup.wait_state("stopped")["mihomo"]["pid"])

    def test_41_stop_twice_is_harmless(self):
        sup = self.core()
        sup.ctl("stop")
        sup.ctl("stop")
        sup.wait_state("stopped")
        sup.ctl("stop")
        self.assertEqual(sup.status()["state"], "stopped")
        sup.ctl("start")
        sup.wait_state("armed")

    def test_43_who_does_not_hear_is_killed_at_the_deadline_with_the_group(self):
        sup = self.core("trap '' TERM; sleep 300 & echo sleeper $!; while :; do wait; done",
                        conf={"mihomo": {"stop_timeout": "300ms"}}, wait=None)
        sleeper = int(sup.wait_log(r"^sleeper \d+").text.split()[1])
        begun = time.monotonic()
        sup.ctl("stop")
        sup.wait_state("stopped")
        self.assertGreaterEqual(time.monotonic() - begun, 0.25)
        wait_for(lambda: not os.path.exists(f"/proc/{sleeper}"), "the group's end")
        self.assertEqual(sup.status()["history"][0]["signal"], signal.SIGKILL)

    def test_45_readiness_is_withdrawn_at_a_crash_and_comes_again(self):
        sup = self.core()
        sup.kill_mihomo()
        lines = [
            sup.wait_log("Mihomo crashed, removing TProxy"), sup.wait_log("Mihomo recovered, reapplying TProxy"),
            sup.wait_log("TProxy reapplied successfully"),
        ]
        self.assertEqual([l.index for l in lines], sorted(l.index for l in lines))

    def test_46_one_that_does_not_answer_is_restarted_and_not_left(self):
        probe = {"interval": "100ms", "timeout": "200ms", "fall": "2"}
        sup = self.core(conf={"probe": probe, "mihomo": {"hang_kill": "500ms"}})
        pid = sup.kill_mihomo(signal.SIGSTOP)
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "restarted")
        self.assertEqual((status["history"][0]["signal"], status["history"][0]["by_us"]), (signal.SIGKILL, True))

    def test_47_an_orphan_that_holds_the_log_does_not_keep_it_from_starting(self):
        sup = self.core("[ -e $0.once ] || { touch $0.once; setsid sleep 300 & echo orphan $!; }")
        orphan = int(sup.wait_log(r"^orphan \d+").text.split()[1])
        self.addCleanup(os.kill, orphan, signal.SIGKILL)
        pid = sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "back")
        self.assertTrue(os.path.exists(f"/proc/{orphan}"), "its session is its own")


class OutOfMemory(RestartCase):
    def setUp(self):
        super().setUp()
        problem = self.make_group()
        if problem:
            self.skipTest(f"no memory control group can be made here: {problem}")

    def make_group(self):
        """Version 2 or 1, whichever has the memory controller; None, or why not."""
        second = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        root, limit = (("/sys/fs/cgroup", "memory.max") if second
                       else ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"))
        self.group = os.path.join(root, f"clashsup-test-{os.getpid()}")
        try:
            if second:
                with open(os.path.join(root, "cgroup.subtree_control"), "r+", encoding="ascii") as f:
                    f.write("+memory")
            os.mkdir(self.group)
            self.addCleanup(self.remove_group)
            with open(os.path.join(self.group, limit), "r+", encoding="ascii") as f:
                f.write(str(128 << 20))
        except OSError as e:
            return str(e)
        return None

    def remove_group(self):
        def empty():
            with open(os.path.join(self.group, "cgroup.procs"), encoding="ascii") as f:
                return f.read() == ""

        wait_for(empty, "the end of the group's members")
        os.rmdir(self.group)

    def test_its_killing_is_named(self):
        wrapper = os.path.join(self.house.dir, "in-group")
        with open(wrapper, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\necho $$ >{self.group}/cgroup.procs\nexec {PROGRAM} "$@"\n')
        os.chmod(wrapper, 0o755)
        # The first life eats all that the group may have, the next one is modest.
        eat = "exec python3 -c 'b\"x\" * (1 << 30)'"
        sup = self.core(f"[ -e $0.once ] || {{ touch $0.once; {eat}; }}", program=wrapper)
        death = self.deaths(sup, 1)[0]
        self.assertEqual((death["signal"], death["oom"], death["by_us"]), (signal.SIGKILL, True, False))
        sup.wait_log("killed by the kernel: out of memory")
        self.assertIn("out of memory", sup.ctl("status"))
        sup.kill_mihomo()
        self.assertFalse(self.deaths(sup, 2)[0]["oom"], "this one was no want of memory")


if __name__ == "__main__":
    unittest.main()
