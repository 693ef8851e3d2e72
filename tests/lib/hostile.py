"""Bad places to be started in, each a program that goes there and then becomes clashsup.

    for place in PLACES:
        program = place.make(directory)
"""

import os

from house import PROGRAM

SIGNALS = """#!/usr/bin/env python3
import os, signal, sys
{0}
os.execv({1!r}, [{1!r}, *sys.argv[1:]])
"""
MOUNTS = """#!/bin/bash
exec unshare -m bash -c '{0} && exec {1} "$@"' {1} "$@"
"""
PLAIN = """#!/bin/bash
{0}
exec {2} {1} "$@"
"""


class Place:
    def __init__(self, name, text, do, *more, silent=False):
        self.name, self.text, self.do, self.more, self.silent = name, text, do, more, silent

    def make(self, directory):
        path = os.path.join(directory, self.name)
        with open(path, "w", encoding="ascii") as f:
            f.write(self.text.format(self.do, PROGRAM, *self.more))
        os.chmod(path, 0o755)
        return path


PLACES = (
    Place("sigchld_is_ignored", SIGNALS, "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"),
    Place("sigchld_is_blocked", SIGNALS, "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})"),
    Place("all_signals_are_blocked", SIGNALS, "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"),
    Place("all_signals_are_ignored", SIGNALS,
          "[signal.signal(s, signal.SIG_IGN) for s in range(1, 65) if s not in (9, 19, 32, 33)]"),
    Place("its_descriptors_are_closed", SIGNALS, "[os.close(n) for n in range(3)]", silent=True),
    Place("there_is_no_dev_null", MOUNTS, "mount -t tmpfs none /dev"),
    Place("there_is_no_proc", MOUNTS, "mount -t tmpfs none /proc"),
    Place("the_root_is_read_only", MOUNTS, "mount --bind /tmp /tmp && mount -o remount,ro,bind /"),
    Place("the_environment_is_empty", PLAIN, "", "env -i"),
    Place("its_directory_is_gone", PLAIN, 'd=$(mktemp -d); cd "$d"; rmdir "$d"', ""),
)
