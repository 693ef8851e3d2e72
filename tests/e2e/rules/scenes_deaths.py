"""A core that misbehaves in every way, a supervisor that is killed, and what is left of them."""

import os
import signal
import time

import house as H
from house import FAR4, FAR6, FirstDirect, alive, config
from stage import CORE, LAN, PROBE, PROBE_BOUND, PUBLIC, ROUTER, VARIANTS, Failed, NotHere, scene

EVERYBODY = (LAN, PUBLIC, ROUTER)
BOUND = 2 * PROBE_BOUND
FAST = {"probe": PROBE, "restart": {"backoff_min": "100ms", "backoff_max": "300ms"}}


def core_pid(stage):
    return stage.sup.status()["mihomo"]["pid"]


def dies(stage, how, act, conf=None):
    """After act() everybody is direct in time, and proxied again when the core can be started."""
    stage.armed({**FAST, **(conf or {})})
    stage.expect("proxied")
    stage.take_core_away()
    since = time.monotonic()
    act()
    took = stage.turns("direct", BOUND, EVERYBODY, since=since, note=f"when the core {how}")
    stage.tell(f"direct {took * 1000:.0f} ms after the core {how}")
    stage.check(stage.sup.status()["state"] != "armed", "status says that it is not armed")
    stage.bring_core_back()
    stage.wait_state("armed")
    stage.expect("proxied", note="when it is back")


@scene()
def the_core_exits(stage):
    def leave():
        try:
            stage.sup.api("POST", "/core/exit/3")
        except OSError:
            pass
        except Exception as e:  # no answer is the answer
            if "Remote" not in type(e).__name__:
                raise

    dies(stage, "exits", leave)


@scene()
def the_core_is_killed(stage):
    dies(stage, "is killed", lambda: os.kill(core_pid(stage), signal.SIGKILL))


@scene()
def the_core_stops_answering(stage):
    for how, begin, end in (
        ("is stopped", lambda: os.kill(core_pid(stage), signal.SIGSTOP), lambda pid: os.kill(pid, signal.SIGCONT)),
        ("answers no request", lambda: stage.sup.api("POST", "/core/mute"), None),
    ):
        stage.armed(FAST)
        pid = core_pid(stage)
        since = time.monotonic()
        begin()
        try:
            took = stage.turns("direct", BOUND, EVERYBODY, since=since, note=f"when the core {how}")
            stage.tell(f"direct {took * 1000:.0f} ms after the core {how}")
        finally:
            if end:
                end(pid)
        if end:
            stage.wait_state("armed")
            stage.check(core_pid(stage) == pid, "it is the same process afterwards")
            stage.expect("proxied", note="when it answers again")
        stage.stop()


@scene()
def the_core_closes_its_sockets(stage):
    for what, whose in (("udp", "its UDP sockets"), ("tcp", "its TCP sockets"), ("all", "all its listeners")):
        stage.armed(FAST)
        since = time.monotonic()
        stage.core("close/" + what)
        took = stage.turns("direct", BOUND, EVERYBODY, since=since, note=f"when the core closes {whose}")
        stage.tell(f"direct {took * 1000:.0f} ms after the core closed {whose}")
        stage.told(r"no (TCP|UDP) listener|listener", "status says what is missing")
        stage.wait_status(lambda s: s["state"] != "armed", "disarmed")  # with nft the kernel is open before that
        stage.core("open/" + what)
        stage.wait_state("armed")
        stage.expect("proxied", note="when they are open again")
        stage.equal(stage.sup.status()["mihomo"]["restarts"], 0, "it was not restarted for it")
        stage.stop()


@scene()
def the_core_executes_itself(stage):
    stage.armed(FAST)
    pid = core_pid(stage)
    mark = stage.sup.mark()
    stage.sup.api("POST", "/restart")
    status = stage.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["restarts"] == 1, "armed again")
    stage.check(status["mihomo"]["pid"] == pid, "it is the same process")
    stage.check(stage.sup.logged("removing TProxy", mark), "it was disarmed in between")
    stage.expect("proxied", EVERYBODY, note="afterwards")
    stage.expect("direct", CORE)


@scene()
def the_core_is_late(stage):
    stage.start(FAST, flags="late=2500")
    stage.wait_status(lambda s: s["child"] == "starting" and s["waiting_for"], "waiting for the listener")
    time.sleep(0.3)
    stage.expect("direct", EVERYBODY, note="while the listener is not there")
    stage.told("listener", "status says what it waits for", within=2)
    stage.wait_state("armed")
    stage.expect("proxied", note="when it is there")


@scene()
def the_core_answers_but_does_not_listen(stage):
    for flags, why in (("no-tcp no-udp", "no listener"), ("no-udp", "no UDP listener"), ("no-tcp", "no TCP listener")):
        stage.start(FAST, flags=flags)
        stage.wait_status(lambda s: s["child"] == "starting" and s["mihomo"]["pid"], "started")
        time.sleep(0.7)
        stage.check(stage.sup.status()["state"] != "armed", f"with {why} it is not armed")
        stage.expect("direct", note=f"with {why}")
        stage.told("listener", "status says what it waits for", within=2)
        stage.stop()


@scene()
def the_core_serves_one_family(stage):
    for flags, there, missing in (("no-v6", FAR4, FAR6), ("no-v4", FAR6, FAR4)):
        stage.armed(FAST, flags=flags)
        stage.expect("proxied", EVERYBODY, to=(there,), note=f"with {flags}")
        stage.expect("direct", EVERYBODY, to=(missing,), note=f"with {flags}")
        family = "ipv6" if flags == "no-v6" else "ipv4"
        stage.check("listener" in stage.sup.status()["tproxy"][family], f"status says why {family} is left out",
                    stage.sup.status()["tproxy"])
        stage.stop()


def orphans(stage):
    found = []
    for pid in stage.house.pids("router"):
        try:
            if os.readlink(f"/proc/{pid}/exe") == stage.sup.core and pid != core_pid(stage):
                found.append(pid)
        except OSError:
            pass
    return found


@scene()
def the_core_leaves_orphans(stage):
    stage.armed(FAST, flags="orphan")
    old = core_pid(stage)
    os.kill(old, signal.SIGKILL)
    stage.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] not in (None, old), "armed again")
    stage.expect("proxied", note="as the orphan of its group was killed")
    stage.stop()
    stage.equal(orphans_left(stage), [], "none is left after the stop")
    # One that left the group keeps the port: nobody may be sent there.
    stage.armed(FAST, flags="orphan-session")
    holder = orphans(stage)
    stage.must(len(holder) == 1, "there is an orphan", holder)
    since = time.monotonic()
    os.kill(core_pid(stage), signal.SIGKILL)
    try:
        stage.turns("direct", BOUND, since=since, note="while an orphan holds the port")
        time.sleep(0.5)
        stage.expect("direct", note="for as long as the orphan holds the port")
        stage.told(r"port 7893|held by", "status says that the port is held")
    finally:
        os.kill(holder[0], signal.SIGKILL)
    stage.wait_state("armed")
    stage.expect("proxied", note="when the orphan is gone")
    for pid in orphans(stage):
        os.kill(pid, signal.SIGKILL)


def orphans_left(stage):
    return [p for p in stage.house.pids("router") if os.path.realpath(f"/proc/{p}/exe") == stage.sup.core]


@scene(clean=False)
def everything_is_killed_at_once(stage):
    before = stage.house.snapshot()
    for who in ("client", "router"):
        stage.armed()
        pid = core_pid(stage)

        def kill():
            stage.sup.process.kill()
            os.kill(pid, signal.SIGKILL)

        with FirstDirect(stage.house, where=who, gap=0.002, room=2500) as probe:
            try:
                ms = probe.after(kill)
            except AssertionError as e:
                stage.check(False, f"UDP from the {who} is direct", e)
                raise Failed from None
        since = time.monotonic() - ms / 1000
        stage.check(ms <= 3200 * H.SLOW, f"UDP from the {who} is direct within 3.2 s", f"{ms:.0f} ms")
        if stage.nft and who == "client":
            stage.check(ms < 200 * H.SLOW, "UDP from the LAN is direct at once", f"{ms:.0f} ms")
        took = stage.turns("direct", 3.2, (LAN, PUBLIC), since=since, note="when all is killed")
        own = stage.turns("direct", 3.2, ROUTER, since=since, note="when all is killed")
        stage.tell(f"all killed: first direct packet of the {who} after {ms:.0f} ms; everybody of the LAN after"
                   f" {took * 1000:.0f} ms, the router after {own * 1000:.0f} ms")
        stage.sup.process.wait()
        stage.sup.ctl("cleanup")
        after = stage.house.snapshot()
        stage.check(after == before, "cleanup leaves nothing behind",
                    {k: (before[k], after[k]) for k in before if before[k] != after[k]})
        stage.equal(stage.house.residue(), [], "cleanup leaves nothing of any backend behind")


@scene()
def a_killed_one_is_cleaned_up(stage):
    before = stage.house.snapshot()
    stage.armed()
    stage.sup.kill()
    stage.sup.ctl("cleanup")
    stage.expect("direct", EVERYBODY, note="after cleanup")
    stage.check(stage.house.snapshot() == before, "cleanup leaves nothing behind")
    stage.equal(stage.house.residue(), [], "cleanup leaves nothing of any backend behind")
    stage.sup.ctl("cleanup")
    stage.check(stage.house.snapshot() == before, "a second cleanup changes nothing")


@scene()
def another_backend_takes_over(stage):
    mine, before = stage.variant, stage.house.snapshot()
    for other in VARIANTS.values():
        if other is mine or other.missing:
            continue
        stage.variant = other
        stage.house.play(other)
        stage.armed()
        stage.expect("proxied", to=(FAR4,), note=f"on {other.name}")
        stage.sup.kill()
        stage.variant = mine
        stage.house.play(mine)
        stage.armed()
        stage.expect("proxied", EVERYBODY, note=f"on {mine.name} after a killed {other.name}")
        left = [l for l in stage.house.residue() if foreign(mine, l)]
        stage.equal(left, [], f"nothing of {other.name} is left")
        stage.stop()
        stage.check(stage.house.snapshot() == before, f"nothing is left of {other.name} and {mine.name}")


def foreign(variant, line):
    """Does a line of residue belong to another variant than this one?"""
    if "tables-legacy-save" in line:
        return variant.name != "legacy"
    if "tables-nft-save" in line:  # what decides about INPUT may be iptables beside our nft table
        return variant.name == "legacy" or (variant.name == "nft" and "CLASH_INPUT" not in line)
    return "nft list tables" in line and variant.name != "nft"


@scene()
def arming_again_changes_nothing(stage):
    stage.armed({"restart": {"backoff_min": "100ms"}})
    once, residue = stage.rules(), stage.house.residue()
    stage.check("CLASH_TPROXY" in once or stage.nft, "the rules can be listed", once)
    stage.must(len(once.splitlines()) > 10, "the rules are there", once)
    for n in range(3):
        stage.sup.ctl("off")
        stage.wait_state("mixed")
        stage.check("CLASH_SELECT" not in stage.rules(), "off takes the rules out")
        stage.sup.ctl("on")
        stage.wait_state("armed")
    stage.equal(stage.rules(), once, "on, off, on and so forth give the same rules")
    old = core_pid(stage)
    os.kill(old, signal.SIGKILL)
    stage.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] not in (None, old), "armed again")
    stage.equal(stage.rules(), once, "a death gives the same rules")
    stage.equal(stage.house.residue(), residue, "and nothing more of ours is there")
    stage.sup.kill()
    stage.armed()
    stage.equal(stage.rules(), once, "a new life gives the same rules")
    stage.equal(stage.house.residue(), residue, "and nothing more of ours is there after a new life")


@scene(masquerade=(True,))
def the_real_core(stage):
    if not os.access(H.MIHOMO, os.X_OK):
        raise NotHere("there is no Mihomo: set MIHOMO=/path/to/mihomo")
    sup = stage.armed(config=config(), core=H.MIHOMO)
    stage.expect("proxied", EVERYBODY)
    stage.expect("direct", CORE)
    stage.expect("lost", LAN, ("tcp",), to=("10.66.0.1",), port=7893, note="on the TPROXY port")
    stage.take_core_away()
    since = time.monotonic()
    sup.kill_mihomo()
    stage.turns("direct", BOUND, EVERYBODY, since=since, note="when it is killed")
    stage.bring_core_back()
    stage.wait_state("armed")
    before = sup.status()["mihomo"]["restarts"]
    sup.api("POST", "/restart")
    stage.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["restarts"] > before, "armed after its own restart")
    stage.expect("proxied", EVERYBODY, note="after its own restart")
    stage.stop()
    stage.expect("direct", EVERYBODY, note="after the stop")
    stage.armed(config=config(rules=("MATCH,DIRECT",)), core=H.MIHOMO)
    stage.expect("direct", EVERYBODY, note="as Mihomo's own rule says, without a loop")
