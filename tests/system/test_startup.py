"""Starting never waits for what it need not, and says what it does wait for."""

import os
import shutil
import socket
import statistics
import tempfile
import time

from house import CLIENT6, DNS, FAR4, FAR6, PROGRAM, HouseCase, alive, config, wait_for

NAMED = "{name: n%d, type: socks5, server: n%d.example, port: 1080}"


class ArmingNeverWaitsForExtraction(HouseCase):
    def armed_in_ms(self, *args, **kw):
        times = []
        for _ in range(3):
            sup = self.supervisor(*args, **kw)
            # The names never answer and Mihomo needs none of them: readiness does not depend on them.
            status = sup.wait_state("armed", 15)
            times.append(status["tproxy"]["armed_in_ms"])
            self.last = status
            sup.end()
        return statistics.median(times)

    def test_a_thousand_names_without_an_answer_cost_arming_nothing(self):
        without = self.armed_in_ms(config(dns=DNS))
        self.house.set_zone({}, silent=True)
        nodes = ["{name: relay, type: socks5, server: 45.45.45.8, port: 1080, udp: true}"]
        nodes += [NAMED % (n, n) for n in range(1000)]
        with_names = self.armed_in_ms(config(proxies=nodes, dns=DNS))
        self.assertLessEqual(with_names, 2 * without + 20, f"{with_names} ms with names, {without} ms without")

    def test_packets_are_proxied_while_the_names_are_still_asked_for(self):
        self.house.set_zone({}, silent=True)
        nodes = ["{name: relay, type: socks5, server: 45.45.45.8, port: 1080, udp: true}"]
        nodes += [NAMED % (n, n) for n in range(1000)]
        sup = self.armed(config(proxies=nodes, dns=DNS))
        self.assertTrue(sup.wait_status(lambda s: s["extract"]["running"], "extracting", 2)["state"] == "armed")
        self.assertVia("proxied", "client", "tcp", FAR4)
        # The one literal among them is not kept waiting either.
        sup.wait_members({"45.45.45.8"}, timeout=3)
        self.assertTrue(sup.status()["extract"]["running"])


class WaitingIsAState(HouseCase):
    def waits(self, sup, *words, state="waiting", timeout=10):
        """It waits, says for what, and the network is direct meanwhile."""
        status = sup.wait_status(
            lambda s: s["state"] == state and all(w in told(s) for w in words),
            f"{state} and telling of {words}", timeout,
        )
        self.assertVia("direct", "client", "tcp", FAR4)
        self.assertVia("direct", "router", "udp", FAR6)
        self.assertIsNone(self.house.members())
        self.assertEqual(sup.ctl_done("status").returncode, 1)
        self.assertEqual(sup.ctl_done("status", "--live").returncode, 0)
        return status

    def test_no_config_at_all_then_one_appears(self):
        sup = self.supervisor(write_config=False)
        self.waits(sup, "config.yaml")
        self.assertEqual(sup.status()["mihomo"]["pid"] or 0, 0)
        self.assertFalse(os.path.exists(sup.config_file), "Mihomo was started and wrote a config of its own")
        sup.write("config.yaml", config())
        sup.wait_state("armed", 5)
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_a_bad_config_is_named_with_its_line_then_a_good_one_starts(self):
        sup = self.supervisor("mode: rule\nproxies: [\nrules: {\n")
        self.waits(sup, "config.yaml")
        sup.write("config.yaml", config())
        sup.wait_state("armed", 5)
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_a_config_that_mihomo_refuses_is_waited_out(self):
        sup = self.supervisor(config(rules=["NO-SUCH-RULE,x,DIRECT"]))
        self.waits(sup, "config.yaml")
        sup.write("config.yaml", config())
        sup.wait_state("armed", 5)

    def test_a_bad_edit_keeps_the_last_good_config_over_mihomos_death(self):
        sup = self.armed()
        with open(sup.config_file, encoding="utf-8") as f:
            good = f.read()
        sup.write("config.yaml", "proxies: [")
        sup.wait_status(lambda s: "config.yaml" in told(s), "told of the bad edit", 5)
        self.assertEqual(sup.status()["state"], "armed")
        pid = sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed again")
        self.assertVia("proxied", "client", "tcp", FAR4)
        sup.write("config.yaml", good)
        sup.wait_status(lambda s: s["state"] == "armed" and "config.yaml" not in told(s), "content again", 5)

    def test_tun_is_refused_by_name(self):
        sup = self.supervisor(config(top=["tun: {enable: true, stack: gvisor, auto-route: true}"]))
        self.waits(sup, "tun")
        sup.write("config.yaml", config())
        sup.wait_state("armed", 5)

    def test_mihomos_own_iptables_are_refused_by_name(self):
        sup = self.supervisor(config(top=["iptables: {enable: true, inbound-interface: lan}", "tproxy-port: 7893"]))
        self.waits(sup, "iptables")

    def test_a_routing_mark_equal_to_ours_is_refused_by_name(self):
        sup = self.supervisor(config(top=["routing-mark: 1"]))
        self.waits(sup, "routing-mark")
        sup.write("config.yaml", config(top=["routing-mark: 6666"]))
        sup.wait_state("armed", 5)
        self.assertVia("proxied", "router", "tcp", FAR4)

    def test_a_proxys_own_routing_mark_equal_to_ours_is_refused_too(self):
        node = "{name: relay, type: socks5, server: 45.45.45.8, port: 1080, udp: true, routing-mark: 0x1}"
        self.waits(self.supervisor(config(proxies=[node])), "routing-mark")

    def test_a_refusal_does_not_count_in_mode_mixed(self):
        sup = self.supervisor(config(top=["routing-mark: 1"]), conf={"tproxy": {"mode": "mixed"}})
        sup.wait_state("mixed", 5)

    def test_a_provider_that_never_answers_delays_arming_and_is_told(self):
        provider = "nodes: {type: http, url: 'http://45.45.45.2:8081/sub?token=geheim', path: ./p.yaml, proxy: DIRECT}"
        begun = time.monotonic()
        sup = self.supervisor(config(providers=[provider]))
        time.sleep(2)
        status = self.waits(sup, state="starting")
        self.assertTrue(status["waiting_for"], "it must say what it waits for")
        self.assertNotIn("geheim", told(status))
        # Mihomo gives a provider 20 s; until then its ports take connections only to close them.
        sup.wait_state("armed", 30)
        self.assertGreater(time.monotonic() - begun, 15, "armed while Mihomo still closed every connection")
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertFalse(sup.logged(r"^\[clash.*geheim"), "a URL was printed with its query")


class TheListener(HouseCase):
    def test_a_config_without_a_tproxy_port_is_armed_for_both_families(self):
        status = self.armed().status()
        self.assertEqual((status["tproxy"]["ipv4"], status["tproxy"]["ipv6"]), ("armed", "armed"))
        self.assertEqual(status["tproxy"]["port"], 7893)

    def test_allow_lan_false_is_no_hindrance(self):
        self.armed(config(top=["allow-lan: false"]))
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "udp", FAR6, CLIENT6)

    def test_the_users_file_is_never_written(self):
        text = config()
        sup = self.armed(text)
        with open(sup.config_file, encoding="utf-8") as f:
            self.assertEqual(f.read(), text)
        self.assertEqual(os.stat(os.path.join(sup.rundir, "mihomo")).st_mode & 0o777, 0o700)

    def test_a_tproxy_port_of_the_users_is_adopted(self):
        sup = self.armed(config(top=["tproxy-port: 7899", "allow-lan: true"]))
        self.assertEqual(sup.status()["tproxy"]["port"], 7899)
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "tcp", FAR6, CLIENT6)
        self.assertIn("--on-port 7899", "\n".join(self.house.chain()))

    def test_a_family_without_a_listener_is_left_out_with_the_reason(self):
        # allow-lan false: Mihomo's own tproxy-port listens on 127.0.0.1 alone.
        sup = self.armed(config(top=["tproxy-port: 7893", "allow-lan: false"]))
        tproxy = sup.status()["tproxy"]
        self.assertEqual(tproxy["ipv4"], "armed")
        self.assertNotEqual(tproxy["ipv6"], "armed")
        self.assertGreater(len(tproxy["ipv6"]), 8, "a reason, not a word")
        for proto in ("tcp", "udp"):
            self.assertVia("proxied", "client", proto, FAR4)
            self.assertVia("direct", "client", proto, FAR6, CLIENT6)

    def test_own_listeners_in_the_config_are_no_hindrance(self):
        listeners = "listeners: [{name: mine, type: mixed, port: 7777, listen: 127.0.0.1}]"
        self.armed(config(top=[listeners]))
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "udp", FAR4)

    def test_the_port_taken_by_another_program_is_told_and_the_network_stays_direct(self):
        taken = [self.house.socket("router", socket.AF_INET6, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        for s in taken:
            self.addCleanup(s.close)
            s.bind(("::", 7893))
        taken[0].listen()
        sup = self.supervisor()
        sup.wait_status(lambda s: "7893" in told(s) and str(os.getpid()) in told(s), "telling who has the port", 10)
        self.assertNotEqual(sup.status()["state"], "armed")
        self.assertVia("direct", "client", "tcp", FAR4)
        self.assertVia("direct", "client", "udp", FAR6, CLIENT6)
        for s in taken:
            s.close()
        sup.wait_state("armed")
        self.assertVia("proxied", "client", "tcp", FAR4)


class StartOverOldLife(HouseCase):
    def test_a_leftover_mihomo_is_ended_and_the_next_start_arms(self):
        sup = self.armed()
        old = sup.mihomo_pid
        sup.kill()
        wait_for(lambda: not alive(old), "Mihomo dies with its supervisor", 2)
        again = self.supervisor()
        again.wait_state("armed")
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_a_second_supervisor_in_the_same_network_is_refused(self):
        first = self.armed()
        second = self.supervisor()
        self.assertNotEqual(second.wait_exit(5), 0)
        self.assertTrue(second.lines, "it must say why")
        self.assertEqual(first.status()["state"], "armed")
        self.assertVia("proxied", "client", "tcp", FAR4)


def told(status):
    """All that a status says in words."""
    return " ".join([status.get("waiting_for") or "", *(status.get("warnings") or [])])


class WithoutCapabilities(HouseCase):
    def without(self, caps):
        """A program that runs clashsup without these capabilities."""
        directory = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        self.addCleanup(shutil.rmtree, directory)
        weak = os.path.join(directory, "clashsup")
        with open(weak, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\nexec setpriv --bounding-set {caps} "{PROGRAM}" "$@"\n')
        os.chmod(weak, 0o755)
        return weak

    def test_mihomo_runs_the_network_stays_direct_and_status_says_what_to_give(self):
        before = self.house.snapshot()
        sup = self.supervisor(program=self.without("-net_admin"))
        status = sup.wait_status(lambda s: s["child"] == "ready" and "NET_ADMIN" in s["tproxy"]["ipv4"], "saying why")
        self.assertIn("NET_ADMIN", status["backends"]["iptables"])
        self.assertVia("direct", "client", "tcp", FAR4)
        began = time.monotonic()
        self.assertEqual(sup.stop(), 0)
        self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(self.house.snapshot(), before)

    def test_with_those_of_a_container_it_arms_and_sees_a_restart_in_place(self):
        kept = "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw net_admin sys_chroot"
        sup = self.armed(program=self.without("-all," + ",".join("+" + cap for cap in kept.split())))
        with open(f"/proc/{sup.process.pid}/status", encoding="utf-8") as f:
            effective = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff:"))
        self.assertEqual(effective & 1 << 19, 0, "no SYS_PTRACE")
        for family in ("ipv4", "ipv6"):
            self.assertEqual(sup.status()["tproxy"][family], "armed")
        self.assertVia("proxied", "client", "tcp", FAR4)
        pid = sup.mihomo_pid
        sup.api("POST", "/restart")
        status = sup.wait_status(
            lambda s: s["state"] == "armed" and s["mihomo"]["restarts"] == 1, "armed again, counted", 5
        )
        self.assertEqual(status["mihomo"]["pid"], pid)
        self.assertVia("proxied", "client", "tcp", FAR4)
