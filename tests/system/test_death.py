"""Whatever dies or hangs: the network goes direct, soon, and comes back."""

import os
import signal
import time

from backends import on_each
from house import PROGRAM, SLOW, CLIENT6, FAR4, FAR6, FirstDirect, HouseCase, alive, config, wait_for

PROBE = {"interval": "200ms", "timeout": "500ms", "fall": "3"}
PROBE_BOUND = 3 * 0.2 + 0.5  # fall × interval + timeout


class TheSupervisorIsKilled(HouseCase):
    def test_mihomo_dies_with_it_and_the_network_is_direct_within_the_lease(self):
        sup = self.armed()
        mihomo = sup.mihomo_pid
        killed = time.monotonic()
        sup.kill()
        wait_for(lambda: not alive(mihomo), "Mihomo dies with its supervisor", 1)
        for proto, dst, source in (("tcp", FAR4, None), ("tcp", FAR6, CLIENT6)):
            self.house.until("direct", "client", proto, dst, source, timeout=6)
        took = time.monotonic() - killed
        # The last refresh may be just then: 3 s, and a little for asking.
        self.assertLess(took, 3.2 + 0.8)
        for where in ("client", "router"):
            for proto in ("tcp", "udp"):
                self.assertVia("direct", where, proto, FAR4)
                self.assertVia("direct", where, proto, FAR6)

    def tearDown(self):
        self.house.run("router", PROGRAM, "cleanup")

    def test_its_helpers_die_with_it(self):
        sup = self.armed()
        sup.kill()
        wait_for(lambda: not self.house.pids("router"), "no process is left in the router", 2)

    def test_the_next_start_leaves_no_trace_of_the_old_life(self):
        before = self.house.snapshot()
        sup = self.armed()
        sup.kill()
        again = self.armed()
        for tool in ("iptables-save", "ip6tables-save"):
            rules = self.house.run("router", tool, "-t", "mangle")
            self.assertEqual(rules.count("-A PREROUTING"), 1, rules)
            self.assertEqual(rules.count("-A OUTPUT"), 1, rules)
        for family in ("-4", "-6"):
            self.assertEqual(self.house.run("router", "ip", family, "rule").count("lookup 100"), 1)
        self.assertVia("proxied", "client", "tcp", FAR4)
        again.stop()
        self.assertEqual(self.house.snapshot(), before)

    def test_killed_at_any_moment_of_its_start_the_network_ends_direct(self):
        before = self.house.snapshot()
        for ms in (5, 20, 40, 60, 80, 110, 150):
            sup = self.supervisor()
            time.sleep(ms / 1000)
            sup.kill()
        self.house.until("direct", "client", "tcp", FAR4, timeout=6)
        self.house.until("direct", "router", "tcp", FAR6, timeout=6)
        again = self.armed()
        again.stop()
        self.assertEqual(self.house.snapshot(), before)


@on_each("the_network_is_direct_within_the_lease")
class BothAreKilledAtOnce(HouseCase):
    def tearDown(self):
        self.house.run("router", PROGRAM, "cleanup")

    def on(self, backend):
        sup = self.armed(conf=backend.conf)
        mihomo = sup.mihomo_pid

        def kill():
            sup.process.kill()
            os.kill(mihomo, signal.SIGKILL)

        with FirstDirect(self.house, gap=0.002) as lan:
            took = lan.after(kill) / 1000
        # nft hands a packet to a listener or to nobody: the LAN does not wait for the lease.
        self.assertLess(took, 0.3 * SLOW if backend.name == "nft" else 3.2)
        for where in ("client", "router"):
            for proto in ("tcp", "udp"):
                for dst in (FAR4, FAR6):
                    self.house.until("direct", where, proto, dst, timeout=4 - took)
        sup.kill()
        self.house.run("router", PROGRAM, "cleanup")


class MihomoIsKilled(HouseCase):
    def test_the_first_death_is_followed_by_a_restart_at_once(self):
        sup = self.armed()
        after = sup.mark()
        old = sup.kill_mihomo()
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != old, "armed again", 3)
        self.assertEqual(status["mihomo"]["restarts"], 1)
        self.assertEqual(status["mihomo"]["last_exit"]["signal"], signal.SIGKILL)
        self.assertTrue(sup.logged(r"\[clash-monitor\] Mihomo crashed, removing TProxy", after))
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_it_is_direct_within_a_tenth_of_a_second(self):
        sup = self.armed()
        sup.take_mihomo_away()
        sup.kill_mihomo()
        took = self.house.until("direct", "client", "udp", FAR4, timeout=3)
        # The last question may have waited its time-out of 0.3 s for a packet that was lost.
        self.assertLess(took, 0.5)

    def test_it_never_gives_up(self):
        sup = self.armed(conf={"restart": {"backoff_min": "100ms", "backoff_max": "300ms"}})
        for n in range(1, 7):
            sup.kill_mihomo()
            status = sup.wait_status(
                lambda s, n=n: s["state"] == "armed" and s["mihomo"]["restarts"] == n, f"armed after death {n}", 5
            )
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertEqual(status["mihomo"]["restarts"], 6)

    def test_a_mihomo_that_cannot_be_started_is_waited_for_and_told(self):
        sup = self.armed(conf={"restart": {"backoff_min": "100ms", "backoff_max": "300ms"}})
        sup.take_mihomo_away()
        sup.kill_mihomo()
        status = sup.wait_status(lambda s: s["state"] != "armed" and s["waiting_for"], "waiting", 3)
        self.assertVia("direct", "client", "tcp", FAR4)
        self.assertNotEqual(status["state"], "armed")
        sup.bring_mihomo_back()
        sup.wait_state("armed", 5)

    def test_its_children_die_with_it(self):
        # Its group is killed before the next instance starts, so that nothing holds the old ports.
        up = os.path.join(self.house.dir, "up")
        with open(up, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\nsleep 1000 </dev/null >/dev/null 2>&1 &\n")
        os.chmod(up, 0o755)
        sup = self.armed(conf={"mihomo": {"args": "-post-up " + up}})
        wait_for(lambda: "sleep" in self.names(), "the post-up's child runs", 3)
        old = sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != old, "armed again", 5)
        self.assertLessEqual(self.names().count("sleep"), 1)
        sup.stop()
        self.assertNotIn("sleep", self.names())

    def names(self):
        names = []
        for pid in self.house.pids("router"):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                    names.append(f.read().strip())
            except (FileNotFoundError, ProcessLookupError):
                pass
        return names


class MihomoHangs(HouseCase):
    def test_a_stopped_mihomo_is_disarmed_in_time_and_rearmed_when_it_answers(self):
        sup = self.armed(conf={"probe": PROBE})
        pid = sup.mihomo_pid
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            self.house.until("direct", "client", "tcp", FAR4, timeout=2 * PROBE_BOUND + 0.5)
            self.assertLess(time.monotonic() - stopped, 2 * PROBE_BOUND + 0.5)
            self.assertVia("direct", "client", "udp", FAR6, CLIENT6)
            self.assertNotEqual(sup.status()["state"], "armed")
            time.sleep(1)
            self.assertVia("direct", "client", "tcp", FAR4)
        finally:
            os.kill(pid, signal.SIGCONT)
        status = sup.wait_state("armed", 5)
        self.assertEqual(status["mihomo"]["pid"], pid)
        self.assertEqual(status["mihomo"]["restarts"], 0)
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_the_default_bound_is_five_seconds(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            self.house.until("direct", "client", "tcp", FAR4, timeout=10)
        finally:
            os.kill(pid, signal.SIGCONT)
        sup.wait_state("armed", 5)

    def test_one_that_hangs_for_too_long_is_killed_and_restarted(self):
        sup = self.armed(conf={"probe": PROBE, "mihomo": {"hang_kill": "1s"}})
        pid = sup.mihomo_pid
        os.kill(pid, signal.SIGSTOP)
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew", 10)
        self.assertEqual(status["mihomo"]["restarts"], 1)
        self.assertFalse(alive(pid))


class MihomoRestartsItself(HouseCase):
    def test_a_restart_over_the_api_is_disarmed_rearmed_and_counted(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        after = sup.mark()
        self.assertEqual(sup.api("POST", "/restart")[0], 200)
        sup.wait_log(r"TProxy reapplied successfully", after=after, timeout=10)
        status = sup.wait_state("armed")
        self.assertEqual(status["mihomo"]["pid"], pid)
        self.assertEqual(status["mihomo"]["restarts"], 1)
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "udp", FAR6, CLIENT6)

    def test_a_reload_of_a_provider_stays_armed(self):
        nodes = "proxies:\n  - {name: n1, type: ss, server: 45.45.45.101, port: 1, cipher: aes-128-gcm, password: x}\n"
        sup = self.armed(config(providers=["nodes: {type: file, path: ./nodes.yaml}"]), files={"nodes.yaml": nodes})
        after = sup.mark()
        self.assertEqual(sup.api("PUT", "/providers/proxies/nodes")[0], 204)
        self.stays_armed(sup, after)

    def test_a_reload_of_the_whole_config_stays_or_comes_back_armed_with_the_same_process(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.5)
        status = sup.wait_state("armed", 5)
        self.assertEqual(status["mihomo"]["pid"], pid)
        self.assertVia("proxied", "client", "tcp", FAR4)

    def stays_armed(self, sup, after):
        end = time.monotonic() + 2
        while time.monotonic() < end:
            self.assertVia("proxied", "client", "tcp", FAR4)
            self.assertIsNotNone(self.house.chain())
        self.assertEqual(sup.status()["state"], "armed")
        self.assertFalse(sup.logged(r"removing TProxy", after))
