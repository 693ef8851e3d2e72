"""What a scene of the packet-path suite is played on: a house, a variant of the
firewall, a supervisor with the stand-in core, and a record of every check.

    @scene(masquerade=(False, True))
    def everything_is_proxied(stage):
        stage.armed()
        stage.expect("proxied")

A scene is a function that takes a Stage. The runner (tests/e2e/run.py) plays it
on every variant; each check is counted, whether it holds or not, and the next
one is made all the same.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import house as H
from house import (CLIENT4, CLIENT6, ECHO_PORT, FAR4, FAR6, PROGRAM, PUBLIC4, PUBLIC6, SLOW, Answer, House,
                   Supervisor, ask_on, wait_for)

STANDIN = os.path.join(H.BUILD, "tests", "standin")
CORE_GID = 7893
PROBE = {"interval": "200ms", "timeout": "500ms", "fall": "3"}
PROBE_BOUND = 3 * 0.2 + 0.5  # fall x interval + timeout
WHY_MAX = 1200  # characters of a reason
SILENCE = 0.4  # how long one waits for an answer that must not come

# Who asks: (namespace, source for IPv4, source for IPv6, gid)
LAN = ("client", CLIENT4, CLIENT6, 0)
PUBLIC = ("client", PUBLIC4, PUBLIC6, 0)
ROUTER = ("router", None, None, 0)
CORE = ("router", None, None, CORE_GID)
NAMES = {LAN: "the LAN", PUBLIC: "a public LAN", ROUTER: "the router", CORE: "the core"}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setfsgid.argtypes = [ctypes.c_int]
_libc.setfsuid.argtypes = [ctypes.c_int]

TOOLS = ("", "-save", "-restore")


class NotHere(Exception):
    """The scene cannot be played here, and why."""


class Failed(Exception):
    """A check failed without which the rest of the scene means nothing."""


class Variant:
    """One of the firewalls: the backend, and what `iptables` is on PATH."""

    def __init__(self, name, backend, multi):
        self.name, self.backend = name, backend
        self.multi = shutil.which(multi, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    @property
    def missing(self):
        """Why it cannot be played here at all, or None."""
        if not self.multi:
            return f"{self.name}: there is no xtables-*-multi for it"
        if self.backend == "nft" and not shutil.which("nft"):
            return "nft: there is no nft"
        return None

    def make_path(self, directory):
        """A directory with links that make `iptables` and its kin this variant's."""
        os.makedirs(directory, exist_ok=True)
        for family in ("iptables", "ip6tables"):
            for tool in TOOLS:
                link = os.path.join(directory, family + tool)
                if not os.path.islink(link):
                    os.symlink(self.multi, link)
        return directory


VARIANTS = {
    v.name: v
    for v in (
        Variant("legacy", "iptables", "xtables-legacy-multi"),
        Variant("iptables-nft", "iptables", "xtables-nft-multi"),
        Variant("nft", "nft", "xtables-nft-multi"),
    )
}


class RulesHouse(House):
    """A house whose `iptables` is that of the variant which is played just now."""

    path = None

    def env(self):
        env = super().env()
        if self.path:
            env["PATH"] = self.path + ":" + env["PATH"]
        return env

    def play(self, variant):
        self.path = variant.make_path(os.path.join(self.dir, "path-" + variant.name))

    def listings(self):
        """What the kernel holds, by the command that lists it; one process runs them all."""
        text = self.shell("router", "".join(f"echo '# {c}'; {c} 2>/dev/null;" for c in LISTINGS), check=False)
        parts = re.split("^# (" + "|".join(map(re.escape, LISTINGS)) + ")\\n", text, flags=re.M)
        return {c: t.splitlines() for c, t in zip(parts[1::2], parts[2::2])}

    def snapshot(self):
        """Everything that must be the same before start and after stop."""
        state = {}
        for command, lines in self.listings().items():
            if command.endswith("-save"):
                lines = [
                    re.sub(r" ?\[\d+:\d+\]", "", l) for l in lines
                    # Empty base tables are the tool's own doing, and no rule of anybody.
                    if l.startswith("-") or re.match(r":\S+ - ", l)
                ]
            elif command == "nft list tables":
                lines = [l for l in lines if "clash" in l]
            else:
                # The kernel counts down and learns on its own what these attributes say.
                lines = sorted(re.sub(r" (expires|error) \S+", "", l).strip() for l in lines)
            state[command] = lines
        return state

    def residue(self):
        """Everything that carries our tag, of whatever backend, as sorted lines; 157 is the protocol number of what is ours."""
        found = []
        for command, lines in self.listings().items():
            ours = "CLASH" if command.endswith("-save") else "proto 157| table 100 " if "ip -" in command else "clash"
            found += [f"{command}: {l.strip()}" for l in lines if re.search(ours, l + " ")]
        return sorted(found)


LISTINGS = (
    "iptables-legacy-save", "ip6tables-legacy-save", "iptables-nft-save", "ip6tables-nft-save", "nft list tables",
    "ipset list -n", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all",
)


class QuickSupervisor(Supervisor):
    """Asks for its status over the socket: a program a question costs more than what is measured."""

    def status(self):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(5 * SLOW)
                s.connect(os.path.join(self.rundir, "control.sock"))
                s.sendall(b'{"version":1,"cmd":"status"}\n')
                data = b""
                while not data.endswith(b"\n") and (more := s.recv(65536)):
                    data += more
        except OSError:
            return {}
        return json.loads(data).get("status", {}) if data else {}


class Stage:
    """One scene on one variant in one house."""

    def __init__(self, house, variant, name, seconds):
        self.house, self.variant, self.name, self.deadline = house, variant, name, time.monotonic() + seconds
        self.passed, self.failures, self.skips, self.notes = 0, [], [], []
        self.undo = contextlib.ExitStack()
        self.sup = None
        self.masquerade = house.masquerade
        self.nft = variant.backend == "nft"
        self.pool = self.undo.enter_context(ThreadPoolExecutor(24))

    # ---- checks ----

    def check(self, holds, claim, why=""):
        if holds:
            self.passed += 1
        else:
            self.failures.append(f"{claim}{': ' + str(why)[:WHY_MAX] if why not in ('', None) else ''}")
        return bool(holds)

    def must(self, holds, claim, why=""):
        if not self.check(holds, claim, why):
            raise Failed(claim)

    def equal(self, got, wanted, claim):
        return self.check(got == wanted, claim, difference(got, wanted))

    def skip(self, why):
        self.skips.append(why)

    def tell(self, text):
        self.notes.append(text)

    def within(self, seconds, test, claim):
        """test() is true in time; the seconds it took, or None."""
        try:
            took = wait_for(test, claim, seconds)
        except AssertionError as e:
            self.check(False, claim, e)
            return None
        self.check(True, claim)
        return took

    # ---- the supervisor ----

    def start(self, conf=None, config=None, flags="", core=STANDIN, **kw):
        """A supervisor of the variant's backend; it is not waited for."""
        merged = {"tproxy": {"backend": self.variant.backend}}
        for section, keys in (conf or {}).items():
            merged.setdefault(section, {}).update(keys)
        files = kw.pop("files", {})
        if flags:
            files = {**files, "core": flags}
        sup = QuickSupervisor(self.house, mihomo=config, conf=merged, files=files, **kw)
        os.unlink(sup.binary)
        os.symlink(core, sup.binary)
        sup.core = core
        self.undo.callback(shutil.rmtree, sup.dir, ignore_errors=True)
        self.undo.callback(sup.end)
        sup.start()
        self.sup = sup
        return sup

    def armed(self, *args, **kw):
        sup = self.start(*args, **kw)
        self.wait_state("armed")
        return sup

    def wait_state(self, state, timeout=20.0):
        return self.wait_status(lambda s: s["state"] == state, state, timeout)

    def wait_status(self, test, what, timeout=20.0):
        try:
            return self.sup.wait_status(test, what, timeout)
        except AssertionError as e:
            if self.sup.process.poll() is not None:
                self.sup.reader.join(5)
            unknown = self.sup.logged(r"unknown key|not built yet|no key")
            if unknown:
                raise NotHere("this build: " + unknown[0].text.rpartition(".conf:")[2]) from None
            self.check(False, f"it is {what}", e)
            raise Failed(what) from None

    def take_core_away(self):
        self.sup.take_mihomo_away()

    def bring_core_back(self):
        os.symlink(self.sup.core, self.sup.binary)

    def stop(self):
        code = self.sup.stop()
        self.check(code == 0, "a clean stop ends with 0", code)
        return code

    def core(self, what):
        """A command to the stand-in; its JSON."""
        method = "GET" if what == "seen" else "POST"
        status, text = self.sup.api(method, "/core/" + what)
        self.must(status == 200, f"the stand-in takes {what!r}", f"{status} {text}")
        return json.loads(text) if text else {}

    def seen(self, pattern=""):
        return [line for line in self.core("seen")["seen"] if re.search(pattern, line)]

    # ---- packets ----

    def socket(self, who, proto, dst, source=None, port=ECHO_PORT, timeout=1.0):
        where, source4, source6, gid = who
        source = source or (source6 if ":" in dst else source4)
        if not gid:
            return self.house.open(where, proto, dst, source, port, timeout)
        _libc.setfsgid(gid)  # of this thread only: its sockets belong to that group
        try:
            return self.house.open(where, proto, dst, source, port, timeout)
        finally:
            _libc.setfsgid(0)
            _libc.setfsuid(0)

    def ask(self, who, proto, dst, port=ECHO_PORT, text="hello", timeout=1.0, source=None):
        try:
            with self.socket(who, proto, dst, source, port, timeout) as s:
                return ask_on(s, text)
        except ConnectionRefusedError as e:
            return Answer("refused", why=str(e))
        except OSError as e:
            return Answer("lost", why=str(e))
        except ValueError as e:  # a far server that speaks no JSON: nobody of ours answered
            return Answer("direct", why=f"not the echo server: {e}")

    def expect(self, via, who=(LAN, ROUTER), protos=("tcp", "udp"), to=(FAR4, FAR6), note="", **kw):
        """One check for each combination, asked side by side. `via`: proxied, direct, lost, refused, or several."""
        wanted = (via,) if isinstance(via, str) else via
        who = (who,) if isinstance(who[0], str) else who
        if "lost" in wanted and "timeout" not in kw:
            kw["timeout"] = SILENCE
        asked = [(w, p, d) for w in who for p in protos for d in to]

        def once(case):
            answer = self.ask(*case, **kw)
            # A lost packet may be the machine's load: a claim that something arrives gets a second try, loudly.
            if answer.via == "lost" and "lost" not in wanted and "refused" not in wanted:
                self.tell(f"asked twice: {case[1]} from {NAMES[case[0]]} to {case[2]}")
                answer = self.ask(*case, **{**kw, "timeout": 3.0})
            return answer

        for (w, p, d), answer in zip(asked, self.pool.map(once, asked)):
            claim = f"{p} from {NAMES[w]} to {d} is {' or '.join(wanted)}{' ' + note if note else ''}"
            if not self.check(answer.via in wanted, claim, answer) or answer.via == "lost":
                continue
            if answer.local and answer.local != d:
                self.check(False, claim, f"the original destination was not kept: {answer}")

    def turns(self, via, within, who=(LAN, ROUTER), protos=("tcp", "udp"), to=(FAR4, FAR6), since=None, note=""):
        """Each combination becomes `via` in time, counted from `since`; the seconds of the slowest one."""
        start = since if since is not None else time.monotonic()
        who = (who,) if isinstance(who[0], str) else who
        asked = [(w, p, d) for w in who for p in protos for d in to]

        def until(case):
            while True:
                begun = time.monotonic()
                answer = self.ask(*case, timeout=0.25)
                if answer.via == via:
                    return begun - start, answer
                if begun - start > within * SLOW + 1:
                    return None, answer
                time.sleep(0.02)

        slowest = 0.0
        for (w, p, d), (took, answer) in zip(asked, self.pool.map(until, asked)):
            claim = f"{p} from {NAMES[w]} to {d} turns {via} within {within:g} s{' ' + note if note else ''}"
            self.check(took is not None and took <= within * SLOW, claim, answer if took is None else f"{took:.2f} s")
            slowest = max(slowest, took or 0.0)
        return slowest

    def keep_open(self, who=(LAN, ROUTER), protos=("tcp",), to=(FAR4, FAR6), via=None):
        """Connections that stay open; {name: socket}. via: the answer to their first question."""
        held = {}
        who = (who,) if isinstance(who[0], str) else who
        for w in who:
            for p in protos:
                for d in to:
                    s = self.socket(w, p, d)
                    self.undo.callback(s.close)
                    name = f"{p} from {NAMES[w]} to {d}"
                    held[name] = s
                    if via:
                        answer = ask_on(s)
                        self.must(answer.via == via, f"{name} is {via} at first", answer)
        return held

    def still(self, held, via, note):
        wanted = (via,) if isinstance(via, str) else via
        for name, s in held.items():
            answer = ask_on(s)
            self.check(answer.via in wanted, f"{name} stays {' or '.join(wanted)} {note}", answer)

    # ---- the router ----

    def router(self, command, check=True):
        return self.house.shell("router", command, check=check)

    def both(self, words, check=True):
        """The same with iptables and ip6tables of the variant: "-t mangle -F"."""
        for tool in ("iptables", "ip6tables"):
            self.router(f"{tool} -w {words}", check=check)

    def later(self, command):
        """Undone at the scene's end, whatever happens."""
        self.undo.callback(self.house.shell, "router", command, check=False)

    def rules(self):
        """Our rules as text without counters, whatever the backend: equal texts, equal rules."""
        if self.nft:
            text = self.router("nft -s list table inet clashsup", check=False)
            # The lease is refreshed and expires, the sets of addresses grow: they are no rules.
            return re.sub(r"(\s+elements = \{[^}]*\}|expires \w+)", "", text)
        lines = []
        for tool in ("iptables-save", "ip6tables-save"):
            lines += [l for l in self.router(tool).splitlines() if "CLASH" in l]
        return "\n".join(re.sub(r" ?\[\d+:\d+\]", "", l) for l in lines)

    def sets(self):
        """What our sets hold, without the lease: lines that do not depend on the kernel's order."""
        lines = [l for l in self.router("ipset save", check=False).splitlines() if "clash_lease" not in l]
        if self.nft:
            text = self.router("nft -s list table inet clashsup", check=False)
            for name, body in re.findall(r"\n\tset (\S+) \{(.*?)\n\t\}", text, re.S):
                found = re.search(r"elements = \{([^}]*)\}", body)
                if "clash_lease" not in name:
                    lines += [f"nft {name} {e.strip()}" for e in (found[1].split(",") if found else ())]
        return sorted(re.sub(r" (initval|bucketsize|hashsize|references) \S+", "", l) for l in lines)

    def listener(self, where, address, port, proto="tcp"):
        """A server in a namespace that tells each client who it is; ends with the scene."""
        family = "AF_INET6" if ":" in address else "AF_INET"
        tcp = "s.listen(64)\nprint('up', flush=True)\nwhile True:\n c, p = s.accept()\n c.sendall(line(p))\n c.close()"
        udp = "print('up', flush=True)\nwhile True:\n d, p = s.recvfrom(4096)\n s.sendto(line(p), p)"
        code = (
            "import socket, json\n"
            f"s = socket.socket(socket.{family}, socket.SOCK_{'STREAM' if proto == 'tcp' else 'DGRAM'})\n"
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
            f"s.bind(({address!r}, {port}))\n"
            f"def line(p): return json.dumps(dict(peer=p[0], port=p[1], local={address!r})).encode() + b'\\n'\n"
            + (tcp if proto == "tcp" else udp)
        )
        server = self.house.popen(where, "python3", "-c", code, stdout=subprocess.PIPE)
        self.undo.callback(server.stdout.close)
        self.undo.callback(server.wait)
        self.undo.callback(server.kill)
        self.must(server.stdout.readline() == b"up\n", f"a server on {address} port {port} starts")

    # ---- status ----

    def status_text(self):
        return self.sup.ctl_done("status").stdout

    def told(self, pattern, claim, within=3.0):
        """The status, in words or JSON, says it in time."""
        def look():
            return re.search(pattern, self.status_text() + json.dumps(self.sup.status()), re.I)

        took = self.within(within, look, claim)
        if took is None:
            self.failures[-1] += f"\n{json.dumps(self.sup.status())}"
        return took is not None

    def repairs(self):
        return (self.sup.status().get("repairs") or {}).get("count", 0)


def difference(got, wanted):
    if isinstance(got, (list, set)) and isinstance(wanted, (list, set)):
        return f"more: {sorted(set(got) - set(wanted))}, less: {sorted(set(wanted) - set(got))}"
    return f"{got!r} instead of {wanted!r}"


SCENES = []


def scene(masquerade=(False,), variants=tuple(VARIANTS), seconds=60, clean=True):
    """Marks a function as a scene. clean: it must leave nothing of ours in the kernel."""
    def mark(function):
        function.masquerade, function.variants, function.seconds, function.clean = (
            masquerade, variants, seconds, clean)
        SCENES.append(function)
        return function

    return mark


def play(function, house, variant):
    """One scene from its curtain to the sweeping; the Stage with its record."""
    house.play(variant)
    house.set_zone({})
    stage = Stage(house, variant, function.__name__, function.seconds)
    before, begun = house.snapshot(), time.monotonic()
    try:
        with stage.undo:
            function(stage)
    except NotHere as e:
        stage.skip(str(e))
    except Failed:
        pass  # told already
    except Exception as e:  # noqa: BLE001  a scene that breaks is a failure, and the others go on
        import traceback

        stage.failures.append("the scene broke: " + "".join(traceback.format_exception(e))[-2500:])
    if stage.failures and stage.sup:
        stage.story = stage.sup.story()
    if function.clean:
        after = house.snapshot()
        stage.check(after == before, "nothing is left behind", {
            k: difference(after[k], before[k]) for k in before if after[k] != before[k]})
        if not stage.skips:
            stage.check(not house.residue(), "nothing of any backend is left behind", house.residue())
    stage.took = time.monotonic() - begun
    return stage
