"""Each state of Mihomo reached for real: `status` names it, and the commands that depend on it answer as they should.

The whole table of commands and states is in tests/contract/test_commands.c.
"""

import os

from house import BUILD, HouseCase

STANDIN = os.path.join(BUILD, "tests", "standin")
NO_SET = "there is no set to refresh: Mihomo "
NO_PROCESS = "there is no Mihomo to signal: it "
NOT_YET = "SIGHUP would end Mihomo now: it {}; try again when it is ready"

# A core whose test takes long, and one that dies at its start.
SLOW_TEST = 'case " $* " in *" -t "*) sleep 5;; esac\n'
DIES = 'case " $* " in *" -t "*) ;; *) exit 7;; esac\n'


class State:
    """How it is reached, and what it does, in the words of the refusals."""

    def __init__(self, words, *asked, core="", script="", conf=None, process=True, **kw):
        self.words, self.asked, self.core, self.script, self.process = words, asked, core, script, process
        self.conf, self.kw = conf or {}, kw


STATES = {
    "stopped": State("is stopped", "stop", process=False),
    "waiting": State("waits for a good config or its port", process=False, write_config=False),
    "checking": State("has its config checked first", script=SLOW_TEST, process=False),
    "starting": State("is starting", core="late=60000"),
    "ready": State("is ready"),
    "unhealthy": State("does not answer", "mute", conf={"probe": {"interval": "100ms", "timeout": "200ms"}}),
    "stopping": State("is being ended", "stop", core="deaf"),
    "restarting": State("is being restarted", "restart", core="deaf"),
    "backoff": State("died and waits for its next start", script=DIES, process=False, conf={"restart": {"backoff_min": "30s"}}),
    "failed": State("died too often", script=DIES, process=False, conf={"restart": {"give_up": "stay", "give_up_after": "1"}}),
}


class Commands(HouseCase):
    def reach(self, name, state):
        binary = STANDIN
        if state.script:
            binary = os.path.join(self.house.dir, name)
            with open(binary, "w", encoding="ascii") as f:
                f.write(f'#!/bin/sh\n{state.script}exec {STANDIN} "$@"\n')
            os.chmod(binary, 0o755)
        sup = self.supervisor(
            files={"core": state.core}, conf={"mihomo": {"binary": binary, "stop_timeout": "20s"}, **state.conf}, **state.kw
        )
        if state.asked:
            sup.wait_status(lambda s: s["child"] == "ready", "ready")
        for asked in state.asked:
            if asked == "mute":
                sup.api("POST", "/core/mute")
            else:
                sup.ctl(asked)
        sup.wait_status(lambda s: s["child"] == name, name)
        return sup

    def assertAnswer(self, sup, refusal, *command):
        done = sup.ctl_done(*command)
        wanted = (1, f"clashsup: {refusal}\n") if refusal else (0, "")
        self.assertEqual((done.returncode, done.stderr), wanted, command)

    def on(self, name):
        state = STATES[name]
        sup = self.reach(name, state)
        alive = name in ("ready", "unhealthy")
        for _ in range(2):  # and again: what is asked changes nothing
            self.assertEqual(sup.ctl_done("status", "--live").returncode, 0)
            self.assertAnswer(sup, None, "ips")
            self.assertAnswer(sup, None, "events")
            self.assertAnswer(sup, None, "logs")
            if name != "ready":
                self.assertAnswer(sup, NO_SET + state.words, "refresh")
            self.assertAnswer(sup, None if state.process else NO_PROCESS + state.words, "signal", "CONT")
            self.assertAnswer(
                sup,
                None if alive else NOT_YET.format(state.words) if state.process else NO_PROCESS + state.words,
                "signal", "HUP",
            )
            self.assertEqual(sup.status()["child"], name)
        if name == "ready":
            sup.wait_state("armed")
            self.assertAnswer(sup, None, "refresh")


def make(name):
    def test(self):
        self.on(name)

    setattr(Commands, f"test_each_command_has_its_answer_while_mihomo_is_{name}", test)


for _name in STATES:
    make(_name)
