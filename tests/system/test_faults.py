"""Every system call of the supervisor fails once, at any moment of a whole life.

A life: start, armed, reexec, Mihomo killed, armed again, stopped. strace follows one
such life and writes down what the supervisor alone calls (not its children),
then each case lives it again while strace makes one call fail. Whatever fails:

  no signal ends the supervisor, and it ends when it is told to
  what says armed is armed: a client gets through, over the listener
  Mihomo's death is noticed: a client gets through again, directly or not
  who does not reach the state armed says why, in a line at level warn
  nothing of ours is in the kernel after its end, no process is left

`exec` is lived through in the same way, with a command that is asked to end:
every call of its own fails, once. And where epoll goes on refusing, it obeys.

CLASHSUP_FAULTS=all lets every call fail that was seen, with each backend, which
takes an hour or so; CLASHSUP_FAULTS=NAME all calls of that name. Without it a
few calls of each name are chosen.
"""

import collections
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from house import BUILD, FAR4, FAR6, PROGRAM, SLOW, House, HouseCase, Supervisor

STANDIN = os.path.join(BUILD, "tests", "standin")
CANNOT_RUN = 126
CHOICE = os.environ.get("CLASHSUP_FAULTS", "")
WORKERS = 3  # a life is mostly waiting
TRACED = """#!/bin/sh
for last; do :; done
[ "$last" = run ] || exec {program} "$@"
exec strace -D -qq -e signal=none -o {trace} {words} {program} "$@"
"""

# What is seen when the call fails for want of something; ENOMEM for all others.
ERRORS = {
    "accept4": "EMFILE", "access": "EACCES", "bind": "EADDRINUSE", "capget": "EPERM", "capset": "EPERM",
    "chdir": "EACCES", "chmod": "EPERM", "chown": "EPERM", "clone": "EAGAIN", "connect": "ECONNREFUSED",
    "epoll_create1": "EMFILE", "execve": "ENOEXEC", "fchown": "EPERM", "fcntl": "EINVAL", "fsync": "EIO",
    "getdents64": "EIO", "getrandom": "EAGAIN", "getsockname": "ENOBUFS", "getsockopt": "ENOBUFS",
    "inotify_add_watch": "ENOSPC", "inotify_init1": "EMFILE", "inotify_rm_watch": "EINVAL", "ioctl": "ENODEV",
    "kill": "EPERM", "lseek": "ESPIPE", "memfd_create": "EMFILE", "mkdir": "ENOSPC", "mknodat": "ENOSPC",
    "openat": "EMFILE", "pipe2": "EMFILE", "prctl": "EPERM", "prlimit64": "EPERM", "read": "EIO", "readlink": "EACCES",
    "readlinkat": "EACCES", "recvmsg": "ENOBUFS", "rename": "EACCES", "rt_sigaction": "EINVAL",
    "rt_sigprocmask": "EINVAL", "sendmsg": "ENOBUFS", "sendto": "ENOBUFS", "setpgid": "EACCES", "setsockopt": "ENOBUFS",
    "signalfd4": "EMFILE", "socket": "EMFILE", "unlink": "EPERM", "wait4": "EINTR", "write": "ENOSPC",
}
CANNOT_FAIL = {
    "close": "the kernel frees the number whatever it says, while an injected failure leaves the file open",
    "brk": "says no failure but the old end; want of memory is mmap's to tell",
    "exit_group": "has no result",
    "getpid": "has no failure",
    "gettid": "has no failure",
    "getuid": "has no failure",
    "rt_sigprocmask": "has no failure for arguments that are right",
    "rt_sigreturn": "has no result: the interrupted code goes on",
}


def need_strace():
    """A failure and no skip: it is one of DEPS_CHECK in tests/lib/deps.sh."""
    if not shutil.which("strace"):
        raise AssertionError("strace is not installed, without it no call can be made to fail")


def injection(name, when):
    return f"inject={name}:error={ERRORS.get(name, 'ENOMEM')}:when={when}"


Fault = collections.namedtuple("Fault", "name nth backend")


class Life:
    """One life of a supervisor under strace, and what was wrong with it."""

    def __init__(self, house, words, backend):
        self.house, self.wrong, self.reached = house, [], []
        conf = {"mihomo": {"binary": STANDIN}, "log": {"level": "warn"}, "tproxy": {"backend": backend}}
        self.sup = Supervisor(house, conf=conf)
        # Elsewhere: the supervisor watches its own, and each line would wake it to make calls for more lines.
        self.dir = tempfile.mkdtemp(prefix="cs-trace-", dir="/tmp")
        self.trace = os.path.join(self.dir, "trace")
        self.sup.program = os.path.join(self.sup.dir, "traced")
        with open(self.sup.program, "w", encoding="ascii") as f:
            f.write(TRACED.format(program=PROGRAM, trace=self.trace, words=words))
        os.chmod(self.sup.program, 0o755)

    def ended(self):
        return self.sup.process.poll() is not None

    def wait(self, test, seconds):
        """Until test(status), its end, or the time is over; whether test() was true."""
        deadline = time.monotonic() + seconds * SLOW
        while time.monotonic() < deadline and not self.ended():
            status = self.sup.status()
            if status and test(status):
                return True
            time.sleep(0.05)
        return False

    def gets_through(self, what, seconds):
        """No client may be lost for longer than the lease."""
        deadline = time.monotonic() + seconds * SLOW
        for dst in (FAR4, FAR6):
            while (answer := self.house.ask("client", "tcp", dst, timeout=0.5)).via == "lost":
                if time.monotonic() > deadline:
                    self.wrong.append(f"{what}: lost, {answer.why}")
                    return
                time.sleep(0.05)

    def is_armed(self, test, what, before=0):
        """If not, a line behind this position in the log has said why. A machine that is busy gets more time."""
        armed = lambda s: s["state"] == "armed" and test(s)  # noqa: E731
        if self.wait(armed, 6) or (not self.sup.lines[before:] and self.wait(armed, 15)):
            self.reached.append(what)
            self.gets_through(what, 0.5)
            return True
        if not self.sup.lines[before:]:
            self.wrong.append(f"not {what}, and not a word about it; status: {self.sup.status()}")
        self.gets_through(f"not {what}", 3.5)
        return False

    def live(self):
        sup = self.sup
        sup.start()
        if self.is_armed(lambda s: True, "armed"):
            self.reexec()
            before, pid = sup.mark(), sup.kill_mihomo()
            self.gets_through("after the death", 3.5)
            self.is_armed(lambda s: s["mihomo"]["pid"] not in (None, pid), "armed again", before)
        if not self.ended():
            sup.process.send_signal(signal.SIGTERM)
        try:
            code = sup.wait_exit(10)
        except Exception:  # it does not end
            sup.kill()
            self.wrong.append("does not end")
            return
        if code < 0:
            self.wrong.append(f"killed by signal {-code}")
        if code > 0 and not sup.lines:
            self.wrong.append(f"ended with {code}, and not a word about it")

    def reexec(self):
        """It is done or refused; either way all goes on."""
        before = self.sup.mark()
        done = self.sup.ctl_done("reexec")
        if done.returncode > 1 and not self.wait(lambda s: True, 10):
            self.wrong.append(f"reexec: {done.returncode}, {done.stderr}, and no answer any more")
        self.is_armed(lambda s: True, "armed over a reexec", before)

    def hit(self):
        return injected(self.trace)

    def close(self):
        self.sup.end()
        shutil.rmtree(self.sup.dir, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def injected(path):
    """The calls that were made to fail."""
    with open(path, encoding="utf-8", errors="replace") as f:
        return [line.strip() for line in f if "INJECTED" in line]


def calls(path):
    """The numbers of the calls by name, but for those of the loader, from execve to main's second step."""
    counts, ours, begun = collections.Counter(), {}, False
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            name = re.match(r"[a-z0-9_]+(?=\()", line)
            if not name:
                continue
            begun = (begun or line.startswith("rt_sigaction(SIGCHLD")) and name[0] != "execve"
            counts[name[0]] += 1
            if begun or (name[0] == "execve" and ours):
                ours.setdefault(name[0], []).append(counts[name[0]])
    return {name: numbers for name, numbers in ours.items() if name not in CANNOT_FAIL}


def chosen(name, numbers, backend):
    """Rare calls are all chosen, of frequent ones the first, the last and some that stand ever further apart."""
    if CHOICE in ("all", name):
        return numbers
    if CHOICE or (backend == "nft" and name not in ("sendto", "recvmsg", "socket", "clone", "pipe2")):
        return ()
    some, step = {numbers[0], numbers[-1]}, 1
    while step < len(numbers):
        some.add(numbers[step])
        step *= 16
    return sorted(some)


class Faults(HouseCase):
    @classmethod
    def setUpClass(cls):
        need_strace()
        super().setUpClass()

    def plan(self, backend):
        """Which calls there are to fail."""
        life = Life(self.house, "", backend)
        try:
            life.live()
            self.assertEqual(life.wrong, [], life.sup.story())
            self.assertEqual(life.reached, ["armed", "armed over a reexec", "armed again"], life.sup.story())
            found = calls(life.trace)
        finally:
            life.close()
        return [Fault(name, nth, backend) for name, numbers in sorted(found.items())
                for nth in chosen(name, numbers, backend)]

    def one(self, fault):
        """None, or why it is wrong; and whether the call was made at all."""
        house = self.houses.pop()
        life = Life(house, f"-e trace={fault.name} -e {injection(fault.name, fault.nth)}", fault.backend)
        try:
            life.live()
            if left := house.pids("router"):
                time.sleep(0.3 * SLOW)
                left = house.pids("router")
            if left:
                life.wrong.append(f"processes {left} are left")
            now = house.snapshot()
            for what, lines in self.before[house].items():
                if now[what] != lines:
                    life.wrong.append(f"{what} has {[l for l in now[what] if l not in lines]}")
            hit = life.hit()
            if not life.wrong:
                return None, bool(hit)
            why = "; ".join(life.wrong)
            return f"{fault.name} {fault.nth} on {fault.backend}: {why}\n  {hit}\n{life.sup.story()}", bool(hit)
        finally:
            if life.wrong:  # the next case must not suffer for it
                for pid in house.pids("router"):
                    os.kill(pid, signal.SIGKILL)
                life.sup.program = PROGRAM
                life.sup.ctl_done("cleanup")
            life.close()
            self.houses.append(house)

    def test_every_call_fails_once(self):
        faults = [fault for backend in ("iptables", "nft") for fault in self.plan(backend)]
        self.houses = [self.house] + [self.enterContext(House()) for _ in range(WORKERS - 1)]
        self.before = {house: house.snapshot() for house in self.houses}
        hits, begun = 0, time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for why, hit in pool.map(self.one, faults):
                hits += hit
                if why:
                    with self.subTest(why.splitlines()[0]):
                        self.fail(why)
        took = time.monotonic() - begun
        names = len({fault.name for fault in faults})
        print(f"{len(faults)} faults in {names} system calls, {hits} met, {took:.0f} s", flush=True)
        self.assertGreater(hits, 0.8 * len(faults))


class ExecFaults(unittest.TestCase):
    """`exec` under strace, asked to end as soon as its command is up."""

    @classmethod
    def setUpClass(cls):
        need_strace()

    def setUp(self):
        directory = tempfile.mkdtemp(prefix="cs-faults-", dir="/tmp")
        self.addCleanup(shutil.rmtree, directory)
        self.trace = os.path.join(directory, "trace")

    def live(self, *words):
        """Its status and what it said; None for one that does not end, or leaves its command behind."""
        process = subprocess.Popen(
            ["strace", "-D", "-qq", "-e", "signal=none", "-o", self.trace, *words, PROGRAM, "exec", "-s", "--",
             "/bin/sh", "-c", "echo $$; exec sleep 60"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        with process:
            command = process.stdout.readline()  # "" = it could not be started
            time.sleep(0.02)  # at rest
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                return process.wait(10 * SLOW), process.communicate(timeout=10 * SLOW)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                if command:
                    os.kill(int(command), signal.SIGKILL)
                return None, process.communicate()[1]

    def test_every_call_fails_once(self):
        self.assertEqual(self.live(), (128 + signal.SIGTERM, ""))
        faults = [(name, nth) for name, numbers in sorted(calls(self.trace).items()) for nth in numbers]
        self.assertGreater(len(faults), 30)
        for name, nth in faults:
            with self.subTest(f"{name} {nth}"):
                code, said = self.live("-e", f"trace={name}", "-e", injection(name, nth))
                why = f"{injected(self.trace)}\n{said}"
                if code == CANNOT_RUN:
                    self.assertNotEqual(said, "", why)
                else:
                    self.assertEqual(code, 128 + signal.SIGTERM, why)

    def test_it_obeys_an_epoll_that_goes_on_refusing(self):
        for name in ("epoll_ctl", "epoll_wait"):
            for when in ("1..40", "2+2"):
                with self.subTest(f"{name} {when}"):
                    begun = time.monotonic()
                    code, said = self.live("-e", f"trace={name}", "-e", injection(name, when))
                    self.assertEqual(code, 128 + signal.SIGTERM, said)
                    self.assertNotEqual(injected(self.trace), [])
                    self.assertLessEqual(said.count("event loop"), 1 + time.monotonic() - begun, "once a second")


if __name__ == "__main__":
    unittest.main()
