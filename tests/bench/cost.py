#!/usr/bin/env python3
"""What our rules cost beside the plainest TPROXY rules that work.

    cost.py [--smoke] [--rounds N] [BACKEND...]

The plainest: replies, local destinations and one set of reserved networks and
servers return, TCP and UDP go to the port; the same for the machine's own
traffic behind Mihomo's group. No lease, no conntrack marks, no socket match.
In one house with one Mihomo the rules take turns, none, plain and ours,
forwards and backwards; a round's ratio is ours : plain of that round.

  to a server    datagrams of one flow, forwarded, to a member of the server set
  to reserved    the same to a reserved network
  of a reply     the same in the other direction, of a flow that began outside
  direct stream  one TCP stream to a member of the server set
  proxied        one TCP stream through Mihomo, which dials directly

Medians; packets in ns of CPU time from the sender's call to the far socket
(load.c), which the sandbox's own costs are part of: "none" is these alone.
Streams in MB/s.
Judges nothing (exit 0 when all could be measured). Target: every ratio <= 1.1.
"""

import argparse
import os
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True

from rows import present  # noqa: E402 (finds tests/lib)
from house import BUILD, CLIENT4, FAR4, OTHER4, RELAY, House, Supervisor, config  # noqa: E402

LOAD = os.path.join(BUILD, "tests", "load")
RESERVED4 = "10.99.0.2"
RESERVED = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24"
    " 192.88.99.0/24 192.168.0.0/16 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
).split()
SERVERS = [OTHER4, "45.45.45.8"]
PLAIN_IPTABLES = """*mangle
:PLAIN - [0:0]
:PLAIN_OUT - [0:0]
-A PLAIN -m conntrack --ctdir REPLY -j RETURN
-A PLAIN -m addrtype --dst-type LOCAL -j RETURN
-A PLAIN -m set --match-set plain dst -j RETURN
-A PLAIN -p tcp -j TPROXY --on-ip 127.0.0.1 --on-port 7893 --tproxy-mark 0x1/0xffffffff
-A PLAIN -p udp -j TPROXY --on-ip 127.0.0.1 --on-port 7893 --tproxy-mark 0x1/0xffffffff
-A PLAIN_OUT -m owner --gid-owner 7893 -j RETURN
-A PLAIN_OUT -m conntrack --ctdir REPLY -j RETURN
-A PLAIN_OUT -m addrtype --dst-type LOCAL -j RETURN
-A PLAIN_OUT -m set --match-set plain dst -j RETURN
-A PLAIN_OUT -p tcp -j MARK --set-xmark 0x1/0xffffffff
-A PLAIN_OUT -p udp -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING -j PLAIN
-A OUTPUT -j PLAIN_OUT
COMMIT
"""
PLAIN_NFT = f"""table ip plain {{
	set skip {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {", ".join(RESERVED + SERVERS)} }} }}
	chain pre {{
		type filter hook prerouting priority mangle;
		ct direction reply return
		fib daddr type local return
		ip daddr @skip return
		meta l4proto {{ tcp, udp }} tproxy to 127.0.0.1:7893 meta mark set 0x1 accept
	}}
	chain out {{
		type route hook output priority mangle;
		meta skgid 7893 return
		ct direction reply return
		fib daddr type local return
		ip daddr @skip return
		meta l4proto {{ tcp, udp }} meta mark set 0x1
	}}
}}
"""
UNDO_IPTABLES = """*mangle
-D PREROUTING -j PLAIN
-D OUTPUT -j PLAIN_OUT
-F PLAIN
-F PLAIN_OUT
-X PLAIN
-X PLAIN_OUT
COMMIT
"""
STATES = ("none", "plain", "ours")


class Bed:
    """A house in which the rules take turns."""

    def __init__(self, backend, house, sup):
        self.backend, self.house, self.sup = backend, house, sup
        self.state = "ours"
        if backend.program:
            lines = ["create plain hash:net"] + [f"add plain {net}" for net in RESERVED + SERVERS]
            house.shell("router", "ipset restore <<'END'\n" + "\n".join(lines) + "\nEND")
        # Policy routing stays between off and on; the plain rules want it too.
        self.sinks = [self.sink(where, *at) for where, *at in (
            ("inet", OTHER4, "20002"), ("inet", RESERVED4, "20002"), ("inet", FAR4, "20002"), ("client", CLIENT4, "20004")
        )]

    def sink(self, where, *at):
        process = self.house.popen(where, LOAD, "sink", *at, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if process.stdout.readline() != b"ready\n":
            raise AssertionError(f"no sink on {at}")
        return process

    def plain(self, there):
        if self.backend.program:
            text = PLAIN_IPTABLES if there else UNDO_IPTABLES
            self.house.shell("router", f"iptables-restore --noflush <<'END'\n{text}END")
        else:
            self.house.shell("router", f"nft -f - <<'END'\n{PLAIN_NFT}END" if there else "nft delete table ip plain")

    def turn(self, state):
        if state == self.state:
            return
        if self.state == "plain":
            self.plain(False)
        if self.state == "ours":
            self.sup.ctl("off")
            self.sup.wait_status(lambda s: s["net"] == "direct", "direct")
        if state == "plain":
            self.plain(True)
        if state == "ours":
            self.sup.ctl("on")
            self.sup.wait_state("armed")
            self.sup.wait_members(set(SERVERS))
        self.state = state

    def load(self, where, *args):
        return float(self.house.run(where, LOAD, *args))

    def measure(self, batches, ms):
        """What one turn costs: of packets ns, of streams ns a byte, so that more is worse everywhere."""
        self.house.run("client", LOAD, "greet", CLIENT4, "20004", OTHER4, "20003")
        yield "to a server", self.load("client", "flood", CLIENT4, "20001", OTHER4, "20002", batches)
        yield "to reserved", self.load("client", "flood", CLIENT4, "20001", RESERVED4, "20002", batches)
        yield "of a reply", self.load("inet", "flood", OTHER4, "20003", CLIENT4, "20004", batches)
        yield "direct stream", 1000 / self.load("client", "stream", OTHER4, "20002", ms)
        if self.state != "none":
            yield "proxied", 1000 / self.load("client", "stream", FAR4, "20002", ms)


def show(backend, costs):
    head = (str(backend), *STATES, "ours : plain", "target")
    lines = [head]
    for what, of in costs.items():
        packets = what[:2] in ("to", "of")
        cells = []
        for state in STATES:
            value = statistics.median(of[state]) if state in of else None
            cells.append("" if value is None else f"{value:.0f} ns" if packets else f"{1000 / value:.0f} MB/s")
        ratio = statistics.median(ours / plain for ours, plain in zip(of["ours"], of["plain"]))
        lines.append((what, *cells, f"{ratio:.3f}", "<= 1.1"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip(), flush=True)


def measure(backend, rounds, batches, ms):
    costs = {}
    proxies = [RELAY, f"{{name: other, type: socks5, server: {OTHER4}, port: 1080}}"]
    # A listener of the config's own is there while our rules are not.
    top = ["tproxy-port: 7893", "allow-lan: true"]
    text = config(proxies=proxies, rules=["MATCH,DIRECT"], log="warning", top=top)
    with backend, House() as house, Supervisor(house, text, backend.conf) as sup:
        house.run("inet", "ip", "address", "add", RESERVED4 + "/32", "dev", "eth0")
        sup.wait_state("armed")
        sup.wait_members(set(SERVERS))
        bed = Bed(backend, house, sup)
        for n in range(rounds):
            for state in STATES if n % 2 == 0 else reversed(STATES):
                bed.turn(state)
                for what, cost in bed.measure(str(batches), str(ms)):
                    costs.setdefault(what, {}).setdefault(state, []).append(cost)
        bed.turn("none")
        for sink in bed.sinks:
            sink.communicate()
    show(backend, costs)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--smoke", action="store_true", help="two short rounds")
    args.add_argument("--rounds", type=int, default=15)
    args.add_argument("backends", nargs="*")
    args = args.parse_args()
    rounds, batches, ms = (2, 20, 150) if args.smoke else (args.rounds, 60, 400)
    print(f"build {BUILD}, {rounds} rounds, {os.cpu_count()} CPUs, Linux {os.uname().release}", flush=True)
    for backend in present(args.backends):
        measure(backend, rounds, batches, ms)


if __name__ == "__main__":
    main()
