"""The backends that the same claim is shown on, each made for as long as a `with` lasts.

    for backend in ALL:
        if not backend.missing():
            with backend, House() as house, Supervisor(house, conf=backend.conf): ...

The two variants of iptables are directories of links, first on PATH.
"""

import os
import shutil
import subprocess
import tempfile

from house import PROGRAM

_NAMES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


class Backend:
    def __init__(self, name, setting, program=None):
        self.name, self.program = name, program
        self.conf = {"tproxy": {"backend": setting}}

    def __repr__(self):
        return self.name

    def __enter__(self):
        self.path, self.dir = os.environ["PATH"], tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        for name in _NAMES if self.program else ():
            os.symlink(shutil.which(self.program), os.path.join(self.dir, name))
        os.environ["PATH"] = self.dir + os.pathsep + self.path
        return self

    def __exit__(self, *_):
        os.environ["PATH"] = self.path
        shutil.rmtree(self.dir, ignore_errors=True)

    def missing(self):
        """Why it cannot be had on this machine, or "" when it can."""
        if self.program and not shutil.which(self.program):
            return f"{self.program} is not installed"
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
            conf.write(f"[tproxy]\nbackend = {self.conf['tproxy']['backend']}\n")
            conf.flush()
            done = subprocess.run([PROGRAM, "-c", conf.name, "rules"], capture_output=True, text=True)
        return "clashsup knows no such backend" if done.returncode else ""


ALL = (
    Backend("iptables-nft", "iptables", "xtables-nft-multi"),
    Backend("iptables-legacy", "iptables", "xtables-legacy-multi"),
    Backend("nft", "nft"),
)


def on_each(claim):
    """Of a test class: a case test_CLAIM_on_BACKEND for each, which calls the method on(backend)."""

    def case(backend):
        def test(self):
            if why := backend.missing():
                self.skipTest(why)
            with backend:
                self.on(backend)

        return test

    def decorate(cls):
        for backend in ALL:
            setattr(cls, f"test_{claim}_on_{backend.name.replace('-', '_')}", case(backend))
        return cls

    return decorate
