#!/usr/bin/env python3
"""Measures how server addresses get into the set: how fast, how large, and what the supervisor's loop feels of it.

    extraction.py [--smoke] [--runs N]

Prints one table as bench.py does, and uses the same build. "Change" is the
rename of a file with proxies into Mihomo's home; "in the set" is what the
kernel's set counts, asked over netlink each 2 ms.
"""

import argparse
import mmap
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

from names import literal, name, question  # noqa: E402
from rows import BASELINE_TOP, BENCH, Baseline, Rows, memory, run_time  # noqa: E402
from house import BUILD, DNS, DNS4, PROGRAM, House, Supervisor, config  # noqa: E402

FILE = "nodes.yaml"
EMPTY = "proxies: []\n"
OWN = 1  # the relay of the config, always there
POLL = 0.002
NAMES4 = "45.45.45.54"  # of names.py


def mihomo_config(**kw):
    return config(log="warning", dns=DNS.replace(DNS4, NAMES4), **kw)


def nodes(server, count):
    entries = [f"  - {{name: n{n}, type: socks5, server: {server(n)}, port: 1080}}\n" for n in range(count)]
    return "proxies:\n" + "".join(entries)


# ---- looking on without being in the way ----


class SetCount:
    """How many elements a set of the router has: its header, without a process and without the elements."""

    ASK, DATA, ELEMENTS = 6 << 8 | 7, 7, 24  # IPSET_CMD_LIST and attributes of linux/netfilter/ipset/ip_set.h

    def __init__(self, house, name="clash_proxy_ips"):
        self.socket = house.socket("router", socket.AF_NETLINK, socket.SOCK_RAW, 12)
        attributes = self._pack(1, b"\x06") + self._pack(2, name.encode() + b"\0") + self._pack(6, b"\0\0\0\4")
        body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attributes
        self.ask = struct.pack("=IHHII", 16 + len(body), self.ASK, 0x301, 1, 0) + body

    @staticmethod
    def _pack(kind, value):
        return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)

    def _find(self, data, kind):
        while len(data) >= 4:
            length, found = struct.unpack_from("=HH", data)
            if found & 0x3FFF == kind:
                return data[4:length]
            data = data[(length + 3) & ~3 :]
        return b""

    def __call__(self):
        """None when there is no such set."""
        self.socket.send(self.ask)
        answer = self.socket.recv(65536)
        (kind,) = struct.unpack_from("=H", answer, 4)
        if kind != self.ASK:
            return None
        self.socket.recv(65536)  # the dump's end
        length = struct.unpack_from("=I", answer)[0]
        return struct.unpack("!I", self._find(self._find(answer[20:length], self.DATA), self.ELEMENTS))[0]

    def wait(self, count, timeout=120):
        deadline = time.monotonic() + timeout
        while (now := self()) != count:
            if time.monotonic() > deadline:
                raise AssertionError(f"the set holds {now} addresses instead of {count} after {timeout} s")
            time.sleep(POLL)
        return time.monotonic()


class Turns:
    """A clashsup whose loop's turns are measured by turns.c; `with Turns() as t: Supervisor(house, program=t.program)`."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        shim, self.file = os.path.join(self.dir, "turns.so"), os.path.join(self.dir, "turns")
        source = os.path.join(BENCH, "turns.c")
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", shim, source], check=True)
        with open(self.file, "wb") as f:
            f.write(bytes(32))
        with open(self.file, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 32)
        self.program = os.path.join(self.dir, "clashsup")
        with open(self.program, "w", encoding="utf-8") as f:
            f.write(
                "#!/bin/sh\n"
                f'[ "$3" = run ] && export LD_PRELOAD={shim} TURNS={self.file}\n'
                f'exec {PROGRAM} "$@"\n'
            )
        os.chmod(self.program, 0o755)
        return self

    def __exit__(self, *_):
        self.map.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def reset(self):
        self.map[:] = bytes(32)

    def read(self):
        """ms of the longest turns: on a CPU, by the clock but for waiting for a CPU, by the clock."""
        count, *longest = struct.unpack("=4Q", self.map[:])
        if not count:
            raise AssertionError("the loop does not call epoll_wait: its turns cannot be measured")
        return [ns / 1e6 for ns in longest]


class Asker(threading.Thread):
    """Asks for the status again and again over one connection; `longest` is the longest answer in ms."""

    def __init__(self, sup):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(sup.rundir, "control.sock"))
        self.longest, self.asked, self.over = 0, 0, False
        self.start()

    def run(self):
        while not self.over:
            begun = time.monotonic()
            self.socket.sendall(b'{"version":1,"cmd":"status"}\n')
            while not self.socket.recv(65536).endswith(b"\n"):
                pass
            self.longest = max(self.longest, (time.monotonic() - begun) * 1000)
            self.asked += 1
            time.sleep(0.0005)

    def end(self):
        self.over = True
        self.join()
        self.socket.close()
        return self.longest


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


class Peaks(threading.Thread):
    """The peak memory of the extractor's two processes in MiB, read each 5 ms: what grows later is missed."""

    def __init__(self, sup):
        super().__init__(daemon=True)
        self.pid = sup.process.pid
        self.peaks, self.over = {}, False
        self.start()

    def look(self):
        for helper in children(self.pid):
            with open(f"/proc/{helper}/cmdline", "rb") as f:
                if b"extract" not in f.read().split(b"\0"):
                    continue
            for role, pid in [("resolver", helper), *(("reader", p) for p in children(helper))]:
                self.peaks[role] = max(self.peaks.get(role, 0), memory(pid, "VmHWM"))

    def run(self):
        while not self.over:
            try:
                self.look()
            except (OSError, AttributeError):
                pass  # it has ended in between
            time.sleep(0.005)

    def end(self):
        self.over = True
        self.join()
        return self.peaks


# ---- what is measured ----


def settle(sup):
    """Nothing is under way any more."""
    sup.wait_status(lambda s: not s["extract"]["running"], "settled", 60)


def change(sup, text):
    """The file is replaced: when."""
    path = os.path.join(sup.home, FILE)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    at = time.monotonic()
    os.rename(path + ".new", path)
    return at


def fill(sup, held, text, count, then=lambda: None):
    """ms until `count` servers are in the set: since the change, and since the extraction began. Empties it again."""
    mark = sup.mark()
    changed = change(sup, text)
    full = held.wait(count + OWN)
    begun = sup.wait_log("Extracting proxy server IPs", after=mark).at
    settle(sup)
    then()
    change(sup, EMPTY)
    held.wait(OWN)
    settle(sup)
    return (full - changed) * 1000, (full - begun) * 1000


class Names:
    """The name server of names.py on the far side."""

    def __init__(self, house, delay_ms):
        self.house, self.delay_ms = house, delay_ms

    def __enter__(self):
        self.house.shell("inet", f"ip address replace {NAMES4}/24 dev eth0")
        script = os.path.join(BENCH, "names.py")
        self.process = self.house.popen("inet", sys.executable, script, NAMES4, str(self.delay_ms), stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the name server did not start")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def name_server(house, count, rows):
    """What asking costs the name server: the names below cannot come faster."""
    with Names(house, 0) as names, house.socket("router", socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        before, begun = run_time(names.process.pid), time.monotonic()
        for n in range(count + 64):
            if n < count:
                s.sendto(question(n, n), (NAMES4, 53))
            if n >= 64:  # so many are under way, as with the extractor
                s.recv(512)
        seconds = time.monotonic() - begun
        each = (run_time(names.process.pid) - before) / count / 1000
    rows.add("the name server used here, alone: CPU a question", [each], "us")
    rows.add("  questions a second from one plain client", [count / seconds], "/s")


def baseline_fill(house, text):
    with Baseline(house, mihomo_config(top=BASELINE_TOP), {FILE: text}, NAMES4) as base:
        done = base.wait("Updated ipset", 120)[0]
        return (done - base.wait("Extracting proxy server IPs")[0]) * 1000


def compare(house, runs, counts, server, what, rows):
    """Never both at once: they share the set's name."""
    ours = {}
    with Supervisor(house, mihomo_config(), files={FILE: EMPTY}) as sup:
        sup.wait_state("armed")
        held = SetCount(house)
        settle(sup)
        for count in counts:
            ours[count] = [fill(sup, held, nodes(server, count), count)[1] for _ in range(runs)]
    for count in counts:
        theirs = [baseline_fill(house, nodes(server, count)) for _ in range(max(1, runs // 3))]
        rows.add(f"{count:,} {what}: extraction's begin -> complete", ours[count], baseline=theirs)


def against_baseline(house, runs, counts, rows):
    with Names(house, 0):
        compare(house, runs, counts, literal, "literals", rows)
    for delay in (5, 20):
        with Names(house, delay):
            compare(house, runs, counts, name, f"names, {delay} ms", rows)


def sizes(house, runs, counts, rows):
    targets = {10000: "<= 200 ms", 100000: "<= 2500 ms"}
    took = {}
    with Supervisor(house, mihomo_config(), files={FILE: EMPTY}) as sup:
        sup.wait_state("armed")
        held = SetCount(house)
        settle(sup)
        for count in counts:
            both = [fill(sup, held, nodes(literal, count), count) for _ in range(runs)]
            took[count] = [b[1] for b in both]
            rows.add(f"{count:,} literals: change -> in the set", [b[0] for b in both], target=targets.get(count, ""))
            rows.add("  since the extraction's begin", took[count])
    linear(took, rows)


def linear(took, rows):
    """A run costs something of itself; what a node more costs must not grow."""
    counts, before = list(took), None
    for few, many in zip(counts, counts[1:]):
        more = [statistics.median(took[n]) for n in (few, many)]
        slope = (more[1] - more[0]) * 1000 / (many - few)
        rows.add(f"a node more, {few:,} -> {many:,}", [slope], "us", before and [before], "no more than before" if before else "")
        before = slope


def loop(house, runs, count, rows):
    """The turns of the supervisor's loop, and the answers of its socket, while many nodes come and go for the first
    time: then the kernel's set grows too, within one call that cannot be cut."""
    text = nodes(literal, count)
    seen = [come_and_go(house, text, count) for _ in range(runs)]
    what = f"{count:,} literals come and go"
    for key, title, unit, target in (
        ("cpu", f"{what}: the loop's longest turn, CPU", "ms", "<= 10 ms"),
        ("own", "  by the clock, but for waiting for a CPU", "ms", "<= 10 ms"),
        ("wall", "  by the clock", "ms", ""),
        ("answer", "  the longest answer to status", "ms", ""),
        ("idle", "  the same within a second in which nothing comes", "ms", ""),
        ("ips", "  the longest turn while clashsup ips lists them, but for waiting", "ms", "<= 10 ms"),
        ("reader", "  peak memory of the reader", "MiB", "< 64 MiB"),
        ("resolver", "  peak memory of the resolver", "MiB", "< 64 MiB"),
        ("supervisor", "  peak memory of the supervisor", "MiB", ""),
        ("behind", "  its memory behind it", "MiB", ""),
    ):
        rows.add(title, [s[key] for s in seen], unit, target=target)


def come_and_go(house, text, count):
    with Turns() as turns, Supervisor(house, mihomo_config(), program=turns.program, files={FILE: EMPTY}) as sup:
        sup.wait_state("armed")
        held, seen = SetCount(house), {}
        settle(sup)
        asker = Asker(sup)
        time.sleep(1)
        seen["idle"] = asker.end()
        turns.reset()
        asker, peaks = Asker(sup), Peaks(sup)

        def list_them():
            seen["come"] = turns.read()
            turns.reset()
            if len(sup.ctl("ips").split()) != count + OWN:
                raise AssertionError("clashsup ips does not list what is in the set")
            seen["ips"] = turns.read()[1]
            turns.reset()

        fill(sup, held, text, count, list_them)
        seen["answer"] = asker.end()
        seen.update(peaks.end())
        seen["cpu"], seen["own"], seen["wall"] = map(max, seen["come"], turns.read())
        seen["supervisor"], seen["behind"] = memory(sup.process.pid, "VmHWM"), memory(sup.process.pid)
        return seen


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--smoke", action="store_true", help="one short run of everything")
    args.add_argument("--runs", type=int, default=5)
    args = args.parse_args()
    runs = 1 if args.smoke else args.runs
    rows = Rows()
    load = os.getloadavg()[0]
    print(f"build {BUILD}, {runs} runs, {os.cpu_count()} CPUs, load {load:.1f}, Linux {os.uname().release}", flush=True)
    with House() as house:
        name_server(house, 500 if args.smoke else 10000, rows)
        against_baseline(house, runs, [20] if args.smoke else [20, 100, 1000], rows)
        sizes(house, runs, [1000, 10000] if args.smoke else [1000, 10000, 100000], rows)
        loop(house, runs, 10000 if args.smoke else 100000, rows)
    rows.show()


if __name__ == "__main__":
    main()
