"""An INPUT policy of iptables does not keep the LAN from Mihomo, whatever backend makes the rules."""

from backends import on_each
from house import CLIENT6, FAR4, FAR6, HouseCase

CLOSED = """
for tool in iptables ip6tables; do
	$tool -w -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
	$tool -w -P INPUT DROP
done
ip6tables -w -A INPUT -p ipv6-icmp -j ACCEPT
"""
SNATCH = """
while iptables -w -C INPUT -j CLASH_INPUT; do :; done 2>/dev/null
for i in $(seq 2000); do iptables -w -D INPUT -j CLASH_INPUT 2>/dev/null && exit 0; done
exit 1
"""
OPEN = "for tool in iptables ip6tables; do $tool -w -P INPUT ACCEPT; $tool -w -F INPUT; done"


@on_each("the_lan_passes_a_policy_of_drop")
class Input(HouseCase):
    def expect(self, via):
        for proto in ("tcp", "udp"):
            for dst, source in ((FAR4, None), (FAR6, CLIENT6)):
                with self.subTest(f"{proto} to {dst} is {via}"):
                    self.assertVia(via, "client", proto, dst, source)

    def snatch_from_new_rules(self, sup):
        """Taken away before the first look at new rules, which must not take what is left for the whole."""
        snatcher = self.house.popen("router", "bash", "-c", SNATCH)
        sup.kill_mihomo()
        self.assertEqual(snatcher.wait(30), 0, "the rule never came in")
        sup.wait_status(lambda s: "-A INPUT -j CLASH_INPUT" in self.house.run("router", "iptables-save"), "repaired")

    def on(self, backend):
        self.house.shell("router", CLOSED)
        try:
            before = self.house.snapshot()
            sup = self.armed(conf=backend.conf)
            self.expect("proxied")
            self.house.shell("router", "iptables -w -D INPUT -j CLASH_INPUT")
            sup.wait_status(lambda s: "-A INPUT -j CLASH_INPUT" in self.house.run("router", "iptables-save"), "repaired")
            self.expect("proxied")
            self.snatch_from_new_rules(sup)
            self.expect("proxied")
            self.assertEqual(sup.stop(), 0)
            self.assertEqual(self.house.snapshot(), before)
            self.expect("direct")
        finally:
            self.house.shell("router", OPEN)
