"""What a service manager is told: sd_notify without its library, and the newline of s6 and dinit."""

import os
import re
import select
import signal
import socket
import subprocess
import time

from house import FAR4, SLOW, Supervisor
from test_restart import STANDIN, RestartCase


class Manager:
    """The socket that NOTIFY_SOCKET names, and what came in."""

    def __init__(self, case, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # An abstract name belongs to a network namespace: ours is not the router's.
        self.name = f"@cs-{os.getpid()}-{time.monotonic_ns()}" if abstract else os.path.join(
            case.house.dir, f"notify-{time.monotonic_ns()}")
        if abstract:
            self.socket.close()
            self.socket = case.house.socket("router", socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name.replace("@", "\0"))
        self.words = []
        case.addCleanup(self.socket.close)

    def read(self, timeout):
        self.socket.settimeout(timeout)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return False
        self.words += [(time.monotonic(), line) for line in text.splitlines()]
        return True

    def wait(self, pattern, timeout=10):
        """The first line that matches, and what came before it is forgotten."""
        end = time.monotonic() + timeout * SLOW
        while True:
            for n, (_, line) in enumerate(self.words):
                if re.search(pattern, line):
                    del self.words[: n + 1]
                    return line
            if not self.read(max(0.01, end - time.monotonic())) or time.monotonic() > end:
                raise AssertionError(f"nobody said {pattern!r}: {[w for _, w in self.words]}")


class Told(RestartCase):
    def managed(self, abstract=False, env=None, conf=None, **kw):
        manager = Manager(self, abstract)
        sup = Supervisor(self.house, conf={"mihomo": {"binary": STANDIN}, **(conf or {})}, **kw)
        self.addCleanup(sup.end)
        plain = self.house.env
        self.house.env = lambda: {**plain(), "NOTIFY_SOCKET": manager.name, **(env or {})}
        try:
            sup.start()
        finally:
            self.house.env = plain
        return manager, sup

    def test_ready_at_once_and_a_status_that_follows(self):
        manager, sup = self.managed()
        manager.wait("^READY=1$")
        manager.wait("^STATUS=armed · 1 servers · v4\\+v6 · direct path ok$")
        sup.ctl("stop")
        manager.wait("^STATUS=stopped$")
        sup.ctl("start")
        manager.wait("^STATUS=armed")
        sup.stop()
        manager.wait("^STOPPING=1$")

    def test_ready_when_armed_where_that_is_wanted(self):
        manager, sup = self.managed(conf={"notify": {"ready": "armed"}}, write_config=False)
        manager.wait("^STATUS=waiting · .*config.yaml")
        self.assertFalse(any(w == "READY=1" for _, w in manager.words))
        sup.write("config.yaml", "mode: rule\nproxies: []\n")
        manager.wait("^READY=1$")
        sup.wait_state("armed")

    def test_an_abstract_name(self):
        manager, _ = self.managed(abstract=True)
        manager.wait("^READY=1$")

    def test_nothing_is_said_twice_and_no_child_can_say_it(self):
        manager, sup = self.managed()
        manager.wait("^STATUS=armed")
        while manager.read(2.5):
            pass
        self.assertEqual([w for _, w in manager.words if not w.startswith("STATUS=armed")], [])
        self.assertLessEqual(len(manager.words), 2)
        with open(f"/proc/{sup.mihomo_pid}/environ", encoding="ascii") as f:
            self.assertNotIn("NOTIFY_SOCKET", f.read())

    def test_the_watchdog_is_fed_by_a_loop_that_turns_and_only_then(self):
        manager, sup = self.managed(env={"WATCHDOG_USEC": "400000"})
        for _ in range(5):
            manager.wait("^WATCHDOG=1$", 1.0)
        os.kill(sup.process.pid, signal.SIGSTOP)
        while manager.read(0.4):
            pass
        manager.words.clear()
        self.assertFalse(manager.read(0.8), "a stopped one says nothing")
        os.kill(sup.process.pid, signal.SIGCONT)
        manager.wait("^WATCHDOG=1$")

    def test_over_a_reexec_the_watchdog_is_fed_on(self):
        for abstract in (False, True):
            manager, sup = self.managed(abstract=abstract, env={"WATCHDOG_USEC": "400000"})
            manager.wait("^STATUS=armed")
            sup.wait_state("armed")
            for _ in range(2):  # also what one that was executed hands on
                sup.ctl("reexec")
                for _ in range(3):
                    manager.wait("^WATCHDOG=1$", 1.0)
            while manager.read(0.5) and len(manager.words) < 6:
                pass
            told = [w for _, w in manager.words]
            self.assertNotIn("STOPPING=1", told)
            self.assertEqual(sup.stop(), 0)

    def test_anothers_watchdog_is_not_ours(self):
        manager, _ = self.managed(env={"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"})
        manager.wait("^STATUS=armed")
        while manager.read(0.5):
            pass
        self.assertFalse(any("WATCHDOG" in w for _, w in manager.words))

    def test_a_manager_that_is_gone_changes_nothing(self):
        manager, sup = self.managed()
        manager.wait("^READY=1$")
        manager.socket.close()
        sup.wait_state("armed")
        self.assertVia("proxied", "client", "tcp", FAR4)


class ReadyFd(RestartCase):
    def started(self, option, conf=None):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        sup = Supervisor(self.house, conf={"mihomo": {"binary": STANDIN}, **(conf or {})})
        self.addCleanup(sup.end)
        sup.process = subprocess.Popen(
            self.house.enter("router", sup.program, "-c", sup.conf_file, "run", *option(writer)), env=self.house.env(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(writer,))
        os.close(writer)
        return sup, reader

    def test_a_newline_and_the_end(self):
        for option in (lambda n: ["--ready-fd", str(n)], lambda n: [f"--ready-fd={n}"]):
            sup, reader = self.started(option, {"notify": {"ready": "armed"}})
            self.assertEqual(os.read(reader, 10), b"\n")
            self.assertEqual(sup.status()["state"], "armed")
            self.assertEqual(os.read(reader, 10), b"", "it is closed behind it, and no child has it")
            sup.end()

    def test_over_a_reexec_it_is_told_when_it_is_so(self):
        sup, reader = self.started(lambda n: ["--ready-fd", str(n)], {"notify": {"ready": "armed"},
                                                                      "mihomo": {"binary": "/nonexistent"}})
        sup.wait_state("waiting")
        sup.ctl("reexec")
        sup.wait_state("waiting")
        self.assertEqual(select.select([reader], [], [], 0)[0], [], "not yet, and not closed")
        sup.configure({"mihomo": {"binary": STANDIN}, "notify": {"ready": "armed"}})
        sup.ctl("reload")
        self.assertEqual(os.read(reader, 10), b"\n")
        self.assertEqual(sup.status()["state"], "armed")
        self.assertEqual(os.read(reader, 10), b"")

    def test_a_descriptor_that_is_none_is_an_error(self):
        for words in (["--ready-fd", "77"], ["--ready-fd=x"], ["--ready-fd"], ["--ready-fdx", "1"], ["more"]):
            sup = Supervisor(self.house)
            done = subprocess.run(self.house.enter("router", sup.program, "-c", sup.conf_file, "run", *words),
                                  capture_output=True, text=True, timeout=20)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("clashsup", done.stderr)
