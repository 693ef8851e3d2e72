#!/usr/bin/env python3
"""A name server for measuring: knows pN.nodes.example for every N, answers over UDP after a constant delay.

    names.py ADDRESS DELAY_MS

That of tests/lib/servers.py would be slower than what it is to measure. Says
"ready" when it listens.
"""

import collections
import select
import socket
import struct
import sys
import time

SUFFIX = b"\x05nodes\x07example\x00"
TTL = 600
QUESTIONS = 64  # taken before answers that are due get their turn


def literal(n):
    return f"45.{50 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}"


def name(n):
    return f"p{n}.nodes.example"


def question(number, n):
    """The A question for a name."""
    label = b"p%d" % n
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + bytes([len(label)]) + label + SUFFIX + b"\0\1\0\1"


def answer(query):
    after = 13 + query[12]
    end = after + len(SUFFIX)
    records = b""
    if query[end : end + 2] == b"\0\1":
        records = struct.pack("!HHHIH", 0xC00C, 1, 1, TTL, 4) + socket.inet_aton(literal(int(query[14:after])))
    return query[:2] + struct.pack("!5H", 0x8180, 1, bool(records), 0, 0) + query[12 : end + 4] + records


def serve(address, delay):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    s.setblocking(False)
    print("ready", flush=True)
    waiting = collections.deque()  # the delay is one for all: in order
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([s], [], [], pause)[0]:
            try:
                for _ in range(QUESTIONS):
                    query, peer = s.recvfrom(512)
                    waiting.append((time.monotonic() + delay, answer(query), peer))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, text, peer = waiting.popleft()
            s.sendto(text, peer)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]) / 1000)
