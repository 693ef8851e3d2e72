#!/usr/bin/env python3
"""A client in a sandbox of net.sh, for people and shell scripts.

    ask.py PREFIX CLIENT_OR_ROUTER tcp|udp ADDRESS   one sentence: whom the far server saw
    ask.py PREFIX kill PID                           SIGKILL; ms until the first direct packet
"""

import os
import signal
import sys

sys.dont_write_bytecode = True

from house import FirstDirect, House  # noqa: E402

WHO = {"proxied": "the proxy", "direct": "the client itself"}


def main(prefix, *words):
    house = House.attached(prefix)
    if words[0] == "kill":
        with FirstDirect(house) as probe:
            print(f"{probe.after(lambda: os.kill(int(words[1]), signal.SIGKILL)):.1f}")
        return 0
    where, proto, dst = words
    answer = house.ask(where, proto, dst)
    if answer.via == "lost":
        print(f"lost: no answer from {dst}: {answer.why}")
        return 1
    print(f"{answer.via}: {dst} saw {answer.peer}, {WHO[answer.via]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
