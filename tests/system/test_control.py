"""The client: what it says, to whom, and with which exit status."""

import json
import os
import re
import signal
import subprocess

from house import FAR4, RELAY, HouseCase, alive, config


class TheClient(HouseCase):
    def test_status_exits_0_when_armed_1_when_not_and_3_when_nobody_answers(self):
        sup = self.armed()
        self.assertEqual(sup.ctl_done("status").returncode, 0)
        self.assertEqual(sup.ctl_done("status", "--live").returncode, 0)
        sup.ctl("stop")
        sup.wait_state("stopped")
        self.assertEqual(sup.ctl_done("status").returncode, 1)
        self.assertEqual(sup.ctl_done("status", "--live").returncode, 0)
        sup.stop()
        self.assertEqual(sup.ctl_done("status").returncode, 3)
        self.assertEqual(sup.ctl_done("status", "--live").returncode, 3)

    def test_status_json_has_every_member_of_version_1(self):
        sup = self.armed()
        sup.wait_members({"45.45.45.8"})
        status = sup.status()
        self.assertEqual(status["version"], 1)
        self.assertEqual((status["child"], status["net"], status["mode"]), ("ready", "armed", "tproxy"))
        self.assertEqual((status["backend"], status["on_death"]), ("iptables", "open"))
        self.assertTrue(alive(status["mihomo"]["pid"]))
        self.assertEqual(status["mihomo"]["restarts"], 0)
        self.assertEqual(status["tproxy"]["port"], 7893)
        self.assertGreater(status["tproxy"]["armed_in_ms"], 0)
        self.assertEqual((status["ipset"]["name"], status["ipset"]["ipv4"], status["ipset"]["ipv6"]),
                         ("clash_proxy_ips", 1, 0))
        self.assertEqual(status["backends"]["iptables"], "ok")
        self.assertLessEqual({"ok", "latency_ms", "fails"}, set(status["probe"]))
        self.assertLessEqual(
            {"running", "last", "duration_ms", "endpoints", "names", "unresolved", "skipped", "missed"}, set(status["extract"])
        )
        self.assertIsInstance(status["warnings"], list)

    def test_stop_keeps_the_supervisor_and_start_arms_again(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        sup.ctl("stop")
        sup.wait_state("stopped")
        self.assertFalse(alive(pid))
        self.assertIsNone(self.house.chain())
        self.assertVia("direct", "client", "tcp", FAR4)
        sup.ctl("start")
        sup.wait_state("armed")
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_restart_gives_a_new_mihomo(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        sup.ctl("restart")
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew")
        self.assertFalse(alive(pid))
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_ips_lists_the_addresses_in_order(self):
        nodes = [f"{{name: n{i}, type: socks5, server: 45.50.0.{i}, port: 1080}}" for i in (30, 4, 100)]
        sup = self.armed(config(proxies=[RELAY, *nodes]))
        wanted = ["45.45.45.8", "45.50.0.4", "45.50.0.30", "45.50.0.100"]
        sup.wait_members(set(wanted))
        self.assertEqual(sup.ctl("ips").split(), wanted)

    def test_anybody_may_ask_the_status_but_not_act(self):
        sup = self.armed()
        os.chmod(sup.dir, 0o755)  # the test's own directory; RUN is the program's
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sup.program, "-c", sup.conf_file]
        done = subprocess.run([*nobody, "status", "--json"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["state"], "armed")
        for command in (["stop"], ["ips"], ["refresh"], ["shutdown"], ["mode", "mixed"], ["signal", "CONT"]):
            with self.subTest(command):
                self.assertNotEqual(subprocess.run([*nobody, *command], capture_output=True).returncode, 0)
        self.assertEqual(sup.status()["state"], "armed")

    def test_signal_reaches_mihomo_by_name_and_number(self):
        sup = self.armed()
        pid, config_loads = sup.mihomo_pid, r"Initial configuration complete"
        mark = sup.mark()
        sup.ctl("signal", "SIGHUP")
        sup.wait_log(config_loads, after=mark)
        self.assertEqual(sup.mihomo_pid, pid)
        sup.ctl("signal", "9")
        sup.wait_status(lambda s: s["mihomo"]["pid"] not in (None, pid) and s["state"] == "armed", "armed anew")
        self.assertEqual(sup.status()["mihomo"]["last_exit"]["signal"], 9)

    def test_signal_reaches_mihomo_alone_not_its_group(self):
        sup = self.armed(config(), conf={"mihomo": {"args": self.args_file("-post-up", "sleep 30 &")}})
        pid = sup.mihomo_pid
        group = [int(p) for p in self.house.pids("router") if int(p) != pid and os.getpgid(int(p)) == pid]
        self.assertTrue(group)
        sup.ctl("signal", "TSTP")
        for member in group:
            with open(f"/proc/{member}/stat", encoding="utf-8") as f:
                self.assertNotEqual(f.read().rpartition(")")[2].split()[0], "T")
        sup.ctl("signal", "CONT")

    def args_file(self, *args):
        path = os.path.join(self.house.dir, "args")
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(a + "\n" for a in args))
        return "@" + path

    def test_hup_is_refused_until_mihomo_is_ready(self):
        sup = self.supervisor(config(), conf={"mihomo": {"args": self.args_file("-post-up", "sleep 2")}})
        sup.wait_status(lambda s: s["child"] == "starting" and s["mihomo"]["pid"], "starting")
        done = sup.ctl_done("signal", "HUP")
        self.assertEqual((done.returncode, done.stderr), (
            1, "clashsup: SIGHUP would end Mihomo now: it is starting; try again when it is ready\n"))
        sup.wait_state("armed")
        self.assertEqual(sup.status()["mihomo"]["restarts"], 0)

    def test_signal_says_so_when_there_is_no_mihomo(self):
        sup = self.armed()
        sup.ctl("stop")
        sup.wait_state("stopped")
        done = sup.ctl_done("signal", "USR1")
        self.assertEqual((done.returncode, done.stderr), (1, "clashsup: there is no Mihomo to signal: it is stopped\n"))
        self.assertEqual(sup.ctl_done("signal", "NONE").returncode, 2)

    def test_rules_prints_what_would_be_applied(self):
        sup = self.armed()
        text = sup.ctl("rules")
        self.assertIn("CLASH_TPROXY", text)
        self.assertIn("7893", text)
        self.assertIn("create clash_lease6 ", text)
        self.assertEqual(sup.ctl("rules", "--backend", "iptables"), text)
        self.assertIn("tproxy ip6 to [::1]:7893", sup.ctl("rules", "--backend", "nft"))
        self.assertEqual(sup.ctl_done("rules", "--backend", "pf").returncode, 2)

    def test_check_names_file_line_and_the_nearest_key(self):
        sup = self.armed()
        bad = os.path.join(sup.dir, "bad.conf")
        with open(bad, "w", encoding="utf-8") as f:
            f.write("[probe]\nintervall = 1s\n")
        done = subprocess.run([sup.program, "-c", bad, "check"], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout + done.stderr, r"bad\.conf:2: .*interval")
        self.assertEqual(sup.ctl_done("check").returncode, 0)

    def test_run_with_a_bad_setting_ends_at_once_and_names_it(self):
        sup = self.supervisor(conf={"probe": {"intervall": "1s"}})
        self.assertNotEqual(sup.wait_exit(5), 0)
        self.assertTrue(sup.logged(r"interval"))

    def test_extract_needs_no_supervisor(self):
        sup = self.supervisor()
        sup.wait_state("armed")
        sup.stop()
        found = json.loads(sup.ctl("extract", "--json", "--no-resolve", sup.config_file))
        self.assertEqual(found["version"], 1)
        self.assertEqual([(e["host"], e["port"]) for e in found["endpoints"]], [("45.45.45.8", 1080)])


class TheProcess(HouseCase):
    def test_mihomo_has_its_own_group_gid_and_few_capabilities(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        # Go keeps one thread, perhaps the first, that blocks all signals: ask what is blocked in every thread.
        self.assertEqual(blocked_everywhere(pid), 0)
        self.assertEqual(os.getpgid(pid), pid)
        self.assertEqual(status["Gid"].split(), ["7893"] * 4)
        allowed = sum(1 << c for c in (1, 10, 12, 13))  # DAC_OVERRIDE NET_BIND_SERVICE NET_ADMIN NET_RAW
        self.assertEqual(int(status["CapBnd"], 16) & ~allowed, 0)
        self.assertEqual(int(status["CapAmb"], 16), 0)

    def test_both_outputs_of_mihomo_are_passed_on(self):
        sup = self.armed()
        self.assertVia("proxied", "client", "tcp", FAR4)
        sup.wait_log(r'level=info msg="\[TCP\] ')

    def test_traffic_goes_on_when_nobody_reads_our_log(self):
        sup = self.armed()
        sup.reading.clear()
        # Some 150 bytes a line: more than a pipe and the backlog hold together.
        for _ in range(2000):
            self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertEqual(sup.status()["state"], "armed")
        sup.reading.set()
        sup.wait_log(r"lines? lost")

    def test_sigterm_ends_with_0_and_mihomo_first(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.assertEqual(sup.stop(signal.SIGTERM), 0)
        self.assertFalse(alive(pid))


def blocked_everywhere(pid):
    mask = -1
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as f:
            mask &= int(re.search(r"SigBlk:\s*(\w+)", f.read()).group(1), 16)
    return mask
