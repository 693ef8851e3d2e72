"""The promises that the logs, the set's name and the verification commands have always made."""

import re
import time

from house import DNS, HouseCase, config, wait_for

NODES = """proxies:
  - {name: n1, type: ss, server: 45.45.45.101, port: 8388, cipher: aes-128-gcm, password: x}
  - {name: n2, type: ss, server: "2a0f:4545::102", port: 8388, cipher: aes-128-gcm, password: x}
"""
PROVIDER = "nodes: {type: file, path: ./nodes.yaml}"
RELAY_ADDRESS = "45.45.45.8"


class TheSeedsIntegrationTests(HouseCase):
    def with_provider(self, **kw):
        return self.armed(config(providers=[PROVIDER]), files={"nodes.yaml": NODES}, **kw)

    def test_the_set_is_created_empty_and_filled_after_tproxy_is_applied(self):
        sup = self.with_provider()
        created = sup.wait_log(r"^\[clash\] Empty ipset clash_proxy_ips created \(will be populated asynchronously\)")
        applied = sup.wait_log(r"^\[clash\] TProxy applied successfully")
        updated = sup.wait_log(r"^\[clash\] Updated ipset clash_proxy_ips: 0 → 3 IPs")
        self.assertLess(created.index, applied.index)
        self.assertLess(applied.index, updated.index)
        self.assertLess(applied.at - created.at, 1.0)
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})

    def test_a_changed_provider_file_is_in_the_set_within_two_seconds(self):
        sup = self.with_provider()
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})
        sup.wait_log("Updated ipset clash_proxy_ips: 0 → 3 IPs")  # the literals are in before it
        after = sup.mark()
        sup.write("nodes.yaml", NODES.replace("45.45.45.101", "45.45.45.103"))
        sup.wait_members({RELAY_ADDRESS, "45.45.45.103", "2a0f:4545::102"}, timeout=2)
        sup.wait_log(r"updating ipset \(old: 3, new: 3\)|Updated ipset clash_proxy_ips: 3 → 3 IPs", 1, after)

    def test_a_provider_file_written_in_place_is_seen_too(self):
        sup = self.with_provider()
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})
        with open(sup.home + "/nodes.yaml", "w", encoding="utf-8") as f:
            f.write(NODES.replace("45.45.45.101", "45.45.45.104"))
        sup.wait_members({RELAY_ADDRESS, "45.45.45.104", "2a0f:4545::102"}, timeout=2)

    def test_the_periodic_check_finds_what_no_file_tells(self):
        self.house.set_zone({"node.example": ["45.45.45.111"]})
        node = "{name: named, type: socks5, server: node.example, port: 1080}"
        sup = self.armed(
            config(proxies=[node], rules=["MATCH,DIRECT"], dns=DNS), conf={"extract": {"interval": "1s"}}
        )
        sup.wait_members({"45.45.45.111"})
        after = sup.mark()
        self.house.set_zone({"node.example": ["45.45.45.111", "45.45.45.112"]})
        sup.wait_members({"45.45.45.111", "45.45.45.112"}, timeout=4)
        sup.wait_log(r"^\[clash-proxy-ips\] Checking for proxy IP updates\.\.\.", after=after)
        sup.wait_log(r"^\[clash-proxy-ips\] Proxy IPs changed, updating ipset \(old: 1, new: 2\)", after=after)

    def test_killing_mihomo_takes_set_and_rules_away_and_recovery_brings_them_back(self):
        sup = self.with_provider()
        sup.wait_log(r"Updated ipset clash_proxy_ips")
        after = sup.mark()
        sup.take_mihomo_away()
        sup.kill_mihomo()
        wait_for(lambda: self.house.members() is None, "the set is gone")
        wait_for(lambda: self.house.members("clash_proxy_ips6") is None, "the IPv6 set is gone")
        wait_for(lambda: self.house.chain() is None, "the IPv4 chain is gone")
        wait_for(lambda: self.house.chain(tool="ip6tables") is None, "the IPv6 chain is gone")
        sup.bring_mihomo_back()
        sup.wait_state("armed")
        self.assertIsNotNone(self.house.chain())
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})
        last = after - 1
        for text in (
            r"^\[clash-monitor\] Mihomo crashed, removing TProxy",
            r"^\[clash-monitor\] TProxy and ipset removed due to crash",
            r"^\[clash-monitor\] Mihomo recovered, reapplying TProxy",
            r"^\[clash-monitor\] Re-initializing proxy IP ipset\.\.\.",
            r"^\[clash-monitor\] TProxy reapplied successfully",
            r"^\[clash\] Extracting proxy server IPs \(async\)\.\.\.",
        ):
            last = sup.wait_log(text, after=last + 1).index

    def test_switching_to_mixed_destroys_the_set_and_back_makes_it_again(self):
        sup = self.with_provider()
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})
        pid = sup.mihomo_pid
        sup.ctl("mode", "mixed")
        sup.wait_state("mixed")
        wait_for(lambda: self.house.members() is None, "the set is gone")
        wait_for(lambda: self.house.chain() is None, "the chain is gone")
        self.assertVia("direct", "client", "tcp", "45.45.45.2")
        sup.ctl("mode", "tproxy")
        sup.wait_state("armed")
        self.assertVia("proxied", "client", "tcp", "45.45.45.2")
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})
        self.assertEqual(sup.mihomo_pid, pid)

    def test_the_startup_lines_come_in_their_order(self):
        sup = self.with_provider()
        last = -1
        for text in (
            r"^\[clash\] Waiting for Mihomo to become healthy before applying TProxy"
            r" \(no timeout - will wait indefinitely\)\.\.\.",
            r"^\[clash\] Mihomo is healthy",
            r"^\[clash\] Initializing proxy IP ipset\.\.\.",
            r"^\[clash\] Creating empty ipset clash_proxy_ips",
            r"^\[clash\] Empty ipset clash_proxy_ips created",
            r"^\[clash\] TProxy applied successfully",
            r"^\[clash\] Extracting proxy server IPs \(async\)\.\.\.",
            r"^\[clash\] Found 3 unique proxy IPs, updating ipset\.\.\.",
            r"^\[clash\] Updated ipset clash_proxy_ips: 0 → 3 IPs",
        ):
            last = sup.wait_log(text, after=last + 1).index

    def test_the_verification_commands_work_as_printed(self):
        sup = self.armed(config(top=["mixed-port: 7890"], providers=[PROVIDER]), files={"nodes.yaml": NODES})
        sup.wait_members({RELAY_ADDRESS, "45.45.45.101", "2a0f:4545::102"})
        listing = self.house.shell("router", "ipset list clash_proxy_ips")
        self.assertRegex(listing, r"(?m)^Type: hash:ip$")
        self.assertIn("45.45.45.101", listing)
        rules = self.house.shell("router", 'iptables -t mangle -L CLASH_TPROXY -n -v | grep "set"')
        self.assertRegex(rules, r"(?m)RETURN .*match-set clash_proxy_ips dst")
        self.assertGreater(int(self.house.shell("router", "ipset list clash_proxy_ips | wc -l")), 8)
        page = self.house.shell("router", "curl -sS -x http://127.0.0.1:7890 http://45.45.45.2:8080/")
        self.assertIn('"peer": "45.45.45.8"', page)

    def test_an_unchanged_result_is_not_written_again(self):
        sup = self.with_provider()
        sup.wait_log(r"Updated ipset clash_proxy_ips: 0 → 3 IPs")
        after = sup.mark()
        sup.ctl("refresh")
        sup.wait_log(r"[Uu]nchanged", after=after)
        self.assertFalse(sup.logged(r"Updated ipset|updating ipset \(", after))


class TheMarkOfTheSeed(HouseCase):
    def test_rules_and_routing_use_port_7893_mark_1_and_table_100(self):
        self.armed()
        rules = self.house.run("router", "iptables-save", "-t", "mangle")
        self.assertRegex(rules, r"-j TPROXY --on-port 7893 .*--tproxy-mark 0x1/0xffffffff")
        for family in ("-4", "-6"):
            self.assertRegex(
                self.house.run("router", "ip", family, "rule"), r"(?m)fwmark 0x1 lookup 100( proto 157)?\s*$"
            )
            self.assertRegex(
                self.house.run("router", "ip", family, "route", "show", "table", "100"), r"local default dev lo"
            )

    def test_tproxy_is_applied_within_a_second_of_the_start(self):
        begun = time.monotonic()
        sup = self.supervisor()
        applied = sup.wait_log(r"TProxy applied successfully")
        self.assertLess(applied.at - begun, 2.0)
        self.assertTrue(re.match(r"\[clash\] ", applied.text))
