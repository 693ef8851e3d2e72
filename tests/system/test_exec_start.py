"""Started in a bad place, `exec` does its work (`run`: test_hostile)."""

import os
import signal
import subprocess
import tempfile
import time
import unittest

from hostile import PLACES
from house import SLOW


class Exec(unittest.TestCase):
    def start(self, place, *command):
        directory = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        self.addCleanup(subprocess.run, ["rm", "-r", directory])
        process = subprocess.Popen(
            [place.make(directory), "exec", "-s", "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, directory

    def on(self, place):
        process, directory = self.start(place, "/bin/sh", "-c", "echo out; exit 7")
        self.assertEqual(process.wait(10 * SLOW), 7, "the child's death is seen")
        self.assertEqual(process.stdout.read(), b"" if place.silent else b"out\n")
        mark = os.path.join(directory, "up")
        process, directory = self.start(place, "/bin/sh", "-c", f"/bin/touch {mark}; exec /bin/sleep 60")
        end = time.monotonic() + 10 * SLOW
        while not os.path.exists(mark) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10 * SLOW), 128 + signal.SIGTERM, "and it still obeys")


def make(place):
    def test(self):
        self.on(place)

    setattr(Exec, f"test_exec_works_where_{place.name}", test)


for _place in PLACES:
    make(_place)
