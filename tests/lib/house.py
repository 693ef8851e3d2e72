"""The test house: a sandbox of network namespaces, clients in it that say what
the far server saw, and a supervisor under test in the router.

    with House() as house:
        with Supervisor(house) as sup:
            sup.wait_state("armed")
            house.ask("client", "tcp", FAR4).via  # "proxied"

Standard library only. Needs root; see tests/lib/net.sh for the addresses.
"""

import ctypes
import http.client
import json
import os
import re
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

LIB = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(LIB))
BUILD = os.path.abspath(os.environ.get("CLASHSUP_BUILD_DIR", os.path.join(ROOT, "build")))
PROGRAM = os.path.join(BUILD, "clashsup")
MIHOMO = os.environ.get("MIHOMO") or shutil.which("mihomo") or "/var/cache/clashsup/mihomo-v1.19.30"
SLOW = float(os.environ.get("CLASHSUP_SLOW", "1"))  # factor for time-outs, e.g. under sanitizers

ECHO_PORT = 7000
FAR4, FAR6 = "45.45.45.2", "2a0f:4545::2"
OTHER4, OTHER6 = "45.45.45.3", "2a0f:4545::3"
RELAY4, RELAY6 = "45.45.45.8", "2a0f:4545::8"
DNS4 = "45.45.45.53"
CLIENT4, CLIENT6 = "10.66.0.2", "fd66::2"
PUBLIC4, PUBLIC6 = "44.44.44.2", "2a0f:4444::2"
ROUTER4, ROUTER6 = "45.45.45.1", "2a0f:4545::1"
FAR_SIDE = ("45.45.45.2", "45.45.45.3", "45.45.45.8", "2a0f:4545::2", "2a0f:4545::3", "2a0f:4545::8")

# All goes through the socks5 server on .8, which dials with .8 as its source.
RELAY = "{name: relay, type: socks5, server: 45.45.45.8, port: 1080, udp: true}"


def config(*, proxies=(RELAY,), rules=("MATCH,relay",), top=(), dns=None, providers=None, log="info"):
    """A Mihomo configuration as text; lists of lines in, YAML out."""
    lines = ["mode: rule", f"log-level: {log}", "ipv6: true", *top]
    lines.append(dns if dns is not None else "dns: {enable: false}")
    lines += ["proxies:"] + ["  - " + p for p in proxies] if proxies else ["proxies: []"]
    if providers:
        lines += ["proxy-providers:"] + ["  " + p for p in providers]
    return "\n".join(lines + ["rules:"] + ["  - " + r for r in rules]) + "\n"


# Names are asked of the sandbox's own server, by Mihomo and by the extractor.
DNS = (
    "dns: {enable: true, ipv6: true, nameserver: [45.45.45.53], default-nameserver: [45.45.45.53],"
    " proxy-server-nameserver: [45.45.45.53]}"
)

# FirstDirect and the benchmark hold thousands of sockets.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


class Answer:
    """What the far server saw. via: proxied, direct or lost."""

    def __init__(self, via, seen=None, why=""):
        self.via, self.why = via, why
        seen = seen or {}
        self.peer, self.port, self.local = seen.get("peer"), seen.get("port"), seen.get("local")

    @classmethod
    def of(cls, line):
        seen = json.loads(line)
        return cls("proxied" if seen["peer"] in FAR_SIDE else "direct", seen)

    def __repr__(self):
        return f"<{self.via} peer={self.peer} local={self.local} {self.why}>"


class House:
    """Namespaces and the servers of the far side. One at a time per instance."""

    _count = 0

    def __init__(self, masquerade=False, zone=None):
        House._count += 1
        self.prefix = f"cs{os.getpid()}n{House._count}"
        self.masquerade = masquerade
        self.dir = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.zone_file = os.path.join(self.dir, "zone.json")
        self.set_zone(zone or {})
        self.servers = None

    @classmethod
    def attached(cls, prefix):
        """A sandbox that somebody else made: clients only."""
        house = cls.__new__(cls)
        house.prefix = prefix
        return house

    def __enter__(self):
        try:
            self._net("up", *(["masquerade"] if self.masquerade else []))
            self.servers = self.popen(
                "inet", "python3", os.path.join(LIB, "servers.py"), self.zone_file,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            if self.servers.stdout.readline() != b"ready\n":
                raise RuntimeError("the far side's servers did not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.servers:
            self.servers.stdin.close()
            self.servers.stdout.close()
            self.servers.kill()
            self.servers.wait()
        self._net("down")
        shutil.rmtree(self.dir, ignore_errors=True)

    def _net(self, verb, *args):
        subprocess.run([os.path.join(LIB, "net.sh"), verb, self.prefix, *args], check=True)

    def set_zone(self, names, silent=False, ttl=5, delay=0):
        """What the DNS server of the sandbox answers from now on, and after how many seconds."""
        fresh = self.zone_file + ".new"
        with open(fresh, "w", encoding="utf-8") as f:
            json.dump({"names": names, "silent": silent, "ttl": ttl, "delay": delay}, f)
        os.rename(fresh, self.zone_file)

    # ---- programs in a namespace ----

    def netns(self, where):
        return f"/run/netns/{self.prefix}-{where}"

    def enter(self, where, *argv):
        return ["nsenter", "--net=" + self.netns(where), "--", *argv]

    def env(self):
        # The lock file of iptables is the host's, for all namespaces.
        return {**os.environ, "XTABLES_LOCKFILE": os.path.join(self.dir, "xtables.lock")}

    def popen(self, where, *argv, **kw):
        return subprocess.Popen(self.enter(where, *argv), env=self.env(), **kw)

    def run(self, where, *argv, check=True):
        """Output of a program, which must succeed unless check is False."""
        done = subprocess.run(self.enter(where, *argv), env=self.env(), capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def shell(self, where, text, check=True):
        return self.run(where, "bash", "-c", text, check=check)

    def pids(self, where):
        text = subprocess.run(["ip", "netns", "pids", f"{self.prefix}-{where}"], capture_output=True, text=True).stdout
        return [int(p) for p in text.split()]

    # ---- sockets in a namespace ----

    def socket(self, where, family, kind, proto=0):
        """A socket belongs for ever to the namespace in which it was made."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(self.netns(where), "rb") as there:
            if _libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return socket.socket(family, kind, proto)
            finally:
                if _libc.setns(home.fileno(), _CLONE_NEWNET):
                    os._exit(70)  # never go on in a wrong namespace

    def open(self, where, proto, dst, source=None, port=ECHO_PORT, timeout=1.0):
        """A connected socket from a namespace to a far server."""
        family = socket.AF_INET6 if ":" in dst else socket.AF_INET
        s = self.socket(where, family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        try:
            s.settimeout(timeout * SLOW)
            if source:
                s.bind((source, 0))
            s.connect((dst, port))
        except OSError:
            s.close()
            raise
        return s

    def ask(self, where, proto, dst, source=None, timeout=1.0):
        """One new connection or datagram: what did the far server see?"""
        try:
            with self.open(where, proto, dst, source, timeout=timeout) as s:
                return ask_on(s)
        except OSError as e:
            return Answer("lost", why=str(e))

    def until(self, want, where, proto, dst, source=None, timeout=5.0):
        """Asks until the answer is as wanted; seconds it took. AssertionError with the last answer if never."""
        start = time.monotonic()
        while True:
            begun = time.monotonic()
            answer = self.ask(where, proto, dst, source, timeout=0.3)
            if answer.via == want:
                return begun - start
            if time.monotonic() - start > timeout * SLOW:
                raise AssertionError(f"{proto} {where} to {dst}: not {want} after {timeout} s but {answer}")
            time.sleep(0.01)

    # ---- what the kernel holds ----

    def members(self, name="clash_proxy_ips"):
        """The set's addresses as a python set, or None when there is no such set."""
        done = subprocess.run(
            self.enter("router", "ipset", "list", name), env=self.env(), capture_output=True, text=True, timeout=30
        )
        if done.returncode:
            return None
        return {line.split()[0] for line in done.stdout.partition("Members:\n")[2].splitlines() if line}

    def both_members(self):
        """Addresses of both families' sets in one python set."""
        return (self.members() or set()) | (self.members("clash_proxy_ips6") or set())

    def chain(self, name="CLASH_TPROXY", tool="iptables"):
        """The chain's rules as lines, or None when there is no such chain."""
        done = subprocess.run(
            self.enter("router", tool, "-w", "-t", "mangle", "-S", name), env=self.env(), capture_output=True, text=True
        )
        return None if done.returncode else done.stdout.splitlines()[1:]

    def snapshot(self):
        """Everything that must be the same before start and after stop."""
        state = {}
        for tool in ("iptables-save", "ip6tables-save"):
            table, kept = "", []
            for line in self.run("router", tool).splitlines():
                if line.startswith("*"):
                    table = line
                # Empty base tables are the tool's own doing, and no rule of anybody.
                elif line.startswith("-") or re.match(r":\S+ - ", line):
                    kept.append(table + " " + re.sub(r" ?\[\d+:\d+\]$", "", line))
            state[tool] = kept
        for words in ("ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"):
            # The kernel counts down and learns on its own what these attributes say.
            text = self.run("router", *words.split())
            state[words] = sorted(re.sub(r" (expires|error) \S+", "", line).strip() for line in text.splitlines())
        state["ipset list"] = self.run("router", "ipset", "list", "-n").split()
        state["nft list tables"] = [
            t for t in self.run("router", "nft", "list", "tables").splitlines() if "clash" in t
        ]
        return state


def ask_on(s, text="hello"):
    """One question on a socket that is open already."""
    try:
        s.sendall(text.encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            more = s.recv(4096)
            if not more:
                return Answer("lost", why="closed")
            data += more
        return Answer.of(data)
    except OSError as e:
        return Answer("lost", why=str(e))


class FirstDirect:
    """Sends a UDP probe from a fresh port each `gap` seconds and finds the first one that went direct."""

    def __init__(self, house, dst=FAR4, where="client", gap=0.0005, room=6000):
        self.house, self.gap = house, gap
        family = socket.AF_INET6 if ":" in dst else socket.AF_INET
        self.far = (dst, ECHO_PORT)
        # Made beforehand: changing the namespace costs more than a probe.
        self.free = [house.socket(where, family, socket.SOCK_DGRAM) for _ in range(room)]
        self.used = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.free + self.used:
            s.close()

    def after(self, action, timeout=10.0):
        """Calls action() and returns the ms from its beginning to the sending of the first direct packet."""
        with selectors.DefaultSelector() as sel:
            start = time.monotonic()
            action()
            sent, best, following = {}, None, start
            while time.monotonic() - start < timeout:
                now = time.monotonic()
                if now >= following and self.free and best is None:
                    s = self.free.pop()
                    self.used.append(s)
                    s.setblocking(False)
                    sent[s.fileno()] = time.monotonic()
                    s.sendto(b"x", self.far)
                    sel.register(s, selectors.EVENT_READ)
                    following = now + self.gap
                for key, _ in sel.select(0.0002):
                    try:
                        data = key.fileobj.recv(4096)
                    except OSError:
                        data = b""
                    sel.unregister(key.fileobj)
                    if data and Answer.of(data).via == "direct":
                        at = sent[key.fileobj.fileno()]
                        best = at if best is None else min(best, at)
                if best is not None:
                    return (best - start) * 1000
                if not self.free:
                    time.sleep(0.001)
        raise AssertionError(f"no direct packet within {timeout} s")


class LogLine:
    def __init__(self, index, at, text):
        self.index, self.at, self.text = index, at, text

    def __repr__(self):
        return self.text


class Supervisor:
    """`clashsup run` in the router, with a home and a run directory of its own."""

    def __init__(self, house, mihomo=None, conf=None, program=PROGRAM, files=None, write_config=True):
        self.house, self.program = house, program
        self.dir = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        self.home, self.rundir = os.path.join(self.dir, "home"), os.path.join(self.dir, "run")
        self.config_file = os.path.join(self.home, "config.yaml")
        self.conf_file = os.path.join(self.dir, "clashsup.conf")
        self.binary = os.path.join(self.dir, "mihomo")  # a link, so that a test can take Mihomo away
        os.mkdir(self.home)
        os.symlink(MIHOMO, self.binary)
        if write_config:
            self.write("config.yaml", config() if mihomo is None else mihomo)
        for name, text in (files or {}).items():
            self.write(name, text)
        self.configure(conf)
        self.process, self.lines, self.reader = None, [], None
        self.changed = threading.Condition()
        self.reading = threading.Event()  # cleared: nobody reads its output
        self.reading.set()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(self.story(), flush=True)
        self.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    def configure(self, conf=None, more=""):
        """clashsup's own configuration: the sections given over those that every test has, and lines behind them."""
        sections = {
            "mihomo": {"binary": self.binary, "home": self.home},
            "state": {"run": self.rundir, "dir": os.path.join(self.dir, "state")},
        }
        for section, keys in (conf or {}).items():
            sections.setdefault(section, {}).update(keys)
        with open(self.conf_file, "w", encoding="utf-8") as f:
            for section, keys in sections.items():
                f.write(f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()))
            f.write(more)

    def write(self, name, text):
        """A file in Mihomo's home, replaced in one step as editors and Mihomo do."""
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(path + ".new", path)

    # ---- life ----

    def start(self):
        self.started_at = time.monotonic()
        self.process = self.house.popen(
            "router", self.program, "-c", self.conf_file, "run",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, stream):
        for raw in stream:
            now = time.monotonic()
            self.reading.wait()
            with self.changed:
                self.lines.append(LogLine(len(self.lines), now, raw.decode(errors="replace").rstrip("\n")))
                self.changed.notify_all()
        stream.close()
        with self.changed:
            self.changed.notify_all()

    def wait_exit(self, timeout=10.0):
        code = self.process.wait(timeout * SLOW)
        self.reader.join(5)
        return code

    def stop(self, sig=signal.SIGTERM, timeout=10.0):
        """Clean stop; the exit status."""
        self.process.send_signal(sig)
        return self.wait_exit(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Whatever it takes."""
        self.reading.set()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # ---- what it says ----

    def story(self):
        """The log, for a failed test."""
        start = self.started_at if self.lines else 0
        lines = [f"    {l.at - start:8.3f} {l.text}" for l in self.lines[-120:]]
        return "\n".join([f"  log of {self.program}:"] + lines)

    def mark(self):
        """Position in the log: pass it as `after` to look only at what follows."""
        with self.changed:
            return len(self.lines)

    def logged(self, pattern, after=0):
        with self.changed:
            return [line for line in self.lines[after:] if re.search(pattern, line.text)]

    def wait_log(self, pattern, timeout=5.0, after=0):
        """The first line from `after` on that matches, waited for."""
        deadline = time.monotonic() + timeout * SLOW
        with self.changed:
            while True:
                for line in self.lines[after:]:
                    if re.search(pattern, line.text):
                        return line
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no log line like {pattern!r} within {timeout} s")
                self.changed.wait(min(left, 0.2))

    def ctl(self, *args, check=True, where="router"):
        """A client command; its output. check: it must exit 0."""
        done = self.ctl_done(*args, where=where)
        if check and done.returncode:
            raise AssertionError(f"clashsup {' '.join(args)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def ctl_done(self, *args, where="router"):
        return subprocess.run(
            self.house.enter(where, self.program, "-c", self.conf_file, *args),
            env=self.house.env(), capture_output=True, text=True, timeout=30 * SLOW,
        )

    def status(self):
        """The status as a dict, or {} while nobody answers."""
        done = self.ctl_done("status", "--json")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def wait_status(self, test, what, timeout=10.0):
        """Polls the status until test(status) is true; the status."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            status = self.status()
            if status and test(status):
                return status
            if self.process.poll() is not None:
                raise AssertionError(f"not {what}: the supervisor has ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not {what} within {timeout} s: {json.dumps(status)}")
            time.sleep(0.03)

    def wait_state(self, state, timeout=10.0):
        return self.wait_status(lambda s: s["state"] == state, state, timeout)

    def wait_members(self, wanted, timeout=10.0):
        """Until both sets together hold exactly these addresses."""
        deadline = time.monotonic() + timeout * SLOW
        while (now := self.house.both_members()) != set(wanted):
            if time.monotonic() > deadline:
                raise AssertionError(f"the sets hold {sorted(now)} instead of {sorted(wanted)} after {timeout} s")
            time.sleep(0.02)

    # ---- Mihomo ----

    @property
    def mihomo_pid(self):
        return self.status()["mihomo"]["pid"]

    def kill_mihomo(self, sig=signal.SIGKILL):
        pid = self.mihomo_pid
        os.kill(pid, sig)
        return pid

    def take_mihomo_away(self):
        """From now on it cannot be started; what runs is not touched."""
        os.unlink(self.binary)

    def bring_mihomo_back(self):
        os.symlink(MIHOMO, self.binary)

    def api(self, method, path, body=None):
        """A request to the private API socket: (HTTP status, text)."""
        connection = http.client.HTTPConnection("localhost", timeout=5 * SLOW)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(5 * SLOW)
        connection.sock.connect(os.path.join(self.rundir, "mihomo", "api.sock"))
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            try:
                return answer.status, answer.read().decode()
            except http.client.IncompleteRead as e:  # a Mihomo that restarts itself may be gone before its last byte
                return answer.status, e.partial.decode()
        finally:
            connection.close()


def alive(pid):
    """A process that is there and not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(test, what, timeout=5.0):
    """Polls until test() is true; seconds it took."""
    start = time.monotonic()
    while not test():
        if time.monotonic() - start > timeout * SLOW:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - start


class HouseCase(unittest.TestCase):
    """A test class with one sandbox for all its cases."""

    masquerade = False

    @classmethod
    def setUpClass(cls):
        for problem, why in (
            (os.geteuid() != 0, "needs root for network namespaces"),
            (not os.access(PROGRAM, os.X_OK), f"{PROGRAM} is not built"),
            (not os.access(MIHOMO, os.X_OK), "there is no Mihomo: set MIHOMO=/path/to/mihomo"),
        ):
            if problem:
                raise unittest.SkipTest(why)
        cls.house = House(cls.masquerade)
        cls.enterClassContext(cls.house)

    def setUp(self):
        self.house.set_zone({})

    def supervisor(self, *args, **kw):
        """A supervisor that runs and ends with the test case; its log is shown when the case fails."""
        sup = Supervisor(self.house, *args, **kw)
        self.addCleanup(shutil.rmtree, sup.dir, ignore_errors=True)
        self.addCleanup(sup.end)
        self.addCleanup(self._tell, sup)
        sup.start()
        return sup

    def armed(self, *args, **kw):
        sup = self.supervisor(*args, **kw)
        sup.wait_state("armed")
        return sup

    def _tell(self, sup):
        result = self._outcome.result
        if any(self in (case, getattr(case, "test_case", None)) for case, _ in result.failures + result.errors):
            print(sup.story(), flush=True)

    def assertVia(self, via, where, proto, dst, source=None, timeout=1.0):
        answer = self.house.ask(where, proto, dst, source, timeout)
        self.assertEqual(answer.via, via, f"{proto} from {where} {source or ''} to {dst}: {answer}")
        if via != "lost":
            self.assertEqual(answer.local, dst, "the original destination was not kept")
        return answer
