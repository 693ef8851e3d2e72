"""Each option that chooses traffic, one at a time: what it takes out, and that all else stays in."""

import os
import random
import time

from house import FAR4, FAR6, OTHER4, OTHER6, ROOT, config
from scenes_paths import EVERYBODY, SERVERS
from stage import CORE, LAN, PUBLIC, ROUTER, NotHere, scene

FAR, OTHER = (FAR4, FAR6), (OTHER4, OTHER6)


def tproxy(**keys):
    return {"tproxy": keys}


@scene()
def exclude_ips(stage):
    stage.armed(tproxy(exclude_ips=f"45.45.45.3, 2a0f:4545::3/128 9.9.9.0/24"))
    stage.expect("direct", EVERYBODY, to=OTHER, note="as it is excluded")
    stage.expect("proxied", EVERYBODY, to=FAR)


@scene()
def proxy_cidrs(stage):
    stage.armed(tproxy(proxy_cidrs="45.45.45.3/32 2a0f:4545::3/128 192.168.77.0/24"),
                config=config(dns="dns: {enable: true, enhanced-mode: fake-ip, nameserver: [45.45.45.53]}"))
    stage.expect("proxied", EVERYBODY, to=OTHER, note="as it was named")
    stage.expect("direct", EVERYBODY, to=FAR, note="as it was not named")
    stage.expect("proxied", to=("192.168.77.9",), note="as a reserved network that was named")
    stage.expect("proxied", to=("198.18.3.4",), note="as a fake address")


@scene()
def include_src(stage):
    stage.armed(tproxy(include_src="10.66.0.0/25 fd66::2"))
    stage.expect("proxied", LAN, note="as a source that was named")
    stage.expect("direct", PUBLIC, note="as a source that was not named")


@scene()
def exclude_src_cidrs(stage):
    stage.armed(tproxy(exclude_src_cidrs="44.44.44.0/24, 2a0f:4444::/64"))
    stage.expect("direct", PUBLIC, note="as an excluded source")
    stage.expect("proxied", (LAN, ROUTER))



def mac_of(stage):
    # /sys shows the namespace in which it was mounted: ask ip.
    text = stage.house.run("client", "ip", "-o", "link", "show", "eth0").split()
    return text[text.index("link/ether") + 1]


@scene()
def sources_by_mac_address(stage):
    mac = mac_of(stage)
    stage.armed(tproxy(exclude_src_cidrs=mac.upper()))
    if "hash:mac" in str(stage.sup.status()["backends"]):
        stage.told(r"(?i)exclude_src_cidrs|MAC address", "a warning says that MAC addresses cannot be matched here")
        raise NotHere("this kernel has no set type hash:mac")
    stage.expect("direct", (LAN, PUBLIC), note="by its MAC address")
    stage.expect("proxied", ROUTER)
    stage.stop()
    stage.armed(tproxy(exclude_src_cidrs="02:00:00:00:00:01"))
    stage.expect("proxied", (LAN, ROUTER), note="while another MAC address is excluded")
    stage.stop()
    stage.armed(tproxy(include_src=mac))
    stage.expect("proxied", (LAN, PUBLIC), note="by its MAC address")
    stage.stop()
    stage.armed(tproxy(include_src="02:00:00:00:00:01 44.44.44.0/24"))
    stage.expect("direct", LAN, to=FAR, note="as only another MAC address was named")
    stage.expect("proxied", PUBLIC, to=(FAR4,), note="by its network")


@scene()
def exclude_ifaces(stage):
    for name in ("lan", "la*"):
        stage.armed(tproxy(exclude_ifaces=f"docker0, {name}"))
        stage.expect("direct", (LAN, PUBLIC), note=f"with {name} excluded")
        stage.expect("proxied", ROUTER, note=f"with {name} excluded")
        stage.stop()
    stage.armed(tproxy(exclude_ifaces="wan"))
    stage.expect("direct", ROUTER, note="with wan excluded")
    stage.expect("proxied", LAN, note="with wan excluded")


@scene()
def lan_ifaces(stage):
    for name in ("lan", "eth7 l*"):
        stage.armed(tproxy(lan_ifaces=name))
        stage.expect("proxied", (LAN, ROUTER), note=f"with lan_ifaces = {name}")
        stage.stop()
    stage.armed(tproxy(lan_ifaces="eth7 br-*"))
    stage.expect("direct", (LAN, PUBLIC), note="as its interface is none of the LAN's")
    stage.expect("proxied", ROUTER, note="with other LAN interfaces")


@scene()
def exclude_ports(stage):
    for ports in ("7000", "22,6990-7010 9000"):
        stage.armed(tproxy(exclude_ports=ports))
        stage.expect("direct", EVERYBODY, note=f"with ports {ports} excluded")
        stage.expect("proxied", (LAN, ROUTER), ("tcp",), (FAR4, FAR6), port=8080, note="on another port")
        stage.stop()


def many_networks(*more):
    """10,000 networks of both families that are none of ours, and some that are."""
    order = random.Random(7)
    nets = {f"{a}.{b}.{c}.0/24" for a, b, c in ((order.randrange(101, 126), order.randrange(256), order.randrange(256))
                                                for _ in range(8000))}
    while len(nets) < 10000 - len(more):
        nets.add(f"2400:{order.randrange(65536):x}:{order.randrange(65536):x}::/48")
    nets = list(nets) + list(more)
    order.shuffle(nets)
    return "# a country\n" + "\n".join(nets) + "\n"


@scene()
def lists_of_ten_thousand_networks(stage):
    path = os.path.join(stage.house.dir, "country")
    with open(path, "w", encoding="utf-8") as f:
        f.write(many_networks("45.45.45.3/32", "2a0f:4545::3/128"))
    begun = time.monotonic()
    sup = stage.armed(tproxy(exclude_ips=f"@{path}"))
    stage.tell(f"armed with 10,000 networks after {time.monotonic() - begun:.2f} s,"
               f" of which arming took {sup.status()['tproxy']['armed_in_ms']:.0f} ms")
    stage.expect("direct", EVERYBODY, to=OTHER, note="as the file names it")
    stage.expect("proxied", EVERYBODY, to=FAR)
    stage.stop()
    stage.armed(tproxy(proxy_cidrs=f"@{path}"))
    stage.expect("proxied", EVERYBODY, to=OTHER, note="as the file names it")
    stage.expect("direct", EVERYBODY, to=FAR)


@scene()
def own_mark_table_port_and_preference(stage):
    stage.armed(tproxy(mark="0x4d2", table="252", port="7999", pref="5000"))
    for family in ("-4", "-6"):
        rules = stage.house.run("router", "ip", family, "rule")
        stage.check("5000:\tfrom all fwmark 0x4d2 lookup 252" in rules, f"the rule of IPv{family[1]} is as configured",
                    rules)
    stage.expect("proxied", EVERYBODY)
    stage.expect("direct", CORE)
    stage.expect("lost", LAN, to=("10.66.0.1",), port=7999, note="on the TPROXY port")


@scene()
def servers_for_the_output_only(stage):
    stage.armed({"ipset": {"scope": "output"}}, config=config(proxies=SERVERS))
    stage.turns("direct", 2, ROUTER, to=OTHER, note="as a server")
    stage.expect("proxied", (LAN, PUBLIC), to=OTHER, note="though it is a server")
    stage.expect("proxied", EVERYBODY, to=FAR)


@scene()
def without_the_machines_own_traffic(stage):
    stage.armed(tproxy(local="no"))
    stage.expect("direct", ROUTER, note="with local = no")
    stage.expect("proxied", (LAN, PUBLIC))


@scene()
def one_family_alone(stage):
    stage.armed(tproxy(ipv6="no"))
    stage.expect("proxied", EVERYBODY, to=(FAR4, OTHER4))
    stage.expect("direct", EVERYBODY, to=(FAR6, OTHER6), note="with ipv6 = no")
    stage.stop()
    stage.armed(tproxy(ipv4="no"))
    stage.expect("direct", EVERYBODY, to=(FAR4, OTHER4), note="with ipv4 = no")
    stage.expect("proxied", EVERYBODY, to=(FAR6, OTHER6))


@scene()
def a_server_set_of_another_name(stage):
    stage.armed({"ipset": {"name": "my_servers"}}, config=config(proxies=SERVERS))
    stage.turns("direct", 2, to=OTHER, note="as a server")
    stage.expect("proxied", to=FAR)
    stage.check("my_servers" in stage.rules(), "the rules look into it", stage.rules())


@scene()
def many_options_at_once(stage):
    stage.armed(tproxy(exclude_ips="45.45.45.3", exclude_src_cidrs="2a0f:4444::2", exclude_ports="8080",
                       exclude_ifaces="docker0 tailscale*", lan_ifaces="lan"))
    stage.expect("direct", EVERYBODY, to=(OTHER4,))
    stage.expect("direct", PUBLIC, to=(FAR6,))
    stage.expect("proxied", (LAN, ROUTER), to=(FAR4, FAR6))
    stage.expect("direct", LAN, ("tcp",), (FAR4,), port=8080, text="GET / HTTP/1.1\r\n\r\n", note="by its port")


@scene(variants=("legacy", "iptables-nft"))
def the_script_backend(stage):
    script = os.path.join(ROOT, "etc", "tproxy.sh")
    if not os.access(script, os.X_OK):
        raise NotHere("there is no etc/tproxy.sh yet")
    sup = stage.armed(tproxy(backend="script", script=script, exclude_ports="8080", exclude_src_cidrs="44.44.44.0/24"),
                      config=config(proxies=SERVERS))
    stage.equal(sup.status()["backend"], "script", "status names the backend")
    stage.turns("direct", 2, to=OTHER, note="as a server")
    stage.expect("proxied", (LAN, ROUTER), to=(FAR4,))
    stage.expect("direct", PUBLIC, to=(FAR4,), note="as an excluded source")
    stage.expect("direct", CORE, to=(FAR4,))
    stage.take_core_away()
    sup.kill_mihomo()
    stage.turns("direct", 3.2, to=(FAR4,), note="when the core is dead")
