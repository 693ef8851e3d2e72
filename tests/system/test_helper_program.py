"""clashsup-helper from outside: its roles, its records, its cage. Needs no root.

CLASHSUP_BUILD (or CLASHSUP_BUILD_DIR) names the build directory. A build with a sanitizer, or one run
under valgrind, has no cage: those cases are skipped, aloud.
"""
import http.server
import ipaddress
import json
import os
import resource
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("CLASHSUP_BUILD") or os.environ.get("CLASHSUP_BUILD_DIR") or os.path.join(ROOT, "build")
HELPER = os.path.join(BUILD, "clashsup-helper")
SETTING, ADDRESS, UNRESOLVED, FRESH, NAME, SOURCE, SUMMARY, HEALTH, DIALLED, NOTE = range(1, 11)
SET = {1: "tproxy-port", 2: "listener", 3: "allow-lan", 4: "bind-address", 5: "routing-mark", 6: "iptables", 7: "tun",
       8: "ipv6", 9: "fake-ip", 10: "dns-listen", 11: "controller-unix", 12: "watch", 13: "append", 14: "resolver",
       15: "dns-fallback"}


def fnv(text):
    h = 2166136261
    for byte in text.encode():
        h = (h ^ byte) * 16777619 & 0xFFFFFFFF
    return h or 1


def records(data, ttl=False):
    """The records in a byte string, as tuples; anything left over is a failure. ttl: addresses with theirs, last."""
    at = 0
    while at < len(data):
        version, kind, length = struct.unpack_from(">BBH", data, at)
        payload = data[at + 4:at + 4 + length]
        assert version == 2 and len(payload) == length, "a broken record"
        at += 4 + length
        if kind == SETTING:
            yield kind, SET[payload[0]], payload[1:].decode()
        elif kind == NOTE:
            yield kind, payload[0], payload[1:].decode()
        elif kind == ADDRESS:
            size = (4, 16)[payload[0]]
            yield (kind, str(ipaddress.ip_address(payload[1:1 + size])),
                   *struct.unpack(">III", payload[1 + size:])[:None if ttl else 2])
        elif kind == DIALLED:
            yield kind, str(ipaddress.ip_address(payload[1:]))
        elif kind in (UNRESOLVED, FRESH):
            yield (kind, *struct.unpack(">II", payload))
        elif kind == SOURCE:
            yield (kind, *struct.unpack(">I?", payload))
        elif kind == SUMMARY:
            yield (kind, *struct.unpack(">IIIII", payload))
        elif kind == HEALTH:
            yield (kind, *struct.unpack(">?HI", payload))
        else:
            raise AssertionError(f"unknown record type {kind}")


class Dns(threading.Thread):
    """A name server on loopback, UDP and TCP: {name: {"A": [...], "AAAA": [...], "rcode": N}}; None = stays silent.

    By UDP each answer is late by `delay` seconds, and `lost(n)` says whether the n-th question is lost; a connection
    is closed after `most` answers."""

    def __init__(self, names, big=(), delay=0, lost=lambda n: False, most=1 << 30):
        super().__init__(daemon=True)
        self.names, self.big, self.asked = names, set(big), []
        self.delay, self.lost, self.most, self.seen = delay, lost, most, 0
        for _ in range(50):
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.port = self.udp.getsockname()[1]
            self.tcp = socket.socket()
            try:
                self.tcp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen(16)
        threading.Thread(target=self.serve_tcp, daemon=True).start()
        self.start()

    def answer(self, query, over_udp):
        name, at = [], 12
        while query[at]:
            name.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question, name = query[12:at + 5], ".".join(name).lower()
        kind = {1: "A", 28: "AAAA"}[struct.unpack(">H", query[at + 1:at + 3])[0]]
        self.asked.append((name, kind, over_udp))
        known = self.names.get(name, {})
        if known is None:
            return None
        found = known.get(kind, [])
        flags = 0x8180 | (known.get("rcode", 0) if name in self.names else 3)
        if over_udp and name in self.big:
            flags, found = flags | 0x0200, []
        body = b""
        for text in found:
            raw = ipaddress.ip_address(text).packed
            body += b"\xc0\x0c" + struct.pack(">HHIH", 1 if kind == "A" else 28, 1, 60, len(raw)) + raw
        return query[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0) + question + body

    def run(self):
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if not query: # close() woke us
                return
            self.seen += 1
            reply = None if self.lost(self.seen) else self.answer(query, True)
            if reply:
                threading.Timer(self.delay, self.send, (reply, peer)).start()

    def send(self, reply, peer):
        try:
            self.udp.sendto(reply, peer)
        except OSError:
            pass

    def serve_tcp(self):
        while True:
            try:
                peer, _ = self.tcp.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as questions:
                for _ in range(self.most):
                    if not (size := questions.read(2)):
                        break
                    reply = self.answer(questions.read(struct.unpack(">H", size)[0]), False)
                    peer.sendall(struct.pack(">H", len(reply)) + reply)

    def close(self):
        for sock in (self.udp, self.tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


class Api(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Mihomo's API on a UNIX socket: /version with a status and a delay, /dns/query from a table, more by path."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path, names=None):
        self.status, self.delay, self.accepted, self.names, self.patched = 200, 0.0, 0, names or {}, []
        self.answers, self.asked = {}, []  # path: object, bytes, or None for 404; paths
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                time.sleep(api.delay)
                body, status = b'{"meta":true}', api.status
                api.asked.append(self.path)
                path = urllib.parse.unquote(self.path)
                if path in api.answers:
                    answer = api.answers[path]
                    status = 404 if answer is None else 200
                    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                if self.path.startswith("/dns/query?name="):
                    name, kind = self.path.split("name=")[1].split("&type=")
                    known = api.names.get(name)
                    status = 500 if known is None else 200
                    body = json.dumps({"Answer": [{"name": name, "type": 5, "data": "cname.example."}] + [
                        {"name": name, "type": 1, "data": text} for text in (known or {}).get(kind, [])]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_PATCH(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.patched.append((self.path, json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def address_string(self):
                return "unix"

            def log_message(self, *_):
                pass

        super().__init__(path, Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self):
        self.accepted += 1
        return super().get_request()

    def handle_error(self, *_):
        pass


class Case(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="helper")
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def run_role(self, *args, want=0, **kw):
        run = subprocess.run([HELPER, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, **kw)
        self.assertEqual(run.returncode, want, run.stderr.decode())
        return run

    def extract(self, *args, config="config.yaml", want=0):
        run = self.run_role("extract", *args, os.path.join(self.home, config), self.home, want=want)
        return list(records(run.stdout))

    def dns(self, *args, **kw):
        server = Dns(*args, **kw)
        self.addCleanup(server.close)
        return server

    def api(self, **kw):
        server = Api(os.path.join(self.home, "api.sock"), **kw)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server


def of(kind, found):
    return [r[1:] for r in found if r[0] == kind]


class Inspect(Case):
    def inspect(self, text, want=0, *args):
        path = self.write("config.yaml", text)
        return list(records(self.run_role("inspect", *args, path, self.home, want=want).stdout))

    def test_settings_come_and_a_summary_is_last(self):
        found = self.inspect("tproxy-port: 7893\nallow-lan: true\nproxy-providers: {f: {type: file, path: f.yaml}}\n")
        settings = dict(of(SETTING, found))
        self.assertEqual(settings["tproxy-port"], "7893")
        self.assertEqual(settings["allow-lan"], "yes")
        self.assertEqual(settings["watch"], os.path.join(self.home, "f.yaml"))
        self.assertEqual(settings["append"], "yes")
        self.assertEqual(found[-1], (SUMMARY, 0, 0, 0, 0, 0))

    def test_a_yaml_error_is_a_warning_with_its_line(self):
        found = self.inspect("a: 1\nb: {\n", 1)
        note, = (r for r in found if r[0] != SETTING)  # resolvers are told before
        self.assertEqual(note[:2], (NOTE, 1))
        self.assertRegex(note[2], "^line [0-9]+: ")

    def test_a_file_over_the_limit_or_absent_is_refused(self):
        self.assertIn("larger", of(NOTE, self.inspect("a: " + "b" * 4096, 1, "--max", "1K"))[0][1])
        run = self.run_role("inspect", os.path.join(self.home, "none.yaml"), self.home, want=1)
        self.assertIn("none.yaml", of(NOTE, records(run.stdout))[0][1])

    def test_thousands_of_providers_and_listeners_stay_below_what_the_supervisor_takes(self):
        found = self.inspect("proxy-providers:\n" + "".join(f"  p{i}: {{type: file, path: p{i}.yaml}}\n" for i in range(2000))
                             + "listeners:\n" + "- {type: tproxy, port: 1-16}\n" * 200)
        keys = [key for key, _ in of(SETTING, found)]
        self.assertEqual((keys.count("watch"), keys.count("listener"), keys[-1]), (256, 256, "append"))
        self.assertLess(len(keys), 1024)

    def test_wrong_arguments_exit_2(self):
        for args in ([], ["inspect"], ["nonsense"], ["probe", "x"], ["probe", "x", "0", "1"], ["list"],
                     ["extract", "--concurrency", "0", "a", "b"], ["extract", "--resolver", "nobody", "a", "b"],
                     ["extract", "--resolver", "mihomo", "a", "b"]):
            self.run_role(*args, want=2)


class Extract(Case):
    def test_literals_come_first_then_names_then_sources_then_the_summary(self):
        dns = self.dns({"n1.example": {"A": ["203.0.113.1", "203.0.113.2"], "AAAA": ["2001:db8::1"]}})
        config = self.write("config.yaml", "proxies:\n- {type: ss, server: N1.example, port: 1}\n"
                            "- {type: ss, server: 198.51.100.7, port: 1}\n- {type: ss, server: 198.51.100.7, port: 2}\n"
                            "- {type: ss, server: gone.example, port: 3}\n- {type: ss, port: 4}\n")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        source, host = fnv(config), fnv("n1.example")
        self.assertEqual(sorted(of(ADDRESS, found)), sorted([
            ("198.51.100.7", source, 0), ("203.0.113.1", source, host), ("203.0.113.2", source, host),
            ("2001:db8::1", source, host)]))
        self.assertEqual(next(r for r in found if r[0] == ADDRESS)[1], "198.51.100.7")
        self.assertEqual(of(UNRESOLVED, found), [(source, fnv("gone.example"))])
        self.assertEqual([r[0] for r in found[-2:]], [SOURCE, SUMMARY])
        self.assertEqual(found[-2][1:], (source, False))  # for one bad entry Mihomo keeps what it had
        self.assertEqual(found[-1][1:], (4, 2, 1, 1, 1))
        notes = "\n".join(text for _, text in of(NOTE, found))
        self.assertIn("gone.example: no such name", notes)
        self.assertIn(f"{config}:6: no server", notes)

    def test_providers_are_sources_of_their_own(self):
        f = self.write("f.yaml", "proxies: [{server: 203.0.113.2}]")
        url = "https://x.example/sub?token=1"
        cache = self.write("proxies/8348ce0246a26d7420c2c6a937c22a53", "proxies: [{server: 203.0.113.3}]")
        bad = self.write("bad.yaml", "proxies: [")
        config = self.write("config.yaml", f"""
proxy-providers:
  f: {{type: file, path: ./f.yaml}}
  again: {{type: file, path: f.yaml}}
  h: {{type: http, url: "{url}"}}
  i: {{type: inline, payload: [{{type: ss, server: 203.0.113.4}}]}}
  missing: {{type: http, url: "https://y.example/", path: y.yaml, payload: [{{server: 203.0.113.5}}]}}
  bad: {{type: file, path: bad.yaml}}
  gone: {{type: file, path: gone.yaml}}
""")
        found = self.extract("--resolver", "127.0.0.1:9")
        self.assertEqual(sorted(of(ADDRESS, found)), sorted([
            ("203.0.113.2", fnv(f), 0), ("203.0.113.3", fnv(cache), 0), ("203.0.113.4", fnv(config), 0),
            ("203.0.113.5", fnv(config), 0)]))
        complete = dict(of(SOURCE, found))
        self.assertEqual(complete, {fnv(config): True, fnv(f): True, fnv(cache): True, fnv(bad): False,
                                    fnv(os.path.join(self.home, "y.yaml")): False,
                                    fnv(os.path.join(self.home, "gone.yaml")): False})
        notes = of(NOTE, found)
        self.assertFalse([n for n in notes if "token" in n[1]], "a URL in a note")
        self.assertEqual({warn for warn, text in notes if "y.yaml" in text}, {0})
        self.assertEqual({warn for warn, text in notes if "gone.yaml" in text}, {1})

    def test_stray_files_count_when_they_have_proxies(self):
        os.mkdir(os.path.join(self.home, "dir"))
        stray = self.write("dir/s.yml", "proxies: [{server: 203.0.113.9}]")
        self.write("dir/rules.yaml", "payload: []")
        self.write("dir/broken.yaml", "proxies: [")
        self.write("dir/other.txt", "proxies: [{server: 203.0.113.10}]")
        self.write("config.yaml", "proxies: []")
        os.symlink(os.path.join(self.home, "config.yaml"), os.path.join(self.home, "dir/config.yaml"))
        found = self.extract("--provider-dir", os.path.join(self.home, "dir"))
        self.assertEqual(of(ADDRESS, found), [("203.0.113.9", fnv(stray), 0)])
        self.assertEqual(len(of(SOURCE, found)), 2)

    def test_a_providers_override_counts_for_all_its_entries(self):
        four, both = self.write("four.yaml", "proxies: [{server: 203.0.113.1}, {server: '2001:db8::1'}]"), self.write(
            "both.yaml", "proxies: [{server: '2001:db8::2', ip-version: ipv4}, {server: 203.0.113.2, dialer-proxy: x}]")
        far = self.write("far.yaml", "proxies: [{server: 203.0.113.3}]")
        near = self.write("near.yaml", "trojan://p@203.0.113.4:443#n")
        self.write("config.yaml", """
proxy-providers:
  four: {type: file, path: four.yaml, override: {ip-version: IPv4}}
  both: {type: file, path: both.yaml, override: {ip_version: dual, dialer-proxy: ""}}
  far: {type: file, path: far.yaml, override: {dialer-proxy: x}}
  own: {type: file, path: far.yaml, dialer-proxy: x, override: {dialer-proxy: ~}}
  near: {type: file, path: near.yaml, dialer-proxy: x, override: {Dialer_Proxy: DIRECT, override-expr: ['.a = 1']}}
  i: {type: inline, payload: [{server: 203.0.113.5}], override: {dialer-proxy: x}}
  j: {type: inline, payload: [{server: 203.0.113.6}], override: {additional-prefix: a}}
""")
        found = self.extract("--provider-dir", self.home)
        self.assertEqual(sorted(a[0] for a in of(ADDRESS, found)),
                         ["2001:db8::2", "203.0.113.1", "203.0.113.2", "203.0.113.4", "203.0.113.6"])
        self.assertEqual(len(of(SOURCE, found)), 5)
        self.assertEqual([text for _, text in of(NOTE, found)],
                         [f"{near}: override-expr may change servers: only Mihomo knows"])

    def test_a_file_that_two_providers_read_differently_counts_for_both(self):
        self.write("f.yaml", "proxies: [{server: 203.0.113.1}]")
        self.write("config.yaml", "proxy-providers:\n  a: {type: file, path: f.yaml, override: {dialer-proxy: x}}\n"
                   "  b: {type: file, path: f.yaml}\n  c: {type: file, path: ./f.yaml}\n")
        found = self.extract()
        self.assertEqual([a[0] for a in of(ADDRESS, found)], ["203.0.113.1"])
        self.assertEqual(len({source for source, _ in of(SOURCE, found)}), 3)

    def test_a_dialer_that_may_be_direct_is_known_where_its_group_comes_later(self):
        self.write("p.yaml", "proxies: [{server: 203.0.113.3, dialer-proxy: g}, {server: 203.0.113.4, dialer-proxy: n}]")
        self.write("config.yaml", """
proxies: [{server: 203.0.113.1, dialer-proxy: g}, {server: 203.0.113.2, dialer-proxy: n}]
proxy-providers: {p: {type: file, path: p.yaml}}
proxy-groups: [{name: g, proxies: [x, h]}, {name: h, proxies: [DIRECT]}, {name: n, proxies: [x]}]
""")
        self.assertEqual(sorted(a[0] for a in of(ADDRESS, self.extract())), ["203.0.113.1", "203.0.113.3"])

    def test_many_entries_behind_a_dialer_leave_the_other_providers_their_turn(self):
        groups = "".join(f"- {{name: g{i}, proxies: [{', '.join(f'x{k}' for k in range(50))}]}}\n" for i in range(40))
        self.write("a.yaml", "proxies:\n" + "- {server: 203.0.113.1, dialer-proxy: g39}\n" * 100000)
        self.write("b.yaml", "proxies: [{server: 203.0.113.2}]")
        self.write("config.yaml", "proxy-providers:\n  a: {type: file, path: a.yaml}\n  b: {type: file, path: b.yaml}\n"
                   "proxy-groups:\n" + groups)
        self.assertEqual([a[0] for a in of(ADDRESS, self.extract())], ["203.0.113.2"])

    def test_an_address_that_is_named_twice_counts_in_the_families_of_either(self):
        self.write("config.yaml", "proxies: [{server: '2001:db8::1', ip-version: ipv4}, {server: '2001:db8::1'}]")
        self.assertEqual([a[0] for a in of(ADDRESS, self.extract())], ["2001:db8::1"])

    def test_hosts_without_the_family_that_is_wanted_leave_the_name_servers_to_ask(self):
        dns = self.dns({"h.example": {"A": ["203.0.113.1"]}})
        self.write("config.yaml", "hosts: {h.example: '2001:db8::1'}\n"
                   "proxies: [{name: a, server: h.example, ip-version: ipv4}, {name: b, server: h.example}]")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        self.assertEqual(sorted(a[0] for a in of(ADDRESS, found)), ["2001:db8::1", "203.0.113.1"])

    def test_six_hundred_providers_are_all_read(self):
        names = "".join(f"  p{i}: {{type: file, path: p{i}.yaml}}\n" for i in range(600))
        for i in range(600):
            self.write(f"p{i}.yaml", f"proxies: [{{server: 203.0.{113 + i // 200}.{i % 200}}}]")
        self.write("config.yaml", "proxy-providers:\n" + names)
        found = self.extract()
        self.assertEqual((len(of(ADDRESS, found)), len(of(SOURCE, found)), found[-1][0]), (600, 601, SUMMARY))

    def test_more_sources_than_can_be_kept_are_told(self):
        names = "".join(f"  p{i}: {{type: http, path: p{i}.yaml}}\n" for i in range(5000))
        self.write("config.yaml", "proxies: [{server: 203.0.113.1}]\nproxy-providers:\n" + names)
        found = self.extract()
        self.assertEqual((len(of(ADDRESS, found)), len(of(SOURCE, found)), found[-1][0]), (1, 4096, SUMMARY))

    def test_special_and_fake_answers_are_dropped_and_told(self):
        dns = self.dns({"fake.example": {"A": ["198.18.3.4"]}, "lo.example": {"A": ["127.0.0.1"]},
                        "half.example": {"A": ["198.18.0.1", "203.0.113.1"]}})
        self.write("config.yaml", f"dns: {{enable: true, enhanced-mode: fake-ip, nameserver: ['127.0.0.1:{dns.port}']}}\n"
                   "proxies: [{server: fake.example}, {server: lo.example}, {server: half.example}, {server: 198.18.0.9},"
                   " {server: '::1'}]")
        found = self.extract()
        self.assertEqual([a[0] for a in of(ADDRESS, found)], ["203.0.113.1"])
        self.assertEqual(len(of(UNRESOLVED, found)), 2)
        self.assertIn("198.18.3.4", " ".join(text for _, text in of(NOTE, found)))

    def test_hosts_of_the_config_win_and_ask_nobody(self):
        dns = self.dns({"h.example": {"A": ["203.0.113.99"]}})
        self.write("config.yaml", "hosts: {h.example: 203.0.113.5}\nproxies: [{server: h.example}]")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        self.assertEqual([a[0] for a in of(ADDRESS, found)], ["203.0.113.5"])
        self.assertEqual(dns.asked, [])

    def test_no_aaaa_is_asked_when_ipv6_is_off(self):
        dns = self.dns({"a.example": {"A": ["203.0.113.1"], "AAAA": ["2001:db8::1"]}})
        self.write("config.yaml", "ipv6: false\nproxies: [{server: a.example}]")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        self.assertEqual([a[0] for a in of(ADDRESS, found)], ["203.0.113.1"])
        self.assertEqual([kind for _, kind, _ in dns.asked], ["A"])

    def test_an_answer_that_was_cut_is_asked_for_by_tcp(self):
        addrs = [f"203.0.113.{n}" for n in range(1, 61)]
        dns = self.dns({"big.example": {"A": addrs}}, big=["big.example"])
        self.write("config.yaml", "proxies: [{server: big.example}]")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        self.assertEqual(sorted(a[0] for a in of(ADDRESS, found)), sorted(addrs))
        self.assertIn(("big.example", "A", False), dns.asked)

    def test_a_tcp_server_is_asked_by_tcp_alone(self):
        dns = self.dns({"t.example": {"A": ["203.0.113.1"]}})
        self.write("config.yaml", f"dns: {{enable: true, proxy-server-nameserver: ['tcp://127.0.0.1:{dns.port}']}}\n"
                   "proxies: [{server: t.example}]")
        self.assertEqual(len(of(ADDRESS, self.extract())), 1)
        self.assertFalse([a for a in dns.asked if a[2]])

    def test_a_server_that_closes_its_connections_is_asked_on(self):
        names = {f"n{i}.example": {"A": [f"203.0.113.{i + 1}"]} for i in range(200)}
        dns = self.dns(names, most=20)
        self.write("config.yaml", f"dns: {{enable: true, proxy-server-nameserver: ['tcp://127.0.0.1:{dns.port}']}}\n"
                   "proxies:\n" + "".join(f"- {{server: {n}}}\n" for n in names))
        found = self.extract()
        self.assertEqual((len(of(ADDRESS, found)), of(UNRESOLVED, found)), (200, []))

    def test_silence_costs_one_name_its_time_and_the_others_nothing(self):
        dns = self.dns({"dead.example": None, **{f"n{i}.example": {"A": [f"203.0.113.{i}"]} for i in range(1, 201)}})
        self.write("config.yaml", "proxies:\n- {server: dead.example}\n" +
                   "".join(f"- {{server: n{i}.example}}\n" for i in range(1, 201)))
        begin = time.monotonic()
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}", "--name-timeout", "900", "--concurrency", "16")
        self.assertLess(time.monotonic() - begin, 3)
        self.assertEqual(len(of(ADDRESS, found)), 200)
        self.assertEqual(len(of(UNRESOLVED, found)), 1)
        self.assertEqual(found[-1][0], SUMMARY)

    def test_the_deadline_ends_all_and_the_run_is_still_whole(self):
        dns = self.dns({f"n{i}.example": None for i in range(100)})
        self.write("config.yaml", "proxies:\n" + "".join(f"- {{server: n{i}.example}}\n" for i in range(100)))
        begin = time.monotonic()
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}", "--timeout", "500", "--concurrency", "4")
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual(len(of(UNRESOLVED, found)), 100)
        self.assertEqual(len(of(NOTE, found)), 64)
        self.assertEqual(found[-1][0], SUMMARY)

    def test_a_server_that_is_not_there_fails_at_once(self):
        self.write("config.yaml", "proxies: [{server: a.example}]")
        begin = time.monotonic()
        found = self.extract("--resolver", "127.0.0.1:9")
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(len(of(UNRESOLVED, found)), 1)

    def test_all_servers_are_asked_and_their_answers_are_united(self):
        one, two = self.dns({"a.example": {"A": ["203.0.113.1"]}}), self.dns({"a.example": {"A": ["203.0.113.2"]}})
        self.write("config.yaml", "proxies: [{server: a.example}]")
        found = self.extract("--resolver", f"127.0.0.1:{one.port},127.0.0.1:{two.port}")
        self.assertEqual(sorted(a[0] for a in of(ADDRESS, found)), ["203.0.113.1", "203.0.113.2"])

    def test_a_dead_server_beside_a_living_one_costs_a_moment(self):
        names = {f"n{i}.example": {"A": [f"203.0.113.{i + 1}"]} for i in range(200)}
        dead, living = self.dns(dict.fromkeys(names)), self.dns(names)
        self.write("config.yaml", "proxies:\n" + "".join(f"- {{server: {n}}}\n" for n in names))
        begin = time.monotonic()
        found = self.extract("--resolver", f"127.0.0.1:{dead.port},127.0.0.1:{living.port}")
        self.assertLess(time.monotonic() - begin, 3)
        self.assertEqual(len(of(ADDRESS, found)), 200)

    def test_an_answer_that_comes_late_counts(self):
        dns = self.dns({"a.example": {"A": ["203.0.113.1"]}}, delay=1.2)
        self.write("config.yaml", "proxies: [{server: a.example}]")
        self.assertEqual(len(of(ADDRESS, self.extract("--resolver", f"127.0.0.1:{dns.port}"))), 1)

    def test_a_lossy_server_is_asked_again(self):
        names = {f"n{i}.example": {"A": [f"203.0.113.{i + 1}"]} for i in range(100)}
        dns = self.dns(names, lost=lambda n: n % 3 == 0)
        self.write("config.yaml", "proxies:\n" + "".join(f"- {{server: {n}}}\n" for n in names))
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        self.assertEqual((len(of(ADDRESS, found)), of(UNRESOLVED, found)), (100, []))

    def test_each_failure_has_its_reason(self):
        dns = self.dns({"fail.example": {"rcode": 2}, "refuse.example": {"rcode": 5}, "none.example": {},
                        "mute.example": None})
        self.write("config.yaml", "proxies: [{server: fail.example}, {server: refuse.example}, {server: none.example},"
                   " {server: mute.example}, {server: gone.example}, {server: a..b}]")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}", "--name-timeout", "1000")
        reasons = dict(text.split(": ", 1) for _, text in of(NOTE, found))
        self.assertEqual(reasons, {
            "fail.example": "the name server failed (SERVFAIL)", "refuse.example": "the name server refused",
            "none.example": "no address", "mute.example": "no answer in time", "gone.example": "no such name",
            "a..b": "not a name that can be asked for"})

    def test_a_name_beyond_ascii_is_asked_for_in_both_forms(self):
        dns = self.dns({"b\u00fccher.example": {"A": ["203.0.113.1"]},
                        "xn--bcher-kva.example": {"A": ["203.0.113.2"]}, "b\u00fc.example": {}})
        self.write("config.yaml", "proxies: [{server: b\u00fccher.example}, {server: \u2602\ufe0f.-b\u00fc-.example}]")
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}")
        self.assertEqual(sorted(a[0] for a in of(ADDRESS, found)), ["203.0.113.1", "203.0.113.2"])
        self.assertEqual(len(of(UNRESOLVED, found)), 1)

    def test_patterns_of_hosts_answer_and_a_policy_chooses_the_server(self):
        usual, other = self.dns({"a.example": {"A": ["203.0.113.1"]}}), self.dns({"x.b.example": {"A": ["203.0.113.2"]}})
        self.write("config.yaml", f"""
hosts: {{'+.c.example': 203.0.113.3, d.example: x.c.example}}
dns:
  enable: true
  proxy-server-nameserver: ['127.0.0.1:{usual.port}']
  proxy-server-nameserver-policy: {{'+.b.example': 'tcp://127.0.0.1:{other.port}'}}
proxies: [{{server: a.example}}, {{server: x.b.example}}, {{server: y.z.c.example}}, {{server: d.example}}]
""")
        found = self.extract()
        self.assertEqual(sorted({a[0] for a in of(ADDRESS, found)}), ["203.0.113.1", "203.0.113.2", "203.0.113.3"])
        self.assertEqual(of(UNRESOLVED, found), [])
        self.assertEqual({name for name, _, _ in usual.asked}, {"a.example"})

    def test_without_the_api_its_servers_are_asked(self):
        dns = self.dns({"a.example": {"A": ["203.0.113.1"]}})
        self.write("config.yaml", f"dns: {{enable: true, nameserver: ['127.0.0.1:{dns.port}', 'tls://1.1.1.1']}}\n"
                   "proxies: [{server: a.example}]")
        found = self.extract("--api", os.path.join(self.home, "nobody.sock"))
        self.assertEqual([a[0] for a in of(ADDRESS, found)], ["203.0.113.1"])

    def test_a_network_without_an_answer_is_given_up(self):
        names = [f"n{i}.example" for i in range(1000)]
        dns = self.dns(dict.fromkeys(names))
        self.write("config.yaml", "proxies:\n" + "".join(f"- {{server: {n}}}\n" for n in names))
        begin = time.monotonic()
        found = self.extract("--resolver", f"127.0.0.1:{dns.port}", "--name-timeout", "500")
        self.assertLess(time.monotonic() - begin, 4)
        self.assertEqual(len(of(UNRESOLVED, found)), 1000)

    def test_mihomo_is_asked_over_its_socket(self):
        api = self.api(names={"m.example": {"A": ["203.0.113.1"], "AAAA": ["2001:db8::2"]}})
        config = "dns: {enable: true, nameserver: ['https://doh.example/dns-query']}\n"
        self.write("config.yaml", config + "proxies: [{server: m.example}, {server: no.example}]")
        for args in (["--resolver", "mihomo"], []):
            found = self.extract("--api", api.server_address, *args)
            self.assertEqual(sorted(a[0] for a in of(ADDRESS, found)), ["2001:db8::2", "203.0.113.1"])
            self.assertEqual(len(of(UNRESOLVED, found)), 1)

    def test_an_api_that_hangs_costs_the_name_s_time(self):
        api = self.api()
        api.delay = 3
        self.write("config.yaml", "proxies: [{server: m.example}]")
        begin = time.monotonic()
        found = self.extract("--api", api.server_address, "--resolver", "mihomo", "--name-timeout", "300")
        self.assertLess(time.monotonic() - begin, 2)
        self.assertIn("no answer in time", of(NOTE, found)[0][1])

    def test_a_config_that_cannot_be_read_is_an_incomplete_source(self):
        found = self.extract(config="none.yaml")
        self.assertEqual(of(SOURCE, found), [(fnv(os.path.join(self.home, "none.yaml")), False)])
        self.assertEqual(found[-1], (SUMMARY, 0, 0, 0, 0, 1))


class ProbeCase(Case):
    def start(self, path, interval, timeout, *options):
        p = subprocess.Popen([HELPER, "probe", *options, path, str(interval), str(timeout)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.addCleanup(p.stdout.close)
        return p

    def told(self, p):
        p.stdin.close()
        data = p.stdout.read()
        self.assertEqual(p.wait(10), 0)
        return list(records(data))


class Probe(ProbeCase):
    def stop(self, p):
        return of(HEALTH, self.told(p))

    def test_each_answer_is_a_record_on_a_connection_of_its_own(self):
        api = self.api()
        p = self.start(api.server_address, 100, 1000)
        time.sleep(1.05)
        found = self.stop(p)
        self.assertTrue(9 <= len(found) <= 12, found)
        self.assertTrue(all(ok and status == 200 and 0 < us < 500000 for ok, status, us in found), found)
        self.assertGreaterEqual(api.accepted, len(found))

    def test_another_status_is_not_ok(self):
        api = self.api()
        api.status = 401
        p = self.start(api.server_address, 100, 1000)
        time.sleep(0.3)
        self.assertEqual({(ok, status) for ok, status, _ in self.stop(p)}, {(False, 401)})

    def test_nobody_listening_is_told_at_once(self):
        p = self.start(os.path.join(self.home, "none.sock"), 100, 1000)
        time.sleep(0.7)  # time for twice as many
        found = self.stop(p)
        self.assertGreaterEqual(len(found), 3)
        self.assertEqual({(ok, status) for ok, status, _ in found}, {(False, 0)})

    def test_a_probe_starts_each_interval_even_if_the_last_is_pending(self):
        api = self.api()
        api.delay = 5
        p = self.start(api.server_address, 100, 500)
        time.sleep(1.25)
        found = self.stop(p)
        self.assertGreaterEqual(api.accepted, 10)
        self.assertTrue(6 <= len(found) <= 9, found)
        self.assertTrue(all(not ok and status == 0 and 450000 < us < 800000 for ok, status, us in found), found)

    def test_an_order_opens_the_tproxy_port_beside_the_probes(self):
        api = self.api()
        p = self.start(api.server_address, 100, 1000)
        p.stdin.write(b"p" + struct.pack(">H", 7893))
        p.stdin.flush()
        time.sleep(0.5)
        found = self.stop(p)
        self.assertEqual(api.patched, [("/configs", {"tproxy-port": 7893})])
        self.assertTrue(all(ok and status == 200 for ok, status, _ in found), found)

    def test_a_probe_costs_little(self):
        """Beside the plainest request that can be made in the same run, which is a connect, a send and a few reads."""
        api = self.api()
        p = self.start(api.server_address, 100, 1000)
        time.sleep(0.5)

        def cpu():
            with open(f"/proc/{p.pid}/schedstat") as f:
                return int(f.read().split()[0])
        before = cpu()
        time.sleep(2)
        each_ms = (cpu() - before) / 20 / 1e6
        self.stop(p)
        begin = time.thread_time()
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(api.server_address)
                s.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                while s.recv(4096):
                    pass
        plain_ms = (time.thread_time() - begin) / 20 * 1e3
        print(f"{each_ms:.3f} ms a probe, {plain_ms:.3f} ms a plain request", file=sys.stderr)
        if "SANITIZE" not in flags():
            self.assertLess(each_ms, 16 * plain_ms)


def proxy(name, kind, **more):
    return {"name": name, "type": kind, "provider-name": "", "dialer-proxy": "", "smux": False, "alive": True,
            "history": [], **more}


def connection(leaf, remote, provider="", destination="198.51.100.1", kind="TProxy"):
    return {"metadata": {"network": "tcp", "type": kind, "destinationIP": destination, "remoteDestination": remote},
            "chains": [leaf, "G"], "providerChains": [provider, ""]}


class Witness(ProbeCase):
    def connections(self, api, *them):
        api.answers["/connections"] = {"downloadTotal": 1, "connections": list(them) or None}

    def watch(self, seconds, api, interval=1000):
        p = self.start(api.server_address, interval, 1000)
        time.sleep(seconds)
        return p

    def looked(self, api, times, timeout=20):
        """So many looks have begun, and had time for their questions."""
        end = time.monotonic() + timeout
        while api.asked.count("/connections") < times and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)

    def dialled(self, p):
        found = self.told(p)
        self.assertTrue(of(HEALTH, found) and all(ok for ok, _, _ in of(HEALTH, found)), found)
        return [a for (a,) in of(DIALLED, found)]

    def test_what_is_dialled_is_told_once_and_nothing_else_is(self):
        api = self.api()
        self.connections(
            api,
            connection("s", "203.0.113.1"), connection("s", "203.0.113.1"), connection("s", "2001:db8::1"),
            connection("p s/1", "203.0.113.2", provider="prov a/b"),
            connection("s", "203.0.113.3", provider="other"),  # same name, another provider's
            connection("DIRECT", "203.0.113.4"), connection("wg", "203.0.113.5"), connection("mux", "203.0.113.6"),
            connection("behind", "203.0.113.7"),
            connection("up", "203.0.113.8", kind="Inner", destination="203.0.113.9"),  # the hop before "behind"
            connection("s", "s.example"), connection("s", "127.0.0.1"), connection("s", "::"), connection("s", ""),
            connection("s", "203.0.113.10", destination="203.0.113.10"), connection("gone", "203.0.113.11"))
        api.answers.update({
            "/proxies/s": proxy("s", "Shadowsocks"), "/proxies/up": proxy("up", "Socks5"),
            "/providers/proxies/prov a/b/p s/1": proxy("p s/1", "Trojan", **{"provider-name": "prov a/b"}),
            "/providers/proxies/other/s": proxy("s", "Direct", **{"provider-name": "other"}),
            "/proxies/DIRECT": proxy("DIRECT", "Direct"), "/proxies/wg": proxy("wg", "WireGuard"),
            "/proxies/mux": proxy("mux", "Vmess", smux=True), "/proxies/gone": None,
            "/proxies/behind": proxy("behind", "Shadowsocks", **{"dialer-proxy": "up"})})
        p = self.watch(6, api)
        self.looked(api, 2)
        self.assertEqual(api.asked.count("/connections"), 2)
        self.assertEqual(sorted(self.dialled(p)), ["2001:db8::1", "203.0.113.1", "203.0.113.2", "203.0.113.8"])
        self.assertEqual(api.asked.count("/proxies/s"), 1, "a proxy is known for a while")
        self.assertEqual(api.asked.count("/proxies/DIRECT"), 1)

    def test_what_was_told_is_forgotten_with_its_mihomo(self):
        api = self.api()
        self.connections(api, connection("s", "203.0.113.1"))
        api.answers["/proxies/s"] = proxy("s", "Snell")
        p = self.watch(1, api)
        self.looked(api, 1)
        p.stdin.write(b"n\0\0")
        p.stdin.flush()
        self.looked(api, 2)
        self.assertEqual(self.dialled(p), ["203.0.113.1", "203.0.113.1"])
        self.assertEqual(api.asked.count("/proxies/s"), 2)

    def test_answers_that_make_no_sense_tell_nothing_and_harm_no_probe(self):
        for answer in (None, b"{", b"[" * 5000, {"connections": [{"chains": "x"}, 7]},
                       {"connections": [connection("s", "203.0.113.1")]}):
            with self.subTest(answer=str(answer)[:40]):
                api = self.api()
                api.answers = {"/connections": answer, "/proxies/s": b"nonsense"}
                p = self.watch(1, api)
                self.looked(api, 1)
                self.assertIn("/connections", api.asked)
                self.assertEqual(self.dialled(p), [])
                api.shutdown()
                api.server_close()
                os.unlink(api.server_address)

    def test_a_list_beyond_4_MiB_is_left_unread_and_told(self):
        api = self.api()
        api.answers = {"/connections": b'{"connections":[' + b" " * (4 << 20) + b"]}"}
        p = self.watch(1, api, interval=100)
        self.looked(api, 1)
        found = self.told(p)
        self.assertIn("too long", of(NOTE, found)[0][1])
        self.assertTrue(all(ok and us < 200000 for ok, _, us in of(HEALTH, found)), found)

    def test_many_connections_delay_no_probe_and_leave_no_memory_behind(self):
        api = self.api()
        many = [connection("DIRECT", f"203.0.{i >> 8}.{i & 255}") for i in range(10000)]
        self.connections(api, *many, connection("s", "203.0.113.1"))
        api.answers["/connections"] = json.dumps(api.answers["/connections"]).encode()
        api.answers.update({"/proxies/DIRECT": proxy("DIRECT", "Direct"), "/proxies/s": proxy("s", "Vless")})
        p = self.watch(1.5, api, interval=100)

        def rss():
            with open(f"/proc/{p.pid}/status") as f:
                return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        before = rss()
        self.looked(api, 1)
        time.sleep(1)
        after = rss()
        found = self.told(p)
        self.assertEqual(of(DIALLED, found), [("203.0.113.1",)])
        print(f"RSS {before} kB before a look at 10,000 connections, {after} kB after it", file=sys.stderr)
        if "SANITIZE" not in flags():
            self.assertLess(after, before + 2048)
            self.assertTrue(all(ok and us < 300000 for ok, _, us in of(HEALTH, found)), of(HEALTH, found))


class Usage(Case):
    def ranks(self, socket_path, *names, wait=500):
        ranks = os.path.join(BUILD, "tests", "ranks")
        run = subprocess.run([ranks, socket_path, str(wait), *names], stdout=subprocess.PIPE, timeout=20, check=True)
        return [int(line) for line in run.stdout.split()]

    def test_in_use_comes_before_tested_and_that_before_the_rest(self):
        api = self.api()
        tested = [{"time": "2026-01-02T03:04:05Z", "delay": 20}]
        api.answers = {
            "/group": {"proxies": [
                proxy("G", "Selector", now="H"), proxy("H", "URLTest", now="leaf"), proxy("P", "Fallback", now="far"),
                proxy("C1", "Selector", now="C2"), proxy("C2", "Selector", now="C1")]},
            "/connections": {"connections": [connection("live", "203.0.113.1")]},
            "/proxies": {"proxies": {p["name"]: p for p in (
                proxy("leaf", "Trojan"), proxy("live", "Trojan"), proxy("tested", "Trojan", history=tested),
                proxy("dead", "Trojan", history=tested, alive=False), proxy("idle", "Trojan"))}},
            "/providers/proxies": {"providers": {"p": {"proxies": [
                proxy("far", "Vless"), proxy("also tested", "Vless", history=tested)]}}}}
        names = ["leaf", "far", "live", "tested", "also tested", "dead", "idle", "nobody", "C1"]
        self.assertEqual(self.ranks(api.server_address, *names), [0, 0, 0, 1, 1, 2, 2, 2, 2])

    def test_without_an_answer_all_are_the_rest_within_half_a_second(self):
        api = self.api()
        self.assertEqual(self.ranks(api.server_address, "a"), [2])
        api.delay = 2
        for path in (os.path.join(self.home, "none.sock"), api.server_address):
            begin = time.monotonic()
            self.assertEqual(self.ranks(path, "a", wait=60000), [2])
            self.assertLess(time.monotonic() - begin, 0.9)

    def test_a_part_of_the_answers_is_better_than_none(self):
        api = self.api()
        api.answers = {"/group": {"proxies": [proxy("G", "Selector", now="a")]}, "/proxies": b" " * (5 << 20),
                       "/connections": b"{"}
        self.assertEqual(self.ranks(api.server_address, "a", "b"), [0, 2])


class List(Case):
    def test_json_has_the_endpoints_the_addresses_and_what_was_skipped(self):
        path = self.write("p.yaml", "proxies:\n- {name: \"n\\n\", type: hysteria2, server: n1.example, port: 443,"
                          " ports: '443,5000-6000'}\n- {type: tuic, server: x, ip: '[2001:db8::1]'}\n- {type: ss}\n")
        out = json.loads(self.run_role("list", "--json", "--no-resolve", path).stdout)
        self.assertEqual(out["version"], 1)
        self.assertEqual(out["endpoints"], [
            {"host": "n1.example", "port": 443, "ports": "443,5000-6000", "transport": "udp", "kind": "server",
             "name": "n\n", "dialer-proxy": None, "file": path, "line": 2},
            {"host": "2001:db8::1", "port": None, "ports": None, "transport": "udp", "kind": "ip", "name": "", "dialer-proxy": None,
             "file": path, "line": 3}])
        self.assertEqual(out["addresses"], ["2001:db8::1"])
        self.assertEqual(out["skipped"], [{"file": path, "line": 4, "reason": "no server"}])

    def test_json_is_utf8_whatever_the_names_are(self):
        names = [b"%ff%c2", b"%00%1b[31m", b"%c2%9b", b"\xff raw", "\u2602".encode(), b"%ed%a0%80"]
        path = self.write("l", b"".join(b"trojan://p@203.0.113.1:%d#%s\n" % (i + 1, n) for i, n in enumerate(names)) +
                          b"\xff\xfe://x\nss://\xc3\n")
        out = json.loads(self.run_role("list", "--json", "--no-resolve", path).stdout.decode())
        self.assertEqual([e["name"] for e in out["endpoints"]][3:], ["\ufffd raw", "\u2602", "\ufffd" * 3])
        self.assertEqual((len(out["endpoints"]), len(out["skipped"])), (6, 2))
        people = self.run_role("list", path).stdout.decode()
        self.assertFalse([c for c in people if (ord(c) < 32 and c != "\n") or 0x7f <= ord(c) < 0xa0])

    def test_names_are_asked_for_by_one_that_opens_no_file(self):
        path = self.write("p.yaml", "proxies: [{server: a.invalid}, {server: A.invalid}, {server: 203.0.113.1}]")
        run = self.run_role("list", "--json", path)
        self.assertEqual(json.loads(run.stdout)["addresses"], ["203.0.113.1"])
        self.assertEqual(run.stderr.decode().lower().count("a.invalid: "), 1)

    def test_a_providers_override_is_seen_in_its_inline_entries(self):
        path = self.write("c.yaml", "proxy-providers: {i: {type: inline, payload: [{server: 203.0.113.1}],"
                          " override: {dialer-proxy: x}}}")
        out = json.loads(self.run_role("list", "--json", path).stdout)
        self.assertEqual((out["endpoints"][0]["dialer-proxy"], out["addresses"]), ("x", []))

    def test_a_large_file_and_a_reader_that_goes_away(self):
        path = self.write("big.yaml", "proxies:\n" + "".join(
            f"- {{name: n{i}, server: 10.{i >> 16}.{i >> 8 & 255}.{i & 255}, port: 1}}\n" for i in range(100000)))
        out = json.loads(self.run_role("list", "--json", "--no-resolve", path).stdout)
        self.assertEqual((len(out["endpoints"]), len(out["addresses"])), (100000, 100000))
        p = subprocess.Popen([HELPER, "list", "--json", "--no-resolve", path], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
        p.stdout.read(10)
        p.stdout.close()
        self.assertEqual(p.wait(timeout=20), 1)

    def test_people_get_a_line_each_and_standard_input_works(self):
        run = self.run_role("list", "--no-resolve", "-", input=b"proxies: [{name: a, server: '2001:db8::1', port: 5}]")
        self.assertEqual(run.stdout.decode(), "[2001:db8::1]:5 tcp server -:1 a\n")

    def test_inline_entries_of_a_whole_config_are_listed(self):
        path = self.write("c.yaml", "proxies: []\nproxy-providers: {i: {type: inline, payload: [{server: 203.0.113.1}]}}")
        out = json.loads(self.run_role("list", "--json", path).stdout)
        self.assertEqual(out["addresses"], ["203.0.113.1"])

    def test_only_an_unreadable_file_is_a_failure(self):
        good = self.write("g.yaml", "proxies: [{server: 203.0.113.1}]")
        bad = self.write("b.yaml", "proxies: [")
        out = json.loads(self.run_role("list", "--json", bad, good).stdout)
        self.assertEqual((len(out["endpoints"]), len(out["skipped"])), (1, 1))
        out = json.loads(self.run_role("list", "--json", os.path.join(self.home, "none"), good, want=1).stdout)
        self.assertEqual(len(out["endpoints"]), 1)


def flags():
    """How the build was configured, as far as it matters here."""
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        for line in f:
            if line.startswith("CLASHSUP_SANITIZE:") and line.strip().split("=", 1)[1]:
                return "SANITIZE"
    return ""


def has_landlock():
    probe = subprocess.run([sys.executable, "-c", "import ctypes,sys\n"
                            "sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 1)"])
    return probe.returncode == 0


class Cage(Case):
    """What must fail does fail: judged from the kernel's side, and by files that are out of reach."""

    def setUp(self):
        super().setUp()
        if "SANITIZE" in flags():
            print("SKIP: a build with a sanitizer has no cage", file=sys.stderr)
            self.skipTest("sanitizer")

    def status_of(self, *args):
        p = subprocess.Popen([HELPER, *args], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(p.wait)
        self.addCleanup(p.stdin.close)
        time.sleep(0.3)
        self.assertIsNone(p.poll())
        with open(f"/proc/{p.pid}/status") as f, open(f"/proc/{p.pid}/limits") as limits:
            status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
            return {**status, "limits": limits.read()}

    def test_the_filter_is_in_force_before_any_input(self):
        for args in (["list", "-"], ["list", "--json", "-"], ["probe", os.path.join(self.home, "s"), "1000", "1000"]):
            status = self.status_of(*args)
            self.assertEqual(status["Seccomp"], "2")
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Threads"], "1")
            self.assertRegex(status["limits"], r"Max processes +0 +0 ")

    def test_a_provider_outside_the_allowed_directories_is_out_of_reach(self):
        if not has_landlock():
            print("SKIP: no Landlock in this kernel", file=sys.stderr)
            self.skipTest("no Landlock")
        other = tempfile.mkdtemp(prefix="elsewhere")
        self.addCleanup(shutil.rmtree, other)
        path = os.path.join(other, "p.yaml")
        with open(path, "w") as f:
            f.write("proxies: [{server: 203.0.113.1}]")
        self.write("config.yaml", f"proxy-providers: {{p: {{type: file, path: {path}}}}}")
        found = self.extract()
        self.assertEqual(of(ADDRESS, found), [])
        self.assertIn("permission; beside Mihomo's home", of(NOTE, found)[0][1])
        self.assertEqual(len(of(ADDRESS, self.extract("--provider-dir", other))), 1)

    # 0 = it worked, 1 = refused, -31 = killed for it, and what else says so. Reading, then resolving.
    TRIES = {
        "read": (0, 1), "file": (0, 1), "resolv.conf": (0, 1), "readlink": (0, 1),
        "link": (1, 1), "write": (1, 1), "append": (1, 1), "truncate": (1, 1), "create": (1, 1), "tmpfile": (1, 1),
        "outside": (1, 1), "up": (1, 1), "unlink": (1, 1), "mkdir": (1, 1), "chmod": (1, 1),
        "inet": (1, 0), "unix": (1, 0), "socketpair": (1, 0), "connect": (1, 0), "bind": (1, 0), "send": (1, 0),
        "packet": (1, 1), "netlink": (1, 1), "listen": (1, 1),
        "map-code": (1, 1), "limits": (1, 1), "setuid": (1, 1), "session": (1, 1),
        "fork": (-31, -31), "thread": (-31, -31), "exec": (-31, -31), "kill": (-31, -31), "ptrace": (-31, -31),
        "peek": (-31, -31),
    }

    def cage(self, *args):
        return subprocess.run([os.path.join(BUILD, "tests", "cage"), *args, self.home], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=10)

    def test_each_forbidden_thing_is_refused_in_each_phase(self):
        landlock = has_landlock()
        if not landlock:
            print("SKIP: no Landlock in this kernel: reading outside is not refused", file=sys.stderr)
        self.write("file", "x")
        os.symlink("/etc/shadow", os.path.join(self.home, "link"))
        for what, wanted in self.TRIES.items():
            for phase, want in zip(("reading", "resolving"), wanted):
                if phase == "reading" and what in ("outside", "link", "up") and not landlock:
                    continue
                run = self.cage(phase, what)
                with self.subTest(phase=phase, what=what):
                    self.assertEqual(run.returncode, want, run.stderr)
        self.assertEqual(sorted(os.listdir(self.home)), ["file", "link"])

    def test_reader_and_resolver_are_two_processes(self):
        self.write("file", "x")
        for what, said in (("file", "well"), ("inet", "the reader ended with status 1"),
                           ("fork", "the reader was killed by signal 31"),
                           ("crash", "the reader was killed by signal 4")):
            run = self.cage("split", what)
            self.assertEqual((run.returncode, run.stdout.decode().strip()), (0, said), run.stderr)

    def test_the_reader_dies_with_the_resolver(self):
        run = self.cage("split", "wait")  # returns when nobody holds the output any more
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_too_little_memory_ends_with_a_reason(self):
        self.write("config.yaml", "# " + "x" * (50 << 20))

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20))

        run = subprocess.run([HELPER, "extract", "--resolver", "127.0.0.1:9", os.path.join(self.home, "config.yaml"),
                              self.home], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit, timeout=30)
        self.assertRegex(run.stdout + run.stderr, b"[Cc]annot allocate memory|out of memory")
        self.assertGreaterEqual(run.returncode, 0, "it crashed")


if __name__ == "__main__":
    unittest.main()
