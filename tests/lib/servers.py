#!/usr/bin/env python3
"""The far side of the sandbox, in one process: run it in PREFIX-inet.

    servers.py ZONE_FILE

Serves, each on the addresses of tests/lib/net.sh:

  echo    TCP and UDP port 7000 on .2 and .3: answers each line or datagram
          with one JSON line: the peer it sees, its own address, the text.
  socks5  port 1080 on .8: CONNECT and UDP ASSOCIATE; what it dials has .8 as
          its source, so the echo server sees at once what was proxied.
  dns     UDP and TCP port 53 on .53, from ZONE_FILE, which is read again for
          each query: {"names": {"host": ["address", ...]}, "silent": false, "ttl": 5, "delay": 0}.
  http    TCP port 8080 on .2: the echo's JSON line as an HTTP answer.
  silent  TCP port 8081 on .2: accepts, reads, never answers.

Says "ready" on standard output when all of them listen, ends with its stdin.
"""

import asyncio
import ipaddress
import json
import socket
import struct
import sys

NETS = ("45.45.45.%s", "2a0f:4545::%s")
ECHO_PORT, SOCKS_PORT, DNS_PORT, HTTP_PORT, SILENT_PORT = 7000, 1080, 53, 8080, 8081


def addresses(last):
    return [net % last for net in NETS]


def report(peer, local, text):
    return json.dumps({"peer": peer[0], "port": peer[1], "local": local[0], "text": text}).encode() + b"\n"


async def echo_tcp(reader, writer):
    peer, local = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    try:
        while line := await reader.readline():
            writer.write(report(peer, local, line.decode().strip()))
            await writer.drain()
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()


class EchoUdp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.local = transport.get_extra_info("sockname")

    def datagram_received(self, data, addr):
        self.transport.sendto(report(addr, self.local, data.decode(errors="replace").strip()), addr)


async def http_tcp(reader, writer):
    try:
        request = await reader.readuntil(b"\r\n\r\n")
        body = report(writer.get_extra_info("peername"), writer.get_extra_info("sockname"), request.split()[1].decode())
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def silent_tcp(reader, writer):
    try:
        while await reader.read(4096):
            pass
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()


# ---- DNS: just enough of RFC 1035 for A and AAAA ----


class Zone:
    def __init__(self, path):
        self.path = path

    def answer(self, query):
        """The answer's bytes, or None for silence, and the seconds to wait with it."""
        with open(self.path, encoding="utf-8") as f:
            zone = json.load(f)
        if zone.get("silent"):
            return None, 0
        end = 12
        labels = []
        while query[end]:
            labels.append(query[end + 1 : end + 1 + query[end]].decode().lower())
            end += 1 + query[end]
        question = query[12 : end + 5]
        (qtype,) = struct.unpack("!H", query[end + 1 : end + 3])
        known = zone["names"].get(".".join(labels))
        records = []
        for text in known or []:
            address = ipaddress.ip_address(text)
            if qtype == (1 if address.version == 4 else 28):
                packed = address.packed
                records.append(struct.pack("!HHHIH", 0xC00C, qtype, 1, zone.get("ttl", 5), len(packed)) + packed)
        flags = 0x8180 if known is not None else 0x8183
        text = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + b"".join(records)
        return text, zone.get("delay", 0)


class DnsUdp(asyncio.DatagramProtocol):
    def __init__(self, zone):
        self.zone = zone

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        answer, delay = self.zone.answer(data)
        if answer:
            asyncio.get_running_loop().call_later(delay, self.transport.sendto, answer, addr)


async def dns_tcp(zone, reader, writer):
    try:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer, delay = zone.answer(await reader.readexactly(length))
        await asyncio.sleep(delay)
        if answer:
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()
        else:
            await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


# ---- SOCKS 5 (RFC 1928), without authentication ----


async def read_address(reader):
    kind = (await reader.readexactly(1))[0]
    if kind == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    else:
        host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
    (port,) = struct.unpack("!H", await reader.readexactly(2))
    return host, port


def pack_address(host, port):
    address = ipaddress.ip_address(host)
    return bytes([1 if address.version == 4 else 4]) + address.packed + struct.pack("!H", port)


def unpack_address(data):
    """(host, port, rest) from a UDP request's address field."""
    if data[0] == 3:
        end = 2 + data[1]
        host = data[2:end].decode()
    else:
        end = 5 if data[0] == 1 else 17
        host = str(ipaddress.ip_address(data[1:end]))
    (port,) = struct.unpack("!H", data[end : end + 2])
    return host, port, data[end + 2 :]


def own_source(host):
    """Our .8 of the same family as what we dial."""
    return NETS[1 if ":" in host else 0] % 8


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()


class SocksFar(asyncio.DatagramProtocol):
    """The socket that speaks to one family of far servers."""

    def __init__(self, near):
        self.near = near

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        if self.near.client:
            self.near.transport.sendto(b"\0\0\0" + pack_address(addr[0], addr[1]) + data, self.near.client)


class SocksNear(asyncio.DatagramProtocol):
    """The socket that speaks to Mihomo."""

    def __init__(self):
        self.client, self.far, self.tasks = None, {}, set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.client = addr
        task = asyncio.ensure_future(self.forward(data))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def forward(self, data):
        host, port, payload = unpack_address(data[3:])
        source = own_source(host)
        if source not in self.far:
            self.far[source], _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: SocksFar(self), local_addr=(source, 0)
            )
        self.far[source].sendto(payload, (host, port))

    def close(self):
        for transport in [self.transport, *self.far.values()]:
            transport.close()


async def socks_associate(reader, writer, local):
    transport, near = await asyncio.get_running_loop().create_datagram_endpoint(SocksNear, local_addr=(local, 0))
    writer.write(b"\x05\x00\x00" + pack_address(*transport.get_extra_info("sockname")[:2]))
    try:
        await reader.read()  # the association lives as long as its TCP connection
    finally:
        near.close()


async def socks(reader, writer):
    try:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _, command, _ = await reader.readexactly(3)
        host, port = await read_address(reader)
        if command == 3:
            await socks_associate(reader, writer, writer.get_extra_info("sockname")[0])
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port, local_addr=(own_source(host), 0))
        except OSError:
            writer.write(b"\x05\x05\x00" + pack_address("0.0.0.0", 0))
            return
        writer.write(b"\x05\x00\x00" + pack_address(*far_writer.get_extra_info("sockname")[:2]))
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
    except (ConnectionError, OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main(zone_path):
    loop = asyncio.get_running_loop()
    zone = Zone(zone_path)

    async def tcp(handler, last, port):
        for address in addresses(last):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            await asyncio.start_server(handler, address, port, family=family, backlog=4096)

    async def udp(protocol, last, port):
        for address in addresses(last):
            await loop.create_datagram_endpoint(protocol, local_addr=(address, port))

    for last in (2, 3):
        await tcp(echo_tcp, last, ECHO_PORT)
        await udp(EchoUdp, last, ECHO_PORT)
    await tcp(http_tcp, 2, HTTP_PORT)
    await tcp(silent_tcp, 2, SILENT_PORT)
    await tcp(socks, 8, SOCKS_PORT)
    await udp(lambda: DnsUdp(zone), 53, DNS_PORT)
    await tcp(lambda reader, writer: dns_tcp(zone, reader, writer), 53, DNS_PORT)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main(sys.argv[1]))
