#!/usr/bin/env python3
"""Stands before a name server and makes the way to it bad: relay_dns.py LISTEN-ADDRESS SERVER-ADDRESS SERVER-PORT

A line of JSON on standard input changes how: {"delay": seconds, "loss": 0.25 (each way), "seed": 1}. Answers of UDP
only are late or lost; TCP passes. Says "ready" once. Ends with its standard input.
"""
import asyncio
import json
import random
import socket
import sys

listen, server, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
way = {"delay": 0, "loss": 0}


def lost():
    return random.random() < way["loss"]


class Near(asyncio.DatagramProtocol):
    """Questions: by one socket to the server, with an id of ours in place of the asker's."""

    def __init__(self):
        self.open, self.next = {}, 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, asker):
        if lost():
            return
        self.next = (self.next + 1) % 65536
        self.open[self.next] = (data[:2], asker)
        self.far.transport.sendto(self.next.to_bytes(2, "big") + data[2:])


class Far(asyncio.DatagramProtocol):
    def __init__(self, near):
        self.near = near

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, _):
        ident, asker = self.near.open.pop(int.from_bytes(data[:2], "big"), (None, None))
        if ident and not lost():
            asyncio.get_running_loop().call_later(way["delay"], self.near.transport.sendto, ident + data[2:], asker)

    def error_received(self, _):
        pass


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def tcp(reader, writer):
    try:
        there = await asyncio.open_connection(server, port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))


def udp_socket(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(address)
    return s


async def main():
    loop = asyncio.get_running_loop()
    near = Near()
    far = Far(near)
    near.far = far
    there = udp_socket(("127.0.0.1", 0))
    there.connect((server, port))
    await loop.create_datagram_endpoint(lambda: far, sock=there)
    await loop.create_datagram_endpoint(lambda: near, sock=udp_socket((listen, 53)))
    await asyncio.start_server(tcp, listen, 53)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        way.update(json.loads(line))
        random.seed(way.get("seed"))
        print("done", flush=True)


asyncio.run(main())
