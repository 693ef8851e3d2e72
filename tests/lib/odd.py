"""Odd ways to start a program: what is done between fork and exec, mounts included."""

import ctypes
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def _done(result, what):
    if result:
        raise OSError(ctypes.get_errno(), what)


def unshare_mounts():
    """From now on mounts are this process's own, and its children's."""
    _done(_libc.unshare(_CLONE_NEWNS), "unshare")
    mount("none", "/", MS_REC | MS_PRIVATE)


def mount(source, target, flags=0, kind=None, options=None):
    words = [w.encode() if w else None for w in (source, target, kind)]
    _done(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() if options else None), f"mount {target}")


def umount(target):
    """At once, whoever uses it."""
    _done(_libc.umount2(target.encode(), 2), f"umount {target}")


class starts:
    """Within it `clashsup run` begins with `odd` between fork and exec, and behind the words `before`."""

    def __init__(self, odd=None, before=(), env=None, **kw):
        self.odd, self.before, self.env, self.kw = odd, list(before), env, kw

    def __enter__(self):
        mine, real = self, subprocess.Popen
        self.real = real

        class Odd(real):
            def __init__(self, argv, *args, **kw):
                if argv[-1] == "run":
                    at = argv.index("--") + 1
                    argv = argv[:at] + mine.before + argv[at:]
                    kw["preexec_fn"] = mine.odd
                    if mine.env is not None:
                        kw["env"] = mine.env
                    kw.update(mine.kw)
                super().__init__(argv, *args, **kw)

        subprocess.Popen = Odd

    def __exit__(self, *_):
        subprocess.Popen = self.real
