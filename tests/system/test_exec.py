"""`clashsup exec`, a plain init: what facts about PID 1 ask of one, by their numbers.

Left out, and why:
  18  the child gets a clean mask and clean dispositions instead of ours: WhatTheChildGets
  22  is for the supervisor: test_control
  30  swallowed by sigtimedwait at the hand-over, so that there is no text to look for: Terminal
"""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from house import PROGRAM, SLOW

NEW_PIDS = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
TTY_SIGNALS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
UNCATCHABLE = {signal.SIGKILL, signal.SIGSTOP}
FORWARDED = [s for s in range(1, 32) if s not in TTY_SIGNALS | UNCATCHABLE | {signal.SIGCHLD}]

# Says each signal that it gets, one a line; ends at "end" on its stdin, or at once with a status at the second of a signal.
REPORTER = """
import os, signal, sys
for s in range(1, 65):
    if s not in (9, 17, 19, 32, 33):
        signal.signal(s, lambda n, _: os.write(1, b"%d\\n" % n))
os.write(1, b"ready\\n")
for line in sys.stdin:
    if line == "end\\n":
        break
"""


def run(*command, options=(), prefix=(), timeout=30, **kw):
    return subprocess.run(
        [*prefix, PROGRAM, "exec", *options, "--", *command], capture_output=True, text=True, timeout=timeout * SLOW, **kw
    )


class Running:
    """`clashsup exec` with a command whose lines can be waited for."""

    def __init__(self, *command, options=("-s",), prefix=(), **kw):
        self.process = subprocess.Popen(
            [*prefix, PROGRAM, "exec", *options, "--", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw,
        )
        self.pid, self.text = self.process.pid, b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            for child in children(self.pid):
                os.kill(child, signal.SIGKILL)
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def line(self, timeout=10):
        end = time.monotonic() + timeout * SLOW
        while b"\n" not in self.text:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not more:
                raise AssertionError(f"no line within {timeout} s, only {self.text!r}")
            self.text += more
        line, _, self.text = self.text.partition(b"\n")
        return line.decode()

    def send(self, sig):
        os.kill(self.pid, sig)

    def end(self, timeout=10):
        return self.process.wait(timeout * SLOW)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


def state(pid):
    """The letter of proc(5), "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def status_of(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return re.search(rf"^{name}:\s*(.*)$", f.read(), re.M)[1]


def until(test, timeout=10, what="it"):
    end = time.monotonic() + timeout * SLOW
    while not test():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {timeout} s")
        time.sleep(0.005)


class ExitStatus(unittest.TestCase):
    def test_01_the_childs_status_is_ours(self):
        for code in (0, 1, 2, 32, 64, 127, 254, 255):
            self.assertEqual(run("sh", "-c", f"exit {code}").returncode, code)

    def test_01_all_of_them(self):
        loop = f'for c in $(seq 0 255); do {PROGRAM} exec -s -- sh -c "exit $c"; [ $? -eq $c ] || echo $c; done'
        self.assertEqual(subprocess.run(["bash", "-c", loop], capture_output=True, text=True, timeout=120).stdout, "")

    def test_02_a_killed_child_is_128_and_the_signal(self):
        for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL):
            self.assertEqual(run("sh", "-c", f"kill -{int(sig)} $$").returncode, 128 + sig)

    def test_03_exactly_the_named_status_becomes_0(self):
        loop = (f'for c in $(seq 0 255); do {PROGRAM} exec -s -e $c -- sh -c "exit $c" || echo $c;'
                f' o=$(( (c + 1) % 256 )); {PROGRAM} exec -s -e $c -- sh -c "exit $o"; [ $? -eq $o ] || echo not $o; done')
        self.assertEqual(subprocess.run(["bash", "-c", loop], capture_output=True, text=True, timeout=240).stdout, "")

    def test_04_not_found_is_127_and_not_executable_126(self):
        with tempfile.NamedTemporaryFile() as plain:
            self.assertEqual(run("/nowhere/at/all").returncode, 127)
            self.assertEqual(run("no-such-program-anywhere").returncode, 127)
            self.assertEqual(run(plain.name).returncode, 126)
            self.assertEqual(run("/tmp").returncode, 126)

    def test_05_a_failed_exec_names_the_file_and_the_reason(self):
        self.assertIn("/nowhere/at/all: No such file or directory", run("/nowhere/at/all").stderr)
        self.assertIn("/tmp: Permission denied", run("/tmp").stderr)

    def test_06_usage_goes_to_stderr_and_help_to_stdout(self):
        for words in ((), ("--nothing-like-it", "true"), ("-e", "256", "true"), ("-p", "DANCE", "true"), ("-t", "x", "true")):
            done = subprocess.run([PROGRAM, "exec", *words], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("usage: clashsup exec", done.stderr)
            self.assertEqual(done.stdout, "")
        for word in ("-h", "--help", "-V", "--version"):
            done = subprocess.run([PROGRAM, "exec", word], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, word)
            self.assertIn("clashsup", done.stdout)
            self.assertEqual(done.stderr, "")

    def test_07_behind_two_dashes_a_name_may_look_like_an_option(self):
        with tempfile.TemporaryDirectory() as here:
            with open(os.path.join(here, "-v"), "w", encoding="ascii") as f:
                f.write("#!/bin/sh\necho \"-v $*\"\n")
            os.chmod(f.name, 0o755)
            done = run("-v", "-h", "--", "x", env={**os.environ, "PATH": f"{here}:{os.environ['PATH']}"})
            self.assertEqual(done.stdout, "-v -h -- x\n")

    def test_07_the_commands_own_options_are_its_own(self):
        done = subprocess.run([PROGRAM, "exec", "-s", "echo", "-c", "-v"], capture_output=True, text=True)
        self.assertEqual((done.stdout, done.returncode), ("-c -v\n", 0))

    def test_08_stdin_reaches_the_child(self):
        self.assertEqual(run("cat", input="one\ntwo\n").stdout, "one\ntwo\n")


class Signals(unittest.TestCase):
    def reporter(self, *options, **kw):
        running = Running(sys.executable, "-c", REPORTER, options=("-s", *options), **kw)
        self.addCleanup(running.__exit__)
        self.assertEqual(running.line(), "ready")
        return running

    def test_09_every_one_reaches_the_child_in_order(self):
        r = self.reporter()
        for sig in FORWARDED:
            r.send(sig)
            self.assertEqual(r.line(), str(sig))

    def test_09_those_of_real_time_too(self):
        r = self.reporter()
        for sig in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
            r.send(sig)
            self.assertEqual(r.line(), str(sig))

    def test_09_none_is_lost_before_the_child_is_there(self):
        for _ in range(20):
            with Running("sleep", "60") as r:
                until(lambda: status_of(r.pid, "SigBlk") != "0" * 16, what="the beginning of main")
                r.send(signal.SIGTERM)
                self.assertEqual(r.end(), 128 + signal.SIGTERM)

    def test_10_signals_are_rewritten_swapped_and_dropped(self):
        r = self.reporter("-r", "15:2", "-r", "2:15", "-r", "1:31", "--rewrite=31:1", "-r", "HUP:USR1", "-r", "12:0")
        for sent, seen in ((15, 2), (2, 15), (1, 10), (31, 1), (12, None), (3, 3)):
            r.send(sent)
            if seen:
                self.assertEqual(r.line(), str(seen))

    def test_11_bad_rewrites_are_refused_before_anything_runs(self):
        for spec in ("", ":", "15", "15:", ":15", "0:15", "65:1", "15:65", "-1:2", "15:-1", "15:2:3", "TERM:DANCE", "1 5:2"):
            done = run("echo", "ran", options=("-r", spec))
            self.assertEqual((done.returncode, done.stdout), (1, ""), spec)

    def test_12_a_group_gets_it_as_a_whole(self):
        with Running("sh", "-c", "sleep 61 | sleep 62 | sleep 63 | sleep 64 | sleep 65 & echo up; wait") as r:
            self.assertEqual(r.line(), "up")
            until(lambda: len(pids_of_session_under(r.pid)) == 6, what="a shell and five in a pipe")
            everybody = pids_of_session_under(r.pid)
            r.send(signal.SIGTERM)
            self.assertEqual(r.end(), 128 + signal.SIGTERM)
            until(lambda: not any(map(alive, everybody)), what="the end of all six")

    def test_13_a_single_child_gets_it_alone(self):
        with Running("sh", "-c", "sleep 61 & sleep 62 & sleep 63 & sleep 64 & echo up; wait", options=("-s", "-c")) as r:
            self.assertEqual(r.line(), "up")
            shell = children(r.pid)[0]
            until(lambda: len(children(shell)) == 4)
            others = children(shell)
            r.send(signal.SIGTERM)
            self.assertEqual(r.end(), 128 + signal.SIGTERM)
            self.assertEqual([alive(p) for p in others], [True] * 4)
            for p in others:
                os.kill(p, signal.SIGKILL)

    def test_14_a_grandchild_gets_it_although_the_child_ignores_it(self):
        # A handler that is about to sleep may miss its signal: blocked from before "up", it waits for whoever asks.
        script = ("import os, signal\n"
                  "signal.signal(10, signal.SIG_IGN)\n"
                  "if os.fork() == 0:\n"
                  "    signal.pthread_sigmask(signal.SIG_BLOCK, [10])\n"
                  "    signal.signal(10, signal.SIG_DFL)\n"
                  "    os.write(1, b'up\\n')\n"
                  "    signal.sigwait([10])\n"
                  "    os.write(1, b'told\\n')\n"
                  "    os._exit(0)\n"
                  "os.wait()\n")
        with Running(sys.executable, "-c", script) as r:
            self.assertEqual(r.line(), "up")
            r.send(signal.SIGUSR1)
            self.assertEqual(r.line(), "told")
            self.assertEqual(r.end(), 0)

    def test_15_leftovers_get_term_when_the_child_ends(self):
        for inner in ("sleep 66 & echo $!; exit 7", "set -m; sleep 67 & echo $!; exit 7"):
            with Running("bash", "-c", inner) as r:
                left = int(r.line())
                self.assertEqual(r.end(), 7)
                until(lambda p=left: not alive(p), what="the end of the leftover")

    def test_15_and_do_not_in_single_mode(self):
        with Running("sh", "-c", "sleep 68 & echo $!; exit 7", options=("-s", "-c")) as r:
            left = int(r.line())
            self.assertEqual(r.end(), 7)
            time.sleep(0.1)
            self.assertTrue(alive(left))
            os.kill(left, signal.SIGKILL)

    def test_16_the_terminals_stops_stop_both_and_cont_wakes_both(self):
        for sig in sorted(TTY_SIGNALS):
            r = self.reporter()
            child = children(r.pid)[0]
            r.send(sig)
            until(lambda p=r.pid, c=child: state(p) == "T" and state(c) == "T", what=f"the stop by {sig}")
            r.send(signal.SIGCONT)
            self.assertEqual(r.line(), str(int(signal.SIGCONT)))
            until(lambda p=r.pid, c=child: state(p) != "T" and state(c) != "T", what="both awake")

    def test_16_a_single_child_gets_the_signal_itself(self):
        r = self.reporter("-c")
        r.send(signal.SIGTSTP)
        self.assertEqual(r.line(), str(int(signal.SIGTSTP)))
        until(lambda: state(r.pid) == "T")
        r.send(signal.SIGCONT)
        self.assertEqual(r.line(), str(int(signal.SIGCONT)))

    def test_17_rewritten_stops_still_stop_the_wrapper(self):
        r = self.reporter("-r", "20:10", "-r", "21:12", "-r", "22:1")
        for sent, seen in ((20, 10), (21, 12), (22, 1)):
            r.send(sent)
            self.assertEqual(r.line(), str(seen))
            until(lambda: state(r.pid) == "T")
            r.send(signal.SIGCONT)
            self.assertEqual(r.line(), str(int(signal.SIGCONT)))

    def test_20_the_parents_death_is_passed_on(self):
        script = f"exec 3<&0; {PROGRAM} exec -s -p USR2 -- {sys.executable} -c '{REPORTER}' <&3 & sleep 60"
        with Running("sh", "-c", script, options=("-s", "-c")) as r:
            self.assertEqual(r.line(), "ready")
            shell = children(r.pid)[0]
            inner = next(p for p in children(shell) if "exec" in open(f"/proc/{p}/cmdline", encoding="ascii").read())
            os.kill(shell, signal.SIGKILL)
            self.assertEqual(r.line(), str(int(signal.SIGUSR2)))
            os.kill(inner, signal.SIGKILL)

    def test_21_any_signal_can_ask_it_to_end(self):
        for sig in FORWARDED:
            if sig in (signal.SIGCONT, signal.SIGURG, signal.SIGWINCH):
                continue
            with Running("sleep", "60", options=("-s", "-r", f"15:{int(sig)}")) as r:
                until(lambda p=r.pid: children(p) and "sleep" in comm(children(p)[0]))
                r.send(signal.SIGTERM)
                self.assertEqual(r.end(), 128 + sig)


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as f:
            return f.read()
    except OSError:
        return ""


def alive(pid):
    return state(pid) not in ("", "Z", "X")


def pids_of_session_under(pid):
    """The members of the session that the child of this process leads."""
    leader = children(pid)
    if not leader:
        return []
    done = subprocess.run(["ps", "-s", str(leader[0]), "-o", "pid="], capture_output=True, text=True)
    return [int(p) for p in done.stdout.split()]


class StopTimeout(unittest.TestCase):
    DEAF = "trap '' TERM; echo up; while :; do sleep 0.05; done"

    def test_43_a_deaf_child_is_killed_with_its_group(self):
        with Running("sh", "-c", f"sh -c '{self.DEAF}' & echo $!; {self.DEAF}", options=("-s", "-t", "300ms")) as r:
            words = sorted(r.line() for _ in range(3))
            grandchild = int(words[0])
            begun = time.monotonic()
            r.send(signal.SIGTERM)
            self.assertEqual(r.end(), 137)
            self.assertGreaterEqual(time.monotonic() - begun, 0.29)
            until(lambda: not alive(grandchild))

    def test_a_bare_number_is_seconds(self):
        with Running("sh", "-c", self.DEAF, options=("-s", "-t", "1")) as r:
            self.assertEqual(r.line(), "up")
            begun = time.monotonic()
            r.send(signal.SIGTERM)
            self.assertEqual(r.end(), 137)
            self.assertGreaterEqual(time.monotonic() - begun, 0.99)

    def test_who_ends_in_time_is_not_killed(self):
        with Running("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done", options=("-s", "-t", "20")) as r:
            self.assertEqual(r.line(), "up")
            r.send(signal.SIGTERM)
            self.assertEqual(r.end(), 5)

    def test_without_it_a_deaf_child_is_waited_for(self):
        with Running("sh", "-c", self.DEAF) as r:
            self.assertEqual(r.line(), "up")
            r.send(signal.SIGTERM)
            time.sleep(0.3)
            self.assertIsNone(r.process.poll())
            r.send(signal.SIGUSR1)
            self.assertEqual(r.end(), 128 + signal.SIGUSR1)


# Ends when the other one has a session of its own.
SESSION = "exec 3< <(setsid sh -c 'echo up; exec >&-; exec sleep 0.4'); read x <&3; exit 3"


class AsEntrypoint(unittest.TestCase):
    """PID 1 with a word that is none of our commands: `docker run IMAGE sh`."""

    def run_as_init(self, *words):
        return subprocess.run([*NEW_PIDS, PROGRAM, *words], capture_output=True, text=True, timeout=30)

    def test_a_program_is_run_with_its_own_options(self):
        done = self.run_as_init("sh", "-c", "echo $PPID; exit 5")
        self.assertEqual((done.returncode, done.stdout), (5, "1\n"))

    def test_our_commands_and_options_stay_ours(self):
        self.assertIn("usage: clashsup", self.run_as_init("-h").stdout)
        done = self.run_as_init("-c", "/nonexistent", "check")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/nonexistent", done.stderr)

    def test_what_is_neither_is_told(self):
        done = self.run_as_init("no-such-program")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn('unknown command "no-such-program"', done.stderr)

    def test_only_as_pid_1(self):
        done = subprocess.run([PROGRAM, "sh", "-c", "exit 5"], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2)


class WaitForAll(unittest.TestCase):
    def test_who_called_setsid_is_waited_for_too(self):
        begun = time.monotonic()
        done = run("bash", "-c", SESSION, options=("-s", "-w"))
        self.assertEqual(done.returncode, 3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.4)

    def test_as_pid_1_as_well(self):
        begun = time.monotonic()
        done = run("bash", "-c", SESSION, options=("-w",), prefix=NEW_PIDS)
        self.assertEqual(done.returncode, 3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.4)

    def test_the_time_out_ends_them_all(self):
        inner = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done' & wait"
        with Running("bash", "-c", inner, options=("-s", "-w", "-t", "300ms")) as r:
            deaf = int(r.line())
            r.send(signal.SIGTERM)
            self.assertEqual(r.end(), 137)
            self.assertFalse(alive(deaf))

    def test_leftovers_that_end_at_term_make_no_difference(self):
        self.assertEqual(run("sh", "-c", "sleep 69 & exit 4", options=("-s", "-w")).returncode, 4)


class Reaping(unittest.TestCase):
    ORPHANS = "for i in $(seq {n}); do (sleep 0.$((i % 7)) & ); done; sleep 1.2; ps -A -o stat= | grep -c ^Z; true"

    def test_23_a_hundred_orphans_are_reaped_while_the_child_lives(self):
        self.assertEqual(run("bash", "-c", self.ORPHANS.format(n=100), prefix=NEW_PIDS).stdout, "0\n")

    def test_23_and_by_a_subreaper(self):
        script = ("for i in $(seq 100); do (sleep 0.$((i % 7)) & ); done; sleep 1.2;"
                  " ps -o stat= --ppid $PPID | grep -c ^Z; true")
        self.assertEqual(run("bash", "-c", script, options=("-s",)).stdout, "0\n")

    def test_24_who_cannot_reap_says_so(self):
        self.assertIn("orphans will not come here", run("true").stderr)
        self.assertNotIn("orphans", run("true", options=("-s",)).stderr)
        self.assertNotIn("orphans", run("true", prefix=NEW_PIDS).stderr)

    def test_24_a_subreaper_by_inheritance_says_nothing(self):
        ask = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
        self.assertNotIn("orphans", run("true", prefix=(sys.executable, "-c", ask)).stderr)

    def test_25_a_double_fork_leaves_no_zombie(self):
        script = "(sh -c 'sleep 0.05 & echo $!' > /tmp/pid-$$ ); p=$(cat /tmp/pid-$$); rm /tmp/pid-$$; sleep 1; [ ! -e /proc/$p ] && echo gone"
        self.assertEqual(run("bash", "-c", script, prefix=NEW_PIDS).stdout, "gone\n")

    def test_26_five_thousand_that_die_at_once_are_all_reaped(self):
        script = (
            "import os, sys, time\n"
            "gate_r, gate_w = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    os.close(gate_w)\n"
            "    for _ in range(5000):\n"
            "        if os.fork() == 0:\n"
            "            os.read(gate_r, 1)\n"
            "            os._exit(0)\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "os.close(gate_r)\n"
            "count = lambda: sum(n.isdigit() for n in os.listdir('/proc'))\n"
            "assert count() > 5000\n"
            "os.close(gate_w)\n"
            "end = time.monotonic() + 120\n"
            "while count() > 2 and time.monotonic() < end: time.sleep(0.01)\n"
            "print(count())\n")
        self.assertEqual(run(sys.executable, "-c", script, prefix=NEW_PIDS, timeout=200).stdout, "2\n")

    def test_27_a_strangers_death_is_not_the_childs(self):
        script = "for i in $(seq 300); do (true & ); done; sleep 0.2; exit 9"
        self.assertEqual(run("bash", "-c", script, prefix=NEW_PIDS).returncode, 9)


class WhatTheChildGets(unittest.TestCase):
    def test_18_a_clean_mask_and_clean_dispositions(self):
        def spoil():
            for sig in (signal.SIGINT, signal.SIGSEGV, signal.SIGTTOU, signal.SIGPIPE, signal.SIGUSR1):
                signal.signal(sig, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGILL, signal.SIGTTIN})

        done = run("cat", "/proc/self/status", preexec_fn=spoil, restore_signals=False)
        for name in ("SigBlk", "SigIgn", "SigCgt"):
            self.assertEqual(int(re.search(rf"^{name}:\s*(\S+)", done.stdout, re.M)[1], 16), 0, name)

    def test_32_its_directory_is_where_it_was_started_and_ours_the_root(self):
        with tempfile.TemporaryDirectory() as here, Running("sh", "-c", "pwd; cat", cwd=here) as r:
            self.assertEqual(r.line(), os.path.realpath(here))
            self.assertEqual(os.readlink(f"/proc/{r.pid}/cwd"), "/")

    def test_32_its_umask_too(self):
        self.assertEqual(run("sh", "-c", "umask", umask=0o027).stdout.strip(), "0027")

    def test_33_descriptors_are_the_childs_and_not_ours(self):
        reader, writer = os.pipe()
        with Running("sh", "-c", f"echo up; echo told >&{writer}; exec {writer}>&-; cat", pass_fds=(writer,)) as r:
            os.close(writer)
            self.assertEqual(r.line(), "up")
            self.assertEqual(os.read(reader, 100), b"told\n")
            self.assertEqual(os.read(reader, 100), b"", "an end of file: we hold it no more")
            names = [os.readlink(f"/proc/{r.pid}/fd/{n}") for n in os.listdir(f"/proc/{r.pid}/fd") if int(n) > 2]
            self.assertFalse([n for n in names if "anon_inode" not in n], names)
        os.close(reader)

    def test_33_it_gets_none_of_our_own(self):
        self.assertEqual(run("ls", "/proc/self/fd").stdout.split(), ["0", "1", "2", "3"])

    def test_35_listen_pid_is_the_childs(self):
        script = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 {PROGRAM} exec -s -- sh -c \'[ "$LISTEN_PID" = $$ ] && echo $LISTEN_FDS\''
        self.assertEqual(subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout, "1\n")

    def test_35_anothers_is_left_alone(self):
        self.assertEqual(run("sh", "-c", "echo $LISTEN_PID", env={**os.environ, "LISTEN_PID": "1"}).stdout, "1\n")


if __name__ == "__main__":
    unittest.main()
