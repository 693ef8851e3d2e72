"""The command that a newcomer runs first."""

import os
import signal
import subprocess
import time

from house import MIHOMO, ROOT, SLOW, HouseCase


def names():
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout


class InitTry(HouseCase):
    def start(self, *args):
        return subprocess.Popen(
            [os.path.join(ROOT, "init", "try"), *args], env={**os.environ, "MIHOMO": MIHOMO},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def test_shows_the_whole_story_and_cleans_up(self):
        show = self.start()
        told, _ = show.communicate(timeout=300 * SLOW)
        self.assertEqual(show.returncode, 0, told)
        for words in (
            "is direct: 45.45.45.2 saw 10.66.0.2",
            "is proxied: 45.45.45.2 saw 45.45.45.8",
            "is proxied: 2a0f:4545::2 saw 2a0f:4545::8",
            "The first direct packet left",
            "armed TPROXY again",
            "Done.",
        ):
            self.assertIn(words, told)
        self.assertNotIn(f"try{show.pid}-", names())

    def test_keep_says_how_to_look_in_and_ctrl_c_cleans_up(self):
        show = self.start("--keep")
        told = ""
        end = time.monotonic() + 300 * SLOW
        while "kill -9" not in told and time.monotonic() < end:
            line = show.stdout.readline()
            self.assertTrue(line, told)
            told += line
        self.assertIn(f"try{show.pid}-", names())
        show.send_signal(signal.SIGINT)
        told += show.communicate(timeout=30 * SLOW)[0]
        self.assertEqual(show.returncode, 130, told)
        self.assertNotIn(f"try{show.pid}-", names())
