"""Who answers a query for a name: Mihomo while it lives, the fallback after its death, nobody after the stop."""

import contextlib
import socket
import struct
import time

from backends import on_each
from house import DNS4, SLOW, HouseCase, config

MIHOMO_SAYS, ZONE_SAYS = "44.55.66.77", "9.9.9.9"
NAME = "host.example"
AT_ROUTER, BEYOND = ("10.66.0.1", "fd66::1"), (DNS4, "2a0f:4545::53")
TEXT = config(
    top=[f"hosts: {{{NAME}: {MIHOMO_SAYS}}}"],
    dns=f"dns: {{enable: true, ipv6: true, listen: '0.0.0.0:1053', nameserver: [{DNS4}], default-nameserver: [{DNS4}]}}",
)


def question():
    labels = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    return struct.pack("!HHHHHH", 0x1234, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def answer_on(s, proto):
    query = question()
    s.sendall(query if proto == "udp" else struct.pack("!H", len(query)) + query)
    data = s.recv(4096)
    return socket.inet_ntoa(data[-4:]) if len(data) > 12 else "no answer"


@on_each("names_outlive_mihomo")
class Names(HouseCase):
    masquerade = True

    def ask(self, where, server, proto, timeout=0.7):
        try:
            with self.house.open(where, proto, server, port=53, timeout=timeout) as s:
                return answer_on(s, proto)
        except OSError as e:
            return str(e)

    def expect(self, wanted, where, servers, within=1.0):
        for server in servers:
            for proto in ("udp", "tcp"):
                end = time.monotonic() + within * SLOW
                with self.subTest(f"{proto} from the {where} to {server}"):
                    while (got := self.ask(where, server, proto)) != wanted and time.monotonic() < end:
                        time.sleep(0.05)
                    self.assertEqual(got, wanted)

    def expect_on(self, held, wanted, within=1.0):
        """On a socket that is known to conntrack, which forgets it some ms behind the lease."""
        end = time.monotonic() + within * SLOW
        while (got := self.ask_on(held)) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(got, wanted, "a resolver with one socket")

    @staticmethod
    def ask_on(held):
        try:
            return answer_on(held, "udp")
        except OSError as e:
            return str(e)

    def on(self, backend):
        self.house.set_zone({NAME: [ZONE_SAYS]})
        before = self.house.snapshot()
        tproxy = {**backend.conf["tproxy"], "dns": "on", "dns_fallback": DNS4}
        sup = self.armed(TEXT, {"tproxy": tproxy, "restart": {"backoff_min": "100ms"}})
        self.expect(MIHOMO_SAYS, "client", AT_ROUTER + BEYOND)
        self.expect(MIHOMO_SAYS, "router", BEYOND)
        with contextlib.closing(self.house.open("client", "udp", "10.66.0.1", port=53)) as held:
            self.assertEqual(answer_on(held, "udp"), MIHOMO_SAYS)
            sup.take_mihomo_away()
            sup.kill_mihomo()
            self.expect(ZONE_SAYS, "client", ("10.66.0.1", DNS4))
            self.expect(ZONE_SAYS, "router", (DNS4,))
            self.expect_on(held, ZONE_SAYS)
            sup.bring_mihomo_back()
            sup.wait_state("armed")
            self.expect_on(held, MIHOMO_SAYS)
        self.assertEqual(sup.stop(), 0)
        self.assertNotIn(self.ask("client", "10.66.0.1", "udp", 0.3), (MIHOMO_SAYS, ZONE_SAYS))
        self.assertEqual(self.house.snapshot(), before)
