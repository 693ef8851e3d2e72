"""Mihomo's own packets never come back to Mihomo, whatever the set holds."""

import os

from badhelper import BadHelper
from house import DNS, FAR4, FAR6, MIHOMO, OTHER4, ROUTER4, HouseCase, config, wait_for

SS_SERVER = """mode: direct
log-level: warning
ipv6: true
dns: {enable: false}
listeners:
  - {name: ss, type: shadowsocks, listen: "45.45.45.8", port: 8388, cipher: aes-128-gcm, password: secret, udp: true}
"""
SS = "{name: ss, type: ss, server: %s, port: 8388, cipher: aes-128-gcm, password: secret, udp: true}"
SOCKS = "{name: socks, type: socks5, server: %s, port: 1080, udp: true}"
ZONE = {"relay.example": ["45.45.45.8"]}


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class NoLoopWithAnEmptySet(HouseCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bad = BadHelper()
        cls.enterClassContext(cls.bad)
        home = os.path.join(cls.house.dir, "ss")
        os.mkdir(home)
        with open(os.path.join(home, "config.yaml"), "w", encoding="utf-8") as f:
            f.write(SS_SERVER)
        cls.server = cls.house.popen("inet", MIHOMO, "-d", home, stdout=open(os.path.join(home, "log"), "wb"))
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        wait_for(lambda: ":8388" in cls.house.run("inet", "ss", "-ltnH"), "the ss server listens")

    def works_without_loop(self, proxy, name, dns="dns: {enable: false}"):
        self.house.set_zone(ZONE)
        self.bad.mode("fail")
        sup = self.armed(
            config(proxies=[proxy], rules=[f"IP-CIDR,{OTHER4}/32,DIRECT", f"MATCH,{name}"], dns=dns),
            program=self.bad.program,
        )
        pid = sup.mihomo_pid
        asked = [(w, p, d) for w in ("client", "router") for p in ("tcp", "udp") for d in (FAR4, FAR6)]
        for where, proto, dst in asked:
            self.assertVia("proxied", where, proto, dst, timeout=3)
        for where in ("client", "router"):
            for proto in ("tcp", "udp"):
                # A DIRECT rule: through Mihomo, and from there with the router's own address.
                answer = self.assertVia("direct", where, proto, OTHER4, timeout=3)
                self.assertEqual(answer.peer, ROUTER4)
        before = descriptors(pid)
        for _ in range(10):
            for where, proto, dst in asked:
                self.assertVia("proxied", where, proto, dst, timeout=3)
        self.assertEqual(self.house.both_members(), set(), "the set was to be empty for this test")
        # UDP sessions stay open for a minute: one or two descriptors for each of the 40; a loop takes thousands.
        self.assertLess(descriptors(pid) - before, 150)
        self.assertEqual(sup.status()["state"], "armed")

    def test_a_socks5_proxy_given_by_address(self):
        self.works_without_loop(SOCKS % "45.45.45.8", "socks")

    def test_an_ss_proxy_given_by_address(self):
        self.works_without_loop(SS % "45.45.45.8", "ss")

    def test_a_socks5_proxy_given_by_name(self):
        self.works_without_loop(SOCKS % "relay.example", "socks", DNS)

    def test_an_ss_proxy_given_by_name(self):
        self.works_without_loop(SS % "relay.example", "ss", DNS)
