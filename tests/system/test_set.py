"""The set is true: before the rules, over restarts, as answers and files change, names in use first."""

import base64
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time

from house import DNS, SLOW, HouseCase, config, wait_for

NODE = "{{name: {0}, type: socks5, server: {1}, port: 1}}"


def node(name, server):
    return NODE.format(name, server)


def nodes(n, first=0):
    """A provider's file with n literals, and their addresses."""
    addresses = [f"45.46.{i >> 8}.{i & 255}" for i in range(first, first + n)]
    lines = [f"- {{name: n{i}, type: socks5, server: {a}, port: 1}}" for i, a in enumerate(addresses)]
    return "proxies:\n" + "\n".join(lines) + "\n", set(addresses)


class Spy:
    """Puts an iptables-restore before the real one that notes how many addresses the set has when rules go in."""

    def __init__(self, house):
        self.dir = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        self.log = os.path.join(self.dir, "seen")
        for tool in ("iptables-restore", "ip6tables-restore"):
            path = os.path.join(self.dir, tool)
            with open(path, "w", encoding="utf-8") as f:
                f.write(
                    "#!/bin/bash\n"
                    "text=$(cat)\n"
                    f"case $text in *CLASH_TPROXY*match-set*) ipset list clash_proxy_ips | grep -c '^4' >>{self.log} ;; esac\n"
                    f"exec {shutil.which(tool)} \"$@\" <<<\"$text\"\n"
                )
            os.chmod(path, 0o755)
        self.house, self.env = house, house.env
        house.env = lambda: {**self.env(), "PATH": self.dir + ":" + os.environ["PATH"]}

    def seen(self):
        with open(self.log, encoding="utf-8") as f:
            return [int(line) for line in f]

    def close(self):
        self.house.env = self.env
        shutil.rmtree(self.dir, ignore_errors=True)


class BeforeTheRules(HouseCase):
    def spy(self):
        spy = Spy(self.house)
        self.addCleanup(spy.close)
        return spy

    def test_literals_are_in_the_set_when_the_first_rule_goes_in(self):
        spy = self.spy()
        text, addresses = nodes(3000)
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": text})
        self.assertEqual(min(spy.seen()), 3001)
        sup.wait_members(addresses | {"45.45.45.8"})

    def test_and_again_when_mihomo_is_back(self):
        spy = self.spy()
        text, _ = nodes(200)
        sup = self.armed(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": text})
        after = sup.mark()
        sup.kill_mihomo()
        sup.wait_log("TProxy reapplied", after=after)
        self.assertEqual(min(spy.seen()), 201)

    def test_last_good_addresses_are_there_before_any_name_resolves(self):
        self.house.set_zone({"a.example": ["45.45.45.120", "2a0f:4545::120"]})
        mihomo = config(proxies=[node("a", "a.example")], rules=["MATCH,DIRECT"], dns=DNS)
        sup = self.armed(mihomo)
        sup.wait_members({"45.45.45.120", "2a0f:4545::120"})
        self.assertEqual(sup.stop(), 0)
        self.house.set_zone({}, silent=True)
        spy = self.spy()
        sup.start()
        sup.wait_state("armed")
        self.assertEqual(min(spy.seen()), 1)
        self.assertEqual(self.house.both_members(), {"45.45.45.120", "2a0f:4545::120"})


class LastGood(HouseCase):
    def started_again(self, harm):
        """A supervisor with one resolved name, stopped, its file of addresses harmed, started again."""
        self.house.set_zone({"a.example": ["45.45.45.122"]})
        sup = self.armed(config(proxies=[node("a", "a.example")], rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_members({"45.45.45.122"})
        self.assertEqual(sup.stop(), 0)
        path = os.path.join(sup.dir, "state", "addresses")
        self.assertTrue(os.path.exists(path))
        harm(path)
        sup.start()
        sup.wait_state("armed")
        return sup

    def test_a_corrupt_file_is_told_and_passed_over(self):
        def harm(path):
            with open(path, "r+b") as f:
                f.seek(10)
                f.write(b"\xff\x00\xff")

        after_all = self.started_again(harm)
        after_all.wait_log(r"^\[clash.*addresses")
        after_all.wait_members({"45.45.45.122"})

    def test_an_empty_one_too(self):
        self.started_again(lambda path: os.truncate(path, 0)).wait_members({"45.45.45.122"})

    def test_a_missing_one_is_nothing_to_talk_about(self):
        sup = self.started_again(os.unlink)
        sup.wait_members({"45.45.45.122"})
        self.assertFalse(sup.logged("addresses.*(cannot|damaged)"))

    def test_a_directory_that_takes_no_file_costs_one_warning(self):
        def harm(path):
            shutil.rmtree(os.path.dirname(path))
            with open(os.path.dirname(path), "w", encoding="utf-8"):
                pass

        sup = self.started_again(harm)
        sup.wait_members({"45.45.45.122"})
        sup.wait_log(r"^\[clash.*state")
        self.assertEqual(sup.status()["state"], "armed")

    def test_the_file_is_for_its_owner_alone(self):
        seen = []
        self.started_again(lambda path: seen.append(stat.S_IMODE(os.stat(path).st_mode)))
        self.assertEqual(seen, [0o600])


class Answers(HouseCase):
    def test_a_name_is_asked_again_when_its_ttl_is_over(self):
        self.house.set_zone({"a.example": ["45.45.45.123"]})  # the sandbox's server gives them 5 s
        sup = self.armed(config(proxies=[node("a", "a.example")], rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_members({"45.45.45.123"})
        self.house.set_zone({"a.example": ["45.45.45.124"]})
        sup.wait_members({"45.45.45.124"}, timeout=20)

    def test_a_name_without_an_answer_is_asked_again_by_itself(self):
        self.house.set_zone({})
        sup = self.armed(config(proxies=[node("a", "late.example")], rules=["MATCH,DIRECT"], dns=DNS))
        sup.wait_log(r"late\.example")
        self.house.set_zone({"late.example": ["45.45.45.125"]})
        sup.wait_members({"45.45.45.125"}, timeout=20)
        self.assertEqual(len(sup.logged(r"late\.example")), 1, "what is tried again is told once")

    def test_a_change_of_files_asks_only_for_what_is_new(self):
        self.house.set_zone({f"n{i}.example": [f"45.45.45.{100 + i}"] for i in range(20)}, ttl=600)
        provider = ["p: {type: file, path: ./p.yaml}"]
        files = {"p.yaml": "proxies:\n" + "".join(f"- {node(f'n{i}', f'n{i}.example')}\n" for i in range(10))}
        sup = self.armed(config(proxies=(), rules=["MATCH,DIRECT"], dns=DNS, providers=provider), files=files)
        sup.wait_members({f"45.45.45.{100 + i}" for i in range(10)})
        sup.wait_status(lambda s: not s["extract"]["running"], "the extraction's end")
        self.house.set_zone({f"n{i}.example": [f"45.45.45.{100 + i}"] for i in range(10, 20)}, ttl=600)
        sup.write("p.yaml", files["p.yaml"] + f"- {node('m', 'n12.example')}\n")
        sup.wait_members({f"45.45.45.{100 + i}" for i in range(10)} | {"45.45.45.112"}, timeout=3)
        sup.wait_status(lambda s: s["extract"]["unresolved"] == 0, "nobody was asked for in vain")

    def test_names_of_proxies_in_use_come_first(self):
        names = {f"n{i:02}.example": [f"45.45.45.{100 + i}"] for i in range(40)}
        self.house.set_zone(names, delay=0.15)
        proxies = [node(f"n{i:02}", f"n{i:02}.example") for i in range(40)]
        top = ["proxy-groups: [{name: G, type: select, proxies: [" + ", ".join(f"n{i:02}" for i in range(40)) + "]}]"]
        sup = self.armed(
            config(proxies=proxies, top=top, rules=["MATCH,G"], dns=DNS), conf={"extract": {"concurrency": "2"}}
        )
        self.assertEqual(sup.api("PUT", "/proxies/G", '{"name": "n33"}')[0], 204)
        sup.wait_status(lambda s: not s["extract"]["running"], "the first extraction's end", 30)
        sup.ctl("stop")
        wait_for(lambda: self.house.members() is None, "the set is gone")
        shutil.rmtree(os.path.join(sup.dir, "state"), ignore_errors=True)
        sup.end()
        sup.start()  # Mihomo remembers the choice
        sup.wait_state("armed")
        seen = []
        wait_for(lambda: seen.extend(m for m in self.house.members() or () if m not in seen) or len(seen) > 8, "a few", 20)
        self.assertIn("45.45.45.133", seen[:4], seen)


class Files(HouseCase):
    def test_a_stray_file_in_the_home_is_seen_when_it_comes_and_when_it_goes(self):
        sup = self.armed()
        sup.wait_members({"45.45.45.8"})
        text, addresses = nodes(2)
        sup.write("stray.yaml", text)
        sup.wait_members({"45.45.45.8"} | addresses, timeout=2)
        os.unlink(os.path.join(sup.home, "stray.yaml"))
        sup.wait_members({"45.45.45.8"}, timeout=2)

    def test_a_providers_directory_that_comes_later_is_seen(self):
        sup = self.armed(config(providers=["p: {type: file, path: ./later/deep/p.yaml}"]))
        sup.wait_members({"45.45.45.8"})
        text, addresses = nodes(2)
        sup.write("later/deep/p.yaml", text)
        sup.wait_members({"45.45.45.8"} | addresses, timeout=2)

    def test_a_symlink_that_is_switched_is_seen(self):
        one, first = nodes(2)
        two, second = nodes(2, 50)
        sup = self.supervisor(
            config(providers=["p: {type: file, path: ./p.yaml}"]), files={"v1/p.txt": one, "v2/p.txt": two}
        )
        os.symlink("v1", os.path.join(sup.home, "now"))
        os.symlink("now/p.txt", os.path.join(sup.home, "p.yaml"))
        sup.wait_state("armed")
        sup.wait_members({"45.45.45.8"} | first)
        os.symlink("v2", os.path.join(sup.home, "new"))
        os.rename(os.path.join(sup.home, "new"), os.path.join(sup.home, "now"))
        sup.wait_members({"45.45.45.8"} | second, timeout=2)

    def test_a_single_file_that_is_bind_mounted_is_seen_when_its_source_is_written(self):
        text, first = nodes(2)
        other, second = nodes(2, 50)
        sup = self.supervisor(config(providers=["p: {type: file, path: ./p.yaml}"]), files={"p.yaml": "proxies: []\n"})
        source, target = os.path.join(sup.dir, "outside.yaml"), os.path.join(sup.home, "p.yaml")
        with open(source, "w", encoding="utf-8") as f:
            f.write(text)
        subprocess.run(["mount", "--bind", source, target], check=True)
        self.addCleanup(subprocess.run, ["umount", target])
        sup.wait_state("armed")
        sup.wait_members({"45.45.45.8"} | first)
        with open(source, "w", encoding="utf-8") as f:
            f.write(other)
        sup.wait_members({"45.45.45.8"} | second, timeout=2)

    def test_share_links_and_base64_are_read_as_mihomo_reads_them(self):
        links = "trojan://x@45.46.1.1:443#a\nvless://5783a3e7-e373-51cd-8642-c83782b807c5@45.46.1.2:443#b\n"
        sup = self.armed(
            config(providers=["l: {type: file, path: ./l.txt}", "b: {type: file, path: ./b.txt}"]),
            files={"l.txt": links, "b.txt": base64.b64encode(links.replace("45.46.1", "45.46.2").encode()).decode()},
        )
        sup.wait_members({"45.45.45.8", "45.46.1.1", "45.46.1.2", "45.46.2.1", "45.46.2.2"})

    def test_a_server_behind_a_dialer_proxy_is_not_dialled_from_here(self):
        proxies = [
            "{name: relay, type: socks5, server: 45.45.45.8, port: 1080, udp: true}",
            "{name: far, type: socks5, server: 45.46.3.1, port: 1, dialer-proxy: relay}",
            "{name: near, type: socks5, server: 45.46.3.2, port: 1, dialer-proxy: DIRECT}",
        ]
        sup = self.armed(config(proxies=proxies))
        sup.wait_members({"45.45.45.8", "45.46.3.2"})
        sup.wait_status(lambda s: s["extract"]["endpoints"] == 3, "all three are counted")


class Many(HouseCase):
    """6,000 addresses: more than the kernel's set would have room for by default, and than a part of an answer holds."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text, cls.addresses = nodes(6000)

    def room(self):
        header = self.house.run("router", "ipset", "list", "-t", "clash_proxy_ips")
        return re.search(r"hashsize (\d+)", header).group(1)

    def test_the_set_does_not_have_to_grow(self):
        sup = self.armed()
        before = self.room()
        sup.write("nodes.yaml", self.text)
        sup.wait_members(self.addresses | {"45.45.45.8"})
        self.assertEqual(self.room(), before)

    def test_ips_lists_them_all_once(self):
        sup = self.armed(files={"nodes.yaml": self.text})
        sup.wait_members(self.addresses | {"45.45.45.8"})
        listed = sup.ctl("ips").split()
        self.assertEqual(len(listed), 6001)
        self.assertEqual(set(listed), self.addresses | {"45.45.45.8"})


class RefreshedByMihomo(HouseCase):
    SERVER = (
        "import http.server, socketserver, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        body = open(sys.argv[1], 'rb').read()\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body)\n"
        "    def log_message(self, *a): pass\n"
        "class S(http.server.ThreadingHTTPServer):\n"
        "    def server_bind(self): socketserver.TCPServer.server_bind(self)  # asks no DNS for its own name\n"
        "s = S(('45.45.45.2', 8088), H)\n"
        "print('ready', flush=True)\n"
        "s.serve_forever()\n"
    )

    def serve(self, path):
        web = self.house.popen("inet", "python3", "-c", self.SERVER, path, stdout=subprocess.PIPE)
        self.addCleanup(web.stdout.close)
        self.addCleanup(web.wait)
        self.addCleanup(web.kill)
        self.assertEqual(web.stdout.readline(), b"ready\n")

    def test_an_http_provider_is_in_the_set_within_a_second_of_its_refresh(self):
        page = os.path.join(self.house.dir, "subscription")
        text, first = nodes(3)
        with open(page, "w", encoding="utf-8") as f:
            f.write(text)
        self.serve(page)
        provider = "web: {type: http, url: 'http://45.45.45.2:8088/sub?token=secret', interval: 3600, proxy: DIRECT}"
        sup = self.armed(config(providers=[provider]))
        sup.wait_members({"45.45.45.8"} | first)
        text, second = nodes(3, 100)
        with open(page, "w", encoding="utf-8") as f:
            f.write(text)
        status, _ = sup.api("PUT", "/providers/proxies/web")
        refreshed = time.monotonic()
        self.assertEqual(status, 204)
        sup.wait_members({"45.45.45.8"} | second, timeout=2)
        self.assertLess(time.monotonic() - refreshed, 1 * SLOW)
        self.assertFalse(sup.logged("secret"), "an address with its token was told")

    def test_a_page_in_the_place_of_a_subscription_keeps_the_set(self):
        page = os.path.join(self.house.dir, "subscription")
        text, first = nodes(3)
        with open(page, "w", encoding="utf-8") as f:
            f.write(text)
        self.serve(page)
        sup = self.armed(config(providers=["web: {type: http, url: 'http://45.45.45.2:8088/', proxy: DIRECT}"]))
        sup.wait_members({"45.45.45.8"} | first)
        with open(page, "w", encoding="utf-8") as f:
            f.write("<!DOCTYPE html><html><body>expired</body></html>")
        self.assertEqual(sup.api("PUT", "/providers/proxies/web")[0], 503)
        after = sup.mark()
        sup.ctl("refresh")
        sup.wait_log("Proxy IPs unchanged", after=after)
        self.assertEqual(self.house.both_members(), {"45.45.45.8"} | first)


class Bombs(HouseCase):
    """Each ends in a clear reason within 2 s, the set unchanged."""

    MIB = 1024 * 1024

    def bombs(self):
        return {
            "deep.yaml": b"proxies: " + b"[" * 200000,
            "deep-map.yaml": b"proxies: " + b"{a: " * 200000,
            "alias.yaml": b"a0: &a0 [x]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 50)) for i in range(1, 12))
            + b"proxies: *a11\n",
            "line.yaml": b"proxies: " + b"a" * (63 * self.MIB),
            "line.txt.yaml": b"A" * (63 * self.MIB),
            "tiny.yaml": b"proxies: [" + b"a," * 1000000 + b"]",
            "tiny-maps.yaml": b"proxies:\n" + b"- {}\n" * 1000000,
            "nul.yaml": b"proxies:\n- {name: a, type: ss, server: 45.47.0.2, port: 1}\n\0\0\0",
            "utf8.yaml": b"proxies:\n- {name: a, type: ss, server: 45.47.0.3, port: 1}\n- \xff\xfe\xff\n",
        }

    def test_no_bomb_changes_the_set_and_each_is_named(self):
        # Mihomo reads the cache of an http provider once: the bombs are for us alone.
        text, addresses = nodes(2)
        provider = "p: {type: http, url: 'http://45.45.45.2:1/', path: ./p.yaml, interval: 86400}"
        sup = self.armed(config(providers=[provider]), files={"p.yaml": text})
        good = {"45.45.45.8"} | addresses
        sup.wait_members(good)
        for name, content in self.bombs().items():
            with self.subTest(name):
                sup.wait_status(lambda s: not s["extract"]["running"], "the extraction's end", 10)
                path = os.path.join(self.house.dir, name)
                with open(path, "wb") as f:
                    f.write(content)
                after = sup.mark()
                begun = time.monotonic()
                os.rename(path, os.path.join(sup.home, "p.yaml"))
                line = sup.wait_log(r"^\[clash.*p\.yaml", timeout=4, after=after)
                self.assertLess(line.at - begun, 2 * SLOW, line)
                sup.wait_log("Proxy IPs unchanged", after=after)
                self.assertEqual(self.house.both_members(), good)
                self.assertEqual(sup.status()["state"], "armed")
