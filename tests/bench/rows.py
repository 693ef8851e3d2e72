"""What the benchmarks share: the table, the plain watcher beside us, and what a process costs."""

import os
import re
import statistics
import subprocess
import sys
import threading
import time

BENCH = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(BENCH), "lib"))
sys.dont_write_bytecode = True

from backends import ALL  # noqa: E402
from house import MIHOMO, wait_for  # noqa: E402

# What seed_baseline.py needs at the top of Mihomo's config.
BASELINE_TOP = ["tproxy-port: 7893", "allow-lan: true", "external-controller: 127.0.0.1:9090"]


def present(names):
    """The backends of these names, or all, that can work here; of the others it says why not."""
    for backend in ALL:
        if names and backend.name not in names:
            continue
        if why := backend.missing():
            print(f"{backend}: {why}", flush=True)
        else:
            yield backend


class Rows:
    def __init__(self):
        self.rows = []

    def add(self, what, values, unit="ms", baseline=None, target=""):
        ours = statistics.median(values)
        spread = f"{min(values):.2f} .. {max(values):.2f}" if len(values) > 1 else ""
        theirs = statistics.median(baseline) if baseline else None
        self.rows.append(
            (
                what, f"{ours:.2f} {unit}", spread, f"{theirs:.2f} {unit}" if theirs is not None else "",
                f"{theirs / ours:.1f} x" if theirs is not None and ours > 0 else "", target,
            )
        )

    def show(self):
        head = ("what", "clashsup", "min .. max", "compared with", "ratio", "target")
        widths = [max(len(str(row[i])) for row in [head, *self.rows]) for i in range(len(head))]
        for row in [head, *self.rows]:
            print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip(), flush=True)


class Baseline:
    """seed_baseline.py in the router, its lines with their times. resolver: whom it asks for names."""

    def __init__(self, house, text, files=None, resolver=None):
        self.house = house
        self.home = os.path.join(house.dir, f"baseline-{time.monotonic_ns()}")
        os.mkdir(self.home)
        for name, body in {"config.yaml": text, **(files or {})}.items():
            self._write(name, body)
        self.command = [sys.executable, os.path.join(BENCH, "seed_baseline.py"), MIHOMO, self.home]
        if resolver:  # for it alone: in a mount namespace of its own
            path = self._write("resolv.conf", f"nameserver {resolver}\n")
            mount = f'mount --bind {path} /etc/resolv.conf && exec "$@"'
            self.command = ["unshare", "-m", "sh", "-c", mount, "sh", *self.command]

    def _write(self, name, body):
        path = os.path.join(self.home, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(body)
        return path

    def __enter__(self):
        self.lines = []
        self.process = self.house.popen("router", *self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.pid = int(self.wait(r"^mihomo (\d+)")[1].group(1))
        return self

    def _read(self):
        for raw in self.process.stdout:
            self.lines.append((time.monotonic(), raw.decode()))

    def wait(self, pattern, timeout=60):
        found = []

        def look():
            found[:] = [(at, m) for at, text in self.lines if (m := re.search(pattern, text))]
            return found

        wait_for(look, pattern, timeout)
        return found[0]

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def memory(pid, field="VmRSS"):
    """MiB of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(re.search(rf"{field}:\s*(\d+)", f.read()).group(1)) / 1024


def run_time(pid):
    """Nanoseconds on a CPU, all threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as f:
            total += int(f.read().split()[0])
    return total
