"""Residue and delta of the running program: none, tampered with, repaired, stopped, killed, cleaned up."""

import os
import signal
import unittest

from backends import on_each
from house import House, Supervisor, wait_for

# Five in ten seconds are put back at once, more would be a quarrel.
TAMPERS = {
    "iptables": ("ip6tables -w -t mangle -D CLASH_TPROXY 1", "iptables -w -t mangle -F", "ipset flush clash_reserved"),
    "nft": (
        "nft delete table inet clashsup",
        "nft flush chain inet clashsup CLASH_TPROXY4",
        "nft flush set inet clashsup clash_reserved6",
    ),
    "both": ("ipset flush clash_proxy_ips", "ip -6 rule del pref 100"),
}


@on_each("the_kernel_is_as_wanted_and_nothing_is_left")
class State(unittest.TestCase):
    def on(self, backend):
        with House() as house, Supervisor(house, conf=backend.conf) as sup:
            self.live(house, sup, TAMPERS["both"] + TAMPERS["nft" if backend.name == "nft" else "iptables"])
            self.assertEqual(sup.stop(), 0)
            self.assertEqual(self.left(sup), [])
            sup.start()
            sup.wait_state("armed")
            self.die(sup)

    def live(self, house, sup, tampers):
        self.whole(sup)
        for command in tampers:
            with self.subTest(command):
                counted = sup.status()["repairs"]["count"]
                house.shell("router", command)
                sup.wait_status(lambda s: s["repairs"]["count"] > counted, "repaired")
                status = self.whole(sup)
                self.assertRegex(status["repairs"]["last"], r"(are gone|differ|elements|no ip rule for IPv6)(, and .*)?: put back$")
                self.assertEqual(status["repairs"]["count"], counted + 1)

    def whole(self, sup):
        status = sup.wait_status(lambda s: s["delta"] == "none", "as wanted")
        self.assertEqual(status["state"], "armed")
        self.assertIn("kernel      as wanted\n", sup.ctl("status"))
        return status

    def die(self, sup):
        mihomo = sup.mihomo_pid
        sup.process.send_signal(signal.SIGKILL)
        os.kill(mihomo, signal.SIGKILL)
        sup.wait_exit()
        wait_for(lambda: not sup.house.pids("router"), "no process is left")
        left = self.left(sup)
        self.assertEqual(len(left), 1, left)
        self.assertRegex(left[0], r"has left in the kernel: rules, and \d+ things more$")
        sup.ctl("cleanup")
        self.assertEqual(self.left(sup), [])

    def left(self, sup):
        done = sup.ctl_done("doctor")
        self.assertIn("clashsup does not run", done.stdout)
        return [line for line in done.stdout.splitlines() if "left in the kernel" in line]
