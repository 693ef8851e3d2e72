"""What neighbours do to the rules: put back within 1.5 s, told once, counted; a quarrel is not fought out."""

import time

from house import FAR4, FAR6, OTHER4, OTHER6, config
from scenes_paths import EVERYBODY, SERVERS
from stage import CORE, LAN, ROUTER, NotHere, difference, scene

IN_TIME = 1.5
EACH = "for t in iptables ip6tables; do $t {0}; done"
# A firewall's own restore, with nothing of ours in it.
FOREIGN = r"""
for t in iptables ip6tables; do $t-restore <<END
*mangle
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o nowhere -j ACCEPT
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -i nowhere -j DROP
COMMIT
END
done
"""
CLEAR_FOREIGN = "; ".join(f"for t in iptables ip6tables; do $t -w -t {r}; done" for r in (
    "filter -D FORWARD -i nowhere -j DROP", "mangle -D POSTROUTING -o nowhere -j ACCEPT"))
RELOAD = r"""
set -e
d=$(mktemp -d)
for t in iptables ip6tables; do $t-save >$d/$t; done
for t in iptables ip6tables; do for table in mangle nat filter; do $t -w -t $table -F; $t -w -t $table -X; done; done
sleep 0.3
for t in iptables ip6tables; do $t-restore <$d/$t; done
rm -r $d
"""
NFT_RELOAD = r"""
set -e
f=$(mktemp)
nft -s list ruleset >$f
nft flush ruleset
sleep 0.3
nft -f $f
rm $f
"""
ROUTES = "; ".join(("ip route replace default via 45.45.45.2", "ip -6 route replace default via 2a0f:4545::2"))
ADDRESSES = "; ".join(
    f"ip address replace {a} dev {d}" for d, a in (
        ("lan", "10.66.0.1/24"), ("lan", "fd66::1/64"), ("lan", "44.44.44.1/24"), ("lan", "2a0f:4444::1/64"),
        ("wan", "45.45.45.1/24"), ("wan", "2a0f:4545::1/64")))
RULE_FLUSH = "; ".join(
    f"ip {f} rule flush; ip {f} rule add pref 32766 lookup main; ip {f} rule add pref 32767 lookup default"
    if f == "-4" else f"ip {f} rule flush; ip {f} rule add pref 32766 lookup main" for f in ("-4", "-6"))

IPTABLES, NFT, ANY = ("legacy", "iptables-nft"), ("nft",), ("legacy", "iptables-nft", "nft")

# (name, variants on which it takes away something of ours, command)
TAMPERS = (
    ("iptables -t mangle -F", IPTABLES, EACH.format("-w -t mangle -F")),
    ("iptables -F and -X of every table", IPTABLES, "; ".join(
        EACH.format(f"-w -t {t} -{w}") for w in "FX" for t in ("mangle", "nat", "filter"))),
    ("iptables -D of our jump", IPTABLES, EACH.format("-w -t mangle -D PREROUTING -j CLASH_TPROXY")),
    ("one rule of ours deleted", IPTABLES, EACH.format("-w -t mangle -D CLASH_TPROXY 1")),
    ("a foreign iptables-restore", IPTABLES, FOREIGN),
    ("nft flush ruleset", ("iptables-nft", "nft"), "nft flush ruleset"),
    ("nft delete table", NFT, "nft delete table inet clashsup"),
    ("nft flush table", NFT, "nft flush table inet clashsup"),
    ("a reload as firewalld does it", IPTABLES, RELOAD),
    ("a reload as nftables.service does it", NFT, NFT_RELOAD),
    ("ip rule flush", ANY, RULE_FLUSH),
    ("ip rule delete", ANY, "ip rule delete pref 100; ip -6 rule delete pref 100"),
    ("ip route flush table 100", ANY, "ip route flush table 100; ip -6 route flush table 100"),
    ("lo down and up", ANY, "ip link set lo down; ip link set lo up; " + ROUTES),
    ("ipset flush", IPTABLES, "ipset flush"),
    ("ipset flush of the servers", ANY, "ipset flush clash_proxy_ips; ipset flush clash_proxy_ips6"),
    ("ipset destroy", ANY, "ipset destroy"),
)


def steady(stage):
    """Armed, servers in their set, and everything has settled."""
    stage.armed(config=config(proxies=SERVERS))
    if "repairs" not in stage.sup.status():
        raise NotHere("this build repairs nothing yet")
    stage.turns("direct", 3, LAN, to=(OTHER4, OTHER6))
    time.sleep(0.3)


def ours(stage):
    """The state that must be whole: rules, routing, what is in the sets."""
    return {"rules": stage.rules().splitlines(), "sets": stage.sets(),
            "routing": [l for l in stage.house.residue() if "ip -" in l]}


def tamper(stage, name, command, must_count):
    stage.check(stage.rules().count("\n") > 10, "the rules are there")
    before, counted, log = ours(stage), stage.repairs(), stage.sup.mark()
    stage.router(command, check=False)
    since = time.monotonic()
    took = stage.turns("proxied", IN_TIME, EVERYBODY, since=since, note=f"after {name}")
    stage.turns("direct", IN_TIME, (LAN, ROUTER), to=(OTHER4, OTHER6), since=since, note=f"as a server after {name}")
    if stage.within(max(0.1, IN_TIME + since - time.monotonic()), lambda: ours(stage) == before,
                    f"all is whole again {IN_TIME} s after {name}") is None:
        after = ours(stage)
        stage.failures[-1] += "".join(f"\n{k}: {difference(after[k], v)}" for k, v in before.items() if after[k] != v)
    more = stage.repairs() - counted
    told = [l for l in stage.sup.logged(r"(?i)repair|put back|applying|restor", log)]
    if must_count:
        stage.check(1 <= more <= 2, f"one repair is counted after {name}", more)
        stage.check(1 <= len(told) <= 2, f"it is told once after {name}", told)
    stage.tell(f"{name}: proxied after {took * 1000:.0f} ms, {more} repairs")
    stage.expect("direct", CORE, to=(FAR4,), note=f"after {name}")


def make(name, where, command):
    def play(stage):
        if command is FOREIGN:
            stage.undo.callback(stage.router, CLEAR_FOREIGN, check=False)
        steady(stage)
        # iptables' rules look into our sets, so nobody can destroy them; nft's twins are free. Legacy tables tell of
        # no change: between two looks a reload puts back itself what it took away.
        untouched = name == "ipset destroy" or (command is RELOAD and stage.variant.name == "legacy")
        tamper(stage, name, command, must_count=stage.nft or not untouched)

    play.__name__ = "after_" + "".join(c if c.isalnum() else "_" for c in name)
    return scene(variants=where)(play)


for _tamper in TAMPERS:
    make(*_tamper)


@scene(variants=("legacy", "nft"))
def after_a_flush_that_is_none_of_ours(stage):
    """Another variant's rules are not ours: nothing is repaired."""
    steady(stage)
    counted = stage.repairs()
    if stage.nft:
        stage.router(EACH.format("-w -t mangle -F"))
        stage.later("nft delete table inet stranger 2>/dev/null")
        stage.router("nft add table inet stranger; nft add chain inet stranger c; nft delete table inet stranger")
    else:
        stage.router("nft add table inet stranger; nft flush ruleset")
    time.sleep(IN_TIME)
    stage.equal(stage.repairs(), counted, "nothing was repaired")
    stage.expect("proxied", EVERYBODY)


@scene()
def after_a_link_goes_down_and_up(stage):
    stage.undo.callback(stage.router, f"{ADDRESSES}; {ROUTES}", check=False)
    steady(stage)
    for link in ("lan", "wan"):
        stage.router(f"ip link set {link} down; sleep 0.2; ip link set {link} up; {ADDRESSES}; {ROUTES}")
        stage.turns("proxied", IN_TIME, EVERYBODY, note=f"after {link} went down and up")
        stage.expect("direct", LAN, to=(OTHER4, OTHER6), note=f"after {link} went down and up")
    stage.equal(stage.sup.status()["state"], "armed", "it stays armed")


@scene()
def after_the_address_changes(stage):
    stage.undo.callback(stage.router, f"ip address delete 45.45.45.77/24 dev wan; {ADDRESSES}; {ROUTES}", check=False)
    steady(stage)
    stage.router(f"ip address delete 45.45.45.1/24 dev wan; ip address add 45.45.45.77/24 dev wan; {ROUTES}")
    stage.turns("proxied", IN_TIME, EVERYBODY, note="after the WAN's address changed")
    stage.expect("direct", CORE, to=(FAR4,), note="after the WAN's address changed")
    stage.expect("lost", LAN, to=("45.45.45.77",), port=7893, note="on the TPROXY port of the new address")
    stage.equal(stage.sup.status()["state"], "armed", "it stays armed")


@scene(seconds=120)
def a_neighbour_that_keeps_flushing(stage):
    steady(stage)
    counted, flush = stage.repairs(), "nft flush ruleset" if stage.variant.name != "legacy" else EACH.format(
        "-w -t mangle -F")
    server = stage.house.popen("router", "bash", "-c", f"for i in $(seq 100); do {flush}; sleep 0.1; done")
    stage.undo.callback(server.wait)
    stage.undo.callback(server.kill)
    begun = time.monotonic()
    time.sleep(10)
    server.kill()
    server.wait()
    more = stage.repairs() - counted
    stage.tell(f"{more} repairs in {time.monotonic() - begun:.1f} s of flushing each 0.1 s")
    stage.check(1 <= more <= 12, "a quarrel is met with backoff", more)
    stage.turns("proxied", 15, EVERYBODY, note="when the neighbour is quiet")
    lines = stage.sup.logged(r"(?i)flush|repair|put back|applying")
    stage.check(len(lines) <= 2 * more + 8, "the log is not flooded", len(lines))
    stage.equal(stage.sup.status()["state"], "armed", "it is armed in the end")
