"""Programs of the user's, run at turns of the life (behaviour 48 of facts about PID 1)."""

import os
import re
import signal
import time

from test_restart import FAST, RestartCase

TELL = """#!/bin/sh
echo "$(basename $0) $1 event=$CLASHSUP_EVENT state=$CLASHSUP_STATE code=$CLASHSUP_CODE signal=$CLASHSUP_SIGNAL \
mode=$CLASHSUP_MODE pid=$CLASHSUP_PID reason=$CLASHSUP_REASON" >> {told}
"""


class Hooks(RestartCase):
    def setUp(self):
        super().setUp()
        self.dir = os.path.join(self.house.dir, f"hooks-{time.monotonic_ns()}")
        self.told = self.dir + ".told"
        os.mkdir(self.dir)

    def hook(self, name, text=TELL, mode=0o755):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text.format(told=self.told))
        os.chmod(path, mode)

    def hooked(self, conf=None, **kw):
        return self.core(conf={"hooks": {"dir": self.dir, "timeout": "500ms"}, **(conf or {})}, **kw)

    def lines(self):
        try:
            with open(self.told, encoding="ascii") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def wait_lines(self, n):
        end = time.monotonic() + 10
        while len(self.lines()) < n and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(len(self.lines()), n, self.lines())
        return self.lines()

    def test_48_a_crash_and_its_end_are_told_in_order_with_what_is_known(self):
        self.hook("a")
        self.hook("b")
        sup = self.hooked()
        self.assertEqual([l.split()[:2] for l in self.wait_lines(2)], [["a", "armed"], ["b", "armed"]])
        pid = sup.mihomo_pid
        self.assertIn(f"event=armed state=armed code= signal= mode=tproxy pid={pid} reason=", self.lines()[0])
        sup.kill_mihomo()
        told = self.wait_lines(10)
        self.assertEqual([l.split()[:2] for l in told[2::2]],
                         [["a", w] for w in ("crashed", "disarmed", "armed", "recovered")])
        self.assertEqual([l.split()[:2] for l in told[3::2]],
                         [["b", w] for w in ("crashed", "disarmed", "armed", "recovered")])
        self.assertIn(f"code= signal={int(signal.SIGKILL)} ", told[2])
        self.assertIn("reason=was killed by signal 9 (SIGKILL)", told[2])

    def test_a_hang_is_a_crash_too(self):
        self.hook("a")
        sup = self.hooked({"probe": {"interval": "100ms", "timeout": "200ms", "fall": "2"}})
        pid = sup.kill_mihomo(signal.SIGSTOP)
        self.assertIn("a crashed event=crashed", self.wait_lines(3)[1])
        self.assertIn("reason=Mihomo does not answer", self.lines()[1])
        os.kill(pid, signal.SIGCONT)
        self.assertIn("a recovered", self.wait_lines(5)[4])

    def test_giving_up_is_told_with_the_exit_status(self):
        self.hook("a")
        self.hooked({"restart": {**FAST, "give_up": "stay", "give_up_after": "2"}}, script="exit 3", wait="failed")
        told = self.wait_lines(3)
        self.assertIn("a give-up event=give-up state=failed code=3 signal=", told[-1])
        self.assertIn("reason=Mihomo has died 2 times in a row", told[-1])

    def test_mihomos_next_start_is_forked_before_the_hook_of_its_death(self):
        self.hook("a", TELL.replace("event=", "self=$$ event=", 1))
        sup = self.hooked()
        self.wait_lines(1)
        sup.kill_mihomo()
        told = self.wait_lines(5)
        hook = int(re.search(r"crashed self=(\d+)", told[1]).group(1))
        mihomo = int(re.search(r"pid=(\d+)", told[4]).group(1))
        with open("/proc/sys/kernel/pid_max", encoding="ascii") as f:
            most = int(f.read())
        self.assertLess((hook - mihomo) % most, most // 2, "pids are given in their order")

    def test_the_disarming_of_a_clean_stop_is_told_and_waited_for(self):
        self.hook("a", TELL.replace("echo", "sleep 0.3; echo", 1))
        sup = self.hooked()
        self.wait_lines(1)
        self.assertEqual(sup.stop(), 0)
        self.assertIn("a disarmed", self.lines()[-1])

    def test_one_that_fails_or_hangs_is_named_and_delays_nothing(self):
        self.hook("a", "#!/bin/sh\necho not today; exit 7\n")
        self.hook("b", "#!/bin/sh\nsleep 300\n")
        self.hook("c")
        sup = self.hooked()
        sup.wait_log(r"^\[hook\] a: not today")
        sup.wait_log(r"^\[hook\] a \(armed\): exit status 7")
        begun = time.monotonic()
        sup.kill_mihomo()
        sup.wait_status(lambda s: s["state"] == "armed" and s["deaths"] == 1, "back")
        self.assertLess(time.monotonic() - begun, 2.4, "five hooks hang 0.5 s each meanwhile")
        sup.wait_log(r"^\[hook\] b \(armed\): no end within 500 ms")
        self.assertIn("c armed", self.wait_lines(5)[0])

    def test_what_others_can_write_is_not_run_and_told_once(self):
        self.hook("a", mode=0o777)
        self.hook("b", mode=0o644)
        self.hook(".c")
        self.hook("d~")
        self.hook("e")
        sup = self.hooked()
        self.assertIn("e armed", self.wait_lines(1)[0])
        sup.kill_mihomo()
        self.assertEqual({l.split()[0] for l in self.wait_lines(5)}, {"e"})
        self.assertEqual(len(sup.logged("a is not run: others can write it")), 1)

    def test_a_flood_of_events_is_bounded(self):
        self.hook("a", "#!/bin/sh\nsleep 300\n")
        sup = self.hooked({"hooks": {"dir": self.dir, "timeout": "60s"}, "restart": FAST})
        for n in range(6):
            sup.kill_mihomo()
            sup.wait_status(lambda s, n=n: s["state"] == "armed" and s["deaths"] == n + 1, "back")
        self.assertTrue(sup.logged("too many events wait for slow hooks"))
        self.assertEqual(sup.stop(), 0)
        self.assertTrue(sup.logged("do not end, leaving them"))

    def test_the_examples_say_what_to_set(self):
        for name in ("webhook", "ntfy"):
            done = self.house.shell("client", f"CLASHSUP_EVENT=crashed sh {os.path.dirname(__file__)}/../../etc/hooks/{name}",
                                    check=False)
            self.assertIn("set ", done)


