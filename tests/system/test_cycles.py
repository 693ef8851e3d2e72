"""Armed and disarmed again and again: nothing grows, and nothing is left.

CLASHSUP_CYCLES is how often, on each backend; 30 unless it is set.
"""

import json
import os
import re
import socket
import time

from backends import on_each
from house import MIHOMO, SLOW, HouseCase, Supervisor, config

CYCLES = int(os.environ.get("CLASHSUP_CYCLES", "30"))
WARM_UP = 80  # the allocator and the kernel take what they keep, and the event log fills its ring
GROWTH_KIB = 128


class Control:
    """The control socket, without a client program for each word."""

    def __init__(self, sup):
        self.path = os.path.join(sup.rundir, "control.sock")
        self.socket = None

    def ask(self, **request):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5 * SLOW)
            s.connect(self.path)
            s.sendall(json.dumps({"version": 1, **request}).encode() + b"\n")
            with s.makefile() as answer:
                return json.loads(answer.readline())

    def mode(self, mode, net):
        answer = self.ask(cmd="mode", mode=mode)
        if not answer["ok"]:
            raise AssertionError(answer["error"])
        deadline = time.monotonic() + 10 * SLOW
        while (now := self.ask(cmd="status")["status"]["net"]) != net:
            if time.monotonic() > deadline:
                raise AssertionError(f"not {net} but {now} after {mode}")
            time.sleep(0.005)

    def cycle(self):
        self.mode("mixed", "direct")
        self.mode("tproxy", "armed")


def accept_every_config(sup):
    """Mihomo's own check of its config, before each arming, would take most of the time."""
    sup.take_mihomo_away()
    with open(sup.binary, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\ncase " $* " in *" -t "*) exit 0 ;; esac\nexec {MIHOMO} "$@"\n')
    os.chmod(sup.binary, 0o755)


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith("VmRSS:")).split()[1])


@on_each("nothing_grows")
class Cycles(HouseCase):
    def objects(self):
        """What the kernel holds of anybody, without counters and what counts down."""
        rules = self.house.run("router", "nft", "list", "ruleset")
        return {**self.house.snapshot(), "nft": re.sub(r"packets \d+ bytes \d+| (timeout|expires) \w+", "", rules)}

    def counts(self, sup):
        pid = sup.process.pid
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    def settled(self, sup):
        """Armed, the extraction that arming begins is over, its helper gone."""
        sup.wait_status(lambda s: s["state"] == "armed" and not s["extract"]["running"], "settled")
        time.sleep(0.3)
        return resident_kib(sup.process.pid), self.counts(sup), self.objects()

    def on(self, backend):
        before = self.house.snapshot()
        # With a listener of its own Mihomo has nothing to reload, and a cycle is the rules' alone.
        text = config(rules=["MATCH,DIRECT"], log="error", top=["tproxy-port: 7893", "allow-lan: true"])
        sup = Supervisor(self.house, text, backend.conf)
        accept_every_config(sup)
        with sup:
            sup.wait_state("armed")
            control = Control(sup)
            for _ in range(WARM_UP):
                control.cycle()
            rss, counts, objects = self.settled(sup)
            begun = time.monotonic()
            for _ in range(CYCLES):
                control.cycle()
            took = time.monotonic() - begun
            rss_after, counts_after, objects_after = self.settled(sup)
            self.assertEqual(counts_after, counts, "descriptors and threads")
            self.assertEqual(objects_after, objects, "what the kernel holds")
            self.assertLessEqual(rss_after, rss + GROWTH_KIB, "resident KiB")
            self.assertEqual(sup.stop(), 0)
        self.assertEqual(self.house.snapshot(), before)
        print(f"     {backend}: {CYCLES} cycles in {took:.1f} s, {rss} KiB before, {rss_after} KiB after", flush=True)
