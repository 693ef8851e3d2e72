"""What stands around the rules: policies, sysctls, names, the kill switch, collisions, poor kernels."""

import contextlib
import os
import re
import signal
import socket
import struct
import time

import house as H
from house import FAR4, FAR6, OTHER4, OTHER6, config
from scenes_deaths import BOUND, FAST, core_pid
from scenes_options import tproxy
from scenes_paths import EVERYBODY, SERVERS
from stage import CORE, LAN, PUBLIC, ROUTER, NotHere, scene

PROOF = 14.0  # twice: three seconds of proof, the looks before it, and the ticks around them


# ---- policies of the packet filter ----


@scene()
def input_policy_drop_of_iptables(stage):
    stage.router(
        "for t in iptables ip6tables; do $t -w -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT;"
        " $t -w -P INPUT DROP; done; ip6tables -w -A INPUT -p ipv6-icmp -j ACCEPT")
    stage.later("for t in iptables ip6tables; do $t -w -P INPUT ACCEPT; $t -w -F INPUT; done")
    stage.armed()
    # Our table cannot overrule another one: on nft either an accept goes where the policy is, or it is disarmed and told.
    if not stage.nft:
        stage.expect("proxied", EVERYBODY, note="behind an INPUT policy of DROP")
        stage.sup.ctl("off")
        stage.wait_state("mixed")
        stage.check("CLASH_INPUT" not in stage.router("iptables-save -t filter"), "the accept goes with the rules")
        return
    works_or_is_told(stage, "INPUT")


def works_or_is_told(stage, cause):
    """Proxied at once; or direct after the proof has failed, with the cause in the status."""
    end = time.monotonic() + PROOF
    while time.monotonic() < end:
        seen = {stage.ask(LAN, "tcp", d, timeout=0.3).via for d in (FAR4, FAR6)}
        if seen in ({"proxied"}, {"direct"}):
            break
    stage.check(seen in ({"proxied"}, {"direct"}), f"the LAN is not dead for long ({cause})", seen)
    if seen == {"direct"}:
        stage.told(cause, f"status names {cause}")
        stage.expect("direct", LAN, note="as interception cannot work")
    stage.tell(f"with {cause}: {seen}")


@scene()
def input_policy_drop_of_another_table(stage):
    stage.later("nft delete table inet strict 2>/dev/null")
    stage.router("nft 'table inet strict { chain input { type filter hook input priority 0; policy drop; "
                 "ct state established,related accept; meta l4proto ipv6-icmp accept; }; }'")
    stage.armed()
    works_or_is_told(stage, "INPUT|input")


@scene()
def input_accept_no(stage):
    stage.armed(tproxy(input_accept="no"))
    stage.check("CLASH_INPUT" not in stage.router("iptables-save; nft list ruleset", check=False),
                "with input_accept = no there is no such chain")
    stage.expect("proxied")


@scene(masquerade=(True,))
def a_direct_path_that_is_there_is_no_warning(stage):
    stage.armed()
    time.sleep(0.5)
    text = stage.status_text()
    stage.check(not re.search(r"direct path\W+none", text), "a healthy router gives no warning", text)


@scene()
def forward_policy_drop(stage):
    stage.later("for t in iptables ip6tables; do $t -w -P FORWARD ACCEPT; done")
    stage.router("for t in iptables ip6tables; do $t -w -P FORWARD DROP; done")
    stage.armed()
    stage.expect("proxied", EVERYBODY, note="behind a FORWARD policy of DROP")
    stage.told(r"direct[ _]path\W+none[^\n]*FORWARD", "status says that there is no direct path, for FORWARD drops")
    stage.check(stage.sup.logged(r"(?i)direct path"), "the log says that there is no direct path")


@scene()
def forwarding_off(stage):
    stage.later("echo 1 >/proc/sys/net/ipv4/ip_forward")
    stage.router("echo 0 >/proc/sys/net/ipv4/ip_forward")
    stage.armed()
    stage.expect("proxied", LAN, to=(FAR4,), note="though nothing is forwarded")
    stage.told(r"direct[ _]path\W+(none|IPv6 only)[^\n]*ip_forward", "status says that there is no direct path, for ip_forward is 0")


# ---- sysctls ----


def sysctl(stage, name, value):
    """Sets one of the router's, and has it restored at the scene's end."""
    path = "/proc/sys/" + name
    old = stage.router(f"cat {path}").strip()
    stage.later(f"echo {old} >{path}")
    stage.router(f"echo {value} >{path}")


def read_sysctl(stage, name):
    return stage.router(f"cat /proc/sys/{name}").strip()


def src_valid_mark(stage):
    for name in ("all", "lan"):
        sysctl(stage, f"net/ipv4/conf/{name}/rp_filter", 1)
    sysctl(stage, "net/ipv4/conf/all/src_valid_mark", 1)


@scene()
def src_valid_mark_is_found(stage):
    src_valid_mark(stage)
    stage.armed()
    end = time.monotonic() + PROOF
    while (seen := stage.ask(LAN, "tcp", FAR4, timeout=0.3).via) == "lost" and time.monotonic() < end:
        pass
    stage.check(seen in ("direct", "proxied"), "the LAN is not dead for long", seen)
    stage.told("src_valid_mark", "status names src_valid_mark")


@scene()
def sysctls_are_mended_and_restored(stage):
    src_valid_mark(stage)
    sysctl(stage, "net/ipv4/ip_forward", 0)
    stage.armed(tproxy(fix_sysctls="yes"))
    stage.turns("proxied", 3, EVERYBODY, note="with fix_sysctls = yes")
    stage.equal(read_sysctl(stage, "net/ipv4/ip_forward"), "1", "ip_forward is mended")
    stage.stop()
    stage.equal(read_sysctl(stage, "net/ipv4/ip_forward"), "0", "ip_forward is restored by the stop")
    stage.equal(read_sysctl(stage, "net/ipv4/conf/all/src_valid_mark"), "1", "src_valid_mark is restored by the stop")
    sup = stage.armed(tproxy(fix_sysctls="yes"))
    sup.kill()
    sup.ctl("cleanup")
    stage.equal(read_sysctl(stage, "net/ipv4/ip_forward"), "0", "ip_forward is restored by cleanup of a killed one")


BRIDGE = """
set -e
ip link add br0 type bridge
ip link set br0 up
ip link set lan master br0
ip address flush dev lan
for a in 10.66.0.1/24 fd66::1/64 44.44.44.1/24 2a0f:4444::1/64; do ip address add $a dev br0; done
"""
NO_BRIDGE = """
ip link delete br0
ip link set lan down
ip link set lan up
for a in 10.66.0.1/24 fd66::1/64 44.44.44.1/24 2a0f:4444::1/64; do ip address replace $a dev lan; done
"""


@scene()
def a_bridged_lan(stage):
    stage.later(NO_BRIDGE)
    stage.router(BRIDGE)
    switches = "/proc/sys/net/bridge/bridge-nf-call-ip{,6}tables"

    def set_to(value):
        return f"for f in {switches}; do echo {value} >$f; done"

    if "yes" not in stage.router("[ -d /proc/sys/net/bridge ] && echo yes", check=False):
        stage.armed()
        stage.expect("proxied", EVERYBODY, note="over a bridge")
        raise NotHere("this kernel has no br_netfilter loaded: the rest of it is not played")
    stage.later(set_to(0))
    stage.router(set_to(0))
    stage.armed()
    stage.expect("proxied", EVERYBODY, note="over a bridge that iptables does not see")
    stage.stop()
    stage.router(set_to(1))
    stage.armed()
    works_or_is_told(stage, "bridge-nf-call-iptables")
    stage.told("bridge-nf-call-iptables", "status names bridge-nf-call-iptables")
    stage.stop()
    stage.armed(tproxy(fix_sysctls="yes"))
    stage.turns("proxied", 3, LAN, note="with fix_sysctls = yes")
    stage.stop()
    stage.equal(stage.router(f"cat {switches}").split(), ["1", "1"], "both switches are restored")


# ---- names ----

CORE_SAYS, ZONE_SAYS = "44.55.66.77", "9.9.9.9"
NAME = "host.example"


def question():
    labels = b"".join(bytes([len(l)]) + l.encode() for l in NAME.split("."))
    return struct.pack("!HHHHHH", 0x1234, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def read_answer(data):
    return socket.inet_ntoa(data[-4:]) if len(data) > 12 and data[7] else "no address"


def dns(stage, who, server, proto="udp", timeout=1.0, held=None):
    """The address that a resolver gives for a name, or why none."""
    try:
        with contextlib.ExitStack() as stack:
            s = held or stack.enter_context(stage.socket(who, proto, server, port=53, timeout=timeout))
            s.sendall(question() if proto == "udp" else struct.pack("!H", len(question())) + question())
            data = s.recv(4096)
            return read_answer(data if proto == "udp" else data[2:])
    except OSError as e:
        return str(e)


def until_told(wanted, within, ask):
    """Asks until the answer is as wanted; the last one."""
    end = time.monotonic() + within
    while (got := ask()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    return got


def names(stage, wanted, who, servers, note, within=1.0):
    for w in who:
        for server in servers:
            for proto in ("udp", "tcp"):
                got = until_told(wanted, within, lambda w=w, s=server, p=proto: dns(stage, w, s, p, 0.5))
                stage.equal(got, wanted, f"a name asked of {server} by {proto} from {w[0]} {note}")


def dns_config(listen="0.0.0.0:1053"):
    return config(dns=f"dns: {{enable: true, ipv6: true, listen: '{listen}', nameserver: [45.45.45.53],"
                  " default-nameserver: [45.45.45.53]}")


AT_ROUTER = ("10.66.0.1", "fd66::1")
BEYOND = ("45.45.45.53", "2a0f:4545::53")


@scene(masquerade=(False, True))
def names_survive_the_core(stage):
    stage.house.set_zone({NAME: [ZONE_SAYS]})
    for dns_word in ("on", "auto"):
        stage.armed({**FAST, "tproxy": {"dns": dns_word, "dns_fallback": "45.45.45.53"}}, config=dns_config())
        names(stage, CORE_SAYS, (LAN,), AT_ROUTER + BEYOND, f"is answered by the core (dns = {dns_word})")
        names(stage, CORE_SAYS, (ROUTER,), BEYOND, f"is answered by the core (dns = {dns_word})")
        stage.equal(dns(stage, CORE, "45.45.45.53"), ZONE_SAYS, "the core's own queries are not sent back to it")
        with stage.socket(LAN, "udp", "10.66.0.1", port=53) as held:
            stage.equal(dns(stage, LAN, None, held=held), CORE_SAYS, "a resolver with one socket is answered by the core")
            stage.take_core_away()
            os.kill(core_pid(stage), signal.SIGKILL)
            names(stage, ZONE_SAYS, (LAN,), ("10.66.0.1",), f"is answered by the fallback (dns = {dns_word})", BOUND)
            names(stage, ZONE_SAYS, (LAN,), ("45.45.45.53",), "beyond the router is direct")
            # New queries go by the lease, those of known flows by conntrack, which forgets them some ms later.
            got = until_told(ZONE_SAYS, BOUND, lambda: dns(stage, LAN, None, held=held))
            stage.equal(got, ZONE_SAYS, "the same socket is answered by the fallback")
            stage.bring_core_back()
            stage.wait_state("armed")
            got = until_told(CORE_SAYS, BOUND, lambda: dns(stage, LAN, None, held=held))
            stage.equal(got, CORE_SAYS, "the same socket is answered by the core again")
        names(stage, CORE_SAYS, (LAN,), AT_ROUTER, "is answered by the core again")
        stage.stop()
        stage.check(dns(stage, LAN, "10.66.0.1", timeout=0.3) not in (CORE_SAYS, ZONE_SAYS), "after the stop nobody answers")


@scene()
def names_are_left_to_others(stage):
    stage.house.set_zone({NAME: [ZONE_SAYS]})
    # A resolver of the router's own.
    server = stage.house.popen("router", "python3", "-c", (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 53))\n"
        "print('up', flush=True)\n"
        "while True:\n d, p = s.recvfrom(512)\n"
        " s.sendto(d[:2] + b'\\x81\\x80' + d[4:6] + b'\\0\\1\\0\\0\\0\\0' + d[12:]"
        " + b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4\\7\\7\\7\\7', p)"), stdout=-1)
    stage.undo.callback(server.stdout.close)
    stage.undo.callback(server.wait)
    stage.undo.callback(server.kill)
    server.stdout.readline()
    stage.armed(tproxy(dns="auto"), config=dns_config())
    stage.equal(dns(stage, LAN, "10.66.0.1"), "7.7.7.7", "auto leaves port 53 to who has it")
    stage.stop()
    stage.armed(tproxy(dns="off"), config=dns_config())
    stage.equal(dns(stage, LAN, "10.66.0.1"), "7.7.7.7", "off leaves port 53 to who has it")
    stage.stop()
    stage.armed(tproxy(dns="on"), config=dns_config())
    stage.equal(dns(stage, LAN, "10.66.0.1"), CORE_SAYS, "on takes it over")
    stage.stop()
    stage.equal(dns(stage, LAN, "10.66.0.1"), "7.7.7.7", "the stop gives it back")


@scene()
def names_without_a_reachable_resolver(stage):
    stage.armed(tproxy(dns="auto"), config=dns_config("127.0.0.1:1053"))
    stage.check(dns(stage, LAN, "10.66.0.1", timeout=0.3) != CORE_SAYS, "auto does not use a resolver on loopback")
    stage.check("CLASH_DNS" not in stage.rules() and "dnat" not in stage.rules(), "no rules are made for it")


def rejected(stage, who, proto, dst):
    """Refused at once, by a rule: neither an answer nor silence."""
    begun = time.monotonic()
    answer = stage.ask(who, proto, dst, timeout=1.5)
    took = time.monotonic() - begun
    fast = took < 0.5 * H.SLOW and re.search("refused|unreachable|prohibited|No route|denied", answer.why)
    return bool(answer.via in ("lost", "refused") and fast), f"{answer} after {took:.2f} s"


@scene()
def stale_fake_addresses_are_refused(stage):
    stage.house.run("inet", "ip", "route", "add", "blackhole", "28.0.0.0/8")
    stage.undo.callback(stage.house.run, "inet", "ip", "route", "delete", "blackhole", "28.0.0.0/8")
    stage.armed(FAST, config=config(dns="dns: {enable: true, enhanced-mode: fake-ip, fake-ip-range: 28.0.0.1/8,"
                                    " nameserver: [45.45.45.53]}"))
    stage.expect("proxied", LAN, to=("28.9.9.9",))
    stage.take_core_away()
    os.kill(core_pid(stage), signal.SIGKILL)
    stage.turns("direct", BOUND, LAN)
    for proto in ("tcp", "udp"):
        ok, why = rejected(stage, LAN, proto, "28.9.9.9")
        stage.check(ok, f"{proto} to a stale fake address is refused at once", why)
    stage.stop()
    for proto in ("tcp", "udp"):
        ok, why = rejected(stage, LAN, proto, "28.9.9.9")
        stage.check(not ok, f"{proto} to such an address is nobody's concern after the stop", why)


# ---- on_death = closed ----


def is_closed(stage, note, who=(LAN, PUBLIC)):
    for w in who:
        for dst in (FAR4, FAR6):
            for proto in ("tcp", "udp"):
                ok, why = rejected(stage, w, proto, dst)
                stage.check(ok, f"{proto} from {w[1]} to {dst} is refused at once {note}", why)


@scene(clean=False)
def closed_when_the_core_is_dead(stage):
    before = stage.house.snapshot()
    for address in ("10.66.0.1", "fd66::1"):
        stage.listener("router", address, 9000)
    sup = stage.armed({**FAST, "tproxy": {"on_death": "closed", "exclude_ips": OTHER4}}, config=config())
    stage.expect("proxied", EVERYBODY)
    stage.take_core_away()
    os.kill(core_pid(stage), signal.SIGKILL)
    stage.wait_status(lambda s: s["state"] != "armed", "disarmed")
    time.sleep(0.3)
    is_closed(stage, "when the core is dead")
    stage.expect("direct", LAN, to=(OTHER4,), note="as it is never proxied")
    for address in ("10.66.0.1", "fd66::1"):
        answer = stage.ask(LAN, "tcp", address, port=9000)
        stage.check(answer.via != "lost", f"the router's own service on {address} answers", answer)
    stage.bring_core_back()
    stage.wait_state("armed")
    stage.expect("proxied", EVERYBODY, note="when it is back")
    sup.ctl("off")
    stage.wait_state("mixed")
    stage.expect("direct", EVERYBODY, note="as off lifts it")
    sup.ctl("on")
    stage.wait_state("armed")
    stage.stop()
    stage.expect("direct", EVERYBODY, note="as a clean stop lifts it")
    stage.check(stage.house.snapshot() == before, "a clean stop leaves nothing behind")
    stage.armed({**FAST, "tproxy": {"on_death": "closed"}})
    pid = core_pid(stage)
    stage.sup.process.kill()
    os.kill(pid, signal.SIGKILL)
    stage.sup.process.wait()
    time.sleep(3.3)
    is_closed(stage, "when all is killed", (LAN,))
    stage.sup.ctl("cleanup")
    stage.expect("direct", EVERYBODY, note="as cleanup lifts it")
    stage.check(stage.house.snapshot() == before, "cleanup leaves nothing behind")


# ---- collisions ----


def refused(stage, pattern, claim):
    """It does not arm, and says why."""
    deadline = time.monotonic() + 6
    status = {}
    while time.monotonic() < deadline:
        status = stage.sup.status()
        if re.search(pattern, stage.status_text() + str(status)) or stage.sup.process.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(0.3)
    told = stage.status_text() + str(stage.sup.status()) + stage.sup.story()
    unknown = re.search("unknown key.*", told)
    if unknown:
        raise NotHere("this build: " + unknown[0])
    stage.check(re.search(pattern, told), claim, told[-1500:])
    stage.check(status.get("state") != "armed", "it is not armed", status.get("state"))
    stage.expect("direct", note="as it is not armed")


@scene()
def the_mark_is_used_by_another_program(stage):
    stage.router("ip rule add pref 99 fwmark 0x1/0xff lookup 77")
    stage.later("ip rule delete pref 99 2>/dev/null")
    stage.start(FAST)
    refused(stage, r"(?s)fwmark.*(tproxy\W+mark|\bmark\b)", "the log names the rule and the key to change")
    stage.check("lookup 77" in stage.router("ip rule"), "the other program's rule is left alone")
    stage.router("ip rule delete pref 99")
    stage.wait_state("armed", 20)
    stage.expect("proxied", note="when the other program is gone")


@scene()
def the_table_is_used_by_another_program(stage):
    stage.router("ip route add 192.168.99.0/24 dev wan table 100")
    stage.later("ip route delete 192.168.99.0/24 dev wan table 100 2>/dev/null")
    stage.start(FAST)
    refused(stage, r"table", "the log names the table and the key to change")
    stage.check("192.168.99.0/24" in stage.router("ip route show table 100"), "the other program's route is left alone")
    stage.router("ip route delete 192.168.99.0/24 dev wan table 100")
    stage.wait_state("armed", 20)


@scene(variants=("legacy", "iptables-nft"))
def another_program_sends_to_the_same_port(stage):
    rule = "PREROUTING -p tcp -m tcp --dport 4444 -j TPROXY --on-port 7893 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1"
    stage.router(f"iptables -w -t mangle -A {rule}")
    stage.later(f"iptables -w -t mangle -D {rule}")
    stage.start(FAST)
    refused(stage, r"-t mangle -D PREROUTING.*7893", "the command that deletes the rule is told")
    stage.check("4444" in stage.router("iptables-save -t mangle"), "the other program's rule is left alone")


@scene(variants=("nft",))
def another_table_sends_to_the_same_port(stage):
    stage.router("nft 'table inet other { chain pre { type filter hook prerouting priority mangle; "
                 "tcp dport 4444 tproxy ip to 127.0.0.1:7893 meta mark set 1; }; }'")
    stage.later("nft delete table inet other")
    stage.start(FAST)
    refused(stage, r"nft delete (rule|table|chain) inet other", "the command that deletes the rule is told")


# ---- kernels and systems that lack something ----

FAILS = "#!/bin/sh\ncat >/dev/null\necho '{why}' >&2\nexit {code}\n"
PICKY = ("#!/bin/sh\ncase \"$*\" in *--noflush*|*-f*) ;; *) exec '{real}' \"$@\" ;; esac\nf=$(mktemp)\ncat >$f\nif grep -q -e '{what}' $f; then\n rm $f\n echo '{why}' >&2\n exit {code}\nfi\n"
         "'{real}' \"$@\" <$f\nr=$?\nrm $f\nexit $r\n")


def stub(stage, **programs):
    """Programs that stand before the real ones on the router's PATH."""
    directory = os.path.join(stage.house.dir, f"stubs-{time.monotonic_ns()}")
    os.mkdir(directory)
    for name, text in programs.items():
        path = os.path.join(directory, name.replace("_", "-"))
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)
    old = stage.house.path
    stage.house.path = directory + ":" + old
    stage.undo.callback(setattr, stage.house, "path", old)


def real(stage, name):
    if name == "nft":
        return "/usr/sbin/nft"
    return os.path.join(stage.variant.make_path(os.path.join(stage.house.dir, "path-" + stage.variant.name)), name)


def lacking(stage, what, why):
    """This variant's loader does not know a match."""
    if stage.nft:
        text = {"nft": PICKY.format(what=what[1], why="Error: Could not process rule: No such file or directory", code=1,
                                    real=real(stage, "nft"))}
    else:
        text = {
            f"{f}_restore": PICKY.format(
                what=what[0], code=2, real=real(stage, f + "-restore"),
                why=f"{f}-restore v1.8.9: Could not load match {why}:No such file or directory")
            for f in ("iptables", "ip6tables")
        }
    stub(stage, **text)


@scene()
def a_kernel_without_the_socket_match(stage):
    lacking(stage, ("-m socket", "socket transparent"), "socket")
    stage.armed()
    stage.expect("proxied", EVERYBODY, note="without the socket match")
    held = stage.keep_open(EVERYBODY, via="proxied")
    for _ in range(3):
        stage.still(held, "proxied", "segment after segment")
    stage.told("socket", "status names what is missing")


@scene()
def a_kernel_without_the_owner_match(stage):
    lacking(stage, ("-m owner", "meta skgid"), "owner")
    stage.armed()
    stage.expect("proxied", (LAN, PUBLIC), note="without the owner match")
    stage.expect("direct", (ROUTER, CORE), note="without the owner match")
    stage.told("owner|gid expression", "status names what is missing")


@scene(variants=("legacy", "iptables-nft"))
def a_kernel_without_ip6tables(stage):
    why = FAILS.format(why="ip6tables v1.8.9 (legacy): can`t initialize ip6tables table `mangle`: Table does not exist"
                       " (do you need to insmod?)".replace("`", '"'), code=3)
    stub(stage, ip6tables=why, ip6tables_save=why, ip6tables_restore=why)
    stage.armed()
    stage.expect("proxied", EVERYBODY, to=(FAR4,), note="without ip6tables")
    stage.expect("direct", EVERYBODY, to=(FAR6,), note="without ip6tables")
    reason = stage.sup.status()["tproxy"]["ipv6"]
    stage.check(reason not in ("armed", "direct", ""), "status says why IPv6 is left out", reason)


@scene()
def auto_takes_what_works(stage):
    nothing = FAILS.format(why="Error: Could not process rule: Protocol not supported", code=1)
    dead = {n: FAILS.format(why="iptables v1.8.9: Table does not exist (do you need to insmod?)", code=3)
            for n in ("iptables_restore", "ip6tables_restore")}
    stub(stage, **(dead if stage.nft else {"nft": nothing}))
    stage.armed(tproxy(backend="auto"))
    status = stage.sup.status()
    stage.equal(status["backend"], stage.variant.backend, "auto takes the one that works")
    other = "iptables" if stage.nft else "nft"
    stage.check(status["backends"][other] != "ok", f"status says why {other} does not", status["backends"])
    stage.expect("proxied", EVERYBODY)


@scene(variants=("legacy", "nft"))
def nothing_works(stage):
    nothing = FAILS.format(why="Error: Protocol not supported (do you need to insmod?)", code=1)
    stub(stage, nft=nothing, iptables_restore=nothing, ip6tables_restore=nothing)
    stage.start(FAST)
    time.sleep(2)
    status = stage.sup.status()
    stage.check(status.get("state") != "armed", "it is not armed", status.get("state"))
    stage.expect("direct", EVERYBODY, note="as no firewall works here")
    stage.told("not supported|insmod|no mangle|iptables", "status says why")


# ---- a lock that is held ----


@scene(variants=("legacy",))
def a_held_lock_delays_only_the_tidying(stage):
    stage.armed(FAST)
    lock = os.path.join(stage.house.dir, "xtables.lock")
    holder = stage.house.popen("router", "flock", "-o", "-x", lock, "sleep", "30")
    stage.undo.callback(holder.wait)
    stage.undo.callback(holder.kill)
    time.sleep(0.3)
    stage.take_core_away()
    since = time.monotonic()
    os.kill(core_pid(stage), signal.SIGKILL)
    took = stage.turns("direct", BOUND, EVERYBODY, since=since, note="while another program holds the lock")
    stage.tell(f"direct {took * 1000:.0f} ms after the death with the lock held")
    holder.kill()
    stage.bring_core_back()
    stage.wait_state("armed", 20)
    stage.expect("proxied", note="when the lock is free")
