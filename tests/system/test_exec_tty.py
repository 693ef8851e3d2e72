"""`clashsup exec` and the terminal: behaviours 28 to 31 of an init, below a login and below a shell."""

import contextlib
import os
import pty
import re
import select
import signal
import termios
import time
import unittest

from house import PROGRAM, SLOW
from test_exec import children


class Pty(unittest.TestCase):
    """A program that leads the session of a terminal, whose other side is ours."""

    def start(self, *argv):
        pid, master = pty.fork()
        if pid == 0:
            os.execv(argv[0], argv)
        self.pid, self.master, self.text = pid, master, ""
        self.ended = None
        self.addCleanup(os.close, master)
        self.addCleanup(self.kill)
        attributes = termios.tcgetattr(master)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(master, termios.TCSANOW, attributes)

    def exec(self, *command, options=("-s",)):
        self.start(PROGRAM, "exec", *options, "--", *command)

    def kill(self):
        if self.ended is None:
            for child in children(self.pid):  # SIGKILL of a wrapper leaves them running
                with contextlib.suppress(ProcessLookupError):  # it has just gone
                    os.kill(child, signal.SIGKILL)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, pattern, timeout=10):
        """Reads on until the text matches; the match, behind which reading goes on."""
        end = time.monotonic() + timeout * SLOW
        while not (found := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            try:
                more = os.read(self.master, 4096) if ready else b""
            except OSError:  # EIO: nobody has the other side open
                more = b""
            if not more:
                raise AssertionError(f"no {pattern!r} in {self.text!r}")
            self.text += more.decode()
        self.text = self.text[found.end():]
        return found

    def status(self, timeout=10):
        end = time.monotonic() + timeout * SLOW
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended = os.waitstatus_to_exitcode(status)
                return self.ended
            time.sleep(0.01)
        raise AssertionError("it does not end")


class Terminal(Pty):
    """It leads the session, as PID 1 of a container with a terminal does."""

    def test_28_the_child_has_the_terminal_with_job_control(self):
        self.exec("bash", "-c", 'ps -o tpgid=,pgid= -p $$; set -m; set -o | grep monitor')
        tpgid, pgid = map(int, self.read(r"(\d+) +(\d+)\s").groups())
        self.assertEqual(tpgid, pgid)
        self.read(r"monitor\s+on")
        self.assertNotIn("no job control", self.text)
        self.assertEqual(self.status(), 0)

    def test_29_reading_and_writing_goes_on_to_the_end_of_file(self):
        self.exec("cat")
        self.type("first\n")
        self.read("first\r\n")
        self.type("second\n\x04")
        self.read("second\r\n")
        self.assertEqual(self.status(), 0)

    def test_30_the_hand_over_kills_nobody_and_later_hangups_are_passed_on(self):
        script = "trap 'echo hup' HUP; trap 'echo cont' CONT; echo up; while :; do sleep 0.02; done"
        for _ in range(5):
            self.exec("sh", "-c", script)
            self.read("up\r\n")
            time.sleep(0.05)
            for sig, word in ((signal.SIGHUP, "hup"), (signal.SIGCONT, "cont"), (signal.SIGHUP, "hup")):
                os.kill(self.pid, sig)
                self.assertEqual(self.read(r"(hup|cont)\r\n")[1], word)
            self.kill()
            self.ended = signal.SIGKILL

    def test_31_ctrl_c_and_a_typed_exit(self):
        self.exec("sh", "-c", "echo up; exec sleep 60")
        self.read("up\r\n")
        self.type("\x03")
        self.assertEqual(self.status(), 130)
        self.exec("sh", "-i")
        self.read(r"[#$] ")
        self.type("exit 5\n")
        self.assertEqual(self.status(), 5)

    def test_31_as_pid_1(self):
        self.start("/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
                   PROGRAM, "exec", "--", "sh", "-c", "echo up; exec sleep 60")
        self.read("up\r\n")
        self.type("\x03")
        self.assertIn(self.status(), (130, -signal.SIGINT), "unshare passes on what it got, or gets it itself")


class BelowAShell(Pty):
    """The session is an interactive shell's: the child's group becomes the foreground, and job control goes on."""

    def setUp(self):
        self.start("/bin/bash", "--norc", "--noprofile", "-i")
        self.type("PS1='ready> '\n")
        self.read("ready> ")

    def test_ctrl_c_ends_the_command_and_not_the_shell(self):
        self.type(f"{PROGRAM} exec -s -- sh -c 'echo up; exec sleep 60'\n")
        self.read("up\r\n")
        self.type("\x03")
        self.read("ready> ")
        self.type("echo status $?\n")
        self.read("status 130")

    def test_ctrl_z_stops_both_and_fg_brings_both_back(self):
        self.type(f"{PROGRAM} exec -s -- sh -c 'echo up; read line; echo got $line'\n")
        self.read("up\r\n")
        self.type("\x1a")
        self.read("Stopped")
        self.read("ready> ")
        self.type("fg\n")
        time.sleep(0.2)
        self.type("words\n")
        self.read("got words")

    def test_in_the_background_it_does_not_take_the_terminal(self):
        self.type(f"{PROGRAM} exec -s -- sleep 0.3 & echo still here\n")
        self.read("still here\r\n")
        self.read("ready> ")
        self.type("wait; echo status $?\n")
        self.read("status 0")


if __name__ == "__main__":
    unittest.main()
