"""clashsup doctor: each thing that keeps it from working, provoked and found, and mended by what it says."""

import json
import os
import signal
import socket
import subprocess

from house import CLIENT4, FAR4, PROGRAM, HouseCase

BRIDGE_SWITCH = "/proc/sys/net/bridge/bridge-nf-call-iptables"


class Findings(list):
    def __init__(self, done):
        super().__init__(json.loads(done.stdout)["findings"])
        self.path, self.code = json.loads(done.stdout)["direct_path"], done.returncode

    def of(self, level):
        return [f for f in self if f["level"] == level]


class Doctor(HouseCase):
    masquerade = True

    def setUp(self):
        super().setUp()
        self.sup = self.quiet()

    def quiet(self, **kw):
        """An armed supervisor without warnings: on a busy machine the config may not be inspected within its second."""
        for _ in range(5):
            sup = self.armed(**kw)
            if not sup.status()["warnings"]:
                break
            sup.stop()
        return sup

    def look(self):
        done = self.sup.ctl_done("doctor", "--json")
        self.assertIn(done.returncode, (0, 1, 2), done.stderr)
        return Findings(done)

    def healthy(self):
        found = self.look()
        self.assertEqual((found, found.code, found.path), ([], 0, "ok"))

    def provoke(self, command, undo):
        self.house.shell("router", command)
        self.addCleanup(self.house.shell, "router", undo, check=False)

    def found(self, text, level="warn"):
        """The one finding, which has that text; its fix."""
        found = self.look()
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0]["text"])
        self.assertEqual(found[0]["level"], level)
        self.assertEqual(found.code, {"note": 0, "warn": 1, "refuse": 2}[level])
        return found[0]["fix"]

    def mend(self, fix):
        self.house.shell("router", fix)
        self.healthy()

    def test_a_healthy_house_has_no_finding(self):
        self.healthy()
        done = self.sup.ctl_done("doctor")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("no findings\n", "", 0))

    def test_forwarding_that_is_off(self):
        switch = "/proc/sys/net/ipv4/ip_forward"
        self.provoke(f"echo 0 >{switch}", f"echo 1 >{switch}")
        self.assertEqual(self.look().path, "IPv6 only (net.ipv4.ip_forward is 0)")
        self.mend(self.found("no direct path for IPv4: net.ipv4.ip_forward is 0"))

    def test_forwarding_of_ipv6_that_is_off(self):
        # Turning it off takes the addresses of routers away, and the default route if that came by advertisement.
        switch = "/proc/sys/net/ipv6/conf/all/forwarding"
        self.provoke(f"echo 0 >{switch}", f"echo 1 >{switch}")
        self.mend(self.found("no direct path for IPv6"))

    def test_a_forward_policy_of_drop(self):
        undo = "iptables -w -P FORWARD ACCEPT; iptables -w -F FORWARD"
        self.provoke("iptables -w -P FORWARD DROP", undo)
        self.sup.ctl("off")
        self.sup.wait_state("mixed")
        self.assertVia("lost", "client", "tcp", FAR4)
        self.mend(self.found("forwarding is refused (iptables, chain FORWARD, policy DROP)"))
        self.assertVia("direct", "client", "tcp", FAR4)

    def test_a_forward_chain_of_nft_that_refuses(self):
        self.provoke(
            "nft add table inet strict; nft 'add chain inet strict f { type filter hook forward priority 0; policy drop; }'",
            "nft delete table inet strict",
        )
        self.sup.ctl("off")
        self.sup.wait_state("mixed")
        found = self.look()
        self.assertEqual([f["fix"] for f in found], [found[0]["fix"]] * 2, "one for each family")
        self.assertVia("lost", "client", "tcp", FAR4)
        self.mend(found[0]["fix"])
        self.assertVia("direct", "client", "tcp", FAR4)

    def test_a_missing_masquerade(self):
        rule = "POSTROUTING -o wan -j MASQUERADE"
        self.provoke(
            f"iptables -w -t nat -D {rule}; ip address del 44.44.44.1/24 dev lan",
            f"iptables -w -t nat -C {rule} || iptables -w -t nat -A {rule}; ip address add 44.44.44.1/24 dev lan",
        )
        self.mend(self.found("nothing hides them (no masquerade)"))

    def test_input_that_refuses(self):
        self.provoke(
            "nft add table inet strict; nft 'add chain inet strict in { type filter hook input priority 0; policy drop; }';"
            "nft add rule inet strict in ct state established accept; nft add rule inet strict in iifname lo accept",
            "nft delete table inet strict",
        )
        self.assertVia("lost", "client", "tcp", FAR4)
        found = self.look()
        self.assertEqual(len(found), 2, found)
        self.assertIn("no rule of clashsup's can open that chain", found[0]["text"])
        self.mend(found[0]["fix"])
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_input_that_refuses_and_is_not_to_be_opened(self):
        self.sup.stop()
        self.sup = self.quiet(conf={"tproxy": {"input_accept": "no"}})
        self.provoke("iptables -w -P INPUT DROP; iptables -w -A INPUT -i lo -j ACCEPT; iptables -w -A INPUT -m conntrack"
                     " --ctstate ESTABLISHED -j ACCEPT", "iptables -w -P INPUT ACCEPT; iptables -w -F INPUT")
        self.assertVia("lost", "client", "tcp", FAR4)
        self.mend(self.found("(iptables, chain INPUT, policy DROP), and input_accept is no"))
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_src_valid_mark(self):
        switch = "/proc/sys/net/ipv4/conf/all/src_valid_mark"
        self.provoke(f"echo 1 >{switch}", f"echo 0 >{switch}")
        self.assertVia("lost", "client", "tcp", FAR4)
        self.mend(self.found("net.ipv4.conf.all.src_valid_mark is 1"))
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_a_bridge_that_hands_its_packets_to_iptables(self):
        if not os.path.exists(BRIDGE_SWITCH):
            self.skipTest("this kernel has no br_netfilter: nothing to provoke")
        self.provoke(
            f"echo 1 >{BRIDGE_SWITCH}; ip link add br0 type bridge; ip link set br0 up; ip link set lan master br0;"
            "ip address flush dev lan; ip address add 10.66.0.1/24 dev br0; ip address add 44.44.44.1/24 dev br0;"
            "ip -6 address add fd66::1/64 dev br0; echo 0 >/proc/sys/net/bridge/bridge-nf-call-ip6tables",
            f"echo 0 >{BRIDGE_SWITCH}; ip link delete br0; ip address add 10.66.0.1/24 dev lan;"
            "ip address add 44.44.44.1/24 dev lan; ip -6 address add fd66::1/64 dev lan;"
            "ip -6 address add 2a0f:4444::1/64 dev lan",
        )
        self.assertVia("lost", "client", "tcp", FAR4, CLIENT4)
        self.mend(self.found("IPv4 of bridge br0 cannot be proxied"))
        self.house.until("proxied", "client", "tcp", FAR4, CLIENT4)
        self.house.shell("router", "ip link set br0 type bridge nf_call_iptables 1")
        self.mend(self.found("its own nf_call_iptables is 1"))

    def test_somebody_elses_rule_to_our_port(self):
        self.provoke(
            "iptables -w -t mangle -N PSW; iptables -w -t mangle -A PSW -p udp -s 10.99.0.0/16 -m comment --comment"
            " \"it's one\" -j TPROXY --on-port 7893 --on-ip 127.0.0.1 --tproxy-mark 1",
            "iptables -w -t mangle -F PSW; iptables -w -t mangle -X PSW",
        )
        found = self.look()
        self.assertEqual([f["level"] for f in found], ["refuse", "warn"])
        self.assertIn("somebody else (passwall) leads traffic to Mihomo's TPROXY port", found[0]["text"])
        self.assertIn("passwall has rules here too", found[1]["text"])
        self.assertEqual(found.code, 2)
        self.house.shell("router", found[0]["fix"])
        self.assertEqual(len(self.look()), 1)

    def test_somebody_elses_rule_of_nft_to_our_port(self):
        self.provoke(
            "nft add table inet other; nft 'add chain inet other pre { type filter hook prerouting priority -150; }';"
            "nft add rule inet other pre ip saddr 10.99.0.0/16 meta l4proto tcp tproxy ip to 127.0.0.1:7893",
            "nft delete table inet other",
        )
        self.mend(self.found("somebody else leads traffic to Mihomo's TPROXY port", level="refuse"))

    def test_a_routing_rule_that_takes_our_mark(self):
        self.provoke("ip rule add pref 40 fwmark 0x1/0x1 lookup 7", "ip rule del pref 40")
        fix = self.found("collides with clashsup's own: choose another mark, table or pref in [tproxy]", level="refuse")
        self.mend(fix)

    def test_a_routing_table_that_is_used_by_somebody_else(self):
        self.provoke("ip route add 46.0.0.0/8 via 45.45.45.2 table 100", "ip route del 46.0.0.0/8 table 100")
        self.mend(self.found("46.0.0.0/8", level="refuse"))

    def test_a_pref_that_is_somebody_elses(self):
        self.provoke("ip -6 rule add pref 100 fwmark 0x77 lookup 77", "ip -6 rule del pref 100 fwmark 0x77")
        self.mend(self.found("collides with clashsup's own", level="refuse"))

    def test_somebody_else_on_port_53(self):
        s = self.house.socket("router", socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(s.close)
        s.bind(("10.66.0.1", 53))
        self.assertIsNone(self.found(f"port 53 is served by {own_name()} (pid {os.getpid()})", level="note"))
        s.close()
        self.healthy()

    def test_what_a_killed_one_left(self):
        self.sup.kill()
        found = self.look()
        self.assertEqual([f["level"] for f in found], ["warn", "note"])
        self.assertRegex(found[0]["text"], r"was killed has left in the kernel: rules, and \d+ things more$")
        self.assertEqual(found[0]["fix"], "clashsup cleanup")
        self.sup.ctl("cleanup")
        self.assertIsNone(self.found("clashsup does not run", level="note"))

    def test_what_one_of_other_numbers_left(self):
        self.sup.stop()
        self.provoke("ip -6 rule add pref 7 fwmark 0x33 lookup 333 protocol 157", "ip -6 rule del pref 7")
        found = self.look()
        self.assertIn("has left in the kernel: policy routing of IPv6", found[0]["text"])
        self.sup.ctl("cleanup")
        self.assertIsNone(self.found("clashsup does not run", level="note"))

    def test_a_rule_of_somebody_else_that_does_what_ours_does(self):
        self.sup.stop()
        self.provoke("ip rule add pref 90 fwmark 1 lookup 100", "ip rule del pref 90")
        found = self.look()
        self.assertEqual([f["level"] for f in found], ["note", "note"], found)
        self.assertIn("does what clashsup's own does", found[0]["text"])

    def test_a_mihomo_that_is_not_there(self):
        self.sup.stop(signal.SIGTERM)
        self.sup.take_mihomo_away()
        os.unlink(self.sup.config_file)
        found = self.look()
        self.assertEqual([f["level"] for f in found], ["refuse", "warn", "note"])
        self.assertIn("Mihomo is not there", found[0]["text"])
        self.assertIn("config.yaml is missing", found[1]["text"])

    def test_what_the_supervisor_waits_for(self):
        self.sup.take_mihomo_away()
        self.sup.kill_mihomo()
        self.sup.wait_status(lambda s: s["state"] != "armed", "direct")
        self.assertEqual(self.look().of("refuse")[0]["fix"], None)

    def test_who_may_not_look_is_told_so(self):
        done = subprocess.run(
            self.house.enter(
                "router", "setpriv", "--bounding-set=-all", "--inh-caps=-all", PROGRAM, "-c", self.sup.conf_file, "doctor"
            ),
            capture_output=True, text=True, timeout=30,
        )
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("cannot look", done.stderr)
        self.assertEqual(self.sup.ctl_done("doctor", "--quiet").returncode, 3)


def own_name():
    with open("/proc/self/comm", encoding="utf-8") as f:
        return f.read().strip()
