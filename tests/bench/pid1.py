#!/usr/bin/env python3
"""clashsup as an init and a supervisor, beside those of Debian.

    pid1.py [--smoke] [--runs N]

  orphans      5,000 of them die at once under PID 1: until all are reaped
  answers      meanwhile `clashsup run` answers `status`, asked again and again; beside it a
               process that does nothing else answers, which shows what the machine allows
  restart      SIGKILL of a child that lived so long: until the next one is in its main
  start        the init's own start to the command's main
  size         of `clashsup exec` with a sleeping command: RSS and what is its own
  wake-ups     of the same in 30 s

Medians; a ratio below 1 in the last column but one means that the others take
longer. Judges nothing: exit 0 when all could be measured, each a finite
number. --smoke asks for the other inits, too.
"""

import argparse
import math
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

from rows import Rows  # noqa: E402 (finds tests/lib)
from house import BUILD, PROGRAM, House, Supervisor, wait_for  # noqa: E402

# orphans N [quiet]: forks N orphans that wait for a gate, opens it, and says how many ms it took until all are gone.
# Without an argument: a life. It writes its pid and when its main began (CLOCK_MONOTONIC, as Python's), and waits;
# as a core it writes to a FIFO beside itself, and `-t` is good.
PROGRAM_C = r"""
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int processes(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	int n = 0;

	while ((d = readdir(dir)))
		n += d->d_name[0] > '0' && d->d_name[0] <= '9';
	closedir(dir);
	return n;
}

static void fork_orphans(int n, const int gate[2])
{
	char byte;

	close(gate[1]);
	for (int i = 0; i < n; i++) {
		if (fork() == 0) {
			(void)!read(gate[0], &byte, 1);
			_exit(0);
		}
	}
	_exit(0);
}

static int orphans(int n, int quiet)
{
	int gate[2], before = processes();
	double begun;

	(void)!pipe(gate);
	if (fork() == 0)
		fork_orphans(n, gate);
	wait(NULL);
	close(gate[0]);
	begun = now();
	close(gate[1]);
	while (!quiet && processes() > before)
		usleep(200);
	printf("%f\n", (now() - begun) * 1000);
	return 0;
}

int main(int argc, char **argv)
{
	char path[4096];
	double began = now();
	int fd = 1;

	if (argc > 2 && strcmp(argv[1], "orphans") == 0)
		return orphans(atoi(argv[2]), argc > 3);
	if (argc > 1 && strcmp(argv[1], "-t") == 0)
		return 0;
	snprintf(path, sizeof(path), "%s.fifo", argv[0]);
	if (argc > 1)
		fd = open(path, O_WRONLY);
	dprintf(fd, "%d %.9f\n", (int)getpid(), began);
	pause();
}
"""
INITS = (("tini", ["tini", "-s", "--"]), ("dumb-init", ["dumb-init", "--"]))


def present():
    """The other inits that are installed; says which are not."""
    for name, argv in INITS:
        if shutil.which(argv[0]):
            yield name, argv
        else:
            print(f"{name} is not installed", flush=True)


def orphans(init, stamp, n):
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *init, stamp, "orphans", str(n)],
        capture_output=True, text=True, timeout=120,
    )
    return float(done.stdout)


def compile_stamp(directory):
    source, program = os.path.join(directory, "stamp.c"), os.path.join(directory, "stamp")
    with open(source, "w", encoding="ascii") as f:
        f.write(PROGRAM_C)
    subprocess.run(["cc", "-O2", "-static", "-o", program, source], check=True)
    os.mkfifo(program + ".fifo")
    return program


def read_stamp(fd, timeout=20):
    """(pid, time) of the next life."""
    text = b""
    while not text.endswith(b"\n"):
        if not select.select([fd], [], [], timeout)[0]:
            raise AssertionError("no further life")
        text += os.read(fd, 1)
    pid, at = text.split()
    return int(pid), float(at)


def start_of(init, stamp):
    begun = time.monotonic()
    with subprocess.Popen([*init, stamp], stdout=subprocess.PIPE) as process:
        pid, at = read_stamp(process.stdout.fileno())
        os.kill(pid, signal.SIGKILL)
        process.wait()
    return (at - begun) * 1000


def lives(fd, ages):
    """For each age: how long after its SIGKILL the next life began, in ms."""
    pid, at = read_stamp(fd)
    for age in ages:
        time.sleep(max(0, at + age - time.monotonic()))
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        pid, at = read_stamp(fd)
        yield (at - killed) * 1000


def under_runit(directory, stamp, age):
    service = os.path.join(directory, "runit")
    os.makedirs(service, exist_ok=True)
    return under(directory, stamp, age, service, ["runsv", service])


def under_s6(directory, stamp, age):
    service = os.path.join(directory, "s6")
    os.makedirs(service, exist_ok=True)
    return under(directory, stamp, age, service, ["s6-supervise", service])


def under(directory, stamp, age, service, argv):
    """A service directory's run executes the stamp; its supervisor's stdout is ours."""
    with open(os.path.join(service, "run"), "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\nexec {stamp}\n")
    os.chmod(f.name, 0o755)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=directory) as process:
        try:
            (took,) = lives(process.stdout.fileno(), [age])
        finally:
            process.terminate()
            subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
            process.kill()
    return took


def under_clashsup(house, stamp, age):
    """The first death of a supervisor's life."""
    sup = Supervisor(house, conf={"mihomo": {"binary": stamp}})
    fd = os.open(stamp + ".fifo", os.O_RDWR)
    try:
        with sup:
            (took,) = lives(fd, [age])
    finally:
        os.close(fd)
    return took


def size_and_wakeups(seconds):
    with subprocess.Popen([PROGRAM, "exec", "-s", "--", "sleep", "1000"]) as process:
        time.sleep(0.5)
        with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as f:
            kib = {line.split(":")[0]: int(line.split()[1]) for line in f if line.rstrip().endswith("kB")}
        before = switches(process.pid)
        time.sleep(seconds)
        woken = switches(process.pid) - before
        process.terminate()
    return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024, woken


def switches(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)


def answers_meanwhile(stamp, n):
    """`clashsup run` is the subreaper of n orphans that die at once; ms of its slowest answer, and how many there were."""
    with House() as house:
        # As PID 1 of its own namespace, where orphans come to it.
        sup = Supervisor(house, write_config=False)
        wrapper = os.path.join(sup.dir, "pid1")
        with open(wrapper, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nexec unshare --pid --fork --kill-child --mount-proc -- {PROGRAM} "$@"\n')
        os.chmod(wrapper, 0o755)
        sup.program = wrapper
        with sup:
            sup.program = PROGRAM
            wait_for(lambda: sup.status(), 10)
            (inner,) = children(sup.process.pid)
            with Echo(sup.dir) as echo:
                return [
                    worst_during(inner, stamp, n, path) for path in (os.path.join(sup.rundir, "control.sock"), echo.path)
                ]


class Echo:
    """Anybody beside us: a process that answers as much as `status` does, and does nothing else."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "echo.sock")

    def __enter__(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        self.pid = os.fork()
        if not self.pid:
            while True:
                with listener.accept()[0] as client:
                    client.recv(4096)
                    client.sendall(b"x" * 3000 + b"\n")
        listener.close()
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def worst_during(inner, stamp, n, path):
    """ms of the slowest answer at a socket while n orphans die, and how many there were."""
    burst = subprocess.Popen(
        ["nsenter", "-t", str(inner), "-p", "--", stamp, "orphans", str(n), "quiet"], stdout=subprocess.DEVNULL
    )
    took = []
    while burst.poll() is None or len(took) < 20:
        took.append(ask(path))
    took += [ask(path) for _ in range(200)]
    return max(took), len(took)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


def ask(path):
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b'{"version":1,"cmd":"status"}\n')
        while not s.recv(65536).endswith(b"\n"):
            pass
    return (time.monotonic() - begun) * 1000


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--smoke", action="store_true", help="one short run of everything")
    args.add_argument("--runs", type=int, default=10)
    args = args.parse_args()
    runs, n, seconds, ages = (1, 300, 1, (0.05,)) if args.smoke else (args.runs, 5000, 30, (0.01, 0.1, 0.5, 1.5))
    ours, rows = [PROGRAM, "exec", "--"], Rows()
    others = list(present())
    print(f"build {BUILD}, {os.cpu_count()} CPUs, Linux {os.uname().release}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as directory:
        stamp = compile_stamp(directory)
        rounds = [{name: orphans(argv, stamp, n) for name, argv in [("ours", ours), *others]} for _ in range(runs)]
        for name, _ in others:
            rows.add(f"{n} orphans reaped, {name}", [r["ours"] for r in rounds], baseline=[r[name] for r in rounds],
                     target="<= 1.3 x the best")
        worst = [answers_meanwhile(stamp, n) for _ in range(1 if args.smoke else 3)]
        rows.add(f"slowest of {worst[0][0][1]} answers meanwhile, echo", [w for (w, _), _ in worst],
                 baseline=[w for _, (w, _) in worst], target="<= 50 ms")
        with House() as house:
            for age in ages:
                mine = [under_clashsup(house, stamp, age) for _ in range(runs)]
                theirs = {name: [how(directory, stamp, age) for _ in range(min(runs, 3))]
                          for name, how in (("runit", under_runit), ("s6", under_s6))}
                for name, took in theirs.items():
                    target = "<= 3 ms" + (", 100 x" if age < 1 else "")
                    rows.add(f"restart after {age} s, {name}", mine, baseline=took, target=target)
        starts = {name: [start_of(argv, stamp) for _ in range(runs * 3)]
                  for name, argv in [("ours", [PROGRAM, "exec", "-s", "--"]), *others]}
        for name, _ in others:
            rows.add(f"start to the command's main, {name}", starts["ours"], baseline=starts[name], target="tini + 3 ms")
    rss, own, woken = size_and_wakeups(seconds)
    rows.add("RSS of exec", [rss], unit="MiB", target="<= 3 MiB")
    rows.add("of it its own", [own], unit="MiB", target="<= 1 MiB")
    rows.add(f"wake-ups in {seconds} s", [woken], unit="", target="0")
    rows.show()
    measured = [rss, own, woken, *(w for pair in worst for w, _ in pair), *(v for r in rounds for v in r.values()),
                *(v for took in starts.values() for v in took)]
    assert all(math.isfinite(v) and v >= 0 for v in measured), measured
    assert not args.smoke or len(others) == len(INITS), "another init is not installed"


if __name__ == "__main__":
    main()
