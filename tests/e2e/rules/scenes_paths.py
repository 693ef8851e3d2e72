"""Who is proxied and who is not, with the default settings."""

import socket
import struct
import time

from house import FAR4, FAR6, OTHER4, OTHER6, ROUTER4, ROUTER6, ask_on, config
from stage import CORE, LAN, PUBLIC, ROUTER, SILENCE, scene

EVERYBODY = (LAN, PUBLIC, ROUTER)
BOTH = (False, True)
# Literal servers: they are in the server set, and nothing is ever dialled there.
SERVERS = (
    "{name: relay, type: socks5, server: 45.45.45.8, port: 1080, udp: true}",
    f"{{name: a, type: socks5, server: {OTHER4}, port: 1}}",
    f"{{name: b, type: socks5, server: '{OTHER6}', port: 1}}",
)


@scene(masquerade=BOTH)
def everything_is_proxied_but_the_core(stage):
    stage.expect("direct", EVERYBODY, note="before the start")
    stage.armed()
    stage.expect("proxied", EVERYBODY, to=(FAR4, OTHER4, FAR6, OTHER6))
    stage.expect("direct", CORE, to=(FAR4, FAR6), note="by its group")
    # What the core dials on a client's behalf must not come back to it: the far server sees the router.
    stage.expect("direct", (LAN, ROUTER), text="dial", note="when the core dials it directly")
    stage.equal(stage.core("seen")["inner"], 0, "nothing that the core sent came back to it")
    stage.stop()
    stage.expect("direct", EVERYBODY, note="after the stop")


@scene()
def the_port_itself_is_guarded(stage):
    stage.armed()
    stage.expect("lost", LAN, to=("10.66.0.1", "fd66::1", ROUTER4), port=7893, note="on the TPROXY port")
    stage.expect("lost", ROUTER, to=("127.0.0.1", "::1"), port=7893, note="on the TPROXY port")
    stage.equal(stage.seen(" 7893 "), [], "the core saw nothing of it")
    stage.expect("proxied", note="afterwards")


@scene(masquerade=BOTH)
def connections_from_outside_are_answered(stage):
    for address in (ROUTER4, ROUTER6):
        for proto in ("tcp", "udp"):
            stage.listener("router", address, 9000, proto)
    stage.armed()
    outside = ("inet", "45.45.45.2", "2a0f:4545::2", 0)
    for address in (ROUTER4, ROUTER6):
        for proto in ("tcp", "udp"):
            answer = stage.ask(outside, proto, address, port=9000)
            stage.check(answer.peer in ("45.45.45.2", "2a0f:4545::2"), f"the router's {proto} service on {address} answers",
                        answer)


@scene(masquerade=BOTH)
def port_forwards_work(stage):
    for proto in ("tcp", "udp"):
        stage.listener("client", "10.66.0.2", 9001, proto)
        stage.listener("client", "fd66::2", 9001, proto)
        for tool, to in (("iptables", "10.66.0.2"), ("ip6tables", "[fd66::2]")):
            rule = f"PREROUTING -i wan -p {proto} --dport 9001 -j DNAT --to-destination {to}:9001"
            stage.router(f"{tool} -w -t nat -A {rule}")
            stage.later(f"{tool} -w -t nat -D {rule}")
    stage.armed()
    outside = ("inet", "45.45.45.2", "2a0f:4545::2", 0)
    for address in (ROUTER4, ROUTER6):
        for proto in ("tcp", "udp"):
            answer = stage.ask(outside, proto, address, port=9001)
            stage.check(answer.via != "lost", f"a {proto} port forward behind {address} answers", answer)
    stage.equal(stage.seen(" 9001 |from 45.45.45.2|from 10.66.0.2"), [], "the core saw nothing of it")


@scene()
def a_strict_reverse_path_is_no_hindrance(stage):
    for name in ("all", "default", "lan", "wan", "lo"):
        stage.later(f"echo $(cat /proc/sys/net/ipv4/conf/{name}/rp_filter) >/dev/null; "
                    f"echo 0 >/proc/sys/net/ipv4/conf/{name}/rp_filter")
        stage.router(f"echo 1 >/proc/sys/net/ipv4/conf/{name}/rp_filter")
    stage.armed()
    stage.expect("proxied", EVERYBODY)
    stage.expect("direct", CORE)


@scene()
def servers_are_direct(stage):
    stage.armed(config=config(proxies=SERVERS))
    stage.turns("direct", 2, to=(OTHER4, OTHER6), note="as members of the server set")
    stage.expect("direct", EVERYBODY, to=(OTHER4, OTHER6), note="as members of the server set")
    stage.expect("proxied", EVERYBODY, to=(FAR4, FAR6))


def provider(*servers):
    entries = "".join(
        f"  - {{name: n{n}, type: ss, server: '{s}', port: 1, cipher: aes-128-gcm, password: x}}\n"
        for n, s in enumerate(servers))
    return "proxies:\n" + (entries or "  []\n")


@scene()
def the_server_set_changes_under_way(stage):
    sup = stage.armed(config=config(providers=["nodes: {type: file, path: ./nodes.yaml}"]),
                      files={"nodes.yaml": provider("45.45.45.200")})
    proxied = stage.keep_open(EVERYBODY, via="proxied")
    direct = stage.keep_open(CORE, ("tcp", "udp"), via="direct")
    sup.write("nodes.yaml", provider("45.45.45.200", FAR4, FAR6))
    stage.turns("direct", 4, note="when it joins the set")
    stage.still(proxied, "proxied", "when its destination joins the server set")
    stage.still(direct, "direct", "when its destination joins the server set")
    fresh = stage.keep_open(EVERYBODY, via="direct")
    sup.write("nodes.yaml", provider("45.45.45.200"))
    stage.turns("proxied", 4, note="when it leaves the set")
    stage.still(fresh, "direct", "when its destination leaves the server set")
    stage.still(proxied, "proxied", "when its destination leaves the server set")
    stage.equal(sup.status()["mihomo"]["restarts"], 0, "the core was not restarted for it")


@scene(masquerade=BOTH)
def direct_connections_survive(stage):
    sup = stage.start({"tproxy": {"mode": "mixed"}})
    stage.wait_state("mixed")
    tcp = stage.keep_open(EVERYBODY, ("tcp",), via="direct")
    udp = stage.keep_open(EVERYBODY, ("udp",), via="direct")
    for n in ("first", "second"):
        sup.ctl("on")
        stage.wait_state("armed")
        stage.expect("proxied", EVERYBODY, note=f"after the {n} arming")
        stage.still(tcp, "direct", f"over the {n} arming")
        # A router that tracked no connection before has no memory of a UDP flow: it is chosen anew, and answered.
        stage.still(udp, "direct" if stage.masquerade else ("direct", "proxied"), f"over the {n} arming")
        sup.ctl("off")
        stage.wait_state("mixed")
        stage.still(tcp, "direct", f"over the {n} disarming")
        stage.still(udp, "direct", f"over the {n} disarming")
    stage.stop()
    stage.still(tcp, "direct", "over the stop")
    stage.still(udp, "direct", "over the stop")


@scene(masquerade=BOTH)
def udp_flows_go_on_directly_after_a_death(stage):
    stage.armed()
    flows = stage.keep_open(EVERYBODY, ("udp",), via="proxied")
    stage.take_core_away()
    stage.sup.kill_mihomo()
    killed = time.monotonic()
    for s in flows.values():
        s.settimeout(0.2)

    def goes_on(item):
        while (answer := ask_on(item[1])).via != "direct" and time.monotonic() - killed < 3:
            pass
        return item[0], answer

    for name, answer in stage.pool.map(goes_on, flows.items()):
        stage.check(answer.via == "direct", f"{name} goes on directly", answer)
    for s in flows.values():
        s.settimeout(1.0)
    for _ in range(3):
        stage.still(flows, "direct", "each datagram")
    stage.bring_core_back()
    stage.wait_state("armed")
    stage.expect("proxied", EVERYBODY, note="when it is back")


LEFT_ALONE = {
    "a private network": ("192.168.77.1", "10.9.9.9", "172.16.3.3", "fd77::1"),
    "shared and documentation networks": ("100.64.1.1", "192.0.2.1", "203.0.113.5", "2001:db8::1"),
    "link-local and class E": ("169.254.9.9", "240.0.0.1"),
}


@scene()
def reserved_networks_are_left_alone(stage):
    stage.armed()
    for what, addresses in LEFT_ALONE.items():
        for who in (LAN, ROUTER):
            for address in addresses:
                stage.ask(who, "udp", address, timeout=0.02)
                answer = stage.ask(who, "tcp", address, timeout=0.1)
                stage.check(answer.via != "proxied", f"{what}: {address} is not proxied", answer)
    stage.equal(stage.seen(), [], "the core saw none of them")


@scene()
def broadcast_and_multicast_are_left_alone(stage):
    stage.armed()
    sent = (("client", "10.66.0.255"), ("client", "255.255.255.255"), ("client", "44.44.44.255"),
            ("router", "45.45.45.255"), ("client", "224.0.0.251"), ("client", "239.255.255.250"),
            ("router", "224.0.0.251"), ("client", "ff02::fb"), ("client", "ff05::2"), ("router", "ff02::fb"))
    for where, dst in sent:
        v6 = ":" in dst
        with stage.house.socket(where, socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            device = b"eth0" if where == "client" else b"wan"
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            if v6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 8)
            for _ in range(3):
                try:
                    s.sendto(b"x", (dst, 5353))
                except OSError:
                    pass
    time.sleep(SILENCE)
    saw = stage.seen()
    for where, dst in sent:
        stage.check(not [l for l in saw if f" {dst} " in l], f"{dst} from the {where} is left alone", saw)
    stage.expect("proxied", LAN)


@scene()
def fake_addresses_are_proxied_even_in_reserved_networks(stage):
    for dns, inside in (
        ("{enable: true, enhanced-mode: fake-ip, fake-ip-range: 10.200.0.1/16, nameserver: [45.45.45.53]}", "10.200.3.4"),
        ("{enable: true, enhanced-mode: fake-ip, fake-ip-range: 28.0.0.1/8, nameserver: [45.45.45.53]}", "28.3.4.5"),
        ("{enable: true, enhanced-mode: fake-ip, nameserver: [45.45.45.53]}", "198.18.0.77"),
    ):
        stage.armed(config=config(dns="dns: " + dns))
        stage.expect("proxied", to=(inside,), note="as a fake address")
        stage.expect("proxied", to=(FAR4, FAR6))
        answer = stage.ask(LAN, "udp", "10.9.9.9", timeout=0.1)
        stage.check(answer.via != "proxied", "10.9.9.9 is reserved still", answer)
        stage.stop()


@scene()
def networks_of_the_lan_are_direct_and_followed(stage):
    for address in ("2a0f:4444::2", "44.44.44.2"):
        for proto in ("tcp", "udp"):
            stage.listener("client", address, 7000, proto)
    stage.armed()
    stage.expect("direct", ROUTER, to=("2a0f:4444::2", "44.44.44.2"), note="as a neighbour on the LAN")
    # The provider hands out another prefix.
    stage.later("ip -6 address delete 2a0f:5555::1/64 dev lan 2>/dev/null")
    stage.undo.callback(stage.house.shell, "client", "ip -6 address delete 2a0f:5555::2/64 dev eth0", check=False)
    stage.house.shell("client", "ip -6 address add 2a0f:5555::2/64 dev eth0")
    for proto in ("tcp", "udp"):
        stage.listener("client", "2a0f:5555::2", 7000, proto)
    stage.expect("proxied", ROUTER, to=("2a0f:5555::2",), note="while it is a stranger")
    stage.router("ip -6 address add 2a0f:5555::1/64 dev lan")
    stage.turns("direct", 1.5, ROUTER, to=("2a0f:5555::2",), note="when it is the LAN's")
    stage.router("ip -6 address delete 2a0f:5555::1/64 dev lan")
    stage.turns("proxied", 1.5, ROUTER, to=("2a0f:5555::2",), note="when it is the LAN's no more")
    stage.expect("proxied", note="all the while")


def echo_request(stage, where, dst, source):
    """Does an ICMP echo come back?"""
    v6 = ":" in dst
    packet = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0x4353, 1) + b"clashsup"
    if not v6:  # the kernel sums only ICMPv6
        total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
        total = (total >> 16) + (total & 0xFFFF)
        packet = packet[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + packet[4:]
    kind, proto = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    with stage.house.socket(where, kind, socket.SOCK_RAW, proto) as s:
        s.settimeout(1.0)
        if source:
            s.bind((source, 0))
        s.sendto(packet, (dst, 0))
        try:
            while True:
                data, peer = s.recvfrom(2048)
                if peer[0].split("%")[0] == dst and data.endswith(b"clashsup"):
                    return True
        except OSError:
            return False


@scene(masquerade=(True,))
def other_protocols_and_odd_packets(stage):
    stage.armed(config=config(proxies=SERVERS))
    stage.turns("direct", 2, LAN, to=(OTHER4, OTHER6), note="as a server")
    for who in (LAN, ROUTER):
        for dst in (FAR4, FAR6):
            source = who[2] if ":" in dst else who[1]
            stage.check(echo_request(stage, who[0], dst, source), f"a ping from {who[0]} to {dst} is answered")
    # Fragments are put together before they are chosen.
    stage.expect("proxied", protos=("udp",), text="x" * 1900, note="in two fragments")
    stage.expect("direct", LAN, protos=("udp",), to=(OTHER4,), text="x" * 1900, note="in two fragments")
    # The answer to what left with our port's number comes back to that number.
    for dst, source in ((OTHER4, "10.66.0.2"), (OTHER6, "fd66::2")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with stage.house.socket("client", socket.AF_INET6 if ":" in dst else socket.AF_INET, kind) as s:
                s.settimeout(1.0)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((source, 7893))
                s.connect((dst, 7000))
                answer = ask_on(s)
                stage.check(answer.via == "direct", f"a client's own port 7893 to {dst} is answered", answer)
