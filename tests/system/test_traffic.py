"""Who the far server sees: TCP and UDP, IPv4 and IPv6, LAN and the router itself."""

import time

from house import CLIENT4, CLIENT6, FAR4, FAR6, OTHER4, OTHER6, PUBLIC4, PUBLIC6, HouseCase, ask_on

# (where, source for IPv4, source for IPv6)
ORIGINS = {
    "a LAN client": ("client", CLIENT4, CLIENT6),
    "a LAN client with public addresses": ("client", PUBLIC4, PUBLIC6),
    "the router": ("router", None, None),
}


def matrix():
    for origin, (where, source4, source6) in ORIGINS.items():
        for proto in ("tcp", "udp"):
            for dst, source in ((FAR4, source4), (OTHER4, source4), (FAR6, source6), (OTHER6, source6)):
                yield origin, where, proto, dst, source


class Matrix:
    """The cases for one kind of far side; see the two classes below."""

    def expect(self, via):
        for origin, where, proto, dst, source in matrix():
            with self.subTest(f"{proto} from {origin} to {dst} is {via}"):
                self.assertVia(via, where, proto, dst, source)

    def test_everything_is_proxied_while_armed_then_direct_then_proxied_again(self):
        sup = self.armed()
        self.expect("proxied")
        sup.take_mihomo_away()
        sup.kill_mihomo()
        self.house.until("direct", "client", "tcp", FAR4, timeout=2)
        self.house.until("direct", "client", "tcp", FAR6, CLIENT6, timeout=2)
        self.expect("direct")
        sup.bring_mihomo_back()
        sup.wait_state("armed")
        self.expect("proxied")
        sup.stop()
        self.expect("direct")

    def test_a_udp_flow_that_was_proxied_goes_on_directly(self):
        sup = self.armed()
        flows = {}
        for origin, (where, source4, source6) in ORIGINS.items():
            for dst, source in ((FAR4, source4), (FAR6, source6)):
                flow = self.house.open(where, "udp", dst, source, timeout=0.2)
                self.addCleanup(flow.close)
                flows[f"from {origin} to {dst}"] = flow
        for name, flow in flows.items():
            with self.subTest(f"{name} is proxied at first"):
                self.assertEqual(ask_on(flow).via, "proxied")
        sup.take_mihomo_away()
        sup.kill_mihomo()
        killed = time.monotonic()
        for name, flow in flows.items():
            with self.subTest(f"{name} goes on"):
                while (answer := ask_on(flow)).via != "direct":
                    self.assertLess(time.monotonic() - killed, 3.0, f"still {answer}")
        for name, flow in flows.items():
            with self.subTest(f"{name} stays direct, each datagram"):
                self.assertEqual({ask_on(flow).via for _ in range(10)}, {"direct"})

    def test_a_direct_connection_made_before_arming_survives_arming(self):
        sup = self.supervisor(conf={"tproxy": {"mode": "mixed"}})
        sup.wait_state("mixed")
        opened = {}
        for origin, (where, source4, source6) in ORIGINS.items():
            for proto in ("tcp", "udp"):
                for dst, source in ((FAR4, source4), (FAR6, source6)):
                    s = self.house.open(where, proto, dst, source)
                    self.addCleanup(s.close)
                    opened[f"{proto} from {origin} to {dst}"] = s
                    self.assertEqual(ask_on(s).via, "direct")
        sup.ctl("on")
        sup.wait_state("armed")
        for name, s in opened.items():
            with self.subTest(name):
                # A router that tracked no connection before has no memory of a UDP flow: it is chosen anew, and answered.
                untracked = name.startswith("udp") and not self.masquerade
                self.assertIn(ask_on(s).via, ("direct", "proxied") if untracked else ("direct",))
        self.expect("proxied")

    def test_a_proxied_connection_survives_its_destination_joining_the_set(self):
        sup = self.armed()
        with self.house.open("client", "tcp", FAR4) as s:
            self.assertEqual(ask_on(s).via, "proxied")
            self.house.run("router", "ipset", "add", "clash_proxy_ips", FAR4)
            self.assertEqual(ask_on(s).via, "proxied")
        self.assertVia("direct", "client", "tcp", FAR4)
        self.assertEqual(sup.status()["state"], "armed")


class TrafficWithoutMasquerade(Matrix, HouseCase):
    masquerade = False


class TrafficBehindMasquerade(Matrix, HouseCase):
    masquerade = True


class WhatIsLeftAlone(HouseCase):
    def test_a_direct_touch_of_the_tproxy_port_is_dropped(self):
        sup = self.armed()
        for proto in ("tcp", "udp"):
            with self.subTest(proto), self.assertRaises(OSError):
                s = self.house.open("client", proto, "10.66.0.1", port=7893, timeout=0.5)
                with s:
                    s.sendall(b"x\n")
                    s.recv(1)
        self.assertEqual(sup.status()["state"], "armed")

    def test_a_connection_from_outside_to_the_router_is_answered(self):
        self.armed()
        listener = self.house.popen(
            "router", "python3", "-c",
            "import socket; s = socket.create_server(('45.45.45.1', 9000)); print('up', flush=True)\n"
            "c, p = s.accept(); c.sendall(p[0].encode()); c.close()",
            stdout=-1,
        )
        self.addCleanup(listener.stdout.close)
        self.addCleanup(listener.wait)
        self.addCleanup(listener.kill)
        listener.stdout.readline()
        with self.house.open("inet", "tcp", "45.45.45.1", port=9000) as s:
            self.assertEqual(s.recv(64), b"45.45.45.2")

    def test_reserved_ranges_are_never_proxied(self):
        # The router itself must not send a private destination to Mihomo: it answers "no route" or nothing.
        sup = self.armed()
        after = sup.mark()
        self.assertEqual(self.house.ask("client", "udp", "192.168.77.1", timeout=0.3).via, "lost")
        self.assertFalse(sup.logged(r"192\.168\.77\.1", after))
