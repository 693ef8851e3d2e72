"""What Mihomo really dials comes into the sets, predicted or not, and nothing else does."""

import os
import subprocess
import time

from house import BUILD, FAR4, OTHER4, RELAY4, HouseCase, config
from test_helper_program import DIALLED, of, records

# There is no Shadowsocks, only somebody who accepts and stays silent.
SS = "type: ss, server: 45.45.45.2, port: 8081, cipher: aes-128-gcm, password: x"

# No reader of files can know what this expression makes of an address.
REWRITTEN = config(
    proxies=(),
    top=["proxy-groups: [{name: G, type: select, use: [p]}]"],
    providers=["p: {type: file, path: ./p.yaml, override: {override-expr: ['.server = \"45.45.45.8\"']}}"],
    rules=["MATCH,G"],
)
NODE = "proxies:\n  - {name: n, type: socks5, server: 45.45.45.99, port: 1080, udp: true}\n"


class WhatMihomoDials(HouseCase):
    def told_by_the_helper(self, sup, seconds=3.0):
        """The addresses that a witness of our own tells, run beside the supervisor's."""
        helper = self.house.popen(
            "router", os.path.join(BUILD, "clashsup-helper"), "probe", os.path.join(sup.rundir, "mihomo", "api.sock"),
            "1000", "1000", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        time.sleep(seconds)
        out, _ = helper.communicate(timeout=10)
        return sorted(a for (a,) in of(DIALLED, list(records(out))))

    def connect(self, sup, choice):
        """A connection from the client by this member of the group, which lives as long as the case."""
        self.assertEqual(sup.api("PUT", "/proxies/G", '{"name":"%s"}' % choice)[0], 204)
        s = self.house.open("client", "tcp", OTHER4)
        self.addCleanup(s.close)
        s.sendall(b"x")
        return s

    def test_servers_are_told_and_destinations_never(self):
        sup = self.armed(
            config(
                proxies=(
                    "{name: relay, type: socks5, server: 45.45.45.8, port: 1080}",
                    "{name: ss, %s}" % SS,
                    "{name: mux, %s, smux: {enabled: true, protocol: smux}}" % SS,
                    "{name: behind, %s, dialer-proxy: relay}" % SS,
                ),
                top=["proxy-groups: [{name: G, type: select, proxies: [relay, ss, mux, behind, DIRECT]}]"],
                rules=["MATCH,G"],
            )
        )
        self.connect(sup, "DIRECT")
        self.connect(sup, "mux")
        self.assertEqual(self.told_by_the_helper(sup), [])
        self.connect(sup, "behind")
        self.assertEqual(self.told_by_the_helper(sup), [RELAY4])
        self.connect(sup, "ss")
        self.assertEqual(self.told_by_the_helper(sup), [FAR4, RELAY4])

    def test_a_provider_s_proxy_is_known_by_its_provider(self):
        sup = self.armed(REWRITTEN, files={"p.yaml": NODE})
        self.connect(sup, "n")
        self.assertEqual(self.told_by_the_helper(sup), [RELAY4])

    def test_a_server_that_was_not_predicted_comes_into_the_set_and_is_counted(self):
        sup = self.armed(REWRITTEN, files={"p.yaml": NODE})
        sup.wait_members({"45.45.45.99"})
        self.assertEqual(sup.status()["extract"]["missed"], 0)
        self.connect(sup, "n")
        sup.wait_members({"45.45.45.99", RELAY4}, 12)
        sup.wait_status(lambda s: s["extract"]["missed"] == 1, "one address missed", 2)
        sup.ctl("refresh")
        sup.wait_status(lambda s: not s["extract"]["running"], "the extraction's end")
        self.assertEqual(self.house.both_members(), {"45.45.45.99", RELAY4})

    def test_a_server_that_was_predicted_is_not_counted(self):
        sup = self.armed()
        sup.wait_members({RELAY4})
        s = self.house.open("client", "tcp", OTHER4)
        self.addCleanup(s.close)
        s.sendall(b"x")
        time.sleep(8)  # the witness has looked at least once
        self.assertEqual(sup.status()["extract"]["missed"], 0)
        self.assertEqual(self.house.both_members(), {RELAY4})
