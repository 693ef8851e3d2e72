"""Reload: clashsup's own configuration, Mihomo's, and what a dashboard can press."""

import os
import shutil
import signal
import threading
import time

from backends import on_each
from house import BUILD, CLIENT6, FAR4, FAR6, MIHOMO, OTHER4, SLOW, HouseCase, alive, ask_on, config, wait_for


def children(pid):
    """Names and pids of a process's children."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as f:
            for child in f.read().split():
                try:
                    with open(f"/proc/{child}/cmdline", "rb") as c:
                        found[int(child)] = c.read().decode(errors="replace").split("\0")
                except FileNotFoundError:
                    pass
    return found


def helper(sup, role):
    """The pid of the helper in this role, or None."""
    for pid, words in children(sup.process.pid).items():
        if role in words[:2]:
            return pid
    return None


class ReloadCase(HouseCase):
    def reload(self, sup, conf=None, more=""):
        """The file becomes this; what `clashsup reload` says was done."""
        sup.configure(conf, more)
        return sup.ctl("reload").strip()

    def quiet(self, sup):
        """Until no run or look is under way any more."""
        sup.wait_status(lambda s: not s["extract"]["running"] and s["extract"]["last"], "extracted")
        time.sleep(0.5)


class Constant:
    """A client that asks all the time, a fresh flow each time; what was not as wanted."""

    def __init__(self, case, want="proxied", dst=FAR4, gap=0.002):
        self.case, self.want, self.dst, self.gap = case, want, dst, gap
        self.bad, self.asked = [], 0
        self.over = threading.Event()
        self.sockets = [case.house.socket("client", 2, 2) for _ in range(3000)]

    def __enter__(self):
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        time.sleep(0.1)
        return self

    def _run(self):
        self.begun = time.monotonic()
        for s in self.sockets:
            if self.over.is_set():
                return
            s.settimeout(1.0 * SLOW)
            try:
                s.connect((self.dst, 7000))
                answer = ask_on(s)
            except OSError as e:
                answer = e
            self.asked += 1
            if getattr(answer, "via", None) != self.want:
                self.bad.append((round(time.monotonic() - self.begun, 3), answer))
            time.sleep(self.gap)

    def __exit__(self, *_):
        time.sleep(0.2)
        self.over.set()
        self.thread.join()
        for s in self.sockets:
            s.close()


class NothingDifferent(ReloadCase):
    def rules(self):
        """With their counters: rules that were put in again begin at 0."""
        text = self.house.run("router", "iptables-save", "-c", "-t", "mangle")
        return [line for line in text.splitlines() if "CLASH" in line]

    def test_a_reload_without_a_difference_touches_nothing(self):
        sup = self.armed()
        self.quiet(sup)
        status, probe, rules = sup.status(), helper(sup, "probe"), self.rules()
        pids = children(sup.process.pid).keys()
        after = sup.mark()
        self.assertEqual(sup.ctl("reload").strip(), "nothing changed")
        os.kill(sup.process.pid, signal.SIGHUP)
        sup.wait_log(r"reload: nothing changed", after=after + 1)
        time.sleep(0.3)
        now = sup.status()
        self.assertEqual(children(sup.process.pid).keys(), pids)
        self.assertEqual(helper(sup, "probe"), probe)
        self.assertEqual(now["mihomo"], status["mihomo"])
        self.assertEqual((now["since"], now["extract"]["last"]), (status["since"], status["extract"]["last"]))
        self.assertEqual(self.rules(), rules)
        self.assertFalse([line for line in sup.lines[after:] if "nothing changed" not in line.text])
        self.assertEqual(now["warnings"], status["warnings"])

    def test_another_order_of_keys_or_words_for_the_same_values_is_no_difference(self):
        sup = self.armed(conf={"tproxy": {"exclude_ports": "22, 80"}, "probe": {"interval": "1s", "fall": "3"}})
        said = self.reload(sup, {"probe": {"fall": "3", "interval": "1000ms"}, "tproxy": {"exclude_ports": "22 80"}})
        self.assertEqual(said, "nothing changed")

    def test_a_list_in_a_file_counts_by_what_the_file_holds(self):
        sup = self.supervisor()
        path = os.path.join(sup.dir, "list")
        with open(path, "w", encoding="utf-8") as f:
            f.write(OTHER4 + "\n")
        conf = {"tproxy": {"exclude_ips": "@" + path}}
        sup.wait_state("armed")
        self.assertIn("exclude_ips", self.reload(sup, conf))
        self.assertEqual(sup.ctl("reload").strip(), "nothing changed")
        with open(path, "a", encoding="utf-8") as f:
            f.write(FAR4 + "\n")
        self.assertIn("exclude_ips", sup.ctl("reload"))
        self.house.until("direct", "client", "tcp", FAR4)


class ABadFile(ReloadCase):
    def test_the_old_settings_stay_and_everything_says_file_and_line(self):
        sup = self.armed(conf={"tproxy": {"exclude_ips": OTHER4}})
        pid, probe = sup.mihomo_pid, helper(sup, "probe")
        sup.configure({"tproxy": {"exclude_ips": FAR4}}, more="[probe]\nintervall = 1s\nfall = many\n")
        done = sup.ctl_done("reload")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"clashsup\.conf:\d+: .*intervall.*and 1 more")
        self.assertTrue(sup.logged(r"clashsup\.conf:\d+: .*intervall"))
        self.assertTrue(sup.logged(r"clashsup\.conf:\d+: fall = many"))
        status = sup.status()
        self.assertRegex(" ".join(status["warnings"]), r"clashsup\.conf:\d+: .*intervall")
        self.assertEqual((status["state"], status["mihomo"]["pid"], helper(sup, "probe")), ("armed", pid, probe))
        self.assertVia("direct", "client", "tcp", OTHER4)
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertIn("exclude_ips", self.reload(sup, {"tproxy": {"exclude_ips": FAR4}}))
        self.assertFalse(sup.status()["warnings"])
        self.house.until("direct", "client", "tcp", FAR4)

    def test_a_file_that_is_gone_is_refused(self):
        sup = self.armed()
        os.unlink(sup.conf_file)
        after = sup.mark()
        os.kill(sup.process.pid, signal.SIGHUP)
        sup.wait_log(r"clashsup\.conf: No such file", after=after)
        sup.configure()
        self.assertEqual(sup.status()["state"], "armed")

    def test_a_user_who_is_not_there_is_refused(self):
        sup = self.armed()
        sup.configure({"mihomo": {"user": "nobody-at-all"}})
        self.assertIn("nobody-at-all", sup.ctl_done("reload").stderr)
        self.assertEqual(sup.status()["state"], "armed")

    def test_a_mark_that_mihomo_uses_itself_is_refused(self):
        sup = self.armed(config(top=["routing-mark: 6666"]))
        sup.configure({"tproxy": {"mark": "6666"}})
        self.assertIn("routing-mark", sup.ctl_done("reload").stderr)
        self.assertEqual(sup.status()["state"], "armed")


class EachEffect(ReloadCase):
    def test_the_probes_interval_is_another_helpers_and_mihomo_is_left_alone(self):
        sup = self.armed()
        pid, probe, since = sup.mihomo_pid, helper(sup, "probe"), sup.status()["since"]
        self.assertIn("[probe] interval", self.reload(sup, {"probe": {"interval": "500ms"}}))
        wait_for(lambda: helper(sup, "probe") not in (None, probe), "another probe helper")
        wait_for(lambda: not alive(probe), "its end")
        status = sup.wait_status(lambda s: s["probe"]["ok"], "answering")
        self.assertEqual((status["mihomo"]["pid"], status["since"]), (pid, since))

    def test_fall_is_taken_in_passing(self):
        sup = self.armed(conf={"probe": {"interval": "100ms", "timeout": "200ms", "fall": "100"}})
        probe = helper(sup, "probe")
        self.reload(sup, {"probe": {"interval": "100ms", "timeout": "200ms", "fall": "2"}})
        self.assertEqual(helper(sup, "probe"), probe)
        pid = sup.mihomo_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            sup.wait_status(lambda s: s["child"] == "unhealthy", "hanging", 4)
        finally:
            os.kill(pid, signal.SIGCONT)
        sup.wait_state("armed")

    def test_the_log_level_is_taken_in_passing(self):
        sup = self.armed(conf={"log": {"level": "error"}})
        self.reload(sup, {"log": {"level": "info"}})
        after = sup.mark()
        sup.ctl("off")
        sup.wait_log("mode: mixed", after=after)

    def test_args_are_another_process_on_a_config_that_was_checked(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.assertIn("Mihomo is restarted", self.reload(sup, {"mihomo": {"args": "-m"}}))
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew")
        with open(f"/proc/{sup.mihomo_pid}/cmdline", "rb") as f:
            self.assertIn(b"-m", f.read().split(b"\0"))
        self.assertFalse(alive(pid))

    def test_a_binary_that_cannot_test_the_config_leaves_the_running_mihomo_alone(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.reload(sup, {"mihomo": {"binary": "/bin/false"}})
        sup.wait_status(lambda s: "stays in force" in " ".join(s["warnings"]), "told", 5)
        self.assertEqual((sup.mihomo_pid, sup.status()["state"]), (pid, "armed"))
        self.reload(sup)
        sup.wait_status(lambda s: not s["warnings"] and s["state"] == "armed", "content again", 5)

    def test_another_group_is_another_guard_and_another_process(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.reload(sup, {"mihomo": {"group": "7894"}})
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew")
        self.assertIn("--gid-owner 7894", self.house.run("router", "iptables-save"))
        self.assertVia("proxied", "router", "tcp", FAR4)

    def test_another_user_gets_what_is_his(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        os.chmod(sup.dir, 0o755)
        os.chown(sup.home, 65534, -1)
        self.reload(sup, {"mihomo": {"user": "65534"}})
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed anew")
        self.assertEqual(os.stat(f"/proc/{sup.mihomo_pid}").st_uid, 65534)
        self.assertEqual(os.stat(os.path.join(sup.rundir, "mihomo")).st_uid, 65534)
        sup.wait_status(lambda s: s["probe"]["ok"], "answering")
        sup.write("config.yaml", config(top=["mixed-port: 7891"]))
        sup.wait_log(r"reloading it")
        sup.wait_state("armed")

    def test_the_mode_of_the_file_counts_when_it_changes_and_the_commands_word_stays_otherwise(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        sup.ctl("off")
        sup.wait_state("mixed")
        self.reload(sup, {"probe": {"interval": "2s"}})
        self.assertEqual(sup.status()["mode"], "mixed")
        sup.ctl("on")
        sup.wait_state("armed")
        self.assertIn("mode", self.reload(sup, {"tproxy": {"mode": "mixed"}}))
        sup.wait_state("mixed")
        sup.ctl("on")
        sup.wait_state("armed")
        self.assertNotIn("mode", self.reload(sup, {"tproxy": {"mode": "mixed", "local": "no"}}))
        self.assertEqual((sup.status()["mode"], sup.mihomo_pid), ("tproxy", pid))
        self.reload(sup)
        sup.wait_state("armed")

    def test_the_port_goes_with_the_config_that_is_checked_for_it(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.reload(sup, {"tproxy": {"port": "7999"}})
        sup.wait_status(lambda s: s["state"] == "armed" and s["tproxy"]["port"] == 7999, "armed on another port")
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "udp", FAR6, CLIENT6)
        self.assertEqual(sup.mihomo_pid, pid)

    def test_the_control_socket_moves_and_the_old_one_goes(self):
        sup = self.armed()
        old, new = os.path.join(sup.rundir, "control.sock"), os.path.join(sup.dir, "ctl")
        sup.configure({"control": {"socket": new}})
        os.kill(sup.process.pid, signal.SIGHUP)
        wait_for(lambda: os.path.exists(new), "the new socket")
        self.assertEqual(sup.status()["state"], "armed")
        wait_for(lambda: not os.path.exists(old), "the old one is gone")

    def test_what_cannot_change_now_is_told_and_stays(self):
        sup = self.armed()
        said = self.reload(sup, {"state": {"dir": os.path.join(sup.dir, "elsewhere")}})
        self.assertIn("[state] dir", said)
        self.assertIn("started anew", said)
        self.assertIn("[state] dir", " ".join(sup.status()["warnings"]))
        self.reload(sup)
        self.assertFalse(sup.status()["warnings"])

    def test_the_extraction_is_done_anew_for_another_directory(self):
        sup = self.armed()
        other = os.path.join(sup.dir, "nodes")
        os.mkdir(other)
        with open(os.path.join(other, "n.yaml"), "w", encoding="utf-8") as f:
            f.write("proxies:\n  - {name: n, type: socks5, server: 45.45.45.101, port: 1}\n")
        sup.wait_members({"45.45.45.8"})
        self.reload(sup, {"extract": {"provider_dir": other}})
        sup.wait_members({"45.45.45.8", "45.45.45.101"})


STANDIN = os.path.join(BUILD, "tests", "standin")  # answers itself: what is lost was lost by us


@on_each("lists_change_without_a_moment_without_rules")
class ListsChange(HouseCase):
    # On nft the kernel fills the sets of networks that a transaction brings a moment behind the switch to its rules:
    # a list that says what is proxied may miss a packet or two then.
    KEYS = (
        ({"exclude_ips": OTHER4}, False),
        ({"exclude_ips": "@many " + OTHER4, "exclude_ports": "25"}, False),
        ({"exclude_ips": OTHER4, "on_death": "closed", "exclude_ifaces": "nosuch*"}, False),
        ({"exclude_ips": OTHER4, "include_src": "10.66.0.0/24 fd66::/64"}, True),
        ({"proxy_cidrs": "45.45.45.0/24", "exclude_ips": "45.45.45.7"}, True),
        ({"local": "no"}, True),
    )

    def on(self, backend):
        conf = {**backend.conf, "mihomo": {"binary": STANDIN}}
        sup = self.armed(conf=conf)
        pid, since, probe = sup.mihomo_pid, sup.status()["since"], helper(sup, "probe")
        many = os.path.join(sup.dir, "many")
        with open(many, "w", encoding="utf-8") as f:
            f.write("".join(f"11.{i >> 8}.{i & 255}.0/24\n" for i in range(5000)))
        with Constant(self) as client:
            for keys, says_what_is_proxied in self.KEYS:
                before = len(client.bad)
                keys = {k: v.replace("@many", "@" + many) for k, v in keys.items()}
                sup.configure({**conf, "tproxy": {**backend.conf["tproxy"], **keys}})
                self.assertIn("the rules are replaced", sup.ctl("reload"))
                via = "direct" if OTHER4 in keys.get("exclude_ips", "") else "proxied"
                self.house.until(via, "client", "tcp", OTHER4)
                time.sleep(0.3)
                may = 4 if says_what_is_proxied and backend.name == "nft" else 0
                self.assertLessEqual(len(client.bad) - before, may, f"{keys}: {client.bad}")
        self.assertGreater(client.asked, 100)
        status = sup.status()
        self.assertEqual((status["mihomo"]["pid"], status["since"], helper(sup, "probe")), (pid, since, probe))
        self.assertEqual(status["repairs"]["count"], 0)
        self.assertIn(status["delta"], ("none", None))
        left = [n for n in self.house.run("router", "ipset", "list", "-n").split() if "new" in n or "skip" in n]
        self.assertEqual(left, [])
        sup.stop()
        self.assertEqual(self.house.run("router", "ipset", "list", "-n").split(), [])


class RightBehindAnArming(ReloadCase):
    def test_rules_that_are_looked_at_for_the_first_time_are_judged_by_what_they_were_made_of(self):
        for _ in range(4):
            sup = self.supervisor(conf={"mihomo": {"binary": STANDIN}})
            sup.wait_log("TProxy applied")
            self.reload(sup, {"mihomo": {"binary": STANDIN}, "tproxy": {"exclude_ips": OTHER4}})
            self.house.until("direct", "client", "tcp", OTHER4)
            time.sleep(0.3)
            status = sup.status()
            self.assertEqual((status["state"], status["repairs"]["count"]), ("armed", 0))
            sup.end()


@on_each("names_and_marks_change_while_nothing_is_in")
class ApplyAnew(HouseCase):
    def on(self, backend):
        before = self.house.snapshot()
        sup = self.armed(conf=backend.conf)
        pid = sup.mihomo_pid
        keys = {"mark": "0x77", "table": "177", "pref": "177", "ipv6": "no"}
        sup.configure({"tproxy": {**backend.conf["tproxy"], **keys}, "ipset": {"name": "my_servers"}})
        self.assertIn("applied anew", sup.ctl("reload"))
        wait_for(lambda: self.house.members("my_servers"), "the other set")
        sup.wait_state("armed")
        self.assertIsNone(self.house.members())
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "udp", FAR4)
        self.assertVia("direct", "client", "tcp", FAR6, CLIENT6)
        rules = self.house.run("router", "ip", "-4", "rule")
        self.assertIn("fwmark 0x77 lookup 177", rules)
        self.assertNotIn("lookup 100", rules)
        self.assertEqual(sup.mihomo_pid, pid)
        time.sleep(3.5)  # the lease would be over by now
        self.assertVia("proxied", "client", "tcp", FAR4)
        sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed again")
        self.assertVia("proxied", "client", "tcp", FAR4)
        sup.stop()
        self.assertEqual(self.house.snapshot(), before)


class AnotherBackend(ReloadCase):
    def test_iptables_nft_and_back_leave_nothing_behind(self):
        before = self.house.snapshot()
        sup = self.armed(conf={"tproxy": {"backend": "iptables", "on_death": "closed"}})
        for backend in ("nft", "iptables", "nft"):
            self.reload(sup, {"tproxy": {"backend": backend, "on_death": "closed"}})
            sup.wait_status(lambda s, b=backend: s["state"] == "armed" and s["backend"] == b, f"armed by {backend}")
            self.assertVia("proxied", "client", "tcp", FAR4)
            self.assertEqual(self.house.chain() is None, backend == "nft")
        sup.stop()
        self.assertEqual(self.house.snapshot(), before)

    def test_while_mihomo_is_dead_it_waits_for_what_stands_to_go(self):
        sup = self.armed(conf={"tproxy": {"backend": "iptables", "on_death": "closed"}})
        sup.take_mihomo_away()
        sup.kill_mihomo()
        sup.wait_status(lambda s: s["net"] == "direct", "direct")
        self.reload(sup, {"tproxy": {"backend": "iptables"}, "ipset": {"name": "my_servers"}})
        sup.bring_mihomo_back()
        sup.ctl("start")
        sup.wait_state("armed")
        self.assertIsNotNone(self.house.members("my_servers"))
        self.assertIsNone(self.house.members())
        self.assertIsNone(self.house.run("router", "iptables", "-S", "CLASH_CLOSED", check=False) or None)


class MihomosConfig(ReloadCase):
    def test_a_bad_edit_names_file_and_line_and_the_good_copy_outlives_mihomo(self):
        sup = self.armed()
        with open(os.path.join(sup.rundir, "mihomo", "config.yaml"), "rb") as f:
            copy = f.read()
        pid = sup.mihomo_pid
        sup.write("config.yaml", "mode: rule\nproxies: [\nrules: {\n")
        status = sup.wait_status(lambda s: s["warnings"], "told", 5)
        self.assertRegex(status["warnings"][0], r"last good config stays in force: \S+/config\.yaml:\d+: ")
        self.assertEqual(status["state"], "armed")
        os.kill(pid, signal.SIGKILL)
        status = sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != pid, "armed again")
        self.assertRegex(" ".join(status["warnings"]), r"/config\.yaml:\d+: ")
        with open(os.path.join(sup.rundir, "mihomo", "config.yaml"), "rb") as f:
            self.assertEqual(f.read(), copy)
        self.assertVia("proxied", "client", "tcp", FAR4)

    def test_the_same_bytes_again_touch_nothing(self):
        sup = self.armed()
        self.quiet(sup)
        status, after = sup.status(), sup.mark()
        with open(sup.config_file, encoding="utf-8") as f:
            text = f.read()
        sup.write("config.yaml", text)
        time.sleep(1)
        now = sup.status()
        for member in ("mihomo", "since", "state", "ipset", "extract"):
            self.assertEqual(now[member], status[member])
        self.assertEqual([line for line in sup.lines[after:]], [])

    def test_a_config_that_is_still_bad_is_looked_at_by_reload(self):
        sup = self.supervisor(config(rules=["NO-SUCH-RULE,x,DIRECT"]))
        sup.wait_state("waiting")
        self.assertEqual(sup.ctl("reload").strip(), "Mihomo's config is looked at")
        self.assertEqual(sup.wait_state("waiting")["mihomo"]["pid"] or 0, 0)

    def test_geodata_that_cannot_be_had_names_the_file_and_its_place(self):
        sup = self.armed()
        for rule, name in (
            ("GEOIP,CN,DIRECT", "geoip.metadb"), ("GEOSITE,cn,DIRECT", "GeoSite.dat"), ("IP-ASN,1,DIRECT", "ASN.mmdb")
        ):
            with self.subTest(name):
                sup.write("config.yaml", config(rules=[rule, "MATCH,relay"]))
                place = os.path.join(sup.home, name)
                status = sup.wait_status(lambda s, p=place: p in " ".join(s["warnings"]), f"telling of {place}", 15)
                self.assertIn("put that file there", " ".join(status["warnings"]))
                self.assertNotIn("releases/download", " ".join(status["warnings"]))
                self.assertEqual(status["state"], "armed")

    def test_what_only_the_rules_depend_on_is_followed_without_a_moment_without_them(self):
        sup = self.armed(config(log="warning"))
        pid, since = sup.mihomo_pid, sup.status()["since"]
        with Constant(self) as client:
            sup.write("config.yaml", config(log="warning", top=["routing-mark: 6666"]))
            wait_for(lambda: "0x1a0a" in self.house.run("router", "iptables-save"), "the mark is in the rules")
            sup.wait_log("reloading it")
            sup.write("config.yaml", config(log="warning"))
            wait_for(lambda: "0x1a0a" not in self.house.run("router", "iptables-save"), "the mark is out again")
            time.sleep(1)
        self.assertGreater(client.asked, 50)
        # What Mihomo itself or the far side loses is none of our affair: nothing goes past it.
        self.assertEqual([b for b in client.bad if getattr(b[1], "via", "") == "direct"], [])
        status = sup.status()
        self.assertEqual((status["mihomo"]["pid"], status["since"]), (pid, since))

    def test_a_change_right_behind_a_restart_in_place_does_not_kill_mihomo(self):
        sup = self.armed()
        sup.api("POST", "/restart")
        sup.write("config.yaml", config(top=["mixed-port: 7891"]))
        wait_for(lambda: ":7891" in self.house.run("router", "ss", "-ltn"), "the new config is in force")
        status = sup.wait_state("armed")
        # It has reloaded, or was restarted because it was not ready; what it must not be is killed by a reload.
        self.assertNotEqual((status["mihomo"]["last_exit"] or {}).get("signal"), signal.SIGHUP)


class ADashboard(ReloadCase):
    """What a dashboard can press."""

    def as_before(self, sup, pid, restarts=0):
        """Armed, by the same process, and it stays so."""
        sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["restarts"] == restarts, "armed", 10)
        time.sleep(1.5)
        status = sup.status()
        self.assertEqual(
            (status["state"], status["mihomo"]["pid"], status["mihomo"]["restarts"]), ("armed", pid, restarts)
        )
        self.assertVia("proxied", "client", "tcp", FAR4)
        self.assertVia("proxied", "client", "udp", FAR6, CLIENT6)

    def press(self, sup, method, path, body=None, expect=204):
        status, text = sup.api(method, path, body)
        self.assertEqual(status, expect, text)

    def test_reload_with_and_without_force_stays_armed(self):
        sup = self.armed()
        pid, after = sup.mihomo_pid, sup.mark()
        self.press(sup, "PUT", "/configs", '{"path":"","payload":""}')
        self.as_before(sup, pid)
        self.press(sup, "PUT", "/configs?force=true", '{"path":"","payload":""}')
        self.as_before(sup, pid)
        self.assertFalse(sup.logged("removing TProxy", after))

    def test_a_reload_of_nonsense_is_refused_by_mihomo_and_harms_nothing(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.press(sup, "PUT", "/configs?force=true", '{"payload":"proxies: ["}', expect=400)
        self.as_before(sup, pid)

    def test_restart_comes_back_armed_and_is_counted(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        for n in (1, 2):
            self.press(sup, "POST", "/restart", expect=200)
            self.as_before(sup, pid, n)

    def test_an_upgrade_that_cannot_download_breaks_nothing(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        try:
            self.press(sup, "POST", "/upgrade", expect=500)
        except TimeoutError:
            pass  # it gives up after 5 s, as we do
        self.as_before(sup, pid)

    def test_an_upgrade_is_another_binary_under_the_same_pid(self):
        sup = self.supervisor()
        sup.wait_state("armed")
        sup.stop()
        os.unlink(sup.binary)
        shutil.copy2(os.path.realpath(MIHOMO), sup.binary)
        sup.start()
        sup.wait_state("armed")
        pid = sup.mihomo_pid
        fresh = sup.binary + ".new"
        shutil.copy2(os.path.realpath(MIHOMO), fresh)  # as Mihomo does: the file is another one, then it executes it
        os.rename(sup.binary, sup.binary + ".old")
        os.rename(fresh, sup.binary)
        self.press(sup, "POST", "/restart", expect=200)
        self.as_before(sup, pid, 1)

    def test_its_modes_are_none_of_our_affair(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        self.press(sup, "PATCH", "/configs", '{"mode":"direct"}')
        time.sleep(0.3)
        self.assertEqual(sup.status()["state"], "armed")
        self.press(sup, "PATCH", "/configs", '{"mode":"rule"}')
        self.as_before(sup, pid)

    def test_tun_is_told_of_while_it_is_on(self):
        if not os.path.exists("/dev/net/tun"):
            self.skipTest("there is no /dev/net/tun here")
        sup = self.armed()
        pid = sup.mihomo_pid
        tun = '{"tun":{"enable":%s,"stack":"gvisor","auto-route":true,"auto-detect-interface":false}}'
        self.press(sup, "PATCH", "/configs", tun % "true")
        told = sup.wait_status(lambda s: "tun" in " ".join(s["surroundings"]), "telling of tun", 15)
        self.assertIn("interface", " ".join(told["surroundings"]))
        self.press(sup, "PATCH", "/configs", tun % "false")
        sup.wait_status(lambda s: "tun" not in " ".join(s["surroundings"]), "content again", 150)
        self.as_before(sup, pid)

    def test_a_tproxy_port_closed_goes_direct_and_opened_comes_back(self):
        sup = self.armed(config(top=["tproxy-port: 7893", "allow-lan: true"]))
        pid = sup.mihomo_pid
        self.press(sup, "PATCH", "/configs", '{"tproxy-port":0}')
        sup.wait_status(lambda s: s["net"] == "direct", "direct", 5)
        self.house.until("direct", "client", "tcp", FAR4)
        self.assertIn("listener", sup.status()["waiting_for"])
        self.press(sup, "PATCH", "/configs", '{"tproxy-port":7893}')
        self.as_before(sup, pid)

    def test_closing_all_connections_closes_them_and_nothing_else(self):
        sup = self.armed()
        pid = sup.mihomo_pid
        with self.house.open("client", "tcp", FAR4) as s:
            self.assertEqual(ask_on(s).via, "proxied")
            self.press(sup, "DELETE", "/connections")
            wait_for(lambda: ask_on(s).via == "lost", "the connection is closed")
        self.as_before(sup, pid)

    def test_all_of_it_leaves_nothing_behind(self):
        before = self.house.snapshot()
        sup = self.armed()
        for method, path, body in (
            ("PUT", "/configs?force=true", '{"path":"","payload":""}'),
            ("PATCH", "/configs", '{"mode":"global"}'),
            ("POST", "/restart", None),
            ("DELETE", "/connections", None),
        ):
            restarts = sup.wait_state("armed")["mihomo"]["restarts"]
            sup.api(method, path, body)
            if path == "/restart":  # else the next is asked of the one that is about to go
                sup.wait_status(lambda s, n=restarts: s["mihomo"]["restarts"] > n, "its restart")
        sup.wait_state("armed")
        self.assertEqual(sup.stop(), 0)
        self.assertEqual(self.house.snapshot(), before)


if __name__ == "__main__":
    import unittest

    unittest.main()
