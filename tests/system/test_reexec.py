"""`clashsup reexec`: the supervisor becomes another program, and everything else goes on."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from house import BUILD, FAR4, FAR6, SLOW, HouseCase, ask_on, config, wait_for
from test_restart import FAST, NEVER_READY, RestartCase

IN_CHARGE = "clashsup 0.1.0 is in charge\n"
TIMES = 100


def fds(pid):
    """What it has open; pipes come and go with its children."""
    kinds = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds.append(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0])
    return sorted(kinds)


def fds_at_rest(pid):
    """The same for a second: no helper, no job."""
    since, now = time.monotonic(), fds(pid)
    while time.monotonic() - since < 1:
        time.sleep(0.05)
        if now != (now := fds(pid)):
            since = time.monotonic()
    return now


class ReexecCase(RestartCase):
    def own(self, **kw):
        """A supervisor whose program is a file of its own, for others to replace."""
        directory = os.path.join(self.house.dir, f"program-{time.monotonic_ns()}")
        os.mkdir(directory)
        for name in ("clashsup", "clashsup-helper"):
            shutil.copy(os.path.join(BUILD, name), directory)
        return self.core(program=os.path.join(directory, "clashsup"), **kw)

    def replace(self, sup, text, mode=0o755):
        """Another file takes the program's place; whoever asks it goes on with the true one."""
        kept = sup.program
        with open(kept + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(kept + ".new", mode)
        os.rename(kept + ".new", kept)
        sup.program = os.path.join(BUILD, "clashsup")
        return kept

    def reexec(self, sup):
        self.assertEqual(sup.ctl("reexec"), IN_CHARGE)

    def assertRefused(self, sup, *words):
        done = sup.ctl_done("reexec")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in ("not replaced, the running program goes on: ", *words):
            self.assertIn(word, done.stderr)


class WhatGoesOn(ReexecCase):
    def test_mihomo_rules_sets_and_everything_in_the_kernel(self):
        for backend in ("iptables", "nft"):
            with self.subTest(backend=backend):
                sup = self.core(conf={"tproxy": {"backend": backend}})
                sup.wait_members({"45.45.45.8"})
                before, pid = self.house.snapshot(), sup.mihomo_pid
                self.reexec(sup)
                status = sup.status()
                self.assertEqual((status["state"], status["mihomo"]["pid"], status["deaths"]), ("armed", pid, 0))
                wait_for(lambda b=before: self.house.snapshot() == b, "what was in the kernel before")
                self.assertEqual(self.house.both_members(), {"45.45.45.8"})
                sup.wait_log("backend: ")
                self.assertEqual(sup.stop(), 0)

    def test_what_is_told_of_the_past(self):
        sup = self.core(script='echo "level=warning msg=\\"first words\\""', conf={"restart": FAST})
        sup.kill_mihomo()
        before = sup.wait_status(lambda s: s["deaths"] == 1 and s["state"] == "armed", "armed again")
        events = sup.ctl("events")
        self.reexec(sup)
        after = sup.status()
        for key in ("since", "history", "deaths"):
            self.assertEqual(after[key], before[key], key)
        for key in ("pid", "since", "restarts", "last_exit"):
            self.assertEqual(after["mihomo"][key], before["mihomo"][key], key)
        self.assertEqual(sup.ctl("logs").count("first words"), 2)
        self.assertTrue(sup.ctl("events").startswith(events))
        last = json.loads(sup.ctl("events", "--json", "-n", "1").splitlines()[-1])
        self.assertEqual((last["event"], last["pid"]), ("reexeced", after["mihomo"]["pid"]))

    def test_a_row_of_deaths(self):
        sup = self.core(conf={"restart": {**FAST, "give_up": "stay", "give_up_after": "3"}})
        for n in (1, 2):
            sup.kill_mihomo()
            sup.wait_status(lambda s, n=n: s["deaths"] == n and s["state"] == "armed", "armed again")
        self.reexec(sup)
        sup.kill_mihomo()
        self.assertEqual(sup.wait_state("failed")["deaths"], 3)

    def test_bytes_that_are_no_text_in_mihomos_lines(self):
        sup = self.core(script=r"""printf 'a\377b\001\n'; printf 'no end yet' >&2; (sleep 1; echo ' but now' >&2) &""")
        self.reexec(sup)
        self.assertIn("a?b", sup.ctl("logs"))
        sup.wait_log("^no end yet but now$")

    def test_its_own_pid_descriptors_and_no_zombies(self):
        sup = self.core()
        pid = sup.process.pid
        before = fds_at_rest(pid)
        for _ in range(3):
            self.reexec(sup)
        self.assertEqual(fds_at_rest(pid), before)
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            children = f.read().split()
        self.assertEqual(len(children), 2, "Mihomo and the probe")
        for child in children:
            with open(f"/proc/{child}/stat", encoding="ascii") as f:
                self.assertNotEqual(f.read().rpartition(")")[2].split()[0], "Z")
            with open(f"/proc/{child}/environ", encoding="ascii") as f:
                self.assertNotIn("CLASHSUP_REEXEC", f.read())

    def test_the_settings_in_force_and_then_the_files(self):
        sup = self.core(conf={"log": {"level": "debug"}})
        sup.ctl("off")
        self.reexec(sup)
        self.assertEqual(sup.status()["mode"], "mixed", "what a command has chosen")
        sup.ctl("on")
        sup.wait_state("armed")
        with open(sup.conf_file, "a", encoding="utf-8") as f:
            f.write("[extract]\nintervall = 5s\n")
        mark = sup.mark()
        self.reexec(sup)
        sup.wait_log("unknown key", after=mark)
        self.assertEqual(sup.status()["state"], "armed")
        sup.configure({"mihomo": {"binary": self.core_file}, "tproxy": {"exclude_ports": "2222"}})
        self.reexec(sup)
        wait_for(lambda: "2222" in self.house.run("router", "ipset", "list", "clash_port_skip", check=False), "the list")

    def test_a_config_that_changed_meanwhile_comes_into_force(self):
        sup = self.core()
        os.kill(sup.process.pid, signal.SIGSTOP)
        os.kill(sup.process.pid, signal.SIGUSR2)
        sup.write("config.yaml", config(log="debug"))
        os.kill(sup.process.pid, signal.SIGCONT)
        sup.wait_log("has taken over")
        sup.wait_log("Mihomo's config changed, reloading it")

    def test_by_signal(self):
        sup = self.core()
        os.kill(sup.process.pid, signal.SIGUSR2)
        sup.wait_log("clashsup 0.1.0 has taken over")
        self.assertEqual(sup.status()["state"], "armed")

    def test_two_who_ask_at_once_get_one(self):
        sup = self.core()
        asked = [subprocess.Popen(self.house.enter("router", sup.program, "-c", sup.conf_file, "reexec"),
                                  stdout=subprocess.PIPE, text=True) for _ in range(4)]
        self.assertEqual([p.communicate()[0] for p in asked], [IN_CHARGE] * 4)
        self.assertLessEqual(len(sup.logged("has taken over")), 4)

    def test_whoever_follows_is_closed_and_can_come_again(self):
        sup = self.core()
        follower = subprocess.Popen(self.house.enter("router", sup.program, "-c", sup.conf_file, "events", "-f"),
                                    stdout=subprocess.PIPE, text=True)
        self.assertTrue(follower.stdout.readline())
        self.reexec(sup)
        follower.communicate(timeout=5 * SLOW)
        self.assertIn("reexeced", sup.ctl("events"))


class States(ReexecCase):
    def stays(self, sup, child):
        before = sup.wait_status(lambda s: (s["child"], s["net"]) == (child, "direct"), child)
        self.reexec(sup)
        after = sup.status()
        self.assertEqual((after["child"], after["since"]), (before["child"], before["since"]))
        return after

    def test_stopped(self):
        sup = self.core()
        sup.ctl("stop")
        self.stays(sup, "stopped")
        self.assertIsNone(self.house.chain())
        sup.ctl("start")
        sup.wait_state("armed")

    def test_waiting_for_a_config(self):
        sup = self.core(wait="waiting", write_config=False)
        self.reexec(sup)
        self.assertEqual(sup.status()["state"], "waiting")
        sup.write("config.yaml", config())
        sup.wait_state("armed")

    def test_starting(self):
        sup = self.core(words=NEVER_READY, wait=None)
        pid = sup.wait_status(lambda s: s["child"] == "starting" and s["mihomo"]["pid"], "starting")["mihomo"]["pid"]
        self.stays(sup, "starting")
        self.assertEqual(sup.mihomo_pid, pid)
        sup.write("core", "")
        sup.kill_mihomo()
        sup.wait_state("armed")

    def test_in_a_pause_and_given_up(self):
        sup = self.core("exit 3", conf={"restart": {"backoff_min": "20s", "backoff_max": "20s"}}, wait=None)
        self.stays(sup, "backoff")
        self.assertEqual(sup.stop(), 0)
        sup = self.core("exit 3", conf={"restart": {**FAST, "give_up": "stay", "give_up_after": "2"}}, wait="failed")
        self.stays(sup, "failed")
        sup.write("config.yaml", config(log="debug"))
        sup.wait_status(lambda s: s["deaths"] == 4, "two more: another config is another try")

    def test_hanging(self):
        sup = self.core(conf={"probe": {"interval": "100ms", "timeout": "200ms"}, "mihomo": {"hang_kill": "2s"}})
        pid = sup.mihomo_pid
        os.kill(pid, signal.SIGSTOP)
        sup.wait_status(lambda s: s["child"] == "unhealthy" and s["net"] == "direct", "unhealthy")
        self.reexec(sup)
        self.assertEqual(sup.status()["mihomo"]["pid"], pid)
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "killed and started again")

    def test_while_it_stops_it_is_refused(self):
        sup = self.core(script="trap '' TERM", conf={"mihomo": {"stop_timeout": "2s"}})
        sup.process.send_signal(signal.SIGTERM)
        sup.wait_log("clashsup is stopping")
        done = sup.ctl_done("reexec")
        self.assertEqual((done.returncode, done.stderr), (1, "clashsup: clashsup is shutting down\n"))

    def test_in_mode_mixed(self):
        sup = self.core(conf={"tproxy": {"mode": "mixed"}}, wait="mixed")
        self.stays(sup, "ready")
        self.assertEqual(sup.status()["state"], "mixed")


class InTheWindow(ReexecCase):
    """Between the last look of one program and the first of the other."""

    def window(self, sup, do):
        """do() while the process is between the two: the program in the middle waits until it was done."""
        gate = os.path.join(sup.dir, "gate")
        true = os.path.join(os.path.dirname(sup.program), "true-clashsup")
        os.link(sup.program, true)
        self.replace(sup, f"""#!/usr/bin/python3
import os, sys, time
if sys.argv[1] != "resume-check":
    open("{gate}.reached", "w").close()
    while not os.path.exists("{gate}"):
        time.sleep(0.01)
os.execv("{true}", sys.argv)
""")
        os.kill(sup.process.pid, signal.SIGUSR2)
        wait_for(lambda: os.path.exists(gate + ".reached"), "the exec")
        do()
        with open(gate, "w", encoding="ascii"):
            pass
        sup.wait_log("has taken over")

    def test_mihomos_death_is_seen_with_its_status(self):
        sup = self.own(conf={"restart": FAST})
        pid = sup.mihomo_pid
        self.window(sup, lambda: os.kill(pid, signal.SIGKILL))
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed again")
        self.assertEqual([(d["pid"], d["signal"], d["by_us"]) for d in status["history"]], [(pid, 9, False)])
        sup.wait_log("Mihomo crashed, removing TProxy")

    def test_a_signal_to_us_is_not_lost(self):
        sup = self.own()
        self.window(sup, lambda: os.kill(sup.process.pid, signal.SIGTERM))
        self.assertEqual(sup.wait_exit(), 0)
        self.assertTrue(sup.logged("clashsup stopped, the network is direct"))

    def test_who_asks_meanwhile_gets_his_answer(self):
        sup, answers = self.own(), []
        asks = threading.Thread(target=lambda: answers.append(sup.status()))

        def ask():
            asks.start()
            time.sleep(0.2)

        self.window(sup, ask)
        asks.join()
        self.assertEqual(answers[0]["state"], "armed")

    def test_mihomo_that_is_no_child_any_more_is_not_taken_for_one(self):
        """The program in the middle was so free as to reap it."""
        sup = self.own(conf={"restart": FAST})
        pid = sup.mihomo_pid
        true = os.path.join(os.path.dirname(sup.program), "true-clashsup")
        os.link(sup.program, true)
        self.replace(sup, f"""#!/usr/bin/python3
import os, sys
if sys.argv[1] != "resume-check":
    os.kill({pid}, 9)
    os.waitpid({pid}, 0)
os.execv("{true}", sys.argv)
""")
        os.kill(sup.process.pid, signal.SIGUSR2)
        sup.wait_log("is no child of ours any more")
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew")


class ABadProgram(ReexecCase):
    def goes_on(self, sup, text, *words, mode=0o755):
        pid, rules = sup.mihomo_pid, self.house.chain()
        kept = self.replace(sup, text, mode)
        if text is None:
            os.unlink(kept)
        self.assertRefused(sup, *words)
        status = sup.status()
        self.assertEqual((status["state"], status["mihomo"]["pid"], status["deaths"]), ("armed", pid, 0))
        self.assertEqual(self.house.chain(), rules)
        self.assertIn("refused", sup.ctl("events", "-n", "3"))
        sup.kill_mihomo()
        sup.wait_status(lambda s: s["deaths"] == 1 and s["state"] == "armed", "it still does its work")

    def test_one_that_fails(self):
        self.goes_on(self.own(), "#!/bin/sh\necho broken library; exit 3\n", "exit status 3", "broken library")

    def test_one_that_may_not_be_executed(self):
        self.goes_on(self.own(), "#!/bin/sh\n", "exit status 126", mode=0o644)

    def test_one_that_is_none(self):
        self.goes_on(self.own(), "garbage", "exit status 126", "Exec format error")

    def test_one_that_hangs(self):
        self.goes_on(self.own(), "#!/bin/sh\nexec sleep 60\n", "no end within 2000 ms")

    def test_one_that_is_gone(self):
        sup = self.own()
        os.unlink(sup.program)
        sup.program = os.path.join(BUILD, "clashsup")
        self.assertRefused(sup, "exit status 127")
        self.assertEqual(sup.status()["state"], "armed")

    def test_one_that_the_kernel_refuses_in_the_last_moment(self):
        self.goes_on(self.own(), '#!/bin/sh\nprintf garbage >"$0.new"; chmod +x "$0.new"; mv "$0.new" "$0"; exit 0\n',
                     "cannot execute", "Exec format error")

    def test_one_that_cannot_go_on_begins_anew_and_takes_out_what_was_there(self):
        """What was handed over is broken on its way: as after a crash."""
        sup = self.own(conf={"restart": FAST})
        pid = sup.mihomo_pid
        true = os.path.join(os.path.dirname(sup.program), "true-clashsup")
        os.link(sup.program, true)
        self.replace(sup, f"""#!/usr/bin/python3
import fcntl, os, sys
if sys.argv[1] != "resume-check":
    text = os.read(int(os.environ["CLASHSUP_REEXEC"]), 1 << 24)
    fd = os.memfd_create("broken", os.MFD_ALLOW_SEALING)
    os.write(fd, text[:len(text) // 2])
    fcntl.fcntl(fd, 1033, 15)
    os.set_inheritable(fd, True)
    os.environ["CLASHSUP_REEXEC"] = str(fd)
os.execv("{true}", sys.argv)
""")
        os.kill(sup.process.pid, signal.SIGUSR2)
        sup.wait_log("cannot go on where the former program was: everything begins anew")
        sup.wait_log("ending the Mihomo that a former life left")
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew")
        self.assertEqual(status["child"], "ready")
        self.assertEqual(sup.stop(), 0)


class WhatIsHandedOver(ReexecCase):
    """The new program believes nothing."""

    def document(self):
        sup = self.own()
        sup.wait_members({"45.45.45.8"})
        path = os.path.join(sup.dir, "document")
        self.replace(sup, f"#!/bin/sh\ncat >{path}; exit 9\n")
        self.assertRefused(sup, "exit status 9")
        with open(path, "rb") as f:
            return f.read()

    def judge(self, document):
        return subprocess.run([os.path.join(BUILD, "clashsup"), "resume-check"], input=document, capture_output=True,
                              timeout=20 * SLOW)

    def test_a_good_one_is_taken_and_every_broken_one_refused_in_one_line(self):
        good = self.document()
        done = self.judge(good)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        line, _, addresses = good.partition(b"\n")
        doc = json.loads(line)

        def altered(change):
            copy = json.loads(line)
            change(copy)
            return json.dumps(copy).encode() + b"\n" + addresses

        broken = {
            "nothing": b"",
            "no JSON": b"[1, 2\n" + addresses,
            "no newline": line,
            "another version": altered(lambda d: d.update(version=99)),
            "an unknown key of the settings": altered(lambda d: d.update(settings=d["settings"] + "\n[tproxy]\nnew = 1\n")),
            "a state that is none": altered(lambda d: d["supervisor"].update(child="asleep")),
            "a history that is none": altered(lambda d: d["supervisor"].update(history="x")),
            "addresses cut off": good[:-5],
            "an array": b"[]\n" + addresses,
            "a user that is gone": altered(lambda d: d.update(settings=d["settings"].replace("user = ", "user = nosuch"))),
            "too much": good + b"x" * (17 << 20),
        }
        for n in range(0, len(line), max(1, len(line) // 40)):
            broken[f"cut at {n}"] = good[:n]
        for what, document in broken.items():
            with self.subTest(what):
                done = self.judge(document)
                self.assertEqual((done.returncode, done.stdout, done.stderr.count(b"\n")), (1, b"", 1), done.stderr)
        self.assertEqual(doc["version"], 1)

    def test_the_variable_alone_is_nothing(self):
        sup = self.core()
        self.assertEqual(sup.stop(), 0)
        for text in ("7", "0", "-1", "x", "99999999999"):
            done = subprocess.run(self.house.enter("router", sup.program, "-c", "/nonexistent", "run"),
                                  env={**self.house.env(), "CLASHSUP_REEXEC": text}, capture_output=True, text=True,
                                  timeout=10 * SLOW)
            self.assertEqual(done.returncode, 1, text)
            self.assertIn("/nonexistent", done.stderr)


class AsInit(ReexecCase):
    def test_as_pid_1(self):
        sup = self.own(wait=None)
        sup.stop()
        inner = sup.program
        wrapper = os.path.join(os.path.dirname(inner), "wrapper")
        with open(wrapper, "w", encoding="ascii") as f:
            f.write(f"""#!/bin/bash
for last; do :; done
[ "$last" = run ] || exec {inner} "$@"
exec unshare --pid --fork --kill-child --mount-proc -- {inner} "$@"
""")
        os.chmod(wrapper, 0o755)
        sup.program = wrapper
        sup.start()
        pid = sup.wait_state("armed")["mihomo"]["pid"]
        for _ in range(3):
            self.reexec(sup)
        self.assertEqual(sup.status()["mihomo"]["pid"], pid)
        sup.ctl("shutdown")
        self.assertEqual(sup.wait_exit(), 0)


class UnderLoad(HouseCase):
    def test_a_hundred_times_in_a_row_no_connection_is_lost(self):
        for backend in ("iptables", "nft"):
            with self.subTest(backend=backend):
                self.hundred(self.armed(conf={"tproxy": {"backend": backend}}))

    def hundred(self, sup):
        sup.wait_members({"45.45.45.8"})
        pid, living = sup.mihomo_pid, fds_at_rest(sup.process.pid)
        over, seen = threading.Event(), {}

        def client():
            while not over.is_set():
                for dst in (FAR4, FAR6):
                    via = self.house.ask("client", "tcp", dst).via
                    seen[via] = seen.get(via, 0) + 1
                time.sleep(0.001)

        asks = threading.Thread(target=client)
        flow = self.house.open("client", "tcp", FAR4)
        asks.start()
        try:
            for _ in range(TIMES):
                self.assertEqual(sup.ctl("reexec"), IN_CHARGE)
        finally:
            over.set()
            asks.join()
        self.assertEqual(set(seen), {"proxied"}, seen)
        self.assertGreater(seen["proxied"], 10 * TIMES)
        self.assertEqual(ask_on(flow).via, "proxied", "a living one")
        flow.close()
        status = sup.status()
        self.assertEqual((status["mihomo"]["pid"], status["deaths"], status["state"]), (pid, 0, "armed"))
        self.assertEqual(fds_at_rest(sup.process.pid), living)
        self.assertEqual(sup.stop(), 0)
