"""Mihomo's lines and the turns of our life, to be looked at later or as they come."""

import json
import os
import signal
import socket
import subprocess
import time

from house import wait_for
from test_restart import FAST, RestartCase


class Following:
    """A client command that goes on, and its lines."""

    def __init__(self, case, sup, *words):
        self.process = subprocess.Popen(
            sup.house.enter("router", sup.program, "-c", sup.conf_file, *words),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        case.addCleanup(self.close)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")


class Logs(RestartCase):
    def test_the_latest_lines_and_as_many_as_are_wanted(self):
        sup = self.core("for i in $(seq 30); do echo line $i; done")
        sup.wait_log("^line 30$")
        lines = sup.ctl("logs").splitlines()
        self.assertEqual([l for l in lines if l.startswith("line")], [f"line {i}" for i in range(1, 31)])
        self.assertEqual(sup.ctl("logs", "-n", "3").splitlines(), lines[-3:])
        self.assertEqual(sup.ctl("logs", "-n", "0"), "")
        self.assertEqual(sup.ctl_done("logs", "-n", "x").returncode, 2)
        self.assertEqual(sup.ctl_done("logs", "--json").returncode, 2)

    def test_a_thousand_of_them_and_not_more_than_their_bytes(self):
        sup = self.core("for i in $(seq 1500); do echo line $i; done", conf={"log": {"rate": "0"}})
        wait_for(lambda: "line 1500\n" in sup.ctl("logs"), "the last line")
        lines = sup.ctl("logs").splitlines()
        self.assertEqual(len(lines), 1000)
        self.assertEqual(sup.stop(), 0)
        sup = self.core("for i in $(seq 300); do printf '%01000d\\n' $i; done", conf={"log": {"rate": "0"}})
        # Not waited for in our output, which may lose some of such a burst.
        wait_for(lambda: "0300\n" in sup.ctl("logs"), "the last line")
        lines = sup.ctl("logs").splitlines()
        self.assertLessEqual(sum(map(len, lines)), 128 * 1024)
        self.assertGreater(len(lines), 120)

    def test_a_long_line_stays_whole_and_odd_bytes_do_no_harm(self):
        sup = self.core("printf 'x%.0s' $(seq 12000); echo; printf 'a\\377b\\tc\\n'")
        self.assertEqual(len(sup.wait_log("^x+$").text), 12000)
        self.assertIn("x" * 12000, sup.ctl("logs").splitlines())
        self.assertIn("a?b\tc", sup.ctl("logs").splitlines())

    def test_as_json_each_line_is_an_object(self):
        sup = self.core("printf 'a\\377\\033b\\t\\\\ \"c\"\\n'; echo 'level=warning msg=\"w\"' >&2",
                        conf={"log": {"format": "json", "level": "debug"}})
        sup.ctl("reload")
        sup.wait_log("nothing changed")
        lines = [json.loads(line.text) for line in sup.lines]
        for line in lines:
            self.assertEqual(list(line), ["time", "level", "area", "msg"])
            self.assertRegex(line["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        told = {(line["level"], line["area"], line["msg"]) for line in lines}
        self.assertIn(("info", "mihomo", 'a??b\t\\ "c"'), told)
        self.assertIn(("warn", "mihomo", 'level=warning msg="w"'), told)
        self.assertIn(("info", "clash", "Mihomo is healthy"), told)
        sup.configure({"mihomo": {"binary": self.core_file}, "log": {"format": "text", "level": "debug"}})
        sup.ctl("reload")
        sup.wait_log(r'"reload: changed: \[log\] format"')
        sup.ctl("reload")
        sup.wait_log(r"^\[clash\] reload: nothing changed$")
        self.assertIn('level=warning msg="w"', sup.ctl("logs").splitlines(), "for people, as ever")

    def test_following_goes_on_with_what_comes(self):
        sup = self.core("(while sleep 0.1; do echo tick; done) &")
        follow = Following(self, sup, "logs", "-f", "-n", "0")
        for _ in range(3):
            self.assertEqual(follow.line(), "tick")
        self.assertEqual(sup.stop(), 0)
        self.assertEqual(follow.process.wait(10), 3)
        self.assertIn("closed the connection", follow.process.stderr.read())

    def test_its_level_is_ours(self):
        lines = "echo 'time=\"x\" level=info msg=\"quiet\"'; echo 'time=\"x\" level=warning msg=\"loud\"'"
        sup = self.core(lines, conf={"log": {"level": "warn"}}, wait=None)
        sup.wait_log("loud")
        sup.wait_state("armed")
        self.assertFalse(sup.logged("quiet"))
        self.assertIn("quiet", sup.ctl("logs"))

    def test_a_flood_is_cut_down_counted_and_harmless(self):
        flood = "(for i in $(seq 100000); do echo flood $i; done; echo over) &"
        sup = self.core(flood, conf={"log": {"rate": "200"}})
        sup.wait_log("lines of Mihomo dropped", 20)
        self.assertEqual(sup.status()["state"], "armed")
        end = time.monotonic() + 60
        while "over" not in sup.ctl("logs", "-n", "5") and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.2)
        passed = len(sup.logged("^(flood|over)"))
        dropped = sum(int(l.text.split()[1]) for l in sup.logged("lines of Mihomo dropped"))
        self.assertEqual(passed + dropped, 100001, "each is there or counted")
        self.assertGreater(dropped, 10000)

    def test_a_reader_that_is_too_slow_is_told_and_costs_nothing(self):
        sup = self.core("(while [ ! -e $0.go ]; do sleep 0.05; done; for i in $(seq 20000); do echo line $i; done) &",
                        conf={"log": {"rate": "100"}})
        with socket.socket(socket.AF_UNIX) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(os.path.join(sup.rundir, "control.sock"))
            s.sendall(b'{"version":1,"cmd":"logs","count":0,"follow":true}\n')
            time.sleep(0.2)
            for name in os.listdir(self.house.dir):
                if name.startswith("core-") and "." not in name[5:]:
                    with open(os.path.join(self.house.dir, name + ".go"), "w", encoding="ascii"):
                        pass
            end = time.monotonic() + 30
            while "line 20000" not in sup.ctl("logs", "-n", "1") and time.monotonic() < end:
                time.sleep(0.05)
            s.settimeout(5)
            text = b""
            while b"line 20000" not in text:
                text += s.recv(65536)
        lines = [json.loads(l) for l in text.decode().splitlines() if l.endswith("}")]
        lost = sum(l["lost"] for l in lines if "lost" in l)
        numbers = [l["seq"] for l in lines if "seq" in l]
        self.assertGreater(lost, 10000)
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(numbers[-1] - numbers[0] + 1, len(numbers) + lost, "each is there or counted")

    def test_others_may_not_read_them(self):
        sup = self.core()
        conf = os.path.join(self.house.dir, "for-others.conf")  # ours is in a directory that they may not enter
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"[state]\nrun = {sup.rundir}\n")
        os.chmod(sup.dir, 0o755)
        for cmd in ("logs", "events"):
            done = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sup.program, "-c", conf, cmd],
                capture_output=True, text=True)
            self.assertIn("is for root", done.stderr)
            self.assertEqual(done.returncode, 1)


class File(RestartCase):
    """[log] mihomo: a file that is rotated (behaviour 50 of facts about PID 1)."""

    def setUp(self):
        super().setUp()
        self.dir = os.path.join(self.house.dir, f"logs-{time.monotonic_ns()}")
        self.path = os.path.join(self.dir, "mihomo.log")

    def written(self, count):
        text = ""
        for n in range(count, -1, -1):
            name = f"{self.path}.{n}" if n else self.path
            if os.path.exists(name):
                with open(name, encoding="ascii") as f:
                    text += f.read()
        return [l for l in text.splitlines() if l.startswith("line")]

    def wait_written(self, count, wanted):
        end = time.monotonic() + 10
        while self.written(count) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.written(count), wanted)

    def test_50_every_line_is_kept_over_rotations_and_restarts(self):
        conf = {"log": {"mihomo": self.path, "mihomo_size": "4K", "mihomo_count": "20", "rate": "0"}}
        numbered = "n=$(cat $0.n 2>/dev/null || echo 0); for i in $(seq 500); do n=$((n+1)); echo line $n; done; echo $n >$0.n"
        sup = self.core(numbered, conf=conf)
        self.wait_written(20, [f"line {n}" for n in range(1, 501)])
        sup.kill_mihomo()
        self.wait_written(20, [f"line {n}" for n in range(1, 1001)])
        self.assertEqual(sup.stop(), 0)
        sup.start()
        sup.wait_state("armed")
        self.wait_written(20, [f"line {n}" for n in range(1, 1501)])
        self.assertGreater(len(os.listdir(self.dir)), 3)
        for name in os.listdir(self.dir):
            self.assertLessEqual(os.path.getsize(os.path.join(self.dir, name)), 4096)
        self.assertFalse(sup.logged("^line"), "they are in the file instead")
        self.assertIn("line 1500", sup.ctl("logs"))

    def test_the_oldest_file_goes(self):
        sup = self.core("for i in $(seq 3000); do echo line $i; done",
                        conf={"log": {"mihomo": self.path, "mihomo_size": "4K", "mihomo_count": "2", "rate": "0"}})
        end = time.monotonic() + 10
        while "line 3000" not in self.written(2) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(sorted(os.listdir(self.dir)), ["mihomo.log", "mihomo.log.1", "mihomo.log.2"])
        self.assertEqual(sup.status()["state"], "armed")

    def test_what_cannot_be_written_is_counted_and_holds_nobody_up(self):
        with open(self.dir, "w", encoding="ascii"):  # a file where a directory has to be
            pass
        sup = self.core("(while sleep 0.05; do echo line; done) &", conf={"log": {"mihomo": self.path}})
        sup.wait_log("Mihomo's lines: .*mihomo.log|Mihomo's lines: ")
        sup.wait_log(r"\d+ lines of Mihomo are not in .*mihomo.log")
        sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["deaths"] == 1, "back")
        os.unlink(self.dir)
        end = time.monotonic() + 10
        while not self.written(0) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertTrue(self.written(0), "tried again, and again, until it goes")

    def test_a_writer_that_hangs_holds_nobody_up(self):
        sup = self.core("(while sleep 0.01; do printf 'line %04000d\\n' 1; done) &", conf={"log": {"mihomo": self.path}})
        writer = next(p for p in self.house.pids("router")
                      if "logfile" in open(f"/proc/{p}/cmdline", encoding="ascii").read())
        os.kill(writer, signal.SIGSTOP)
        self.addCleanup(os.kill, writer, signal.SIGCONT)
        sup.wait_log("lines of Mihomo are not in", 10)
        sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["deaths"] == 1, "back")


class Events(RestartCase):
    def events(self, sup):
        return [json.loads(l) for l in sup.ctl("events", "--json").splitlines()]

    def test_a_death_and_what_follows_stand_in_their_order_with_durations(self):
        sup = self.core()
        time.sleep(0.3)
        pid = sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["deaths"] == 1, "back")
        events = self.events(sup)
        kinds = [e["event"] for e in events if e["event"] != "moved"]
        first = kinds.index("armed")
        self.assertEqual(sorted(kinds[:first]), ["disarmed", "started"], "the sweep and Mihomo's start go side by side")
        self.assertEqual(kinds[first:], ["armed", "exited", "crashed", "started", "disarmed", "armed", "recovered"])
        exited = next(e for e in events if e["event"] == "exited")
        self.assertEqual((exited["signal"], exited["by_us"]), (signal.SIGKILL, False))
        self.assertGreaterEqual(exited["lived_ms"], 300)
        started = [e for e in events if e["event"] == "started"]
        self.assertEqual(started[0]["pid"], pid)
        ready = [e["child"] for e in events if e.get("child", {}).get("from") == "ready"]
        self.assertGreaterEqual(ready[0]["lasted_ms"], 290)
        self.assertTrue(all(e["took_ms"] > 0 for e in events if e["event"] in ("armed", "recovered")))
        times = [e["mono_ms"] for e in events]
        self.assertEqual(times, sorted(times))
        self.assertTrue(all(e["at"] for e in events))

    def test_giving_up_stands_behind_the_death_and_the_state_with_its_reason(self):
        conf = {"restart": {**FAST, "give_up": "stay", "give_up_after": "2"}}
        sup = self.core("exit 3", conf=conf, wait="failed")
        self.assertGaveUp(self.events(sup), ["exited", "crashed", "moved", "give-up"], 3)
        self.assertEqual(sup.stop(), 0)
        sup = self.core(conf=conf)
        pid = sup.mihomo_pid
        with self.no_starts(sup):
            os.kill(pid, signal.SIGKILL)
            sup.wait_log("giving up")
        self.assertGaveUp(self.events(sup), ["moved", "give-up"], 126)

    def assertGaveUp(self, events, kinds, code):
        end = next(n for n, e in enumerate(events) if e["event"] == "give-up") + 1
        last = events[end - len(kinds):end]
        self.assertEqual([e["event"] for e in last], kinds)
        self.assertEqual(last[-2]["child"]["to"], "failed")
        self.assertEqual((last[-1]["reason"], last[-1]["code"]), ("Mihomo has died 2 times in a row", code))

    def test_the_words_for_people_and_the_count(self):
        sup = self.core()
        text = sup.ctl("events")
        self.assertRegex(text, r"(?m)^\S+Z  armed +in [\d.]+ ms$")
        self.assertRegex(text, r"(?m)moved +mihomo starting -> ready \([\d.]+ s\)")
        self.assertRegex(text, r"(?m)  network (direct|disarming) -> arming \([\d.]+ s\)")
        self.assertEqual(sup.ctl("events", "-n", "2").splitlines(), text.splitlines()[-2:])

    def test_following_tells_each_as_it_comes(self):
        sup = self.core()
        follow = Following(self, sup, "events", "-f", "-n", "0", "--json")
        time.sleep(0.2)
        sup.ctl("stop")
        self.assertEqual(json.loads(follow.line())["cause"], "stop")
        follow.process.send_signal(signal.SIGINT)
        self.assertNotEqual(follow.process.wait(10), 0)
        sup.wait_state("stopped")

    def test_forty_followers_leave_room_for_a_question(self):
        sup = self.core()
        followers = []
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.connect(os.path.join(sup.rundir, "control.sock"))
            s.sendall(b'{"version":1,"cmd":"events","follow":true}\n')
            followers.append(s)
        time.sleep(0.2)
        self.assertEqual(sup.status()["state"], "armed")
        self.assertEqual(sup.status()["state"], "armed")
