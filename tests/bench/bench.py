#!/usr/bin/env python3
"""Measures clashsup beside the plain watcher of seed_baseline.py.

    bench.py [--smoke] [--runs N]

Prints one table: medians of N runs in one sandbox on one machine, ratios, and
the targets. Judges nothing (exit 0 when all could be measured). Uses the build
in CLASHSUP_BUILD_DIR; measure an optimised one:

    cmake --preset release && cmake --build --preset release
    sudo CLASHSUP_BUILD_DIR=build-release tests/bench/bench.py
"""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True

from rows import BASELINE_TOP, Baseline, Rows, memory, run_time  # noqa: E402
from house import BUILD, OTHER4, FirstDirect, House, Supervisor, config  # noqa: E402

# Many connections go straight through Mihomo to .3; the probes go to .2 over the proxy on .8.
CONFIG = dict(rules=[f"IP-CIDR,{OTHER4}/32,DIRECT", "MATCH,relay"], log="warning")


def mihomo_config(**kw):
    return config(**CONFIG, **kw)


def thousand():
    return "proxies:\n" + "".join(
        f"  - {{name: n{n}, type: socks5, server: 45.50.{n // 250}.{n % 250 + 1}, port: 1080}}\n" for n in range(1000)
    )


PROVIDER = dict(providers=["nodes: {type: file, path: ./nodes.yaml}"])


# ---- what is measured ----


def ready_to_armed(house, runs, rows):
    ours, started, theirs, theirs_started = [], [], [], []
    for _ in range(runs):
        with Supervisor(house, mihomo_config()) as sup:
            applied = sup.wait_log("TProxy applied successfully")
            ours.append(sup.wait_state("armed")["tproxy"]["armed_in_ms"])
            started.append((applied.at - sup.started_at) * 1000)
    for _ in range(max(1, runs // 3)):
        begun = time.monotonic()
        with Baseline(house, mihomo_config(top=BASELINE_TOP)) as base:
            applied = base.wait("TProxy applied")[0]
            theirs.append((applied - base.wait("Mihomo is healthy")[0]) * 1000)
            theirs_started.append((applied - begun) * 1000)
    rows.add("ready -> armed", ours, baseline=theirs, target="<= 15 ms, 3 x")
    rows.add("start of the supervisor -> armed", started, baseline=theirs_started)


def hold_connections(house, count):
    """Proxied connections that stay open."""
    held = []
    for _ in range(count):
        held.append(house.open("client", "tcp", OTHER4, timeout=5))
    for s in held:
        s.sendall(b"x\n")
    for s in held:
        s.recv(4096)
    return held


def kill_to_direct(house, runs, rows, connections):
    direct, reaped = [], []
    for _ in range(runs):
        with Supervisor(house, mihomo_config()) as sup:
            sup.wait_state("armed")
            held = hold_connections(house, connections)
            sup.take_mihomo_away()
            pid = sup.mihomo_pid
            killed = []
            with FirstDirect(house) as probe:
                direct.append(probe.after(lambda: (killed.append(time.monotonic()), os.kill(pid, 9))))
            status = sup.wait_status(lambda s: s["mihomo"]["last_exit"], "reaped", 20)
            reaped.append(max(status["mihomo"]["last_exit"]["at_mono_ms"] - killed[0] * 1000, 0.01))
            for s in held:
                s.close()
    load = f"{connections} connections" if connections else "idle"
    target = "4 x sooner than SIGCHLD" if connections else "<= 5 ms"
    rows.add(f"SIGKILL -> first direct packet, {load} (compared: SIGCHLD)", direct, baseline=reaped, target=target)


def baseline_kill_to_direct(house, runs, rows):
    times = []
    for _ in range(runs):
        with Baseline(house, mihomo_config(top=BASELINE_TOP)) as base:
            base.wait("TProxy applied")
            time.sleep(0.3)
            with FirstDirect(house, gap=0.005) as probe:
                times.append(probe.after(lambda: os.kill(base.pid, 9)))
    rows.add("  the same of the baseline, idle", times)


def literals(house, runs, rows):
    files = {"nodes.yaml": thousand()}
    ours, theirs, rss = [], [], []
    for _ in range(runs):
        with Supervisor(house, mihomo_config(**PROVIDER), files=files) as sup:
            begun = sup.wait_log("Extracting proxy server IPs", 20)
            filled = sup.wait_log(r"Updated ipset .* → 1001 IPs|ipset updated successfully", 20, after=begun.index)
            ours.append((filled.at - begun.at) * 1000)
            rss.append(memory(sup.process.pid))
    with Baseline(house, mihomo_config(top=BASELINE_TOP, **PROVIDER), files) as base:
        begun = base.wait("Extracting proxy server IPs")[0]
        theirs.append((base.wait("Updated ipset")[0] - begun) * 1000)
    rows.add("1,000 literals in the set, from helper start", ours, baseline=theirs, target="<= 60 ms")
    rows.add("resident memory of the supervisor, 1,000 addresses", rss, "MiB", target="<= 3 MiB")


def probe_helper(house):
    for pid in house.pids("router"):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if b"probe" in f.read().split(b"\0"):
                return pid
    raise AssertionError("there is no probe helper")


def processor(house, seconds, rows):
    with Supervisor(house, mihomo_config()) as sup:
        sup.wait_state("armed")
        time.sleep(2)  # the extraction ends
        pids = {"supervisor": sup.process.pid, "probe helper": probe_helper(house)}
        before = {name: run_time(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        for name, pid in pids.items():
            share = (run_time(pid) - before[name]) / (seconds * 1e9) * 100
            rows.add(f"CPU of the {name} over {seconds} s", [share], "%", target="<= 0.05 %")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--smoke", action="store_true", help="one short run of everything")
    args.add_argument("--runs", type=int, default=10)
    args = args.parse_args()
    runs, load, seconds = (1, 100, 3) if args.smoke else (args.runs, 2000, 30)
    rows = Rows()
    print(f"build {BUILD}, {runs} runs, {os.cpu_count()} CPUs, Linux {os.uname().release}", flush=True)
    with House() as house:
        ready_to_armed(house, runs, rows)
        kill_to_direct(house, runs, rows, 0)
        baseline_kill_to_direct(house, max(1, runs // 3), rows)
        kill_to_direct(house, max(1, runs // 2), rows, load)
        literals(house, runs, rows)
        processor(house, seconds, rows)
    rows.show()


if __name__ == "__main__":
    main()
