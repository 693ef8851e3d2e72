"""etc/tproxy.sh: by hand beside a Mihomo that nobody supervises, and as [tproxy] backend = script."""

import os
import shutil
import signal
import subprocess
import tempfile
import time

from house import (
    CLIENT4, CLIENT6, FAR4, FAR6, MIHOMO, OTHER4, OTHER6, PROGRAM, PUBLIC4, PUBLIC6, RELAY4, ROOT, SLOW,
    HouseCase, config, wait_for,
)

SCRIPT = os.path.join(ROOT, "etc", "tproxy.sh")
GID = "7893"
LISTENER = 'listeners: [{name: t, type: tproxy, port: 7893, listen: "::", udp: true}]'
ORIGINS = (("client", CLIENT4, CLIENT6), ("client", PUBLIC4, PUBLIC6), ("router", None, None))


class ByHand(HouseCase):
    """The script with the variables of the contract; Mihomo runs from the first case to the last."""

    variant = "nft"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dir = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        for tool in ("iptables", "ip6tables"):
            for end in ("", "-restore", "-save"):
                os.symlink(shutil.which(f"{tool}-{cls.variant}{end}"), os.path.join(cls.dir, tool + end))
        with open(os.path.join(cls.dir, "config.yaml"), "w", encoding="utf-8") as f:
            f.write(config(top=(LISTENER,), log="warning"))
        cls.mihomo = cls.house.popen(
            "router", "setpriv", "--regid", GID, "--clear-groups", MIHOMO, "-d", cls.dir,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        cls.addClassCleanup(cls.mihomo.wait)
        cls.addClassCleanup(cls.mihomo.kill)
        wait_for(lambda: cls.house.shell("router", "ss -Hltun sport = 7893").count("\n") >= 2, "Mihomo listens", 30)

    def setUp(self):
        super().setUp()
        self.before = self.house.snapshot()
        self.house.shell("router", "ipset create clash_proxy_ips hash:ip")
        self.house.shell("router", "ipset create clash_proxy_ips6 hash:ip family inet6")
        self.addCleanup(self.clean)

    def clean(self):
        self.script("remove")
        for name in self.house.run("router", "ipset", "list", "-n").split():
            self.until_destroyed(name)

    def until_destroyed(self, name):
        # the kernel lets go of a set a moment after the rule
        wait_for(lambda: self.house.shell("router", f"ipset destroy {name} 2>&1 || :") == "", f"{name} is free")

    def script(self, verb, check=True, **values):
        """Runs it with the seed's variables; what is given replaces or adds. Its exit status and what it said."""
        env = {
            "PATH": f"{self.dir}:/usr/sbin:/usr/bin:/sbin:/bin", "PROXY_CIDRS": "", "EXCLUDE_SRC_CIDRS": "",
            "EXCLUDE_IFACES": "", "EXCLUDE_IPS": "", "PROXY_IPSET_NAME": "clash_proxy_ips", "EXCLUDE_PORTS": "",
            "TPROXY_PORT": "7893", "MARK": "0x1", "TABLE": "100", "CORE_GID": GID, **values,
        }
        env["XTABLES_LOCKFILE"] = self.house.env()["XTABLES_LOCKFILE"]
        done = subprocess.run(
            self.house.enter("router", SCRIPT, verb), env=env, capture_output=True, text=True, timeout=60
        )
        if check:
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.returncode, done.stderr

    def expect(self, via, origins=ORIGINS, dst=((FAR4, FAR6),)):
        for where, source4, source6 in origins:
            for proto in ("tcp", "udp"):
                for far4, far6 in dst:
                    for far, source in ((far4, source4), (far6, source6)):
                        with self.subTest(f"{proto} from {where} {source or ''} to {far} is {via}"):
                            self.assertVia(via, where, proto, far, source)

    def chain(self):
        text = self.house.run("router", os.path.join(self.dir, "iptables"), "-t", "mangle", "-S", "CLASH_TPROXY")
        return text.splitlines()

    def saved(self):
        return [
            [line for line in self.house.run("router", os.path.join(self.dir, tool), "-t", "mangle").splitlines()
             if line[:1] in "-" or line.startswith(":CLASH")]
            for tool in ("iptables-save", "ip6tables-save")
        ]


class ApplyAndRemove(ByHand):
    def test_apply_proxies_all_and_remove_leaves_nothing(self):
        self.script("apply")
        self.expect("proxied", dst=((FAR4, FAR6), (OTHER4, OTHER6)))
        self.assertTrue(any("match-set clash_proxy_ips dst -j RETURN" in rule for rule in self.chain()))
        self.script("remove")
        self.expect("direct")
        self.until_destroyed("clash_proxy_ips")
        self.until_destroyed("clash_proxy_ips6")
        self.assertEqual(self.house.snapshot(), self.before)

    def test_apply_again_is_the_same_and_remove_twice_is_no_error(self):
        self.script("apply")
        first = self.saved()
        self.assertGreater(len(first[0]), 30)
        self.script("apply")
        self.assertEqual(self.saved(), first)
        self.script("remove")
        self.script("remove")
        self.assertEqual(self.saved(), [[], []])

    def test_apply_with_other_values_replaces_what_was_there(self):
        self.script("apply", MARK="0x2", TABLE="200")
        self.expect("proxied", ORIGINS[:1])
        self.script("remove")  # which is told other values
        self.assertEqual(self.house.run("router", "ip", "rule", "show", "pref", "101"), "")
        self.assertEqual(self.house.shell("router", "ip route show table 200 2>/dev/null", check=False), "")
        self.expect("direct", ORIGINS[:1])

    def test_a_proxied_connection_survives_apply_again(self):
        self.script("apply")
        with self.house.open("client", "tcp", FAR4) as s:
            for _ in range(3):
                s.sendall(b"hello\n")
                self.assertIn(b"45.45.45.8", s.recv(4096))
                self.script("apply")

    def test_what_cannot_be_put_in_leaves_nothing(self):
        code, said = self.script("apply", check=False, EXCLUDE_IPS="no.such.name.invalid")
        self.assertEqual(code, 1)
        self.assertIn("could not be put in; all are out", said)
        code, said = self.script("apply", check=False, PROXY_IPSET_NAME="absent")
        self.assertEqual(code, 1)
        self.assertIn("there is no set absent: ipset create absent hash:ip", said)
        self.assertEqual(self.saved(), [[], []])
        self.assertEqual(self.house.run("router", "ip", "rule", "show", "pref", "101"), "")
        self.expect("direct", ORIGINS[:1])
        self.assertEqual(self.script("bad", check=False), (1, "tproxy.sh: usage: tproxy.sh apply|remove\n"))

    def test_rules_of_others_stay(self):
        rule = "PREROUTING -p udp -m udp --dport 9 -j ACCEPT"
        tool = os.path.join(self.dir, "iptables")
        self.house.shell("router", f"{tool} -t mangle -A {rule}; ip rule add pref 99 fwmark 0x1 lookup 100")
        self.addCleanup(self.house.shell, "router", f"{tool} -t mangle -D {rule}; ip rule del pref 99")
        self.script("apply")
        self.script("remove")
        self.assertEqual(self.saved()[0], ["-A " + rule])
        self.assertIn("lookup 100", self.house.run("router", "ip", "rule", "show", "pref", "99"))
        # somebody else's rule leads to the table: its route stays too
        self.assertIn("local default dev lo", self.house.run("router", "ip", "route", "show", "table", "100"))
        self.house.shell("router", "ip route del local default dev lo table 100")

    def test_the_lease_ends_everything_by_itself(self):
        self.house.shell("router", """
            ipset create lease hash:net timeout 3; ipset create lease6 hash:net family inet6 timeout 3""")
        self.script("apply", LEASE_IPSET_NAME="lease")
        self.expect("direct", ORIGINS[:1])  # nobody keeps it yet
        self.house.shell("router", """
            ipset add lease 0.0.0.0/1 -exist; ipset add lease 128.0.0.0/1 -exist
            ipset add lease6 ::/1 -exist; ipset add lease6 8000::/1 -exist""")
        kept = time.monotonic()
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "router", "udp", FAR6)
        self.mihomo.send_signal(signal.SIGSTOP)
        self.addCleanup(self.mihomo.send_signal, signal.SIGCONT)
        self.house.until("direct", "client", "udp", FAR4, timeout=4)
        self.house.until("direct", "router", "tcp", FAR6, timeout=1)
        self.assertLess(time.monotonic() - kept, 4.2 * SLOW)  # 3 s, the kernel's rounding, and how often we ask


class WhatIsLeftOut(ByHand):
    def test_each_exclusion_is_honoured(self):
        mac = self.house.run("client", "ip", "-br", "link", "show", "eth0").split()[2]  # /sys is the host's
        client, public, router = ORIGINS
        rows = (
            ({"EXCLUDE_IPS": f"{FAR4} 2a0f:4545::2/128"}, (client, router), ()),
            ({"EXCLUDE_PORTS": "22 6999-7001"}, (client, router), ()),
            ({"EXCLUDE_SRC_CIDRS": "10.66.0.0/24 fd66::/64"}, (client,), (public, router)),
            ({"EXCLUDE_SRC_CIDRS": mac}, (client, public), (router,)),
            ({"EXCLUDE_IFACES": "docker0 la*"}, (client,), (router,)),
            ({"EXCLUDE_IFACES": "wan"}, (router,), (client,)),
            ({"PROXY_CIDRS": f"{OTHER4} {OTHER6}"}, (client, router), ()),
            ({"PROXY_CIDRS": "45.45.45.0/24 2a0f:4545::/64"}, (), (client, router)),
            ({"INCLUDE_SRC_CIDRS": "10.66.0.0/24 fd66::2"}, (public,), (client,)),
            ({"INCLUDE_SRC_CIDRS": mac}, (), (client, public)),
            ({"LAN_IFACES": "wan wg*"}, (client,), ()),
            ({"LAN_IFACES": "l*"}, (), (client,)),
            ({"LOCAL": "no"}, (router,), (client,)),
            ({"CORE_GID": ""}, (router,), (client,)),
        )
        for values, direct, proxied in rows:
            with self.subTest(str(values)):
                self.script("apply", **values)
                self.expect("direct", direct)
                self.expect("proxied", proxied)

    def test_families_that_are_not_named_are_left_out_and_taken_out(self):
        self.script("apply")
        self.script("apply", FAMILIES="4")
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("direct", "client", "tcp", FAR6)
        self.assertEqual(self.saved()[1], [])
        self.script("apply", FAMILIES="6")
        self.assertVia("direct", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "tcp", FAR6)

    def test_servers_are_direct_and_the_port_itself_is_closed(self):
        self.script("apply")
        self.house.shell("router", f"ipset add clash_proxy_ips {FAR4}; ipset add clash_proxy_ips6 {FAR6}")
        self.expect("direct", (ORIGINS[0], ORIGINS[2]))
        for where, address in (("client", "10.66.0.1"), ("router", "127.0.0.1")):
            with self.subTest(where), self.assertRaises(OSError):
                self.house.open(where, "tcp", address, port=7893, timeout=0.5).close()


class ApplyAndRemoveLegacy(ApplyAndRemove):
    variant = "legacy"


class AsBackend(HouseCase):
    """NEEDS THE JOIN: every case here needs a daemon that runs [tproxy] backend = script."""

    CONF = {"tproxy": {"backend": "script", "script": SCRIPT}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
            conf.write(f"[tproxy]\nbackend = script\nscript = {SCRIPT}\n")
            conf.flush()
            said = subprocess.run([PROGRAM, "-c", conf.name, "check"], capture_output=True, text=True)
        if "backend" in said.stdout + said.stderr or "script" in said.stdout + said.stderr:
            cls.skipTest(cls, "this clashsup knows no backend = script yet")

    def expect(self, via):
        for where, source4, source6 in ORIGINS:
            for proto in ("tcp", "udp"):
                for far, source in ((FAR4, source4), (FAR6, source6)):
                    with self.subTest(f"{proto} from {where} {source or ''} to {far} is {via}"):
                        self.assertVia(via, where, proto, far, source)

    def test_it_is_armed_direct_after_a_death_armed_again_and_leaves_nothing(self):
        before = self.house.snapshot()
        sup = self.armed(conf=self.CONF)
        self.assertEqual(sup.status()["backend"], "script")
        self.expect("proxied")
        sup.take_mihomo_away()
        sup.kill_mihomo()
        self.house.until("direct", "client", "tcp", FAR4, timeout=2)
        wait_for(lambda: self.house.chain() is None, "the script has removed its rules", 10)
        self.expect("direct")
        sup.bring_mihomo_back()
        sup.wait_state("armed")
        self.expect("proxied")
        self.assertEqual(sup.stop(), 0)
        self.expect("direct")
        self.assertEqual(self.house.snapshot(), before)

    def test_servers_are_excluded_by_the_set(self):
        sup = self.armed(conf=self.CONF)
        sup.wait_members({RELAY4})
        self.assertIn("-A CLASH_TPROXY -m set --match-set clash_proxy_ips dst -j RETURN", self.house.chain())

    def test_sigkill_of_everything_ends_direct_by_the_lease(self):
        sup = self.armed(conf=self.CONF)
        mihomo = sup.mihomo_pid
        sup.kill()
        os.kill(mihomo, signal.SIGKILL) if os.path.exists(f"/proc/{mihomo}") else None
        killed = time.monotonic()
        self.house.until("direct", "client", "udp", FAR4, timeout=4)
        self.assertLess(time.monotonic() - killed, 3.2 * SLOW + 0.3)  # how often we ask
        self.house.run("router", PROGRAM, "-c", sup.conf_file, "cleanup")
        self.assertIsNone(self.house.chain())

    def test_a_script_that_fails_is_told_and_everything_is_direct(self):
        with tempfile.TemporaryDirectory() as place:
            bad = os.path.join(place, "bad.sh")
            with open(bad, "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\necho no such luck; exit 3\n")
            os.chmod(bad, 0o755)
            sup = self.supervisor(conf={"tproxy": {"backend": "script", "script": bad}})
            sup.wait_log(r"bad\.sh apply: exit status 3: no such luck", timeout=20)
            self.assertNotEqual(sup.status()["state"], "armed")
            self.expect("direct")
