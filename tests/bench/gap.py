#!/usr/bin/env python3
"""The packet-gap meter: what a house loses while clashsup works on its rules.

    gap.py [--smoke] [--runs N] [BACKEND...]

A client (gap.c) opens a TCP connection, sends a UDP datagram and speaks on a
living flow each millisecond, IPv4 and IPv6 in turn, through the real Mihomo;
the far server tells direct from proxied. Where Mihomo loses some although nothing
changes, the machine is too busy for this, and the tick is made longer until
none is lost. A table for each backend:

  sent     probes in all runs of the phase: connections, datagrams, messages
  lost     no answer within a second, or refused: connections + datagrams from
           fresh ports + messages of flows
  leaked   direct although nothing had gone but the rules were at work; in
           `arm` fresh ones only, from the log line that says so on
  looped   packets of Mihomo itself that our rules marked, and connections
           that Mihomo has from its own machine

`reexec` is 20 of them in a row. `steady` is the meter's honesty: nothing changes there. Mihomo itself loses about
one in a thousand first datagrams, whichever rules bring them to it (conntrack
has them, Mihomo's log has not): judge datagrams beside those of `steady`. In
`crash` and `both killed` the times stand in the note, all from the SIGKILL on,
medians: the first direct packet beside the kernel's own notice of the death (a
pidfd), the flow's FIN, and the last packet that was lost.
Judges nothing (exit 0 when all could be measured); targets stand beside.
"""

import argparse
import os
import re
import select
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from rows import present  # noqa: E402 (finds tests/lib)
from house import BUILD, FAR4, FAR6, PROGRAM, ROUTER4, ROUTER6, House, Supervisor, config, wait_for  # noqa: E402

GAP = os.path.join(BUILD, "tests", "gap")
PORT = 7100
BEFORE, AFTER = 0.3, 0.4  # seconds of every phase around what happens
FRESH = (30000, 60000)  # source ports of the datagrams; all other sockets take lower ones
REEXECS = 20  # in a row: Mihomo keeps what each fresh datagram cost it for a minute
ALONE = 3  # datagrams that Mihomo may lose in a second of nothing
TICKS_US = (1000, 2000, 4000, 8000, 16000)
LOOPS = """table inet gapmeter {
	counter looped { }
	chain output {
		type filter hook output priority -100;
		meta skgid 7893 meta mark 0x1 ct direction original counter name looped
	}
}
"""
OWN = {ROUTER4, ROUTER6, "10.66.0.1", "fd66::1", "44.44.44.1", "2a0f:4444::1", "127.0.0.1", "::1"}
PHASES = ("steady", "re-arm", "set update", "reexec", "disarm", "arm", "crash", "recovery", "both killed")
TARGETS = {
    "steady": "0 lost, but for datagrams", "re-arm": "0 lost, 0 leaked", "set update": "0 lost, 0 leaked",
    "reexec": "0 lost, 0 leaked",
    "crash": "no loss after the kernel's notice", "both killed": "direct <= 3200 ms; nft at once",
}


def nodes(count):
    lines = [f"  - {{name: n{n}, type: socks5, server: 45.60.{n // 250}.{n % 250 + 1}, port: 1080}}" for n in range(count)]
    return "proxies:\n" + "\n".join(lines) + "\n", {f"45.60.{n // 250}.{n % 250 + 1}" for n in range(count)}


class Probe:
    __slots__ = ("sent", "kind", "family", "result", "end")

    def __init__(self, line):
        sent, self.kind, self.family, self.result, end = line.split()
        self.sent, self.end = int(sent) / 1e6, int(end) / 1e6

    @property
    def fresh(self):
        return self.kind in "tu"

    @property
    def lost(self):
        return self.result in "lr"


class Meter:
    """The client, from `with` on; probes holds what it saw when that is over."""

    port = FRESH[0]
    tick_us = None  # until it is known what this machine can carry

    def __init__(self, house):
        self.house = house

    def __enter__(self):
        self.process = self.house.popen(
            "client", GAP, "probe", str(PORT), FAR4, FAR6, str(Meter.port), str(Meter.tick_us),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self.process.stdout.readline() != b"ready\n":
            raise AssertionError("the client did not start")
        time.sleep(BEFORE)
        return self

    def __exit__(self, kind, *_):
        if not kind:
            time.sleep(AFTER)
        text = self.process.communicate()[0].decode().splitlines()
        if not kind:
            self.slept = int(text[-1].split()[1])
            every = [Probe(line) for line in text[:-1]]
            self.ends = [p.sent for p in every if p.result == "e"]
            self.probes = [p for p in every if p.result != "e"]
            Meter.port += sum(p.kind == "u" for p in self.probes) // 2 + 1
            if Meter.port > FRESH[1]:  # after more than a minute: nobody remembers the first ones
                Meter.port = FRESH[0]

    def lost(self, kinds):
        return sum(p.lost and p.kind in kinds for p in self.probes)


class Looped:
    """The packets that came round, counted by the kernel."""

    def __init__(self, house):
        self.house = house
        house.shell("router", f"nft -f - <<'END'\n{LOOPS}END")
        self.last = 0

    def more(self):
        text = self.house.run("router", "nft", "list", "counter", "inet", "gapmeter", "looped")
        now = int(re.search(r"packets (\d+)", text).group(1))
        more, self.last = now - self.last, now
        return more


class Tally:
    """One phase of one backend, over all runs."""

    def __init__(self):
        self.sent = self.leaked = self.looped = self.slept = 0
        self.lost, self.ms, self.notes = [0, 0, 0], {}, set()

    def add(self, meter, leaked, looped):
        self.sent += len(meter.probes)
        for i, kinds in enumerate(("t", "u", "TU")):
            self.lost[i] += meter.lost(kinds)
        self.leaked = None if leaked is None else self.leaked + leaked
        self.looped += looped
        self.slept += meter.slept

    def time(self, what, ms):
        self.ms.setdefault(what, []).append(ms)

    def note(self):
        times = [f"{what} {statistics.median(ms):.1f}" for what, ms in self.ms.items()]
        slept = [f"{self.slept} ticks slept through"] if self.slept else []
        return ", ".join(times + sorted(self.notes) + slept)


class Life:
    """One life of a supervisor, through all phases."""

    def __init__(self, house, backend, tallies, looped):
        self.house, self.backend, self.tallies, self.looped = house, backend, tallies, looped
        text = config(rules=["MATCH,DIRECT"], log="warning", providers=["nodes: {type: file, path: ./nodes.yaml}"])
        self.few, self.few_addresses = nodes(1)
        self.sup = Supervisor(house, text, backend.conf, files={"nodes.yaml": self.few})

    def run(self):
        with self.sup:
            self.sup.wait_state("armed")
            self.sup.wait_members(self.few_addresses | {"45.45.45.8"})
            self.looped.more()
            for phase in (self.steady, self.rearm, self.update, self.reexec, self.disarm, self.arm, self.crash, self.recovery):
                phase()
            self.both_killed()
        self.house.run("router", PROGRAM, "-c", self.sup.conf_file, "cleanup", check=False)

    def tally(self, phase, meter, leaked):
        self.tallies[phase].add(meter, leaked, self.looped.more())
        return self.tallies[phase]

    def calibrate(self):
        """The shortest tick at which nothing is lost while nothing changes."""
        with self.sup:
            self.sup.wait_state("armed")
            for Meter.tick_us in TICKS_US:
                with Meter(self.house) as meter:
                    time.sleep(1)
                if not meter.lost("tTU") and meter.lost("u") <= ALONE and not meter.slept:
                    return

    def steady(self):
        with Meter(self.house) as meter:
            time.sleep(0.5)
        self.tally("steady", meter, directs(meter))

    def rearm(self):
        with Meter(self.house) as meter:
            repaired = tamper(self.house, self.backend)
        tally = self.tally("re-arm", meter, directs(meter))
        if repaired is None:
            tally.notes.add("not applied again within 3 s: this build does not repair")
        else:
            tally.time("ms to the repair", repaired * 1000)

    def update(self):
        many, addresses = nodes(300)
        with Meter(self.house) as meter:
            begun = time.monotonic()
            self.sup.write("nodes.yaml", many)
            self.sup.wait_members(addresses | {"45.45.45.8"})
            self.sup.write("nodes.yaml", self.few)
            self.sup.wait_members(self.few_addresses | {"45.45.45.8"})
            took = time.monotonic() - begun
        self.tally("set update", meter, directs(meter)).time("ms for 299 in and out", took * 1000)

    def reexec(self):
        pid = self.sup.mihomo_pid
        with Meter(self.house) as meter:
            begun = time.monotonic()
            for _ in range(REEXECS):
                self.sup.ctl("reexec")
            took = time.monotonic() - begun
        tally = self.tally("reexec", meter, directs(meter))
        tally.time(f"ms for each of {REEXECS}", took * 1000 / REEXECS)
        if self.sup.mihomo_pid != pid:
            tally.notes.add("Mihomo is another one")

    def disarm(self):
        with Meter(self.house) as meter:
            self.sup.ctl("off")
            self.sup.wait_status(lambda s: s["net"] == "direct", "direct")
        self.tally("disarm", meter, None)

    def arm(self):
        mark = self.sup.mark()
        with Meter(self.house) as meter:
            self.sup.ctl("on")
            at = self.sup.wait_log(r"TProxy (re)?applied successfully", after=mark).at
        # A living flow that began direct stays so: that is no leak.
        leaked = sum(p.result == "d" and p.fresh and p.sent > at for p in meter.probes)
        self.tally("arm", meter, leaked)

    def round_trips(self):
        """Connections that Mihomo has from this machine, which sends nothing of its own here."""
        _, text = self.sup.api("GET", "/connections")
        return sum(source in OWN for source in re.findall(r'"sourceIP":"([^"]+)"', text))

    def crash(self):
        looped = self.round_trips()
        pid = self.sup.mihomo_pid
        self.sup.take_mihomo_away()
        with Meter(self.house) as meter:
            notice = kill_and_wait(pid)
        tally = self.tally("crash", meter, None)
        tally.looped += looped
        after_death(tally, meter, *notice)
        tally.time("packets lost after the pidfd", sum(p.lost and p.sent > notice[1] for p in meter.probes))

    def recovery(self):
        mark = self.sup.mark()
        with Meter(self.house) as meter:
            self.sup.bring_mihomo_back()
            at = self.sup.wait_log(r"TProxy (re)?applied successfully", after=mark, timeout=20).at
        leaked = sum(p.result == "d" and p.fresh and p.sent > at for p in meter.probes)
        self.tally("recovery", meter, leaked)

    def both_killed(self):
        pid = self.sup.mihomo_pid
        with Meter(self.house) as meter:
            notice = kill_and_wait(pid, self.sup.process)
            time.sleep(3.4)
        after_death(self.tally("both killed", meter, None), meter, *notice)


def directs(meter):
    return sum(p.result == "d" for p in meter.probes)


def tamper(house, backend):
    """Takes out a rule that none of the probes needs; seconds until all is as it was, or None."""
    listing = lambda: rules_of(house, backend)  # noqa: E731
    before = listing()
    wanted = re.compile(r"MULTICAST| daddr (224\.0\.0\.0/4|ff00::/8) ")  # iptables' words, nft's
    lost = [line for line in before if wanted.search(line) and not line.startswith(("table", "set", "chain"))]
    if not lost:
        raise AssertionError(f"no rule about multicast among the {len(before)} of {backend}")
    if backend.program:
        for tool, chain, text in (line.split(" ", 2) for line in lost):
            house.shell("router", f"{tool} -w -t mangle -D {chain} {text}")
    else:
        chain, handle = re.search(r"^(\S+) .*# handle (\d+)", lost[0]).groups()
        house.run("router", "nft", "delete", "rule", "inet", "clashsup", chain, "handle", handle)
    plain = [re.sub(r" # handle \d+", "", line) for line in before]
    try:
        return wait_for(lambda: [re.sub(r" # handle \d+", "", line) for line in listing()] == plain, "repair", 3)
    except AssertionError:
        return None


def rules_of(house, backend):
    """Our rules as lines: of iptables "TOOL CHAIN RULE", of nft "CHAIN RULE # handle N"."""
    if backend.program:
        return [
            f"{tool} {line[3:]}"
            for tool in ("iptables", "ip6tables")
            for line in house.run("router", tool, "-w", "-t", "mangle", "-S").splitlines()
            if line.startswith("-A CLASH_")
        ]
    lines, chain = [], None
    for line in house.run("router", "nft", "-a", "list", "table", "inet", "clashsup").splitlines():
        if found := re.match(r"\s+chain (\S+) {", line):
            chain = found.group(1)
        elif chain and "# handle" in line:
            lines.append(f"{chain} {line.strip()}")
        elif line.strip() == "}":
            chain = None
    return lines


def kill_and_wait(pid, supervisor=None):
    """SIGKILL; when it was sent, and when the kernel said that Mihomo is gone."""
    fd = os.pidfd_open(pid)
    try:
        killed = time.monotonic()
        if supervisor:
            supervisor.kill()
        os.kill(pid, 9)
        select.select([fd], [], [], 10)
        noticed = time.monotonic()
    finally:
        os.close(fd)
    if supervisor:
        supervisor.wait()
    return killed, noticed


def after_death(tally, meter, killed, noticed):
    fresh = [p for p in meter.probes if p.fresh and p.sent > killed]
    first = min((p.sent for p in fresh if p.result == "d"), default=None)
    last = max((p.sent for p in fresh if p.lost), default=killed)
    fins = [at for at in meter.ends if at > killed]
    if first is None:
        raise AssertionError("no packet went direct after the death")
    tally.time("ms: first direct", (first - killed) * 1000)
    tally.time("pidfd", (noticed - killed) * 1000)
    if fins:
        tally.time("FIN of a flow", (fins[0] - killed) * 1000)
    tally.time("last lost", (last - killed) * 1000)


def show(backend, tallies):
    print(f"{backend}, a tick each {Meter.tick_us / 1000:g} ms", flush=True)
    head = ("phase", "sent", "lost", "leaked", "looped", "target", "note")
    lines = [head]
    for phase in PHASES:
        t = tallies[phase]
        leaked = "" if t.leaked is None else t.leaked
        lines.append((phase, t.sent, " + ".join(map(str, t.lost)), leaked, t.looped, TARGETS.get(phase, ""), t.note()))
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip(), flush=True)


def prepare(house):
    """Room for a thousand sockets a second on both sides of Mihomo."""
    house.shell("client", "cd /proc/sys/net/ipv4; echo 10000 29999 >ip_local_port_range; echo 1 >tcp_tw_reuse")
    house.shell("router", "cd /proc/sys/net/ipv4; echo 10000 65535 >ip_local_port_range; echo 1 >tcp_tw_reuse")


def measure(backend, runs):
    tallies = {phase: Tally() for phase in PHASES}
    with backend, House() as house:
        prepare(house)
        looped = Looped(house)
        server = house.popen("inet", GAP, "serve", str(PORT), FAR4, FAR6, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if server.stdout.readline() != b"ready\n":
            raise AssertionError("the far server did not start")
        if not Meter.tick_us:
            Life(house, backend, tallies, looped).calibrate()
        for _ in range(runs):
            Life(house, backend, tallies, looped).run()
        server.communicate()
    show(backend, tallies)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--smoke", action="store_true", help="one run of everything")
    args.add_argument("--runs", type=int, default=5)
    args.add_argument("backends", nargs="*")
    args = args.parse_args()
    print(f"build {BUILD}, {os.cpu_count()} CPUs, Linux {os.uname().release}", flush=True)
    for backend in present(args.backends):
        measure(backend, 1 if args.smoke else args.runs)


if __name__ == "__main__":
    main()
