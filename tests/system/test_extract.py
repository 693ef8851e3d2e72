"""The sets hold what good sources name, whatever the bad ones and the helper do."""

import os
import time

from badhelper import BadHelper
from house import DNS, HouseCase, alive, config, wait_for

GOOD = """proxies:
  - {name: n1, type: ss, server: 45.45.45.101, port: 8388, cipher: aes-128-gcm, password: x}
  - {name: n2, type: trojan, server: "2a0f:4545::102", port: 443, password: x}
"""


class BadSources(HouseCase):
    def test_a_bad_provider_file_is_named_and_the_others_are_in_the_set(self):
        sup = self.armed(
            config(
                providers=[
                    "good: {type: file, path: ./good.yaml}",
                    "bad: {type: file, path: ./broken.yaml}",
                ]
            ),
            files={"good.yaml": GOOD, "broken.yaml": "proxies: [ {name: x, server: }}} \n\t- ]"},
        )
        sup.wait_members({"45.45.45.8", "45.45.45.101", "2a0f:4545::102"})
        sup.wait_log(r"broken\.yaml")

    def test_a_bad_node_among_good_ones_is_skipped_and_named(self):
        nodes = GOOD + "  - {name: nobody, type: ss, port: 8388, cipher: aes-128-gcm, password: x}\n"
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": nodes})
        sup.wait_members({"45.45.45.8", "45.45.45.101", "2a0f:4545::102"})
        sup.wait_log(r"^\[clash.*p\.yaml.*")

    def test_a_name_without_an_answer_is_named_and_the_others_are_in_the_set(self):
        self.house.set_zone({"good.example": ["45.45.45.120", "2a0f:4545::120"]})
        nodes = [
            "{name: a, type: socks5, server: good.example, port: 1}",
            "{name: b, type: socks5, server: bad.example, port: 1}",
        ]
        sup = self.armed(config(proxies=nodes, rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_members({"45.45.45.120", "2a0f:4545::120"})
        sup.wait_log(r"^\[clash.*bad\.example")
        sup.wait_status(lambda s: s["extract"]["unresolved"] == 1, "one unresolved name counted", 5)

    def test_a_name_that_stops_resolving_keeps_its_addresses(self):
        self.house.set_zone({"good.example": ["45.45.45.121"]})
        node = "{name: a, type: socks5, server: good.example, port: 1}"
        sup = self.armed(config(proxies=[node], rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_members({"45.45.45.121"})
        self.house.set_zone({})
        after = sup.mark()
        sup.ctl("refresh")
        sup.wait_log(r"^\[clash.*good\.example", after=after)
        sup.wait_status(lambda s: not s["extract"]["running"], "the extraction's end")
        self.assertEqual(self.house.both_members(), {"45.45.45.121"})

    def test_a_literal_that_is_no_longer_named_leaves_the_set(self):
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": GOOD})
        sup.wait_members({"45.45.45.8", "45.45.45.101", "2a0f:4545::102"})
        sup.write("p.yaml", GOOD.replace("45.45.45.101", "45.45.45.109"))
        sup.wait_members({"45.45.45.8", "45.45.45.109", "2a0f:4545::102"}, timeout=3)

    def test_a_provider_file_that_breaks_keeps_its_last_good_addresses(self):
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": GOOD})
        sup.wait_members({"45.45.45.8", "45.45.45.101", "2a0f:4545::102"})
        after = sup.mark()
        sup.write("p.yaml", "<html><body>502 Bad Gateway</body></html>")
        sup.wait_log(r"^\[clash.*p\.yaml", after=after)
        time.sleep(0.5)
        self.assertEqual(self.house.both_members(), {"45.45.45.8", "45.45.45.101", "2a0f:4545::102"})

    def test_addresses_that_can_be_no_server_never_come_into_the_set(self):
        nodes = GOOD + "".join(
            f"  - {{name: s{n}, type: socks5, server: '{a}', port: 1}}\n"
            for n, a in enumerate(("127.0.0.1", "0.0.0.0", "224.0.0.1", "::1", "::", "ff02::1", "10.66.0.1", "fd66::1"))
        )
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": nodes})
        sup.wait_members({"45.45.45.8", "45.45.45.101", "2a0f:4545::102"})

    def test_inline_flow_anchors_and_merge_keys_are_read(self):
        text = config(
            providers=[
                "inline: {type: inline, payload: [{name: i1, type: socks5, server: 45.45.45.131, port: 1}]}",
                "file: {type: file, path: ./p.yaml}",
            ]
        )
        nodes = (
            "base: &b {type: socks5, port: 1, server: 45.45.45.132}\n"
            "proxies:\n  - {<<: *b, name: m1}\n  - <<: *b\n    name: m2\n    server: 45.45.45.133\n"
        )
        sup = self.armed(text, files={"p.yaml": nodes})
        sup.wait_members({"45.45.45.8", "45.45.45.131", "45.45.45.132", "45.45.45.133"})


class ACompromisedHelper(HouseCase):
    BEFORE = {"45.45.45.8", "45.45.45.101", "2a0f:4545::102"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bad = BadHelper()
        cls.enterClassContext(cls.bad)

    def changes_nothing(self, mode, timeout=10):
        self.bad.mode("good")
        sup = self.armed(
            config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": GOOD},
            program=self.bad.program, conf={"extract": {"timeout": "2s"}},
        )
        sup.wait_members(self.BEFORE)
        sup.wait_status(lambda s: not s["extract"]["running"], "the first extraction's end")
        self.bad.mode(mode)
        after = sup.mark()
        sup.ctl("refresh")
        sup.wait_log(r"^\[clash", after=after, timeout=timeout)
        wait_for(lambda: not self.extracting(), "the helper is gone", timeout)
        sup.wait_status(lambda s: not s["extract"]["running"], "the extraction's end", timeout)
        sup.wait_members(self.BEFORE, 3)  # what it brought before it was found out is taken back
        self.assertEqual(sup.status()["state"], "armed")
        self.assertVia("proxied", "client", "tcp", "45.45.45.2")
        # And it is of no lasting harm.
        self.bad.mode("good")
        sup.write("p.yaml", GOOD.replace("45.45.45.101", "45.45.45.105"))
        sup.wait_members(self.BEFORE - {"45.45.45.101"} | {"45.45.45.105"}, timeout)
        return sup.logged(r"^\[clash.*(extractor sent|[Ff]ailed)", after)

    def extracting(self):
        found = []
        for pid in self.house.pids("router"):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if b"extract" in f.read().split(b"\0") and alive(pid):
                        found.append(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def test_that_writes_garbage_is_killed_and_the_set_is_unchanged(self):
        self.assertTrue(self.changes_nothing("garbage"), "it must be told")

    def test_that_floods_is_killed_and_the_set_is_unchanged(self):
        self.assertTrue(self.changes_nothing("flood", 20), "it must be told")

    def test_that_hangs_is_killed_at_the_deadline_and_the_set_is_unchanged(self):
        self.assertTrue(self.changes_nothing("hang"), "it must be told")

    def test_that_names_loopback_changes_nothing(self):
        self.changes_nothing("loopback")

    def test_that_crashes_changes_nothing(self):
        self.assertTrue(self.changes_nothing("crash"), "it must be told")


class AModeSwitchDuringAnExtraction(HouseCase):
    def nothing_comes_after(self, sup, seconds):
        sup.ctl("off")
        sup.wait_state("mixed")
        wait_for(lambda: self.house.members() is None, "the set is gone")
        after = sup.mark()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.assertIsNone(self.house.members())
            self.assertIsNone(self.house.chain())
            time.sleep(0.1)
        self.assertFalse(sup.logged(r"Updated ipset|ipset updated", after))
        self.assertEqual(sup.status()["state"], "mixed")

    def test_changes_nothing_when_names_are_being_asked_for(self):
        self.house.set_zone({}, silent=True)
        node = "{name: a, type: socks5, server: slow.example, port: 1}"
        sup = self.armed(config(proxies=[node], rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_status(lambda s: s["extract"]["running"], "extracting")
        self.house.set_zone({"slow.example": ["45.45.45.140"]})
        self.nothing_comes_after(sup, 3)

    def test_changes_nothing_when_the_helper_answers_late(self):
        with BadHelper() as bad:
            bad.mode("late")
            sup = self.armed(program=bad.program)
            sup.wait_status(lambda s: s["extract"]["running"], "extracting")
            self.nothing_comes_after(sup, 3)
            sup.end()

    def test_and_back_fills_the_set_anew(self):
        self.house.set_zone({}, silent=True)
        node = "{name: a, type: socks5, server: slow.example, port: 1}"
        sup = self.armed(config(proxies=[node], rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_status(lambda s: s["extract"]["running"], "extracting")
        sup.ctl("off")
        sup.wait_state("mixed")
        self.house.set_zone({"slow.example": ["45.45.45.141"]})
        sup.ctl("on")
        sup.wait_state("armed")
        sup.wait_members({"45.45.45.141"})


class WhatTheSupervisorIsNot(HouseCase):
    def test_it_has_no_descriptor_of_a_file_it_must_not_read(self):
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": GOOD})
        held = [os.readlink(f"/proc/{sup.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{sup.process.pid}/fd")]
        self.assertFalse([h for h in held if h.startswith(sup.home)], held)
