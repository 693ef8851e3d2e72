"""What was there before the start is there after the stop: no more and no less."""

import signal
import time

from house import FAR4, HouseCase, wait_for

FOREIGN = """
ip rule add pref 50 fwmark 0x77 lookup 777
ip -6 rule add pref 50 fwmark 0x77 lookup 777
ip route add 46.0.0.0/8 via 45.45.45.2 table 777
ipset create foreign hash:ip
ipset add foreign 9.9.9.9
iptables -w -t mangle -A PREROUTING -m set --match-set foreign dst -j ACCEPT
iptables -w -t mangle -N FOREIGN
iptables -w -A FORWARD -s 1.2.3.4 -j DROP
ip6tables -w -t mangle -A OUTPUT -d 2a0f:9::/32 -j ACCEPT
"""
UNDO = """
iptables -w -t mangle -D PREROUTING -m set --match-set foreign dst -j ACCEPT
iptables -w -t mangle -X FOREIGN
iptables -w -D FORWARD -s 1.2.3.4 -j DROP
ip6tables -w -t mangle -D OUTPUT -d 2a0f:9::/32 -j ACCEPT
ipset destroy foreign
ip route flush table 777
ip rule del pref 50
ip -6 rule del pref 50
"""
PROBE = """
ipset create clash_probe hash:net family inet timeout 3
ipset create clash_probe6 hash:net family inet6 timeout 3
for table in mangle nat filter; do
	iptables -w -t $table -N CLASH_PROBE
	ip6tables -w -t $table -N CLASH_PROBE
done
iptables -w -t mangle -A CLASH_PROBE -m set --match-set clash_probe dst -j RETURN
"""


class BeforeEqualsAfter(HouseCase):
    def setUp(self):
        super().setUp()
        self.house.shell("router", FOREIGN)
        self.addCleanup(self.house.shell, "router", UNDO)
        self.before = self.house.snapshot()

    def nothing_is_left(self):
        self.assertEqual(self.house.snapshot(), self.before)
        self.assertEqual(self.house.pids("router"), [])
        self.assertVia("direct", "client", "tcp", FAR4)

    def test_after_sigterm(self):
        sup = self.armed()
        self.assertNotEqual(self.house.snapshot(), self.before)
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_sigint(self):
        sup = self.armed()
        self.assertEqual(sup.stop(signal.SIGINT), 0)
        self.nothing_is_left()

    def test_after_shutdown_over_the_socket(self):
        sup = self.armed()
        sup.ctl("shutdown")
        self.assertEqual(sup.wait_exit(), 0)
        self.nothing_is_left()

    def test_with_the_leftovers_of_a_probe_that_was_killed(self):
        self.house.shell("router", PROBE)
        self.assertNotEqual(self.house.snapshot(), self.before)
        sup = self.armed()
        self.assertFalse([l for l in self.house.run("router", "iptables-save").splitlines() if "CLASH_PROBE" in l])
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_mihomos_death_and_recovery(self):
        sup = self.armed()
        for n in (1, 2):
            sup.kill_mihomo()
            sup.wait_status(lambda s, n=n: s["state"] == "armed" and s["mihomo"]["restarts"] == n, f"death {n}", 8)
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_mode_switches(self):
        sup = self.armed()
        for _ in range(3):
            sup.ctl("off")
            sup.wait_state("mixed")
            sup.ctl("on")
            sup.wait_state("armed")
        sup.ctl("off")
        sup.wait_state("mixed")
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_a_stop_in_the_middle_of_the_start(self):
        sup = self.supervisor()
        sup.wait_log(r"Waiting for Mihomo to become healthy")
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_a_stop_while_mihomo_hangs(self):
        sup = self.armed(conf={"mihomo": {"stop_timeout": "1s"}})
        sup.kill_mihomo(signal.SIGSTOP)
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_waiting_for_a_config(self):
        sup = self.supervisor(write_config=False)
        sup.wait_state("waiting")
        self.assertEqual(sup.stop(), 0)
        self.nothing_is_left()

    def test_after_a_stop_at_any_moment_of_the_start(self):
        sup = self.supervisor()
        sup.stop()
        for delay in range(0, 300, 30):
            mark = sup.mark()
            sup.start()
            sup.wait_log("last good addresses", after=mark)
            time.sleep(delay / 1000)
            self.assertEqual(sup.stop(), 0)
            self.nothing_is_left()

    def test_after_cleanup_of_what_a_killed_supervisor_left(self):
        sup = self.armed()
        sup.kill()
        wait_for(lambda: not self.house.pids("router"), "no process is left", 3)
        self.assertNotEqual(self.house.snapshot(), self.before)
        sup.ctl("cleanup")
        self.nothing_is_left()

    def test_cleanup_with_nothing_to_do_exits_0(self):
        sup = self.supervisor()
        sup.wait_state("armed")
        sup.stop()
        self.assertEqual(sup.ctl_done("cleanup").returncode, 0)
        self.nothing_is_left()

    def test_while_it_runs_nothing_of_others_is_touched(self):
        self.armed()
        now = self.house.snapshot()
        for what, lines in self.before.items():
            with self.subTest(what):
                self.assertEqual([line for line in lines if line not in now[what]], [])
