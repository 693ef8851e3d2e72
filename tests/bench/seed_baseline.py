#!/usr/bin/env python3
"""What clashsup is measured against: a watcher of the plain kind.

    seed_baseline.py MIHOMO HOME

Health is polled each second over HTTP, each rule is one iptables process, each
address one ipset process, names are asked for one after the other. It speaks
the same log lines. Run it inside the router's namespace.
"""

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

SET = "clash_proxy_ips"
PORT, MARK, TABLE = "7893", "0x1", "100"
RESERVED = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16"
    " 224.0.0.0/4 240.0.0.0/4"
).split()


def say(text):
    print(text, flush=True)


def call(*argv):
    return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def iptables(*words):
    return call("iptables", "-w", "-t", "mangle", *words)


def healthy():
    try:
        with urllib.request.urlopen("http://127.0.0.1:9090/version", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def ensure_set():
    if call("ipset", "list", "-n", SET) == 0:
        return
    say(f"[clash] Creating empty ipset {SET}")
    call("ipset", "create", SET, "hash:ip")


def apply():
    call("ip", "rule", "add", "fwmark", MARK, "lookup", TABLE)
    call("ip", "route", "replace", "local", "default", "dev", "lo", "table", TABLE)
    iptables("-N", "CLASH_TPROXY")
    iptables("-A", "CLASH_TPROXY", "-m", "set", "--match-set", SET, "dst", "-j", "RETURN")
    for net in RESERVED:
        iptables("-A", "CLASH_TPROXY", "-d", net, "-j", "RETURN")
    for proto in ("tcp", "udp"):
        iptables("-A", "CLASH_TPROXY", "-p", proto, "-j", "TPROXY", "--on-port", PORT, "--tproxy-mark", MARK)
    iptables("-A", "PREROUTING", "-i", "lan", "-j", "CLASH_TPROXY")


def remove():
    iptables("-D", "PREROUTING", "-i", "lan", "-j", "CLASH_TPROXY")
    iptables("-F", "CLASH_TPROXY")
    iptables("-X", "CLASH_TPROXY")
    call("ip", "rule", "del", "fwmark", MARK, "lookup", TABLE)
    call("ip", "route", "flush", "table", TABLE)
    call("ipset", "destroy", SET)


def all_addresses(home):
    found = set()
    for name in os.listdir(home):
        if not name.endswith((".yaml", ".yml")):
            continue
        with open(os.path.join(home, name), encoding="utf-8") as f:
            for server in re.findall(r"\bserver:\s*['\"]?([^,'\"\s}]+)", f.read()):
                try:
                    found.add(str(ipaddress.ip_address(server)))
                except ValueError:
                    try:
                        found.update(i[4][0] for i in socket.getaddrinfo(server, None))
                    except OSError:
                        say(f"[clash] Failed to resolve {server}")
    return found


def fill(home):
    say("[clash] Extracting proxy server IPs (async)...")
    addresses = all_addresses(home)
    say(f"[clash] Found {len(addresses)} unique proxy IPs, updating ipset...")
    call("ipset", "flush", SET)
    for address in addresses:
        call("ipset", "add", SET, address)
    say(f"[clash] Updated ipset {SET}: 0 → {len(addresses)} IPs")


def main(mihomo, home):
    child = subprocess.Popen([mihomo, "-d", home], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: (child.kill(), remove(), os._exit(0)))
    say(f"mihomo {child.pid}")
    while not healthy():
        time.sleep(1)
    say("[clash] Mihomo is healthy")
    ensure_set()
    apply()
    say("[clash] TProxy applied successfully")
    threading.Thread(target=fill, args=(home,), daemon=True).start()
    while healthy():
        time.sleep(1)
    say("[clash-monitor] Mihomo crashed, removing TProxy")
    remove()
    say("[clash-monitor] TProxy and ipset removed due to crash")
    child.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
