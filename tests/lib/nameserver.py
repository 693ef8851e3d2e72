"""A real name server, NSD, on the far side of the house, behind a relay that can make the way bad.

    with NameServer(house) as ns:
        ns.serve("n1 60 A 45.45.45.101")   # lines of the zone ZONE
        ns.way(delay=0.02, loss=0.25)
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

from house import LIB

NSD = shutil.which("nsd") or shutil.which("nsd", path="/usr/sbin")
ADDRESS = "45.45.45.54"
PORT = 5300
ZONE = "zone.example"

CONF = """server:
	server-count: 1
	ip-address: 127.0.0.1@{port}
	username: ""
	chroot: ""
	zonesdir: "{dir}"
	database: ""
	pidfile: "{dir}/pid"
	xfrdfile: "{dir}/xfrd"
	xfrdir: "{dir}"
	zonelistfile: "{dir}/zones"
	logfile: "{dir}/log"
	ipv4-edns-size: 1232
	rrl-ratelimit: 0
remote-control:
	control-enable: no
zone:
	name: {zone}
	zonefile: zone
"""


class NameServer:
    def __init__(self, house):
        self.house = house
        self.dir = os.path.join(house.dir, "nsd")
        self.serial = 0
        self.nsd = self.relay = None

    def __enter__(self):
        os.mkdir(self.dir)
        with open(os.path.join(self.dir, "conf"), "w", encoding="utf-8") as f:
            f.write(CONF.format(dir=self.dir, port=PORT, zone=ZONE))
        try:
            self.write([])
            self.house.run("inet", "ip", "address", "add", ADDRESS + "/24", "dev", "eth0")
            self.nsd = self.house.popen("inet", NSD, "-d", "-c", os.path.join(self.dir, "conf"), start_new_session=True)
            self.wait()
            self.relay = self.house.popen(
                "inet", "python3", os.path.join(LIB, "relay_dns.py"), ADDRESS, "127.0.0.1", str(PORT),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            if self.relay.stdout.readline() != b"ready\n":
                raise RuntimeError("the relay did not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.relay:
            self.relay.stdin.close()
            self.relay.stdout.close()
            self.relay.wait()
        if self.nsd:
            self.nsd.send_signal(signal.SIGTERM)
            self.nsd.wait(10)
        self.house.run("inet", "ip", "address", "delete", ADDRESS + "/24", "dev", "eth0", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def write(self, lines):
        self.serial += 1
        path = os.path.join(self.dir, "zone")
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(f"$ORIGIN {ZONE}.\n@ 60 SOA ns host {self.serial} 3600 600 86400 60\n")
            f.write(f"@ 60 NS ns\nns 60 A {ADDRESS}\n")
            f.write("".join(line + "\n" for line in lines))
        os.rename(path + ".new", path)
        # NSD looks at the whole seconds of a zone's age: no two of ours are of the same one.
        os.utime(path, (0, 1_000_000_000 + self.serial * 10))

    def serve(self, *lines):
        """From now on these are the zone's records."""
        self.write(lines)
        self.nsd.send_signal(signal.SIGHUP)
        self.wait()

    def way(self, delay=0, loss=0, seed=1):
        """How the way to it is."""
        self.relay.stdin.write(json.dumps({"delay": delay, "loss": loss, "seed": seed}).encode() + b"\n")
        self.relay.stdin.flush()
        self.relay.stdout.readline()

    def wait(self):
        """Until it serves what was written last: its serial number says so."""
        name = b"".join(bytes([len(label)]) + label.encode() for label in ZONE.split("."))
        question = b"\0\1\0\0\0\1\0\0\0\0\0\0" + name + b"\0\0\6\0\1"
        deadline = time.monotonic() + 10
        with self.house.socket("inet", socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.1)
            while time.monotonic() < deadline:
                try:
                    s.sendto(question, ("127.0.0.1", PORT))
                    answer = s.recv(4096)
                    if len(answer) > 60 and struct.unpack(">I", self.soa(answer))[0] == self.serial:
                        return
                    time.sleep(0.02)
                except OSError:
                    time.sleep(0.02)
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as f:
            raise RuntimeError("NSD does not serve the zone: " + f.read()[-2000:])

    @staticmethod
    def soa(answer):
        """The serial number of the first record: it stands before the last four numbers of it."""
        at = 12
        while answer[at]:
            at += 1 + answer[at]
        at += 5 + 2 + 8  # the question's end; the record's name (a pointer), type, class, time to live
        size = struct.unpack_from(">H", answer, at)[0]
        return answer[at + 2 + size - 20 : at + 2 + size - 16]
